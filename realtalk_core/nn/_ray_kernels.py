"""Kernels of `marching`, `compositing` and `occupancy`: plain loops over rays and their samples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from realtalk_core.nn._jit import kernel


@kernel
def composite(sigma: Any, values: Any, offsets: Any, step: float, out: Any, alpha: Any, weights: Any) -> None:
    """Fills `out`, `alpha` and `weights` ray by ray."""
    channels = values.shape[1]
    for ray in range(offsets.shape[0] - 1):
        through = 1.0
        for c in range(channels):
            out[ray, c] = 0.0
        for i in range(offsets[ray], offsets[ray + 1]):
            passed = math.exp(-sigma[i] * step)
            weight = through * (1.0 - passed)
            weights[i] = weight
            for c in range(channels):
                out[ray, c] += weight * values[i, c]
            through *= passed
        alpha[ray] = 1.0 - through


@kernel
def composite_backward(
    sigma: Any, values: Any, offsets: Any, step: float, weights: Any, grad_out: Any, grad_alpha: Any,
    into_sigma: Any, into_values: Any,
) -> None:  # fmt: skip
    """∂L/∂σ_i = δ (T_{i+1} g·v_i − Σ_{j>i} w_j g·v_j), from the last sample to the first."""
    channels = values.shape[1]
    for ray in range(offsets.shape[0] - 1):
        start, stop = offsets[ray], offsets[ray + 1]
        thickness = 0.0
        for i in range(start, stop):
            thickness += sigma[i] * step
        behind = 0.0
        for i in range(stop - 1, start - 1, -1):
            pull = float(grad_alpha[ray])
            for c in range(channels):
                pull += grad_out[ray, c] * values[i, c]
                into_values[i, c] = weights[i] * grad_out[ray, c]
            into_sigma[i] = step * (math.exp(-thickness) * pull - behind)
            behind += weights[i] * pull
            thickness -= sigma[i] * step


@kernel
def march(
    origin: Any, directions: Any, near: Any, far: Any, shift: Any, step: float, low: Any, inverse: float,
    warp: Any, warp_low: Any, warp_inverse: Any, occupied: Any, cell_inverse: float, limit: int,
    points: Any, offsets: Any,
) -> int:  # fmt: skip
    """Writes each ray's occupied samples into `points (3, ·)`; returns how many. See `marching.march_reference`."""
    count, side = 0, warp.shape[0]
    nx, ny, nz = occupied.shape
    offsets[0] = 0
    for ray in range(directions.shape[0]):
        dx, dy, dz = directions[ray, 0], directions[ray, 1], directions[ray, 2]
        end, taken, k = far[ray], 0, 0
        while taken < limit:
            distance = near[ray] + (np.float32(k) + shift[ray]) * step
            k += 1
            if distance >= end:
                break
            x = origin[0] + distance * dx
            y = origin[1] + distance * dy
            z = origin[2] + distance * dz
            if side > 1:
                u = (x - warp_low[0]) * warp_inverse[0]
                v = (y - warp_low[1]) * warp_inverse[1]
                if u >= 0.0 and v >= 0.0 and u < side - 1 and v < side - 1:
                    i, j = int(u), int(v)
                    s, t = u - i, v - j
                    a, b = (1 - t) * (1 - s), (1 - t) * s
                    c, d = t * (1 - s), t * s
                    x -= a * warp[j, i, 0] + b * warp[j, i + 1, 0] + c * warp[j + 1, i, 0] + d * warp[j + 1, i + 1, 0]
                    y -= a * warp[j, i, 1] + b * warp[j, i + 1, 1] + c * warp[j + 1, i, 1] + d * warp[j + 1, i + 1, 1]
                    z -= a * warp[j, i, 2] + b * warp[j, i + 1, 2] + c * warp[j + 1, i, 2] + d * warp[j + 1, i + 1, 2]
            x -= low[0]
            y -= low[1]
            z -= low[2]
            if x < 0.0 or y < 0.0 or z < 0.0:
                continue
            cx, cy, cz = int(x * cell_inverse), int(y * cell_inverse), int(z * cell_inverse)
            if cx >= nx or cy >= ny or cz >= nz or not occupied[cx, cy, cz]:
                continue
            points[0, count] = x * inverse
            points[1, count] = y * inverse
            points[2, count] = z * inverse
            count += 1
            taken += 1
        offsets[ray + 1] = count
    return count


@kernel
def mark_seen(points: Any, weights: Any, extent_cells: float, threshold: float, step: int, last_seen: Any) -> None:
    """Writes `step` into the cells whose sample carried more weight than `threshold`."""
    nx, ny, nz = last_seen.shape
    for i in range(points.shape[1]):
        if weights[i] > threshold:
            x = int(points[0, i] * extent_cells)
            y = int(points[1, i] * extent_cells)
            z = int(points[2, i] * extent_cells)
            if x < nx and y < ny and z < nz:
                last_seen[x, y, z] = step


@kernel
def linear_basis(at: Any, places: Any, weights: Any, out: Any) -> None:
    """See `warp.evaluate_reference`; places `(2, K)` and weights `(3, K + 1)`, feature-major."""
    count = places.shape[1]
    px, py = places[0], places[1]
    one, two, three = weights[0], weights[1], weights[2]
    for i in range(at.shape[0]):
        x, y = at[i, 0], at[i, 1]
        first, second, third = np.float32(0), np.float32(0), np.float32(0)
        for k in range(count):
            dx, dy = x - px[k], y - py[k]
            distance = np.float32(math.sqrt(dx * dx + dy * dy))
            first += distance * one[k]
            second += distance * two[k]
            third += distance * three[k]
        out[i, 0], out[i, 1], out[i, 2] = one[count] - first, two[count] - second, three[count] - third
