"""Learning with Gaussians: the table of losses, phases, targets of normals, and that training learns and resumes."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from realtalk_core import checkpoint
from realtalk_core.capture import PARTS
from realtalk_core.nn.perceptual import Perceptual
from realtalk_core.nn.rays import project
from realtalk_core.testing.face import neutral_face
from realtalk_core.testing.synthetic import make_capture
from realtalk_core.training.data import TrainingData
from realtalk_core.training.loop import LoopOptions, StageFiles, StageTraining, TrainingStopped
from realtalk_core.types import AudioFeatures
from realtalk_gaussian import realtalk_components
from realtalk_gaussian.cloud import Cloud
from realtalk_gaussian.condition import FrameCondition
from realtalk_gaussian.config import GaussianConfig
from realtalk_gaussian.loss_table import DEFAULT, complete
from realtalk_gaussian.losses import Truth, emphasis, normal_losses, opening_loss, picture_losses, weighed
from realtalk_gaussian.normals import KeptNormals, NormalMap, SurfaceNormals
from realtalk_gaussian.renderer import GaussianRenderer
from realtalk_gaussian.schedule import phase_of, rate, spans
from realtalk_gaussian.training import SlowHarmonics

TINY = GaussianConfig.tiny()
STRUCTURE = Perceptual("structure")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    capture = make_capture(tmp_path_factory.mktemp("gaussian") / "capture", seconds=1.0, size=64, with_audio=False)
    frames = torch.arange(len(capture))
    return TrainingData(capture, AudioFeatures(torch.zeros(len(capture), 1), capture.fps), frames[:-5], frames[-5:])


def test_a_given_weight_takes_the_place_of_its_own_alone():
    table = GaussianConfig(losses={"motion": {"dssim": 0.7}}).losses
    assert table["motion"]["dssim"] == 0.7
    assert table["motion"]["l1"] == DEFAULT["motion"]["l1"]
    assert table["canonical"] == DEFAULT["canonical"]
    assert GaussianConfig(losses=table).losses == table  # as a checkpoint gives it back


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"motin": {}}, "unknown phase 'motin' - did you mean 'motion'"),
        ({"motion": {"dsim": 1}}, "motion: unknown term 'dsim' - did you mean 'dssim'"),
        (
            {"motion": {"sync": 0.05}},
            "motion.sync: the term sync cannot be learnt from yet: it needs a lip-sync expert",
        ),
        ({"motion": {"l1": -1}}, "motion.l1: the weight must be a number of at least 0, got -1"),
        ({"motion": {"l1": True}}, "motion.l1: the weight must be a number"),
        ({"motion": 3}, "motion: must map terms to weights"),
        ([], "must map phases to weights"),
        (
            {"finetune": dict.fromkeys(("l1", "dssim", "lpips", "alpha", "opening"), 0)},
            "finetune: nothing would be learnt; give a weight to one of l1, dssim, lpips, alpha, opening",
        ),
        ({"emotion": dict.fromkeys(("means", "covariances", "l1", "dssim"), 0)}, "emotion: nothing would be learnt"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(given, said):
    with pytest.raises(ValueError, match=said):
        complete(given)


def test_a_pending_term_may_stand_in_the_table_without_weight():
    assert complete({"motion": {"sync": 0}})["motion"]["sync"] == 0


def test_phases_share_the_steps_without_gap():
    config = GaussianConfig(steps=100, share_canonical=0.2, share_emotion=0.3, share_finetune=0.1, emotion="branch")
    found = spans(config)
    assert [len(steps) for steps in found.values()] == [20, 40, 30, 10]
    assert [step for steps in found.values() for step in steps] == list(range(100))
    assert [phase_of(config, step) for step in (0, 20, 60, 90, 99, 100)] == [
        "canonical", "motion", "emotion", "finetune", "finetune", "finetune"
    ]  # fmt: skip
    assert len(spans(config.model_copy(update={"emotion": "landmarks"}))["emotion"]) == 0
    assert rate(config, 0, 0, 100) == rate(config, 10, 60, 90) == 1
    assert rate(config, 100, 0, 100) == rate(config, 95, 60, 90) == pytest.approx(config.lr_fall)


def truth_of(head, alpha, label=None, backdrop=(0.2, 0.5, 0.9)):
    label = torch.zeros(alpha.shape, dtype=torch.uint8) if label is None else label
    return Truth(head, alpha, label, torch.tensor(backdrop), (2, 3, 16))


def test_a_perfect_picture_loses_nothing_and_only_weighed_terms_are_computed():
    alpha = torch.rand(32, 32, generator=torch.Generator().manual_seed(0))
    head = alpha[..., None] * torch.rand(32, 32, 3, generator=torch.Generator().manual_seed(1))
    terms = picture_losses(
        {"l1": 1, "dssim": 0.2, "lpips": 1, "alpha": 1}, head, alpha, truth_of(head, alpha), STRUCTURE
    )
    assert all(float(value) == pytest.approx(0, abs=1e-5) for value in terms.values())
    assert set(picture_losses({"l1": 1, "dssim": 0}, head, alpha, truth_of(head, alpha), STRUCTURE)) == {"l1"}


def test_a_wrong_mouth_counts_more_than_wrong_hair():
    label = torch.full((32, 32), PARTS["hair_ears"], dtype=torch.uint8)
    label[:4, :4] = PARTS["inside_mouth"]
    assert emphasis(label)[0, 0] > 3 * emphasis(label)[20, 20]
    alpha, head = torch.ones(32, 32), torch.zeros(32, 32, 3)
    lost = []
    for place in (slice(0, 4), slice(20, 24)):
        wrong = head.clone()
        wrong[place, place] = 1
        lost.append(picture_losses({"l1": 1}, wrong, alpha, truth_of(head, alpha, label), STRUCTURE)["l1"])
    assert lost[0] > 3 * lost[1]


def test_a_halo_is_seen_over_other_backdrops():
    alpha = torch.zeros(32, 32)
    head = torch.zeros(32, 32, 3)
    halo = torch.full((32, 32), 0.5)
    grey = picture_losses({"l1": 1}, 0.5 * halo[..., None].expand(-1, -1, 3), halo, truth_of(head, alpha), STRUCTURE)
    same = truth_of(head, alpha, backdrop=(0.5, 0.5, 0.5))
    hidden = picture_losses({"l1": 1}, 0.5 * halo[..., None].expand(-1, -1, 3), halo, same, STRUCTURE)
    assert float(hidden["l1"]) == pytest.approx(0, abs=1e-6)
    assert grey["l1"] > 0.05


def test_a_face_that_covers_its_openings_loses():
    label = torch.zeros(16, 16, dtype=torch.uint8)
    label[4:8, 4:8] = PARTS["inside_mouth"]
    assert float(opening_loss(torch.ones(16, 16), label)) == pytest.approx(16 / 256)
    assert float(opening_loss((label == 0).float(), label)) == 0


def test_kept_normals_are_small_and_come_back():
    face = torch.tensor(neutral_face(), dtype=torch.float32)
    pose = torch.tensor([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 46], [0, 0, 0, 1]])
    intrinsics = torch.tensor([[384.0, 0, 128], [0, 384, 128], [0, 0, 1]])
    made = SurfaceNormals().normals(face, pose, intrinsics, 256)
    kept = KeptNormals.of(made)
    assert kept.normals.nbytes + kept.known.nbytes < 256 * 256 * 13 / 40
    back = kept.map()
    assert torch.equal(back.known, made.known)
    assert not back.normals[~back.known].any()
    assert float((back.normals - made.normals).norm(dim=2).max()) < 0.2
    assert float((back.normals - made.normals).norm(dim=2)[made.known].mean()) < 0.02


def test_the_sum_of_terms_is_weighed():
    assert float(weighed({"l1": 2.0}, {})["loss"]) == 0
    made = weighed({"l1": 2.0, "alpha": 0.5}, {"l1": torch.tensor(3.0), "alpha": torch.tensor(4.0)})
    assert float(made["loss"]) == 8


def test_normals_of_the_surface_point_outwards_and_to_the_sides():
    face = torch.tensor(neutral_face(), dtype=torch.float32)
    pose = torch.tensor([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 46], [0, 0, 0, 1]])
    intrinsics = torch.tensor([[96.0, 0, 32], [0, 96, 32], [0, 0, 1]])
    found = SurfaceNormals().normals(face, pose, intrinsics, 64)
    assert found.normals[found.known].norm(dim=1).allclose(torch.ones(int(found.known.sum())))
    assert not found.normals[~found.known].any()
    assert found.normals[found.known][:, 2].min() > 0
    cheeks = project(face[[234, 454]], pose, intrinsics).round().long()
    middle = (cheeks[:, 1].sum() // 2).item()
    row = found.normals[middle][found.known[middle]]
    assert row[0, 0] < -0.2 < 0.2 < row[-1, 0]


def test_normals_are_compared_where_they_are_known_alone():
    target = NormalMap(torch.zeros(8, 8, 3), torch.zeros(8, 8, dtype=torch.bool))
    target.normals[2:4, 2:4, 2] = 1
    target.known[2:4, 2:4] = True
    drawn, alpha = torch.zeros(8, 8, 3), torch.ones(8, 8)
    drawn[..., 2] = 1
    terms = normal_losses({"normals": 1, "normals_tv": 1}, drawn, alpha, target)
    assert {name: float(value) for name, value in terms.items()} == {"normals": 0, "normals_tv": 0}
    turned = normal_losses({"normals": 1}, drawn.roll(1, 2), alpha, target)
    assert float(turned["normals"]) == pytest.approx(8 / (8 * 8 * 3))


def train(component, data, steps):
    """Steps as the loop takes them; the scalars of each."""
    seen = []
    for step in steps:
        for optimizer in component.optimizers():
            optimizer.zero_grad(set_to_none=True)
        batch = component.batch(data, step)
        scalars = component.training_step(batch, step)
        for optimizer in component.optimizers():
            optimizer.step()
        component.after_step(step)
        seen.append({name: float(value) for name, value in scalars.items()})
    return seen


def test_pictures_come_closer_to_the_film(data):
    config = TINY.model_copy(update={"steps": 120, "torso": False})
    seen = train(GaussianRenderer.for_training(config, data), data, range(120))
    for name in ("l1", "dssim", "alpha"):
        assert sum(s[name] for s in seen[-20:]) < 0.85 * sum(s[name] for s in seen[:20])


def test_each_phase_teaches_its_own_part_and_gaussians_are_counted(data):
    component = GaussianRenderer.for_training(TINY, data)
    before = {name: value.detach().clone() for name, value in component.head.named_parameters()}
    first = spans(TINY)["finetune"].start
    seen = train(component, data, range(first))
    at = {name: value.detach().clone() for name, value in component.head.named_parameters()}
    assert seen[-1]["gaussians"] == len(component.head.face) + len(component.head.mouth) > seen[0]["gaussians"]
    assert seen[-1]["gaussians"] <= TINY.max_gaussians
    moved = {n for n in at if at[n].shape != before[n].shape or not torch.equal(at[n], before[n])}
    assert {"face.means", "mouth.colours", "face_branch.tables", "mouth_branch.out.weight"} <= moved
    train(component, data, range(first, TINY.steps))
    now = dict(component.head.named_parameters())
    assert {n for n in now if not torch.equal(now[n], at[n])} == {
        f"{cloud}.{part}" for cloud in ("face", "mouth") for part in ("colours", "opacities")
    }


def test_the_canonical_head_is_learnt_without_branches(data):
    component = GaussianRenderer.for_training(TINY, data)
    before = component.head.face_branch.first.weight.detach().clone()
    seen = train(component, data, range(2))
    assert torch.equal(component.head.face_branch.first.weight, before)
    assert set(seen[0]) == {"l1", "dssim", "alpha", "opening", "loss", "gaussians", "torso"}


def test_normals_are_learnt_where_the_table_weighs_them(data):
    losses = complete({"canonical": {"normals": 5, "normals_tv": 0.005, "normals_residual": 0.001}})
    config = TINY.model_copy(
        update={"losses": losses, "share_canonical": 1.0, "share_finetune": 0.0, "torso": False, "strategy": "none"}
    )
    component = GaussianRenderer.for_training(config, data)
    seen = train(component, data, range(24))
    assert seen[-1]["normals"] < 0.9 * seen[0]["normals"]
    assert component.head.face.normals.detach().abs().sum() > 0


def fitted(folder, data, resume=False, progress=lambda *_: None):
    """What `realtalk train` leaves of the component."""
    spec, options = next(iter(realtalk_components())), LoopOptions(previews=0)
    files = StageFiles(folder, "renderer")
    training = StageTraining(spec, TINY, data, "digest", files, options, progress=progress)
    training.run(GaussianRenderer.for_training(TINY, data), resume=resume)
    return {name: checkpoint.load(file)[1] for name, file in (("made", files.checkpoint), ("state", files.state))}


def test_another_estimator_of_normals_can_be_handed_in(data):
    class Everywhere:
        """Says that all of the picture faces the side."""

        def normals(self, points, pose, intrinsics, size):
            return NormalMap(torch.tensor([1.0, 0, 0]).expand(size, size, 3), torch.ones(size, size, dtype=torch.bool))

    config = TINY.model_copy(update={"losses": complete({"canonical": {"normals": 1}}), "torso": False})
    seen = [
        train(GaussianRenderer.for_training(config, data, normals), data, range(1))[0]["normals"]
        for normals in (None, Everywhere())
    ]
    assert seen[1] > 1.5 * seen[0]


def test_gaussians_can_be_kept_small_and_sheer(data):
    """What 3DGS-MCMC adds to the loss, against its definition; and a step of it pulls all Gaussians that way."""
    row = dict.fromkeys(DEFAULT["canonical"], 0.0) | {"l1": 1e-9, "opacities": 1.0, "scales": 2.0}
    losses = complete({"canonical": row})
    component = GaussianRenderer.for_training(TINY.model_copy(update={"losses": losses, "torso": False}), data)
    clouds = [component.head.face, component.head.mouth]
    with torch.no_grad():
        sheer = torch.cat([cloud.active_opacities for cloud in clouds]).mean()
        small = torch.cat([cloud.active_scales for cloud in clouds]).mean() / (component.head.box[3] / 2)
    seen = train(component, data, range(1))[0]
    assert seen["opacities"] == pytest.approx(float(sheer), rel=1e-5)
    assert seen["scales"] == pytest.approx(float(small), rel=1e-5)
    for cloud in clouds:
        assert (cloud.opacities.grad > 0).all()
        assert (cloud.scales.grad >= 0).all()


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("straight"), data)


@pytest.mark.parametrize("stop", [3, 8, 9, 38])
def test_interrupted_anywhere_it_ends_in_the_same_bits(data, uninterrupted, tmp_path, stop):
    """Before, at and after a densification (after every fourth step), and among the last steps."""

    def press_ctrl_c(step, *_):
        if step == stop:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(TrainingStopped):
        fitted(tmp_path, data, progress=press_ctrl_c)
    torch.rand(100)
    resumed = fitted(tmp_path, data, resume=True)
    for name, tensors in uninterrupted.items():
        assert resumed[name].keys() == tensors.keys()
        assert all(torch.equal(resumed[name][key], tensors[key]) for key in tensors)


def test_what_colours_owe_to_the_view_learns_at_a_twentieth():
    cloud = Cloud(5, 1)
    optimizer = torch.optim.Adam([cloud.colours], 0.02)
    slow = SlowHarmonics(optimizer, [cloud])
    cloud.colours.grad = torch.ones_like(cloud.colours)
    optimizer.step()
    assert slow.clouds[0].colours.detach()[:, :1].allclose(torch.tensor(-0.02))
    assert cloud.colours.detach()[:, 1:].allclose(torch.tensor(-0.001))


def test_a_branch_told_of_a_face_unlike_any_filmed_stays_within_bounds(data):
    head = GaussianRenderer.for_training(TINY, data).trainer.head
    torch.nn.init.normal_(head.face_branch.out.weight, std=30.0, generator=torch.Generator().manual_seed(0))
    said = head.code.sizes
    condition = FrameCondition(
        torch.full((TINY.components,), 4.5), torch.ones(said[1]), torch.zeros(1, 0), torch.zeros(2)
    )
    canonical = {name: value.detach() for name, value in head.requires_grad_(False).canonical().items()}
    moved, still = (head.pose(canonical, condition, None, acting)["face"] for acting in (("face",), ()))
    grown = (moved.scales / still.scales).log().abs()
    shifted = (moved.means - still.means).abs()
    assert 0.3 < float(grown.max()) <= 0.5 + 1e-5
    assert 0.4 < float(shifted.max()) <= 0.6 + 1e-5
    assert float(moved.shade.abs().max()) <= 0.15 + 1e-6
