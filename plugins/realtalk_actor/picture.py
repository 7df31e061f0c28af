"""From a placed actor to a picture: camera, lights, shadows, ambient occlusion, labels."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

from realtalk_actor.actor import INDEX, IRIS, Actor, Pose, normals_of
from realtalk_actor.backdrop import backdrop
from realtalk_actor.raster import rasterise, vertex_normals
from realtalk_actor.shade import CHART_REACH, EXPOSURE, EYE, GAMMA, HAIR, SKIN, VERTEX, shade
from realtalk_actor.topology import topology

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Item = TypeVar("Item")
Result = TypeVar("Result")
LIGHT_MAP = 640
LIGHT_REACH = 26.0
"""Half the width of what the key light's map covers, cm."""


@dataclass(frozen=True)
class Camera:
    """A fixed camera in front of the actor.

    Attributes:
        size: Side of the picture, pixels.
        distance: From the head's origin, cm.
        height: Of the camera over the head's origin, cm.
        view: Width of the picture at the head's origin, cm.
    """

    size: int = 512
    distance: float = 75.0
    height: float = -1.5
    view: float = 37.0

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return self.size * self.distance / self.view

    def world_to_camera(self) -> Array:
        """`4 4` from world (y up, z to the camera) to the camera with OpenCV's axes."""
        out = np.diag([1.0, -1.0, -1.0, 1.0])
        out[1, 3] = self.height
        out[2, 3] = self.distance
        return out

    def intrinsics(self) -> Array:
        """`3 3` in pixels."""
        half = self.size / 2
        return np.array([[self.focal, 0, half], [0, self.focal, half], [0, 0, 1]])


@dataclass(frozen=True)
class Shot:
    """A rendered frame.

    Attributes:
        rgb: `H W 3` uint8.
        masks: `H W 3` uint8: person alpha, head alpha, part label, as in a capture.
        normals: `H W 3` unit surface normals in camera space (OpenCV axes); zero off the person; empty if not wanted.
        landmarks: `478 3` in head space, cm.
        transform: `4 4` head to world.
    """

    rgb: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    normals: Floats
    landmarks: Array
    transform: Array


class _Desk:
    """Room to draw one frame in; every thread has its own."""

    def __init__(self, side: int, fixed: Floats) -> None:
        self.depth, self.owner = np.zeros((side, side), np.float32), np.zeros((side, side), np.int32)
        self.light_map = np.zeros((LIGHT_MAP, LIGHT_MAP), np.float32)
        self.light_owner = np.zeros((LIGHT_MAP, LIGHT_MAP), np.int32)
        self.vertices = fixed.copy()


