"""Kernel of `seeding`."""

from __future__ import annotations

from typing import Any

import numpy as np

from realtalk_core.nn._jit import kernel


@kernel
def apart(points: Any, least: Any) -> Any:
    """Which points are kept if each in turn is, unless one that was is nearer than the smaller of their distances.

    Args:
        points: `N 3`.
        least: `N` distances, cm.
    """
    count, cell = points.shape[0], least.max()
    low_x, low_y = points[:, 0].min(), points[:, 1].min()
    across, up = int((points[:, 0].max() - low_x) / cell) + 3, int((points[:, 1].max() - low_y) / cell) + 3
    first, after = np.full(across * up, -1, np.int64), np.full(count, -1, np.int64)
    kept = np.zeros(count, np.bool_)
    for i in range(count):
        x, y = int((points[i, 0] - low_x) / cell) + 1, int((points[i, 1] - low_y) / cell) + 1
        free = True
        for row in range(y - 1, y + 2):
            for column in range(x - 1, x + 2):
                j = first[row * across + column]
                while j >= 0 and free:
                    off, near = np.float32(0), min(least[i], least[j])
                    for axis in range(3):
                        off += (points[i, axis] - points[j, axis]) ** 2
                    free = off >= near * near
                    j = after[j]
        if free:
            kept[i] = True
            after[i], first[y * across + x] = first[y * across + x], i
    return kept
