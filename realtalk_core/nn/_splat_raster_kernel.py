"""Draws tiles of Gaussians front to back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from realtalk_core.nn._jit import kernel
from realtalk_core.nn._splat_pairs_kernel import HEADER, LEAST, TILE

OPAQUE = math.log2(0.999)
SPENT = np.float32(1e-4)


@kernel
def draw(
    first: int, step: int, pairs: Any, ends: Any, packed: Any, across: int, picture: Any, alpha: Any, drawn: Any
) -> None:
    """Draws every `step`-th tile from `first` on; how many pairs each took until nothing showed through, to `drawn`."""
    height, width, channels = picture.shape
    light, sums = np.empty((TILE, TILE), np.float32), np.empty((TILE, TILE, channels), np.float32)
    for tile in range(first, len(drawn), step):
        top, left = tile // across * TILE, tile % across * TILE
        light[:] = 1
        sums[:] = 0
        begin, end = ends[tile - 1] if tile else 0, ends[tile]
        drawn[tile] = end - begin
        for place in range(begin, end):
            if (place - begin) % TILE == 0 and light.max() <= SPENT:
                drawn[tile] = place - begin
                break
            row = packed[pairs[place, 0]]
            for j in range(pairs[place, 1] // 256, pairs[place, 1] % 256 + 1):
                dy = np.float32(top + j + 0.5) - row[1]
                for i in range(TILE):
                    dx = np.float32(left + i + 0.5) - row[0]
                    level = row[5] + row[2] * dx * dx + row[3] * dx * dy + row[4] * dy * dy
                    if level >= LEAST and light[j, i] > SPENT:
                        weight = light[j, i] * np.float32(2.0 ** min(level, OPAQUE))
                        light[j, i] -= weight
                        for c in range(channels):
                            sums[j, i, c] += weight * row[HEADER + c]
        for j in range(min(TILE, height - top)):
            for i in range(min(TILE, width - left)):
                alpha[top + j, left + i] = 1 - light[j, i]
                for c in range(channels):
                    picture[top + j, left + i, c] = sums[j, i, c]
