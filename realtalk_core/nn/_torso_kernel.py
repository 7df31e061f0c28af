"""Kernels of `torso`: a dense multi-resolution picture read and differentiated, and whole pixels in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from realtalk_core.nn import simd
from realtalk_core.nn._jit import inlined, kernel

BLOCK = simd.BLOCK
CHANNELS = 2
WIDTH = 32
"""Hidden units, and as many features of the picture."""


@inlined
def _corner(place: Any, side: Any) -> Any:
    """Cell and share of the next one, of a coordinate in [0, 1] on a grid of `side` cells."""
    at = min(max(place, np.float32(0)), np.float32(1)) * np.float32(side)
    cell = min(np.int32(at), np.int32(side - 1))
    return cell, at - np.float32(cell)


@kernel
def encode(points: Any, tables: Any, sides: Any, starts: Any, out: Any) -> None:
    """Fills `out (N, 2 L)` with bilinear reads of `tables (V, 2)` at `points (N, 2)`."""
    for level in range(sides.shape[0]):
        side, start, column = sides[level], starts[level], CHANNELS * level
        for i in range(points.shape[0]):
            x, s = _corner(points[i, 0], side)
            y, t = _corner(points[i, 1], side)
            k = start + y * (side + 1) + x
            for c in range(CHANNELS):
                near = tables[k, c] + s * (tables[k + 1, c] - tables[k, c])
                far = tables[k + side + 1, c] + s * (tables[k + side + 2, c] - tables[k + side + 1, c])
                out[i, column + c] = near + t * (far - near)


@kernel
def encode_backward(points: Any, grad: Any, tables: Any, sides: Any, starts: Any, into: Any, moved: Any) -> None:
    """Adds the tables' gradient into `into (V, 2)` and the points' into `moved (N, 2)`, given `grad (N, 2 L)`."""
    one = np.float32(1)
    for level in range(sides.shape[0]):
        side, start, column = sides[level], starts[level], CHANNELS * level
        for i in range(points.shape[0]):
            x, s = _corner(points[i, 0], side)
            y, t = _corner(points[i, 1], side)
            k = start + y * (side + 1) + x
            below = k + side + 1
            for c in range(CHANNELS):
                g = grad[i, column + c]
                a, b, d, e = tables[k, c], tables[k + 1, c], tables[below, c], tables[below + 1, c]
                moved[i, 0] += g * np.float32(side) * ((one - t) * (b - a) + t * (e - d))
                moved[i, 1] += g * np.float32(side) * ((one - s) * (d - a) + s * (e - b))
                into[k, c] += g * (one - s) * (one - t)
                into[k + 1, c] += g * s * (one - t)
                into[below, c] += g * (one - s) * t
                into[below + 1, c] += g * s * t


@kernel
def render(
    pixels: Any, width: Any, height: Any, shrink: Any, tables: Any, sides: Any, starts: Any, deform: Any, body: Any,
    out: Any,
) -> None:  # fmt: skip
    """Fills `out (P, 4)` with premultiplied colour and opacity of flat pixel numbers, `BLOCK` at a time.

    `deform` holds the columns' and rows' share of the first layer `(32, W)`, `(32, H)`, with everything that is the
    same for all pixels added to the rows'; then the second and the third layer, each as packed words and bias. `body`
    is the same, with the first layer's weight for the picture's features (and a bias of zeros) before them.
    """
    across, down, second, second_bias, third, third_bias = deform
    body_across, body_down, features, nothing, body_second, body_second_bias, body_third, body_third_bias = body
    first, hidden = np.empty((WIDTH, BLOCK), np.float32), np.empty((WIDTH, BLOCK), np.float32)
    last, moved = np.empty((simd.TILE, BLOCK), np.float32), np.empty((2, BLOCK), np.float32)
    rows, columns = np.zeros(BLOCK, np.int32), np.zeros(BLOCK, np.int32)
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    a, b, c = first.ctypes.data, hidden.ctypes.data, last.ctypes.data
    for start in range(0, pixels.shape[0], BLOCK):
        count = min(BLOCK, pixels.shape[0] - start)
        for p in range(count):
            rows[p], columns[p] = pixels[start + p] // width, pixels[start + p] % width
        for j in range(WIDTH):
            for p in range(BLOCK):
                first[j, p] = max(across[j, columns[p]] + down[j, rows[p]], zero)
        simd.hidden_float(second.ctypes.data, second_bias.ctypes.data, a, b, WIDTH, WIDTH // simd.TILE)
        simd.linear_float(third.ctypes.data, third_bias.ctypes.data, b, c, WIDTH, 1)
        for p in range(BLOCK):
            moved[0, p] = half + shrink * ((np.float32(columns[p]) + half) / width - half) + last[0, p]
            moved[1, p] = half + shrink * ((np.float32(rows[p]) + half) / height - half) + last[1, p]
        for level in range(sides.shape[0]):
            side, begin = sides[level], starts[level]
            for p in range(BLOCK):
                x, s = _corner(moved[0, p], side)
                y, t = _corner(moved[1, p], side)
                k = begin + y * (side + 1) + x
                below = k + side + 1
                for channel in range(CHANNELS):
                    near = tables[k, channel] + s * (tables[k + 1, channel] - tables[k, channel])
                    far = tables[below, channel] + s * (tables[below + 1, channel] - tables[below, channel])
                    first[CHANNELS * level + channel, p] = near + t * (far - near)
        simd.linear_float(features.ctypes.data, nothing.ctypes.data, a, b, WIDTH, WIDTH // simd.TILE)
        for j in range(WIDTH):
            for p in range(BLOCK):
                hidden[j, p] = max(hidden[j, p] + body_across[j, columns[p]] + body_down[j, rows[p]], zero)
        simd.hidden_float(body_second.ctypes.data, body_second_bias.ctypes.data, b, a, WIDTH, WIDTH // simd.TILE)
        simd.linear_float(body_third.ctypes.data, body_third_bias.ctypes.data, a, c, WIDTH, 1)
        for p in range(count):
            alpha = one / (one + np.exp(-last[3, p]))
            out[start + p, 3] = alpha
            for channel in range(3):
                out[start + p, channel] = alpha / (one + np.exp(-last[channel, p]))
