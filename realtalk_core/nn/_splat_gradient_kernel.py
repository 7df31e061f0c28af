"""Gradients of drawn Gaussians, tile by tile.

Also front to back: what a pixel's later Gaussians are worth is what the finished pixel is worth less what came so far.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from realtalk_core.nn._jit import kernel
from realtalk_core.nn._splat_pairs_kernel import TILE
from realtalk_core.nn._splat_raster_kernel import aligned
from realtalk_core.nn.simd_splats import (
    COLOURS,
    HEADER,
    RECORD,
    SHADED,
    differentiate_channels,
    differentiate_colours,
    differentiate_shaded,
    next_of,
)


@kernel
def draw_backward(
    counter: Any, pairs: Any, ends: Any, packed: Any, across: int, picture: Any, alpha: Any, drawn: Any,
    grad_picture: Any, grad_alpha: Any, partial: Any,
) -> None:  # fmt: skip
    """Every drawn pair's part of its Gaussian's gradients, as `simd_splats.differentiate_colours` gives it.

    As `_splat_raster_kernel.draw`; `partial` is `pairs, HEADER + C or more`, in the order by Gaussian.
    """
    height, width, channels = picture.shape
    state = aligned(TILE * (3 + channels)).reshape(TILE, 3 + channels, TILE)
    spare = aligned(channels)
    while True:
        tile = next_of(counter.ctypes.data)
        if tile >= len(drawn):
            break
        begin = ends[tile - 1] if tile else 0
        for place in range(begin + drawn[tile], ends[tile]):
            partial[pairs[place, 3]] = 0
        if drawn[tile] == 0:
            continue
        top, left = tile // across * TILE, tile % across * TILE
        rows, columns = min(TILE, height - top), min(TILE, width - left)
        if rows < TILE or columns < TILE:
            state[:] = 0
        for j in range(rows):
            y = top + j
            for i in range(columns):
                state[j, 0, i] = 1
                state[j, 2, i] = grad_alpha[y, left + i]
                state[j, 1, i] = alpha[y, left + i] * grad_alpha[y, left + i]
            for i in range(columns):
                for c in range(channels):
                    state[j, 3 + c, i] = grad_picture[y, left + i, c]
                    state[j, 1, i] += picture[y, left + i, c] * grad_picture[y, left + i, c]
        records, taken = pairs.ctypes.data + 4 * RECORD * begin, drawn[tile]
        gaussians, stride, worked = packed.ctypes.data, packed.shape[1], state.ctypes.data
        x, y = np.float32(left), np.float32(top)
        parts, room = partial.ctypes.data, spare.ctypes.data
        if channels == COLOURS:
            differentiate_colours(records, taken, gaussians, stride, x, y, worked, channels, parts, room)
        elif channels == SHADED:
            differentiate_shaded(records, taken, gaussians, stride, x, y, worked, channels, parts, room)
        else:
            differentiate_channels(records, taken, gaussians, stride, x, y, worked, channels, parts, room)


@kernel
def gather(
    first: int, last: int, order: Any, starts: Any, packed: Any, partial: Any, opacities: Any, grad_centres: Any,
    grad_conics: Any, grad_opacities: Any, grad_channels: Any,
) -> None:  # fmt: skip
    """Adds up the parts of the Gaussians `first` to `last`, always in the same order."""
    channels = grad_channels.shape[1]
    total = np.empty(HEADER + channels, np.float32)
    scale = np.float32(-2 * math.log(2))
    half = np.float32(0.5)
    for n in range(first, last):
        total[:] = 0
        for place in range(starts[n], starts[n + 1]):
            for i in range(HEADER + channels):
                total[i] += partial[place, i]
        k = order[n]
        a, b, c = scale * packed[n, 2], scale * half * packed[n, 3], scale * packed[n, 4]
        if starts[n + 1] > starts[n]:
            grad_opacities[k] = total[0] / opacities[k]
        grad_centres[k, 0] = a * total[1] + b * total[2]
        grad_centres[k, 1] = b * total[1] + c * total[2]
        grad_conics[k, 0] = -half * total[3]
        grad_conics[k, 1] = -total[4]
        grad_conics[k, 2] = -half * total[5]
        for i in range(channels):
            grad_channels[k, i] = total[HEADER + i]
