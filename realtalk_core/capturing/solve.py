"""The joint solve: one rigid head pose per frame, one focal length for the clip, the person's own rigid shape.

Bundle adjustment over the clip (after Triggs et al. 1999, "Bundle adjustment: a modern synthesis"): damped Gauss-Newton
whose pose blocks are eliminated by the Schur complement, robust weights, and a prior that holds the shape near the
canonical face where the clip says little (depth, in a frontal clip) and the camera at a usual distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]

DISTANCES_CM = (35.0, 50.0, 70.0, 100.0, 140.0, 200.0)
"""Camera distances whose focal lengths are tried: a frontal clip leaves the focal length almost unobservable."""
USUAL_DISTANCE_CM, DISTANCE_SPREAD = 80.0, 0.45
SHAPE_SPREAD_CM = 0.4
"""How far the person's rigid points lie from the canonical face's, per axis."""
TRACKER_SIGMA = 0.004
"""Error of one landmark in one frame, relative to the face's height in pixels."""
FRAMES_PER_ERROR = 25.0
"""A tracker's errors of nearby frames are alike: so many frames count as one measurement of the shape."""
SHAPE_FRAMES = 100


@dataclass(frozen=True)
class Rigid:
    """Pose of the head in the camera: `x_camera = rotation @ x_head + translation` (OpenCV axes, cm)."""

    rotation: Array
    translation: Array

    def camera(self, shape: Array) -> Array:
        """Head-space points `L 3` in camera space, `T L 3`."""
        return np.asarray(shape @ self.rotation.transpose(0, 2, 1) + self.translation[:, None])


@dataclass(frozen=True)
class Solution:
    """What the solve found.

    Attributes:
        head: Poses of all frames, unsmoothed.
        information: `T 6 6` curvature of each frame's cost about its pose (rotation about the shape's centre, then
            that centre's place), in units of 1 / variance.
        shape: `L 3` the person's rigid points in head space.
        sigma: `L` error of each point in pixels.
        focal: Pixels.
        centre: Principal point.
        focal_costs: Focal length tried to the robust rms it left, px.
    """

    head: Rigid
    information: Array
    shape: Array
    sigma: Array
    focal: float
    centre: Array
    focal_costs: dict[float, float]


def solve(image: Array, valid: NDArray[np.bool_], canonical: Array, centre: Array) -> Solution:
    """Solves a clip.

    Args:
        image: `T L 2` rigid landmarks in pixels.
        valid: `T` frames in which they were seen; at least one.
        canonical: `L 3` the same points of the canonical face, cm.
        centre: Principal point in pixels.
    """
    rows = _spread(image, valid)
    seen = image[rows]
    size = float(np.median(np.ptp(seen[..., 1], axis=1)))
    scale = size / float(np.ptp(canonical[:, 1]))  # px per cm
    sigma = np.full(len(canonical), TRACKER_SIGMA * size)
    tried: dict[float, tuple[float, float, Array, Array]] = {}
    for distance in DISTANCES_CM:
        focal = distance * scale
        head = initial_pose(seen, canonical, focal, centre)
        head, shape, cost, rms, own = _adjust(seen, head, canonical, focal, centre, sigma)
        surprise = ((np.log(distance) - np.log(USUAL_DISTANCE_CM)) / DISTANCE_SPREAD) ** 2
        tried[focal] = (cost + surprise, rms, shape, own)
    focal = _lowest({f: t[0] for f, t in tried.items()})
    nearest = min(tried, key=lambda f: abs(np.log(f / focal)))
    sigma = tried[nearest][3]
    head = initial_pose(seen, canonical, focal, centre)
    _, shape, _, _, sigma = _adjust(seen, head, canonical, focal, centre, sigma)
    head = initial_pose(image, shape, focal, centre)
    head, information = refine_pose(image, head, shape, focal, centre, sigma, steps=8)
    return Solution(head, information, shape, sigma, focal, centre, {f: t[1] for f, t in tried.items()})


