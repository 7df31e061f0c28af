"""One kernel from camera to pixels: rays, march, warp, encode, networks, compositing, for 64 rays side by side.

Each of the block's lanes holds a ray. Every round each lane walks to its ray's next sample, all 64 are evaluated at
once, and a ray that has become opaque makes room for the next one. So blocks stay full, nothing behind a surface is
evaluated, and everything between sample and pixel stays in the first-level cache. Colour is asked for only where a
sample's weight can still be seen. Rays come in tiles of 8 × 8 pixels: how far a whole tile is clear of matter is found
out once for all of them, and neighbours read the same cache lines.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from realtalk_core.nn import simd
from realtalk_core.nn._jit import inlined, kernel

BLOCK = simd.BLOCK
hidden_bfloat, linear_bfloat = simd.hidden_bfloat, simd.linear_bfloat
hidden_float, linear_float = simd.hidden_float, simd.linear_float
pair_rows, read_level = simd.pair_rows, simd.read_level


SIDE = 8
"""Pixels along a side of a tile."""
SQUARE = 8
"""Nodes along a side of the squares for which the warp's reach is known."""
INNER, FIRST, SECOND, THIRD, COLOUR_IN, COLOUR_OUT = range(6)
"""Rows of `layers`: where a layer's words and its bias begin, its words of depth, its tiles."""


@kernel
def layer(bfloat: bool, number: int, layers: Any, words: Any, biases: Any, inputs: Any, outputs: Any) -> None:
    """One layer of a block. Hidden layers end in ReLU and give words; `THIRD` and `COLOUR_OUT` give float32."""
    w = words.ctypes.data + 4 * layers[number, 0]
    b = biases.ctypes.data + 4 * layers[number, 1]
    x, y = inputs.ctypes.data, outputs.ctypes.data
    depth, tiles = layers[number, 2], layers[number, 3]
    last = number in (THIRD, COLOUR_OUT)
    if bfloat and last:
        linear_bfloat(w, b, x, y, depth, tiles)
    elif bfloat:
        hidden_bfloat(w, b, x, y, depth, tiles)
    elif last:
        linear_float(w, b, x, y, depth, tiles)
    else:
        hidden_float(w, b, x, y, depth, tiles)


