"""Values and gradients of the field's networks, 64 samples at a time, without leaving the cache.

Going back, a block's activations are computed once more instead of being kept: that costs a quarter of the products,
and keeping them would cost as much in memory traffic. Only samples that something depends on are gone back through.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from realtalk_core.nn import simd, simd_gradient
from realtalk_core.nn._jit import kernel

BLOCK, TILE = simd.BLOCK, simd.TILE
hidden_bfloat, linear_bfloat, masked_bfloat = simd.hidden_bfloat, simd.linear_bfloat, simd.masked_bfloat
hidden_float, linear_float, masked_float = simd.hidden_float, simd.linear_float, simd.masked_float
split_rows, pair_rows = simd_gradient.split_rows, simd.pair_rows
transpose_bfloat, outer_bfloat = simd_gradient.transpose_bfloat, simd_gradient.outer_bfloat
transpose_float, outer_float = simd_gradient.transpose_float, simd_gradient.outer_float

INNER, FIRST, SECOND, THIRD, COLOUR_IN, COLOUR_OUT = range(6)
"""Rows of `layers`: where a layer's words and its bias begin, its words of depth, its tiles. And rows of `sums`: where
a layer's weight gradient begins, its vectors of 16 inputs, where its bias' gradient begins."""
TO_HIDDEN, TO_FOUND, TO_SECOND, TO_FIRST, TO_INNER, TO_GEOMETRY = range(6, 12)
"""Rows of `layers` for the transposed matrices, named by whose gradient they give."""
(
    JOINED, AFTER_FIRST, AFTER_SECOND, QUEUED, HIDDEN, FOUND, COLOURS,
    BY_COLOUR, BY_HIDDEN, BY_FOUND, BY_SECOND, BY_FIRST, ROWS, COLUMNS,
) = range(14)  # fmt: skip
"""Parts of the room to work in: a block's inputs of each layer, float32 outputs, gradients, and room to turn them."""


@kernel
def product(bfloat: bool, ending: int, layer: Any, words: Any, biases: Any, x: int, y: int, kept: int) -> None:
    """A layer from address `x` to `y`, ending in ReLU (0), in float32 (1) or zero where `kept` is (2)."""
    w, b = words.ctypes.data + 4 * layer[0], biases.ctypes.data + 4 * layer[1]
    if bfloat and ending == 0:
        hidden_bfloat(w, b, x, y, layer[2], layer[3])
    elif bfloat and ending == 1:
        linear_bfloat(w, b, x, y, layer[2], layer[3])
    elif bfloat:
        masked_bfloat(w, b, x, y, layer[2], layer[3], kept)
    elif ending == 0:
        hidden_float(w, b, x, y, layer[2], layer[3])
    elif ending == 1:
        linear_float(w, b, x, y, layer[2], layer[3])
    else:
        masked_float(w, b, x, y, layer[2], layer[3], kept)


