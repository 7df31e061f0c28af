"""A face of our own on MediaPipe's 478 landmark indices: neutral shape, expressions, mesh. No person, no model file.

Outlines (oval, eyes, brows, lips, irises, nose) are curves written down here; the vertices between them lie where a
harmonic map puts them, stored as a table because it needs the landmark mesh; depth is a formula.
Expressions are displacements given on the outlines and spread over the rest by the same harmonic rule.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from scipy.spatial import Delaunay

from realtalk_core.landmarks import (
    FACE_OVAL,
    LEFT_BROW,
    LEFT_EYE,
    LEFT_IRIS,
    LIPS_INNER,
    LIPS_OUTER,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_IRIS,
)
from realtalk_core.testing._fill import FILL

Array = np.ndarray[Any, np.dtype[np.floating[Any]]]

MOUTH_Y, MOUTH_HALF = -4.4, 2.45
EYE_X, EYE_Y, EYE_HALF = 3.1, 2.6, 1.35
IRIS_RADIUS = 0.6
NOSE_MIDLINE: dict[int, float] = {
    168: 3.2, 6: 2.4, 197: 1.65, 195: 0.95, 5: 0.3, 4: -0.5, 1: -1.1, 19: -1.5, 94: -1.75, 2: -2.1,
}  # fmt: skip
NOSE_SIDES: dict[tuple[int, int], tuple[float, float]] = {
    (97, 326): (0.6, -2.0), (98, 327): (1.4, -1.75), (64, 294): (1.6, -1.25), (48, 278): (1.65, -0.9),
    (129, 358): (1.85, -1.0),
}  # fmt: skip
EXPRESSIONS: tuple[str, ...] = ("jaw_open", "wide", "pucker", "smile", "blink", "brow_up", "brow_inner_up", "upper_lip")


def _lips(inner: bool) -> list[tuple[float, float]]:
    """Closed lips in the tables' order: right corner, upper lip, left corner, lower lip."""
    half = MOUTH_HALF - (0.25 if inner else 0.0)
    upper, lower = (0.02, -0.04) if inner else (1.0, -1.0)
    points = []
    for k in range(20):
        along = -np.cos(np.pi * (k if k <= 10 else 20 - k) / 10)
        arch = np.sqrt(max(0.0, 1 - along * along))
        if k <= 10:
            bow = 0.0 if inner else 0.14 * np.exp(-((along / 0.12) ** 2)) * arch
            y = upper * arch**1.2 - bow
        else:
            y = lower * arch
        points.append((half * along, MOUTH_Y + y))
    return points


def _eye(inward: float) -> list[tuple[float, float]]:
    """An eye's outline from its image-left corner over the upper lid and back; `inward` +1 for the image-left eye."""
    points = []
    for k in range(16):
        along = -np.cos(np.pi * (k if k <= 8 else 16 - k) / 8)
        arch = np.sqrt(max(0.0, 1 - along * along))
        y = 0.46 * arch if k <= 8 else -0.36 * arch
        points.append((EYE_HALF * along - inward * EYE_X, EYE_Y + y - 0.08 * inward * along))
    return points


def outlines() -> dict[int, tuple[float, float]]:
    """Where the named landmarks lie in the frontal plane, in cm."""
    place: dict[int, tuple[float, float]] = {}
    for k, index in enumerate(FACE_OVAL):
        angle = 2 * np.pi * k / len(FACE_OVAL)
        x, y = np.sin(angle), np.cos(angle)
        narrowing = 1 - 0.2 * max(0.0, -y) ** 1.5
        place[index] = (7.1 * x * narrowing, 8.0 * y if y > 0 else 9.0 * y)
    place.update(zip(LIPS_OUTER, _lips(inner=False), strict=True))
    place.update(zip(LIPS_INNER, _lips(inner=True), strict=True))
    place.update(zip(RIGHT_EYE, _eye(+1.0), strict=True))
    place.update(zip(LEFT_EYE, _eye(-1.0), strict=True))
    upper = ((-5.1, 4.2), (-4.7, 4.68), (-3.9, 4.95), (-2.7, 4.9), (-1.4, 4.65))
    lower = ((-1.3, 4.05), (-2.6, 4.35), (-3.7, 4.42), (-4.5, 4.24), (-4.9, 3.98))
    for right, left, (x, y) in zip(RIGHT_BROW, LEFT_BROW, upper + lower, strict=True):
        place[right], place[left] = (x, y), (-x, y)
    for centre, ring in ((-EYE_X, RIGHT_IRIS), (EYE_X, LEFT_IRIS)):
        steps = ((0, 0), (1, 0), (0, 1), (-1, 0), (0, -1))
        for index, (dx, dy) in zip(ring, steps, strict=True):
            place[index] = (centre + dx * IRIS_RADIUS, EYE_Y + 0.05 + dy * IRIS_RADIUS)
    place.update({index: (0.0, y) for index, y in NOSE_MIDLINE.items()})
    for (right, left), (x, y) in NOSE_SIDES.items():
        place[right], place[left] = (-x, y), (x, y)
    return place


