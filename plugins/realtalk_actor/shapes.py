"""ARKit's blendshapes as displacement fields on the head's skin, and lids that slide over the eyeballs.

Fields are written once, in the frontal coordinates of the average face with its lips slightly apart (cm), as sums of
Gaussians; each says how far one place moves at full strength. Left is the person's own left, positive x.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from realtalk_actor.chart import basis, fit_smooth, landmark_chart, skull_anchors
from realtalk_actor.head import EYE_RADIUS, LID_THICKNESS, along, average_head, skin_normals
from realtalk_actor.proportions import landmark_places
from realtalk_actor.topology import Hole, topology
from realtalk_core.landmarks import BLENDSHAPES

Array = NDArray[np.float64]
JAW_AXIS = np.array([0.0, 0.3, -3.2])
"""A place on the axis through both jaw joints."""
JAW_DEGREES = 17.0
"""How far `jawOpen` of 1 turns the jaw."""

Blob = tuple[tuple[float, float], tuple[float, float], tuple[float, float, float], str]
# place, width, displacement at full strength, side of the lips it acts on: u(pper), l(ower), b(oth)
_SIDED: dict[str, tuple[Blob, ...]] = {
    "browDown": (((1.9, 4.5), (1.6, 0.9), (-0.28, -0.76, 0.16), "b"), ((3.7, 4.8), (1.6, 0.9), (-0.05, -0.60, 0.06),
    "b"),
                 ((0.7, 4.2), (0.6, 0.8), (-0.10, -0.24, 0.06), "b"), ((3.1, 3.7), (1.6, 0.4), (0, -0.16, 0.08), "b")),
    "browOuterUp": (((4.4, 4.7), (1.7, 1.2), (0.05, 0.80, 0.0), "b"), ((4.2, 3.7), (1.2, 0.5), (0, 0.16, 0), "b")),
    "cheekSquint": (((3.6, 0.9), (1.8, 1.0), (0.02, 0.36, 0.20), "b"), ((3.1, 1.8), (1.4, 0.4), (0, 0.12, 0.05), "b")),
    "eyeSquint": (((3.2, 1.5), (1.5, 0.6), (0, 0.20, 0.08), "b"), ((3.2, 4.1), (1.7, 0.5), (0, -0.10, 0.02), "b")),
    "eyeWide": (((3.2, 4.0), (1.7, 0.7), (0, 0.14, 0), "b"),),
    "mouthDimple": (((2.65, -4.3), (0.8, 0.8), (0.38, 0.06, -0.40), "b"), ((3.5, -4.2), (0.7, 1.1), (0.1, 0, 0.10),
    "b")),
    "mouthFrown": (((2.5, -4.4), (1.05, 1.0), (0.38, -1.04, -0.14), "b"), ((0.3, -4.3), (1.1, 1.0), (0, 0.32, 0.06),
    "b"),
                   ((0.8, -6.6), (1.2, 0.8), (0, 0.24, 0.12), "b"), ((3.0, -5.6), (0.9, 0.9), (0.06, -0.25, 0.08),
                   "b")),
    "mouthLowerDown": (((1.2, -4.9), (1.25, 0.9), (0.08, -0.62, -0.02), "l"),),
    "mouthPress": (((1.3, -3.9), (1.5, 0.5), (0.04, -0.14, -0.16), "u"), ((1.3, -4.9), (1.5, 0.5), (0.04, 0.16,
    -0.16), "l")),
    "mouthSmile": (((2.45, -4.35), (1.25, 1.15), (0.80, 0.62, -0.55), "b"),
                   ((0, -4.3), (2.0, 1.2), (0, 0.16, -0.12), "b"), ((1.3, -4.3), (0.9, 1.0), (0.24, 0.06, -0.08), "b"),
                   ((1.2, -3.5), (1.5, 0.4), (0, -0.06, -0.06), "u"), ((0.7, -5.3), (1.5, 0.5), (0, 0.12, -0.10), "l"),
                   ((3.8, -1.3), (1.5, 1.2), (0.12, 0.40, 0.42), "b"), ((3.2, 0.9), (1.5, 0.6), (0, 0.14, 0.10), "b"),
                   ((3.6, -4.4), (0.7, 1.2), (0.10, 0.10, 0.12), "b"), ((1.5, -1.3), (0.6, 0.6), (0.12, 0.06, 0), "b")),
    "mouthStretch": (((2.5, -4.5), (1.3, 1.2), (0.80, -0.24, -0.42), "b"), ((3.0, -6.5), (1.6, 1.6), (0.2, -0.15,
    0.02), "b")),
    "mouthUpperUp": (((0.6, -3.85), (1.5, 1.0), (0.04, 0.80, 0.06), "u"), ((1.5, -1.5), (0.8, 0.8), (0.10, 0.20, 0),
                     "b"), ((3.0, -1.6), (1.2, 1.2), (0.0, 0.2, 0.14), "b")),
    "noseSneer": (((1.4, -1.0), (0.75, 0.8), (0.10, 0.36, 0.0), "b"), ((1.2, -3.3), (1.2, 0.8), (0, 0.30, 0.04), "u"),
                  ((1.0, 1.8), (0.7, 1.0), (0, 0.16, 0.10), "b"), ((1.4, 4.2), (1.2, 0.8), (-0.06, -0.20, 0.06), "b"),
                  ((2.8, -0.6), (1.0, 1.0), (0, 0.18, 0.14), "b")),
}  # fmt: skip
_CENTRAL: dict[str, tuple[Blob, ...]] = {
    "browInnerUp": (((1.6, 4.7), (1.5, 1.3), (0.03, 0.84, 0.02), "b"), ((0, 5.6), (1.6, 1.4), (0, 0.34, 0), "b"),
                    ((2.2, 3.7), (1.0, 0.5), (0, 0.18, 0), "b")),
    "cheekPuff": (((3.7, -4.1), (1.7, 1.8), (0.50, 0, 0.62), "b"), ((0.9, -2.9), (1.0, 0.6), (0, 0, 0.2), "b")),
    "mouthFunnel": (((0, -3.8), (1.7, 0.7), (0, 0.26, 0.55), "u"), ((0, -4.9), (1.7, 0.8), (0, -0.34, 0.55), "l"),
                    ((2.4, -4.3), (1.0, 1.1), (-0.62, 0, 0.25), "b"), ((1.2, -4.3), (0.7, 0.9), (-0.22, 0, 0.05), "b")),
    "mouthPucker": (((2.45, -4.3), (1.1, 1.2), (-0.90, 0, 0.40), "b"), ((1.2, -4.3), (0.8, 0.9), (-0.34, 0, 0.20), "b"),
                    ((0, -3.7), (1.2, 0.6), (0, 0.06, 0.60), "u"), ((0, -5.0), (1.2, 0.7), (0, -0.06, 0.55), "l")),
    "mouthLeft": (((0, -4.5), (3.0, 2.0), (0.80, 0, 0), "s"),),
    "mouthRollLower": (((0, -4.75), (2.0, 0.45), (0, 0.30, -0.42), "l"), ((0, -5.5), (1.8, 0.5), (0, 0.10, -0.06),
    "l")),
    "mouthRollUpper": (((0, -3.75), (2.0, 0.42), (0, -0.24, -0.40), "u"), ((0, -3.1), (1.8, 0.5), (0, -0.08, -0.05),
    "u")),
    "mouthShrugLower": (((0, -5.2), (1.9, 1.3), (0, 0.42, 0.22), "l"), ((0, -7.0), (1.7, 1.0), (0, 0.30, 0.12), "b")),
    "mouthShrugUpper": (((0, -3.8), (1.8, 0.8), (0, 0.30, 0.20), "u"),),
}  # fmt: skip
LID_SHAPES = ("eyeBlink", "eyeSquint", "eyeWide", "eyeLookDown", "eyeLookUp")
"""These move the lids; see `Lids`."""


@cache
def frontal() -> Array:
    """Where each vertex lies on the average face with the lips apart `N 3`: the coordinates fields are written in."""
    q, skull = skull_anchors()
    knots = np.concatenate([landmark_chart(), q])
    return basis(knots, topology().chart) @ fit_smooth(knots, np.concatenate([landmark_places(), skull]), 1e-4)


@cache
def jaw_weight() -> Array:
    """How far each vertex goes with the jaw, 0 to 1."""
    f = frontal()
    x, below = np.abs(f[:, 0]), -4.27 - f[:, 1]
    c = np.clip(x / 2.45, 0, 1)
    edge = 0.40 + 0.60 * np.sqrt(1 - c**2)
    lower = edge + (1 - edge) * _smooth(0, 2.2, below)
    upper = 0.40 * c**3 * np.exp(-((below / 1.0) ** 2))
    beyond = _smooth(-2.1, 3.0, below)
    inside = np.where(below > 0, lower, upper)
    blend = _smooth(2.35, 3.0, x)
    w = inside * (1 - blend) + beyond * blend
    w *= _smooth(-9.0, -2.0, f[:, 2])
    w *= 1 - 0.5 * _smooth(5.5, 7.5, x)
    return _rims_like_edges(_relaxed(w, 6))


def _smooth(a: float, b: float, x: Array) -> Array:
    t = np.clip((x - a) / (b - a), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def _relaxed(values: Array, times: int) -> Array:
    """Evens a field out over the mesh's edges, which do not cross the mouth or the eyes."""
    shape = topology()
    skin = shape.triangles[(shape.triangles < shape.skin).all(1)]
    edges = np.concatenate([skin[:, [0, 1]], skin[:, [1, 2]], skin[:, [2, 0]]])
    edges = np.concatenate([edges, edges[:, ::-1]])
    degree = np.maximum(1, np.bincount(edges[:, 0], minlength=len(values)))
    out = values.copy()
    for _ in range(times):
        mean = np.bincount(edges[:, 0], out[edges[:, 1]], len(values)) / degree
        out[: shape.skin] = 0.5 * out[: shape.skin] + 0.5 * mean[: shape.skin]
    return out