class Studio:
    """An actor in front of a camera, with lights and a backdrop. Several threads may shoot at once."""

    def __init__(self, actor: Actor, camera: Camera, supersampling: int = 2, with_normals: bool = True) -> None:
        self.with_normals = with_normals
        self.actor, self.camera, self.supersampling = actor, camera, supersampling
        scene = actor.scene
        self._lights = _lights(actor)
        self._tangent_u, self._tangent_v = _chart_tangents(actor)
        self._casts = np.ascontiguousarray(scene.triangles[scene.shadow])
        self._backdrop = _displayed(backdrop(actor.scene.who, camera.size))
        who = scene.who
        self._eyes = np.array([*who.iris[0], *who.iris[1], who.numbers["pupil"], IRIS], np.float32)
        self._texture = _fitting(scene.texture, camera)
        self._fixed = np.zeros((len(scene.points), VERTEX), np.float32)
        self._fixed[:, 9:11], self._fixed[:, 11:14], self._fixed[:, 14] = scene.uv, scene.colour, _ambient(actor)
        self._desks = threading.local()

    def shoot(self, pose: Pose) -> Shot:
        """Renders one pose."""
        scene, camera, desk = self.actor.scene, self.camera, self._desk()
        head = self.actor.head(pose)
        world, transform = self.actor.place(pose, head)
        seen = (world - np.array([0, camera.height, camera.distance])).astype(np.float32)
        half = np.float32(camera.size * self.supersampling / 2)
        f = np.float32(camera.focal * self.supersampling)
        xyw = np.empty_like(seen)
        xyw[:, 2] = 1 / np.maximum(-seen[:, 2], np.float32(1))
        xyw[:, 0] = half + f * seen[:, 0] * xyw[:, 2]
        xyw[:, 1] = half - f * seen[:, 1] * xyw[:, 2]
        normals = np.empty_like(seen)
        vertex_normals(seen, scene.triangles, normals)
        self._bulge_corneas(normals)
        frame = self._shadow_map(seen, desk)
        rasterise(xyw, scene.triangles, desk.depth, desk.owner)
        desk.vertices[:, 0:3], desk.vertices[:, 3:6], desk.vertices[:, 6:9] = xyw, seen, normals
        s, size = pose.shapes, camera.size
        raised = s[INDEX["browInnerUp"]] + 0.5 * (s[INDEX["browOuterUpLeft"]] + s[INDEX["browOuterUpRight"]])
        rgb, masks = np.empty((size, size, 3), np.uint8), np.empty((size, size, 3), np.uint8)
        surface = np.empty((size, size, 3) if self.with_normals else (0, 0, 3), np.float32)
        shade(
            desk.owner, desk.depth, desk.vertices, scene.triangles, scene.material, scene.label,
            self._texture, self._tangent_u, self._tangent_v, scene.tangents, transform[:3, :3].astype(np.float32),
            desk.light_map, frame, self._lights, self._eyes, max(0.0, float(raised)) * 0.8, self._backdrop,
            4 * camera.view / size, rgb, masks, surface,
        )  # fmt: skip
        return Shot(rgb, masks, surface, self.actor.landmarks(pose, head), transform)

    def shoots(self, poses: Iterable[Pose]) -> Iterator[Shot]:
        """Renders poses on all cores, in order."""
        return in_order(self.shoot, poses)

    def plate(self) -> NDArray[np.uint8]:
        """The backdrop alone, as it looks in the pictures `H W 3`."""
        return (self._backdrop * np.float32(255) + np.float32(0.5)).astype(np.uint8)

    def _desk(self) -> _Desk:
        if not hasattr(self._desks, "mine"):
            self._desks.mine = _Desk(self.camera.size * self.supersampling, self._fixed)
        return self._desks.mine  # type: ignore[no-any-return]

    def _shadow_map(self, seen: Floats, desk: _Desk) -> Floats:
        """Draws the key light's depth map; returns the rows that take camera space into it."""
        frame = light_frame(self._lights[0, :3], np.array([0, -1.0 - self.camera.height, -self.camera.distance - 3]))
        flat = seen @ frame[:, :3].T + frame[:, 3]
        rasterise(flat, self._casts, desk.light_map, desk.light_owner)
        return frame

    def _bulge_corneas(self, normals: Floats) -> None:
        """Bends the eyes' normals as the cornea does, so that lights mirror over the iris."""
        scene = self.actor.scene
        for name in ("eye_right", "eye_left"):
            ball = scene.parts[name]
            uv = scene.uv[ball]
            gaze = normals[ball][0]
            inside = np.clip(1 - np.hypot(uv[:, 0], uv[:, 1]) / (IRIS * 1.25), 0, 1)[:, None]
            bent = normals[ball] + (normals[ball] - gaze) * 0.55 * np.minimum(1, inside * 2)
            normals[ball] = bent / np.linalg.norm(bent, axis=1, keepdims=True)