def _spread(image: Array, valid: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Frames for the shape: half evenly over time, half those whose view differs most from the ones taken."""
    seen = np.flatnonzero(valid)
    if len(seen) <= SHAPE_FRAMES:
        return seen
    even = seen[np.linspace(0, len(seen) - 1, SHAPE_FRAMES // 2).round().astype(int)]
    pool = seen[:: max(1, len(seen) // 1000)]
    look = image[pool] - image[pool].mean(1, keepdims=True)
    look = (look / np.sqrt((look**2).sum((1, 2), keepdims=True))).reshape(len(pool), -1)
    taken = [int(np.argmax(np.abs(look - look.mean(0)).sum(1)))]
    distance = np.full(len(pool), np.inf)
    while len(taken) < min(SHAPE_FRAMES // 2, len(pool)):
        distance = np.minimum(distance, ((look - look[taken[-1]]) ** 2).sum(1))
        taken.append(int(np.argmax(distance)))
    return np.unique(np.concatenate([even, pool[taken]]))


def _lowest(costs: dict[float, float]) -> float:
    """The focal length at the minimum of a parabola through the best one tried and its neighbours."""
    focals = sorted(costs)
    k = min(max(int(np.argmin([costs[f] for f in focals])), 1), len(focals) - 2)
    x = np.log(focals[k - 1 : k + 2])
    a, b, _ = np.polyfit(x, [costs[f] for f in focals[k - 1 : k + 2]], 2)
    best = -b / (2 * a) if a > 1e-12 else x[int(np.argmin([costs[f] for f in focals[k - 1 : k + 2]]))]
    return float(np.exp(np.clip(best, x[0], x[-1])))


def initial_pose(image: Array, shape: Array, focal: float, centre: Array) -> Rigid:
    """Poses by scaled orthography: the affine map of the shape onto each picture, made rigid."""
    middle = shape.mean(0)
    flat = image - image.mean(1, keepdims=True)
    affine = np.einsum("lk,tlc->tck", np.linalg.pinv(shape - middle).T, flat)  # T 2 3
    u, s, vt = np.linalg.svd(affine, full_matrices=False)
    scale = s.mean(1)
    upper = u @ vt
    rotation = np.concatenate([upper, np.cross(upper[:, 0], upper[:, 1])[:, None]], axis=1)
    depth = focal / np.maximum(scale, 1e-6)
    place = np.concatenate([(image.mean(1) - centre) / focal, np.ones((len(image), 1))], 1) * depth[:, None]
    return Rigid(rotation, place - rotation @ middle)


def _residuals(image: Array, head: Rigid, shape: Array, focal: float, centre: Array) -> tuple[Array, Array, Array]:
    """Residuals `T L 2`, their derivative by camera points `T L 2 3`, and points turned but not moved `T L 3`."""
    turned = shape @ head.rotation.transpose(0, 2, 1)
    point = turned + head.translation[:, None]
    depth = np.maximum(point[..., 2], 1.0)
    residual = point[..., :2] / depth[..., None] * focal + centre - image
    by_point = np.zeros((*residual.shape, 3))
    by_point[..., 0, 0] = by_point[..., 1, 1] = focal / depth
    by_point[..., 0, 2] = -focal * point[..., 0] / depth**2
    by_point[..., 1, 2] = -focal * point[..., 1] / depth**2
    return residual, by_point, turned


def _cross(v: Array) -> Array:
    out = np.zeros((*v.shape, 3))
    out[..., 0, 1], out[..., 0, 2], out[..., 1, 2] = -v[..., 2], v[..., 1], -v[..., 0]
    out[..., 1, 0], out[..., 2, 0], out[..., 2, 1] = v[..., 2], -v[..., 1], v[..., 0]
    return out


def _weights(residual: Array, sigma: Array) -> Array:
    """Geman-McClure weights over variances, `T L`: a point three sigmas off hardly counts."""
    square = (residual**2).sum(-1) / (2 * sigma**2)
    return np.asarray(1.0 / (sigma**2 * (1.0 + square / 4.0) ** 2))


def _by_pose(by_point: Array, turned: Array) -> Array:
    """Residuals' derivative by (rotation about the head's origin, translation), `T L 2 6`."""
    return np.concatenate([by_point @ -_cross(turned), by_point], axis=-1)


def _move(head: Rigid, step: Array) -> Rigid:
    turn = Rotation.from_rotvec(step[:, :3]).as_matrix()
    return Rigid(turn @ head.rotation, head.translation + step[:, 3:])


def _adjust(
    image: Array, head: Rigid, canonical: Array, focal: float, centre: Array, sigma: Array, steps: int = 10
) -> tuple[Rigid, Array, float, float, Array]:
    """Poses and shape at a fixed focal length.

    Returns:
        Poses, shape, cost, rms in pixels, each point's own error in pixels.
    """
    shape, damping, count = canonical.copy(), 1e-3, len(canonical)
    share = min(1.0, FRAMES_PER_ERROR / len(image)) if len(image) > 4 else 1.0
    head, _ = refine_pose(image, head, shape, focal, centre, sigma, steps=4)
    prior = np.eye(3 * count) / SHAPE_SPREAD_CM**2

    def cost_of(head: Rigid, shape: Array) -> float:
        square = (_residuals(image, head, shape, focal, centre)[0] ** 2).sum(-1) / (2 * sigma**2)
        data = (square / (1 + square / 4)).sum()
        return float(share * data + 0.5 * (((shape - canonical) / SHAPE_SPREAD_CM) ** 2).sum())

    cost = cost_of(head, shape)
    for _ in range(steps):
        residual, by_point, turned = _residuals(image, head, shape, focal, centre)
        root = np.sqrt(share * _weights(residual, sigma))[..., None]
        by_pose = _by_pose(by_point, turned) * root[..., None]
        by_shape = (by_point @ head.rotation[:, None]) * root[..., None]
        off = residual * root
        tall = by_pose.reshape(len(image), -1, 6)
        pp = tall.transpose(0, 2, 1) @ tall
        gp = (tall.transpose(0, 2, 1) @ off.reshape(len(image), -1, 1))[..., 0]
        ps = (by_pose.swapaxes(-1, -2) @ by_shape).transpose(0, 2, 1, 3).reshape(len(image), 6, 3 * count)
        ss = np.zeros((count, 3, count, 3))
        ss[np.arange(count), :, np.arange(count), :] = (by_shape.swapaxes(-1, -2) @ by_shape).sum(0)
        gs = (by_shape.swapaxes(-1, -2) @ off[..., None])[..., 0].sum(0) + (shape - canonical) / SHAPE_SPREAD_CM**2
        pp += damping * np.einsum("tii->ti", pp)[:, :, None] * np.eye(6)
        eased = np.linalg.solve(pp, np.concatenate([ps, gp[..., None]], axis=-1))
        flat = ps.reshape(-1, 3 * count)
        system = ss.reshape(3 * count, -1) + prior - flat.T @ eased[..., :-1].reshape(-1, 3 * count)
        system += damping * np.diag(np.diag(system))
        ds = np.linalg.solve(system, flat.T @ eased[..., -1].reshape(-1) - gs.reshape(-1))
        dp = -(eased[..., -1] + eased[..., :-1] @ ds)
        moved, bent = _move(head, dp), shape + ds.reshape(-1, 3)
        trial = cost_of(moved, bent)
        if trial < cost:
            done = cost - trial < 1e-4 * cost
            head, shape, cost, damping = moved, bent, trial, damping / 5
            if done:
                break
        else:
            damping *= 10
    head, shape = _anchor(head, shape, canonical)
    residual = _residuals(image, head, shape, focal, centre)[0]
    own = np.sqrt(np.median((residual**2).sum(-1), axis=0) / (2 * np.log(2)))
    return head, shape, cost, float(np.sqrt((residual**2).sum(-1).mean())), np.maximum(own, 0.5 * np.median(own))


def _anchor(head: Rigid, shape: Array, canonical: Array) -> tuple[Rigid, Array]:
    """Takes out what the prior leaves of the free rigid motion: the shape comes to lie on the canonical face."""
    a, b = shape - shape.mean(0), canonical - canonical.mean(0)
    u, _, vt = np.linalg.svd(b.T @ a)
    turn = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    move = canonical.mean(0) - turn @ shape.mean(0)
    rotation = head.rotation @ turn.T
    return Rigid(rotation, head.translation - rotation @ move), shape @ turn.T + move


def refine_pose(
    image: Array, head: Rigid, shape: Array, focal: float, centre: Array, sigma: Array, steps: int
) -> tuple[Rigid, Array]:
    """Gauss-Newton on each frame's pose alone, shape and focal length held.

    Returns:
        Poses, and each frame's `6 6` information about (rotation about the shape's centre, that centre's place).
    """
    middle = shape.mean(0)
    information = np.zeros((len(image), 6, 6))
    for _ in range(steps):
        residual, by_point, turned = _residuals(image, head, shape, focal, centre)
        root = np.sqrt(_weights(residual, sigma))[..., None]
        about = head.rotation @ middle
        tall = (_by_pose(by_point, turned - about[:, None]) * root[..., None]).reshape(len(image), -1, 6)
        information = tall.transpose(0, 2, 1) @ tall
        gradient = (tall.transpose(0, 2, 1) @ (residual * root).reshape(len(image), -1, 1))[..., 0]
        damped = information + 1e-4 * np.einsum("tii->ti", information)[:, :, None] * np.eye(6)
        step = -np.linalg.solve(damped, gradient[..., None])[..., 0]
        step[:, :3] = np.clip(step[:, :3], -0.3, 0.3)
        turn = Rotation.from_rotvec(step[:, :3]).as_matrix()
        rotation = turn @ head.rotation
        place = head.translation + about + step[:, 3:]
        head = Rigid(rotation, place - rotation @ middle)
    return head, information


def reprojection(image: Array, head: Rigid, shape: Array, focal: float, centre: Array) -> Array:
    """Distance of every projected point from its landmark in pixels, `T L`."""
    return np.asarray(np.sqrt((_residuals(image, head, shape, focal, centre)[0] ** 2).sum(-1)))
