"""Poses, landmarks and camera of a whole clip, for either landmark scheme."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from realtalk_core.capturing.canonical import RIGID68, RIGID478, canonical_face
from realtalk_core.capturing.expression import head_landmarks, project
from realtalk_core.capturing.smooth import BUDGET, Smoothed, jitter, smooth
from realtalk_core.capturing.solve import solve
from realtalk_core.landmarks import IBUG68_FROM_MEDIAPIPE478

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Posed:
    """A clip's geometry.

    Attributes:
        pose: `T 4 4` camera-to-head.
        intrinsics: `3 3`.
        landmarks: `T K 3` head space, cm.
        neutral: `K 3`.
        outline: `T 478 3` pixels, for the masks; for 68 points the canonical face bent onto them.
        smoothed: What smoothing did.
        jitter: Degrees and cm, smoothed.
        raw_jitter: The same before smoothing.
        focal: Pixels.
    """

    pose: Array
    intrinsics: Array
    landmarks: Array
    neutral: Array
    outline: NDArray[np.float32]
    smoothed: Smoothed
    jitter: tuple[float, float]
    raw_jitter: tuple[float, float]
    focal: float


def pose_head(image: Array, valid: NDArray[np.bool_], centre: Array, cuts: tuple[int, ...], size: int) -> Posed:
    """Solves a clip.

    Args:
        image: `T K 3` landmarks in crop pixels, K 478 or 68; rows that are not valid are filled in.
        valid: `T`.
        centre: Principal point in crop pixels.
        cuts: Frames at which a new shot begins.
        size: Side of the crop in pixels.
    """
    dense = image.shape[1] == 478
    face = canonical_face()
    canonical = face if dense else face[list(IBUG68_FROM_MEDIAPIPE478)]
    rigid = np.array(RIGID478 if dense else RIGID68)
    solution = solve(image[:, rigid, :2], valid, canonical[rigid], centre)
    smoothed = smooth(solution, image[:, rigid, :2], valid, cuts, BUDGET * size / 512)
    pose = np.tile(np.eye(4), (len(image), 1, 1))
    pose[:, :3, :3] = smoothed.head.rotation.transpose(0, 2, 1)
    pose[:, :3, 3] = -np.einsum("tji,tj->ti", smoothed.head.rotation, smoothed.head.translation)
    intrinsics = np.array([[solution.focal, 0, centre[0]], [0, solution.focal, centre[1]], [0, 0, 1]])
    landmarks, neutral = head_landmarks(image, pose, intrinsics, valid, rigid, solution.shape, canonical, cuts)
    outline = image if dense else _bend(face, landmarks, pose, intrinsics)
    return Posed(
        pose, intrinsics, landmarks, neutral, outline.astype(np.float32), smoothed,
        jitter(smoothed.head, valid, cuts), jitter(solution.head, valid, cuts), solution.focal,
    )  # fmt: skip


def _bend(face: Array, landmarks: Array, pose: Array, intrinsics: Array) -> Array:
    """The canonical face bent so that its 68 points meet the tracked ones, projected: `T 478 3`."""
    known = face[list(IBUG68_FROM_MEDIAPIPE478)]
    out = np.empty((len(landmarks), 478, 3))
    moved = (landmarks - known).transpose(1, 0, 2).reshape(68, -1)
    bent = RBFInterpolator(known, moved, kernel="linear", smoothing=1e-6)(face).reshape(478, len(landmarks), 3)
    points = face + bent.transpose(1, 0, 2)
    for t in range(len(landmarks)):
        pixels, depth = project(points[t], pose[t : t + 1], intrinsics)
        out[t] = np.concatenate([pixels[0], depth[0, :, None]], axis=-1)
    return out