def _rims_like_edges(values: Array) -> Array:
    shape = topology()
    for hole in (shape.right_eye, shape.left_eye, shape.mouth):
        values[hole.rims] = values[hole.edge]
    return values


@cache
def _upper_lip() -> Array:
    """1 on the upper lip's side of the mouth, 0 on the lower, blending beyond the corners."""
    f = frontal()
    hard = (f[:, 1] > -4.27).astype(float)
    soft = 1 / (1 + np.exp(-(f[:, 1] + 4.3) / 0.35))
    share = _smooth(2.0, 2.9, np.abs(f[:, 0]))
    return np.asarray(hard * (1 - share) + soft * share)


def _field(blobs: tuple[Blob, ...]) -> Array:
    """The field for both halves of the face."""
    f = frontal()
    upper = _upper_lip()
    out = np.zeros_like(f)
    side = np.tanh(f[:, 0] / 0.3)
    front = _smooth(-4.5, -1.0, f[:, 2])
    for (cx, cy), (wx, wy), (dx, dy, dz), lips in blobs:
        weight = np.exp(-(((np.abs(f[:, 0]) - cx) / wx) ** 2) - ((f[:, 1] - cy) / wy) ** 2) * front
        weight = weight * (upper if lips == "u" else 1 - upper if lips == "l" else 1)
        out += (
            weight[:, None]
            * np.array([dx, dy, dz])
            * np.stack([side if lips != "s" else side * 0 + 1, side * 0 + 1, side * 0 + 1], 1)
        )
    return out


