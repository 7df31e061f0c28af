"""Telling a person's own colour from the background that shines through soft edges, given a clean background plate.

Segmentation networks draw their outline a pixel or two off, at a quarter of the picture's area. Where the background is
known and differs from the person, the picture itself says more: near an outline each pixel lies on the line between the
background's colour and the colour further inside, and its place on that line is its opacity.
"""

from __future__ import annotations

import cv2
import numpy as np

from realtalk_core.compositing import Array, pull_push

BAND = 0.014
"""How far inside its outline a matte is believed to be opaque, as a share of the picture's side."""
MARGIN = 0.1
"""Opacities this near to 0 or 1 count as such: colours within hair differ too."""
CONTRAST = (0.17, 0.3)
"""Distance in RGB between person and background from which on their mixture begins to tell, and tells fully."""


def unmix(frame: Array, plate: Array, person: Array) -> tuple[Array, Array]:
    """A person without the background.

    Args:
        frame: `S S 3` in [0, 1], the filmed picture.
        plate: `S S 3`, the background alone.
        person: `S S 1`, a matte that may lie off by `BAND`.

    Returns:
        `S S 3`, the person's colour, not premultiplied; `S S 1`, the matte, sharpened where person and background
        differ in colour and as it was elsewhere.
    """
    radius = max(2, round(frame.shape[0] * BAND))
    solid = np.clip(10 * _shrunk(person[..., 0], radius) - 9, 0, 1)[..., None]
    inner = pull_push(frame * solid, solid)
    apart = inner - plate
    contrast = np.square(apart).sum(-1, keepdims=True)
    place = ((frame - plate) * apart).sum(-1, keepdims=True) / np.maximum(contrast, 1e-6)
    place = np.clip((1 + 2 * MARGIN) * place - MARGIN, 0, 1)
    # Never beyond the outline by more than the band: the plate may be wrong, and other things may move there.
    reach = cv2.dilate(person[..., 0], _disc(radius))[..., None]
    low, high = CONTRAST
    told = np.clip((np.sqrt(contrast) - low) / (high - low), 0, 1) * (1 - solid)
    alpha = person + (np.minimum(place, reach) - person) * told
    mixed = np.clip((frame - (1 - alpha) * plate) / np.maximum(alpha, 1e-3), 0, 1)
    colour = inner + alpha * (mixed - inner)
    return np.asarray(colour, np.float32), np.asarray(alpha, np.float32)


def _shrunk(mask: Array, radius: int) -> Array:
    return np.asarray(cv2.erode(mask, _disc(radius)), np.float32)


def _disc(radius: int) -> Array:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)))
