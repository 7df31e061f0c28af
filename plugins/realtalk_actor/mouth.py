"""Inside of the mouth and the eyeballs: teeth in their gums, the tongue, the palate; all placed in the average head."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from realtalk_actor.head import EYE_RADIUS
from realtalk_actor.part import Part, grid_triangles, joined, part
from realtalk_actor.shade import EYE, TEETH, WET
from realtalk_core.capture import PARTS

Array = NDArray[np.float64]
UPPER_WIDTHS = (0.84, 0.66, 0.74, 0.68, 0.66, 0.9, 0.9)
LOWER_WIDTHS = (0.54, 0.58, 0.66, 0.68, 0.68, 0.95, 0.95)
UPPER_EDGE, LOWER_EDGE = -4.53, -4.52
UPPER_ARCH = (2.75, 3.55, 1.05)
LOWER_ARCH = (2.55, 3.30, 1.00)
"""Half width, depth and z of the widest place of each row of teeth, an ellipse in the horizontal plane, cm."""


def _on_arch(arch: tuple[float, float, float], distance: Array) -> tuple[Array, Array]:
    """Places `N 2` (x, z) and outward normals on the arch at distances along it from the middle."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, 400)
    x, z = arch[0] * np.sin(angle), arch[2] + arch[1] * np.cos(angle)
    s = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(z)))])
    s -= s[200]
    a = np.interp(distance, s, angle)
    place = np.stack([arch[0] * np.sin(a), arch[2] + arch[1] * np.cos(a)], 1)
    normal = np.stack([np.sin(a) / arch[0], np.cos(a) / arch[1]], 1)
    return place, normal / np.linalg.norm(normal, axis=1, keepdims=True)


def teeth(upper: bool, shade_: float, crooked: float, rng: np.random.Generator) -> list[Part]:
    """One row of teeth and its gum.

    Args:
        upper: Which row.
        shade_: 0 white to 1 yellowish.
        crooked: How unevenly they stand, 0 to 1.
        rng: Source of the unevenness.
    """
    arch, widths = (UPPER_ARCH, UPPER_WIDTHS) if upper else (LOWER_ARCH, LOWER_WIDTHS)
    edge, sign = (UPPER_EDGE, 1.0) if upper else (LOWER_EDGE, -1.0)
    heights = (1.02, 0.9, 1.0, 0.85, 0.8, 0.75, 0.7) if upper else (0.85, 0.85, 0.95, 0.85, 0.8, 0.75, 0.7)
    lift = (0.0, 0.04, 0.01, 0.06, 0.1, 0.13, 0.16)
    colour = np.array([0.74, 0.69, 0.60]) - shade_ * np.array([0.08, 0.11, 0.18])
    pieces = []
    v, u = np.meshgrid(np.linspace(0, 1, 8), np.linspace(-1, 1, 9), indexing="ij")
    u, v = u.ravel(), v.ravel()
    for side in (-1, 1):
        start = 0.0
        for k, (wide, high) in enumerate(zip(widths, heights, strict=True)):
            middle = side * (start + wide / 2)
            start += wide
            half = wide / 2 * 0.985
            taper = 0.90 + 0.10 * np.sqrt(np.clip(1 - (v * 0.95) ** 3, 0, 1))
            tip = 0.06 if k == 2 else 0.025
            rounding = tip * np.abs(u) ** 2.5
            place, normal = _on_arch(arch, middle + u * half * taper)
            bulge = 0.13 * (1 - np.abs(u) ** 2.4) * (0.45 + 0.55 * np.sin(np.pi * np.clip(0.25 + v * 0.75, 0, 1)))
            bulge -= 0.12 * np.abs(u) ** 8 + 0.10 * np.clip(0.12 - v, 0, 1) / 0.12
            turn = crooked * rng.normal() * 0.05
            out = bulge + turn * u + crooked * rng.normal() * 0.03
            y = edge + sign * (v * high + rounding * (1 - v) + lift[k]) + crooked * rng.normal() * 0.02
            points = np.stack([place[:, 0] + normal[:, 0] * out, y, place[:, 1] + normal[:, 1] * out], 1)
            tint = colour * (1 - 0.05 * (k == 2)) * np.ones((len(u), 1))
            tint = tint * (1 - 0.12 * v[:, None] * [0.3, 0.8, 1.2]) * (1 - 0.16 * (np.abs(u) ** 8)[:, None])
            tint *= 0.97 + 0.06 * rng.random()
            triangles = grid_triangles(8, 9)
            if not upper:
                triangles = triangles[:, [0, 2, 1]]
            open_ = np.clip(1.0 - 0.13 * k - 0.05 * np.abs(u), 0.15, 1)
            pieces.append(part(points, triangles, TEETH, PARTS["inside_mouth"], colour=tint,
                               jaw=0.0 if upper else 1.0, ao=open_, shadow=False))  # fmt: skip
    reach = sum(widths)
    s = np.linspace(-reach, reach, 57)
    place, normal = _on_arch(arch, s)
    rows, dims = [], []
    scallop = 0.08 * np.abs(np.sin(s * np.pi / 0.74))
    for out, up in ((-0.06, 0.66), (0.10, 0.80), (0.15, 1.0), (0.08, 1.35), (-0.35, 1.7)):
        y = edge + sign * (
            up + (0 if up > 1 else -scallop + 0.06) + np.interp(np.abs(s), [0, 2.6, 5], [0.05, -0.02, -0.1])
        )
        rows.append(np.stack([place[:, 0] + normal[:, 0] * out, y, place[:, 1] + normal[:, 1] * out], 1))
        dims.append(np.interp(np.abs(s), [0, 2, 4], [0.6, 0.3, 0.06]) * (0.9 if up < 1.6 else 0.5))
    gum = part(np.concatenate(rows), grid_triangles(5, 57)[:, ::1 if upper else -1], WET, PARTS["inside_mouth"],
               colour=(0.50, 0.21, 0.19), jaw=0.0 if upper else 1.0, ao=np.concatenate(dims), shadow=False)  # fmt: skip
    return [joined(pieces), gum]