def turned_jaw(points: Array, angle: Array | float) -> Array:
    """Places turned about the jaw's axis by angles in radians (positive opens)."""
    d = points - JAW_AXIS
    c, s = np.cos(angle), np.sin(angle)
    y, z = d[:, 1] * c - d[:, 2] * s, d[:, 1] * s + d[:, 2] * c
    return np.asarray(np.stack([points[:, 0], y + JAW_AXIS[1], z + JAW_AXIS[2]], 1))


@cache
def fields() -> NDArray[np.float32]:
    """Displacements `52 N 3` at full strength, in the order of `BLENDSHAPES`; zero for what only moves lids or eyes."""
    f = frontal()
    out = np.zeros((len(BLENDSHAPES), *f.shape))
    name_of = {name: k for k, name in enumerate(BLENDSHAPES)}
    left = 1 / (1 + np.exp(-f[:, 0] / 0.45))
    normals = skin_normals(average_head())
    for name, blobs in _SIDED.items():
        both = _field(blobs)
        if name in ("mouthSmile", "mouthUpperUp", "noseSneer"):
            fold = along(f, [(1.95, -0.9), (2.65, -1.8), (3.25, -2.9), (3.75, -4.2)], 0.34)
            both -= normals * (fold * (0.17 if name == "mouthSmile" else 0.10))[:, None]
        out[name_of[name + "Left"]] = both * left[:, None]
        out[name_of[name + "Right"]] = both * (1 - left)[:, None]
    for name, blobs in _CENTRAL.items():
        out[name_of[name]] = _field(blobs)
    out[name_of["mouthRight"]] = -out[name_of["mouthLeft"]]
    w = jaw_weight()
    rest = average_head()
    opened = turned_jaw(rest, w * np.deg2rad(JAW_DEGREES)) - rest
    opened[:, 2] -= 0.25 * w * 0
    thin = np.exp(-((f[:, 0] / 3.2) ** 2) - ((f[:, 1] + 4.3) / 1.4) ** 2)
    opened[:, 0] -= 0.15 * thin * f[:, 0]
    out[name_of["jawOpen"]] = opened
    out[name_of["jawForward"]] = w[:, None] * [0, 0, 0.5]
    out[name_of["jawLeft"]] = w[:, None] * [0.55, 0, 0]
    out[name_of["jawRight"]] = -out[name_of["jawLeft"]]
    lips = np.exp(-((f[:, 0] / 2.6) ** 4) - ((f[:, 1] + 4.3) / 1.5) ** 2)
    low = 1 - _upper_lip()
    lift = np.where(low > 0.5, 0.66, -0.34) * lips
    gap = np.interp(np.abs(f[:, 0]), [0, 1.2, 2.0, 2.45], [1.0, 0.86, 0.5, 0.0]) * 2.55
    out[name_of["mouthClose"], :, 1] = lift * gap
    out[name_of["mouthClose"], :, 2] = np.where(low > 0.5, 0.45, -0.1) * lips
    for k in range(len(out)):
        for hole in (topology().right_eye, topology().left_eye, topology().mouth):
            out[k][hole.rims] = out[k][hole.edge]
    return out.astype(np.float32)


