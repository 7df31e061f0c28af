"""The average head's skin on the topology: the smooth surface through the landmarks, then the sculptor's details."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree

from realtalk_actor.chart import basis, fit_smooth, landmark_chart, resting_landmarks, skull_anchors
from realtalk_actor.raster import vertex_normals
from realtalk_actor.topology import EYE_STEPS, LIP_STEPS, Hole, topology

Array = NDArray[np.float64]
EYE_RADIUS = 1.22
EYE_CENTRE = np.array([3.16, 2.64, 2.66])
"""The average left eyeball (mirrored for the right), cm."""
LID_THICKNESS = 0.07


def bump(points: Array, centre: tuple[float, ...], width: tuple[float, ...]) -> Array:
    """A Gaussian round a place given by its x and y (and z), and the mirror image's where the centre's x is not 0."""
    p = points[:, : len(centre)].copy()
    p[:, 0] = np.abs(p[:, 0])
    return np.asarray(np.exp(-((((p - np.array(centre)) / np.array(width)) ** 2).sum(1))))


def along(points: Array, path: list[tuple[float, float]], width: float) -> Array:
    """A ridge of Gaussian cross-section along a path through frontal places (mirrored), fading at its ends."""
    t = np.linspace(0, 1, len(path))
    curve = CubicSpline(t, np.array(path))
    fine = np.linspace(0, 1, 60)
    p = np.stack([np.abs(points[:, 0]), points[:, 1]], 1)
    distance, nearest = cKDTree(curve(fine)).query(p)
    ends = np.sin(np.clip(fine[nearest] * 5, 0, np.pi / 2)) * np.sin(np.clip((1 - fine[nearest]) * 5, 0, np.pi / 2))
    return np.asarray(np.exp(-((distance / width) ** 2)) * (0.15 + 0.85 * ends) * (points[:, 2] > -1))


def _edge_positions(hole: Hole, landmarks: Array, steps: int) -> Array:
    """The hole's edge as two smooth curves through its landmarks."""
    corner = int(hole.upper.sum()) - 1
    out = np.zeros((len(hole.edge), 3))
    for span in (np.arange(0, corner + 1), np.arange(corner, len(hole.edge) + 1)):
        knots = span[::steps] % len(hole.edge)
        t = np.arange(len(knots))
        curve = CubicSpline(t, landmarks[hole.edge[knots]])
        out[span % len(hole.edge)] = curve(np.linspace(0, len(knots) - 1, len(span)))
    return out


def _smooth_landmarks(places: Array) -> Array:
    """Evens out the lips' and lids' outlines along themselves, corners held."""
    face = places.copy()
    shape = topology()
    for hole, steps in ((shape.right_eye, EYE_STEPS), (shape.left_eye, EYE_STEPS), (shape.mouth, LIP_STEPS)):
        corner = int(hole.upper.sum()) - 1
        for span in (np.arange(0, corner + 1, steps), np.arange(corner, len(hole.edge) + 1, steps)):
            index = hole.edge[span % len(hole.edge)]
            line = face[index]
            s = np.linspace(-1, 1, len(index))
            for k in range(3):
                ends = np.interp(s, [-1, 1], [line[0, k], line[-1, k]])
                rise = line[:, k] - ends
                basis_ = np.stack([(1 - s * s), (1 - s * s) * s, (1 - s * s) * s * s, (1 - s * s) * s**3], 1)
                face[index, k] = ends + basis_ @ np.linalg.lstsq(basis_, rise, rcond=None)[0]
    return face


def skin_normals(points: Array) -> Array:
    """Unit normals of the head mesh."""
    normals = np.zeros(points.shape, np.float32)
    shape = topology()
    vertex_normals(np.ascontiguousarray(points, np.float32), shape.triangles.astype(np.int32), normals)
    return normals.astype(np.float64)


@cache
def average_head() -> Array:
    """The average head at rest, every vertex of the topology `N 3`, cm; rims are laid by `lay_rims`."""
    shape = topology()
    landmarks = _smooth_landmarks(resting_landmarks())
    eye_fit = landmarks.copy()
    for outline in (shape.left_eye, shape.right_eye):
        index = outline.edge[outline.edge < 468]
        centre = EYE_CENTRE * [np.sign(landmarks[index[0], 0]), 1, 1]
        d = landmarks[index, :2] - centre[:2]
        inside = (EYE_RADIUS + LID_THICKNESS) ** 2 - (d * d).sum(1)
        ball = centre[2] + np.sqrt(np.maximum(inside, 0.1))
        share = np.clip((1.15 - np.abs(d[:, 0])) / 0.35, 0, 1)
        eye_fit[index, 2] = share * ball + (1 - share) * landmarks[index, 2]
    q, skull = skull_anchors()
    knots = np.concatenate([landmark_chart(), q])
    coefficients = fit_smooth(knots, np.concatenate([eye_fit, skull]), 3e-4)
    points = basis(knots, shape.chart) @ coefficients
    tied = ((shape.right_eye, EYE_STEPS, 0.035), (shape.left_eye, EYE_STEPS, 0.035), (shape.mouth, LIP_STEPS, 0.03))
    for hole, steps, reach in tied:
        wanted = _edge_positions(hole, eye_fit, steps)
        error = wanted - points[hole.edge]
        distance, nearest = cKDTree(shape.chart[hole.edge]).query(shape.chart)
        points += error[nearest] * np.exp(-((distance / reach) ** 2))[:, None]
        points[hole.edge] = wanted
    points = (points * 1.0).astype(np.float64)
    points[: shape.skin] = _sculpt(points)[: shape.skin]
    return points


