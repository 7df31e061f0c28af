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
from realtalk_triplane_nerf._rays_kernel import SIDE, enter, look, walk

BLOCK = simd.BLOCK
hidden_bfloat, linear_bfloat = simd.hidden_bfloat, simd.linear_bfloat
hidden_float, linear_float = simd.hidden_float, simd.linear_float
pair_rows, read_level = simd.pair_rows, simd.read_level


INNER, FIRST, SECOND, THIRD, COLOUR_IN, COLOUR_OUT, STILL = range(7)
"""Rows of `layers`: where a layer's words and its bias begin, its words of depth, its tiles. `STILL` stands in for
`INNER` and `FIRST` where gates make no difference."""


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


@kernel
def encode(bfloat: bool, points: Any, grids: Any, starts: Any, sides: Any, geometry: Any, joined: Any) -> None:
    """What the planes hold at a block of points, into the first words of `joined`; `geometry` is room to work in."""
    levels = sides.shape[0]
    for plane in range(3):
        one = points[1 if plane == 1 else 0].ctypes.data
        two = points[1 if plane == 0 else 2].ctypes.data
        for level in range(levels):
            k = plane * levels + level
            read_level(grids.ctypes.data + 2 * starts[k], one, two, np.int32(sides[level]), geometry[k].ctypes.data, 1)
    if bfloat:
        pair_rows(geometry, joined[: geometry.shape[0] // 2])
    else:
        for row in range(geometry.shape[0]):
            for lane in range(BLOCK):
                joined[row, lane] = geometry[row, lane]


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
    low: Any, inverse: float, distance: Any, strays: Any, worst: Any, leeway: float, cell: float, limit: int,
    warp: Any, warp_low: Any, warp_inverse: Any, reach: Any, free: float,
    grids: Any, starts: Any, sides: Any,
    layers: Any, words: Any, biases: Any, density_limit: float, tolerance: float, space: Any, out: Any, counts: Any,
) -> None:  # fmt: skip
    """Adds premultiplied colour and opacity of the wanted rays in `tiles` into `out (R, 4)`; see `fused.render`.

    `counts` gets the number of densities, of colours, and of densities without gates; `space (rows, BLOCK)` is room to
    work in, all zeros.
    """
    per_word = 2 if bfloat else 1
    rows = layers[:, 3] * simd.TILE
    geometry_words = layers[INNER, 2]
    features = rows[THIRD]
    feature_words, view_words = features // per_word, 16 // per_word
    points = np.zeros((4, BLOCK), np.float32)
    geometry, used = space[: geometry_words * per_word], geometry_words * per_word
    joined, used = space[used : used + layers[FIRST, 2]], used + layers[FIRST, 2]
    after_first, used = space[used : used + rows[FIRST]], used + rows[FIRST]
    after_still, used = space[used : used + rows[STILL]], used + rows[STILL]
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
    strayed, still = np.zeros(BLOCK, np.float32), np.zeros(BLOCK, np.bool_)
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
                    through[lane], spared[lane], strayed[lane] = 1.0, 0.0, 0.0
                lane_step[lane] = walk(
                    lane_step[lane], lane_ray, origin, step, low, warp, warp_low, warp_inverse, reach, free, distance,
                    cell, lane, points, inverse, taken[lane] > 0, strays, worst,
                )  # fmt: skip
                if lane_step[lane] >= 0:
                    active += 1
                    break
                out[lane_pixel[lane], 3] = np.float32(1) - through[lane]
                lane_pixel[lane] = -1
        if active == 0:
            break
        counts[0] += active
        encode(bfloat, points, grids, starts, sides, geometry, joined)
        # Each sample decides for itself: what it gives must not depend on which others share its block. Only cells that
        # are still whatever hides them count: a few hidden samples in moving blocks would cost more than they spare.
        calm = 0
        for lane in range(BLOCK):
            stray = through[lane] * points[3, lane]
            among_still = lane_pixel[lane] >= 0 and points[3, lane] <= np.float32(0.25) * leeway
            still[lane] = among_still and strayed[lane] + stray <= leeway
            if still[lane]:
                strayed[lane] += stray
                calm += 1
        counts[2] += calm
        if calm < active:
            layer(bfloat, INNER, layers, words, biases, joined, joined[geometry_words:])
            layer(bfloat, FIRST, layers, words, biases, joined, after_first)
        if calm > 0:
            layer(bfloat, STILL, layers, words, biases, joined, after_still)
            for row in range(rows[FIRST] // per_word):
                for lane in range(BLOCK):
                    after_first[row, lane] = after_still[row, lane] if still[lane] else after_first[row, lane]
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
