"""Masks of one frame: person, head, and the part each pixel belongs to."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from realtalk_core.capture import PARTS
from realtalk_core.landmarks import (
    FACE_OVAL,
    LEFT_BROW,
    LEFT_EYE,
    LIPS_INNER,
    LIPS_OUTER,
    RIGHT_BROW,
    RIGHT_EYE,
)

Mask = NDArray[np.uint8]
NOSE: tuple[int, ...] = (168, 193, 245, 188, 174, 217, 126, 142, 129, 98, 97, 2, 326, 327, 358, 371, 355, 437, 399, 412,
                         465, 417)  # fmt: skip
JAW: tuple[int, ...] = (
    234,
    93,
    132,
    58,
    172,
    136,
    150,
    149,
    176,
    148,
    152,
    377,
    400,
    378,
    379,
    365,
    397,
    288,
    361,
    323,
    454,
)
"""From ear to ear along the chin."""
_SUBPIXEL = 4


def _fill(canvas: Mask, points: NDArray[np.float32], value: int) -> None:
    cv2.fillPoly(canvas, [(points * 2**_SUBPIXEL).round().astype(np.int32)], value, shift=_SUBPIXEL)


def frame_masks(
    person: NDArray[np.float32], points: NDArray[np.float32], hair: NDArray[np.float32] | None = None
) -> Mask:
    """The three channels of a frame's mask file.

    Args:
        person: `H W` soft person mask.
        points: `478 3` landmarks in pixels.
        hair: `H W` probability of hair by colour, if known; decides beside the neck.

    Returns:
        `H W 3`: person alpha, head alpha, part label (see `capture.PARTS`).
    """
    xy = points[:, :2].astype(np.float32)
    side = person.shape[0]
    face = np.zeros(person.shape, np.uint8)
    _fill(face, xy[list(FACE_OVAL)], 1)
    person = np.maximum(person, cv2.blur(face.astype(np.float32), (3, 3)))
    upper, beside = head_zones(xy, side)
    zone = upper if hair is None else np.maximum(upper, _hanging(upper, beside, person, hair))
    head = np.minimum(person, zone)
    labels = np.full(person.shape, PARTS["background"], np.uint8)
    labels[person > 0.5] = PARTS["torso"]
    labels[head > 0.5] = PARTS["hair_ears"]
    labels[face > 0] = PARTS["skin"]
    for name, outlines in (
        ("brows", (RIGHT_BROW, LEFT_BROW)), ("nose", (NOSE,)), ("eyes", (RIGHT_EYE, LEFT_EYE)), ("lips", (LIPS_OUTER,)),
        ("inside_mouth", (LIPS_INNER,)),
    ):  # fmt: skip
        for outline in outlines:
            _fill(labels, xy[list(outline)], PARTS[name])
    return np.dstack([(person * 255 + 0.5).astype(np.uint8), (head * 255 + 0.5).astype(np.uint8), labels])


def _hanging(
    upper: NDArray[np.float32], beside: NDArray[np.float32], person: NDArray[np.float32], hair: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Hair beside the neck that hangs together with the hair above, soft `H W`."""
    small_side = max(32, upper.shape[0] // 4)

    def shrink(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.resize(values, (small_side, small_side), interpolation=cv2.INTER_AREA))

    likely = shrink(hair * person)
    candidate = ((likely > 0.6) & (shrink(np.maximum(upper, beside)) > 0.5)).astype(np.uint8)
    candidate = cv2.morphologyEx(candidate, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    # strands are parted by a few pixels of skin or light in some frames, and must not come and go
    _, labels = cv2.connectedComponents(cv2.morphologyEx(candidate, cv2.MORPH_CLOSE, np.ones((11, 11), np.uint8)))
    labels = labels * candidate
    rooted = np.unique(labels[(shrink(upper) > 0.5) & (candidate > 0)])
    keep = np.isin(labels, rooted[rooted > 0]).astype(np.float32)
    keep = cv2.dilate(keep, np.ones((3, 3)))
    full = cv2.resize(keep, upper.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(full * beside * np.clip(2 * hair - 0.5, 0.0, 1.0), np.float32)


def head_zones(xy: NDArray[np.float32], side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where the head can be.

    Returns:
        `H W` soft zone above the jaw line, prolonged sideways from below the ears; and the zone beside the neck, from
        there down to a little below the chin, where only hair belongs to the head (lower, hair moves with the body).
    """
    down = xy[152] - xy[10]
    tall = max(float(np.linalg.norm(down)), 1e-6)
    down = down / tall
    across = np.array([down[1], -down[0]], np.float32)
    far = 4.0 * side
    jaw = xy[list(JAW)]
    first, last = 3, len(JAW) - 4  # below the ear lobes
    top = [jaw[last] + far * across, jaw[last] + far * (across - down), jaw[first] - far * (across + down),
           jaw[first] - far * across]  # fmt: skip
    upper = np.zeros((side, side), np.uint8)
    _fill(upper, np.stack([*top, *jaw[first : last + 1]]), 255)
    beside = np.zeros((side, side), np.uint8)
    low = xy[152] + 0.1 * tall * down
    reach = 0.45 * tall
    for corner, sign in ((jaw[first], -1.0), (jaw[last], 1.0)):
        depth = float((low - corner) @ down)
        outer = corner + sign * reach * across
        inner = corner + depth * down - sign * 0.15 * tall * across
        quad = [corner - 0.02 * tall * down, outer, outer + depth * down, inner]
        _fill(beside, np.stack(quad).astype(np.float32), 255)
    soft = [cv2.GaussianBlur(z, (0, 0), side / 400).astype(np.float32) / 255.0 for z in (upper, beside)]
    return soft[0], soft[1]
