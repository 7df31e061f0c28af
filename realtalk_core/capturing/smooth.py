"""Smoothing of the solved poses: as much as the pictures do not mind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded
from scipy.spatial.transform import Rotation

from realtalk_core.capturing.solve import Rigid, Solution, reprojection

Array = NDArray[np.float64]

BUDGET = 0.05
"""How much the robust reprojection error may grow, in pixels of a 512-pixel crop."""
TOLERANCE = 0.005
"""How much worse than the best a weight may foretell, relatively: the minimum is flat, and smoother is better."""
LEVER_CM = 8.0
"""Distance from the head's centre at which turning and moving count alike."""


@dataclass(frozen=True)
class Smoothed:
    """Smoothed poses and what they cost.

    Attributes:
        head: Poses of all frames.
        strength: Weight of the squared third differences.
        error: Reprojection rms before and after, px, over valid frames (no point counts beyond 4 sigma).
        median: Median reprojection error after, px.
    """

    head: Rigid
    strength: float
    error: tuple[float, float]
    median: float


def smooth(
    solution: Solution, image: Array, valid: NDArray[np.bool_], cuts: tuple[int, ...], budget: float
) -> Smoothed:
    """Least-squares smoothing of the third differences of pose, each frame weighted by its own information.

    The weight is the largest under which the neighbours foretell a frame left out as well as they can (within
    `TOLERANCE`), and whose cost stays within `budget` pixels: a frame's own tracking error cannot be foretold, real
    motion can. Frames without a face follow their neighbours. Cuts are not smoothed over.
    """
    middle = solution.shape.mean(0)
    base = Rotation.from_matrix(solution.head.rotation[valid]).mean()
    turn = (Rotation.from_matrix(solution.head.rotation) * base.inv()).as_rotvec()
    place = np.einsum("tij,j->ti", solution.head.rotation, middle) + solution.head.translation
    track = fill(np.concatenate([turn, place], axis=1), valid)
    weight = solution.information.copy()
    usual = np.median(np.einsum("tii->ti", weight[valid]), axis=0)
    weight[~valid] = np.diag(1e-3 * usual)
    weight += np.diag(1e-4 * usual)  # no frame is free to go anywhere, however ill seen

    def poses(track: Array) -> Rigid:
        rotation = (Rotation.from_rotvec(track[:, :3]) * base).as_matrix()
        return Rigid(rotation, track[:, 3:] - np.einsum("tij,j->ti", rotation, middle))

    def error(head: Rigid) -> tuple[float, float]:
        part = Rigid(head.rotation[valid], head.translation[valid])
        pixels = reprojection(image[valid], part, solution.shape, solution.focal, solution.centre)
        bounded = np.minimum(pixels, 4 * solution.sigma)  # left out, far points would make a poor fit look good
        return float(np.sqrt((bounded**2).mean())), float(np.median(pixels))

    before, median = error(poses(track))
    best = Smoothed(poses(track), 0.0, (before, before), median)
    if int(valid.sum()) < 5:
        return best
    unit = float(np.median(np.trace(solution.information[valid][:, 3:, 3:], axis1=1, axis2=2))) / 3
    foretold: list[tuple[float, float]] = []
    for power in np.arange(-6.0, 4.01, 0.25):
        strength = unit * 10**power
        try:
            head = poses(_least_squares(track, weight, strength, cuts))
            blind = poses(_left_out(track, weight, valid, strength, cuts))
        except np.linalg.LinAlgError:  # too strong for double precision
            break
        after, median = error(head)
        if after - before > budget:
            break
        foretold.append((error(blind)[0], strength))
        if foretold[-1][0] <= (1 + TOLERANCE) * min(foretold)[0]:
            best = Smoothed(head, strength, (before, after), median)
    return best


def _left_out(track: Array, weight: Array, valid: NDArray[np.bool_], strength: float, cuts: tuple[int, ...]) -> Array:
    """Each frame's pose as its neighbours foretell it: smoothing with every fourth frame left out, four times."""
    out = track.copy()
    for fold in range(4):
        left = (np.arange(len(track)) % 4 == fold) & valid
        partial = weight.copy()
        partial[left] = 1e-4 * strength * np.diag([LEVER_CM**2] * 3 + [1.0] * 3)  # next to nothing beside the penalty
        out[left] = _least_squares(track, partial, strength, cuts)[left]
    return out


def fill(track: Array, valid: NDArray[np.bool_]) -> Array:
    """Rows that are not valid by linear interpolation between their neighbours; held at the ends."""
    at = np.flatnonzero(valid)
    flat = track.reshape(len(track), -1)
    filled = np.stack([np.interp(np.arange(len(flat)), at, flat[at, k]) for k in range(flat.shape[1])], axis=1)
    filled[at] = flat[at]
    return np.asarray(filled.reshape(track.shape))


def _least_squares(track: Array, weight: Array, strength: float, cuts: tuple[int, ...]) -> Array:
    """Minimises the information-weighted distance to `track` plus `strength` times its squared third differences."""
    frames, taps = len(track), np.array([1.0, -3.0, 3.0, -1.0])
    order = len(taps) - 1
    scale = strength * np.array([LEVER_CM**2] * 3 + [1.0] * 3)
    inner = np.ones(max(0, frames - order))  # difference k is over frames k … k + order
    for cut in cuts:
        inner[max(0, cut - order) : cut] = 0.0
    smoothness = np.zeros((order + 1, frames))  # diagonals of the sum of each difference's outer product
    for d in range(order + 1):
        for i in range(order + 1 - d):
            smoothness[d, i : i + len(inner)] += taps[i] * taps[i + d] * inner
    banded = np.zeros((6 * order + 1, 6 * frames))  # lower form: row d holds the d-th diagonal below the main one
    for i in range(6):
        for j in range(i + 1):
            banded[i - j, j::6] += weight[:, i, j]
        for d in range(order + 1):
            banded[6 * d, i::6] += scale[i] * smoothness[d]
    right = np.einsum("tij,tj->ti", weight, track).reshape(-1)
    return np.asarray(solveh_banded(banded, right, lower=True).reshape(frames, 6))


def jitter(head: Rigid, valid: NDArray[np.bool_], cuts: tuple[int, ...]) -> tuple[float, float]:
    """Rms third difference of pose over frames seen in a row: degrees, and centimetres of the head's origin."""
    base = Rotation.from_matrix(head.rotation[0]).inv()
    turn = np.degrees((Rotation.from_matrix(head.rotation) * base).as_rotvec())
    count = max(0, len(valid) - 3)
    whole = np.array([bool(valid[k : k + 4].all()) for k in range(count)], bool)
    for cut in cuts:
        whole[max(0, cut - 3) : cut] = False
    if not whole.any():
        return 0.0, 0.0
    values = [np.diff(x, n=3, axis=0)[whole] for x in (turn, head.translation)]
    return tuple(float(np.sqrt((v**2).sum(1).mean())) for v in values)  # type: ignore[return-value]
