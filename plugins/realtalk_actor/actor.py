"""An actor: blendshapes, gaze and head pose in, picture and exact truth out."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from realtalk_actor.head import EYE_RADIUS, lay_rims
from realtalk_actor.identity import identity
from realtalk_actor.lashes import lashes
from realtalk_actor.raster import vertex_normals
from realtalk_actor.scene import Scene, build_scene
from realtalk_actor.shapes import JAW_DEGREES, Lids, fields, lids, turned_jaw
from realtalk_actor.topology import topology
from realtalk_core.landmarks import BLENDSHAPES

Array = NDArray[np.float64]
INDEX = {name: k for k, name in enumerate(BLENDSHAPES)}
IRIS = 0.478
"""Radius of the iris relative to the eyeball: 5.85 mm to 12.2 mm."""


@dataclass(frozen=True)
class Pose:
    """One frame's movement.

    Attributes:
        shapes: `52` blendshapes in MediaPipe's order, 0 to 1.
        gaze: Yaw and pitch of the eyes in radians: positive is the image's right and up.
        turn: `3` pitch, yaw, roll of the head in radians: nod down, turn to the image's right, tilt.
        shift: `3` movement of the head, cm.
        tongue: Height of the tongue's tip, 0 rest to 1 at the teeth.
        breath: Rise of the shoulders, cm.
    """

    shapes: Array = field(default_factory=lambda: np.zeros(52))
    gaze: tuple[float, float] = (0.0, 0.0)
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    tongue: float = 0.0
    breath: float = 0.0


Spread = tuple[NDArray[np.int64], Array]
NECK_PIVOT = np.array([0.0, -7.0, -6.0])


def rotation(turn: tuple[float, float, float]) -> Array:
    """Rotation matrix of pitch, yaw, roll."""
    p, y, r = turn
    cp, sp, cy, sy, cr, sr = np.cos(p), np.sin(p), np.cos(y), np.sin(y), np.cos(r), np.sin(r)
    rx = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(ry @ rx @ rz)


@dataclass(frozen=True)
class _Skin:
    """Vertices of the head's mesh that can be posed by themselves: all of them, or few.

    Attributes:
        rest: `K 3` at rest.
        fields: `52 3K` how blendshapes move them.
        lids: Of the right and the left eye.
        up, low: Upper and lower edge of the lips, one place opposite the other.
        spread: For the upper and the lower edge: which place each vertex follows when lips press together, and how far.
    """

    rest: Array
    fields: NDArray[np.float32]
    lids: tuple[Lids, Lids]
    up: NDArray[np.int64]
    low: NDArray[np.int64]
    spread: tuple[Spread, Spread]

    @classmethod
    def of(cls, rest: Array, index: NDArray[np.int64]) -> _Skin:
        """Those of a head at rest `N 3` whose numbers are given; the edges of lids and lips must be among them."""
        number = np.full(len(rest), -1)
        number[index] = np.arange(len(index))
        edge = topology().mouth.edge
        corner = int(topology().mouth.upper.sum()) - 1
        movable = fields() if len(index) == len(rest) else fields()[:, index]  # the whole is shared by all heads
        (up, far_up), (low, far_low) = _lip_spread()
        return cls(
            rest[index],
            movable.reshape(len(BLENDSHAPES), -1),
            (_lids_of(False, number), _lids_of(True, number)),
            number[edge[1:corner]],
            number[edge[:corner:-1]],
            ((up[index], far_up[index]), (low[index], far_low[index])),
        )

    def posed(self, pose: Pose, eyes: Array) -> Array:
        """Places `K 3` for a pose and the eyeballs' centres, lids and lips settled."""
        s = np.clip(pose.shapes, 0, 1)
        active = np.flatnonzero(s > 1e-4)
        points = self.rest + (s[active].astype(np.float32) @ self.fields[active]).reshape(-1, 3)
        self._settle_lips(points)
        for k, side in enumerate(("Right", "Left")):
            w = {name: s[INDEX[name + side]] for name in ("eyeBlink", "eyeSquint", "eyeWide")}
            down = s[INDEX["eyeLookDown" + side]]
            raised = s[INDEX["eyeLookUp" + side]]
            # trackers read a half-closed eye as hardly blinking: the score rises late, so the lid leads
            closing = 1 - (1 - w["eyeBlink"]) ** 1.6
            upper = closing + 0.16 * w["eyeSquint"] - 0.34 * w["eyeWide"] + 0.38 * down - 0.20 * raised
            lower = 0.9 * w["eyeSquint"] + 0.45 * s[INDEX["cheekSquint" + side]] + 0.30 * s[INDEX["mouthSmile" + side]]
            lower = lower + closing * (1 - min(1.0, lower)) - 0.35 * down - 0.15 * w["eyeWide"]
            upper = min(upper, 1.02)
            self.lids[k].move(points, eyes[k], float(upper), float(min(lower, 1.0)))
        return points

    def _settle_lips(self, points: Array) -> None:
        """Lips may touch but not pass through each other."""
        up, low = self.up, self.low
        over = points[low, 1] - points[up, 1]
        hit = np.clip(over + 0.004, 0, None)
        if not (hit > 0).any():
            return
        spread_up, spread_low = self.spread
        points[:, 1] += (spread_up[1] * hit[spread_up[0]] - spread_low[1] * hit[spread_low[0]]) * 0.5
        front = 0.5 * (points[low, 2] - points[up, 2]) * (hit > 0)
        points[up, 2] += front
        points[low, 2] -= front