def in_order(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Results of `work` for every item, in the items' order, on as many threads as numba may use.

    Few results wait at a time, so that memory does not grow with the number of items.
    """
    threads = numba.config.NUMBA_NUM_THREADS
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def light_frame(direction: Array, centre: Array, size: int = LIGHT_MAP, reach: float = LIGHT_REACH) -> Floats:
    """Rows `3 4` from camera space to light-map x, y and depth (larger is nearer the light, always positive)."""
    d = np.asarray(direction, float)
    across = np.cross([0, 1, 0], d)
    across /= np.linalg.norm(across)
    up = np.cross(d, across)
    scale = size / (2 * reach)
    rows = np.stack([across * scale, -up * scale, d])
    offset = -rows @ centre + np.array([size / 2, size / 2, 200.0])
    return np.concatenate([rows, offset[:, None]], 1).astype(np.float32)


def _lights(actor: Actor) -> Floats:
    azimuth, height, strength, warmth = actor.scene.who.light
    out = np.zeros((5, 6), np.float32)

    def aim(row: int, az: float, el: float) -> None:
        out[row, :3] = (np.sin(az) * np.cos(el), np.sin(el), np.cos(az) * np.cos(el))

    warm = np.array([1 + 0.10 * warmth, 1.0, 1 - 0.14 * warmth])
    aim(0, azimuth, height)
    out[0, 3:] = 1.30 * strength * warm
    aim(1, -np.sign(azimuth) * 0.9, 0.15)
    out[1, 3:] = 0.22 * np.array([0.95, 1.0, 1.08])
    aim(2, -np.sign(azimuth) * 2.5, 0.5)
    out[2, 3:] = 0.8 * np.array([1.0, 1.0, 1.05])
    out[3, :3] = 0.30 * np.array([0.96, 1.0, 1.06])
    out[4, :3] = 0.15 * np.array([1.06, 1.0, 0.94])
    return out


def _chart_tangents(actor: Actor) -> tuple[Floats, Floats]:
    """How skin moves along the chart's axes at rest, cm per radian, from each vertex's triangles."""
    scene = actor.scene
    n = len(scene.points)
    u, v, count = np.zeros((n, 3)), np.zeros((n, 3)), np.zeros(n)
    triangles = scene.triangles[scene.material == SKIN]
    p, q = scene.points[triangles], scene.uv[triangles].astype(float)
    e1, e2 = p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]
    d1, d2 = q[:, 1] - q[:, 0], q[:, 2] - q[:, 0]
    det = d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0]
    good = np.abs(det) > 1e-12
    inverse = np.where(good, 1 / np.where(good, det, 1), 0)[:, None]
    tu = (e1 * d2[:, 1:] - e2 * d1[:, 1:]) * inverse
    tv = (e2 * d1[:, :1] - e1 * d2[:, :1]) * inverse
    for k in range(3):
        np.add.at(u, triangles[:, k], tu)
        np.add.at(v, triangles[:, k], tv)
        np.add.at(count, triangles[:, k], 1)
    count = np.maximum(count, 1)[:, None]
    skin = len(topology().chart)  # the head's vertices come first, and only they are asked for
    return (u / count)[:skin].astype(np.float32), (v / count)[:skin].astype(np.float32)


def _ambient(actor: Actor, directions: int = 48, size: int = 288) -> Floats:
    """Share of the sky each vertex sees at rest, from depth maps of many directions; fixed where a part says so."""
    scene = actor.scene
    points = np.ascontiguousarray(scene.points, np.float32)
    normals = normals_of(scene.points, scene.triangles)
    fixed = scene.ao >= 0
    seen, possible = np.zeros(len(points)), np.full(len(points), 1e-6)
    is_hair = np.zeros(len(points), bool)
    is_hair[scene.triangles[scene.material == HAIR].ravel()] = True
    is_eye = np.zeros(len(points), bool)
    is_eye[scene.triangles[scene.material == EYE].ravel()] = True
    casts = np.ascontiguousarray(scene.triangles[scene.shadow])
    depth, owner = np.zeros((size, size), np.float32), np.zeros((size, size), np.int32)
    golden = np.pi * (3 - np.sqrt(5))
    for k in range(directions):
        y = 1 - (k + 0.5) / directions * 1.7
        r = np.sqrt(max(0.0, 1 - y * y))
        d = np.array([r * np.cos(golden * k), y, r * np.sin(golden * k)])
        facing = normals @ d
        frame = light_frame(d, np.array([0.0, -1.0, -3.0]), size, 22.0)
        flat = np.ascontiguousarray(points @ frame[:, :3].T + frame[:, 3])
        rasterise(flat, casts, depth, owner)
        x = np.clip(flat[:, 0].astype(int), 0, size - 1)
        z = np.clip(flat[:, 1].astype(int), 0, size - 1)
        bias = np.where(is_hair, 0.7, np.where(is_eye, 0.10, 0.22 + 0.25 * (1 - np.abs(facing))))
        ahead = depth[z, x] - flat[:, 2] - bias
        light = np.clip(1 - ahead / 0.5, 0, 1)
        weight = np.where(is_hair, 1.0, np.clip(facing, 0, 1))
        seen += weight * light
        possible += weight
    ao = seen / possible
    ao = np.where(possible < 0.5, 0.3, ao)
    ao = np.clip(0.06 + 1.02 * ao, 0.05, 1)
    return np.where(fixed, scene.ao, ao).astype(np.float32)


def _fitting(texture: Floats, camera: Camera) -> Floats:
    """The skin's texture, halved until its texels are about as large as half a pixel, so that none is skipped."""
    pixel = camera.view / camera.size / 9.0  # radians of the chart on a face of about 9 cm
    while pixel / 2 / (2 * CHART_REACH / texture.shape[0]) > 1.4 and texture.shape[0] % 2 == 0:
        half = texture.shape[0] // 2
        texture = texture.reshape(half, 2, half, 2, -1).mean((1, 3), dtype=np.float32)
    return np.ascontiguousarray(texture)


def _displayed(linear: Floats) -> Floats:
    """Display colours in [0, 1] of linear ones; `shade` does the same."""
    c = np.maximum(0, linear.astype(np.float64) * EXPOSURE)
    c = c * (2.51 * c + 0.03) / (c * (2.43 * c + 0.59) + 0.14)
    return np.asarray(np.clip(c, 0, 1) ** GAMMA, np.float32)
