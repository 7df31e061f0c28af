"""Draws tiles of Gaussians front to back."""

from __future__ import annotations

from typing import Any

import numpy as np

from realtalk_core.nn._jit import inlined, kernel
from realtalk_core.nn._splat_pairs_kernel import TILE
from realtalk_core.nn.simd_splats import COLOURS, RECORD, SHADED, draw_channels, draw_colours, draw_shaded, next_of


@inlined
def aligned(vectors: int) -> Any:
    """Room for vectors of 16 float32, each in one line of the cache: others take twice as long to read and write."""
    room = np.zeros((vectors + 1) * TILE, np.float32)
    first = (-room.ctypes.data // 4) % TILE
    return room[first : first + vectors * TILE]


@kernel
def draw(
    counter: Any, pairs: Any, ends: Any, packed: Any, across: int, picture: Any, alpha: Any, drawn: Any
) -> None:  # fmt: skip
    """Draws tiles until none is left; how many pairs each took until nothing showed through, to `drawn`.

    `counter` holds the next tile for all who draw the picture.
    """
    height, width, channels = picture.shape
    state = aligned(TILE * (1 + channels)).reshape(TILE, 1 + channels, TILE)
    while True:
        tile = next_of(counter.ctypes.data)
        if tile >= len(drawn):
            break
        top, left = tile // across * TILE, tile % across * TILE
        rows, columns = min(TILE, height - top), min(TILE, width - left)
        begin = ends[tile - 1] if tile else 0
        count = ends[tile] - begin
        if count == 0:
            drawn[tile] = 0
            picture[top : top + rows, left : left + columns] = 0
            alpha[top : top + rows, left : left + columns] = 0
            continue
        state[:, 0] = 1
        state[:, 1:] = 0
        records, taken = pairs.ctypes.data + 4 * RECORD * begin, drawn.ctypes.data + 4 * tile
        gaussians, stride, into = packed.ctypes.data, packed.shape[1], state.ctypes.data
        x, y = np.float32(left), np.float32(top)
        if channels == COLOURS:
            draw_colours(records, count, gaussians, stride, x, y, into, channels, taken)
        elif channels == SHADED:
            draw_shaded(records, count, gaussians, stride, x, y, into, channels, taken)
        else:
            draw_channels(records, count, gaussians, stride, x, y, into, channels, taken)
        for j in range(rows):
            for i in range(columns):
                alpha[top + j, left + i] = 1 - abs(state[j, 0, i])
            for i in range(columns):
                for c in range(channels):
                    picture[top + j, left + i, c] = state[j, 1 + c, i]