def _sculpt(p: Array) -> Array:
    """Details finer than the landmarks, as displacements along the normal and along axes, in cm."""
    n = skin_normals(p)
    x, y = np.abs(p[:, 0]), p[:, 1]
    out = np.zeros(len(p))
    # nose: tip, wings, the crease round them, the nostrils
    out += 0.10 * bump(p, (0, -0.6, 7.4), (0.7, 0.6, 0.7)) + 0.17 * bump(p, (1.32, -1.2, 5.7), (0.42, 0.42, 0.7))
    out -= 0.13 * along(p, [(1.25, -0.35), (1.72, -0.55), (1.95, -1.1), (1.78, -1.7)], 0.15)
    out -= 0.05 * along(p, [(0.75, -0.15), (0.72, -0.7), (0.8, -1.2)], 0.2)
    # lips: the raised border, the philtrum, corners, the furrow above the chin
    out += 0.035 * along(p, [(-0.01, -3.52), (0.45, -3.33), (1.3, -3.68), (2.3, -4.2)], 0.1)
    out -= 0.06 * bump(p, (0, -2.8), (0.18, 0.5)) - 0.035 * bump(p, (0.38, -2.9), (0.13, 0.5))
    out += 0.10 * bump(p, (0.55, -4.85), (0.6, 0.32)) + 0.05 * bump(p, (0, -3.85), (0.4, 0.25))
    out -= 0.10 * bump(p, (2.62, -4.35), (0.25, 0.3)) + 0.08 * bump(p, (0, -6.15), (1.5, 0.3))
    out += 0.06 * bump(p, (2.95, -4.6), (0.3, 0.5))
    # lids: the fold of the upper lid, the furrow and the slight bag below the lower one
    fold = [(1.75, 2.95), (2.3, 3.4), (3.15, 3.62), (4.0, 3.4), (4.75, 2.85)]
    out -= 0.09 * along(p, fold, 0.11)
    out += 0.05 * along(p, [(2.0, 3.4), (3.1, 3.95), (4.2, 3.7), (4.9, 3.2)], 0.22)
    out -= 0.04 * along(p, [(1.8, 2.1), (2.5, 1.6), (3.4, 1.45), (4.4, 1.75)], 0.16)
    out += 0.03 * along(p, [(2.2, 1.95), (3.1, 1.8), (4.0, 1.95)], 0.16)
    # cheeks: the fold from the nose to the mouth's corner
    out -= 0.02 * along(p, [(2.1, -1.3), (2.7, -2.2), (3.15, -3.4), (3.3, -4.5)], 0.26)
    wing = bump(p, (1.45, -1.25), (0.6, 0.7)) * np.clip((p[:, 2] - 3.5) / 1.0, 0, 1)
    moved = p + n * (out * np.exp(-np.maximum(0, x - 6.0)))[:, None]
    for side in (-1, 1):
        d = (p - np.array([side * 0.64, -1.80, 6.1])) / np.array([0.30, 0.3, 0.40])
        pit = np.exp(-((d * d).sum(1) ** 1.5))
        moved += pit[:, None] * np.array([side * 0.02, 0.24, -0.16])
    chin = bump(p, (0, -8.0), (1.6, 1.0))
    moved[:, 0] += np.sign(p[:, 0]) * 0.17 * wing
    moved[:, 2] += 0.1 * chin + 0 * y
    return moved


def lay_rims(points: Array, centres: Array, scale: float = 1.0) -> None:
    """Places the rims of a posed head in `points`, in place.

    Args:
        points: `N 3`; the skin is read, the rims are written.
        centres: `2 3` centres of the right and the left eyeball.
        scale: Size of the eyeballs relative to the average.
    """
    shape = topology()
    radius = EYE_RADIUS * scale
    for hole, centre in ((shape.right_eye, centres[0]), (shape.left_eye, centres[1])):
        edge = points[hole.edge]
        radial = edge - centre
        reach = np.linalg.norm(radial, axis=1, keepdims=True)
        middle = edge.mean(0)
        inward = (middle - edge) * [1, 1, 0.3]
        inward /= np.linalg.norm(inward, axis=1, keepdims=True) + 1e-6
        points[hole.rims[0]] = centre + radial / reach * (reach - 0.025) + inward * 0.012
        points[hole.rims[1]] = (
            centre + radial / reach * (np.minimum(reach, radius + LID_THICKNESS) - 0.065) + inward * 0.02
        )
        points[hole.rims[2]] = centre + radial / reach * (radius - 0.06) - inward * 0.25 + np.array([0, 0, -0.12])
    edge = points[shape.mouth.edge]
    up = np.where(shape.mouth.upper, 1.0, -1.0)
    along_ = np.linspace(0, 1, int(shape.mouth.upper.sum()))
    rise = np.sin(np.pi * along_)
    arch = np.concatenate([rise, np.interp(np.linspace(0, 1, len(up) - len(rise) + 2)[1:-1], along_[::1], rise)])
    # the first rims bulge past the edge, so that lips that touch leave no slit to see teeth through
    steps = ((-0.045, -0.09), (-0.01, -0.24), (0.34, -0.48), (0.75, -0.62), (1.0, -0.62))
    for row, (rise_, back) in zip(shape.mouth.rims, steps, strict=True):
        points[row] = edge + np.stack(
            [0 * up - edge[:, 0] * 0.0, up * rise_ * (0.25 + 0.75 * arch), back * (0.35 + 0.65 * arch)], 1
        )
