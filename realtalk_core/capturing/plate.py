"""The background plate: what lies behind the person, from the moments each pixel was uncovered."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from realtalk_core.video import Picture

MARGIN = 0.012
"""The person mask is widened by this share of the picture's side before a pixel counts as background."""
OFTEN = 0.3
"""A pixel uncovered in this share of the frames is believed as it is; one seen less often, less."""
LEAST_SEEN = 3
"""A pixel is known if it was uncovered in at least this many of the surveyed frames."""


@dataclass(frozen=True)
class Plate:
    """The background.

    Attributes:
        picture: `H W 3` RGB; inpainted where not known.
        known: `H W` pixels that were seen uncovered.
        spread: `H W` how far the colour wandered over the clip, in [0, 1]; where not known, how much the known
            background nearby varies from place to place, which inpainting cannot foresee.
    """

    picture: Picture
    known: NDArray[np.bool_]
    spread: NDArray[np.float32]

    @cached_property
    def colour(self) -> NDArray[np.float32]:
        """`picture` in [0, 1]."""
        return self.picture.astype(np.float32) / np.float32(255)

    @property
    def moves(self) -> bool:
        """Whether the background changes too much for a still plate (a moving camera, passers-by)."""
        return bool(self.known.any() and float(np.mean(self.spread[self.known] > 0.06)) > 0.25)


def make_plate(frames: list[Picture], people: list[NDArray[np.uint8]]) -> Plate:
    """The median colour of each pixel's uncovered moments, and smooth inpainting where there are none.

    Args:
        frames: Frames spread over the clip.
        people: Their person masks, 0-255.
    """
    side = frames[0].shape[0]
    reach = 2 * round(MARGIN * side) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    covered = np.stack([cv2.dilate(mask, kernel) > 20 for mask in people])
    seen = (~covered).sum(0)
    known = seen >= min(LEAST_SEEN, len(frames))
    picture = np.zeros((side, side, 3), np.uint8)
    spread = np.ones((side, side), np.float32)
    last = np.maximum(seen - 1, 0)
    for top in range(0, side, 64):  # strips bound the memory of sorting
        strip = np.s_[top : top + 64]
        stack = np.stack([frame[strip] for frame in frames])
        stack[covered[:, strip]] = 255  # sorts behind what was seen, which may be 255 itself
        stack.sort(axis=0)
        at = np.stack([last[strip] // 4, last[strip] // 2, last[strip] * 3 // 4])[..., None]
        low, middle, high = np.take_along_axis(stack, np.broadcast_to(at, (*at.shape[:3], 3)), axis=0)
        picture[strip] = middle
        spread[strip] = (high.astype(np.float32) - low).max(-1) / 255.0
    filled = inpaint(picture, known)
    # a pixel seen only now and then was seen beside a mask's edge, and may show the person
    rare = np.clip(1.0 - seen / (OFTEN * len(frames)), 0.0, 1.0).astype(np.float32)
    spread = np.where(known, np.maximum(spread, rare * _texture(picture, known)), _texture(picture, known))
    return Plate(filled, known, spread)


def inpaint(picture: Picture, known: NDArray[np.bool_]) -> Picture:
    """Continues the known colours smoothly: normalised convolution, from coarse to fine.

    A picture with nothing known becomes middle grey.
    """
    if known.all():
        return picture
    if not known.any():
        return np.full_like(picture, 128)
    weight = known.astype(np.float32)
    colour = picture.astype(np.float32) * weight[..., None]
    side = picture.shape[0]
    mean = colour.sum((0, 1)) / weight.sum()
    filled = np.broadcast_to(mean, picture.shape).astype(np.float32)
    for divisor in (4, 8, 16, 32, 64, 128):
        sigma = max(1.0, side / divisor)
        near = _blur(weight, sigma)
        value = _blur(colour, sigma) / np.maximum(near, 1e-6)[..., None]
        trust = np.clip(near / 0.25, 0.0, 1.0)[..., None]
        filled = filled + trust * (value - filled)
    filled[known] = picture[known]
    return np.asarray(np.clip(filled + 0.5, 0, 255), np.uint8)


def _texture(picture: Picture, known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Standard deviation of the known colours around each place, `H W` in [0, 1]; 1 where nothing is known."""
    if not known.any():
        return np.ones(known.shape, np.float32)
    weight = known.astype(np.float32)
    colour = np.asarray(picture.astype(np.float32) / 255 * weight[..., None], np.float32)
    sigma = picture.shape[0] / 12
    near = np.maximum(_blur(weight, sigma), 1e-6)[..., None]
    mean = _blur(colour, sigma) / near
    square = _blur(np.square(colour), sigma) / near - np.square(mean)
    return np.asarray(np.sqrt(np.maximum(square, 0).sum(-1)), np.float32)


def _blur(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Gaussian blur; wide ones on a smaller picture."""
    shrink = max(1, int(sigma // 4))
    small = cv2.resize(values, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(small, (0, 0), sigma / shrink, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(soft, values.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)