def tongue() -> Part:
    """The tongue at rest behind the lower teeth; its last `TONGUE` vertices are moved by speech."""
    a, b = np.meshgrid(np.linspace(0, np.pi, 15), np.linspace(0, 2 * np.pi, 24, endpoint=False), indexing="ij")
    a, b = a.ravel(), b.ravel()
    x, y, z = np.sin(a) * np.cos(b), np.sin(a) * np.sin(b), np.cos(a)
    wide = 1.75 - 0.45 * np.clip(z, 0, 1) ** 2
    points = np.stack([x * wide, -5.05 + 0.62 * y, 1.9 + 2.25 * z], 1)
    groove = np.exp(-((x / 0.16) ** 2)) * (y > 0) * (z < 0.85)
    points[:, 1] -= 0.12 * groove
    rough = np.sin(points[:, 0] * 31) * np.sin(points[:, 2] * 29) * 0.012 * (y > 0)
    points[:, 1] += rough
    colour = np.array([0.40, 0.145, 0.135]) * (1 + 0.16 * np.clip(y, 0, 1))[:, None] * (1 - 0.35 * groove)[:, None]
    return part(points, grid_triangles(15, 24, closed=True), WET, PARTS["inside_mouth"], colour=colour, jaw=0.85,
                ao=np.clip(0.22 + 0.36 * z + 0.10 * y, 0.05, 0.65), shadow=False)  # fmt: skip


def throat() -> Part:
    """The dark back of the mouth."""
    a, b = np.meshgrid(
        np.linspace(np.pi * 0.42, np.pi, 12), np.linspace(0, 2 * np.pi, 24, endpoint=False), indexing="ij"
    )
    a, b = a.ravel(), b.ravel()
    points = np.stack([2.75 * np.sin(a) * np.cos(b), -4.6 + 2.5 * np.sin(a) * np.sin(b), 2.0 + 3.6 * np.cos(a)], 1)
    low = np.clip((-4.6 - points[:, 1]) / 2, 0, 1)
    return part(points, grid_triangles(12, 24, closed=True)[:, ::-1], WET, PARTS["inside_mouth"],
                colour=(0.22, 0.05, 0.045), jaw=low, ao=np.clip(0.06 + 0.08 * (points[:, 2] + 1), 0.01, 0.3),
                shadow=False)  # fmt: skip


def eyeball() -> Part:
    """An eyeball round the origin, looking along z; uv is the place across the gaze, relative to its radius."""
    a, b = np.meshgrid(
        np.linspace(0, np.deg2rad(105), 22), np.linspace(0, 2 * np.pi, 36, endpoint=False), indexing="ij"
    )
    a, b = a.ravel(), b.ravel()
    unit = np.stack([np.sin(a) * np.cos(b), np.sin(a) * np.sin(b), np.cos(a)], 1)
    return part(unit * EYE_RADIUS, grid_triangles(22, 36, closed=True), EYE, PARTS["eyes"], uv=unit[:, :2],
                colour=(0.54, 0.50, 0.475), shadow=False)  # fmt: skip
