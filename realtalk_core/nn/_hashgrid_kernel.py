"""Kernels of `hashgrid`. Outer loops run over tables, inner ones over samples: a 64 KB table stays in the cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from realtalk_core.nn._jit import kernel
from realtalk_core.nn._scatter import add_level
from realtalk_core.nn.simd import BLOCK, read_level

_PRIME = np.uint32(2654435761)
_ONE = np.uint32(1)
_BLOCK = 2048


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
    """Adds the gradient of unhashed grids, given `grad (columns, N)` at `points (3, N)` in [0, 1], into `into (V,)`.

    Points whose whole gradient is zero (behind a surface) are left out where that is more than a quarter of them.
    """
    count, columns, levels = points.shape[1], grad.shape[0], sides.shape[0]
    packed = np.empty((columns + 3, _BLOCK), np.float32)
    size, zero = np.empty(_BLOCK, np.float32), np.float32(0)
    for start in range(0, count, _BLOCK):
        stop = min(count, start + _BLOCK)
        size[: stop - start] = zero
        for k in range(columns):
            row = grad[k]
            for i in range(start, stop):
                size[i - start] += abs(row[i])
        live = 0
        for i in range(stop - start):
            live += size[i] != zero  # true of NaN, which must not get lost
        if live == 0:
            continue
        whole = (stop - start) % BLOCK == 0 and 4 * live >= 3 * (stop - start)
        blocks = (stop - start) // BLOCK if whole else -(-live // BLOCK)
        if not whole:
            packed[:, live : blocks * BLOCK] = zero
            for k in range(columns + 3):
                source, row, at = grad[k] if k < columns else points[k - columns], packed[k], 0
                for i in range(stop - start):
                    row[at] = source[start + i]
                    at += size[i] != zero
                    if at == live:
                        break
        for plane in range(3):
            a, b = 1 if plane == 1 else 0, 1 if plane == 0 else 2
            first = points[a, start:].ctypes.data if whole else packed[columns + a].ctypes.data
            second = points[b, start:].ctypes.data if whole else packed[columns + b].ctypes.data
            for level in range(levels):
                k = plane * levels + level
                pull = grad[k, start:].ctypes.data if whole else packed[k].ctypes.data
                add_level(into.ctypes.data + 4 * starts[k], first, second, np.int32(sides[level]), pull, blocks)


@kernel
def fold(grids: Any, sides: Any, starts: Any, first: int, out: Any) -> None:
    """The reverse of `unhash` for sums: adds every node of `grids` to its entry of `out`, tables from `first` on."""
    entries = out.shape[1]
    mask = np.uint32(entries - 1)
    for k in range(out.shape[0]):
        into, side, start = out[k], sides[(first + k) % sides.shape[0]], starts[first + k]
        stride = side + 1
        dense = stride * stride <= entries
        for y in range(stride):
            below, at = np.uint32(y) * _PRIME, start + y * stride
            if dense:
                for x in range(stride):
                    into[y * stride + x] += grids[at + x]
            else:
                for x in range(stride):
                    into[(np.uint32(x) ^ below) & mask] += grids[at + x]
