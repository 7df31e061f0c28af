"""From a coarse person mask to a clean edge.

Where the background plate is known, a pixel near the edge is a mixture of the person's colour nearby and the plate's
at that very place, which gives its alpha directly; elsewhere the mask is fitted to the picture by a guided filter.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from realtalk_core.capturing.plate import Plate
from realtalk_core.video import Picture

Alpha = NDArray[np.float32]

BAND = 0.035
"""Half width of the strip around the coarse edge in which alpha is worked out anew, in picture sides."""
CONTRAST = (0.05, 0.12)
"""Colour distance between person and plate below which the plate says nothing, and above which it decides."""


def keep_person(alpha: Alpha, points: NDArray[np.float32] | None) -> Alpha:
    """Drops parts of a coarse mask that do not hang together with the face (other people, false finds)."""
    small = cv2.resize(alpha, (128, 128), interpolation=cv2.INTER_AREA)
    count, labels = cv2.connectedComponents((small > 0.3).astype(np.uint8))
    if count <= 2 or points is None:
        return alpha
    x, y = np.clip((points[:, :2].mean(0) * 128 / alpha.shape[0]).astype(int), 0, 127)
    if labels[y, x] == 0:
        return alpha
    keep = cv2.dilate((labels == labels[y, x]).astype(np.float32), np.ones((3, 3)))
    return np.asarray(alpha * cv2.resize(keep, alpha.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def refine(alpha: Alpha, picture: Picture, plate: Plate | None) -> Alpha:
    """The clean mask.

    Args:
        alpha: `H W` coarse mask in [0, 1].
        picture: `H W 3`.
        plate: The background; None while it is not known yet.
    """
    side = picture.shape[0]
    guide = picture.astype(np.float32) * np.float32(1 / 255)
    fine = cv2.ximgproc.guidedFilter(guide, alpha, max(2, side // 64), 1e-4)
    fine = np.asarray(np.clip((fine - 0.1) / 0.8, 0.0, 1.0), np.float32)
    if plate is None:
        return fine
    inside, band = _band(alpha)
    at = np.flatnonzero(band)
    colour, behind = guide.reshape(-1, 3)[at], plate.colour.reshape(-1, 3)[at]
    person = _nearby(guide, inside, side).reshape(-1, 3)[at]
    guided = fine.reshape(-1)[at]
    apart, beyond = person - behind, colour - behind
    square = (apart * apart).sum(-1)
    mixed = (beyond * apart).sum(-1) / np.maximum(square, 1e-4)
    contrast = np.sqrt(square)
    trust = np.clip((contrast - CONTRAST[0]) / (CONTRAST[1] - CONTRAST[0]), 0.0, 1.0)
    trust *= np.clip((contrast - 2 * plate.spread.reshape(-1)[at]) / 0.1, 0.0, 1.0)
    # a person's colours vary (an ear beside hair): what is clearly not background belongs to the person
    differs = np.sqrt((beyond * beyond).sum(-1))
    mixed = np.clip((np.maximum(mixed, differs / 0.35 * (guided > 0.5)) - 0.08) / 0.84, 0.0, 1.0)
    out = (alpha > 0.5).astype(np.float32)
    out.reshape(-1)[at] = guided + trust * (mixed - guided)
    return out


def _band(alpha: Alpha) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """What is surely inside, at a quarter of the size, and the strip around the edge at full size."""
    small_side = max(32, alpha.shape[0] // 4)
    small = (cv2.resize(alpha, (small_side, small_side), interpolation=cv2.INTER_AREA) > 0.5).astype(np.uint8)
    reach = max(1, round(BAND * small_side))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    inside = cv2.erode(small, kernel, borderType=cv2.BORDER_REPLICATE)
    band = cv2.dilate(small, kernel) - inside
    full = cv2.resize(band, alpha.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(inside, np.uint8), np.asarray(full > 0)


def _nearby(guide: NDArray[np.float32], inside: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """The person's colour nearest to each pixel: normalised blurs of the inside, from wide to narrow."""
    small_side = inside.shape[0]
    weight = inside.astype(np.float32)
    colour = cv2.resize(guide, (small_side, small_side), interpolation=cv2.INTER_AREA) * weight[..., None]
    out = np.zeros_like(colour)
    for sigma in (16.0, 6.0, 3.0):
        near = cv2.GaussianBlur(weight, (0, 0), sigma * small_side / 128)
        value = cv2.GaussianBlur(colour, (0, 0), sigma * small_side / 128) / np.maximum(near, 1e-4)[..., None]
        trust = np.clip(near / 0.05, 0.0, 1.0)[..., None]
        out = out + trust * (value - out)
    return np.asarray(cv2.resize(out, (side, side), interpolation=cv2.INTER_LINEAR), np.float32)
