"""Rays of a tile of pixels, and their way to the next sample that may hold matter; parts of `_fused_kernel`."""

from __future__ import annotations

from typing import Any

import numpy as np

from realtalk_core.nn._jit import inlined, kernel

SIDE = 8
"""Pixels along a side of a tile."""
SQUARE = 8
"""Nodes along a side of the squares for which the warp's reach is known."""


@inlined
def clear(
    x: float, y: float, z: float, low: Any, per_cell: float, cell: float, distance: Any, warp_low: Any,
    warp_inverse: Any, last: float, reach: Any,
) -> float:  # fmt: skip
    """How far around a place (along any axis, cm) nothing is, however the warp moves it.

    `distance` holds each cell's distance in cells (along the worst axis) to the nearest occupied one, `reach` the
    longest displacement around each square of `SQUARE` nodes.
    """
    zero = np.float32(0)
    cx = int(min(max((x - low[0]) * per_cell, zero), np.float32(distance.shape[0] - 1)))
    cy = int(min(max((y - low[1]) * per_cell, zero), np.float32(distance.shape[1] - 1)))
    cz = int(min(max((z - low[2]) * per_cell, zero), np.float32(distance.shape[2] - 1)))
    u, v = (x - warp_low[0]) * warp_inverse[0], (y - warp_low[1]) * warp_inverse[1]
    column = min(int(min(max(u, zero), last)) // SQUARE, reach.shape[1] - 1)
    row = min(int(min(max(v, zero), last)) // SQUARE, reach.shape[0] - 1)
    return np.float32(int(distance[cx, cy, cz]) - 1) * cell - reach[row, column]


@inlined
def walk(
    k: int, ray: Any, origin: Any, step: float, low: Any, warp: Any, warp_low: Any, warp_inverse: Any, reach: Any,
    free: float, distance: Any, cell: float, lane: int, points: Any, inverse: float, among: bool, strays: Any,
    worst: Any,
) -> int:  # fmt: skip
    """Goes from step `k` to the ray's next occupied sample, writes its place, returns the step after it; −1 if none.

    As far as `clear` proves, no sample can be occupied, and the walk jumps; `reach` is good for `free` centimetres
    sideways. `among` matter there is nothing to jump over. Beside the place it writes `worst[strays[cell]]`,
    how much leaving out the gates may change there.
    """
    dx, dy, dz, near, far = ray[0, lane], ray[1, lane], ray[2, lane], ray[3, lane], ray[4, lane]
    side, per_cell = warp.shape[0], np.float32(1.0) / cell
    nx, ny, nz = distance.shape
    zero, half = np.float32(0), np.float32(0.5)
    last = np.float32(side - 1)
    sideways = free / max(abs(dx), abs(dy), np.float32(1e-6))
    while True:
        along = near + (np.float32(k) + half) * step
        if along >= far:
            return -1
        x = origin[0] + along * dx
        y = origin[1] + along * dy
        z = origin[2] + along * dz
        if not among:
            room = clear(x, y, z, low, per_cell, cell, distance, warp_low, warp_inverse, last, reach)
            if room > zero:
                k += 1 + int(min(room, sideways) / step)
                continue
        k += 1
        u = (x - warp_low[0]) * warp_inverse[0]
        v = (y - warp_low[1]) * warp_inverse[1]
        if side > 1 and u >= zero and v >= zero and u < last and v < last:
            i, j = int(u), int(v)
            s, t = u - np.float32(i), v - np.float32(j)
            b, d = s - s * t, s * t
            a, c = np.float32(1) - s - t + d, t - d
            x -= a * warp[j, i, 0] + b * warp[j, i + 1, 0] + c * warp[j + 1, i, 0] + d * warp[j + 1, i + 1, 0]
            y -= a * warp[j, i, 1] + b * warp[j, i + 1, 1] + c * warp[j + 1, i, 1] + d * warp[j + 1, i + 1, 1]
            z -= a * warp[j, i, 2] + b * warp[j, i + 1, 2] + c * warp[j + 1, i, 2] + d * warp[j + 1, i + 1, 2]
        x, y, z = x - low[0], y - low[1], z - low[2]
        if x < zero or y < zero or z < zero:
            among = False
            continue
        cx, cy, cz = int(x * per_cell), int(y * per_cell), int(z * per_cell)
        if cx >= nx or cy >= ny or cz >= nz:
            among = False
            continue
        if distance[cx, cy, cz] == 0:
            points[0, lane] = min(x * inverse, np.float32(1))
            points[1, lane] = min(y * inverse, np.float32(1))
            points[2, lane] = min(z * inverse, np.float32(1))
            points[3, lane] = worst[strays[cx, cy, cz]]
            return k
        among = distance[cx, cy, cz] == 1


@kernel
def enter(
    tile: int, wanted: Any, turn: Any, lens: Any, origin: Any, box: Any, step: float, low: Any, warp: Any,
    warp_low: Any, warp_inverse: Any, reach: Any, free: float, distance: Any, cell: float, rays: Any, pixels: Any,
) -> int:  # fmt: skip
    """Makes the rays of a tile, as columns of `rays`: direction, near, far and first step; returns how many.

    One walk along the tile's middle ray, with room to the sides for all of them, finds where none of them can have met
    matter yet, and another from behind where none of them meets any more. Tiles without matter have no rays.
    """
    height, width = wanted.shape
    across = (width + SIDE - 1) // SIDE
    top, left = tile // across * SIDE, tile % across * SIDE
    zero, one = np.float32(0), np.float32(1)
    first, last = np.float32(1e9), np.float32(-1e9)
    count = 0
    for row in range(top, min(top + SIDE, height)):
        for column in range(left, min(left + SIDE, width)):
            if not wanted[row, column]:
                continue
            a = (np.float32(column) + np.float32(0.5) - lens[2]) / lens[0]
            b = (np.float32(row) + np.float32(0.5) - lens[3]) / lens[1]
            size = one / np.float32(np.sqrt(a * a + b * b + one))
            near, far = zero, np.float32(1e9)
            for axis in range(3):
                d = (turn[axis, 0] * a + turn[axis, 1] * b + turn[axis, 2]) * size
                rays[axis, count] = d
                if abs(d) < np.float32(1e-9):
                    d = np.float32(1e-9)
                enters, leaves = (box[0, axis] - origin[axis]) / d, (box[1, axis] - origin[axis]) / d
                near, far = max(near, min(enters, leaves)), min(far, max(enters, leaves))
            if far <= near:
                continue
            rays[3, count], rays[4, count], rays[5, count] = near, far, zero
            first, last = min(first, near), max(last, far)
            pixels[count] = row * width + column
            count += 1
    if count == 0:
        return 0
    spread, slant = zero, zero
    middle = np.zeros(3, np.float32)
    for axis in range(3):
        least, most = rays[axis, 0], rays[axis, 0]
        for i in range(1, count):
            least, most = min(least, rays[axis, i]), max(most, rays[axis, i])
        middle[axis] = (least + most) * np.float32(0.5)
        spread = max(spread, (most - least) * np.float32(0.5))
        slant = max(slant, abs(middle[axis]))
    per_cell, nodes = one / cell, np.float32(warp.shape[0] - 1)
    for sign in range(2):
        along, forward = (first, one) if sign == 0 else (last, -one)
        while first <= along <= last:
            x = origin[0] + along * middle[0]
            y = origin[1] + along * middle[1]
            z = origin[2] + along * middle[2]
            wide = along * spread
            room = clear(x, y, z, low, per_cell, cell, distance, warp_low, warp_inverse, nodes, reach) - wide
            room = min(room, free - wide) / (slant + spread)
            if room < np.float32(0.25) * step:
                break
            along += forward * room
        if sign == 0:
            if along > last:
                return 0
            for i in range(count):
                rays[5, i] = max(zero, np.float32(int((along - rays[3, i]) / step - np.float32(0.5))))
        else:
            for i in range(count):
                rays[4, i] = min(rays[4, i], along)
    return count


@inlined
def look(bfloat: bool, x: float, y: float, z: float, harmonics: Any, views: Any, lane: int) -> None:
    """A direction's 16 harmonics (see `realtalk_core.nn.spherical`) into a lane of `views`, as the layers read them."""
    xx, yy, zz = x * x, y * y, z * z
    three, five = np.float32(3), np.float32(5)
    harmonics[0] = np.float32(0.28209479)
    harmonics[1] = np.float32(-0.48860251) * y
    harmonics[2] = np.float32(0.48860251) * z
    harmonics[3] = np.float32(-0.48860251) * x
    harmonics[4] = np.float32(1.09254843) * x * y
    harmonics[5] = np.float32(-1.09254843) * y * z
    harmonics[6] = np.float32(0.31539157) * (three * zz - np.float32(1))
    harmonics[7] = np.float32(-1.09254843) * x * z
    harmonics[8] = np.float32(0.54627422) * (xx - yy)
    harmonics[9] = np.float32(-0.59004359) * y * (three * xx - yy)
    harmonics[10] = np.float32(2.89061144) * x * y * z
    harmonics[11] = np.float32(-0.45704580) * y * (five * zz - np.float32(1))
    harmonics[12] = np.float32(0.37317633) * z * (five * zz - three)
    harmonics[13] = np.float32(-0.45704580) * x * (five * zz - np.float32(1))
    harmonics[14] = np.float32(1.44530572) * z * (xx - yy)
    harmonics[15] = np.float32(-0.59004359) * x * (xx - three * yy)
    bits, half, high = harmonics.view(np.uint32), np.uint32(0x8000), np.uint32(0xFFFF0000)
    for k in range(views.shape[0]):
        if bfloat:
            views[k, lane] = ((bits[2 * k] + half) >> np.uint32(16)) | ((bits[2 * k + 1] + half) & high)
        else:
            views[k, lane] = bits[k]
