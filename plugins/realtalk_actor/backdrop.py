"""What is behind the actor: a softly lit room, far out of focus."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from realtalk_actor.identity import Identity

Array = NDArray[np.float64]


def _box(u: Array, v: Array, x: tuple[float, float], y: tuple[float, float]) -> Array:
    """1 inside a rectangle `x[0]..x[1]`, `y[0]..y[1]` of the picture's unit square."""
    return ((u >= x[0]) & (u < x[1]) & (v >= y[0]) & (v < y[1])).astype(float)


def backdrop(who: Identity, size: int) -> NDArray[np.float32]:
    """Linear colours `size size 3`; the same room at every size."""
    first, second, kind = who.backdrop
    rng = np.random.default_rng([who.seed, 21])
    v, u = (np.mgrid[0:256, 0:256] + 0.5) / 256
    # walls are calmer than clothes: mostly grey, with a trace of the identity's hue
    first, second = (0.55 * c.mean() + 0.45 * c for c in (np.asarray(first), np.asarray(second)))
    left = -np.sign(who.light[0])  # the lit side of the wall is the one away from the key light
    glow = np.exp(-(((u - 0.5 + 0.28 * left) / 0.55) ** 2) - ((v - 0.38) / 0.6) ** 2)
    wall = second + (first * 1.25 - second) * glow[..., None]
    blur = 0.022
    warm, cool = np.array([1.0, 0.72, 0.42]), np.array([0.75, 0.90, 1.0])
    if kind == 1:  # lamps far away, as discs
        wall = wall * (0.75 + 0.25 * v[..., None])
        lights = np.zeros((256, 256, 3))
        for _ in range(11):
            x, y, r = rng.random(), rng.uniform(0.0, 0.75), rng.uniform(0.025, 0.06)
            disc = np.clip((r - np.hypot(u - x, v - y)) / 0.012, 0, 1)
            tint = warm if rng.random() < 0.7 else cool
            lights += disc[..., None] * tint * rng.uniform(0.05, 0.20)
        wall, blur = wall + lights, 0.007
    elif kind == 2:  # a shelf of books and a lamp
        for row in (rng.uniform(0.16, 0.24), rng.uniform(0.50, 0.56)):
            x = 0.0
            while x < 1:
                w = rng.uniform(0.02, 0.05)
                tall = rng.uniform(0.10, 0.17)
                tone = second * rng.uniform(0.4, 1.6) * (1 + 0.35 * rng.normal(size=3))
                if rng.random() < 0.85:
                    where = _box(u, v, (x, x + w), (row - tall, row))[..., None]
                    wall = wall * (1 - where) + np.clip(tone, 0.01, 0.5) * where
                x += w * rng.uniform(1.0, 1.5)
            where = _box(u, v, (0, 1), (row, row + 0.022))[..., None]
            wall = wall * (1 - where) + second * 0.5 * where
        side = 0.5 - 0.38 * left
        lamp = np.exp(-(((u - side) / 0.10) ** 2) - ((v - 0.30) / 0.10) ** 2)
        wall = wall * (1 + 0.8 * lamp[..., None]) + 0.22 * lamp[..., None] * warm
    elif kind == 3:  # a window with daylight, a curtain beside it
        x0 = 0.5 - 0.5 * left * 0.78 - 0.15
        panes = _box(u, v, (x0, x0 + 0.30), (0.02, 0.52)) * (np.abs(u - x0 - 0.15) > 0.010) * (np.abs(v - 0.28) > 0.009)
        sky = (0.62 - 0.35 * v)[..., None] * cool
        wall = wall * (1 - panes[..., None]) + sky * panes[..., None]
        fall = np.exp(-(((u - x0 - 0.15) / 0.35) ** 2) - ((v - 0.3) / 0.45) ** 2)
        wall = wall + 0.05 * fall[..., None] * cool
        cloth = _box(u, v, (x0 + 0.29, x0 + 0.40), (0.0, 0.85)) + _box(u, v, (x0 - 0.10, x0 + 0.01), (0.0, 0.85))
        pleats = 0.75 + 0.25 * np.sin(u * 150)
        wall = wall * (1 - cloth[..., None]) + (first * 1.1 * pleats[..., None]) * cloth[..., None]
    soft = cv2.GaussianBlur(np.asarray(wall, np.float32), (0, 0), 256 * blur, borderType=cv2.BORDER_REPLICATE)
    out = cv2.resize(soft, (size, size), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(size=(256, 256, 1)).astype(np.float32) * 0.0025
    out = out + cv2.resize(grain, (size, size), interpolation=cv2.INTER_LINEAR)[..., None]  # a wall is never quite even
    return np.clip(out, 0.002, 4)
