"""Which Gaussians touch which tile, front to back.

A tile is `TILE` × `TILE` pixels. A pair is a Gaussian and a tile that it touches, with the rows that it reaches there.
Pairs have two orders: by Gaussian, in which partial gradients are written and added up, and by tile, in which they are
drawn.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from realtalk_core.nn._jit import inlined, kernel
from realtalk_core.nn.simd_splats import HEADER, LEAST

TILE = 16
"""Pixels along a tile's side: one 512-bit vector of float32 a row."""
SLACK = np.float32(0.02)
"""Pixels by which rows and columns are widened, for rounding; what is drawn is decided pixel by pixel."""
DIGIT = 11
"""Bits sorted by at a time: 2048 counters stay in the fastest cache."""
_FORM = np.float32(-0.5 / math.log(2))
_CONIC = np.float32(-2 * math.log(2))
_LEAST = np.float32(LEAST)
_HALF = np.float32(0.5)


@inlined
def _sortable(bits: Any) -> Any:
    """Bits of a float32 as an unsigned number of the same order."""
    sign = np.uint32(0x80000000)
    return np.uint32(~bits) if bits & sign else np.uint32(bits | sign)


@kernel
def front_to_back(depths: Any, radii: Any) -> Any:
    """Indices of the Gaussians to draw by depth, equal depths by index: a radix sort of the depths' bits."""
    count = 0
    for k in range(len(radii)):
        count += radii[k] > 0
    bits = depths.view(np.uint32)
    keys, order = np.empty(count, np.uint32), np.empty(count, np.int32)
    spare_keys, spare_order = np.empty(count, np.uint32), np.empty(count, np.int32)
    least, most, place = np.uint32(0xFFFFFFFF), np.uint32(0), 0
    for k in range(len(radii)):
        if radii[k] > 0:
            keys[place], order[place] = _sortable(bits[k]), k
            least, most = min(least, keys[place]), max(most, keys[place])
            place += 1
    places = np.empty(1 << DIGIT, np.int64)
    shift = np.uint32(0)
    while count and (most - least) >> shift:
        places[:] = 0
        for n in range(count):
            places[((keys[n] - least) >> shift) & np.uint32((1 << DIGIT) - 1)] += 1
        place = 0
        for value in range(1 << DIGIT):
            places[value], place = place, place + places[value]
        for n in range(count):
            digit = ((keys[n] - least) >> shift) & np.uint32((1 << DIGIT) - 1)
            place = places[digit]
            spare_keys[place], spare_order[place] = keys[n], order[n]
            places[digit] = place + 1
        keys, order, spare_keys, spare_order = spare_keys, spare_order, keys, order
        shift += np.uint32(DIGIT)
        if shift > 31:
            break
    return order


