"""A small z-buffer rasteriser in numba: which triangle each sample of the picture shows.

Kernels here and in `shade` run on one core and let go of Python's lock, so that frames are drawn side by side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@njit(cache=True, fastmath=True, inline="always")
def hash01(x: float, y: float) -> Any:
    """A repeatable number in [0, 1) for two whole numbers."""
    h = np.uint32(np.int64(x) * 374761393 + np.int64(y) * 668265263)
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(1274126177))
    h = h ^ (h >> np.uint32(16))
    return np.float32(h & np.uint32(0xFFFFFF)) / np.float32(16777216.0)


@njit(cache=True, fastmath=True, inline="always")
def _narrowed(low: float, high: float, share: float, slope: float) -> Any:
    """The part of a row, in samples, where `share + slope * (x + 0.5)` is not below zero."""
    if slope > 1e-12:
        low = max(low, -share / slope - 0.5)
    elif slope < -1e-12:
        high = min(high, -share / slope - 0.5)
    elif share < 0:
        high = low - 1
    return low, high


@njit(cache=True, fastmath=True, nogil=True)
def rasterise(xyw: Floats, triangles: Ints, depth: Floats, owner: Ints) -> None:
    """Fills the depth buffer (larger is nearer) and the index of the nearest triangle.

    Args:
        xyw: `N 3`: x, y in samples, and what is linear on the picture and grows towards it: 1 / distance for a camera,
            depth for a parallel light. Triangles with a value that is not above zero are left out.
        triangles: `M 3`.
        depth: `H W`, overwritten.
        owner: `H W`, overwritten; -1 where nothing is.
    """
    height, width = depth.shape
    depth[:] = 0
    owner[:] = -1
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, bx, cx = xyw[a, 0], xyw[b, 0], xyw[c, 0]
        ay, by, cy = xyw[a, 1], xyw[b, 1], xyw[c, 1]
        # most triangles are smaller than the raster and lie between its samples: these go first
        left = max(0, int(np.ceil(min(ax, bx, cx) - 0.5)))
        right = min(width - 1, int(np.floor(max(ax, bx, cx) - 0.5)))
        if left > right:
            continue
        top = max(0, int(np.ceil(min(ay, by, cy) - 0.5)))
        bottom = min(height - 1, int(np.floor(max(ay, by, cy) - 0.5)))
        if top > bottom:
            continue
        wa, wb, wc = xyw[a, 2], xyw[b, 2], xyw[c, 2]
        if wa <= 0 or wb <= 0 or wc <= 0:
            continue
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        # the corners' shares of a sample are linear in x and y: a row lies inside between two bounds on x
        inverse = 1.0 / area
        b_x, b_y = (cy - ay) * inverse, (ax - cx) * inverse
        c_x, c_y = (ay - by) * inverse, (bx - ax) * inverse
        w_x = b_x * (wb - wa) + c_x * (wc - wa)
        a_x = -b_x - c_x
        for y in range(top, bottom + 1):
            up = y + 0.5 - ay
            share_b, share_c = b_y * up - b_x * ax, c_y * up - c_x * ax
            low, high = np.float64(left), np.float64(right)
            low, high = _narrowed(low, high, 1.0 - share_b - share_c, a_x)
            low, high = _narrowed(low, high, share_b, b_x)
            low, high = _narrowed(low, high, share_c, c_x)
            if low > high:
                continue
            first = int(np.ceil(low - 1e-9))
            w = wa + share_b * (wb - wa) + share_c * (wc - wa) + (first + 0.5) * w_x
            for x in range(first, int(np.floor(high + 1e-9)) + 1):
                if w > depth[y, x]:
                    depth[y, x] = w
                    owner[y, x] = t
                w += w_x


@njit(cache=True, fastmath=True, nogil=True)
def vertex_normals(points: Floats, triangles: Ints, normals: Floats) -> None:
    """Area-weighted unit normals `N 3`, written into `normals`."""
    normals[:] = 0
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for k in (a, b, c):
            normals[k, 0] += nx
            normals[k, 1] += ny
            normals[k, 2] += nz
    for k in range(points.shape[0]):
        length = np.sqrt(normals[k, 0] ** 2 + normals[k, 1] ** 2 + normals[k, 2] ** 2) + 1e-12
        normals[k, 0] /= length
        normals[k, 1] /= length
        normals[k, 2] /= length
