"""The tri-plane renderer on the synthetic capture: learning, resuming, conditions, extrapolation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from realtalk_core.capture import Capture
from realtalk_core.errors import ShapeError, UserError
from realtalk_core.nn import simd
from realtalk_core.nn.conditioning import LANDMARK_CODE, soft_clamp
from realtalk_core.nn.marching import Shell
from realtalk_core.testing.synthetic import make_capture
from realtalk_core.training.data import TrainingData
from realtalk_core.training.frame_bank import rarity, thinned
from realtalk_core.types import AudioFeatures, Drive
from realtalk_triplane_nerf.condition import WindowCode
from realtalk_triplane_nerf.config import TriplaneNerfConfig
from realtalk_triplane_nerf.field import FrameCondition, TriplaneField
from realtalk_triplane_nerf.fused import FARTHEST, distance_to_matter
from realtalk_triplane_nerf.renderer import TriplaneNerf

TINY = TriplaneNerfConfig.tiny()


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return make_capture(tmp_path_factory.mktemp("nerf") / "capture", seconds=1.0, size=64, with_audio=False)


def training_data(capture: Capture) -> TrainingData:
    frames = torch.arange(len(capture))
    return TrainingData(capture, AudioFeatures(torch.zeros(len(capture), 1), capture.fps), frames[:-5], frames[-5:])


def train(component: TriplaneNerf, data: TrainingData, start: int, stop: int) -> list[float]:
    losses = []
    for step in range(start, stop):
        for optimizer in component.optimizers():
            optimizer.zero_grad(set_to_none=True)
        loss = component.training_step(component.batch(data, step), step)["loss"]
        loss.backward()
        for optimizer in component.optimizers():
            optimizer.step()
        component.after_step(step)
        losses.append(loss.item())
    return losses


def drive(capture: Capture) -> Drive:
    return Drive(capture.landmarks, blendshapes=capture.blendshapes)


@pytest.mark.parametrize(
    "change",
    [
        {}, {"condition": "window"}, {"landmarks": "ibug68"}, {"warp": False}, {"attention": False}, {"grid": "volume"},
        {"blendshapes": "none"},
    ],
)  # fmt: skip
def test_every_form_learns_and_survives_its_file(capture: Capture, change: dict[str, object]) -> None:
    config = TINY.model_copy(update={"patch_from": 0.5, "steps": 24} | change)
    data = training_data(capture)
    component = TriplaneNerf.for_training(config, data)
    losses = train(component, data, 0, 24)
    assert losses[20] + losses[22] < 0.8 * (losses[0] + losses[2])  # every other late step is one of patches
    again = TriplaneNerf.from_state(config, component.state())
    cameras = capture.cameras.resized(32, 32)
    a, b = (next(iter(r.render(drive(capture), cameras))) for r in (component, again))
    assert torch.equal(a.rgb, b.rgb)
    assert a.alpha is not None
    assert a.alpha.amax() > 0.5


def test_training_resumes_to_the_same_weights(capture: Capture) -> None:
    data = training_data(capture)
    whole = TriplaneNerf.for_training(TINY, data)
    train(whole, data, 0, 20)
    first = TriplaneNerf.for_training(TINY, data)
    train(first, data, 0, 17)
    second = TriplaneNerf.for_training(TINY, data)
    second.load_training_state(first.training_state())
    for mine, theirs in zip(second.optimizers(), first.optimizers(), strict=True):
        mine.load_state_dict(theirs.state_dict())
    train(second, data, 17, 20)
    for name, value in whole.training_state().items():
        assert torch.equal(value, second.training_state()[name]), name


def test_a_window_frame_needs_exactly_its_stated_context(capture: Capture) -> None:
    config = TINY.model_copy(update={"condition": "window", "steps": 4})
    data = training_data(capture)
    component = TriplaneNerf.for_training(config, data)
    train(component, data, 0, 4)
    cameras, whole = capture.cameras.resized(32, 32), drive(capture)
    assert component.context_frames == 1
    renderer = TriplaneNerf.from_state(config, component.state())
    frames = torch.cat([b.rgb for b in renderer.render(whole[:8], cameras[:8])])
    part = torch.cat([b.rgb for b in renderer.render(whole[3:6], cameras[3:6])])
    assert torch.equal(part[1], frames[4])


def test_folding_the_condition_changes_nothing() -> None:
    config = TINY.model_copy(update={"individual": 0})
    field = TriplaneField(config, 6, 1)
    torch.nn.init.normal_(field.tables)
    condition = FrameCondition(torch.randn(6), torch.rand(15))
    points = torch.rand(3, 100)
    (sigma, _), geometry = field(points, condition), field.geometry(points)
    assert field.mouth is not None
    assert field.eyes is not None
    code = field.code(condition.landmarks)
    gated = (field.mouth(geometry, code) + code, field.eyes(geometry, condition.scores) + condition.scores)
    x = torch.relu(field.first(torch.cat((geometry, *gated), 1)))
    x = field.third(torch.relu(field.second(x)))
    torch.testing.assert_close(sigma[:100], torch.exp(x[:, 0].clamp(max=8)), atol=1e-4, rtol=1e-3)


@pytest.fixture(scope="module")
def trained(capture: Capture) -> TriplaneNerf:
    data = training_data(capture)
    component = TriplaneNerf.for_training(TINY, data)
    train(component, data, 0, 30)
    return TriplaneNerf.from_state(TINY, component.state())


def both_ways(component: TriplaneNerf, capture: Capture, config: TriplaneNerfConfig) -> tuple[Tensor, Tensor]:
    """Premultiplied pictures by the fused kernel and by the plain form."""
    renderer = TriplaneNerf.from_state(config, component.state())
    cameras, pictures = capture.cameras.resized(48, 48)[:3], []
    for plain in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("realtalk_triplane_nerf.renderer.available", lambda _, plain=plain: not plain)
            whole = [torch.cat((b.rgb * b.alpha, b.alpha), -1) for b in renderer.render(drive(capture)[:3], cameras)]
        pictures.append(torch.cat(whole))
    return pictures[0], pictures[1]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "change", [{}, {"width": 23, "individual": 0}, {"warp": False, "levels": 3}, {"attention": False}]
)
def test_the_fused_kernel_gives_the_plain_picture(
    capture: Capture, trained: TriplaneNerf, precision: str, change: dict[str, object]
) -> None:
    if precision == "bfloat16" and not simd.bfloat_products():
        pytest.skip("this processor has no bfloat16 products")
    config = TINY.model_copy(update={"precision": precision, "tolerance": 0.0, "static_tolerance": 0.0} | change)
    if change:
        data = training_data(capture)
        trained = TriplaneNerf.for_training(config, data)
        train(trained, data, 0, 12)
    fused, plain = both_ways(trained, capture, config)
    assert plain[..., 3].amax() > 0.3
    # Samples within rounding of a cell's wall may fall either way; bfloat16 carries eight bits.
    assert (fused - plain).abs().mean() < (1e-4 if precision == "float32" else 2e-3)
    assert ((fused - plain).abs() > (2e-3 if precision == "float32" else 3e-2)).float().mean() < 2e-3


def test_tolerance_bounds_what_sparing_samples_changes(capture: Capture, trained: TriplaneNerf) -> None:
    pictures = [both_ways(trained, capture, TINY.model_copy(update={"tolerance": t}))[0] for t in (0.0, 0.02, 0.2)]
    for tolerance, picture in zip((0.02, 0.2), pictures[1:], strict=True):
        # Premultiplied colours pass through a division by alpha and back: a hair more than the bound.
        assert 0 < (picture - pictures[0]).abs().max() <= tolerance * 1.01


def test_a_region_limits_work_but_not_what_is_in_it(capture: Capture, trained: TriplaneNerf) -> None:
    cameras = capture.cameras.resized(48, 48)[:2]
    region = torch.zeros(2, 48, 48, dtype=torch.bool)
    region[:, 10:30, 15:40] = True
    whole = next(iter(trained.render(drive(capture)[:2], cameras)))
    part = next(iter(trained.render(drive(capture)[:2], cameras, region)))
    assert whole.alpha is not None
    assert part.alpha is not None
    assert torch.equal(part.rgb[region], whole.rgb[region])
    assert torch.equal(part.alpha[region], whole.alpha[region])
    assert part.alpha[~region].abs().sum() == 0
    assert whole.alpha[~region].abs().sum() > 0
    with pytest.raises(ShapeError, match="region is"):
        trained.render(drive(capture)[:2], cameras, region[:1])


def test_distances_to_matter_are_those_of_a_search() -> None:
    occupied = torch.zeros(9, 20, 7, dtype=torch.bool)
    occupied[2, 3, 4] = occupied[7, 1, 0] = True
    cells = torch.stack(torch.meshgrid(*(torch.arange(n) for n in occupied.shape), indexing="ij"), -1)
    want = (cells[..., None, :] - occupied.nonzero()).abs().amax(-1).amin(-1).clamp(max=FARTHEST)
    assert torch.equal(distance_to_matter(Shell(torch.zeros(3), 1.0, 0.1, occupied)), want.to(torch.uint8))


def test_exaggerated_faces_still_render_whole(capture: Capture) -> None:
    data = training_data(capture)
    component = TriplaneNerf.for_training(TINY, data)
    train(component, data, 0, 20)
    neutral = capture.tracks.neutral
    wild = neutral + 2.5 * (capture.landmarks.points - neutral)
    cameras = capture.cameras.resized(32, 32)
    plain = torch.cat([b.alpha for b in component.render(drive(capture), cameras)])
    track = replace(capture.landmarks, points=wild)
    strong = torch.cat([b.alpha for b in component.render(Drive(track, blendshapes=capture.blendshapes), cameras)])
    assert torch.isfinite(strong).all()
    assert strong.sum() > 0.9 * plain.sum()


def test_wrong_drives_are_refused_with_a_cure(capture: Capture) -> None:
    data = training_data(capture)
    component = TriplaneNerf.for_training(TINY, data)
    cameras = capture.cameras.resized(32, 32)
    with pytest.raises(UserError, match="needs blendshapes"):
        component.render(Drive(capture.landmarks), cameras)
    sparse = Drive(capture.landmarks.to_scheme("ibug68"), blendshapes=capture.blendshapes)
    with pytest.raises(UserError, match="trained on 478 landmarks and is given 68"):
        component.render(sparse, cameras)
    with pytest.raises(UserError, match="no frame shows a face"):
        TriplaneNerf.for_training(TINY, replace(data, train=torch.zeros(0, dtype=torch.long)))


def test_rare_frames_are_favoured_and_kept(capture: Capture) -> None:
    points = capture.landmarks.points[:1].repeat(50, 1, 1)
    points[7, 14, 1] -= 1.5
    weights = rarity(points)
    assert weights.argmax() == 7
    assert weights[7] > 1.5 * weights[0]
    kept = thinned(weights, 10)
    assert len(kept) == 10
    assert 7 in kept
    assert (kept.diff() > 0).all()
    uneven = 0.2 + 4.8 * torch.rand(1000).square()
    some = thinned(uneven, 600)
    assert len(some) >= 599
    assert uneven[some].mean() > 1.1 * uneven.mean()
    assert torch.equal(thinned(weights, 50), torch.arange(50))


def test_the_papers_condition_attends_over_its_window() -> None:
    torch.manual_seed(0)
    code = WindowCode()
    features = torch.randn(3, 204)
    assert code(features.flatten()).shape == (LANDMARK_CODE,)
    assert not torch.allclose(code(features.flatten()), code(features.flip(0).flatten()))


def test_coefficients_saturate_softly() -> None:
    values = soft_clamp(torch.linspace(-20, 20, 400), 3.0)
    assert (values.diff() >= 0).all()
    assert values.abs().max() <= 4.5


def test_the_avatar_file_is_small(capture: Capture, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    component = TriplaneNerf.for_training(TriplaneNerfConfig(size=64, cell_cm=0.35), training_data(capture))
    save_file(component.state(), tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").stat().st_size < 10e6
