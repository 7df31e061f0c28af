"""What never moves: measured, within its bound whatever the face does, and gone when the bound is zero."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from realtalk_core.capture import Capture
from realtalk_core.nn import simd
from realtalk_core.testing.synthetic import make_capture
from realtalk_core.training.data import TrainingData
from realtalk_core.types import AudioFeatures, Drive
from realtalk_triplane_nerf.config import TriplaneNerfConfig
from realtalk_triplane_nerf.fused import Counts, FusedField, available
from realtalk_triplane_nerf.renderer import TriplaneNerf
from realtalk_triplane_nerf.still import NEVER, StillParts, changes, coded, conditions_in_range

SIZE = 40


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return make_capture(tmp_path_factory.mktemp("still") / "capture", seconds=1.0, size=64, with_audio=False)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def trained(capture: Capture, request: pytest.FixtureRequest) -> TriplaneNerf:
    if request.param == "bfloat16" and not simd.bfloat_products():
        pytest.skip("this processor has no bfloat16 products")
    frames = torch.arange(len(capture))
    data = TrainingData(capture, AudioFeatures(torch.zeros(len(capture), 1), capture.fps), frames[:-5], frames[-5:])
    component = TriplaneNerf.for_training(
        TriplaneNerfConfig.tiny().model_copy(update={"precision": request.param}), data
    )
    for step in range(40):
        for optimizer in component.optimizers():
            optimizer.zero_grad(set_to_none=True)
        component.training_step(component.batch(data, step), step)["loss"].backward()
        for optimizer in component.optimizers():
            optimizer.step()
        component.after_step(step)
    return TriplaneNerf.from_state(component.config, component.state())


def made(component: TriplaneNerf, tolerance: float, outer: float = 1.0) -> tuple[FusedField, list]:
    """A field that knows what is still, with gates `outer` times as strong, and conditions it has not seen."""
    config = component.config.model_copy(update={"static_tolerance": tolerance, "tolerance": 0.0})
    renderer = TriplaneNerf.from_state(config, component.state())
    assert available(renderer.field)
    basis = renderer.head.basis
    for gates in (renderer.field.mouth, renderer.field.eyes):
        assert gates is not None
        gates.outer.weight.data *= outer
    fused = FusedField.of(renderer.field, renderer.shell, config, conditions_in_range(basis, config))
    return fused, conditions_in_range(basis, config, seed=7)


def pictures(fused: FusedField, conditions: list, capture: Capture) -> tuple[Tensor, Counts]:
    camera = capture.cameras.resized(SIZE, SIZE)[:1]
    done = [fused.render(condition, None, camera) for condition in conditions]
    return torch.stack([d[0] for d in done]), Counts(*(sum(c) for c in zip(*(d[1] for d in done), strict=True)))


@pytest.mark.parametrize(("tolerance", "outer"), [(1 / 256, 1.0), (0.05, 1.0), (0.05, 0.02), (1 / 256, 0.0)])
def test_no_condition_moves_a_picture_by_more_than_the_bound(
    capture: Capture, trained: TriplaneNerf, tolerance: float, outer: float
) -> None:
    fused, conditions = made(trained, tolerance, outer)
    exact, _ = made(trained, 0.0, outer)
    a, spared = pictures(fused, conditions, capture)
    b, whole = pictures(exact, conditions, capture)
    assert b[..., 3].amax() > 0.5
    rounding = 0.02 if fused.bfloat else 1e-4  # another sum than the gates', in eight bits
    assert (a - b).abs().amax() <= tolerance + (rounding if spared.still else 1e-6)
    assert (a - b).abs().mean() <= tolerance / 4
    assert whole.still == 0
    assert spared.densities <= whole.densities
    if outer == 0:
        assert spared.still == spared.densities
        assert fused.still.still == 1


def test_at_zero_nothing_is_measured_and_pictures_are_the_same_bits(
    capture: Capture, trained: TriplaneNerf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FusedField, "_probe", lambda *_: pytest.fail("measured"))
    fused, conditions = made(trained, 0.0)
    unknowing = FusedField.of(fused.field, trained.shell, fused.config)
    (a, counts), (b, others) = (pictures(f, conditions, capture) for f in (fused, unknowing))
    assert torch.equal(a, b)
    assert counts == others
    assert torch.equal(fused.still.occupied, trained.shell.occupied)
    assert (fused.still.strays == NEVER).all()
    drive = Drive(capture.landmarks, blendshapes=capture.blendshapes)
    config = trained.config.model_copy(update={"static_tolerance": 0.0})
    renderer = TriplaneNerf.from_state(config, trained.state())
    assert len(next(iter(renderer.render(drive[:1], capture.cameras.resized(SIZE, SIZE)[:1])))) == 1


def test_cells_that_are_empty_under_all_conditions_are_passed_by(capture: Capture, trained: TriplaneNerf) -> None:
    shell = trained.shell

    def probe(places: Tensor) -> tuple[Tensor, Tensor]:
        solid = places[0] * shell.extent > 0.5 * shell.cell * shell.occupied.shape[0]
        return torch.where(solid, 0.9, 0.0), torch.where(places[1] > 0.5, 0.3, 0.0)

    still = StillParts.measured(shell, probe, 1 / 256, trained.config.step_cm)
    nodes = shell.occupied.shape[0]  # of two parts a cell: the middle
    assert not still.occupied[: nodes - 1].any()
    parts = shell.occupied.repeat_interleave(2, 0).repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert torch.equal(still.occupied[nodes:], parts[nodes:])
    assert 0 < still.empty < 1
    assert 0 < still.still < 1
    assert (changes()[still.strays[still.occupied].long()] >= 0).all()


def test_a_codes_change_is_never_smaller_than_what_was_measured() -> None:
    measured = torch.cat((torch.zeros(1), torch.logspace(-8, 0, 500)))
    table = changes()[coded(measured).long()]
    assert (table >= measured).all()
    assert (table <= measured * 1.06 + 1.1e-6).all()
    assert changes()[NEVER] > 1e6


@pytest.mark.parametrize("form", ["components", "window"])
def test_conditions_reach_as_far_as_faces_do_and_are_the_same_every_time(trained: TriplaneNerf, form: str) -> None:
    config = trained.config.model_copy(update={"condition": form})
    some, again = (conditions_in_range(trained.head.basis, config) for _ in range(2))
    assert all(torch.equal(a.landmarks, b.landmarks) for a, b in zip(some, again, strict=True))
    assert all(a.scores.min() >= 0 and a.scores.max() <= 1 for a in some)
    if form == "components":
        reach = torch.stack([a.landmarks for a in some]).abs().max()
        assert 2 < reach <= 4.5
        assert some[0].landmarks.abs().max() < 1e-3


@pytest.mark.parametrize("tolerance", [-0.1, 0.6])
def test_bounds_that_mean_nothing_are_refused(tolerance: float) -> None:
    with pytest.raises(ValidationError, match="static_tolerance"):
        TriplaneNerfConfig(static_tolerance=tolerance)