class Actor:
    """One person of a seed, who can be posed; `realtalk_actor.picture` renders what `place` gives."""

    def __init__(self, seed: int) -> None:
        self.scene: Scene = build_scene(identity(seed))
        shape = topology()
        rest = self.scene.points[: len(shape.chart)]
        self._skin = _Skin.of(rest, np.arange(len(rest)))
        edges = [hole.edge for hole in (shape.right_eye, shape.left_eye, shape.mouth)]
        self._few = _Skin.of(rest, np.unique(np.concatenate([np.arange(468), *edges])))
        self._lashes = lashes(self.scene.who)
        self._with_jaw = np.flatnonzero(self.scene.follow[:, 1] > 0)
        self._jaw_share = self.scene.follow[self._with_jaw, 1].astype(float)
        self._head_share = self.scene.follow[:, :1].astype(float)

    def head(self, pose: Pose) -> Array:
        """The head's mesh `N 3` in head space, lids and lips settled."""
        points = self._skin.posed(pose, self.scene.eyes)
        lay_rims(points, self.scene.eyes, self.scene.eye_scale)
        return points

    def place(self, pose: Pose, head: Array | None = None) -> tuple[Array, Array]:
        """All vertices in world space (axes of head space at rest), and the `4 4` head-to-world transform."""
        scene = self.scene
        points = scene.points.copy()
        head = self.head(pose) if head is None else head
        points[: len(head)] = head
        s = np.clip(pose.shapes, 0, 1)
        jaw = np.deg2rad(JAW_DEGREES) * s[INDEX["jawOpen"]]
        slide = np.array([0.55 * (s[INDEX["jawLeft"]] - s[INDEX["jawRight"]]), 0, 0.5 * s[INDEX["jawForward"]]])
        points[self._with_jaw] = (
            turned_jaw(points[self._with_jaw], self._jaw_share * jaw) + self._jaw_share[:, None] * slide
        )
        tongue = scene.parts["tongue"]
        forward = np.clip((points[tongue, 2] - 1.5) / 2.5, 0, 1) ** 2
        points[tongue, 1] += forward * pose.tongue * (0.75 + 0.5 * np.sin(jaw))
        points[tongue, 2] += forward * pose.tongue * 0.35
        yaw, pitch = pose.gaze
        for k, name in enumerate(("eye_right", "eye_left")):
            converge = 0.02 * (1 if k == 0 else -1)
            look = rotation((-pitch, yaw + converge, 0.0))
            ball = scene.parts[name]
            points[ball] = (scene.points[ball] - scene.eyes[k]) @ look.T + scene.eyes[k]
        points[scene.parts["lashes"]] = self._lashes.place(head, scene.eyes)
        turn = rotation(pose.turn)
        transform = np.eye(4)
        transform[:3, :3] = turn
        transform[:3, 3] = NECK_PIVOT - turn @ NECK_PIVOT + np.array(pose.shift)
        w = self._head_share
        torso = points + np.array(
            [pose.shift[0] * 0.55, pose.breath + pose.shift[1] * 0.3, pose.shift[2] * 0.6 + pose.breath * 0.4]
        )
        in_head = points @ turn.T + transform[:3, 3]
        return torso * (1 - w) + in_head * w, transform

    def landmarks(self, pose: Pose, head: Array | None = None) -> Array:
        """MediaPipe's 478 landmarks in head space, cm: exact places on the mesh, irises from the eyeballs."""
        points = self._few.posed(pose, self.scene.eyes) if head is None else head
        out = np.zeros((478, 3))
        out[:468] = points[:468]
        yaw, pitch = pose.gaze
        for k, first in ((0, 468), (1, 473)):
            turn = rotation((-pitch, yaw + 0.02 * (1 if k == 0 else -1), 0.0))
            ring = IRIS * EYE_RADIUS
            depth = np.sqrt(EYE_RADIUS**2 - ring**2)
            local = np.array(
                [[0, 0, EYE_RADIUS], [ring, 0, depth], [0, ring, depth], [-ring, 0, depth], [0, -ring, depth]]
            )
            out[first : first + 5] = local @ turn.T + self.scene.eyes[k]
        return out


