"""One square box around the head for the whole clip, and cutting it out of each picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from realtalk_core.video import Picture

SIDE_IN_FACES = 1.9
"""Side of the box in face heights (chin to hairline): head, hair, and the shoulders' beginning."""
ABOVE_IN_FACES = 0.5
"""Room above the hairline, in face heights."""
LEAST_SIDE_IN_FACES = 1.25
"""A tighter box than wanted is preferred to leaving the picture, down to this."""
SNAP = 0.15
"""A box this near to the picture's shorter side, relatively, becomes that side."""


@dataclass(frozen=True, slots=True)
class Box:
    """A square in source pixels; it may leave the picture, which is then continued by its edge.

    Attributes:
        left: x of the left side.
        top: y of the upper side.
        side: Length of a side.
        width: The picture's width.
        height: The picture's height.
    """

    left: int
    top: int
    side: int
    width: int
    height: int

    @property
    def outside(self) -> float:
        """Share of the box's area that lies outside the picture."""
        inner_x = max(0, min(self.left + self.side, self.width) - max(self.left, 0))
        inner_y = max(0, min(self.top + self.side, self.height) - max(self.top, 0))
        return 1.0 - inner_x * inner_y / self.side**2

    def points(self, points: NDArray[np.float32], size: int) -> NDArray[np.float32]:
        """Points `... 3` (x, y, depth on the scale of x) of the picture in pixels of the crop."""
        shift = np.array([self.left, self.top, 0.0], np.float32)
        return ((points - shift) * np.float32(size / self.side)).astype(np.float32)

    def crop(self, picture: Picture, size: int) -> Picture:
        """The box's content, `size` x `size`; outside the picture its edge pixels are repeated."""
        top, left = max(self.top, 0), max(self.left, 0)
        bottom, right = min(self.top + self.side, self.height), min(self.left + self.side, self.width)
        inner = picture[top:bottom, left:right]
        if inner.shape[:2] != (self.side, self.side):
            inner = cv2.copyMakeBorder(
                inner, top - self.top, self.top + self.side - bottom, left - self.left, self.left + self.side - right,
                cv2.BORDER_REPLICATE,
            )  # fmt: skip
        if self.side != size:
            shrink = size < self.side
            inner = cv2.resize(inner, (size, size), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC)
        return np.ascontiguousarray(inner, np.uint8)


def choose_box(extents: NDArray[np.float64], width: int, height: int) -> Box:
    """The box of a clip.

    Robust over frames: the face may leave it in the few frames that lie outside the 2nd to 98th percentile.

    Args:
        extents: `T 4` left, top, right, bottom of the face outline (hairline to chin) in each frame that has one.
        width: The picture's width.
        height: The picture's height.
    """
    face = float(np.median(extents[:, 3] - extents[:, 1]))
    left, top = np.percentile(extents[:, :2], 2, axis=0)
    right, bottom = np.percentile(extents[:, 2:], 98, axis=0)
    moved = max((right - left) - float(np.median(extents[:, 2] - extents[:, 0])), (bottom - top) - face)
    side = SIDE_IN_FACES * face + moved
    shorter = min(width, height)
    if abs(side - shorter) < SNAP * shorter or shorter < side <= shorter * SIDE_IN_FACES / LEAST_SIDE_IN_FACES:
        side = shorter
    side_px = 2 * round(side / 2)
    x = round((left + right) / 2 - side_px / 2)
    y = round(top - ABOVE_IN_FACES * face)
    # inside the picture where there is room for it
    x = min(max(x, 0), width - side_px) if side_px <= width else round((width - side_px) / 2)
    y = min(max(y, 0), height - side_px) if side_px <= height else round((height - side_px) / 2)
    return Box(x, y, side_px, width, height)
