"""Landmarks in head space: the pose removed, the expression kept.

A landmark's place on the picture is taken as it is; only its depth has to be inferred. It starts from the tracker's
relative depth, which is noisy, and is reduced to what the visible movement explains.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from realtalk_core.capturing.smooth import fill

Array = NDArray[np.float64]


def back_project(image: Array, depth: Array, pose: Array, intrinsics: Array) -> Array:
    """Picture points at known camera depths, in head space.

    Args:
        image: `T K 2` pixels.
        depth: `T K` cm along the camera's axis.
        pose: `T 4 4` camera-to-head.
        intrinsics: `3 3`.
    """
    rays = (image - intrinsics[:2, 2]) / np.array([intrinsics[0, 0], intrinsics[1, 1]])
    camera = np.concatenate([rays, np.ones_like(rays[..., :1])], -1) * depth[..., None]
    return np.asarray(np.einsum("tij,tkj->tki", pose[:, :3, :3], camera) + pose[:, None, :3, 3])


def project(head: Array, pose: Array, intrinsics: Array) -> tuple[Array, Array]:
    """Head-space points `T K 3` (or `K 3`) to pixels `T K 2` and camera depth `T K`."""
    camera = np.einsum("tji,tkj->tki", pose[:, :3, :3], head - pose[:, None, :3, 3])
    focal = np.array([intrinsics[0, 0], intrinsics[1, 1]])
    return camera[..., :2] / camera[..., 2:] * focal + intrinsics[:2, 2], camera[..., 2]


def head_landmarks(
    image: Array, pose: Array, intrinsics: Array, valid: NDArray[np.bool_], rigid: NDArray[np.int64], shape: Array,
    canonical: Array, cuts: tuple[int, ...],
) -> tuple[Array, Array]:  # fmt: skip
    """Landmarks of every frame and the neutral face, in head space.

    Args:
        image: `T K 3` tracked pixels and relative depth (depth all zero: the tracker knows none).
        pose: `T 4 4` camera-to-head.
        intrinsics: `3 3`.
        valid: `T` frames in which the face was seen.
        rigid: `L` indices of the points the pose was solved on.
        shape: `L 3` their solved places.
        canonical: `K 3` the average face.
        cuts: Frames at which a new shot begins.

    Returns:
        `T K 3` landmarks and the `K 3` neutral face, cm.
    """
    seen = np.flatnonzero(valid)
    depth = _tracked_depth(image[seen], pose[seen], intrinsics, rigid, shape, canonical)
    points = back_project(image[seen, :, :2], depth, pose[seen], intrinsics)
    neutral = points[_relaxed(points)].mean(0)
    neutral[rigid] = shape
    for _ in range(2):  # x and y shift a little with each new depth
        target = points.copy()
        target[..., 2] = neutral[:, 2] + _explained(points - neutral)
        depth = project(target, pose[seen], intrinsics)[1]
        points = back_project(image[seen, :, :2], depth, pose[seen], intrinsics)
    whole = fill(_rows(points, seen, len(image)), valid)
    whole = _denoise(whole, cuts)
    at_rest = whole[seen][_relaxed(whole[seen])]
    return whole, np.asarray(at_rest.mean(0))


def _rows(values: Array, at: NDArray[np.int64], count: int) -> Array:
    out = np.zeros((count, *values.shape[1:]))
    out[at] = values
    return out


def _tracked_depth(
    image: Array, pose: Array, intrinsics: Array, rigid: NDArray[np.int64], shape: Array, canonical: Array
) -> Array:
    """Camera depth of all points: the tracker's, laid onto the solved rigid points by an affine map per frame.

    The map takes out the tracker's own idea of distance and tilt; one scale for the clip takes out its idea of depth.
    """
    guess = canonical.copy()
    guess[rigid] = shape
    known = project(guess, pose, intrinsics)[1]
    if not np.any(image[..., 2]):
        return known
    relative = image[..., 2] * known[:, rigid].mean(1, keepdims=True) / intrinsics[0, 0]
    plane = np.concatenate([image[:, rigid, :2], np.ones((len(image), len(rigid), 1))], -1)
    solver = np.linalg.pinv(plane)  # T 3 L

    def off_plane(values: Array) -> Array:
        return np.asarray(values - np.einsum("tlk,tk->tl", plane, np.einsum("tkl,tl->tk", solver, values)))

    bent, true = off_plane(relative[:, rigid]), off_plane(known[:, rigid])
    scale = float((bent * true).sum() / max((bent**2).sum(), 1e-9))
    tilt = np.einsum("tkl,tl->tk", solver, known[:, rigid] - scale * relative[:, rigid])
    everywhere = np.concatenate([image[..., :2], np.ones_like(image[..., :1])], -1)
    return np.asarray(scale * relative + np.einsum("tlk,tk->tl", everywhere, tilt))


def _relaxed(points: Array) -> NDArray[np.int64]:
    """The fifth of the frames nearest to rest: lips closed, eyes open, the rest near its median."""
    if points.shape[1] == 478:
        lips, lids = (13, 14), ((159, 145), (386, 374))
    else:
        lips, lids = (62, 66), ((37, 41), (44, 46))
    gap = points[:, lips[0], 1] - points[:, lips[1], 1]
    eyes = np.mean([points[:, a, 1] - points[:, b, 1] for a, b in lids], axis=0)
    far = np.abs(points - np.median(points, axis=0)).mean((1, 2))
    score = gap / (gap.std() + 1e-6) - np.minimum(eyes - np.median(eyes), 0) / (eyes.std() + 1e-6)
    score += far / (far.std() + 1e-6)
    return np.asarray(np.argsort(score)[: max(1, len(points) // 5)])


def _explained(change: Array, components: int = 24, ridge: float = 1e-2) -> Array:
    """The part of depth's change that the change in x and y explains, `T K`.

    Ridge regression on the principal components of the visible change: a pucker or an opening jaw comes with depth,
    tracker noise does not.
    """
    seen = change[..., :2].reshape(len(change), -1)
    depth = change[..., 2]
    middle, offset = seen.mean(0), depth.mean(0)
    count = min(components, max(1, len(seen) // 10))
    covariance = (seen - middle).T @ (seen - middle)
    _, vectors = np.linalg.eigh(covariance)
    basis = vectors[:, -count:]
    scores = (seen - middle) @ basis
    gram = scores.T @ scores
    gram += ridge * np.trace(gram) / count * np.eye(count)
    return np.asarray(scores @ np.linalg.solve(gram, scores.T @ (depth - offset)) + offset)


def _denoise(points: Array, cuts: tuple[int, ...]) -> Array:
    """Savitzky-Golay smoothing (5 frames, cubic) within each shot, held back where it would do more than remove noise.

    A blink or a closure changes by far more than a point's usual noise, so its height is kept.
    """
    out = points.copy()
    for start, end in pairwise((0, *cuts, len(points))):
        if end - start >= 5:
            change = savgol_filter(points[start:end], 5, 3, axis=0) - points[start:end]
            size = np.linalg.norm(change, axis=-1, keepdims=True)
            usual = 2.5 * np.median(size, axis=0) + 1e-9
            out[start:end] += change / (1.0 + (size / usual) ** 2)
    return out
