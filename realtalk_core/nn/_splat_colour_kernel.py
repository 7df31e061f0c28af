"""Kernels of `splat_projection.sh_colours`: the harmonics 64 at a time, the sums Gaussian by Gaussian."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from realtalk_core.nn._jit import kernel
from realtalk_core.nn._splat_blocks import BLOCK, gather3, scatter3

ZERO: Any = np.float32(0)
HALF, ONE, TWO, THREE, FIVE = np.float32(0.5), np.float32(1), np.float32(2), np.float32(3), np.float32(5)
SHORTEST: Any = np.float32(1e-12)
C0, C1 = np.float32(0.28209479), np.float32(0.48860251)
C20, C21, C22 = np.float32(1.09254843), np.float32(0.31539157), np.float32(0.54627422)
C30, C31, C32 = np.float32(0.59004359), np.float32(2.89061144), np.float32(0.45704580)
C33, C34 = np.float32(0.37317633), np.float32(1.44530572)
UNIT, BASIS, RAW, GRAD, ROWS = 0, 4 * BLOCK, 20 * BLOCK, 23 * BLOCK, 26 * BLOCK
"""Scratch memory: the direction and one over the distance, then the harmonics or the gradients by them."""


def _colours(terms: int) -> Any:
    @kernel
    def colours(coefficients: Any, means: Any, origin: Any, raw: Any, out: Any) -> None:
        """Fills `out (N, 3)`, and `raw` with what it was before negative numbers became 0. Arrays are flat."""
        s = np.zeros(ROWS, np.float32)
        total = raw.shape[0] // 3
        for first in range(0, total, BLOCK):
            count = min(BLOCK, total - first)
            _harmonics(means, first, count, origin, s, terms)
            shares = coefficients[3 * terms * first : 3 * terms * (first + count)]
            for i in range(count):
                red = green = blue = HALF
                for k in range(terms):
                    at, share = 3 * (terms * i + k), s[BASIS + k * BLOCK + i]
                    red += share * shares[at]
                    green += share * shares[at + 1]
                    blue += share * shares[at + 2]
                s[UNIT + i], s[UNIT + BLOCK + i], s[UNIT + 2 * BLOCK + i] = red, green, blue
            scatter3(s, UNIT, first, count, raw)
            for k in range(3 * BLOCK):
                s[UNIT + k] = max(s[UNIT + k], ZERO)
            scatter3(s, UNIT, first, count, out)

    return colours


def _colours_backward(terms: int) -> Any:
    @kernel
    def colours_backward(
        coefficients: Any, means: Any, origin: Any, raw: Any, grad: Any, into_coefficients: Any, into_means: Any
    ) -> None:
        """Fills the last two; `into_means` may be empty."""
        s = np.zeros(ROWS, np.float32)
        total = raw.shape[0] // 3
        for first in range(0, total, BLOCK):
            count = min(BLOCK, total - first)
            _harmonics(means, first, count, origin, s, terms)
            gather3(raw, first, count, s, RAW)
            gather3(grad, first, count, s, GRAD)
            for k in range(3 * BLOCK):
                s[GRAD + k] = s[GRAD + k] if s[RAW + k] >= ZERO else ZERO
            shares = coefficients[3 * terms * first : 3 * terms * (first + count)]
            into = into_coefficients[3 * terms * first : 3 * terms * (first + count)]
            for i in range(count):
                red, green, blue = s[GRAD + i], s[GRAD + BLOCK + i], s[GRAD + 2 * BLOCK + i]
                for k in range(terms):
                    at, share = 3 * (terms * i + k), s[BASIS + k * BLOCK + i]
                    into[at], into[at + 1], into[at + 2] = share * red, share * green, share * blue
                    s[BASIS + k * BLOCK + i] = red * shares[at] + green * shares[at + 1] + blue * shares[at + 2]
            if into_means.shape[0]:
                _harmonics_gradient(s, terms)
                scatter3(s, UNIT, first, count, into_means)

    return colours_backward


@kernel
def _harmonics(means: Any, first: int, count: int, origin: Any, s: Any, terms: int) -> None:
    if terms == 1:
        for i in range(BLOCK):
            s[BASIS + i] = C0
        return
    gather3(means, first, count, s, UNIT)
    ox, oy, oz = origin[0], origin[1], origin[2]
    for i in range(BLOCK):
        x, y, z = s[UNIT + i] - ox, s[UNIT + BLOCK + i] - oy, s[UNIT + 2 * BLOCK + i] - oz
        near = ONE / max(math.sqrt(x * x + y * y + z * z), SHORTEST)
        x, y, z = x * near, y * near, z * near
        s[UNIT + i], s[UNIT + BLOCK + i], s[UNIT + 2 * BLOCK + i], s[UNIT + 3 * BLOCK + i] = x, y, z, near
        s[BASIS + i] = C0
        s[BASIS + BLOCK + i], s[BASIS + 2 * BLOCK + i], s[BASIS + 3 * BLOCK + i] = -C1 * y, C1 * z, -C1 * x
    if terms > 4:
        for i in range(BLOCK):
            x, y, z = s[UNIT + i], s[UNIT + BLOCK + i], s[UNIT + 2 * BLOCK + i]
            xx, yy, zz = x * x, y * y, z * z
            s[BASIS + 4 * BLOCK + i], s[BASIS + 5 * BLOCK + i] = C20 * x * y, -C20 * y * z
            s[BASIS + 6 * BLOCK + i], s[BASIS + 7 * BLOCK + i] = C21 * (THREE * zz - ONE), -C20 * x * z
            s[BASIS + 8 * BLOCK + i] = C22 * (xx - yy)
            s[BASIS + 9 * BLOCK + i], s[BASIS + 10 * BLOCK + i] = -C30 * y * (THREE * xx - yy), C31 * x * y * z
            s[BASIS + 11 * BLOCK + i] = -C32 * y * (FIVE * zz - ONE)
            s[BASIS + 12 * BLOCK + i] = C33 * z * (FIVE * zz - THREE)
            s[BASIS + 13 * BLOCK + i] = -C32 * x * (FIVE * zz - ONE)
            s[BASIS + 14 * BLOCK + i], s[BASIS + 15 * BLOCK + i] = C34 * z * (xx - yy), -C30 * x * (xx - THREE * yy)


@kernel
def _harmonics_gradient(s: Any, terms: int) -> None:
    """From the gradients by the harmonics to those by the means, in place of the directions."""
    for row in range(terms, 16):
        for i in range(BLOCK):
            s[BASIS + row * BLOCK + i] = np.float32(0)
    for i in range(BLOCK):
        x, y, z, near = s[UNIT + i], s[UNIT + BLOCK + i], s[UNIT + 2 * BLOCK + i], s[UNIT + 3 * BLOCK + i]
        xx, yy, zz, ten = x * x, y * y, z * z, TWO * FIVE
        g1, g2, g3 = s[BASIS + BLOCK + i], s[BASIS + 2 * BLOCK + i], s[BASIS + 3 * BLOCK + i]
        g4, g5, g6 = s[BASIS + 4 * BLOCK + i], s[BASIS + 5 * BLOCK + i], s[BASIS + 6 * BLOCK + i]
        g7, g8, g9 = s[BASIS + 7 * BLOCK + i], s[BASIS + 8 * BLOCK + i], s[BASIS + 9 * BLOCK + i]
        g10, g11, g12 = s[BASIS + 10 * BLOCK + i], s[BASIS + 11 * BLOCK + i], s[BASIS + 12 * BLOCK + i]
        g13, g14, g15 = s[BASIS + 13 * BLOCK + i], s[BASIS + 14 * BLOCK + i], s[BASIS + 15 * BLOCK + i]
        g1, g2, g3 = C1 * g1, C1 * g2, C1 * g3
        g4, g5, g6, g7, g8 = C20 * g4, C20 * g5, TWO * THREE * C21 * g6, C20 * g7, TWO * C22 * g8
        g9, g10, g11, g12 = THREE * C30 * g9, C31 * g10, C32 * g11, THREE * C33 * g12
        g13, g14, g15 = C32 * g13, C34 * g14, THREE * C30 * g15
        gx = (
            y * g4 - z * g7 + x * g8 - g3 - TWO * x * y * g9 + y * z * g10 - (FIVE * zz - ONE) * g13
            + TWO * x * z * g14 - (xx - yy) * g15
        )  # fmt: skip
        gy = (
            x * g4 - z * g5 - y * g8 - g1 - (xx - yy) * g9 + x * z * g10 - (FIVE * zz - ONE) * g11
            - TWO * y * z * g14 + TWO * x * y * g15
        )  # fmt: skip
        gz = (
            g2 - y * g5 + z * g6 - x * g7 + x * y * g10 - ten * (y * z * g11 + x * z * g13)
            + (FIVE * zz - ONE) * g12 + (xx - yy) * g14
        )  # fmt: skip
        along = x * gx + y * gy + z * gz
        s[UNIT + i] = (gx - along * x) * near
        s[UNIT + BLOCK + i] = (gy - along * y) * near
        s[UNIT + 2 * BLOCK + i] = (gz - along * z) * near


colours = {terms: _colours(terms) for terms in (1, 4, 9, 16)}
colours_backward = {terms: _colours_backward(terms) for terms in (1, 4, 9, 16)}
"""By number of coefficients, which is a constant of each so that its loops are unrolled."""
