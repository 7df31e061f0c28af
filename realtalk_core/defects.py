"""Floaters and holes of a rendered head: what in its opacity cannot be a head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SEEN = 0.1
"""Opacity from which something counts as drawn."""
SOLID = 0.5
COVERED = 0.9
"""Opacity that all of a face must have."""
LEAST_SHARE = 2e-5
"""Share of the picture from which a defect counts: one pixel of 256²."""


@dataclass(frozen=True, slots=True)
class Defects:
    """What is wrong with one picture.

    Attributes:
        floaters: Pieces that hang beside the head.
        floating: Their pixels.
        holes: Pieces enclosed by the head that are less than half covered.
        open: Their pixels.
        thin: Pixels of the face that let through more than a tenth.
        marks: `H W`: 1 floater, 2 hole, 3 thin, 0 none.
    """

    floaters: int
    floating: int
    holes: int
    open: int
    thin: int
    marks: NDArray[np.uint8]

    @property
    def score(self) -> int:
        """Pixels that are wrong."""
        return self.floating + self.open + self.thin


def find_defects(alpha: NDArray[Any], face: NDArray[Any]) -> Defects:
    """Looks for floaters and holes.

    Args:
        alpha: `H W` opacity in [0, 1].
        face: `K 2` landmarks in pixels; within their convex hull, a pixel's margin taken off, a head must be opaque.
    """
    marks = np.zeros(alpha.shape, np.uint8)
    least = max(1, round(LEAST_SHARE * alpha.size))
    inside = np.zeros(alpha.shape, np.uint8)
    cv2.fillConvexPoly(inside, cv2.convexHull(np.round(face - 0.5).astype(np.int32)), 1)
    margin = max(1, round(alpha.shape[0] / 128))
    inside = cv2.erode(inside, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
    thin = (inside > 0) & (alpha < COVERED)
    marks[thin] = 3
    pieces, sizes = _pieces(alpha > SEEN)
    head = 1 + int(np.argmax(sizes)) if len(sizes) else 0
    floating = [k for k, size in enumerate(sizes, 1) if k != head and size >= least]
    solid = ((alpha > SOLID) & (pieces == head)).astype(np.uint8)
    outlines, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(alpha.shape, np.uint8)
    cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED)
    gaps, gap_sizes = _pieces((filled > 0) & (alpha <= SOLID))
    holes = [k for k, size in enumerate(gap_sizes, 1) if size >= least]
    marks[np.isin(gaps, holes)] = 2
    marks[np.isin(pieces, floating)] = 1
    return Defects(
        len(floating), int((marks == 1).sum()), len(holes), int(np.isin(gaps, holes).sum()), int(thin.sum()), marks
    )


def _pieces(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], list[int]]:
    """Connected pieces, numbered from 1, and their sizes."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return np.asarray(labels, np.int32), [int(row[cv2.CC_STAT_AREA]) for row in stats[1:]]
