"""Kernels of `hashvolume`: levels outside, blocks of samples inside, the channels of a level share their places."""

from __future__ import annotations

from typing import Any

import numpy as np

from realtalk_core.nn._jit import inlined, kernel

_PRIME_Y, _PRIME_Z = np.uint32(2654435761), np.uint32(805459861)
_ONE = np.uint32(1)
_BLOCK = 512


@inlined
def _places(points: Any, i: int, side: int, dense: bool, mask: Any, places: Any, shares: Any, k: int) -> None:
    """The eight entries around point `i` and how much each counts, x fastest; into columns `k`."""
    zero, one = np.float32(0), np.float32(1)
    scale, last, stride = np.float32(side), np.int32(side - 1), np.uint32(side + 1)
    u = min(max(points[0, i], zero), one) * scale
    v = min(max(points[1, i], zero), one) * scale
    w = min(max(points[2, i], zero), one) * scale
    x, y, z = min(np.int32(u), last), min(np.int32(v), last), min(np.int32(w), last)
    r, s, t = u - np.float32(x), v - np.float32(y), w - np.float32(z)
    for corner in range(8):
        a, b, c = corner & 1, (corner >> 1) & 1, corner >> 2
        i0, i1, i2 = np.uint32(x + a), np.uint32(y + b), np.uint32(z + c)
        if dense:
            places[corner, k] = (i2 * stride + i1) * stride + i0
        else:
            places[corner, k] = (i0 ^ (i1 * _PRIME_Y) ^ (i2 * _PRIME_Z)) & mask
        shares[corner, k] = (r if a else one - r) * (s if b else one - s) * (t if c else one - t)


@kernel
def encode(points: Any, tables: Any, sides: Any, out: Any) -> None:
    """Fills `out (columns, N)` with trilinear reads of `tables` at `points (3, N)`."""
    count, columns, entries = points.shape[1], sides.shape[0], tables.shape[1]
    mask = np.uint32(entries - 1)
    places, shares = np.empty((8, _BLOCK), np.uint32), np.empty((8, _BLOCK), np.float32)
    for start in range(0, count, _BLOCK):
        size = min(count - start, _BLOCK)
        for column in range(columns):
            side = sides[column]
            if column == 0 or side != sides[column - 1]:
                dense = (side + 1) ** 3 <= entries
                for k in range(size):
                    _places(points, start + k, side, dense, mask, places, shares, k)
            table, row = tables[column], out[column]
            for k in range(size):
                value = np.float32(0)
                for corner in range(8):
                    value += shares[corner, k] * table[places[corner, k]]
                row[start + k] = value


@kernel
def encode_backward(points: Any, grad: Any, sides: Any, into: Any) -> None:
    """Adds the gradient of the tables, given `grad (columns, N)`, into `into (columns, entries)`."""
    count, columns, entries = points.shape[1], sides.shape[0], into.shape[1]
    mask = np.uint32(entries - 1)
    places, shares = np.empty((8, _BLOCK), np.uint32), np.empty((8, _BLOCK), np.float32)
    for start in range(0, count, _BLOCK):
        size = min(count - start, _BLOCK)
        for column in range(columns):
            side = sides[column]
            if column == 0 or side != sides[column - 1]:
                dense = (side + 1) ** 3 <= entries
                for k in range(size):
                    _places(points, start + k, side, dense, mask, places, shares, k)
            table, row = into[column], grad[column]
            for k in range(size):
                for corner in range(8):
                    table[places[corner, k]] += shares[corner, k] * row[start + k]
