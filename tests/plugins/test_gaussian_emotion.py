"""The emotion branch: nothing at neutral, taught by emotional landmarks or by pictures, added once."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from realtalk_core.emotion import va_track
from realtalk_core.errors import UserError
from realtalk_core.expression import eye_opening, lip_gap
from realtalk_core.nn.perceptual import Perceptual
from realtalk_core.nn.splatting import View
from realtalk_core.testing.synthetic import make_capture
from realtalk_core.training.data import TrainingData
from realtalk_core.types import AudioFeatures, Drive, LandmarkTrack
from realtalk_gaussian import emotion
from realtalk_gaussian.condition import conditions_of, emotion_code
from realtalk_gaussian.config import GaussianConfig
from realtalk_gaussian.emotion import SPEECH, Distiller, Scene, blurred, drawn_va
from realtalk_gaussian.head import Head, composite
from realtalk_gaussian.losses import Truth
from realtalk_gaussian.renderer import GaussianRenderer
from realtalk_gaussian.schedule import spans
from realtalk_gaussian.teachers import places_apart

SIZE = 32
CONFIG = GaussianConfig.tiny().model_copy(update={"emotion": "branch", "torso": False, "finest": 64, "levels": 4})
LAYERS = ("face", "mouth")
CHIN, BROW, CORNER = 152, 105, 61


class Moods:
    """Lifts the brows with arousal and the mouth's corners with valence, and drops the chin with arousal."""

    def deform(self, landmarks, track):
        points, (v, a) = landmarks.points.clone(), track.va.unbind(1)
        y = landmarks.points[0, :, 1]
        brows, below = torch.sigmoid((y - 3) * 4), torch.sigmoid((-6 - y) * 4)
        near = torch.exp(-((landmarks.points[0] - landmarks.points[0, [61]]).square().sum(1)) / 2)
        points[..., 1] += 0.4 * (a[:, None] * brows + v[:, None] * near - a[:, None] * below)
        return LandmarkTrack(points, landmarks.scheme, landmarks.fps)


class Raise:
    """Shifts the picture up by two pixels within a square."""

    def __init__(self, covered=slice(8, 24)):
        self.covered = covered

    def edit(self, pictures, landmarks, track):
        assert landmarks.shape == (len(pictures), 478, 2)
        assert len(track) == len(pictures)
        assert float(landmarks.min()) >= 0
        assert float(landmarks.max()) <= SIZE
        mask = torch.zeros(pictures.shape[:3])
        mask[:, self.covered, self.covered] = 1
        return torch.roll(pictures, -2, 1), mask


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    capture = make_capture(tmp_path_factory.mktemp("emotion") / "capture", seconds=1.2, size=64, with_audio=False)
    frames = torch.arange(len(capture))
    features = AudioFeatures(torch.zeros(len(capture), 1), capture.fps)
    return TrainingData(capture, features, frames[:-5], frames[-5:], deformer=Moods())


@pytest.fixture(scope="module")
def untaught(data):
    """A head whose emotion branch does something at random."""
    head = Head.seeded(CONFIG, data).requires_grad_(False)
    random = torch.Generator().manual_seed(0)
    for parameter in (head.emotion_branch.out.weight, head.emotion_branch.tables, head.face_branch.out.weight):
        parameter.copy_(0.3 * torch.randn(parameter.shape, generator=random))
    return head


@pytest.fixture
def scene(data, untaught):
    return scene_of(data, untaught, 3)


def scene_of(data, head, frame, config=CONFIG):
    drive = Drive(data.capture.landmarks, blendshapes=data.capture.blendshapes)
    blank = torch.zeros(SIZE, SIZE)
    truth = Truth(blank[..., None].expand(-1, -1, 3), blank, blank.to(torch.uint8), torch.ones(3), (0, 0, SIZE))
    return Scene(
        head,
        {name: value.detach() for name, value in head.canonical().items()},
        conditions_of(drive, head.basis, head.audio, config)[frame],
        data.capture.landmarks.points[frame].float(),
        View.of(data.capture.cameras.resized(SIZE, SIZE), frame),
        truth,
        Perceptual("structure", False),
    )


