"""The vector kernels behind the networks' gradients, against the plain formula."""

from __future__ import annotations

import numba
import numpy as np
import pytest
import torch

from realtalk_core.nn import simd
from realtalk_core.nn.simd import BLOCK
from realtalk_core.nn.simd_gradient import (
    columns_stride,
    outer_bfloat,
    outer_float,
    split_rows,
    transpose_bfloat,
    transpose_float,
)

masked_bfloat, masked_float, pair_rows = simd.masked_bfloat, simd.masked_float, simd.pair_rows
KINDS = [False, pytest.param(True, marks=pytest.mark.skipif(not simd.bfloat_products(), reason="no bfloat16 products"))]


@numba.njit
def weight_gradient(bfloat, grads, inputs, rows, columns, into, into_bias, stride):  # type: ignore[no-untyped-def]
    g, x, r, c = grads.ctypes.data, inputs.ctypes.data, rows.ctypes.data, columns.ctypes.data
    w, b, tiles = into.ctypes.data, into_bias.ctypes.data, into_bias.shape[0] // 4
    if bfloat:
        transpose_bfloat(x, c, stride // 16, stride)
        split_rows(g, r, tiles * 2)
        outer_bfloat(r, c, w, b, tiles, stride // 16, stride)
    else:
        transpose_float(x, c, stride // 16, stride)
        outer_float(g, c, w, b, tiles, stride // 16, stride)


@numba.njit
def masked(bfloat, words, bias, inputs, kept, out, depth, tiles):  # type: ignore[no-untyped-def]
    w, b, x = words.ctypes.data, bias.ctypes.data, inputs.ctypes.data
    y, k = out.ctypes.data, kept.ctypes.data
    if bfloat:
        masked_bfloat(w, b, x, y, depth, tiles, k)
    else:
        masked_float(w, b, x, y, depth, tiles, k)


def drawn(rows: int, bfloat: bool) -> torch.Tensor:
    """Random rows of samples that bfloat16 holds exactly: torch rounds ties to even, the kernels away from zero."""
    values = torch.randn(rows, BLOCK)
    return values.bfloat16().float() if bfloat else values


def block(values: torch.Tensor, bfloat: bool) -> np.ndarray:
    """Rows of samples as layers give them."""
    words = values.contiguous().numpy().view(np.uint32)
    if not bfloat:
        return words.copy()
    out = np.zeros((len(words) // 2, BLOCK), np.uint32)
    pair_rows(words, out)
    return out


@pytest.mark.parametrize("bfloat", KINDS)
@pytest.mark.parametrize(("outputs", "inputs"), [(4, 16), (8, 48), (12, 80), (64, 112)])
def test_weight_gradient_is_the_sum_of_products(bfloat: bool, outputs: int, inputs: int) -> None:
    pull, x = drawn(outputs, bfloat), drawn(inputs, bfloat)
    stride = columns_stride(inputs)
    into = torch.randn(outputs // 4, stride // 16, 4, 16)
    bias = torch.zeros(outputs, 16)
    before = into.transpose(1, 2).reshape(outputs, stride).clone()
    rows, columns = np.zeros((outputs, BLOCK), np.uint32), np.zeros((BLOCK, stride), np.uint32)
    weight_gradient(bfloat, block(pull, bfloat), block(x, bfloat), rows, columns, into.numpy(), bias.numpy(), stride)
    found = into.transpose(1, 2).reshape(outputs, stride) - before
    torch.testing.assert_close(found[:, :inputs], pull @ x.T, atol=2e-4, rtol=2e-4)
    torch.testing.assert_close(bias.sum(1), pull.sum(1), atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("bfloat", KINDS)
def test_masked_layer_stops_where_the_relu_was_off(bfloat: bool) -> None:
    weight, x, on = torch.randn(8, 12), drawn(12, bfloat), torch.relu(drawn(8, bfloat))
    words = simd.packed(weight, bfloat).numpy().view(np.uint32)
    out = np.zeros((8 // (1 + bfloat), BLOCK), np.uint32)
    masked(bfloat, words, np.zeros(8, np.float32), block(x, bfloat), block(on, bfloat), out, 12 // (1 + bfloat), 2)
    if bfloat:
        halves = torch.from_numpy(out.view(np.int16).reshape(4, BLOCK, 2)).view(torch.bfloat16)
        found, weight = halves.permute(0, 2, 1).reshape(8, BLOCK).float(), weight.bfloat16()
    else:
        found = torch.from_numpy(out.view(np.float32))
    want = (weight.float() @ x) * (on > 0)
    torch.testing.assert_close(found, want, atol=1e-5 if not bfloat else 1e-2, rtol=1e-5 if not bfloat else 1e-2)
    assert (found[on == 0] == 0).all()
