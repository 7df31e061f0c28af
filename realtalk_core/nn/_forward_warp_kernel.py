"""Kernel of `forward_warp`."""

from __future__ import annotations

from typing import Any

import numpy as np

from realtalk_core.nn._jit import kernel


@kernel
def read(points: Any, grid: Any, low_x: float, low_y: float, per_x: float, per_y: float, moved: Any, jump: Any) -> None:
    """`ForwardField.read_reference`: `grid (G, G, 9)` at `points (N, 3)` into `moved (N, 3)` and `jump (N, 3, 3)`."""
    last = np.float32(grid.shape[0] - 1)
    zero, one = np.float32(0), np.float32(1)
    value = np.empty(9, np.float32)
    for i in range(points.shape[0]):
        x = (points[i, 0] - np.float32(low_x)) * np.float32(per_x)
        y = (points[i, 1] - np.float32(low_y)) * np.float32(per_y)
        inside = x >= zero and y >= zero and x < last and y < last
        for c in range(9):
            value[c] = zero
        if inside:
            column, row = int(x), int(y)
            s, t = x - np.float32(column), y - np.float32(row)
            a, b = (one - s) * (one - t), s * (one - t)
            c_, d = (one - s) * t, s * t
            for c in range(9):
                value[c] = (
                    a * grid[row, column, c]
                    + b * grid[row, column + 1, c]
                    + c_ * grid[row + 1, column, c]
                    + d * grid[row + 1, column + 1, c]
                )
        for c in range(3):
            moved[i, c] = value[c]
            jump[i, c, 0] = value[3 + c]
            jump[i, c, 1] = value[6 + c]
            jump[i, c, 2] = zero
            jump[i, c, c] += one
