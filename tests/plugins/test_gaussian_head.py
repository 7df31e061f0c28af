"""The Gaussian head before any training: where its Gaussians are, how they move, and what is drawn of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from realtalk_core.capture import PARTS, Capture
from realtalk_core.expression import eye_opening, lip_gap
from realtalk_core.nn.mouth import depth_inside
from realtalk_core.nn.splatting import View
from realtalk_core.testing.synthetic import make_capture
from realtalk_core.training.data import TrainingData
from realtalk_core.training.frame_bank import FrameBank
from realtalk_core.types import AudioFeatures, Drive
from realtalk_gaussian.branches import Branch
from realtalk_gaussian.cloud import Cloud
from realtalk_gaussian.condition import conditions_of
from realtalk_gaussian.config import GaussianConfig
from realtalk_gaussian.head import BRANCHES, Head, composite
from realtalk_gaussian.rigid import EYE_RADIUS, eye_centres, motions, moved_rigidly
from realtalk_gaussian.rigid import PARTS as RIGID
from realtalk_gaussian.seeding import face_points, mouth_points, outlines, towards

CONFIG = GaussianConfig.tiny().model_copy(update={"gaussians": 3000, "warp_side": 64, "emotion": "branch"})
SIZE = 64


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    capture = make_capture(tmp_path_factory.mktemp("gaussian") / "capture", seconds=1.4, size=SIZE, with_audio=False)
    frames = torch.arange(len(capture))
    return TrainingData(capture, AudioFeatures(torch.zeros(len(capture), 4), capture.fps), frames, frames[:0])


@pytest.fixture(scope="module")
def head(data: TrainingData) -> Head:
    return Head.seeded(CONFIG, data).requires_grad_(False)


def views(capture: Capture, frame: int) -> View:
    return View.of(capture.cameras, frame)


def conditions(data: TrainingData, head: Head):
    return conditions_of(Drive(data.capture.landmarks, blendshapes=data.capture.blendshapes), head.basis, None, CONFIG)


def drawn(data: TrainingData, head: Head, frame: int) -> tuple[Tensor, Tensor]:
    motion = head.motion(data.capture.landmarks.points[frame])
    posed = head.pose(head.canonical(), conditions(data, head)[frame], motion)
    return composite(head.draw(posed, views(data.capture, frame)))


def test_an_untrained_head_looks_like_the_person(data: TrainingData, head: Head) -> None:
    for frame in (0, 12, 25):
        bank = FrameBank.load(data.capture, torch.tensor([frame]), SIZE)
        colour, alpha = drawn(data, head, frame)
        inside = torch.isin(bank.label[0], torch.tensor([PARTS[n] for n in ("skin", "nose", "lips", "brows")]))
        error = (colour - bank.head[0] / 255)[inside].square().mean()
        assert float(error) < 10**-1.8
        assert float(alpha[inside].mean()) > 0.97
        assert float(alpha[bank.alpha[0] == 0].mean()) < 0.1


def test_no_hole_where_mouth_and_eyes_are_open(data: TrainingData, head: Head) -> None:
    points = data.capture.landmarks.points
    for frame in (int(lip_gap(points).argmax()), int(eye_opening(points).mean(1).argmax())):
        label = FrameBank.load(data.capture, torch.tensor([frame]), SIZE).label[0]
        shown = torch.isin(label, torch.tensor([PARTS["inside_mouth"], PARTS["eyes"]], dtype=label.dtype))
        assert int(shown.sum()) > 3
        assert float(drawn(data, head, frame)[1][shown].amin()) > 0.9


def test_the_face_has_openings_and_what_lies_behind_them_is_not_skin(head: Head) -> None:
    rings = outlines(478)
    for name in ("lips", "right_eye", "left_eye"):
        inside = depth_inside(head.face.means[:, :2], head.template[rings[name], :2]) > 0.1
        assert not bool(inside.any()), name
        behind = depth_inside(head.mouth.means[:, :2], head.template[rings[name], :2]) > 0
        assert int(behind.sum()) > 5, name


def test_gaussians_are_spread_evenly_and_denser_where_detail_is(head: Head) -> None:
    generator = torch.Generator().manual_seed(0)
    points = face_points(head.template, 2000, generator)
    assert abs(len(points.means) - 2000) < 40
    nearest = (torch.cdist(points.means, points.means) + 99 * torch.eye(len(points.means))).amin(1)
    share = nearest / points.spacing
    assert float(share.amin()) > 0.6
    assert float(share.quantile(0.95)) < 1.3
    lips = head.template[outlines(478)["lips"]]
    near = torch.cdist(points.means, lips).amin(1) < 0.5
    far = points.means[:, 1] > 4
    assert float(nearest[near].median()) < 0.75 * float(nearest[far].median())


@pytest.mark.parametrize("count", [478, 68])
def test_both_landmark_schemes_seed_a_mouth(head: Head, data: TrainingData, count: int) -> None:
    face = data.capture.landmarks.to_scheme("mediapipe478" if count == 478 else "ibug68").points[0].float()
    points = mouth_points(face, 300)
    assert torch.isfinite(points.means).all()
    assert {int(k) for k in points.follow.argmax(1).unique()} == {0, 1, 2}
    assert float(points.follow.sum(1).amax()) == 1.0


def test_quaternions_turn_the_thin_axis_to_the_normal() -> None:
    from realtalk_core.nn.splat_projection import rotation_matrices

    normals = torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    torch.testing.assert_close(rotation_matrices(towards(normals))[:, :, 2], normals, atol=1e-5, rtol=0)


def test_jaw_and_eyes_move_rigidly(head: Head) -> None:
    now = head.template.clone()
    now[[152, 148, 377, 176, 400]] += torch.tensor([0.0, -1.0, -0.2])
    now[468:473] += torch.tensor([0.2, 0.0, 0.0])
    motion = motions(now, head.template)
    centre = eye_centres(head.template)[0]
    at = torch.stack((torch.zeros(3), centre + torch.tensor([0, 0, EYE_RADIUS]), centre, centre))
    follow = torch.zeros(4, len(RIGID))
    follow[0, 0] = follow[1, 1] = follow[2, 1] = follow[3, 2] = 1
    moved, jacobian = moved_rigidly(at, follow, motion)
    torch.testing.assert_close(moved[0], torch.tensor([0.0, -0.9, -0.18]))
    assert float(moved[1, 0]) == pytest.approx(0.2, abs=0.01)
    assert float(moved[2:].abs().amax()) < 1e-5
    torch.testing.assert_close(jacobian @ jacobian.transpose(1, 2), torch.eye(3).expand(4, 3, 3), atol=1e-5, rtol=0)


def test_both_layers_at_once_are_the_composite(data: TrainingData, head: Head) -> None:
    frame = int(lip_gap(data.capture.landmarks.points).argmax())
    posed = head.pose(
        head.canonical(), conditions(data, head)[frame], head.motion(data.capture.landmarks.points[frame])
    )
    view = views(data.capture, frame)
    apart, joined = (composite(head.draw(posed, view, joined=joined)) for joined in (False, True))
    for a, b in zip(apart, joined, strict=True):
        torch.testing.assert_close(a, b, atol=2e-3, rtol=0)  # one stops at 1e-4 of the light, two layers later


def test_untrained_branches_do_nothing(data: TrainingData, head: Head) -> None:
    condition, motion = conditions(data, head)[7], head.motion(data.capture.landmarks.points[7])
    canonical = head.canonical()
    without = head.pose(canonical, condition, motion, frozenset())
    excited = replace(condition, va=torch.tensor([0.5, -0.7]))
    for name, layer in head.pose(canonical, excited, motion, BRANCHES).items():
        for field in ("means", "scales", "rotations"):
            assert torch.equal(getattr(layer, field), getattr(without[name], field))


def test_the_emotion_branch_is_silent_at_neutral(data: TrainingData) -> None:
    head = Head.seeded(CONFIG, data).requires_grad_(False)
    assert head.emotion_branch is not None
    torch.manual_seed(0)
    torch.nn.init.normal_(head.emotion_branch.out.weight)
    torch.nn.init.normal_(head.emotion_branch.out.bias)
    condition, canonical = conditions(data, head)[3], head.canonical()
    motion = head.motion(data.capture.landmarks.points[3])
    neutral = head.pose(canonical, condition, motion)
    without = head.pose(canonical, condition, motion, BRANCHES - {"emotion"})
    happy = head.pose(canonical, replace(condition, va=torch.tensor([0.8, 0.3])), motion)
    barely = head.pose(canonical, replace(condition, va=torch.tensor([1e-4, 0.0])), motion)
    for name in ("face", "mouth"):
        assert torch.equal(neutral[name].means, without[name].means)
        far, near = ((p[name].means - neutral[name].means).norm(dim=1).amax() for p in (happy, barely))
        assert float(far) > 0.01
        assert 0 < float(near) < 1e-2 * float(far)
    assert torch.equal(happy["mouth"].scales, neutral["mouth"].scales)
    assert not torch.equal(happy["face"].scales, neutral["face"].scales)


def test_folding_the_condition_changes_nothing() -> None:
    torch.manual_seed(1)
    branch = Branch(CONFIG, (20, 7), 10)
    torch.nn.init.normal_(branch.tables)
    torch.nn.init.normal_(branch.out.weight)
    points, told = torch.rand(3, 50), (torch.randn(20), torch.rand(7))
    geometry = branch.geometry(points)
    gated = [gates(geometry, v) + v for gates, v in zip(branch.attention, told, strict=True)]
    x = torch.relu(branch.first(torch.cat((geometry, *gated), 1)))
    expected = branch.out(torch.relu(branch.second(x)))
    torch.testing.assert_close(branch(points, told), expected, atol=1e-4, rtol=1e-4)


def test_without_gates_the_condition_acts_everywhere() -> None:
    torch.manual_seed(1)
    branch = Branch(CONFIG.model_copy(update={"attention": False, "gate_offset": 0.0}), (20, 7), 10)
    torch.nn.init.normal_(branch.tables)
    torch.nn.init.normal_(branch.out.weight)
    points, told = torch.rand(3, 50), (torch.randn(20), torch.rand(7))
    whole = torch.cat((branch.geometry(points), torch.cat(told).expand(50, -1)), 1)
    expected = branch.out(torch.relu(branch.second(torch.relu(branch.first(whole)))))
    torch.testing.assert_close(branch(points, told), expected, atol=1e-4, rtol=1e-4)


def test_gradients_reach_everything_that_is_learnt(data: TrainingData) -> None:
    head = Head.seeded(CONFIG, data)
    for branch in (head.face_branch, head.mouth_branch, head.emotion_branch):
        torch.nn.init.normal_(branch.out.weight, std=0.1)
    frame = int(lip_gap(data.capture.landmarks.points).argmax())
    condition = replace(conditions(data, head)[frame], va=torch.tensor([0.5, 0.5]))
    posed = head.pose(head.canonical(), condition, head.motion(data.capture.landmarks.points[frame]))
    layers = head.draw(posed, views(data.capture, frame), normals=True)
    colour, alpha = composite(layers)
    assert layers.face.normals is not None
    (colour.square().sum() + alpha.sum() + layers.face.normals[..., 0].sum()).backward()
    for name, parameter in head.named_parameters():
        spared = name == "mouth.normals" or (
            name.startswith("emotion") and name.endswith("bias")
        )  # the difference has none
        if parameter.requires_grad and not spared:
            assert parameter.grad is not None, name
            assert bool(parameter.grad.abs().sum() > 0), name


def test_centres_gradient_goes_through_the_warp(data: TrainingData, head: Head) -> None:
    canonical = head.canonical()
    means = canonical["face.means"].clone().requires_grad_(True)
    motion = head.motion(data.capture.landmarks.points[20])
    assert motion is not None
    posed = head.pose(canonical | {"face.means": means}, conditions(data, head)[20], motion, frozenset())["face"]
    pull = torch.randn(posed.means.shape, generator=torch.Generator().manual_seed(0))
    (found,) = torch.autograd.grad((posed.means * pull).sum(), means)
    _, jacobian = motion.skin.read(means.detach())
    torch.testing.assert_close(found, torch.einsum("nij,ni->nj", jacobian, pull), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(posed.means, means + motion.skin.read(means.detach())[0])


def test_normals_face_the_camera_and_turn_with_the_skin(data: TrainingData, head: Head) -> None:
    canonical, condition = head.canonical(), conditions(data, head)[0]
    still = head.pose(canonical, condition, None)["face"]
    normals = still.turned_normals()
    assert float((normals.norm(dim=1) - 1).abs().amax()) < 1e-4
    assert bool((normals[:, 2] > 0).float().mean() > 0.99)
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    turned = replace(still, stretch=turn.expand(len(still.means), 3, 3)).turned_normals()
    torch.testing.assert_close(turned, normals @ turn.T, atol=1e-5, rtol=0)
    squeezed = replace(still, stretch=torch.diag(torch.tensor([1.0, 1, 1e-3])).expand(len(still.means), 3, 3))
    assert float(squeezed.turned_normals()[:, 2].abs().amin()) > 0.9


def test_other_values_keep_parameters_and_all_of_their_rows() -> None:
    cloud = Cloud(5, 1, 3)
    cloud.means.data = torch.arange(15.0).reshape(5, 3)
    kept = dict(cloud.named_parameters())
    cloud.fill({name: value.data[[3, 0, 3, 3]] for name, value in cloud.named_parameters()})
    assert cloud.means[:, 0].tolist() == [9.0, 0.0, 9.0, 9.0]
    assert len(cloud) == 4
    for name, parameter in cloud.named_parameters():
        assert parameter is kept[name]
        assert len(parameter) == 4
    larger = Cloud(1, 1, 3)
    before = larger.means
    larger.load_state_dict(cloud.state_dict())
    assert larger.means is before
    assert torch.equal(larger.means, cloud.means)
