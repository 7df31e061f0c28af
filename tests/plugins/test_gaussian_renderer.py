"""The Gaussian renderer's outside: forms, files, regions, batches, what it listens to, what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from realtalk_core.capture import Capture
from realtalk_core.errors import ShapeError, UserError
from realtalk_core.testing.synthetic import make_capture
from realtalk_core.training.data import TrainingData
from realtalk_core.training.torso import TorsoTrainer
from realtalk_core.types import AudioFeatures, Blendshapes, Drive, EmotionTrack
from realtalk_gaussian.condition import conditions_of
from realtalk_gaussian.config import GaussianConfig
from realtalk_gaussian.head import Head
from realtalk_gaussian.renderer import GaussianRenderer

TINY = GaussianConfig.tiny().model_copy(update={"steps": 4, "torso": False})
Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return make_capture(tmp_path_factory.mktemp("gaussian") / "capture", seconds=0.8, size=64, with_audio=False)


def training_data(capture: Capture) -> TrainingData:
    frames, generator = torch.arange(len(capture)), torch.Generator().manual_seed(0)
    features = AudioFeatures(torch.randn(len(capture), 5, generator=generator), capture.fps)
    return TrainingData(capture, features, frames[:-4], frames[-4:])


def drive(capture: Capture, **parts: object) -> Drive:
    given = {"blendshapes": capture.blendshapes, "audio": training_data(capture).features} | parts
    return Drive(capture.landmarks, **given)  # type: ignore[arg-type]


def train(component: GaussianRenderer, data: TrainingData, steps: int) -> list[float]:
    losses = []
    for step in range(steps):
        for optimizer in component.optimizers():
            optimizer.zero_grad(set_to_none=True)
        losses.append(float(component.training_step(component.batch(data, step), step)["loss"]))
        for optimizer in component.optimizers():
            optimizer.step()
        component.after_step(step)
    return losses


def frames_of(renderer: GaussianRenderer, given: Drive, capture: Capture, region: Tensor | None = None) -> Tensor:
    cameras = capture.cameras.resized(32, 32)[: len(given)]
    return torch.cat([torch.cat((b.rgb, b.alpha), 3) for b in renderer.render(given, cameras, region)])


@pytest.fixture(scope="module")
def trained(capture: Capture) -> GaussianRenderer:
    component = GaussianRenderer.for_training(TINY, training_data(capture))
    train(component, training_data(capture), 4)
    return GaussianRenderer.from_state(TINY, component.state())


@pytest.mark.parametrize(
    "change",
    [
        {"landmarks": "ibug68"}, {"warp": False}, {"attention": False}, {"condition": "audio"}, {"condition": "both"},
        {"blendshapes": "none"}, {"shade": False}, {"sh_degree": 0}, {"sh_degree": 3}, {"template": "neutral"},
        {"template": "apart"}, {"torso": True}, {"emotion": "none"}, {"attention": False, "blendshapes": "none"},
    ],
)  # fmt: skip
def test_every_form_learns_and_survives_its_file(capture: Capture, change: dict[str, object]) -> None:
    config, data = TINY.model_copy(update=change), training_data(capture)
    component = GaussianRenderer.for_training(config, data)
    train(component, data, 4)
    state = component.state()
    again = GaussianRenderer.from_state(config, state)
    assert (again.torso is not None) == config.torso
    a, b = (frames_of(r, drive(capture), capture) for r in (component, again))
    assert torch.equal(a, b)
    assert float(a[..., 3].amax()) > 0.9
    for name, value in again.state().items():
        assert torch.equal(value, state[name]), name


def test_a_file_of_thirty_thousand_gaussians_is_small(capture: Capture) -> None:
    config = GaussianConfig(gaussians=30_000, steps=1, torso=True, emotion="branch")
    head, torso = Head.seeded(config, training_data(capture)), TorsoTrainer(256, 1, training_data(capture))
    component = GaussianRenderer(config, head, torso=torso)
    assert 27_000 < len(head.face) + len(head.mouth) < 33_000
    assert len(save(component.state())) < 9_000_000


def test_a_frame_depends_on_nothing_beside_it(capture: Capture, trained: GaussianRenderer) -> None:
    whole = frames_of(trained, drive(capture), capture)
    assert trained.context_frames == 0
    alone = frames_of(trained, drive(capture)[3:4], capture)
    assert not torch.equal(alone, whole[3:4])  # its camera is another frame's
    cameras = capture.cameras.resized(32, 32)[3:4]
    (batch,) = trained.render(drive(capture)[3:4], cameras)
    torch.testing.assert_close(batch.rgb, whole[3:4, ..., :3], atol=1e-4, rtol=0)  # components of one row or of many
    odd = GaussianRenderer.from_state(TINY.model_copy(update={"frames_per_batch": 3}), trained.state())
    assert torch.equal(frames_of(odd, drive(capture), capture), whole)


def test_a_frame_hears_exactly_its_stated_context(capture: Capture) -> None:
    config = TINY.model_copy(update={"condition": "audio", "audio_context": 2})
    component = GaussianRenderer.for_training(config, training_data(capture))
    for name in ("face_branch", "mouth_branch"):
        torch.nn.init.normal_(getattr(component.trainer.average, name).out.weight)
        torch.nn.init.normal_(getattr(component.trainer.average, name).tables, std=0.1)
    renderer = GaussianRenderer.from_state(config, component.state())
    assert renderer.context_frames == 2
    still = capture.landmarks.points[:1].expand(len(capture), -1, -1)
    tracks = type(capture.landmarks)(still, "mediapipe478", capture.fps)
    heard = training_data(capture).features.values.clone()
    base = Drive(tracks, AudioFeatures(heard, 25.0), blendshapes=capture.blendshapes)
    heard = heard.clone()
    heard[10] += 1
    other = Drive(tracks, AudioFeatures(heard, 25.0), blendshapes=capture.blendshapes)
    moved = (frames_of(renderer, base, capture) - frames_of(renderer, other, capture)).abs().amax((1, 2, 3)) > 0
    assert moved.nonzero().flatten().tolist() == [8, 9, 10, 11, 12]


def test_a_region_spares_the_rest_and_changes_nothing_within(capture: Capture, trained: GaussianRenderer) -> None:
    given = drive(capture)[:3]
    region = torch.zeros(3, 32, 32, dtype=torch.bool)
    region[:, 18:26, 10:20] = True
    whole, part = frames_of(trained, given, capture), frames_of(trained, given, capture, region)
    assert torch.equal(part[region], whole[region])
    assert float(whole[:, :16, 16:, 3].amax()) > 0.9
    with pytest.raises(ShapeError, match=r"region is \(2, 32, 32\)"):
        frames_of(trained, given, capture, region[:2])


def test_emotion_enters_as_it_is_configured(capture: Capture, trained: GaussianRenderer) -> None:
    plain = drive(capture)
    count = len(plain)
    raised = capture.landmarks.points.clone()
    raised[:, :, 1] += 0.5
    tracks = type(capture.landmarks)(raised, "mediapipe478", capture.fps)
    va = torch.tensor([0.6, 0.2]).expand(count, 2)
    emotional = Drive(
        tracks,
        plain.audio,
        EmotionTrack(torch.zeros(count, 8), va, capture.fps),
        capture.blendshapes,
        neutral=plain,
    )
    neutral = frames_of(trained, plain, capture)
    assert not torch.equal(frames_of(trained, emotional, capture), neutral)
    state = trained.state()
    deaf = GaussianRenderer.from_state(TINY.model_copy(update={"emotion": "none"}), state)
    assert torch.equal(frames_of(deaf, emotional, capture), neutral)
    config = TINY.model_copy(update={"emotion": "branch"})
    head = Head.seeded(config, training_data(capture))
    assert head.emotion_branch is not None
    torch.nn.init.normal_(head.emotion_branch.out.weight)
    torch.nn.init.normal_(head.emotion_branch.tables, std=0.1)
    feeling = GaussianRenderer.from_state(config, GaussianRenderer(config, head).state())
    assert not torch.equal(frames_of(feeling, emotional, capture), frames_of(feeling, plain, capture))
    silent = Drive(
        tracks, plain.audio, EmotionTrack(torch.zeros(count, 8), 0 * va, 25.0), capture.blendshapes, neutral=plain
    )
    assert torch.equal(frames_of(feeling, silent, capture), frames_of(feeling, plain, capture))


def test_where_the_warp_carries_emotion_branches_hear_the_speech_alone(
    capture: Capture, trained: GaussianRenderer
) -> None:
    plain, head = drive(capture), trained.head
    raised = type(capture.landmarks)(capture.landmarks.points + 0.3, "mediapipe478", capture.fps)
    emotional = Drive(raised, plain.audio, blendshapes=plain.blendshapes, neutral=plain)
    told, spoken = (conditions_of(d, head.basis, None, TINY) for d in (emotional, plain))
    assert torch.equal(told.landmarks, spoken.landmarks)
    still = TINY.model_copy(update={"warp": False})
    assert not torch.equal(conditions_of(emotional, head.basis, None, still).landmarks, spoken.landmarks)
    felt, heard = (trained.posed(d, 3)[0] for d in (emotional, plain))
    assert torch.equal(felt.scales, heard.scales)  # a branch's work
    moved = (felt.means - heard.means).norm(dim=1)  # the warp's
    assert float(moved.median()) > 0.2


def test_attention_is_shown_where_there_are_gates(capture: Capture, trained: GaussianRenderer) -> None:
    cameras = capture.cameras.resized(32, 32)[:2]
    maps = trained.attention_maps(drive(capture)[:2], cameras)
    assert list(maps)[:3] == ["landmarks", "blendshapes", "blendshapes/browDownLeft"]
    assert len(maps) == 17
    for value in maps.values():
        assert value.shape == (2, 32, 32)
        assert float(value.amin()) >= 0
    assert float(maps["landmarks"].amax()) > 0
    without = GaussianRenderer.from_state(TINY.model_copy(update={"attention": False}), _plain_state(capture))
    with pytest.raises(UserError, match="trained without attention"):
        without.attention_maps(drive(capture)[:2], cameras)


def _plain_state(capture: Capture) -> Tensors:
    config = TINY.model_copy(update={"attention": False})
    return GaussianRenderer.for_training(config, training_data(capture)).state()


@pytest.mark.parametrize(
    ("change", "parts", "said"),
    [
        ({}, {"blendshapes": None}, "needs blendshapes:52, and the drive has none"),
        ({"condition": "audio"}, {"audio": None}, "listens to sound, and the drive has none"),
        ({"condition": "audio"}, {"audio": "wider"}, "trained on 5 audio features a frame and is given 7"),
    ],
)
def test_a_drive_that_lacks_what_it_listens_to_is_refused(
    capture: Capture, change: dict[str, object], parts: dict[str, object], said: str
) -> None:
    config = TINY.model_copy(update=change)
    renderer = GaussianRenderer.from_state(
        config, GaussianRenderer.for_training(config, training_data(capture)).state()
    )
    if parts.get("audio") == "wider":
        parts = {"audio": AudioFeatures(torch.zeros(len(capture), 7), capture.fps)}
    with pytest.raises(UserError, match=said):
        frames_of(renderer, drive(capture, **parts), capture)


def test_sparse_landmarks_cannot_drive_a_dense_head(capture: Capture, trained: GaussianRenderer) -> None:
    sparse = Drive(capture.landmarks.to_scheme("ibug68"), blendshapes=Blendshapes(capture.blendshapes.values))
    with pytest.raises(UserError, match="renderer gaussian was trained on 478 landmarks and is given 68"):
        frames_of(trained, sparse, capture)


def test_drive_and_cameras_are_of_one_length(capture: Capture, trained: GaussianRenderer) -> None:
    with pytest.raises(ShapeError, match="drive has 3 frames, cameras 2"):
        trained.render(drive(capture)[:3], capture.cameras[:2])


def _without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {k: v for k, v in tensors.items() if k != name}


def _with(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name: change(tensors[name])}


def _spoilt(value: Tensor) -> Tensor:
    out = value.clone()
    out.view(-1)[0] = torch.nan
    return out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without("box"), "it lacks the tensor box"),
        (_without("face.means"), "it lacks the tensor face.means"),
        (_without("mouth.follow"), "it lacks the tensor mouth.follow"),
        (_without("basis.scale"), "it lacks the tensor basis.scale"),
        (_without("face_branch.first.weight"), "it lacks the tensor face_branch.first.weight"),
        (_without("basis.readout"), "it lacks the tensor basis.readout"),
        (_with("face.colours", _spoilt), "its tensor face.colours holds NaN"),
        (_with("face_branch.tables", _spoilt), "its tensor face_branch.tables holds NaN"),
        (_with("face.means", lambda t: t[:-1]), r"its tensor face.scales must be \[\d+, 3\], and is \[\d+, 3\]"),
        (_with("mouth.rotations", lambda t: t[:, :3]), r"its tensor mouth.rotations must be \[\d+, 4\]"),
        (_with("face.colours", lambda t: t[:, :3]), r"its tensor face.colours must be \[\d+, 1 | 4 | 9 | 16, 3\]"),
        (
            _with("mouth_branch.second.weight", lambda t: t[:7]),
            r"its tensor mouth_branch.second.weight is \[7, 16\], and by the",
        ),
        (_with("face_branch.tables", lambda t: t[:, :100]), r"its tensor face_branch.tables is \[9, 100\], and by the"),
        (_with("box", lambda t: t[:3]), "its tensor box must hold"),
        (_with("box", lambda t: -t), "its tensor box must hold"),
        (_with("template", lambda t: t[:68]), r"its tensor template is \[68, 3\]"),
        (_with("basis.neutral", lambda t: t[:100]), "must be 478 or 68 landmarks"),
        (lambda tensors: tensors | {"face.spin": torch.zeros(3)}, "it has no use for the tensor face.spin"),
    ],
)
def test_a_file_that_cannot_be_used_is_explained(
    trained: GaussianRenderer, change: Callable[[Tensors], Tensors], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        GaussianRenderer.from_state(TINY, change(trained.state()))


def test_it_renders_only_once_it_is_loaded(trained: GaussianRenderer, capture: Capture) -> None:
    with pytest.raises(RuntimeError, match="train with for_training"):
        trained.batch(training_data(capture), 0)