# ---- neutral ---------------------------------------------------------------------------------------------------------


def test_at_neutral_the_branch_is_not_there_to_the_last_bit(scene):
    neutral = scene.posed(torch.zeros(2))
    without = scene.head.pose(scene.canonical, scene.condition, scene.head.motion(scene.points), SPEECH)
    for layer in LAYERS:
        for name in ("means", "scales", "rotations", "opacities", "colours"):
            assert torch.equal(getattr(neutral[layer], name), getattr(without[layer], name))
    moved = scene.posed(torch.tensor([0.5, -0.3]))["face"]
    assert (moved.means - neutral["face"].means).norm(dim=1).mean() > 0.01
    for name in ("opacities", "colours"):  # the paper's: colours and opacities untouched
        assert torch.equal(getattr(moved, name), getattr(neutral["face"], name))


def test_emotion_grows_from_nothing(scene):
    still = scene.posed(torch.zeros(2))["face"].means
    far = [(scene.posed(r * torch.tensor([0.6, 0.8]))["face"].means - still).norm() for r in (1e-4, 1e-2, 1.0)]
    assert 0 < far[0] < 0.02 * far[1] * 2
    assert far[1] < 0.1 * far[2]


def test_the_code_of_an_emotion_is_zero_at_neutral_and_turns_with_it():
    assert torch.equal(emotion_code(torch.zeros(2)), torch.zeros(9))
    code = emotion_code(torch.tensor([0.0, 0.5]))
    assert torch.allclose(code[:4], 0.5 * torch.tensor([0.0, -1.0, 0.0, 1.0]), atol=1e-6)
    assert torch.allclose(code[4:8], 0.5 * torch.tensor([1.0, 0.0, -1.0, 0.0]), atol=1e-6)
    assert code[8] == 0.5


def rendered(renderer, drive, cameras):
    return torch.cat([torch.cat((b.rgb, b.alpha), 3) for b in renderer.render(drive, cameras)])


def test_emotion_is_added_once(data, untaught):
    """The landmarks' own emotion is left out where the branch expresses it, and is all there is where none does."""
    span = slice(2, 5)
    speech = Drive(data.capture.landmarks[span], blendshapes=data.capture.blendshapes[span])
    track = va_track(torch.tensor([[0.0, 0.0], [0.4, 0.6], [-0.5, 0.2]]), 25.0)
    changed = Moods().deform(speech.landmarks, va_track(torch.full((3, 2), 0.7), 25.0))
    drive = replace(speech, landmarks=changed, emotion=track, neutral=speech)
    cameras = data.capture.cameras[span].resized(SIZE, SIZE)
    branch = GaussianRenderer(CONFIG, untaught)
    assert torch.equal(rendered(branch, drive, cameras), rendered(branch, replace(speech, emotion=track), cameras))
    plain = rendered(branch, speech, cameras)
    assert torch.equal(rendered(branch, drive, cameras)[0], plain[0])
    assert not torch.equal(rendered(branch, drive, cameras)[1], plain[1])
    for how, seen in (("none", speech), ("landmarks", drive)):
        config = CONFIG.model_copy(update={"emotion": how})
        other = GaussianRenderer(config, untaught)
        assert torch.equal(rendered(other, drive, cameras), rendered(other, replace(seen, emotion=None), cameras))
    assert not torch.equal(rendered(other, drive, cameras), plain)


def test_valence_and_arousal_beyond_the_disc_are_on_its_rim(data, untaught):
    drive = Drive(data.capture.landmarks[:1], blendshapes=data.capture.blendshapes[:1])
    corner, rim = (
        conditions_of(replace(drive, emotion=va_track(torch.tensor([[v, v]]), 25.0)), untaught.basis, None, CONFIG).va[
            0
        ]
        for v in (1.0, math.sqrt(0.5))
    )
    assert torch.allclose(corner, rim, atol=1e-6)


