"""The tri-plane renderer's losses and schedules: what each term rewards, when it acts, and that training has it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from realtalk_core.capture import PARTS
from realtalk_core.config import load_config
from realtalk_core.nn.marching import Samples
from realtalk_core.testing.synthetic import make_capture
from realtalk_core.training.data import TrainingData
from realtalk_core.training.frame_bank import LIPS_SIDE, FrameBank
from realtalk_core.types import AudioFeatures
from realtalk_triplane_nerf.config import TriplaneNerfConfig
from realtalk_triplane_nerf.field import FrameCondition, TriplaneField
from realtalk_triplane_nerf.head import Rendered
from realtalk_triplane_nerf.losses import doubt_loss, doubt_weights, doubts, gate_norm, smoothness, spacing, thin
from realtalk_triplane_nerf.renderer import TriplaneNerf
from realtalk_triplane_nerf.schedule import gate_offset, pixels_of, ramp, rate, smooths

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))
from lpips_doubles import pin

TINY = TriplaneNerfConfig.tiny()


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    return make_capture(tmp_path_factory.mktemp("losses") / "capture", seconds=1.0, size=64, with_audio=False)


@pytest.fixture(scope="module")
def data(capture):
    frames = torch.arange(len(capture))
    return TrainingData(capture, AudioFeatures(torch.zeros(len(capture), 1), capture.fps), frames[:-5], frames[-5:])


def train(config, data, steps):
    component = TriplaneNerf.for_training(config, data)
    seen = []
    for step in range(steps):
        for optimizer in component.optimizers():
            optimizer.zero_grad(set_to_none=True)
        scalars = component.training_step(component.batch(data, step), step)
        scalars["loss"].backward()
        for optimizer in component.optimizers():
            optimizer.step()
        component.after_step(step)
        seen.append({name: value.item() for name, value in scalars.items()})
    return component, seen


def some_samples(rays=40, each=5):
    points = torch.rand(3, rays * each)
    weights = torch.full((rays * each,), 0.9 / each)
    offsets = torch.arange(0, rays * each + 1, each)
    return Rendered(torch.rand(rays, 3), torch.full((rays,), 0.9), weights, Samples(points, offsets))


def test_kinds_of_pixels_follow_the_schedule():
    ours = TINY.model_copy(update={"steps": 10, "patch_from": 0.6})
    assert [pixels_of(ours, k) for k in range(10)] == ["scattered"] * 7 + ["patches", "scattered", "patches"]
    paper = ours.model_copy(update={"lips_from": 0.6})
    assert [pixels_of(paper, k) for k in range(10)] == ["scattered"] * 6 + ["lips", "patches"] * 2


def test_weights_ramp_and_rates_fall_as_in_the_paper():
    paper = TINY.model_copy(update={"steps": 100, "ramp": 1.0, "lr_fall": 0.5, "lr_fall_lips": 0.05, "lips_from": 0.6})
    assert [ramp(paper, k) for k in (0, 49, 99, 120)] == [0.01, 0.5, 1.0, 1.0]
    assert ramp(TINY, 0) == 1.0
    for done, want in ((0, 1.0), (40, 0.5**0.4), (60, 0.05**0.6), (100, 0.05)):
        assert rate(paper, done) == pytest.approx(want)
    smooth = paper.model_copy(update={"smooth_weight": 1e-5})
    assert [k for k in range(40) if smooths(smooth, k)] == [0, 16, 32]
    assert not smooths(paper, 0)


def test_uncertain_rays_count_more_but_never_alone():
    doubt = torch.tensor([0.0, 0.0, 0.0, 4.0])
    even, uneven = doubt_weights(doubt, 0.0), doubt_weights(doubt, 1.0)
    torch.testing.assert_close(even, torch.ones(4))
    assert uneven[3] > 2 > uneven[0] > 0.2
    assert doubt_weights(torch.cat((torch.zeros(999), torch.tensor([20.0]))), 1.0).max() <= 8.2 + 1e-5


def test_uncertainty_settles_at_the_size_of_the_errors_and_vanishes_outside():
    error = torch.zeros(30, 3)
    error[:10], error[10:20] = 0.5, 0.05
    inside = torch.arange(30) < 20
    raw = torch.full((30,), 0.5, requires_grad=True)
    optimizer = torch.optim.Adam([raw], 0.02)
    for _ in range(500):
        optimizer.zero_grad()
        doubt_loss(torch.nn.functional.softplus(raw), error, inside).backward()
        optimizer.step()
    found = torch.nn.functional.softplus(raw.detach())
    large, small, outside = (float(found[k : k + 10].mean()) for k in (0, 10, 20))
    assert large > 3 * small
    # By hand: the minimum of e / 2b² + log(b)² / 2 over b = u + 1 with e = 0.5 · √3 lies at b² log b = e.
    beta = torch.tensor(large + 1)
    assert float(beta**2 * beta.log()) == pytest.approx(0.5 * 3**0.5, rel=0.05)
    assert outside < 0.05


def test_uncertainty_is_read_where_a_ray_ends():
    torch.manual_seed(0)
    field = TriplaneField(TINY.model_copy(update={"uncertainty_weight": 0.01}), 6, 1)
    torch.nn.init.normal_(field.tables)
    out = some_samples()
    found = doubts(field, out)
    mean = out.samples.points.reshape(3, 40, 5).mean(2)
    want = 0.9 * torch.nn.functional.softplus(field.doubt(field.geometry(mean))[:, 0])
    torch.testing.assert_close(found, want, rtol=1e-3, atol=1e-4)
    empty = Rendered(
        torch.zeros(2, 3), torch.zeros(2), torch.zeros(0), Samples(torch.zeros(3, 0), torch.zeros(3).long())
    )
    assert doubts(field, empty).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("count", "most"), [(0, 8), (8, 8), (9, 8), (15, 8), (16, 8), (1000, 64)])
def test_few_points_are_taken_from_everywhere(count, most):
    points = torch.arange(count).repeat(3, 1)
    found = thin(points, most)
    assert found.shape[1] <= most
    assert torch.equal(found[0], torch.arange(found.shape[1]) * spacing(count, most))
    assert not count or found[0, -1] >= count - spacing(count, most)


def test_smoothness_is_what_a_small_step_changes():
    torch.manual_seed(0)
    field, out = TriplaneField(TINY, 6, 1), some_samples()
    condition = FrameCondition(torch.zeros(6), torch.zeros(15))
    directions = torch.nn.functional.normalize(torch.randn(40, 3), dim=1)
    jitter = torch.rand(3, 64) * 2 - 1
    flat = smoothness(field, out, condition, directions, jitter)
    torch.nn.init.normal_(field.tables)
    rough = smoothness(field, out, condition, directions, jitter)
    assert 0 <= flat < 1e-6 < rough
    assert smoothness(field, out, condition, directions, 0 * jitter) == 0
    rough.backward()
    assert field.tables.grad.abs().sum() > 0


def test_the_papers_preset_learns(data):
    params = load_config(preset="paper").stages["renderer"].config.model_dump()
    own = TriplaneNerfConfig().model_dump()
    tiny = {name: value for name, value in TINY.model_dump().items() if value != own[name] and name != "lr_net"}
    config = TriplaneNerfConfig(**{**params, **tiny, "coarsest": 8})
    assert (config.condition, config.landmarks, config.warp, config.gate_offset) == ("window", "ibug68", False, 0)
    component, seen = train(config, data, 40)
    assert sum(s["colour"] for s in seen[20:24]) < 0.8 * sum(s["colour"] for s in seen[:4])
    assert component.context_frames == 1


def test_patches_learn_under_lpips_where_it_is(data, tmp_path, monkeypatch):
    pin(tmp_path, monkeypatch)
    config = TINY.model_copy(update={"patch_from": 0.0, "patch_weight": 1.0, "patch_size": 32, "steps": 12})
    component, seen = train(config, data, 12)
    assert component.remarks == ("renderer: patches are compared by LPIPS",)
    distances = [scalars["perceptual"] for scalars in seen if "perceptual" in scalars]
    assert len(distances) == 6
    assert distances[-1] < 0.9 * distances[0]
    assert not any("lpips" in name for name in component.training_state())


def test_every_term_is_trained_and_off_by_its_weight(data):
    paper = TINY.model_copy(
        update={
            "steps": 40, "uncertainty_weight": 0.01, "smooth_weight": 1e-5, "ramp": 1.0, "patch_from": 0.6,
            "lips_from": 0.6, "condition_noise": 0.1, "lr_attention": 5e-3, "decay_attention": 1e-4, "momentum": 0.0,
            "perceptual": "structure",
        }
    )  # fmt: skip
    component, seen = train(paper, data, 40)
    assert component.trainer.field.doubt is not None
    assert not torch.equal(
        component.trainer.field.doubt[0].weight, TriplaneNerf.for_training(paper, data).field.doubt[0].weight
    )
    assert [k for k, scalars in enumerate(seen) if "perceptual" in scalars] == list(range(24, 40))
    assert sum(s["colour"] for s in seen[20:24]) < 0.6 * sum(s["colour"] for s in seen[:4])
    again = TriplaneNerf.from_state(paper, component.state())
    assert torch.isfinite(again.field.tables).all()
    assert TriplaneNerf.for_training(TINY, data).field.doubt is None


def test_weight_decay_shrinks_gates_alone(data):
    config = TINY.model_copy(update={"decay_attention": 0.5, "lr_attention": 1e-2})
    component = TriplaneNerf.for_training(config, data)
    optimizer = component.optimizers()[0]
    before = {name: value.detach().clone() for name, value in component.field.named_parameters()}
    for value in component.field.parameters():
        value.grad = torch.zeros_like(value)
    optimizer.step()
    for name, value in component.field.named_parameters():
        scale = 1 - 0.5e-2 if name.startswith(("mouth.", "eyes.")) else 1.0
        torch.testing.assert_close(value.detach(), scale * before[name])


def test_gates_take_over_from_their_offset(data):
    config = TINY.model_copy(update={"gate_fade": 0.5, "gate_sparsity": 1e-2, "steps": 20})
    assert [gate_offset(config, step) for step in (0, 5, 10, 20)] == [1.0, 0.5, 0.0, 0.0]
    assert gate_offset(TINY, 39) == 1.0
    assert gate_offset(TINY.model_copy(update={"attention": False, "gate_offset": 0.0}), 39) == 1.0
    component, _ = train(config, data, 5)
    assert component.field.gate_offset == 0.5
    again = TriplaneNerf.from_state(config, component.state())
    assert again.field.gate_offset == 0.5
    resumed = TriplaneNerf.for_training(config, data)
    resumed.load_training_state(component.training_state())
    assert resumed.field.gate_offset == 0.5
    earlier = {name: value for name, value in component.state().items() if name != "gate_offset"}
    assert TriplaneNerf.from_state(TINY, earlier).field.gate_offset == 1.0


def test_sparsity_closes_gates_that_nothing_holds_open():
    torch.manual_seed(0)
    field = TriplaneField(TINY.model_copy(update={"gate_offset": 0.0}), 6, 1)
    geometry = torch.randn(64, field.layout.columns)
    before = gate_norm(field, geometry)
    optimizer = torch.optim.Adam([*field.mouth.parameters(), *field.eyes.parameters()], 1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        gate_norm(field, geometry).backward()
        optimizer.step()
    assert gate_norm(field, geometry) < 0.02 * before
    assert gate_norm(field, geometry[:0]) == 0


def test_noise_moves_the_condition_of_training_and_of_nothing_else(data):
    config = TINY.model_copy(update={"condition_noise": 0.5})
    component = TriplaneNerf.for_training(config, data)
    noise = torch.cat([component.batch(data, step)["noise"] for step in range(100)])
    assert float(noise.std()) == pytest.approx(0.5, rel=0.08)
    assert "noise" not in TriplaneNerf.for_training(TINY, data).batch(data, 0)


def test_rectangles_hold_the_lips(capture):
    bank = FrameBank.load(capture, torch.arange(8), 64)
    height, width = bank.lips_shape
    assert min(height, width) >= LIPS_SIDE
    lips = torch.tensor([PARTS["lips"], PARTS["inside_mouth"]], dtype=torch.uint8)
    for row in range(8):
        pixels = bank.lips(row)
        assert len(pixels.unique()) == height * width
        inside = torch.zeros(64 * 64, dtype=torch.bool)
        inside[pixels] = True
        mouth = torch.isin(bank.label[row].flatten(), lips)
        assert mouth.any()
        assert inside[mouth].float().mean() > 0.95


def test_what_patches_are_compared_by_is_said(data, tmp_path, monkeypatch):
    monkeypatch.setenv("REALTALK_MODELS", str(tmp_path))
    monkeypatch.setattr("realtalk_core.models.cache_folder", lambda: tmp_path)
    patches = TINY.model_copy(update={"patch_from": 0.5})
    (remark,) = TriplaneNerf.for_training(patches, data).remarks
    assert "structure and gradients; for LPIPS put alexnet" in remark
    assert TriplaneNerf.for_training(TINY.model_copy(update={"patch_from": 1.0}), data).remarks == ()
    assert TriplaneNerf.for_training(patches.model_copy(update={"perceptual": "structure"}), data).remarks == ()
