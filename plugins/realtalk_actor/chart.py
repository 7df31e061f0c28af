"""A flat chart of the head, and smooth surfaces over it.

Every point of the head's skin has one place in the chart: the azimuthal equidistant map of its direction from
`CENTRE`, so that the face lies in the middle and the back of the head far out. The chart is the same for every
actor; identity, expression and textures are functions on it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from realtalk_actor.proportions import landmark_places, mirror_of

Array = NDArray[np.float64]

CENTRE = np.array([0.0, 1.0, -3.5])
"""The middle of the chart's directions, cm in head space."""

SKULL_CENTRE = np.array([0.0, 4.5, -4.5])
SKULL_RADII = np.array([7.55, 8.5, 9.5])
"""The braincase, an ellipsoid that meets the landmarks' forehead."""

INNER_UPPER: tuple[int, ...] = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
INNER_LOWER: tuple[int, ...] = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
_UPPER_RINGS = ((62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292), (76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306))
_LOWER_RINGS = ((62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292), (76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306))
_UPPER_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
_LOWER_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)


def to_chart(points: Array) -> Array:
    """Chart places `N 2` (radians, x right, y up) of points `N 3`."""
    d = points - CENTRE
    across = np.hypot(d[:, 0], d[:, 1])
    angle = np.arctan2(across, d[:, 2])
    return d[:, :2] * (angle / np.maximum(across, 1e-9))[:, None]


def directions(q: Array) -> Array:
    """Unit directions `N 3` from `CENTRE` of chart places `N 2`."""
    angle = np.hypot(q[:, 0], q[:, 1])
    scale = np.sinc(angle / np.pi)  # sin(a) / a
    return np.stack([q[:, 0] * scale, q[:, 1] * scale, np.cos(angle)], axis=1)


def fit_smooth(places: Array, values: Array, smoothing: float = 0.0) -> Array:
    """Coefficients of the thin-plate spline that takes chart places `N 2` to values `N D` (Duchon 1977)."""
    n = len(places)
    system = np.zeros((n + 3, n + 3))
    system[:n, :n] = _thin_plate(cdist(places, places)) + smoothing * np.eye(n)
    system[:n, n] = system[n, :n] = 1
    system[:n, n + 1 :] = places
    system[n + 1 :, :n] = places.T
    return np.linalg.solve(system, np.concatenate([values, np.zeros((3, values.shape[1]))]))


def basis(places: Array, at: Array) -> Array:
    """The spline's basis at `M 2` for knots `N 2`; times `fit_smooth`'s coefficients it gives the values there."""
    return np.concatenate([_thin_plate(cdist(at, places)), np.ones((len(at), 1)), at], axis=1)


def _thin_plate(r: Array) -> Array:
    return np.where(r > 0, r * r * np.log(np.maximum(r, 1e-12)), 0.0)


@cache
def landmark_chart() -> Array:
    """Chart places of the 468 landmarks; the lips lie open there, so that the mouth is a hole like the eyes."""
    q = to_chart(landmark_places())
    for inner, rings, outer, away in (
        (INNER_UPPER, _UPPER_RINGS, _UPPER_OUTER, 1.0), (INNER_LOWER, _LOWER_RINGS, _LOWER_OUTER, -1.0)
    ):  # fmt: skip
        edge, rim = q[list(inner)], q[list(outer)]
        # near the corners the lips roll inwards and their rings would lie in the hole: lay them out evenly
        rim[1:-1, 1] = away * np.maximum(away * rim[1:-1, 1], away * edge[1:-1, 1] + 0.036)
        q[list(outer)] = rim
        for ring, share in zip(rings, (0.34, 0.67), strict=True):
            q[list(ring)[1:-1]] = (edge + share * (rim - edge))[1:-1]
    return q