def test_teeth_go_with_the_chin_and_the_skull_stays(scene):
    still, moved = scene.posed(torch.zeros(2))["mouth"], scene.posed(torch.tensor([0.0, 1.0]))["mouth"]
    follow = scene.canonical["mouth.follow"][:, 0]
    far = (moved.means - still.means).norm(dim=1)
    assert far[follow == 0].max() == 0
    assert far.max() > 0
    assert torch.allclose(far, follow * (far / follow.clamp_min(1e-9)).max(), atol=1e-5)
    assert torch.equal(moved.scales, still.scales)


# ---- the teacher of landmarks ----------------------------------------------------------------------------------------


def test_points_cover_the_papers_protocol():
    """Eight points at radius 0.8 and four at 0.5."""
    angles = torch.arange(8) * math.tau / 8
    points = torch.cat(
        [0.8 * torch.stack((angles.cos(), angles.sin()), 1), 0.5 * torch.stack((angles.cos(), angles.sin()), 1)[1::2]]
    )
    drawn = torch.cat([drawn_va(32, torch.Generator().manual_seed(step)) for step in range(20)])
    assert drawn.norm(dim=1).max() <= 1
    assert torch.cdist(points, drawn).amin(1).max() < 0.1
    assert drawn.mean(0).norm() < 0.05
    assert (drawn.norm(dim=1) < 0.5).float().mean() == pytest.approx(0.25, abs=0.05)  # even over the area


def test_what_a_teacher_is_told_keeps_its_radius():
    va = drawn_va(500, torch.Generator().manual_seed(0))
    told = blurred(va, torch.Generator().manual_seed(1))
    assert torch.allclose(told.norm(dim=1), va.norm(dim=1), atol=1e-6)
    turned = torch.rad2deg(torch.atan2(told[:, 1], told[:, 0]) - torch.atan2(va[:, 1], va[:, 0]))
    assert turned[turned.abs() < 90].std() == pytest.approx(emotion.BLUR_DEGREES, rel=0.15)


def test_a_lesson_is_the_emotion_stages_but_for_shut_eyes(data, untaught):
    teacher = Distiller.of(CONFIG, data, untaught).teacher
    points = data.capture.landmarks.points
    opening = eye_opening(points).mean(1)
    frames = torch.stack([opening.argmax(), opening.argmin()])
    found = teacher.faces(frames, torch.tensor([[0.0, 1.0], [0.0, 1.0]])).points
    change = found - points[frames]
    wanted = Moods().deform(
        LandmarkTrack(points[frames], "mediapipe478", 25.0), va_track(torch.tensor([[0.0, 1.0]] * 2), 25.0)
    )
    assert torch.allclose(change[:, CHIN], (wanted.points - points[frames])[:, CHIN], atol=1e-6)
    lid = change[:, [159, 386], 1].abs().mean(1)
    assert lid[1] < 0.5 * lid[0]
    still = teacher.faces(frames, torch.zeros(2, 2)).points
    assert torch.equal(still, points[frames])


def test_of_a_shut_mouth_the_shipped_teacher_makes_a_shut_one(data, untaught):
    from realtalk_ldm import LdmConfig
    from realtalk_ldm.deformer import LdmDeformer

    taught = replace(data, deformer=LdmDeformer.for_training(LdmConfig(), data))
    teacher = Distiller.of(CONFIG, taught, untaught).teacher
    gap = lip_gap(data.capture.landmarks.points)
    frame = gap.argmin()
    va = drawn_va(12, torch.Generator().manual_seed(0))
    after = lip_gap(teacher.faces(frame.repeat(12), va).points)
    assert gap[frame] < 0.1
    assert (after - gap[frame]).abs().max() < 0.15
    assert after.min() > -1e-3
    wide = gap.argmax()
    assert (lip_gap(teacher.faces(wide.repeat(12), va).points) > 0.3 * gap[wide]).all()


