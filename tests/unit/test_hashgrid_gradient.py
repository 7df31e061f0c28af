"""Gradients added into unhashed nodes and folded back: against the plain formula."""

from __future__ import annotations

import pytest
import torch

from realtalk_core.nn.accumulate import accumulated_loss
from realtalk_core.nn.hashgrid import (
    PlaneGrids,
    PlaneLayout,
    add_nodes_gradient,
    encode_planes,
    encode_planes_reference,
)


def case(
    count: int, log2: int, levels: int, channels: int
) -> tuple[PlaneLayout, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    layout = PlaneLayout.geometric(levels, channels, 16, 256, log2)
    points = torch.rand(3, count, generator=generator)
    points[:, :4] = torch.tensor([[0.0, 1.0, -0.5, 1.5]]).expand(3, 4)
    tables = torch.randn(layout.columns, 2**log2, generator=generator, requires_grad=True)
    return layout, points, tables, torch.randn(layout.columns, count, generator=generator)


def reference(layout: PlaneLayout, points: torch.Tensor, tables: torch.Tensor, pull: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad((encode_planes_reference(points, tables, layout) * pull).sum(), tables)[0]


@pytest.mark.parametrize(("log2", "levels", "channels"), [(14, 12, 1), (10, 4, 2), (6, 3, 1)])
@pytest.mark.parametrize("count", [7, 64, 2048, 6001])
@pytest.mark.parametrize("dead", [0.0, 0.1, 0.7, 1.0])
def test_nodes_fold_to_the_tables_gradient(log2: int, levels: int, channels: int, count: int, dead: float) -> None:
    layout, points, tables, pull = case(count, log2, levels, channels)
    pull[:, torch.rand(count, generator=torch.Generator().manual_seed(1)) < dead] = 0
    want = reference(layout, points, tables, pull)
    nodes = layout.empty_nodes()
    add_nodes_gradient(points, pull, layout, nodes)
    torch.testing.assert_close(layout.folded([nodes]), want, atol=2e-3, rtol=1e-3)
    assert (dead < 1) == bool(want.abs().sum() > 0)


def test_several_workers_nodes_are_summed_and_the_sum_is_the_same_every_time() -> None:
    layout, points, tables, pull = case(3000, 12, 6, 1)
    results = []
    for _ in range(2):
        parts = []
        for half in (slice(0, 1700), slice(1700, 3000)):
            parts.append(layout.empty_nodes())
            add_nodes_gradient(points[:, half], pull[:, half], layout, parts[-1])
        results.append(layout.folded(parts))
    assert torch.equal(*results)
    torch.testing.assert_close(results[0], reference(layout, points, tables, pull), atol=2e-3, rtol=1e-3)


def test_a_gradient_that_is_no_number_is_not_left_out() -> None:
    layout, points, _, pull = case(200, 10, 3, 1)
    pull.zero_()
    pull[4, 17] = torch.nan
    nodes = layout.empty_nodes()
    add_nodes_gradient(points, pull, layout, nodes)
    assert layout.folded([nodes]).isnan().any()


def test_nodes_as_a_sink_give_the_loss_its_gradient() -> None:
    layout, _, tables, _ = case(64, 10, 4, 1)
    grids = PlaneGrids.of(tables, layout)
    chunks = [torch.rand(3, 300, generator=torch.Generator().manual_seed(k)) for k in range(3)]

    def loss(points: torch.Tensor, sink: torch.Tensor | None) -> dict[str, torch.Tensor]:
        return {"loss": encode_planes(points, tables, layout, sink, grids).square().sum()}

    scalars = accumulated_loss(loss, chunks, [tables], tables, layout.empty_nodes, layout.folded)
    (got,) = torch.autograd.grad(scalars["loss"], tables)
    rounded = tables.detach().half().float().requires_grad_()
    total = torch.stack([encode_planes_reference(p, rounded, layout).square().sum() for p in chunks]).mean()
    torch.testing.assert_close(scalars["loss"], total, atol=0.5, rtol=1e-3)
    torch.testing.assert_close(got, torch.autograd.grad(total, rounded)[0], atol=3e-2, rtol=1e-2)