@cache
def resting_landmarks() -> Array:
    """The average face at rest `468 3`: lips closed, lids a little wider and brows lower than in the table.

    The table's mouth stands open by half a centimetre, and its brows are read as raised by trackers.
    """
    table = landmark_places()
    face = table.copy()
    for inner, rings, up in ((INNER_UPPER, _UPPER_RINGS, True), (INNER_LOWER, _LOWER_RINGS, False)):
        t = np.linspace(-1, 1, 11)
        meet = np.stack([table[list(inner), 0], -4.27 - 0.04 * t**2 + 0.05 * np.exp(-((t / 0.16) ** 2)) * -1,
                         4.15 + 1.33 * (1 - np.abs(t) ** 2.2)], axis=1)  # fmt: skip
        move = meet - table[list(inner)]
        for ring, share in ((inner, 1.0), (rings[0], 0.72), (rings[1], 0.38)):
            if up or share == 1.0:
                face[list(ring)] += move * share
            else:
                face[list(ring)[1:-1]] += move[1:-1] * share
    for upper, lower in (((246, 161, 160, 159, 158, 157, 173), (7, 163, 144, 145, 153, 154, 155)),
                         ((466, 388, 387, 386, 385, 384, 398), (249, 390, 373, 374, 380, 381, 382))):  # fmt: skip
        arch = np.sin(np.linspace(0.12, 0.88, 7) * np.pi)
        face[list(upper), 1] += 0.15 * arch
        face[list(lower), 1] -= 0.06 * arch
    across = np.abs(table[:, 0])
    face[:, 1] -= 0.05 * np.exp(-(((across - 3.9) / 2.6) ** 2) - ((table[:, 1] - 4.9) / 0.8) ** 2)
    # the table's face is 15.3 cm wide and its jaw 13.4; people's are about 14 and 11.5 (Farkas 1994)
    side = np.clip((across - 4.2) / 3.4, 0, 1) ** 2
    low = np.clip(-table[:, 1] / 5.0, 0, 1)
    low = low * low * (3 - 2 * low)
    face[:, 0] -= np.sign(face[:, 0]) * (0.38 * side + 0.62 * low * np.clip((across - 2.9) / 3.2, 0, 1))
    fore = np.clip((table[:, 2] + 3.0) / 2.0, 0, 1)
    cheek = np.exp(-(((table[:, 1] - 0.2) / 3.5) ** 2)) * np.clip((across - 4.6) / 2, 0, 1) * fore
    face[:, 0] -= np.sign(face[:, 0]) * 0.34 * cheek
    # the table's nose shows its underside to the camera
    under = np.exp(-((across / 0.9) ** 2) - ((table[:, 1] + 1.35) / 0.35) ** 2 - ((table[:, 2] - 6.9) / 0.8) ** 2)
    face[:, 1] -= 0.20 * under
    lens = np.exp(-((((across - 3.1) / 1.75) ** 2 + ((table[:, 1] - 2.68) / 1.0) ** 2) ** 2))
    face[:, 0] += np.sign(face[:, 0]) * 0.09 * (across - 3.1) * lens
    face[:, 1] += 0.13 * (table[:, 1] - 2.6) * lens
    mouth = np.exp(-((((across - 1.6) / 2.0) ** 2 + ((table[:, 1] + 4.4) / 1.3) ** 2) ** 2))
    face[:, 0] += 0.06 * table[:, 0] * mouth
    face[:, 1] += 0.30 * np.clip((-5.2 - table[:, 1]) / 3.0, 0, 1)  # stomion to chin 4.8 cm
    return (face + face[mirror_of()] * [-1, 1, 1]) / 2


@cache
def skull_anchors() -> tuple[Array, Array]:
    """Chart places `M 2` and positions `M 3` that carry the surface over the skull, behind the jaw and under it."""
    rows = []
    angles = np.deg2rad(np.arange(0, 360, 12.0))
    for reach in (1.62, 1.95, 2.3, 2.65, 3.0):
        for a in angles:
            rows.append((reach * np.cos(a), reach * np.sin(a)))
    for a in np.deg2rad(np.arange(24, 157, 12.0)):
        rows.append((1.3 * np.cos(a), 1.3 * np.sin(a)))
    q = np.array(rows)
    d = directions(q)
    # along each direction: where it leaves the braincase, and below it a closed shell inside the neck
    o = (CENTRE - SKULL_CENTRE) / SKULL_RADII
    k = d / SKULL_RADII
    a, b, c = (k * k).sum(1), (k * o).sum(1), (o * o).sum() - 1
    skull = (-b + np.sqrt(b * b - a * c)) / a
    o2 = (CENTRE - np.array([0, -1.5, -3.2])) / np.array([5.7, 8.0, 7.5])
    k2 = d / np.array([5.7, 8.0, 7.5])
    a, b, c = (k2 * k2).sum(1), (k2 * o2).sum(1), (o2 * o2).sum() - 1
    under = (-b + np.sqrt(b * b - a * c)) / a
    low = 1 / (1 + np.exp((d[:, 1] + 0.35) * 9))
    points = CENTRE + d * (skull * (1 - low) + under * low)[:, None]
    keep = cdist(q, landmark_chart()).min(1) > 0.2
    return q[keep], points[keep]