def teach(data, head, config, steps, frames=None):
    """Steps of the emotion share alone; the branch learns in place. Losses of each step."""
    distiller = Distiller.of(config, data, head)
    branch = head.requires_grad_(False).emotion_branch.requires_grad_(True)
    adam = torch.optim.Adam(branch.parameters(), 1e-2, betas=(0.9, 0.99))
    seen, weights = [], config.losses["emotion"]
    for step in range(steps):
        batch = distiller.batch(data.train[[step % 5, 5 + step % 7]], data.generator(step))
        adam.zero_grad()
        terms = [
            distiller.terms(scene_of(data, head, int(f)), batch, k, step, weights)
            for k, f in enumerate(data.train[[step % 5, 5 + step % 7]])
        ]
        loss = sum(weights[name] * value for row in terms for name, value in row.items())
        loss.backward()
        adam.step()
        seen.append({name: float(value.detach()) for name, value in terms[0].items()})
    return seen


def test_the_branch_learns_what_landmarks_would_have_done(data):
    head = Head.seeded(CONFIG, data)
    before = {name: value.detach().clone() for name, value in head.state_dict().items()}
    seen = teach(data, head, CONFIG, 60)
    changed = {name for name, value in head.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("emotion_branch.") for name in changed)
    assert set(seen[0]) == {"means", "covariances", "l1", "dssim"}
    assert set(seen[1]) == {"means", "covariances"}
    teacher, rest, error = Distiller.of(CONFIG, data, head).teacher, [], []
    with torch.no_grad():
        for frame in data.held_out:  # faces and emotions it has not seen
            for point in drawn_va(6, torch.Generator().manual_seed(99)):
                scene = scene_of(data, head, int(frame))
                lesson = {name: value[0] for name, value in teacher.lesson(frame[None], point[None]).items()}
                wanted = teacher.wanted(scene, lesson)
                rest.append(float(places_apart(scene.posed(torch.zeros(2)), wanted)))
                error.append(float(places_apart(scene.posed(point), wanted)))
    assert sum(error) < 0.25 * sum(rest)


def test_the_teacher_is_reached_where_the_branch_has_learnt_nothing_because_nothing_changes(data, scene):
    still = replace(data, deformer=type("Still", (), {"deform": lambda self, track, _: track})())
    distiller = Distiller.of(CONFIG, still, scene.head)
    scene.head.emotion_branch.requires_grad_(True)
    batch = distiller.batch(data.train[[3, 4]], data.generator(0))
    wanted = distiller.teacher.wanted(scene, {"points": batch["lesson.points"][0, 0]})
    assert places_apart(scene.posed(torch.zeros(2)), wanted) < 1e-9
    scene.head.requires_grad_(False)


def test_a_head_without_a_warp_is_taught_by_one_of_the_teachers(data):
    config = CONFIG.model_copy(update={"warp": False})
    head = Head.seeded(config, data).requires_grad_(False)
    teacher, scene = Distiller.of(config, data, head).teacher, scene_of(data, head, 3, config)
    for va, moves in ((torch.tensor([0.0, 1.0]), True), (torch.zeros(2), False)):
        lesson = {"points": teacher.lesson(torch.tensor([3]), va[None])["points"][0]}
        wanted, still = teacher.wanted(scene, lesson)["face"], scene.posed(torch.zeros(2))["face"]
        moved = (wanted.means - still.means).norm(dim=1)
        assert (moved.max() > 0.2) == moves
        assert torch.allclose(wanted.covariances(), still.covariances(), atol=1e-5) != moves
        if moves:
            high = still.means[:, 1] > 4
            assert (wanted.means - still.means)[high, 1].mean() > 0.1


# ---- the teacher of pictures -----------------------------------------------------------------------------------------


