"""Gradients of drawn Gaussians, tile by tile.

Also front to back: what a pixel's later Gaussians add is what the finished pixel holds less what came so far.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from realtalk_core.nn._jit import kernel
from realtalk_core.nn._splat_pairs_kernel import HEADER, LEAST, TILE
from realtalk_core.nn._splat_raster_kernel import OPAQUE, SPENT


@kernel
def draw_backward(
    first: int, step: int, pairs: Any, ends: Any, packed: Any, across: int, picture: Any, alpha: Any, drawn: Any,
    grad_picture: Any, grad_alpha: Any, partial: Any,
) -> None:  # fmt: skip
    """Every pair's share of its Gaussian's gradients: the moments of the level's gradient, then the channels'.

    Arguments are those of `draw`, and:

    partial: `pairs, HEADER + C or more`, in the order by Gaussian, zeroed; ΣG, ΣG dx, ΣG dy, ΣG dx², ΣG dx dy,
        ΣG dy² with G the gradient of the level in powers of e.
    """
    height, width, channels = picture.shape
    light, rest = np.empty((TILE, TILE), np.float32), np.empty((TILE, TILE), np.float32)
    for tile in range(first, len(drawn), step):
        top, left = tile // across * TILE, tile % across * TILE
        light[:] = 1
        begin = ends[tile - 1] if tile else 0
        rows, columns = min(TILE, height - top), min(TILE, width - left)
        for j in range(rows):
            for i in range(columns):
                y, x = top + j, left + i
                rest[j, i] = alpha[y, x] * grad_alpha[y, x]
                for c in range(channels):
                    rest[j, i] += picture[y, x, c] * grad_picture[y, x, c]
        for place in range(begin, begin + drawn[tile]):
            row, into = packed[pairs[place, 0]], partial[pairs[place, 2]]
            for j in range(pairs[place, 1] // 256, min(pairs[place, 1] % 256 + 1, rows)):
                dy = np.float32(top + j + 0.5) - row[1]
                for i in range(columns):
                    dx = np.float32(left + i + 0.5) - row[0]
                    level = row[5] + row[2] * dx * dx + row[3] * dx * dy + row[4] * dy * dy
                    if level < LEAST or light[j, i] <= SPENT:
                        continue
                    share = np.float32(2.0 ** min(level, OPAQUE))
                    weight = light[j, i] * share
                    worth = grad_alpha[top + j, left + i]
                    for c in range(channels):
                        grad = grad_picture[top + j, left + i, c]
                        worth += grad * row[HEADER + c]
                        into[HEADER + c] += weight * grad
                    rest[j, i] -= weight * worth
                    if level < OPAQUE:
                        g = weight * worth - share * rest[j, i] / (1 - share)
                        into[0] += g
                        into[1] += g * dx
                        into[2] += g * dy
                        into[3] += g * dx * dx
                        into[4] += g * dx * dy
                        into[5] += g * dy * dy
                    light[j, i] -= weight


@kernel
def gather(
    first: int, last: int, order: Any, starts: Any, packed: Any, partial: Any, opacities: Any, grad_centres: Any,
    grad_conics: Any, grad_opacities: Any, grad_channels: Any,
) -> None:  # fmt: skip
    """Adds up the shares of the Gaussians `first` to `last`, always in the same order."""
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
        grad_opacities[k] = total[0] / opacities[k]
        grad_centres[k, 0] = a * total[1] + b * total[2]
        grad_centres[k, 1] = b * total[1] + c * total[2]
        grad_conics[k, 0] = -half * total[3]
        grad_conics[k, 1] = -total[4]
        grad_conics[k, 2] = -half * total[5]
        for i in range(channels):
            grad_channels[k, i] = total[HEADER + i]