@dataclass(frozen=True)
class Lids:
    """How the lids of one eye of one head open and close: by turning about the eyeball's horizontal axis.

    Attributes:
        index: Vertices near the eye.
        upper: How far each goes with the upper lid, 0 to 1.
        lower: The same for the lower lid.
        near_upper, near_lower: The place of the lid's edge that each belongs to.
        edge_upper, edge_lower: Vertex indices of the edges, from the image's left to its right.
    """

    index: NDArray[np.int64]
    upper: Array
    lower: Array
    near_upper: NDArray[np.int64]
    near_lower: NDArray[np.int64]
    edge_upper: NDArray[np.int64]
    edge_lower: NDArray[np.int64]

    def move(self, points: Array, centre: Array, close_upper: float, close_lower: float) -> None:
        """Moves the lids in place.

        Args:
            points: `N 3`, the posed head; only the vertices near the eye change.
            centre: The eyeball's centre.
            close_upper: 0 as the head rests, 1 closed, below 0 wider open.
            close_lower: 0 as the head rests, 1 as far up as the lower lid goes.
        """
        up, low = points[self.edge_upper] - centre, points[self.edge_lower] - centre
        open_up, open_low = np.arctan2(up[:, 1], up[:, 2]), np.arctan2(low[:, 1], low[:, 2])
        below = np.interp(up[:, 0], low[:, 0], open_low)
        above = np.interp(low[:, 0], up[:, 0], open_up)
        meet_up = 0.80 * below + 0.20 * open_up
        meet_low = 0.20 * above + 0.80 * open_low
        turn_up = (meet_up - open_up) * close_upper
        turn_low = (meet_low - open_low) * close_lower
        near = points[self.index] - centre
        turn = self.upper * turn_up[self.near_upper] + self.lower * turn_low[self.near_lower]
        c, s = np.cos(turn), np.sin(turn)
        y, z = near[:, 1] * c + near[:, 2] * s, near[:, 2] * c - near[:, 1] * s
        moved = np.stack([near[:, 0], y, z], 1)
        reach = np.linalg.norm(moved, axis=1)
        least = EYE_RADIUS + LID_THICKNESS
        push = np.where((moved[:, 2] > 0.2) & (reach < least), least / np.maximum(reach, 1e-6), 1.0)
        points[self.index] = centre + moved * push[:, None]


@cache
def lids(left: bool) -> Lids:
    """The lids of one eye of the average head; they fit every identity."""
    shape = topology()
    hole: Hole = shape.left_eye if left else shape.right_eye
    corner = int(hole.upper.sum()) - 1
    upper, lower = (
        hole.edge[: corner + 1],
        np.concatenate([hole.edge[corner:][::-1][:0], hole.edge[:1], hole.edge[: corner - 1 : -1]]),
    )
    chart = shape.chart[: shape.skin]
    far_up, near_up = cKDTree(shape.chart[upper]).query(chart)
    far_low, near_low = cKDTree(shape.chart[lower]).query(chart)
    middle = shape.chart[hole.edge].mean(0)
    line = np.interp(
        chart[:, 0], np.sort(shape.chart[upper][:, 0]), shape.chart[upper][np.argsort(shape.chart[upper][:, 0]), 1]
    )
    low_line = np.interp(
        chart[:, 0], np.sort(shape.chart[lower][:, 0]), shape.chart[lower][np.argsort(shape.chart[lower][:, 0]), 1]
    )
    is_up = chart[:, 1] > 0.5 * (line + low_line)
    weight_up = np.where(is_up, _falloff(far_up, 0.075), 0) * (far_up <= far_low + 1e-9)
    weight_low = np.where(~is_up, _falloff(far_low, 0.10), 0) * (far_low <= far_up + 1e-9)
    use = np.flatnonzero(np.hypot(*(chart - middle).T) < 0.24)  # beyond the lids too: no cheek may uncover the eyeball
    return Lids(use, weight_up[use], weight_low[use], near_up[use], near_low[use], upper, lower)


def _falloff(distance: Array, reach: float) -> Array:
    t = np.clip(distance / reach, 0, 1)
    return np.asarray((1 - t) ** 2 * (1 + 2 * t))