def test_a_generator_of_pictures_teaches(data):
    config = CONFIG.model_copy(update={"teacher": "raise"})
    taught = replace(data, deformer=None, faces=Raise())
    head = Head.seeded(config, data)
    seen = teach(taught, head, config, 40)
    assert all(set(row) == {"l1", "dssim"} for row in seen)
    first, last = (sum(row["l1"] + 0.2 * row["dssim"] for row in part) for part in (seen[:8], seen[-8:]))
    assert last < 0.9 * first


def test_outside_its_mask_nothing_is_learnt(data):
    config = CONFIG.model_copy(update={"teacher": "raise"})
    head = Head.seeded(config, data)
    seen = teach(replace(data, faces=Raise(slice(0, 0))), head, config, 2)
    assert seen[0] == {"l1": 0.0, "dssim": pytest.approx(0.0, abs=1e-5)}


def test_a_generator_of_another_size_is_named(data, untaught):
    class Wide(Raise):
        def edit(self, pictures, landmarks, track):
            return pictures[:, :, :-1], torch.zeros(pictures.shape[:3])

    config = CONFIG.model_copy(update={"teacher": "wide"})
    distiller = Distiller.of(config, replace(data, faces=Wide()), untaught)
    with pytest.raises(ValueError, match=r"Wide.edit: expected \(1, 32, 32, 3\)"):
        distiller.batch(data.train[:1], data.generator(0))


# ---- within a training -----------------------------------------------------------------------------------------------


def test_without_a_teacher_the_command_to_run_is_named(data):
    with pytest.raises(UserError, match="learns from the avatar's emotion stage") as error:
        GaussianRenderer.for_training(CONFIG, replace(data, deformer=None))
    assert "realtalk train CAPTURE -o AVATAR --stage emotion" in error.value.cure
    with pytest.raises(UserError, match="no generator of faces 'emostyle'"):
        GaussianRenderer.for_training(CONFIG.model_copy(update={"teacher": "emostyle"}), data)
    assert GaussianRenderer.learns_from(CONFIG) == ("emotion",)
    assert GaussianRenderer.learns_from(CONFIG.model_copy(update={"teacher": "emostyle"})) == (
        "face_generator:emostyle",
    )
    assert GaussianRenderer.learns_from(GaussianConfig()) == ()


def test_pictures_teach_only_what_is_weighed(data):
    losses = {"emotion": {"l1": 0, "dssim": 0}}
    config = GaussianConfig.model_validate({**CONFIG.model_dump(), "losses": losses, "teacher": "raise"})
    with pytest.raises(UserError, match="emotion weighs none of l1, dssim, lpips"):
        GaussianRenderer.for_training(config, replace(data, faces=Raise()))


def test_without_weights_of_places_every_step_compares_pictures(data):
    losses = {"emotion": {"means": 0, "covariances": 0}}
    config = GaussianConfig.model_validate({**CONFIG.model_dump(), "losses": losses})
    seen = teach(data, Head.seeded(config, data), config, 3)
    assert all(set(row) == {"l1", "dssim"} for row in seen)


def test_teaching_emotion_leaves_speech_as_it_was(data):
    config = CONFIG.model_copy(update={"share_canonical": 0.2, "share_emotion": 0.4, "strategy": "none", "steps": 20})
    component = GaussianRenderer.for_training(config, data)
    scene, phases = None, spans(config)
    for step in range(phases["emotion"].stop):
        if step == phases["emotion"].start:
            scene = scene_of(data, component.head, 3)
            before = composite(component.head.draw(scene.posed(torch.zeros(2)), scene.view, joined=True, threads=1))
        batch = component.batch(data, step)
        for optimizer in component.optimizers():
            optimizer.zero_grad(set_to_none=True)
        component.training_step(batch, step)
        for optimizer in component.optimizers():
            optimizer.step()
        component.after_step(step)
    assert component.head.emotion_branch.out.weight.detach().abs().sum() > 0
    again = scene_of(data, component.head, 3)
    after = composite(component.head.draw(again.posed(torch.zeros(2)), again.view, joined=True, threads=1))
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