@intrinsic  # type: ignore[untyped-decorator]
def power_of_two(_: Any, exponent: Any) -> Any:
    """2 to an int32 between -126 and 127, as float32."""

    def generate(_context: Any, b: Any, _signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        biased = b.add(arguments[0], ir.Constant(word, 127))
        return b.bitcast(b.shl(biased, ir.Constant(word, 23)), ir.FloatType())

    return types.float32(types.int32), generate


@inlined
def exponential(x: float) -> float:
    """The exponential to 2e-7 of its value, in operations that loops over lanes turn into vectors; flat beyond ±87."""
    power = min(max(x, np.float32(-87.0)), np.float32(87.0)) * np.float32(1.4426950408889634)
    whole = np.int32(np.int32(power + np.float32(128.5)) - 128)
    t = (power - np.float32(whole)) * np.float32(0.6931471805599453)
    tail = np.float32(1 / 24) + t * (np.float32(1 / 120) + t * (np.float32(1 / 720) + t * np.float32(1 / 5040)))
    near = np.float32(1) + t * (np.float32(1) + t * (np.float32(0.5) + t * (np.float32(1 / 6) + t * tail)))
    return near * power_of_two(whole)


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
    free: float, distance: Any, cell: float, lane: int, points: Any, inverse: float, among: bool,
) -> int:  # fmt: skip
    """Goes from step `k` to the ray's next occupied sample, writes its place, returns the step after it; −1 if none.

    As far as `clear` proves, no sample can be occupied, and the walk jumps; `reach` is good for `free` centimetres
    sideways. `among` matter there is nothing to jump over.
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


@kernel
def shade(
    bfloat: bool, count: int, rays: Any, weights: Any, layers: Any, words: Any, biases: Any, queued: Any, hidden: Any,
    colours: Any, out: Any,
) -> None:  # fmt: skip
    """Colours of the queued samples, added to their rays with their weights."""
    layer(bfloat, COLOUR_IN, layers, words, biases, queued, hidden)
    layer(bfloat, COLOUR_OUT, layers, words, biases, hidden, colours)
    values = colours.view(np.float32)
    for c in range(3):
        for i in range(BLOCK):
            value = np.float32(1.002) / (np.float32(1) + exponential(-values[c, i])) - np.float32(0.001)
            values[c, i] = weights[i] * value
    for i in range(count):
        for c in range(3):
            out[rays[i], c] += values[c, i]


@kernel
def render(
    bfloat: bool, tiles: Any, wanted: Any, turn: Any, lens: Any, origin: Any, box: Any, step: float,
    low: Any, inverse: float, distance: Any, cell: float, limit: int,
    warp: Any, warp_low: Any, warp_inverse: Any, reach: Any, free: float,
    grids: Any, starts: Any, sides: Any,
    layers: Any, words: Any, biases: Any, density_limit: float, tolerance: float, space: Any, out: Any, counts: Any,
) -> None:  # fmt: skip
    """Adds premultiplied colour and opacity of the wanted rays in `tiles` into `out (R, 4)`; see `fused.render`.

    `counts` gets the number of densities and of colours evaluated; `space (rows, BLOCK)` is room to work in, all zeros.
    """
    per_word = 2 if bfloat else 1
    levels = sides.shape[0]
    rows = layers[:, 3] * simd.TILE
    geometry_words = layers[INNER, 2]
    features = rows[THIRD]
    feature_words, view_words = features // per_word, 16 // per_word
    points = np.zeros((3, BLOCK), np.float32)
    geometry, used = space[: geometry_words * per_word], geometry_words * per_word
    joined, used = space[used : used + layers[FIRST, 2]], used + layers[FIRST, 2]
    after_first, used = space[used : used + rows[FIRST]], used + rows[FIRST]
    after_second, used = space[used : used + rows[SECOND]], used + rows[SECOND]
    found, used = space[used : used + features], used + features
    paired, used = space[used : used + feature_words], used + feature_words
    views, used = space[used : used + view_words], used + view_words
    queued, used = space[used : used + feature_words + view_words], used + feature_words + view_words
    colour_hidden, used = space[used : used + rows[COLOUR_IN]], used + rows[COLOUR_IN]
    colours = space[used : used + rows[COLOUR_OUT]]
    queue_pixels, queue_weights = np.zeros(BLOCK, np.int64), np.zeros(BLOCK, np.float32)
    rays, pixels = np.zeros((6, SIDE * SIDE), np.float32), np.zeros(SIDE * SIDE, np.int64)
    lane_ray, lane_pixel = np.zeros((5, BLOCK), np.float32), np.full(BLOCK, -1, np.int64)
    lane_step, taken = np.zeros(BLOCK, np.int64), np.zeros(BLOCK, np.int64)
    through, spared = np.ones(BLOCK, np.float32), np.zeros(BLOCK, np.float32)
    passed, picked = np.zeros(BLOCK, np.float32), np.zeros(BLOCK, np.int64)
    picked_weights, harmonics = np.zeros(BLOCK, np.float32), np.zeros(16, np.float32)
    budget = np.float32(0.5) * tolerance
    next_tile, waiting, held, queue = 0, 0, 0, 0
    while True:
        active = 0
        for lane in range(BLOCK):
            while True:
                if lane_pixel[lane] < 0:
                    while waiting == held and next_tile < tiles.shape[0]:
                        held = enter(
                            tiles[next_tile], wanted, turn, lens, origin, box, step, low, warp, warp_low, warp_inverse,
                            reach, free, distance, cell, rays, pixels,
                        )  # fmt: skip
                        waiting = 0
                        next_tile += 1
                    if waiting == held:
                        break
                    for k in range(5):
                        lane_ray[k, lane] = rays[k, waiting]
                    lane_step[lane], lane_pixel[lane] = int(rays[5, waiting]), pixels[waiting]
                    waiting += 1
                    taken[lane] = 0
                    through[lane], spared[lane] = 1.0, 0.0
                lane_step[lane] = walk(
                    lane_step[lane], lane_ray, origin, step, low, warp, warp_low, warp_inverse, reach, free, distance,
                    cell, lane, points, inverse, taken[lane] > 0,
                )  # fmt: skip
                if lane_step[lane] >= 0:
                    active += 1
                    break
                out[lane_pixel[lane], 3] = np.float32(1) - through[lane]
                lane_pixel[lane] = -1
        if active == 0:
            break
        counts[0] += active
        for plane in range(3):
            one = points[1 if plane == 1 else 0].ctypes.data
            two = points[1 if plane == 0 else 2].ctypes.data
            for level in range(levels):
                k = plane * levels + level
                read_level(
                    grids.ctypes.data + 2 * starts[k], one, two, np.int32(sides[level]), geometry[k].ctypes.data, 1
                )
        if bfloat:
            pair_rows(geometry, joined[:geometry_words])
        else:
            for row in range(geometry_words):
                for lane in range(BLOCK):
                    joined[row, lane] = geometry[row, lane]
        layer(bfloat, INNER, layers, words, biases, joined, joined[geometry_words:])
        layer(bfloat, FIRST, layers, words, biases, joined, after_first)
        layer(bfloat, SECOND, layers, words, biases, after_first, after_second)
        layer(bfloat, THIRD, layers, words, biases, after_second, found)
        density = found[0].view(np.float32)
        for lane in range(BLOCK):
            passed[lane] = exponential(-exponential(min(density[lane], density_limit)) * step)
        visible = 0
        for lane in range(BLOCK):
            pixel = lane_pixel[lane]
            if pixel < 0:
                continue
            weight = through[lane] * (np.float32(1) - passed[lane])
            if taken[lane] == 0:
                look(bfloat, lane_ray[0, lane], lane_ray[1, lane], lane_ray[2, lane], harmonics, views, lane)
            through[lane] *= passed[lane]
            taken[lane] += 1
            if spared[lane] + weight <= budget:
                spared[lane] += weight
            else:
                picked[visible], picked_weights[visible] = lane, weight
                visible += 1
        if bfloat and visible > 0:
            pair_rows(found, paired)
        done = 0
        while done < visible:
            more = min(visible - done, BLOCK - queue)
            source = paired if bfloat else found
            for k in range(feature_words):
                for i in range(more):
                    queued[k, queue + i] = source[k, picked[done + i]]
            for k in range(view_words):
                for i in range(more):
                    queued[feature_words + k, queue + i] = views[k, picked[done + i]]
            for i in range(more):
                queue_pixels[queue + i] = lane_pixel[picked[done + i]]
                queue_weights[queue + i] = picked_weights[done + i]
            done += more
            queue += more
            if queue == BLOCK:
                shade(
                    bfloat, queue, queue_pixels, queue_weights, layers, words, biases, queued, colour_hidden, colours,
                    out,
                )  # fmt: skip
                counts[1] += queue
                queue = 0
        for lane in range(BLOCK):
            if lane_pixel[lane] >= 0 and (through[lane] < budget or taken[lane] >= limit):
                out[lane_pixel[lane], 3] = np.float32(1) - through[lane]
                lane_pixel[lane] = -1
    shade(
        bfloat, queue, queue_pixels, queue_weights, layers, words, biases, queued, colour_hidden, colours, out
    )  # fmt: skip
    counts[1] += queue
