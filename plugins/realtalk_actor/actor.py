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
from realtalk_actor.shapes import JAW_DEGREES, fields, lids, turned_jaw
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


NECK_PIVOT = np.array([0.0, -7.0, -6.0])


def rotation(turn: tuple[float, float, float]) -> Array:
    """Rotation matrix of pitch, yaw, roll."""
    p, y, r = turn
    cp, sp, cy, sy, cr, sr = np.cos(p), np.sin(p), np.cos(y), np.sin(y), np.cos(r), np.sin(r)
    rx = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(ry @ rx @ rz)


class Actor:
    """One person of a seed, who can be posed; `realtalk_actor.picture` renders what `place` gives."""

    def __init__(self, seed: int) -> None:
        self.scene: Scene = build_scene(identity(seed))
        shape = topology()
        self._fields = fields().reshape(len(BLENDSHAPES), -1)
        self._rest = self.scene.points[: len(shape.chart)].copy()
        self._lashes = lashes(self.scene.who)
        self._lips = shape.mouth
        self._with_jaw = np.flatnonzero(self.scene.follow[:, 1] > 0)
        self._jaw_share = self.scene.follow[self._with_jaw, 1].astype(float)
        self._head_share = self.scene.follow[:, :1].astype(float)

    def head(self, pose: Pose) -> Array:
        """The head's mesh `N 3` in head space, lids and lips settled."""
        s = np.clip(pose.shapes, 0, 1)
        active = np.flatnonzero(s > 1e-4)
        moved = (s[active].astype(np.float32) @ self._fields[active]).reshape(-1, 3)
        points = self._rest + moved
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
            lids(side == "Left").move(points, self.scene.eyes[k], float(upper), float(min(lower, 1.0)))
        lay_rims(points, self.scene.eyes, self.scene.eye_scale)
        return points

    def _settle_lips(self, points: Array) -> None:
        """Lips may touch but not pass through each other."""
        hole = self._lips
        corner = int(hole.upper.sum()) - 1
        up = hole.edge[1:corner]
        low = hole.edge[:corner:-1]
        over = points[low, 1] - points[up, 1]
        hit = np.clip(over + 0.004, 0, None)
        if not (hit > 0).any():
            return
        spread_up, spread_low = _lip_spread()
        points[:, 1] += (spread_up[1] * hit[spread_up[0]] - spread_low[1] * hit[spread_low[0]]) * 0.5
        front = 0.5 * (points[low, 2] - points[up, 2]) * (hit > 0)
        points[up, 2] += front
        points[low, 2] -= front

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
        points = self.head(pose) if head is None else head
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


Spread = tuple[NDArray[np.int64], Array]


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
