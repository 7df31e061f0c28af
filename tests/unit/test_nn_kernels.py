"""Each kernel against its plain-torch reference: values and gradients, float32, random inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from realtalk_core.nn import simd
from realtalk_core.nn._jit import kernel
from realtalk_core.nn.accumulate import accumulated_loss
from realtalk_core.nn.attention import RegionAttention
from realtalk_core.nn.compositing import composite, composite_reference
from realtalk_core.nn.hashgrid import PlaneGrids, PlaneLayout, encode_planes, encode_planes_reference
from realtalk_core.nn.marching import Shell, march, march_reference
from realtalk_core.nn.occupancy import Occupancy
from realtalk_core.nn.parallel import in_threads
from realtalk_core.nn.warp import WarpField, evaluate, evaluate_reference, interpolate_plane


@pytest.mark.parametrize(("log2", "levels", "channels"), [(14, 12, 1), (10, 4, 2), (6, 3, 1)])
@pytest.mark.parametrize("seed", [0, 1])
def test_encoding_matches_reference(log2: int, levels: int, channels: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    layout = PlaneLayout.geometric(levels, channels, 16, 256, log2)
    points = torch.rand(3, 3001, generator=generator)
    points[:, :4] = torch.tensor([[0.0, 1.0, -0.5, 1.5]]).expand(3, 4)
    tables = torch.randn(layout.columns, 2**log2, generator=generator, requires_grad=True)
    weight = torch.randn(layout.columns, 3001, generator=generator)
    want = encode_planes_reference(points, tables, layout)
    (want_grad,) = torch.autograd.grad((want * weight).sum(), tables)
    got = encode_planes(points, tables, layout)
    (got_grad,) = torch.autograd.grad((got * weight).sum(), tables)
    torch.testing.assert_close(got, want, atol=3e-5, rtol=1e-4)
    torch.testing.assert_close(got_grad, want_grad, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize(("log2", "levels", "channels"), [(14, 12, 1), (10, 4, 2), (6, 3, 1)])
def test_unhashed_planes_read_as_the_tables_do(log2: int, levels: int, channels: int) -> None:
    generator = torch.Generator().manual_seed(2)
    layout = PlaneLayout.geometric(levels, channels, 16, 256, log2)
    points = torch.rand(3, 3001, generator=generator)
    points[:, :4] = torch.tensor([[0.0, 1.0, -0.5, 1.5]]).expand(3, 4)
    tables = torch.randn(layout.columns, 2**log2, generator=generator, requires_grad=True)
    grids = PlaneGrids.of(tables, layout)
    assert PlaneGrids.readable(tables)
    want = encode_planes_reference(points, tables.detach().half().float(), layout)
    torch.testing.assert_close(grids.encode(points), want, atol=3e-5, rtol=1e-4)
    torch.testing.assert_close(want, encode_planes_reference(points, tables, layout), atol=4e-3, rtol=2**-10)
    weight = torch.randn(layout.columns, 3001, generator=generator)
    (want_grad,) = torch.autograd.grad((encode_planes_reference(points, tables, layout) * weight).sum(), tables)
    (grad,) = torch.autograd.grad((encode_planes(points, tables, layout, grids=grids) * weight).sum(), tables)
    torch.testing.assert_close(grad, want_grad, atol=2e-3, rtol=1e-3)


@kernel
def _multiply(bfloat: bool, hidden: bool, weights: Any, bias: Any, inputs: Any, outputs: Any) -> None:
    w, b, x, y = weights.ctypes.data, bias.ctypes.data, inputs.ctypes.data, outputs.ctypes.data
    if bfloat and hidden:
        simd.hidden_bfloat(w, b, x, y, weights.shape[1], weights.shape[0])
    elif bfloat:
        simd.linear_bfloat(w, b, x, y, weights.shape[1], weights.shape[0])
    elif hidden:
        simd.hidden_float(w, b, x, y, weights.shape[1], weights.shape[0])
    else:
        simd.linear_float(w, b, x, y, weights.shape[1], weights.shape[0])


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("bfloat", [False, True])
def test_a_block_times_a_matrix_is_the_matrix_product(bfloat: bool, hidden: bool) -> None:
    if bfloat and not simd.bfloat_products():
        pytest.skip("this processor has no bfloat16 products")
    torch.manual_seed(0)
    weight, bias, inputs = torch.randn(32, 20), torch.randn(32), torch.randn(20, simd.BLOCK)
    words = inputs.view(torch.int32)
    if bfloat:
        weight, inputs = weight.bfloat16().float(), inputs.bfloat16().float()
        words = torch.empty(10, simd.BLOCK, dtype=torch.int32)
        simd.pair_rows(inputs.numpy().view(np.uint32), words.numpy().view(np.uint32))
    out = torch.zeros(16 if bfloat and hidden else 32, simd.BLOCK, dtype=torch.int32)
    _multiply(bfloat, hidden, simd.packed(weight, bfloat).numpy(), bias.numpy(), words.numpy(), out.numpy())
    want = weight @ inputs + bias[:, None]
    if not (bfloat and hidden):
        torch.testing.assert_close(out.view(torch.float32), want.relu() if hidden else want, atol=1e-5, rtol=1e-5)
        return
    pairs = out[..., None].view(torch.bfloat16).transpose(1, 2).reshape(32, simd.BLOCK).float()
    torch.testing.assert_close(pairs, want.relu(), atol=1e-5, rtol=2**-8)


@pytest.mark.parametrize("seed", [0, 1])
def test_compositing_matches_reference(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 9, (200,), generator=generator)
    counts[0] = counts[-1] = 0
    offsets = torch.cat((torch.zeros(1, dtype=torch.long), counts.cumsum(0)))
    total = int(offsets[-1]) + 5  # padding that no ray owns
    sigma = (torch.rand(total, generator=generator) * 6).requires_grad_()
    values = torch.rand(total, 3, generator=generator).requires_grad_()
    pull, pull_alpha = torch.randn(200, 3, generator=generator), torch.randn(200, generator=generator)
    results = []
    for function in (composite_reference, composite):
        out, alpha, weights = function(sigma, values, offsets, 0.4)
        grads = torch.autograd.grad((out * pull).sum() + (alpha * pull_alpha).sum(), (sigma, values))
        results.append((out.detach(), alpha.detach(), weights.detach(), *grads))
    for want, got in zip(*results, strict=True):
        torch.testing.assert_close(got, want, atol=2e-6, rtol=1e-4)
    assert results[1][3][-5:].abs().sum() == 0


@pytest.mark.parametrize("warped", [False, True])
def test_marching_matches_reference(warped: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    occupied = torch.rand(20, 24, 16, generator=generator) < 0.4
    shell = Shell(torch.tensor([-5.0, -6.0, -4.0]), 12.0, 0.5, occupied)
    grid = torch.randn(16, 16, 3, generator=generator) * 0.5
    field = WarpField(grid, torch.tensor([-4.0, -4.0]), torch.tensor([15 / 8, 15 / 8])) if warped else None
    directions = torch.nn.functional.normalize(
        torch.randn(300, 3, generator=generator) * 0.1 + torch.tensor([0, 0, -1.0]), dim=1
    )
    origin, shift = torch.tensor([0.3, -0.2, 40.0]), torch.rand(300, generator=generator)
    want = march_reference(origin, directions, shift, 0.37, shell, field, 7)
    got = march(origin, directions, shift, 0.37, shell, field, 7)
    # Samples within rounding of a cell's wall may fall either way.
    differing = (want.offsets.diff() != got.offsets.diff()).float().mean()
    assert differing < 0.02
    assert want.offsets.diff().max() == 7
    same = (want.offsets.diff() == got.offsets.diff()).nonzero().flatten().tolist()
    pairs = [
        (want.points[:, want.offsets[r] : want.offsets[r + 1]], got.points[:, got.offsets[r] : got.offsets[r + 1]])
        for r in same
    ]
    close = torch.tensor([bool(torch.allclose(a, b, atol=1e-5)) for a, b in pairs])
    assert close.float().mean() > 0.98


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_scattered_interpolation_matches_reference_and_passes_through_its_points(channels: int) -> None:
    generator = torch.Generator().manual_seed(5)
    places, values = torch.rand(60, 2, generator=generator) * 10, torch.randn(60, channels, generator=generator)
    at, weights = torch.rand(500, 2, generator=generator) * 12, torch.randn(61, channels, generator=generator)
    torch.testing.assert_close(
        evaluate(at, places, weights), evaluate_reference(at, places, weights), atol=1e-3, rtol=1e-4
    )
    assert (interpolate_plane(places, values, places) - values).abs().max() < 0.1


def test_seen_cells_match_plain_indexing() -> None:
    generator = torch.Generator().manual_seed(4)
    grid = Occupancy.over(torch.zeros(3), torch.tensor([4.0, 3.0, 2.0]), 0.5)
    points, weights = torch.rand(3, 500, generator=generator), torch.rand(500, generator=generator)
    points *= torch.tensor([1.0, 0.75, 0.5])[:, None]
    grid.mark_seen(points, weights, 7, 0.5)
    want = torch.full_like(grid.last_seen, -(10**9))
    x, y, z = (points[:, weights > 0.5] * (grid.extent / grid.cell)).long()
    want[x, y, z] = 7
    assert torch.equal(grid.last_seen, want)


def test_folded_attention_is_the_plain_form() -> None:
    torch.manual_seed(0)
    attention = RegionAttention(36, 20, 7)
    geometry, condition, weight = torch.randn(50, 36), torch.randn(7), torch.randn(11, 7)
    plain = attention(geometry, condition) @ weight.T
    folded = torch.relu(attention.inner(geometry)) @ attention.folded(weight, condition).T
    torch.testing.assert_close(folded, plain, atol=1e-5, rtol=1e-4)


def test_accumulated_loss_equals_the_mean_of_chunks() -> None:
    torch.manual_seed(0)
    weight, unused = torch.randn(4, requires_grad=True), torch.randn(2, requires_grad=True)
    chunks = [torch.randn(6, 4) for _ in range(5)]
    scalars = accumulated_loss(lambda x, _: {"loss": (x @ weight).square().mean()}, chunks, [weight, unused])
    scalars["loss"].backward()
    want = torch.stack([(x @ weight).square().mean() for x in chunks]).mean()
    torch.testing.assert_close(scalars["loss"], want)
    (grad,) = torch.autograd.grad(want, weight)
    torch.testing.assert_close(weight.grad, grad)
    assert unused.grad is None


def test_a_sink_receives_the_same_gradient() -> None:
    layout = PlaneLayout.geometric(3, 1, 8, 32, 8)
    tables = torch.randn(layout.columns, 256, requires_grad=True)
    chunks = [torch.rand(3, 50) for _ in range(3)]

    def loss(points: torch.Tensor, sink: torch.Tensor | None) -> dict[str, torch.Tensor]:
        return {"loss": encode_planes(points, tables, layout, sink).square().sum()}

    plain = torch.autograd.grad(accumulated_loss(loss, chunks, [tables])["loss"], tables)[0]
    sunk = torch.autograd.grad(accumulated_loss(loss, chunks, [tables], sunk=tables)["loss"], tables)[0]
    torch.testing.assert_close(sunk, plain)


def test_threads_split_by_position_and_leave_torch_as_it_was() -> None:
    before = torch.get_num_threads()
    assert in_threads(lambda worker, share: (worker, share), list("abcde"), 2) == [
        (0, ["a", "c", "e"]),
        (1, ["b", "d"]),
    ]
    assert torch.get_num_threads() == before
