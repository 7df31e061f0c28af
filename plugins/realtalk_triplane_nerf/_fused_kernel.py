"""One kernel from rays to pixels: march, warp, encode, networks, compositing, for 64 rays side by side.

Each of the block's lanes holds a ray. Every round each lane walks to its ray's next sample, all 64 are evaluated at
once, and a ray that has become opaque makes room for the next one. So blocks stay full, nothing behind a surface is
evaluated, and everything between sample and pixel stays in the first-level cache. Colour is asked for only where a
sample's weight can still be seen.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from realtalk_core.nn import simd
from realtalk_core.nn._jit import inlined, kernel

BLOCK = simd.BLOCK
hidden_bfloat, linear_bfloat = simd.hidden_bfloat, simd.linear_bfloat
hidden_float, linear_float = simd.hidden_float, simd.linear_float
pair_rows, read_level = simd.pair_rows, simd.read_level


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


@inlined
def walk(
    k: int, ray: int, origin: Any, directions: Any, near: Any, far: Any, step: float, low: Any, warp: Any,
    warp_low: Any, warp_inverse: Any, reach: Any, free: float, distance: Any, cell: float, lane: int, points: Any,
    inverse: float,
) -> int:  # fmt: skip
    """Goes from step `k` to the ray's next occupied sample, writes its place, returns the step after it; −1 if none.

    `distance` holds each cell's distance in cells (along the worst axis) to the nearest occupied one: as far as that
    less the warp's reach, no sample can be occupied, and the walk jumps. `reach` holds the longest displacement around
    each square of `SQUARE` nodes, good for `free` centimetres sideways.
    """
    dx, dy, dz = directions[ray, 0], directions[ray, 1], directions[ray, 2]
    side, per_cell = warp.shape[0], np.float32(1.0) / cell
    nx, ny, nz = distance.shape
    zero, half = np.float32(0), np.float32(0.5)
    last = np.float32(side - 1)
    sideways = free / max(abs(dx), abs(dy), np.float32(1e-6))
    while True:
        along = near[ray] + (np.float32(k) + half) * step
        if along >= far[ray]:
            return -1
        x = origin[0] + along * dx
        y = origin[1] + along * dy
        z = origin[2] + along * dz
        cx = int(min(max((x - low[0]) * per_cell, zero), np.float32(nx - 1)))
        cy = int(min(max((y - low[1]) * per_cell, zero), np.float32(ny - 1)))
        cz = int(min(max((z - low[2]) * per_cell, zero), np.float32(nz - 1)))
        u = (x - warp_low[0]) * warp_inverse[0]
        v = (y - warp_low[1]) * warp_inverse[1]
        column = min(int(min(max(u, zero), last)) // SQUARE, reach.shape[1] - 1)
        row = min(int(min(max(v, zero), last)) // SQUARE, reach.shape[0] - 1)
        clear = np.float32(int(distance[cx, cy, cz]) - 1) * cell - reach[row, column]
        if clear > zero:
            k += 1 + int(min(clear, sideways) / step)
            continue
        k += 1
        if side > 1 and u >= zero and v >= zero and u < side - 1 and v < side - 1:
            i, j = int(u), int(v)
            s, t = u - np.float32(i), v - np.float32(j)
            b, d = s - s * t, s * t
            a, c = np.float32(1) - s - t + d, t - d
            x -= a * warp[j, i, 0] + b * warp[j, i + 1, 0] + c * warp[j + 1, i, 0] + d * warp[j + 1, i + 1, 0]
            y -= a * warp[j, i, 1] + b * warp[j, i + 1, 1] + c * warp[j + 1, i, 1] + d * warp[j + 1, i + 1, 1]
            z -= a * warp[j, i, 2] + b * warp[j, i + 1, 2] + c * warp[j + 1, i, 2] + d * warp[j + 1, i + 1, 2]
        x, y, z = x - low[0], y - low[1], z - low[2]
        if x < zero or y < zero or z < zero:
            continue
        cx, cy, cz = int(x * per_cell), int(y * per_cell), int(z * per_cell)
        if cx < nx and cy < ny and cz < nz and distance[cx, cy, cz] == 0:
            points[0, lane] = min(x * inverse, np.float32(1))
            points[1, lane] = min(y * inverse, np.float32(1))
            points[2, lane] = min(z * inverse, np.float32(1))
            return k


@kernel
def shade(
    bfloat: bool, count: int, rays: Any, weights: Any, layers: Any, words: Any, biases: Any, queued: Any, hidden: Any,
    colours: Any, out: Any,
) -> None:  # fmt: skip
    """Colours of the queued samples, added to their rays with their weights."""
    layer(bfloat, COLOUR_IN, layers, words, biases, queued, hidden)
    layer(bfloat, COLOUR_OUT, layers, words, biases, hidden, colours)
    values = colours.view(np.float32)
    for i in range(count):
        for c in range(3):
            value = np.float32(1.002) / (np.float32(1) + math.exp(-values[c, i])) - np.float32(0.001)
            out[rays[i], c] += weights[i] * value


@kernel
def render(
    bfloat: bool, order: Any, origin: Any, directions: Any, near: Any, far: Any, views: Any, step: float,
    low: Any, inverse: float, distance: Any, cell: float, limit: int,
    warp: Any, warp_low: Any, warp_inverse: Any, reach: Any, free: float,
    grids: Any, starts: Any, sides: Any,
    layers: Any, words: Any, biases: Any, density_limit: float, tolerance: float, space: Any, out: Any, counts: Any,
) -> None:  # fmt: skip
    """Adds premultiplied colour and opacity of the rays in `order` into `out (R, 4)`; see `fused.render_pixels`.

    `counts` gets the number of densities and of colours evaluated; `space (rows, BLOCK)` is room to work in, all zeros.
    """
    per_word = 2 if bfloat else 1
    levels = sides.shape[0]
    rows = layers[:, 3] * simd.TILE
    geometry_words = layers[INNER, 2]
    features = rows[THIRD]
    feature_words, view_words = features // per_word, views.shape[1]
    points = np.zeros((3, BLOCK), np.float32)
    geometry, used = space[: geometry_words * per_word], geometry_words * per_word
    joined, used = space[used : used + layers[FIRST, 2]], used + layers[FIRST, 2]
    after_first, used = space[used : used + rows[FIRST]], used + rows[FIRST]
    after_second, used = space[used : used + rows[SECOND]], used + rows[SECOND]
    found, used = space[used : used + features], used + features
    queued, used = space[used : used + feature_words + view_words], used + feature_words + view_words
    colour_hidden, used = space[used : used + rows[COLOUR_IN]], used + rows[COLOUR_IN]
    colours = space[used : used + rows[COLOUR_OUT]]
    queue_rays, queue_weights = np.zeros(BLOCK, np.int64), np.zeros(BLOCK, np.float32)
    lane_ray, lane_step = np.full(BLOCK, -1, np.int64), np.zeros(BLOCK, np.int64)
    taken = np.zeros(BLOCK, np.int64)
    through, spared = np.ones(BLOCK, np.float32), np.zeros(BLOCK, np.float32)
    half, top, shift = np.uint32(0x8000), np.uint32(0xFFFF0000), np.uint32(16)
    budget = np.float32(0.5) * tolerance
    waiting, queue = 0, 0
    while True:
        active = 0
        for lane in range(BLOCK):
            while True:
                if lane_ray[lane] < 0:
                    if waiting >= order.shape[0]:
                        break
                    lane_ray[lane] = order[waiting]
                    waiting += 1
                    lane_step[lane] = taken[lane] = 0
                    through[lane], spared[lane] = 1.0, 0.0
                lane_step[lane] = walk(
                    lane_step[lane], lane_ray[lane], origin, directions, near, far, step, low, warp, warp_low,
                    warp_inverse, reach, free, distance, cell, lane, points, inverse,
                )  # fmt: skip
                if lane_step[lane] >= 0:
                    active += 1
                    break
                out[lane_ray[lane], 3] = np.float32(1) - through[lane]
                lane_ray[lane] = -1
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
            ray = lane_ray[lane]
            if ray < 0:
                continue
            passed = np.float32(math.exp(-math.exp(min(density[lane], density_limit)) * step))
            weight = through[lane] * (np.float32(1) - passed)
            through[lane] *= passed
            taken[lane] += 1
            if spared[lane] + weight <= budget:
                spared[lane] += weight
            else:
                if bfloat:
                    for k in range(feature_words):
                        queued[k, queue] = ((found[2 * k, lane] + half) >> shift) | (
                            (found[2 * k + 1, lane] + half) & top
                        )
                else:
                    for k in range(feature_words):
                        queued[k, queue] = found[k, lane]
                for k in range(view_words):
                    queued[feature_words + k, queue] = views[ray, k]
                queue_rays[queue], queue_weights[queue] = ray, weight
                queue += 1
                if queue == BLOCK:
                    shade(
                        bfloat, queue, queue_rays, queue_weights, layers, words, biases, queued, colour_hidden, colours,
                        out,
                    )  # fmt: skip
                    counts[1] += queue
                    queue = 0
            if through[lane] < budget or taken[lane] >= limit:
                out[ray, 3] = np.float32(1) - through[lane]
                lane_ray[lane] = -1
    shade(
        bfloat, queue, queue_rays, queue_weights, layers, words, biases, queued, colour_hidden, colours, out
    )  # fmt: skip
    counts[1] += queue
