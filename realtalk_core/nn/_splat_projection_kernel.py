"""Kernels of `splat_projection`: 64 Gaussians at a time, feature by feature, so that vectors come of it.

Each works on one piece of scratch memory: with several arrays the compiler could not know that they do not overlap.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from realtalk_core.nn._jit import kernel
from realtalk_core.nn._splat_blocks import (
    BLOCK,
    gather1,
    gather2,
    gather3,
    gather4,
    gather6,
    gather9,
    scatter1,
    scatter2,
    scatter3,
    scatter4,
    scatter6,
    scatter9,
)

ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)
LOW_PASS = 0.3
"""Added to the variance of every projected Gaussian, px²: none is narrower than about a pixel."""
NEAR_CM = 0.2
"""Gaussians nearer to the camera's plane than this are not drawn."""
WIDENED, NEAR = np.float32(LOW_PASS), np.float32(NEAR_CM)
FURTHEST = np.float32(2.0**30)
"""Radii are whole numbers of 32 bits."""
SHORTEST: Any = np.float32(1e-12)
"""Quaternions shorter than this are divided by it instead of by their length."""

# Rows of the scratch memory, BLOCK numbers each. Covariances:
SCALE, TURN, STRETCH, FULL = 0, 3 * BLOCK, 7 * BLOCK, 16 * BLOCK
GRAD_SCALE, GRAD_TURN, GRAD_STRETCH, COVARIANCE_ROWS = 22 * BLOCK, 25 * BLOCK, 29 * BLOCK, 38 * BLOCK
# Projection:
MEAN, SHAPE, EXTENT, CENTRE = 0, 3 * BLOCK, 9 * BLOCK, 10 * BLOCK
CONIC, DEPTH, RADIUS, PROJECTION_ROWS = 12 * BLOCK, 15 * BLOCK, 16 * BLOCK, 17 * BLOCK