def gaze_shapes(shapes: Array, gaze: tuple[float, float]) -> Array:
    """The blendshapes with the eyeLook scores that a gaze means; 30 degrees sideways or 25 up and down count as 1."""
    out = np.array(shapes, float)
    yaw, pitch = np.rad2deg(gaze)
    for name, value in (("eyeLookOutLeft", yaw / 30), ("eyeLookInRight", yaw / 30), ("eyeLookInLeft", -yaw / 30),
                        ("eyeLookOutRight", -yaw / 30), ("eyeLookUpLeft", pitch / 25), ("eyeLookUpRight", pitch / 25),
                        ("eyeLookDownLeft", -pitch / 25), ("eyeLookDownRight", -pitch / 25)):  # fmt: skip
        out[INDEX[name]] = np.clip(value, 0, 1)
    return out


def _lids_of(left: bool, number: NDArray[np.int64]) -> Lids:
    """The lids of one eye over vertices that are numbered anew, -1 for those left out."""
    all_ = lids(left)
    kept = number[all_.index] >= 0
    return Lids(
        number[all_.index[kept]], all_.upper[kept], all_.lower[kept], all_.near_upper[kept], all_.near_lower[kept],
        number[all_.edge_upper], number[all_.edge_lower],
    )  # fmt: skip


@cache
def _lip_spread() -> tuple[Spread, Spread]:
    """For each vertex, which place of the lips' edge it follows when lips press together, and how far."""
    shape = topology()
    hole = shape.mouth
    corner = int(hole.upper.sum()) - 1
    up, low = hole.edge[1:corner], hole.edge[:corner:-1]
    far_up, near_up = cKDTree(shape.chart[up]).query(shape.chart)
    far_low, near_low = cKDTree(shape.chart[low]).query(shape.chart)
    line = np.interp(shape.chart[:, 0], shape.chart[up][:, 0], 0.5 * (shape.chart[up][:, 1] + shape.chart[low][:, 1]))
    above = shape.chart[:, 1] > line
    above[hole.edge[: corner + 1]] = True
    above[hole.edge[corner + 1 :]] = False
    width = 0.09
    w_up = np.where(above, np.exp(-((far_up / width) ** 2)), 0)
    w_low = np.where(~above, np.exp(-((far_low / width) ** 2)), 0)
    return (near_up, w_up), (near_low, w_low)


def normals_of(points: Array, triangles: NDArray[np.int32]) -> NDArray[np.float32]:
    """Unit vertex normals `N 3`."""
    out = np.zeros(points.shape, np.float32)
    vertex_normals(np.ascontiguousarray(points, np.float32), triangles, out)
    return out
