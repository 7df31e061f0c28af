"""Putting a rendered head over the person's own pictures so that neither the old chin nor an edge shows.

The replayed frame has the head in the same pose as the rendered one, so hair, ears and torso are best left as they
were filmed; only the face and what lies just below it is replaced ("portrait", reference notes §1.7). There, under the
rendered head, the filmed head is first taken away: torso and neck are continued smoothly upward into its place, and
the background plate shows where neither reaches. So a jaw that is now higher uncovers neck, never the old chin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from realtalk_core.landmarks import FACE_OVAL

Array = NDArray[np.float32]
Points = NDArray[np.floating[Any]]

FILL_SIDE = 160
"""Side at which the fill is made; it is smooth, and hidden but for a few pixels."""


@dataclass(frozen=True)
class Backdrop:
    """What stands behind the person.

    Attributes:
        picture: `S S 3` in [0, 1].
        replaced: True if it takes the place of the filmed background, False if the film shows it already.
    """

    picture: Array
    replaced: bool = False


def composite(
    rgb: Array, alpha: Array, frame: Array, person: Array, head: Array, face: Array, backdrop: Backdrop
) -> Array:
    """One finished picture; all arguments `S S …` float32 in [0, 1].

    Args:
        rgb: `S S 3`, the rendered head, not premultiplied.
        alpha: `S S 1`, what it covers.
        frame: `S S 3`, the filmed picture with the head in this pose.
        person: `S S 1`, the filmed person's matte.
        head: `S S 1`, the filmed head's matte.
        face: `S S 1`, where the rendered head is used (see `face_region`).
        backdrop: What stands behind.

    Returns:
        `S S 3`.
    """
    plate = backdrop.picture
    colour, cover = behind_head(frame, person, head)
    under = colour + (1 - cover) * plate
    replaced = rgb * alpha + under * (1 - alpha)
    if backdrop.replaced:
        frame = decontaminated(frame, person) * person + plate * (1 - person)
    return frame + (replaced - frame) * face


def behind_head(frame: Array, person: Array, head: Array) -> tuple[Array, Array]:
    """The torso alone, continued into the place of the head.

    Returns:
        `S S 3` premultiplied colour, and `S S 1` alpha.
    """
    side = frame.shape[0]
    radius = max(2, round(side * 0.014))
    gone = _grown(head[..., 0], radius)
    known = np.clip(1 - 1.6 * gone, 0, 1)[..., None]
    torso = person * known
    layer, small = np.concatenate([frame * torso, torso], -1), min(side, FILL_SIDE)
    filled = pull_push(*(resized(x, (small, small), cv2.INTER_AREA) for x in (layer, known)))
    out = layer + (1 - known) * resized(filled, (side, side), cv2.INTER_CUBIC)
    cover = np.clip(out[..., 3:], 0, 1)
    return np.clip(out[..., :3], 0, cover), cover


def pull_push(values: Array, weight: Array) -> Array:
    """Smooth continuation of weighted values into what is unknown (pull-push, Gortler et al. 1996).

    Linear in the values, so it does not flicker where they do not.

    Args:
        values: `H W C`, already multiplied by `weight`.
        weight: `H W 1` in [0, 1], how far each value is known.

    Returns:
        `H W C`, the values themselves where the weight is 1.
    """
    if min(values.shape[:2]) <= 1:
        return np.asarray(values / np.maximum(weight, 1e-6))
    height, width = values.shape[:2]
    half = ((width + 1) // 2, (height + 1) // 2)
    coarse_values, coarse_weight = (resized(x, half, cv2.INTER_AREA) for x in (values, weight))
    # Saturating lets a pixel count fully as soon as a good part of it is known, so that nearest neighbours win.
    gain = np.minimum(1 / np.maximum(coarse_weight, 1e-6), 4.0)
    coarse = pull_push(coarse_values * gain, np.minimum(coarse_weight * gain, 1.0))
    up = resized(coarse, (width, height), cv2.INTER_LINEAR)
    return np.asarray(values + (1 - weight) * up, np.float32)


def decontaminated(frame: Array, person: Array) -> Array:
    """The person's own colour where the matte is soft: taken from further inside, so that no old background glows."""
    solid = np.clip((person - 0.9) * 10, 0, 1)
    side = frame.shape[0]
    half = (side // 2, side // 2)
    inside = pull_push(*(resized(x, half, cv2.INTER_AREA) for x in (frame * solid, solid)))
    inside = resized(inside, (side, side), cv2.INTER_LINEAR)
    return frame * solid + inside * (1 - solid)


def face_region(drawn: Points, filmed: Points, side: int) -> Array:
    """Where the rendered head replaces the filmed one: both faces' ovals with what lies just below, soft-edged.

    Args:
        drawn: `K 2` pixels, the landmarks that are rendered.
        filmed: `K 2` pixels, the landmarks of the filmed frame.
        side: Side of the picture.

    Returns:
        `side side 1` in [0, 1].
    """
    outline = list(FACE_OVAL) if len(drawn) == 478 else [*range(17), *range(26, 16, -1)]
    mask = np.zeros((side, side), np.uint8)
    tall = float(np.ptp(filmed[:, 1]))
    down = np.array([0.0, 0.07 * tall])
    for points in (drawn[outline], filmed[outline]):
        for shift in (0.0, 1.0):
            hull = cv2.convexHull((points + shift * down * _lower(points)).astype(np.float32))
            cv2.fillConvexPoly(mask, np.rint(hull).astype(np.int32), 255, cv2.LINE_AA)
    sigma = max(1.0, 0.02 * tall)
    soft = cv2.GaussianBlur(_grown(mask.astype(np.float32) / 255, round(sigma)), (0, 0), sigma)
    return np.asarray(soft, np.float32)[..., None]


def resized(layer: Array, size: tuple[int, int], how: int) -> Array:
    """`H W C` at another width and height; keeps a single channel's axis."""
    if layer.shape[1::-1] == size:
        return layer
    out = np.asarray(cv2.resize(layer, size, interpolation=how), np.float32)
    return out[..., None] if out.ndim == 2 else out


def _lower(points: Points) -> Points:
    """1 for the lowest points, 0 for those above the middle: only the jaw's side of the region reaches down."""
    low, high = points[:, 1].min(), points[:, 1].max()
    return np.clip(2 * (points[:, 1:] - low) / max(high - low, 1e-6) - 1, 0, 1)


def _grown(mask: Array, radius: int) -> Array:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.dilate(mask, kernel), np.float32)
