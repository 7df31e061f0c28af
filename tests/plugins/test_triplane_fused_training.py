"""The networks' training kernel against the plain form: values, gradients, and what it may leave out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from realtalk_core.nn import simd
from realtalk_core.nn.conditioning import score_columns
from realtalk_core.nn.hashgrid import PlaneLayout
from realtalk_triplane_nerf import _train_kernel, fused_training
from realtalk_triplane_nerf.config import TriplaneNerfConfig
from realtalk_triplane_nerf.field import FrameCondition, TriplaneField

TINY = TriplaneNerfConfig.tiny()
RAYS = 20
bfloat16 = pytest.mark.skipif(not simd.bfloat_products(), reason="no bfloat16 products")


def made(count: int = 300, **changes: Any) -> tuple[TriplaneField, FrameCondition, Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    config = TINY.model_copy(update=changes)
    features = 612 if config.condition == "window" else 6
    field = TriplaneField(config, features, 2)
    torch.nn.init.normal_(field.tables)
    if field.individual is not None:
        torch.nn.init.normal_(field.individual)
    condition = FrameCondition(torch.randn(features), torch.rand(len(score_columns(config.blendshapes))), 1)
    rays = torch.randint(RAYS, (count,)).sort().values
    return field, condition, torch.rand(3, count), torch.randn(RAYS, 16), rays


def outcome(field: TriplaneField, condition: FrameCondition, points: Tensor, views: Tensor | None, rays: Tensor) -> Any:
    """Values, and gradients by every parameter, of a loss in which every value counts differently."""
    sigma, colour = field(points, condition, views, rays)
    count, names = points.shape[1], [name for name, _ in field.named_parameters()]
    values = [sigma[:count]] if colour is None else [sigma[:count], colour[:count]]
    pull = torch.Generator().manual_seed(2)
    loss = sum((value * torch.randn(value.shape, generator=pull)).sum() for value in values)
    found = torch.autograd.grad(loss, list(field.parameters()), allow_unused=True)
    grads = {name: grad for name, grad in zip(names, found, strict=True) if grad is not None}
    return [v.detach() for v in values], grads


def plainly(monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> Any:
    with monkeypatch.context() as patch:
        patch.setattr(fused_training, "available", lambda _: False)
        return outcome(*arguments)


def distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm().clamp(min=1e-12))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"attention": False},
        {"blendshapes": "none"},
        {"individual": 0, "width": 18},
        {"grid": "volume"},
        {"condition": "window", "channels": 3, "width": 40},
    ],
)
@pytest.mark.parametrize("coloured", [True, False])
def test_values_and_gradients_are_the_plain_ones(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], coloured: bool
) -> None:
    field, condition, points, views, rays = made(**changes)
    assert fused_training.available(field)
    given = (field, condition, points, views if coloured else None, rays)
    values, grads = outcome(*given)
    plain_values, plain_grads = plainly(monkeypatch, *given)
    assert set(grads) == set(plain_grads)
    for value, plain in zip(values, plain_values, strict=True):
        torch.testing.assert_close(value, plain, atol=1e-5, rtol=1e-5)
    for name, plain in plain_grads.items():
        assert distance(grads[name], plain) < 1e-5, name


@bfloat16
def test_bfloat_is_as_near_to_float_as_the_plain_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_training, "SPARE", 0.0)
    field, *given = made(2000, width=64)
    exact_values, exact = plainly(monkeypatch, field, *given)
    field.compute = torch.bfloat16
    values, grads = outcome(field, *given)
    plain_values, plain = plainly(monkeypatch, field, *given)
    for value, rounded, want in zip(values, plain_values, exact_values, strict=True):
        assert distance(value, want) < 0.05
        assert distance(value, want) < 1.5 * distance(rounded, want)
    errors = {name: (distance(grads[name], want), distance(plain[name], want)) for name, want in exact.items()}
    assert max(ours for ours, _ in errors.values()) < 0.12, errors
    assert sum(ours for ours, _ in errors.values()) < 1.2 * sum(theirs for _, theirs in errors.values()), errors


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65])
def test_any_number_of_samples(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    given = made(count)
    values, grads = outcome(*given)
    plain_values, plain = plainly(monkeypatch, *given)
    for value, want in zip(values, plain_values, strict=True):
        torch.testing.assert_close(value, want, atol=1e-5, rtol=1e-5)
    for name, want in plain.items():
        torch.testing.assert_close(grads[name], want, atol=1e-4, rtol=1e-4)


def test_a_sink_gets_what_autograd_would() -> None:
    field, condition, points, views, rays = made(grid="planes")
    layout = field.layout
    assert isinstance(layout, PlaneLayout)
    nodes = layout.empty_nodes()
    sigma, colour = field(points, condition, views, rays, nodes)
    names = [name for name, _ in field.named_parameters()]
    loss = (sigma * torch.linspace(0, 1, len(sigma))).sum() + colour.sum()
    found = torch.autograd.grad(loss, list(field.parameters()), allow_unused=True)
    assert found[names.index("tables")] is None
    sigma, colour = field(points, condition, views, rays)
    loss = (sigma * torch.linspace(0, 1, len(sigma))).sum() + colour.sum()
    plain = torch.autograd.grad(loss, list(field.parameters()), allow_unused=True)
    torch.testing.assert_close(layout.folded([nodes]), plain[names.index("tables")], atol=1e-5, rtol=1e-4)
    assert float(plain[names.index("tables")].abs().max()) > 1e-3
    for name, one, other in zip(names, found, plain, strict=True):
        assert name == "tables" or one is other or torch.equal(one, other), name


def test_twice_the_same_bits() -> None:
    given = made(1000)
    given[0].compute = torch.bfloat16 if simd.bfloat_products() else torch.float32
    (first, grads), (second, again) = outcome(*given), outcome(*given)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(grads[name], again[name]) for name in grads)


def selected(spare: float, seed: int) -> tuple[Tensor, Tensor]:
    """Which of a thousand samples with gradients of all sizes are kept, and the kept gradients in their places."""
    torch.manual_seed(0)
    size = torch.exp(-8 * torch.rand(1000))
    by_colour = size[:, None] * torch.randn(1000, 3)
    given = torch.ones(1000), size * torch.randn(1000).sign(), torch.full((1000, 3), 0.5), by_colour
    shuffle = torch.randperm(1000, generator=torch.Generator().manual_seed(seed))
    order, pulls = np.empty(1000, np.int64), np.empty((4, 1000), np.float32)
    kept = _train_kernel.select(
        *(x[shuffle].contiguous().numpy() for x in given), np.float32(3000), np.float32(spare), order, pulls
    )
    out = torch.zeros(4, 1000)
    out[:, shuffle[order[:kept]]] = torch.from_numpy(pulls[:, :kept])
    return shuffle[order[:kept]], out


def test_spared_samples_come_out_right_on_average() -> None:
    everything, whole = selected(0.0, 0)
    assert len(everything) == 1000
    runs = [selected(1.0, seed) for seed in range(64)]
    assert sum(len(kept) for kept, _ in runs) < 0.8 * 64_000
    errors = torch.stack([out.sum(1) - whole.sum(1) for _, out in runs])
    single, average = errors.norm(dim=1).mean(), errors.mean(0).norm()
    assert 0 < average < single / 4
    large = whole[0].abs() >= whole[0].abs().mean()
    assert all(torch.equal(out[:, large], whole[:, large]) for _, out in runs)


def test_no_gradient_no_work() -> None:
    order, pulls = np.empty(5, np.int64), np.empty((1, 5), np.float32)
    none = np.empty((0, 3), np.float32)
    zero, one = np.zeros(5, np.float32), np.ones(5, np.float32)
    assert _train_kernel.select(one, zero, none, none, np.float32(10), np.float32(0.1), order, pulls) == 0
    assert _train_kernel.select(one * 10, one, none, none, np.float32(10), np.float32(0), order, pulls) == 0  # clamped


def test_other_devices_and_processors_take_the_plain_form(monkeypatch: pytest.MonkeyPatch) -> None:
    field = made()[0]
    assert fused_training.available(field)
    monkeypatch.setattr(simd, "bfloat_products", lambda: False)
    assert fused_training.available(field)
    field.compute = torch.bfloat16
    assert not fused_training.available(field)
