"""Kernels of `hashgrid`. Outer loops run over tables, inner ones over samples: a 64 KB table stays in the cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from realtalk_core.nn._jit import kernel
from realtalk_core.nn._scatter import PRIME, add_hashed, add_level
from realtalk_core.nn.simd import BLOCK, read_level

_PRIME = np.uint32(PRIME)
_ONE = np.uint32(1)
_BLOCK = 2048
_TILE = 1 << 15
"""Points whose gradient is scattered table by table."""


@kernel
def encode(points: Any, tables: Any, sides: Any, out: Any) -> None:
    """Fills `out (columns, N)` with bilinear reads of `tables` at `points (3, N)`."""
    count, levels, entries = points.shape[1], sides.shape[0], tables.shape[1]
    mask, zero, one = np.uint32(entries - 1), np.float32(0), np.float32(1)
    for start in range(0, count, _BLOCK):
        stop = min(count, start + _BLOCK)
        for plane in range(3):
            first = points[1 if plane == 1 else 0]
            second = points[1 if plane == 0 else 2]
            for level in range(levels):
                table, row = tables[plane * levels + level], out[plane * levels + level]
                side = np.int32(sides[level])
                scale, last, stride = np.float32(side), np.int32(side - 1), np.uint32(side + 1)
                if (side + 1) * (side + 1) <= entries:
                    for i in range(start, stop):
                        u = min(max(first[i], zero), one) * scale
                        v = min(max(second[i], zero), one) * scale
                        x, y = min(np.int32(u), last), min(np.int32(v), last)
                        s, t = u - np.float32(x), v - np.float32(y)
                        k = np.uint32(y) * stride + np.uint32(x)
                        near = table[k] + s * (table[k + _ONE] - table[k])
                        far = table[k + stride] + s * (table[k + stride + _ONE] - table[k + stride])
                        row[i] = near + t * (far - near)
                else:
                    for i in range(start, stop):
                        u = min(max(first[i], zero), one) * scale
                        v = min(max(second[i], zero), one) * scale
                        x, y = min(np.int32(u), last), min(np.int32(v), last)
                        s, t = u - np.float32(x), v - np.float32(y)
                        left, below = np.uint32(x), np.uint32(y) * _PRIME
                        right, above = left + _ONE, below + _PRIME
                        a, b = table[(left ^ below) & mask], table[(right ^ below) & mask]
                        c, d = table[(left ^ above) & mask], table[(right ^ above) & mask]
                        near, far = a + s * (b - a), c + s * (d - c)
                        row[i] = near + t * (far - near)


@kernel
def encode_backward(points: Any, grad: Any, sides: Any, into: Any) -> None:
    """Adds the gradient of the tables, given `grad (columns, N)`, into `into (columns, entries)`."""
    count, levels, entries = points.shape[1], sides.shape[0], into.shape[1]
    mask, zero, one = np.uint32(entries - 1), np.float32(0), np.float32(1)
    for plane in range(3):
        first = points[1 if plane == 1 else 0]
        second = points[1 if plane == 0 else 2]
        for level in range(levels):
            table, row = into[plane * levels + level], grad[plane * levels + level]
            side = np.int32(sides[level])
            scale, last, stride = np.float32(side), np.int32(side - 1), np.uint32(side + 1)
            dense = (side + 1) * (side + 1) <= entries
            for i in range(count):
                u = min(max(first[i], zero), one) * scale
                v = min(max(second[i], zero), one) * scale
                x, y = min(np.int32(u), last), min(np.int32(v), last)
                s, t = u - np.float32(x), v - np.float32(y)
                if dense:
                    k00 = np.uint32(y) * stride + np.uint32(x)
                    k10, k01 = k00 + _ONE, k00 + stride
                    k11 = k01 + _ONE
                else:
                    left, below = np.uint32(x), np.uint32(y) * _PRIME
                    right, above = left + _ONE, below + _PRIME
                    k00, k10 = (left ^ below) & mask, (right ^ below) & mask
                    k01, k11 = (left ^ above) & mask, (right ^ above) & mask
                far = row[i] * t
                near = row[i] - far
                table[k00] += near - near * s
                table[k10] += near * s
                table[k01] += far - far * s
                table[k11] += far * s


@kernel
def unhash(tables: Any, sides: Any, starts: Any, out: Any) -> None:
    """Copies each table to a plain grid, `(side + 1)²` nodes row by row from `starts[table]` of `out` on."""
    entries = tables.shape[1]
    mask = np.uint32(entries - 1)
    for table in range(tables.shape[0]):
        source, side, start = tables[table], sides[table % sides.shape[0]], starts[table]
        stride = side + 1
        dense = stride * stride <= entries
        for y in range(stride):
            below = np.uint32(y) * _PRIME
            for x in range(stride):
                at = y * stride + x
                out[start + at] = source[at] if dense else source[(np.uint32(x) ^ below) & mask]


@kernel
def encode_grids(points: Any, grids: Any, sides: Any, starts: Any, out: Any) -> None:
    """Fills `out (columns, N)` with bilinear reads of `unhash`ed half-precision grids; N is a multiple of `BLOCK`."""
    levels, blocks = sides.shape[0], points.shape[1] // BLOCK
    for plane in range(3):
        first = points[1 if plane == 1 else 0].ctypes.data
        second = points[1 if plane == 0 else 2].ctypes.data
        for level in range(levels):
            k = plane * levels + level
            read_level(
                grids.ctypes.data + 2 * starts[k], first, second, np.int32(sides[level]), out[k].ctypes.data, blocks
            )


@kernel
def encode_grids_backward(points: Any, grad: Any, sides: Any, starts: Any, into: Any) -> None:
    """Adds the gradient, given `grad (columns, N)` at `points (3, N)` in [0, 1], into `into (V,)`.

    A table is a plain grid there, or hashed where `starts` leaves no room for its nodes. Points whose whole gradient is
    zero (behind a surface) are left out where that is more than a quarter of them. Tables are outside and many points
    inside: all tables together outgrow the second-level cache, most single ones do not.
    """
    count, levels = points.shape[1], sides.shape[0]
    for start in range(0, count, _TILE):
        stop = min(count, start + _TILE)
        some, pull = points[:, start:stop], grad[:, start:stop]
        dead = 0
        for i in range(stop - start):
            dead += pull[0, i] == np.float32(0)
        if 4 * dead > stop - start or (stop - start) % BLOCK:
            some, pull = _without_dead(some, pull)
        blocks = some.shape[1] // BLOCK
        for plane in range(3):
            first = some[1 if plane == 1 else 0].ctypes.data
            second = some[1 if plane == 0 else 2].ctypes.data
            for level in range(levels):
                k = plane * levels + level
                target, row, side = into.ctypes.data + 4 * starts[k], pull[k].ctypes.data, np.int32(sides[level])
                size = starts[k + 1] - starts[k]
                if size == (side + 1) * (side + 1):
                    add_level(target, first, second, side, row, blocks)
                else:
                    add_hashed(target, first, second, side, row, blocks, np.int32(size - 1))


@kernel
def _without_dead(points: Any, grad: Any) -> Any:
    """The points whose gradient is not zero in all rows, and their gradient, filled up with zeros to whole blocks."""
    count, columns = points.shape[1], grad.shape[0]
    size, zero = np.zeros(count, np.float32), np.float32(0)
    for k in range(columns):
        row = grad[k]
        for i in range(count):
            size[i] += abs(row[i])
    live = 0
    for i in range(count):
        live += size[i] != zero  # true of NaN, which must not get lost
    whole = -(-live // BLOCK) * BLOCK
    packed = np.zeros((columns + 3, whole + 1), np.float32)
    for k in range(columns + 3):
        source, row, at = points[k] if k < 3 else grad[k - 3], packed[k], 0
        for i in range(count):
            row[at] = source[i]
            at += size[i] != zero
        row[live:] = zero
    return packed[:3, :whole], packed[3:, :whole]


@kernel
def fold(sums: Any, sides: Any, starts: Any, first: int, out: Any) -> None:
    """The reverse of `unhash` for sums: adds every node of `sums` to its entry of `out`, tables from `first` on."""
    entries = out.shape[1]
    mask = np.uint32(entries - 1)
    for k in range(out.shape[0]):
        into, side, start = out[k], sides[(first + k) % sides.shape[0]], starts[first + k]
        stride, size = side + 1, starts[first + k + 1] - start
        if stride * stride <= entries or size != stride * stride:
            for at in range(size):
                into[at] += sums[start + at]
        else:
            for y in range(stride):
                below, at = np.uint32(y) * _PRIME, start + y * stride
                for x in range(stride):
                    into[(np.uint32(x) ^ below) & mask] += sums[at + x]