@kernel
def covariances(scales: Any, turns: Any, stretch: Any, out: Any) -> None:
    """Fills `out (N, 6)`. Arrays are flat; `stretch (N, 9)` may be empty."""
    s = _covariance_scratch()
    for first in range(0, scales.shape[0] // 3, BLOCK):
        count = min(BLOCK, scales.shape[0] // 3 - first)
        gather3(scales, first, count, s, SCALE)
        gather4(turns, first, count, s, TURN)
        if stretch.shape[0]:
            gather9(stretch, first, count, s, STRETCH)
        _covariance_block(s)
        scatter6(s, FULL, first, count, out)


@kernel
def covariances_backward(
    scales: Any, turns: Any, stretch: Any, grad: Any, into_scales: Any, into_turns: Any, into_stretch: Any
) -> None:
    """Fills the last three; `stretch` and `into_stretch (N, 9)` may be empty."""
    s = _covariance_scratch()
    for first in range(0, scales.shape[0] // 3, BLOCK):
        count = min(BLOCK, scales.shape[0] // 3 - first)
        gather3(scales, first, count, s, SCALE)
        gather4(turns, first, count, s, TURN)
        gather6(grad, first, count, s, FULL)
        if stretch.shape[0]:
            gather9(stretch, first, count, s, STRETCH)
        _covariance_gradient_block(s)
        scatter3(s, GRAD_SCALE, first, count, into_scales)
        scatter4(s, GRAD_TURN, first, count, into_turns)
        if into_stretch.shape[0]:
            scatter9(s, GRAD_STRETCH, first, count, into_stretch)


@kernel
def _covariance_scratch() -> Any:
    s = np.zeros(COVARIANCE_ROWS, np.float32)
    for i in range(BLOCK):
        s[STRETCH + i] = s[STRETCH + 4 * BLOCK + i] = s[STRETCH + 8 * BLOCK + i] = ONE
    return s


@kernel
def _covariance_block(s: Any) -> None:
    for i in range(BLOCK):
        qw, qx, qy, qz = s[TURN + i], s[TURN + BLOCK + i], s[TURN + 2 * BLOCK + i], s[TURN + 3 * BLOCK + i]
        length = ONE / max(math.sqrt(qw * qw + qx * qx + qy * qy + qz * qz), SHORTEST)
        qw, qx, qy, qz = qw * length, qx * length, qy * length, qz * length
        sx, sy, sz = s[SCALE + i], s[SCALE + BLOCK + i], s[SCALE + 2 * BLOCK + i]
        a00, a01, a02 = (
            sx * (ONE - TWO * (qy * qy + qz * qz)), sy * TWO * (qx * qy - qw * qz), sz * TWO * (qx * qz + qw * qy),
        )  # fmt: skip
        a10, a11, a12 = (
            sx * TWO * (qx * qy + qw * qz), sy * (ONE - TWO * (qx * qx + qz * qz)), sz * TWO * (qy * qz - qw * qx),
        )  # fmt: skip
        a20, a21, a22 = (
            sx * TWO * (qx * qz - qw * qy), sy * TWO * (qy * qz + qw * qx), sz * (ONE - TWO * (qx * qx + qy * qy)),
        )  # fmt: skip
        j0, j1, j2 = s[STRETCH + i], s[STRETCH + BLOCK + i], s[STRETCH + 2 * BLOCK + i]
        m00, m01, m02 = j0 * a00 + j1 * a10 + j2 * a20, j0 * a01 + j1 * a11 + j2 * a21, j0 * a02 + j1 * a12 + j2 * a22
        j0, j1, j2 = s[STRETCH + 3 * BLOCK + i], s[STRETCH + 4 * BLOCK + i], s[STRETCH + 5 * BLOCK + i]
        m10, m11, m12 = j0 * a00 + j1 * a10 + j2 * a20, j0 * a01 + j1 * a11 + j2 * a21, j0 * a02 + j1 * a12 + j2 * a22
        j0, j1, j2 = s[STRETCH + 6 * BLOCK + i], s[STRETCH + 7 * BLOCK + i], s[STRETCH + 8 * BLOCK + i]
        m20, m21, m22 = j0 * a00 + j1 * a10 + j2 * a20, j0 * a01 + j1 * a11 + j2 * a21, j0 * a02 + j1 * a12 + j2 * a22
        s[FULL + i] = m00 * m00 + m01 * m01 + m02 * m02
        s[FULL + BLOCK + i] = m00 * m10 + m01 * m11 + m02 * m12
        s[FULL + 2 * BLOCK + i] = m00 * m20 + m01 * m21 + m02 * m22
        s[FULL + 3 * BLOCK + i] = m10 * m10 + m11 * m11 + m12 * m12
        s[FULL + 4 * BLOCK + i] = m10 * m20 + m11 * m21 + m12 * m22
        s[FULL + 5 * BLOCK + i] = m20 * m20 + m21 * m21 + m22 * m22


@kernel
def _covariance_gradient_block(s: Any) -> None:
    """With Σ = M Mᵀ, M = J A, A = R S: dM = (G + Gᵀ) M, dJ = dM Aᵀ, dA = Jᵀ dM, dS = diag(Rᵀ dA), dR = dA S."""
    for i in range(BLOCK):
        qw, qx, qy, qz = s[TURN + i], s[TURN + BLOCK + i], s[TURN + 2 * BLOCK + i], s[TURN + 3 * BLOCK + i]
        square = math.sqrt(qw * qw + qx * qx + qy * qy + qz * qz)
        long = square > SHORTEST
        length = ONE / max(square, SHORTEST)
        qw, qx, qy, qz = qw * length, qx * length, qy * length, qz * length
        sx, sy, sz = s[SCALE + i], s[SCALE + BLOCK + i], s[SCALE + 2 * BLOCK + i]
        r00, r01, r02 = ONE - TWO * (qy * qy + qz * qz), TWO * (qx * qy - qw * qz), TWO * (qx * qz + qw * qy)
        r10, r11, r12 = TWO * (qx * qy + qw * qz), ONE - TWO * (qx * qx + qz * qz), TWO * (qy * qz - qw * qx)
        r20, r21, r22 = TWO * (qx * qz - qw * qy), TWO * (qy * qz + qw * qx), ONE - TWO * (qx * qx + qy * qy)
        a00, a01, a02, a10, a11, a12, a20, a21, a22 = (
            sx * r00, sy * r01, sz * r02, sx * r10, sy * r11, sz * r12, sx * r20, sy * r21, sz * r22,
        )  # fmt: skip
        j00, j01, j02 = s[STRETCH + i], s[STRETCH + BLOCK + i], s[STRETCH + 2 * BLOCK + i]
        j10, j11, j12 = s[STRETCH + 3 * BLOCK + i], s[STRETCH + 4 * BLOCK + i], s[STRETCH + 5 * BLOCK + i]
        j20, j21, j22 = s[STRETCH + 6 * BLOCK + i], s[STRETCH + 7 * BLOCK + i], s[STRETCH + 8 * BLOCK + i]
        g00, g01, g02 = TWO * s[FULL + i], s[FULL + BLOCK + i], s[FULL + 2 * BLOCK + i]
        g11, g12, g22 = TWO * s[FULL + 3 * BLOCK + i], s[FULL + 4 * BLOCK + i], TWO * s[FULL + 5 * BLOCK + i]

        # One column of M at a time: column k of A gives column k of dM and of dA.
        x0, x1, x2 = (
            j00 * a00 + j01 * a10 + j02 * a20,
            j10 * a00 + j11 * a10 + j12 * a20,
            j20 * a00 + j21 * a10 + j22 * a20,
        )
        u0, u1, u2 = g00 * x0 + g01 * x1 + g02 * x2, g01 * x0 + g11 * x1 + g12 * x2, g02 * x0 + g12 * x1 + g22 * x2
        x0, x1, x2 = (
            j00 * a01 + j01 * a11 + j02 * a21,
            j10 * a01 + j11 * a11 + j12 * a21,
            j20 * a01 + j21 * a11 + j22 * a21,
        )
        v0, v1, v2 = g00 * x0 + g01 * x1 + g02 * x2, g01 * x0 + g11 * x1 + g12 * x2, g02 * x0 + g12 * x1 + g22 * x2
        x0, x1, x2 = (
            j00 * a02 + j01 * a12 + j02 * a22,
            j10 * a02 + j11 * a12 + j12 * a22,
            j20 * a02 + j21 * a12 + j22 * a22,
        )
        w0, w1, w2 = g00 * x0 + g01 * x1 + g02 * x2, g01 * x0 + g11 * x1 + g12 * x2, g02 * x0 + g12 * x1 + g22 * x2
        s[GRAD_STRETCH + i] = u0 * a00 + v0 * a01 + w0 * a02
        s[GRAD_STRETCH + BLOCK + i] = u0 * a10 + v0 * a11 + w0 * a12
        s[GRAD_STRETCH + 2 * BLOCK + i] = u0 * a20 + v0 * a21 + w0 * a22
        s[GRAD_STRETCH + 3 * BLOCK + i] = u1 * a00 + v1 * a01 + w1 * a02
        s[GRAD_STRETCH + 4 * BLOCK + i] = u1 * a10 + v1 * a11 + w1 * a12
        s[GRAD_STRETCH + 5 * BLOCK + i] = u1 * a20 + v1 * a21 + w1 * a22
        s[GRAD_STRETCH + 6 * BLOCK + i] = u2 * a00 + v2 * a01 + w2 * a02
        s[GRAD_STRETCH + 7 * BLOCK + i] = u2 * a10 + v2 * a11 + w2 * a12
        s[GRAD_STRETCH + 8 * BLOCK + i] = u2 * a20 + v2 * a21 + w2 * a22
        u0, u1, u2 = j00 * u0 + j10 * u1 + j20 * u2, j01 * u0 + j11 * u1 + j21 * u2, j02 * u0 + j12 * u1 + j22 * u2
        v0, v1, v2 = j00 * v0 + j10 * v1 + j20 * v2, j01 * v0 + j11 * v1 + j21 * v2, j02 * v0 + j12 * v1 + j22 * v2
        w0, w1, w2 = j00 * w0 + j10 * w1 + j20 * w2, j01 * w0 + j11 * w1 + j21 * w2, j02 * w0 + j12 * w1 + j22 * w2
        s[GRAD_SCALE + i] = u0 * r00 + u1 * r10 + u2 * r20
        s[GRAD_SCALE + BLOCK + i] = v0 * r01 + v1 * r11 + v2 * r21
        s[GRAD_SCALE + 2 * BLOCK + i] = w0 * r02 + w1 * r12 + w2 * r22

        u0, u1, u2, v0, v1, v2, w0, w1, w2 = (
            TWO * sx * u0, TWO * sx * u1, TWO * sx * u2, TWO * sy * v0, TWO * sy * v1, TWO * sy * v2,
            TWO * sz * w0, TWO * sz * w1, TWO * sz * w2,
        )  # fmt: skip
        gw = qx * (v2 - w1) + qy * (w0 - u2) + qz * (u1 - v0)
        gx = qw * (v2 - w1) + qy * (u1 + v0) + qz * (u2 + w0) - TWO * qx * (v1 + w2)
        gy = qw * (w0 - u2) + qx * (u1 + v0) + qz * (v2 + w1) - TWO * qy * (u0 + w2)
        gz = qw * (u1 - v0) + qx * (u2 + w0) + qy * (v2 + w1) - TWO * qz * (u0 + v1)
        along = qw * gw + qx * gx + qy * gy + qz * gz
        along = along if long else ZERO
        s[GRAD_TURN + i] = (gw - along * qw) * length
        s[GRAD_TURN + BLOCK + i] = (gx - along * qx) * length
        s[GRAD_TURN + 2 * BLOCK + i] = (gy - along * qy) * length
        s[GRAD_TURN + 3 * BLOCK + i] = (gz - along * qz) * length


@kernel
def project(
    means: Any, shapes: Any, extents: Any, view: Any, centres: Any, conics: Any, depths: Any, radii: Any
) -> None:
    """Fills the last four. Arrays are flat; `view` holds the numbers of `splat_projection._numbers`."""
    s = np.zeros(PROJECTION_ROWS, np.float32)
    for first in range(0, radii.shape[0], BLOCK):
        count = min(BLOCK, radii.shape[0] - first)
        gather3(means, first, count, s, MEAN)
        gather6(shapes, first, count, s, SHAPE)
        gather1(extents, first, count, s, EXTENT)
        _project_block(s, view)
        scatter2(s, CENTRE, first, count, centres)
        scatter3(s, CONIC, first, count, conics)
        scatter1(s, DEPTH, first, count, depths)
        for i in range(count):
            radii[first + i] = np.int32(s[RADIUS + i])


@kernel
def project_backward(
    means: Any, shapes: Any, view: Any, radii: Any, grad_centres: Any, grad_conics: Any, grad_depths: Any,
    into_means: Any, into_shapes: Any,
) -> None:  # fmt: skip
    """Fills the last two, with zeros where the radius is 0."""
    s = np.zeros(PROJECTION_ROWS, np.float32)
    for first in range(0, radii.shape[0], BLOCK):
        count = min(BLOCK, radii.shape[0] - first)
        gather3(means, first, count, s, MEAN)
        gather6(shapes, first, count, s, SHAPE)
        gather2(grad_centres, first, count, s, CENTRE)
        gather3(grad_conics, first, count, s, CONIC)
        gather1(grad_depths, first, count, s, DEPTH)
        for i in range(count):
            s[RADIUS + i] = np.float32(radii[first + i])
        _project_gradient_block(s, view)
        scatter3(s, MEAN, first, count, into_means)
        scatter6(s, SHAPE, first, count, into_shapes)


@kernel
def _up(value: Any) -> Any:
    """The next whole number, from 0 on."""
    whole = np.float32(np.int32(value))
    return whole + ONE if value > whole else whole


@kernel
def _project_block(s: Any, view: Any) -> None:
    w00, w01, w02, w10, w11, w12, w20, w21, w22 = (
        view[0], view[1], view[2], view[3], view[4], view[5], view[6], view[7], view[8],
    )  # fmt: skip
    ox, oy, oz, fx, fy, cx, cy = view[9], view[10], view[11], view[12], view[13], view[14], view[15]
    low_u, high_u, low_v, high_v, width, height = view[16], view[17], view[18], view[19], view[20], view[21]
    for i in range(BLOCK):
        mx, my, mz = s[MEAN + i] - ox, s[MEAN + BLOCK + i] - oy, s[MEAN + 2 * BLOCK + i] - oz
        x, y, z = w00 * mx + w01 * my + w02 * mz, w10 * mx + w11 * my + w12 * mz, w20 * mx + w21 * my + w22 * mz
        ahead = z > NEAR
        near = ONE / (z if ahead else ONE)
        u, v = x * near, y * near
        px, py = fx * u + cx, fy * v + cy
        u, v = min(max(u, low_u), high_u), min(max(v, low_v), high_v)
        gx, gy = fx * near, fy * near
        t0, t1, t2 = gx * (w00 - u * w20), gx * (w01 - u * w21), gx * (w02 - u * w22)
        k0, k1, k2 = gy * (w10 - v * w20), gy * (w11 - v * w21), gy * (w12 - v * w22)
        xx, xy, xz = s[SHAPE + i], s[SHAPE + BLOCK + i], s[SHAPE + 2 * BLOCK + i]
        yy, yz, zz = s[SHAPE + 3 * BLOCK + i], s[SHAPE + 4 * BLOCK + i], s[SHAPE + 5 * BLOCK + i]
        y0, y1, y2 = xx * t0 + xy * t1 + xz * t2, xy * t0 + yy * t1 + yz * t2, xz * t0 + yz * t1 + zz * t2
        a, b = t0 * y0 + t1 * y1 + t2 * y2 + WIDENED, k0 * y0 + k1 * y1 + k2 * y2
        y0, y1, y2 = xx * k0 + xy * k1 + xz * k2, xy * k0 + yy * k1 + yz * k2, xz * k0 + yz * k1 + zz * k2
        c = k0 * y0 + k1 * y1 + k2 * y2 + WIDENED
        share = ONE / max(a * c - b * b, WIDENED * WIDENED)

        extent = s[EXTENT + i]
        reach_x = _up(min(extent * math.sqrt(a), FURTHEST))
        reach_y = _up(min(extent * math.sqrt(c), FURTHEST))
        radius = max(reach_x, reach_y)
        inside_x = (px + reach_x > ZERO) & (px - reach_x < width)
        inside_y = (py + reach_y > ZERO) & (py - reach_y < height)
        drawn = ahead & inside_x & inside_y & (radius > ZERO) & (share > ZERO)
        s[CENTRE + i] = px if drawn else ZERO
        s[CENTRE + BLOCK + i] = py if drawn else ZERO
        s[CONIC + i] = c * share if drawn else ZERO
        s[CONIC + BLOCK + i] = -b * share if drawn else ZERO
        s[CONIC + 2 * BLOCK + i] = a * share if drawn else ZERO
        s[DEPTH + i] = z if drawn else ZERO
        s[RADIUS + i] = radius if drawn else ZERO


@kernel
def _project_gradient_block(s: Any, view: Any) -> None:
    w00, w01, w02, w10, w11, w12, w20, w21, w22 = (
        view[0], view[1], view[2], view[3], view[4], view[5], view[6], view[7], view[8],
    )  # fmt: skip
    ox, oy, oz, fx, fy = view[9], view[10], view[11], view[12], view[13]
    low_u, high_u, low_v, high_v = view[16], view[17], view[18], view[19]
    for i in range(BLOCK):
        mx, my, mz = s[MEAN + i] - ox, s[MEAN + BLOCK + i] - oy, s[MEAN + 2 * BLOCK + i] - oz
        x, y, z = w00 * mx + w01 * my + w02 * mz, w10 * mx + w11 * my + w12 * mz, w20 * mx + w21 * my + w22 * mz
        drawn = s[RADIUS + i] > ZERO
        near = ONE / (z if drawn else ONE)
        u, v = x * near, y * near
        free_u, free_v = (u >= low_u) & (u <= high_u), (v >= low_v) & (v <= high_v)
        u, v = min(max(u, low_u), high_u), min(max(v, low_v), high_v)
        gx, gy = fx * near, fy * near
        e0, e1, e2 = w00 - u * w20, w01 - u * w21, w02 - u * w22
        f0, f1, f2 = w10 - v * w20, w11 - v * w21, w12 - v * w22
        t0, t1, t2, k0, k1, k2 = gx * e0, gx * e1, gx * e2, gy * f0, gy * f1, gy * f2
        xx, xy, xz = s[SHAPE + i], s[SHAPE + BLOCK + i], s[SHAPE + 2 * BLOCK + i]
        yy, yz, zz = s[SHAPE + 3 * BLOCK + i], s[SHAPE + 4 * BLOCK + i], s[SHAPE + 5 * BLOCK + i]
        y0, y1, y2 = xx * t0 + xy * t1 + xz * t2, xy * t0 + yy * t1 + yz * t2, xz * t0 + yz * t1 + zz * t2
        z0, z1, z2 = xx * k0 + xy * k1 + xz * k2, xy * k0 + yy * k1 + yz * k2, xz * k0 + yz * k1 + zz * k2
        a, b = t0 * y0 + t1 * y1 + t2 * y2 + WIDENED, k0 * y0 + k1 * y1 + k2 * y2
        c = k0 * z0 + k1 * z1 + k2 * z2 + WIDENED
        determinant = a * c - b * b
        share = ONE / max(determinant, WIDENED * WIDENED)

        # The conic is (c, −b, a) / det: first through its numerator, then through the determinant.
        g0, g1, g2 = s[CONIC + i] * share, s[CONIC + BLOCK + i] * share, s[CONIC + 2 * BLOCK + i] * share
        through = (g0 * c - g1 * b + g2 * a) * share
        through = through if determinant >= WIDENED * WIDENED else ZERO
        ga, gb, gc = g2 - through * c, TWO * through * b - g1, g0 - through * a
        ga, gb, gc = ga if drawn else ZERO, gb if drawn else ZERO, gc if drawn else ZERO

        s[SHAPE + i] = ga * t0 * t0 + gb * t0 * k0 + gc * k0 * k0
        s[SHAPE + BLOCK + i] = TWO * (ga * t0 * t1 + gc * k0 * k1) + gb * (t0 * k1 + t1 * k0)
        s[SHAPE + 2 * BLOCK + i] = TWO * (ga * t0 * t2 + gc * k0 * k2) + gb * (t0 * k2 + t2 * k0)
        s[SHAPE + 3 * BLOCK + i] = ga * t1 * t1 + gb * t1 * k1 + gc * k1 * k1
        s[SHAPE + 4 * BLOCK + i] = TWO * (ga * t1 * t2 + gc * k1 * k2) + gb * (t1 * k2 + t2 * k1)
        s[SHAPE + 5 * BLOCK + i] = ga * t2 * t2 + gb * t2 * k2 + gc * k2 * k2

        ga, gc = TWO * ga, TWO * gc
        d0, d1, d2 = fx * (ga * y0 + gb * z0), fx * (ga * y1 + gb * z1), fx * (ga * y2 + gb * z2)
        h0, h1, h2 = fy * (gc * z0 + gb * y0), fy * (gc * z1 + gb * y1), fy * (gc * z2 + gb * y2)
        grad_near = d0 * e0 + d1 * e1 + d2 * e2 + h0 * f0 + h1 * f1 + h2 * f2
        grad_u = near * (d0 * w20 + d1 * w21 + d2 * w22)
        grad_v = near * (h0 * w20 + h1 * w21 + h2 * w22)
        at_x, at_y = fx * s[CENTRE + i], fy * s[CENTRE + BLOCK + i]
        grad_u, grad_v = at_x - grad_u if free_u else at_x, at_y - grad_v if free_v else at_y
        gx, gy = grad_u * near, grad_v * near
        gz = s[DEPTH + i] - near * near * (grad_near + grad_u * x + grad_v * y)
        gx, gy, gz = gx if drawn else ZERO, gy if drawn else ZERO, gz if drawn else ZERO
        s[MEAN + i] = w00 * gx + w10 * gy + w20 * gz
        s[MEAN + BLOCK + i] = w01 * gx + w11 * gy + w21 * gz
        s[MEAN + 2 * BLOCK + i] = w02 * gx + w12 * gy + w22 * gz