def depth(xy: Array) -> Array:
    """How far the face stands out at points `N 2`, in cm."""
    x, y = np.abs(xy[:, 0]), xy[:, 1]
    z = -2.3 + 7.0 * np.maximum(0.0, 1 - (x / 7.15) ** 2.2) ** 0.6
    z -= 0.9 * np.abs(y / 9) ** 3
    along = np.clip((3.3 - y) / 4.1, 0, 1) * np.clip((y + 2.5) / 1.4, 0, 1)
    z += 3.0 * along * np.exp(-((x / (0.75 + 0.5 * np.clip((3 - y) / 4, 0, 1))) ** 2))
    z += 0.9 * np.exp(-((x / 2.1) ** 2) - ((y - MOUTH_Y) / 1.1) ** 2)
    z -= 0.5 * np.exp(-(((x - EYE_X) / 1.4) ** 2) - ((y - EYE_Y) / 0.9) ** 2)
    z += 0.35 * np.exp(-(((x - 3.0) / 2.5) ** 2) - ((y - 4.4) / 0.8) ** 2)
    z += 0.6 * np.exp(-((x / 1.8) ** 2) - ((y + 7.6) / 1.2) ** 2)
    return np.asarray(z)


@cache
def neutral_face() -> Array:
    """The neutral face `478 3` in head space, cm, mouth closed and eyes open."""
    xy = np.zeros((478, 2))
    fixed = outlines()
    free = [k for k in range(478) if k not in fixed]
    xy[list(fixed)] = list(fixed.values())
    xy[free] = np.reshape(FILL, (-1, 2)) / 100
    points = np.concatenate([xy, depth(xy)[:, None]], axis=1)
    points.setflags(write=False)
    return points


@cache
def triangles() -> np.ndarray[Any, np.dtype[np.int64]]:
    """Skin and lips as a mesh `M 3` over the first 468 vertices, with holes for eyes and mouth."""
    xy = neutral_face()[:468, :2].copy()
    # Delaunay would stitch closed lips together: triangulate with the mouth held open.
    below = xy[:, 1] < MOUTH_Y - 0.003
    xy[below, 1] -= 2.0 * np.sqrt(np.maximum(0.0, 1 - (xy[below, 0] / (MOUTH_HALF - 0.25)) ** 2))
    mesh = Delaunay(xy).simplices
    keep = np.ones(len(mesh), bool)
    for hole in (LIPS_INNER, RIGHT_EYE, LEFT_EYE):
        outline = xy[list(hole)]
        keep &= ~np.array([set(map(int, t)) <= set(hole) or _inside(xy[t].mean(0), outline) for t in mesh])
    return np.asarray(mesh[keep], np.int64)


def _inside(point: Array, outline: Array) -> bool:
    """Whether a point lies inside a closed outline: an upward ray crosses it an odd number of times."""
    ahead = np.roll(outline, -1, axis=0)
    spans = (outline[:, 0] > point[0]) != (ahead[:, 0] > point[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (ahead[:, 1] - outline[:, 1]) / (ahead[:, 0] - outline[:, 0])
    above = outline[:, 1] + slope * (point[0] - outline[:, 0]) > point[1]
    return bool(np.count_nonzero(spans & above) % 2)


@cache
def expression_basis() -> dict[str, Array]:
    """Displacements `478 3` in cm of each of `EXPRESSIONS` at strength one."""
    face = neutral_face()
    still: dict[int, tuple[float, float, float]] = dict.fromkeys(outlines(), (0.0, 0.0, 0.0))
    given = {name: dict(still) for name in EXPRESSIONS}
    lower = {*LIPS_OUTER[11:], *LIPS_INNER[11:]}
    for index in (*LIPS_OUTER, *LIPS_INNER):
        x, y = face[index, :2]
        side = min(1.0, abs(x) / MOUTH_HALF)
        drop = 1 - 0.6 * side**2 if index in lower else 0.4 * side**3
        given["jaw_open"][index] = (-0.12 * x * side, -2.1 * drop, -0.35 * drop)
        given["wide"][index] = (0.18 * x, 0.0, -0.15 * side)
        given["pucker"][index] = (-0.35 * x, 0.1 * (MOUTH_Y - y), 0.5)
        given["smile"][index] = (0.15 * x, 0.9 * side**2 - 0.1, -0.3 * side)
        given["upper_lip"][index] = (0.0, 0.0 if index in lower else 0.5 * (1 - side**2), 0.0)
    for index in FACE_OVAL:
        fall = np.clip((-1.5 - face[index, 1]) / 6, 0, 1)
        given["jaw_open"][index] = (0.0, -1.9 * fall, -0.4 * fall)
    for eye in (RIGHT_EYE, LEFT_EYE):
        for k, index in enumerate(eye):
            opposite = eye[-k % 16]
            gap = float(face[opposite, 1] - face[index, 1])
            given["blink"][index] = (0.0, gap * (0.92 if k <= 8 else 0.06), 0.0)
    for index in (*RIGHT_BROW, *LEFT_BROW):
        inner = np.clip((5.6 - abs(face[index, 0])) / 4.3, 0, 1)
        given["brow_up"][index] = (0.0, 0.8, 0.1)
        given["brow_inner_up"][index] = (0.0, 0.9 * inner, 0.1 * inner)
    fill = _harmonic_fill()
    known = sorted(still)
    return {name: fill @ np.array([points[k] for k in known]) for name, points in given.items()}


@cache
def _harmonic_fill() -> Array:
    """`478 K`: spreads values on the K outline vertices over all, each free vertex the mean of its neighbours."""
    known = sorted(outlines())
    system = np.zeros((478, 478))
    for a, b, c in triangles():
        for i, j in ((a, b), (b, c), (c, a)):
            system[i, j] = system[j, i] = -1.0
    np.fill_diagonal(system, -system.sum(1))
    system[known] = 0.0
    system[known, known] = 1.0
    right = np.zeros((478, len(known)))
    right[known, range(len(known))] = 1.0
    return np.asarray(np.linalg.solve(system, right))
