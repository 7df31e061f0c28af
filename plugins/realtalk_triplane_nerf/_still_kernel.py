"""Measures a field at many places under several conditions, with its gates and without; for `still`."""

from __future__ import annotations

from typing import Any

import numpy as np

from realtalk_core.nn import simd
from realtalk_core.nn._jit import kernel
from realtalk_triplane_nerf._fused_kernel import (
    COLOUR_IN,
    COLOUR_OUT,
    FIRST,
    INNER,
    SECOND,
    STILL,
    THIRD,
    encode,
    exponential,
    layer,
)  # fmt: skip
from realtalk_triplane_nerf._rays_kernel import look

BLOCK = simd.BLOCK
pair_rows = simd.pair_rows


@kernel
def judge(
    bfloat: bool, views: Any, step: float, layers: Any, words: Any, biases: Any, density_limit: float, first: Any,
    second: Any, found: Any, queued: Any, hidden: Any, colours: Any, seen: Any,
) -> None:  # fmt: skip
    """Opacity over a step and premultiplied colour of a block, from its first hidden layer, into `seen (4, BLOCK)`."""
    layer(bfloat, SECOND, layers, words, biases, first, second)
    layer(bfloat, THIRD, layers, words, biases, second, found)
    density = found[0].view(np.float32)
    for lane in range(BLOCK):
        seen[3, lane] = np.float32(1) - exponential(-exponential(min(density[lane], density_limit)) * step)
    feature_words = queued.shape[0] - views.shape[0]
    if bfloat:
        pair_rows(found, queued[:feature_words])
    else:
        queued[:feature_words] = found
    queued[feature_words:] = views
    layer(bfloat, COLOUR_IN, layers, words, biases, queued, hidden)
    layer(bfloat, COLOUR_OUT, layers, words, biases, hidden, colours)
    values = colours.view(np.float32)
    for c in range(3):
        for lane in range(BLOCK):
            colour = np.float32(1.002) / (np.float32(1) + exponential(-values[c, lane])) - np.float32(0.001)
            seen[c, lane] = seen[3, lane] * colour


@kernel
def probe(
    bfloat: bool, places: Any, directions: Any, step: float, grids: Any, starts: Any, sides: Any, layers: Any,
    words: Any, biases: Any, density_limit: float, space: Any, opacity: Any, stray: Any,
) -> None:  # fmt: skip
    """The most that places `(3, N)` hide over a step, and the most that leaving out gates changes there.

    Over the networks of several conditions, one row of `words` and `biases` each, and one of `directions (BLOCK, 3)` a
    lane. The change is that of a premultiplied colour over any background.
    """
    per_word = 2 if bfloat else 1
    rows = layers[:, 3] * simd.TILE
    geometry_words = layers[INNER, 2]
    feature_words, view_words = rows[THIRD] // per_word, 16 // per_word
    geometry, used = space[: geometry_words * per_word], geometry_words * per_word
    joined, used = space[used : used + layers[FIRST, 2]], used + layers[FIRST, 2]
    first, used = space[used : used + rows[FIRST]], used + rows[FIRST]
    second, used = space[used : used + rows[SECOND]], used + rows[SECOND]
    found, used = space[used : used + rows[THIRD]], used + rows[THIRD]
    views, used = space[used : used + view_words], used + view_words
    queued, used = space[used : used + feature_words + view_words], used + feature_words + view_words
    hidden, used = space[used : used + rows[COLOUR_IN]], used + rows[COLOUR_IN]
    colours = space[used : used + rows[COLOUR_OUT]]
    points, harmonics = np.zeros((3, BLOCK), np.float32), np.zeros(16, np.float32)
    seen, guessed = np.zeros((4, BLOCK), np.float32), np.zeros((4, BLOCK), np.float32)
    for lane in range(BLOCK):
        look(bfloat, directions[lane, 0], directions[lane, 1], directions[lane, 2], harmonics, views, lane)
    for start in range(0, places.shape[1], BLOCK):
        count = min(BLOCK, places.shape[1] - start)
        for axis in range(3):
            points[axis, :count] = places[axis, start : start + count]
        encode(bfloat, points, grids, starts, sides, geometry, joined)
        layer(bfloat, INNER, layers, words[0], biases[0], joined, joined[geometry_words:])
        for c in range(words.shape[0]):
            layer(bfloat, FIRST, layers, words[c], biases[c], joined, first)
            judge(
                bfloat, views, step, layers, words[c], biases[c], density_limit, first, second, found, queued, hidden,
                colours, seen,
            )  # fmt: skip
            layer(bfloat, STILL, layers, words[c], biases[c], joined, first)
            judge(
                bfloat, views, step, layers, words[c], biases[c], density_limit, first, second, found, queued, hidden,
                colours, guessed,
            )  # fmt: skip
            for i in range(count):
                opacity[start + i] = max(opacity[start + i], seen[3, i])
                hides = guessed[3, i] - seen[3, i]
                most = abs(hides)
                for k in range(3):
                    change = guessed[k, i] - seen[k, i]
                    most = max(most, abs(change), abs(change - hides))
                stray[start + i] = max(stray[start + i], most)