@kernel
def pack(
    order: Any, centres: Any, conics: Any, levels: Any, channels: Any, width: int, height: int, packed: Any, reach: Any
) -> int:
    """Gaussians as the tiles read them, front to back.

    Args:
        order: The Gaussians to draw.
        centres: `N 2` in pixels.
        conics: `N 3`.
        levels: log2 of their opacities.
        channels: `N C`.
        width: Of the picture.
        height: Of the picture.
        packed: `used, HEADER + C or more`; written.
        reach: `used 2`, half the extent in x and y of what they draw, negative for none; written.

    Returns:
        Room for as many pairs is enough; or −1 − k if Gaussian k is not finite.
    """
    room = 0
    for n in range(len(order)):
        k = order[n]
        x, y = centres[k, 0], centres[k, 1]
        a, b, c, level = conics[k, 0], conics[k, 1], conics[k, 2], levels[k]
        total = x + y + a + b + c
        row = packed[n]
        for i in range(channels.shape[1]):
            total += channels[k, i]
            row[HEADER + i] = channels[k, i]
        if not math.isfinite(total) or math.isnan(level):
            return int(-1 - k)
        row[0], row[1] = x, y
        row[2], row[3], row[4], row[5] = _FORM * a, np.float32(2) * _FORM * b, _FORM * c, level
        square = (level - _LEAST) / -_FORM
        determinant = a * c - b * b
        reach[n, 0] = reach[n, 1] = -1
        if square <= 0 or determinant <= 0 or a <= 0:
            continue
        wide, high = math.sqrt(square * c / determinant) + SLACK, math.sqrt(square * a / determinant) + SLACK
        left, right = max(x - wide, np.float32(0)), min(x + wide, np.float32(width))
        top, bottom = max(y - high, np.float32(0)), min(y + high, np.float32(height))
        if left < right and top < bottom:
            reach[n, 0], reach[n, 1] = wide, high
            room += (int(right) // TILE - int(left) // TILE + 1) * (int(bottom) // TILE - int(top) // TILE + 1)
    return room


@kernel
def pairs_by_gaussian(
    packed: Any, reach: Any, wanted: Any, width: int, height: int, starts: Any, tiles: Any, rows: Any, ends: Any
) -> int:
    """Lists every Gaussian's tiles.

    Args:
        packed: As `pack` writes it.
        reach: As `pack` writes it.
        wanted: Tiles' rows and columns, whether to draw each.
        width: Of the picture.
        height: Of the picture.
        starts: `used + 1`, where each Gaussian's pairs begin; written.
        tiles: Each pair's tile; written.
        rows: Each pair's rows within the tile, first · 256 + last; written.
        ends: One more than the number of tiles, zeroed: where each tile's pairs begin in the order by tile; written.

    Returns:
        How many pairs there are.
    """
    count = 0
    across = wanted.shape[1]
    zero = np.float32(0)
    for n in range(len(reach)):
        starts[n] = count
        wide, high = reach[n, 0], reach[n, 1]
        if wide < 0:
            continue
        x, y = packed[n, 0], packed[n, 1]
        a, b, c = _CONIC * packed[n, 2], _CONIC * _HALF * packed[n, 3], _CONIC * packed[n, 4]
        determinant = a * c - b * b
        square = c * (packed[n, 5] - _LEAST) * -_CONIC
        lean = b / a * high  # where the ellipse has its least y; its greatest is at −lean
        first = int(max(math.ceil(x - wide - _HALF), 0))
        last = int(min(math.floor(x + wide - _HALF), width - 1))
        for column in range(first // TILE, last // TILE + 1):
            left = np.float32(max(first, column * TILE)) + _HALF - x
            right = np.float32(min(last, column * TILE + TILE - 1)) + _HALF - x
            at = min(max(lean, left), right)
            top = y + (-b * at - math.sqrt(max(square - determinant * at * at, zero))) / c - SLACK
            at = min(max(-lean, left), right)
            bottom = y + (-b * at + math.sqrt(max(square - determinant * at * at, zero))) / c + SLACK
            begin = int(max(math.ceil(top - _HALF), 0))
            end = int(min(math.floor(bottom - _HALF), height - 1))
            if begin > end:
                continue
            for row in range(begin // TILE, end // TILE + 1):
                if wanted[row, column]:
                    origin, tile = row * TILE, row * across + column
                    tiles[count] = tile
                    rows[count] = max(begin - origin, 0) * 256 + min(end - origin, TILE - 1)
                    ends[tile + 1] += 1
                    count += 1
    starts[len(reach)] = count
    for tile in range(1, len(ends)):
        ends[tile] += ends[tile - 1]
    return count


@kernel
def pairs_by_tile(starts: Any, tiles: Any, rows: Any, ends: Any, pairs: Any) -> None:
    """Sorts pairs by tile, each tile's front to back: `pairs`, `count 4`, as `simd_splats.RECORD`.

    Their place is that in the order by Gaussian. `ends[tile]` is where a tile's pairs begin; then, where they end.
    """
    for n in range(len(starts) - 1):
        for k in range(starts[n], starts[n + 1]):
            place = ends[tiles[k]]
            pairs[place, 0], pairs[place, 1], pairs[place, 2], pairs[place, 3] = n, rows[k] // 256, rows[k] % 256, k
            ends[tiles[k]] = place + 1