@kernel
def load(bfloat: bool, geometry: Any, start: int, count: int, out: Any) -> None:
    """Neighbouring samples' features as words; lanes from `count` on become zero."""
    half, top, shift = np.uint32(0x8000), np.uint32(0xFFFF0000), np.uint32(16)
    rows = geometry.shape[0]
    for k in range(-(-rows // 2) if bfloat else rows):
        into = out[k]
        if bfloat:
            low, high = (
                geometry[2 * k][start : start + count],
                geometry[min(2 * k + 1, rows - 1)][start : start + count],
            )
            for i in range(count):
                into[i] = ((low[i] + half) >> shift) | ((high[i] + half) & top)
        else:
            into[:count] = geometry[k][start : start + count]
        for i in range(count, BLOCK):
            into[i] = 0


@kernel
def gather(bfloat: bool, geometry: Any, order: Any, out: Any) -> None:
    """As `load` for the samples in `order`, at most a block."""
    half, top, shift = np.uint32(0x8000), np.uint32(0xFFFF0000), np.uint32(16)
    rows, count = geometry.shape[0], order.shape[0]
    for k in range(-(-rows // 2) if bfloat else rows):
        into = out[k]
        if bfloat:
            low, high = geometry[2 * k], geometry[min(2 * k + 1, rows - 1)]
            for i in range(count):
                at = np.uint64(order[i])
                into[i] = ((low[at] + half) >> shift) | ((high[at] + half) & top)
        else:
            row = geometry[k]
            for i in range(count):
                into[i] = row[np.uint64(order[i])]
        for i in range(count, BLOCK):
            into[i] = 0


@kernel
def densities(bfloat: bool, layers: Any, words: Any, biases: Any, parts: Any, at: int) -> None:
    """From `JOINED`'s features to `FOUND`."""
    joined, first, second = at + 256 * parts[JOINED], at + 256 * parts[AFTER_FIRST], at + 256 * parts[AFTER_SECOND]
    if layers[INNER, 3]:
        inner = joined + 256 * layers[INNER, 2]
        product(bfloat, 0, layers[INNER], words, biases, joined, inner, 0)
    product(bfloat, 0, layers[FIRST], words, biases, joined, first, 0)
    product(bfloat, 0, layers[SECOND], words, biases, first, second, 0)
    product(bfloat, 1, layers[THIRD], words, biases, second, at + 256 * parts[FOUND], 0)


@kernel
def queue(bfloat: bool, first_view: int, layers: Any, parts: Any, space: Any) -> None:
    """`FOUND` and the views, joined for the colour layers; `first_view` is the row of `QUEUED` the views begin at."""
    rows = layers[THIRD, 3] * TILE
    found = space[parts[FOUND] : parts[FOUND] + rows]
    queued = space[parts[QUEUED] : parts[QUEUED] + first_view]
    if bfloat:
        pair_rows(found, queued)
    else:
        for row in range(rows):
            for i in range(BLOCK):
                queued[row, i] = found[row, i]


@kernel
def look(views: Any, rays: Any, into: Any) -> None:
    """The views' words of the rays of a block's samples."""
    for i in range(rays.shape[0]):
        view = views[np.uint64(rays[i])]
        for k in range(view.shape[0]):
            into[k, i] = view[k]


@kernel
def colours(bfloat: bool, layers: Any, words: Any, biases: Any, parts: Any, at: int) -> None:
    """From `QUEUED` to `COLOURS`."""
    hidden = at + 256 * parts[HIDDEN]
    product(bfloat, 0, layers[COLOUR_IN], words, biases, at + 256 * parts[QUEUED], hidden, 0)
    product(bfloat, 1, layers[COLOUR_OUT], words, biases, hidden, at + 256 * parts[COLOURS], 0)


@kernel
def forward(
    bfloat: bool, geometry: Any, rays: Any, views: Any, layers: Any, words: Any, biases: Any, parts: Any, space: Any,
    density: Any, colour: Any,
) -> None:  # fmt: skip
    """Fills `density (N,)` and `colour (N or 0, 3)` with logits of the first N samples of `geometry (columns, P)`."""
    at, count = space.ctypes.data, density.shape[0]
    found, shown = space[parts[FOUND]].view(np.float32), space[parts[COLOURS] : parts[COLOURS] + 3].view(np.float32)
    view_row = layers[COLOUR_IN, 2] - views.shape[1]
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        load(bfloat, geometry, start, size, space[parts[JOINED] :])
        densities(bfloat, layers, words, biases, parts, at)
        density[start : start + size] = found[:size]
        if colour.shape[0]:
            queue(bfloat, view_row, layers, parts, space)
            look(views, rays[start : start + size], space[parts[QUEUED] + view_row :])
            colours(bfloat, layers, words, biases, parts, at)
            into = colour[start : start + size]
            for i in range(size):
                into[i, 0], into[i, 1], into[i, 2] = shown[0, i], shown[1, i], shown[2, i]


@kernel
def weigh(
    bfloat: bool, number: int, gradient: int, inputs: int, turn: bool, layers: Any, sums: Any, stride: int, parts: Any,
    at: int, into: Any, into_bias: Any,
) -> None:  # fmt: skip
    """Adds a layer's weight gradient, given the addresses of its outputs' gradient and its inputs.

    `turn` is False where the inputs lie in `COLUMNS` already.
    """
    tiles, vectors = layers[number, 3], sums[number, 1]
    columns, rows = at + 256 * parts[COLUMNS], at + 256 * parts[ROWS]
    target, bias = into.ctypes.data + 4 * sums[number, 0], into_bias.ctypes.data + 4 * sums[number, 2]
    if bfloat:
        if turn:
            transpose_bfloat(inputs, columns, stride // 16, stride)
        split_rows(gradient, rows, tiles * (TILE // 2))
        outer_bfloat(rows, columns, target, bias, tiles, vectors, stride)
    else:
        if turn:
            transpose_float(inputs, columns, stride // 16, stride)
        outer_float(gradient, columns, target, bias, tiles, vectors, stride)


@kernel
def backward(
    bfloat: bool, order: Any, pulls: Any, geometry: Any, rays: Any, views: Any, layers: Any, words: Any, biases: Any,
    parts: Any, space: Any, sums: Any, into: Any, into_bias: Any, spread: bool, out: Any,
) -> None:  # fmt: skip
    """Adds the weights' gradients and fills `out (columns, K)` with the geometry's, or these places of it if `spread`.

    `order (K,)` names the samples to go back through, `pulls (1 or 4, K)` are the gradients of their logits. The
    weights' gradients go into `into` and `into_bias`, laid out as `sums` says.
    """
    at = space.ctypes.data
    joined, first, second = at + 256 * parts[JOINED], at + 256 * parts[AFTER_FIRST], at + 256 * parts[AFTER_SECOND]
    queued, hidden = at + 256 * parts[QUEUED], at + 256 * parts[HIDDEN]
    by_colour, by_hidden, by_found = (
        at + 256 * parts[BY_COLOUR], at + 256 * parts[BY_HIDDEN], at + 256 * parts[BY_FOUND]
    )  # fmt: skip
    by_second, by_first = at + 256 * parts[BY_SECOND], at + 256 * parts[BY_FIRST]
    by_inner = by_first + 256 * layers[TO_INNER, 2]
    found_rows = layers[THIRD, 3] * TILE
    found = space[parts[FOUND] : parts[FOUND] + found_rows]
    found_pull = found.view(np.float32)
    colour_words = 2 if bfloat else 4
    shown = space[parts[COLOURS] : parts[COLOURS] + 4]
    shown_pull = shown.view(np.float32)
    paired_found = space[parts[BY_FOUND] : parts[BY_FOUND] + layers[TO_SECOND, 2]]
    paired_colour = space[parts[BY_COLOUR] : parts[BY_COLOUR] + colour_words]
    view_row = layers[COLOUR_IN, 2] - views.shape[1]
    geometry_pull = space[parts[FOUND] : parts[FOUND] + layers[TO_GEOMETRY, 3] * TILE].view(np.float32)
    for start in range(0, order.shape[0], BLOCK):
        size = min(BLOCK, order.shape[0] - start)
        gather(bfloat, geometry, order[start : start + size], space[parts[JOINED] :])
        densities(bfloat, layers, words, biases, parts, at)
        if pulls.shape[0] > 1:
            queue(bfloat, view_row, layers, parts, space)
            look(views, rays[order[start : start + size]], space[parts[QUEUED] + view_row :])
            colours(bfloat, layers, words, biases, parts, at)
            for c in range(4):
                for i in range(BLOCK):
                    shown_pull[c, i] = pulls[1 + c, start + i] if c < 3 and i < size else np.float32(0)
            if bfloat:
                pair_rows(shown, paired_colour)
            else:
                paired_colour[:] = shown
            stride = sums[COLOUR_OUT, 1] * 16
            weigh(
                bfloat, COLOUR_OUT, by_colour, hidden, True, layers, sums, stride, parts, at, into, into_bias
            )  # fmt: skip
            product(bfloat, 2, layers[TO_HIDDEN], words, biases, by_colour, by_hidden, hidden)
            stride = sums[COLOUR_IN, 1] * 16
            weigh(bfloat, COLOUR_IN, by_hidden, queued, True, layers, sums, stride, parts, at, into, into_bias)
            product(bfloat, 1, layers[TO_FOUND], words, biases, by_hidden, at + 256 * parts[FOUND], 0)
        else:
            found[:] = 0
        for i in range(size):
            found_pull[0, i] += pulls[0, start + i]
        if bfloat:
            pair_rows(found, paired_found)
        else:
            paired_found[:] = found
        stride = sums[THIRD, 1] * 16
        weigh(bfloat, THIRD, by_found, second, True, layers, sums, stride, parts, at, into, into_bias)
        product(bfloat, 2, layers[TO_SECOND], words, biases, by_found, by_second, second)
        stride = sums[SECOND, 1] * 16
        weigh(bfloat, SECOND, by_second, first, True, layers, sums, stride, parts, at, into, into_bias)
        product(bfloat, 2, layers[TO_FIRST], words, biases, by_second, by_first, first)
        stride = sums[FIRST, 1] * 16
        weigh(bfloat, FIRST, by_first, joined, True, layers, sums, stride, parts, at, into, into_bias)
        if layers[INNER, 3]:
            product(
                bfloat, 2, layers[TO_INNER], words, biases, by_first, by_inner, joined + 256 * layers[INNER, 2]
            )  # fmt: skip
            weigh(bfloat, INNER, by_inner, joined, False, layers, sums, stride, parts, at, into, into_bias)
        product(bfloat, 1, layers[TO_GEOMETRY], words, biases, by_first, at + 256 * parts[FOUND], 0)
        for row in range(out.shape[0]):
            into_row, pull = out[row], geometry_pull[row]
            for i in range(size):
                into_row[np.uint64(order[start + i] if spread else start + i)] = pull[i]


@kernel
def place(bfloat: bool, weight: Any, turned: bool, column: int, layer: Any, words: Any) -> None:
    """Writes a matrix, or its transpose, into a layer's packed one from an input on."""
    half, shift, odd = np.uint32(0x7FFF), np.uint32(16), np.uint32(1)
    out, depth = words[layer[0] :], layer[2]
    for a in range(weight.shape[0]):
        for b in range(weight.shape[1]):
            r, c = (b, column + a) if turned else (a, column + b)
            bits = weight[a, b]
            if bfloat:
                bits = (bits + half + ((bits >> shift) & odd)) >> shift
                at = ((r // TILE) * depth + c // 2) * TILE + r % TILE
                out[at] |= (bits << shift) if c % 2 else bits
            else:
                out[((r // TILE) * depth + c) * TILE + r % TILE] = bits


@kernel
def pack(
    bfloat: bool, layers: Any, inner: Any, first: Any, second: Any, third: Any, seen: Any, last: Any, words: Any
) -> None:  # fmt: skip
    """Lays out all matrices (as 32-bit words) and their transposes; `words` are zeros before."""
    columns, found = inner.shape[1], third.shape[0]
    plain, gated, on_found = first[:, :columns], first[:, columns:], seen[:, :found]
    place(bfloat, inner, False, 0, layers[INNER], words)
    place(bfloat, plain, False, 0, layers[FIRST], words)
    place(bfloat, gated, False, layers[TO_GEOMETRY, 3] * TILE, layers[FIRST], words)
    place(bfloat, second, False, 0, layers[SECOND], words)
    place(bfloat, third, False, 0, layers[THIRD], words)
    place(bfloat, on_found, False, 0, layers[COLOUR_IN], words)
    place(bfloat, seen[:, found:], False, layers[THIRD, 3] * TILE, layers[COLOUR_IN], words)
    place(bfloat, last, False, 0, layers[COLOUR_OUT], words)
    place(bfloat, last, True, 0, layers[TO_HIDDEN], words)
    place(bfloat, on_found, True, 0, layers[TO_FOUND], words)
    place(bfloat, third, True, 0, layers[TO_SECOND], words)
    place(bfloat, second, True, 0, layers[TO_FIRST], words)
    place(bfloat, gated, True, 0, layers[TO_INNER], words)
    place(bfloat, plain, True, 0, layers[TO_GEOMETRY], words)
    place(bfloat, inner, True, layers[FIRST, 3] * TILE, layers[TO_GEOMETRY], words)


@kernel
def unpack(sums: Any, into: Any, into_bias: Any, shapes: Any, out: Any) -> None:
    """The gradients' sums as matrices and biases one after another in `out`.

    `shapes (6, 3)` has each layer's outputs, inputs, and those of the inputs that fill up their first part: where it is
    not a multiple of `TILE`, a second part begins at the next one.
    """
    at = 0
    for number in range(6):
        start, vectors, start_bias = sums[number]
        rows, inputs, part = shapes[number]
        gap = -part % TILE
        for row in range(rows):
            base = start + ((row // TILE) * vectors * TILE + row % TILE) * 16
            for k in range(inputs):
                column = k if k < part else k + gap
                out[at] = into[base + (column // 16) * TILE * 16 + column % 16]
                at += 1
        if number > 0:
            for row in range(rows):
                total = np.float32(0)
                for k in range(16):
                    total += into_bias[start_bias + row * 16 + k]
                out[at] = total
                at += 1


@kernel
def select(
    sigma: Any, by_sigma: Any, colour: Any, by_colour: Any, limit: float, spare: float, order: Any, pulls: Any
) -> int:  # fmt: skip
    """Gradients of the logits of the samples that are worth going back through; returns how many.

    A sample whose density's or colour's gradient reaches `spare` times the mean one is kept as it is. One below that
    is kept with a probability in proportion and made larger by the inverse, so that sums come out right on average.
    Chance is a hash of the sample's place and its gradient.
    """
    count, zero, one = sigma.shape[0], np.float32(0), np.float32(1)
    span, low = np.float32(1 / 1.002), np.float32(0.001)
    coloured = colour.shape[0] > 0
    size, shades = np.empty(count, np.float32), np.zeros(count, np.float32)
    bits = size.view(np.uint32)
    total, total_shade = 1e-30, 1e-30
    for i in range(count):
        d = by_sigma[i] * sigma[i] if sigma[i] < limit else zero
        pulls[0, i], size[i] = d, abs(d)
        total += abs(d)
        if coloured:
            shade = zero
            for c in range(3):
                x = (colour[i, c] + low) * span
                pull = by_colour[i, c] * np.float32(1.002) * x * (one - x)
                pulls[1 + c, i] = pull
                shade = max(shade, abs(pull))
            shades[i] = shade
            total_shade += shade
    each, each_shade = np.float32(count / total), np.float32(count / total_shade)
    bound = np.float32(spare)
    for i in range(count):
        size[i] = max(size[i] * each, shades[i] * each_shade)
    kept = 0
    for i in range(count):
        largest = size[i]
        if largest == zero:
            continue
        scale = one
        if largest < bound:
            h = np.uint32(bits[i] ^ (np.uint32(i) * np.uint32(0x9E3779B1)))
            h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
            h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35))
            h = np.uint32(h ^ (h >> np.uint32(16)))
            if np.float32(h >> np.uint32(8)) * np.float32(2.0**-24) * bound >= largest:
                continue
            scale = bound / largest
        order[kept] = i
        for c in range(pulls.shape[0]):
            pulls[c, kept] = pulls[c, i] * scale
        kept += 1
    return kept
