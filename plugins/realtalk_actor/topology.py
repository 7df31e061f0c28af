"""The head's triangle mesh: one topology for all actors, with holes for the eyes and the mouth.

Vertices 0-467 are MediaPipe's landmarks. Round each hole lie rings that follow its edge; the rest is a hexagonal grid,
fine on the face and coarse behind it, joined by a Delaunay triangulation of the chart. Rims turn inwards from the
holes' edges: the thickness of the lids and the inside of the lips.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from matplotlib.path import Path
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial import Delaunay, cKDTree

from realtalk_actor.chart import INNER_LOWER, INNER_UPPER, landmark_chart
from realtalk_core.landmarks import LEFT_EYE, RIGHT_EYE

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
EYE_STEPS, LIP_STEPS = 3, 4
EYE_RIMS, LIP_RIMS = 3, 5


@dataclass(frozen=True)
class Hole:
    """The edge of an opening, in order, and the rims that turn inwards from it.

    Attributes:
        edge: Vertex indices of the closed outline (eyes: from the image-left corner over the upper lid and back;
            mouth: from the image-left corner along the upper lip and back along the lower).
        rims: One row per rim, vertex k belonging to edge vertex k.
        upper: Where the edge belongs to the upper lid or lip; both corners count as upper.
    """

    edge: Ints
    rims: Ints
    upper: NDArray[np.bool_]


@dataclass(frozen=True)
class Topology:
    """Chart places `N 2`, triangles `M 3` (counter-clockwise seen from outside), and the three holes."""

    chart: Array
    triangles: Ints
    right_eye: Hole
    left_eye: Hole
    mouth: Hole
    skin: int
    """How many vertices lie on the outside; rims come after them."""


def _refined(outline: list[int], steps: int, split: int) -> tuple[Array, Ints]:
    """A closed outline through landmarks with `steps - 1` places between each two; corners stay sharp."""
    q = landmark_chart()[outline]
    places, index = [], []
    for part in (list(range(split + 1)), [*range(split, len(outline)), 0]):
        t = np.arange(len(part))
        curve = CubicSpline(t, q[part])
        for k in range(len(part) - 1):
            for s in range(steps):
                places.append(curve(k + s / steps))
                index.append(outline[part[k]] if s == 0 else -1)
    return np.array(places), np.array(index)


@cache
def topology() -> Topology:
    """Builds the mesh (about a quarter of a second, once per process)."""
    landmarks = landmark_chart()
    places: list[Array] = [landmarks]
    count = len(landmarks)
    holes: list[tuple[Array, Ints, Ints]] = []
    outlines = (
        (list(RIGHT_EYE), EYE_STEPS, 8, (0.007, 0.015, 0.025, 0.037, 0.052)),
        (list(LEFT_EYE), EYE_STEPS, 8, (0.007, 0.015, 0.025, 0.037, 0.052)),
        ([*INNER_UPPER, *INNER_LOWER[-2:0:-1]], LIP_STEPS, 10, (0.008, 0.018, 0.03, 0.043, 0.057, 0.073)),
    )
    rings: list[Array] = []
    for outline, steps, split, offsets in outlines:
        loop, index = _refined(outline, steps, split)
        fresh = index < 0
        index[fresh] = count + np.arange(fresh.sum())
        places.append(loop[fresh])
        count += int(fresh.sum())
        holes.append((loop, index, np.arange(len(index)) <= split * steps))
        tangent = np.roll(loop, -1, 0) - np.roll(loop, 1, 0)
        normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        normal *= -np.sign(((loop.mean(0) - loop) * normal).sum(1, keepdims=True))
        rings.extend(loop + normal * offset for offset in offsets)
    fixed = np.concatenate(places)
    for ring in rings:
        inside = np.zeros(len(ring), bool)
        for loop, _, _ in holes:
            inside |= Path(loop).contains_points(ring)
            line = np.concatenate([loop + (np.roll(loop, -1, 0) - loop) * s for s in (0.0, 0.25, 0.5, 0.75)])
            inside |= cKDTree(line).query(ring)[0] < 0.003
        fixed = _add(fixed, ring[~inside], 0.005)
    face_half = np.array([1.15, 1.0])
    fine = _hexagons(0.024, 1.45)
    fine = fine[((fine / face_half) ** 2).sum(1) < 1.25]
    for loop, _, _ in holes:
        fine = fine[~Path(loop).contains_points(fine)]
    fixed = _add(fixed, fine, 0.013)
    coarse = _hexagons(0.06, 3.05)
    coarse = coarse[((coarse / face_half) ** 2).sum(1) >= 1.25]
    fixed = _add(fixed, coarse, 0.03)
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    fixed = _add(fixed, 3.1 * np.stack([np.cos(angle), np.sin(angle)], 1), 0.03)
    triangles = Delaunay(fixed).simplices.astype(np.int64)
    middle = fixed[triangles].mean(1)
    a, b, c = (fixed[triangles[:, k]] for k in range(3))
    turn = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    triangles[turn < 0] = triangles[turn < 0][:, [0, 2, 1]]
    keep = np.abs(turn) > 1e-9
    for loop, _, _ in holes:
        keep &= ~Path(loop).contains_points(middle)
    triangles = triangles[keep]
    skin = len(fixed)
    made = []
    strips = [triangles]
    chart = [fixed]
    total = skin
    for (_, index, upper), rims in zip(holes, (EYE_RIMS, EYE_RIMS, LIP_RIMS), strict=True):
        rows = total + np.arange(rims * len(index)).reshape(rims, -1)
        total += rows.size
        chart.append(np.tile(fixed[index], (rims, 1)))
        before = index
        for row in rows:
            ahead, row_ahead = np.roll(before, -1), np.roll(row, -1)
            strips.append(np.stack([before, row, ahead], 1))
            strips.append(np.stack([ahead, row, row_ahead], 1))
            before = row
        made.append(Hole(index, rows, upper))
    return Topology(np.concatenate(chart), np.concatenate(strips), *made, skin=skin)


def _hexagons(step: float, reach: float) -> Array:
    rows = np.arange(-reach, reach, step * np.sqrt(3) / 2)
    columns = np.arange(-reach, reach + step, step)
    x, y = np.meshgrid(columns, rows)
    x = x + (np.arange(len(rows)) % 2)[:, None] * step / 2
    grid = np.stack([x.ravel(), y.ravel()], 1)
    return grid[np.hypot(grid[:, 0], grid[:, 1]) < reach]


def _add(fixed: Array, more: Array, distance: float) -> Array:
    """Appends the places that keep their distance from those already there."""
    away, _ = cKDTree(fixed).query(more)
    return np.concatenate([fixed, more[away > distance]])
