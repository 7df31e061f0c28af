"""Putting a rendered head over the person's own pictures so that neither the old chin nor an edge shows.

The replayed frame has the head in the same pose as the rendered one, so hair, ears and torso are best left as they
were filmed; only the face and what lies just below it is replaced ("portrait", reference notes §1.7). There, under the
rendered head, the filmed head is first taken away: its face becomes a plain patch in the colour of the neck, and beyond
that the torso's outline is continued upward until the background plate shows. So a jaw that is now higher uncovers
neck, never the old chin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from realtalk_core.landmarks import FACE_OVAL

Array = NDArray[Any]
Points = NDArray[Any]
Box = tuple[slice, slice]
"""Rows and columns of a picture."""

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
    rgb: Array,
    alpha: Array,
    frame: Array,
    person: Array,
    head: Array,
    face: Array,
    skin: Array,
    backdrop: Backdrop,
    box: Box | None = None,
) -> Array:
    """One finished picture; all arguments `S S …` float32 in [0, 1].

    Args:
        rgb: `S S 3`, the rendered head, not premultiplied.
        alpha: `S S 1`, what it covers.
        frame: `S S 3`, the filmed picture with the head in this pose; where the background is replaced, the person's
            own colours (`realtalk_core.matting.unmix`).
        person: `S S 1`, the filmed person's matte.
        head: `S S 1`, the filmed head's matte.
        face: `S S 1`, where the rendered head is used (see `face_region`).
        skin: `S S 1`, the filmed face's own region.
        backdrop: What stands behind.
        box: The part to make; all of it if None. Where `face` is 0 the picture is `as_filmed`.

    Returns:
        `S S 3`, or the box of it.
    """
    here = whole(frame.shape[0]) if box is None else box
    colour, cover = behind_head(frame, person, head, skin, here)
    under = colour + _threefold(1 - cover) * backdrop.picture[here]
    opaque = _threefold(alpha[here])
    replaced = rgb[here] * opaque + under * (1 - opaque)
    filmed = as_filmed(frame[here], person[here], backdrop, here)
    return np.asarray(filmed + (replaced - filmed) * _threefold(face[here]), np.float32)


def as_filmed(frame: Array, person: Array, backdrop: Backdrop, box: Box) -> Array:
    """The box of a picture without anything rendered: the film, over another background where it is replaced."""
    if not backdrop.replaced:
        return frame
    covered = _threefold(person)
    return np.asarray(frame * covered + backdrop.picture[box] * (1 - covered))


def behind_head(frame: Array, person: Array, head: Array, skin: Array, box: Box | None = None) -> tuple[Array, Array]:
    """The person without a head: as `without_head`, and the face's place in the colour of the neck as well.

    What a renderer leaves open within a face is then skin and not background.

    Returns:
        `S S 3` premultiplied colour, and `S S 1` alpha; or the box of them.
    """
    side = frame.shape[0]
    here = whole(side) if box is None else box
    fill, hidden, torso, known = (layer[here] for layer in _continued(frame, person, head, skin))
    radius, sigma = max(2, round(side * 0.03)), max(1.0, side * 0.008)
    around, inner = _around(here, radius + _reach(sigma), side)
    inside = _shrunk((head[around] * skin[around])[..., 0], radius)
    inside = cv2.GaussianBlur(inside, (0, 0), sigma)[inner][..., None]
    hidden = (1 - known) * np.maximum(hidden, inside)
    colour = frame[here] * _threefold(torso) + fill * _threefold(hidden)
    return np.asarray(colour), np.asarray(torso + hidden)


def without_head(frame: Array, person: Array, head: Array, skin: Array) -> tuple[Array, Array, Array]:
    """The torso, its outline continued upward where the head hides it, in the colour of the neck.

    Args:
        frame: `S S 3`, the filmed picture.
        person: `S S 1`, the person's matte.
        head: `S S 1`, the head's matte.
        skin: `S S 1`, the face's region.

    Returns:
        `S S 3` premultiplied colour, `S S 1` alpha, and `S S 1`, how far the frame shows it (the rest is continued).
    """
    fill, hidden, torso, known = _continued(frame, person, head, skin)
    hidden = (1 - known) * hidden
    return np.asarray(frame * torso + fill * hidden), np.asarray(torso + hidden), known


def _continued(frame: Array, person: Array, head: Array, skin: Array) -> tuple[Array, Array, Array, Array]:
    """The colour that continues the torso, what it would cover, the torso that is seen, how far anything is seen.

    At the sides of a jaw that is now narrower the background shows; what a raised jaw uncovers is skin in the chin's
    shadow. So the colour is continued from those parts of the torso that have the face's tint (a neck, not a collar),
    and faintly from the face itself, darkened.
    """
    side = frame.shape[0]
    skin = head * skin
    # Mattes waver around a jaw, and what they leave of it would be a second chin; hair may show through to its edge.
    gone = np.maximum(head[..., 0], _grown(skin[..., 0], max(2, round(side * 0.014))))
    known = np.clip(1 - 1.6 * gone, 0, 1)[..., None]
    torso = np.clip((person - head) / np.maximum(1 - head, 1e-2), 0, 1) * known
    small = (min(side, FILL_SIDE),) * 2
    frame_s, known_s, torso_s, skin_s = (resized(x, small, cv2.INTER_AREA) for x in (frame, known, torso, skin))
    near = _grown(skin_s[..., 0], round(0.03 * small[0]))[..., None] * _under_chin(skin_s)
    neck = torso_s * _likeness(frame_s, skin_s)
    face = _blurred_within(frame_s, skin_s, 0.06 * small[0])
    colour = pull_push(frame_s * neck + face * (SHADE * SKIN_WEIGHT * skin_s), neck + SKIN_WEIGHT * skin_s)
    colour = colour * near + pull_push(frame_s * torso_s, torso_s) * (1 - near)
    # Within the face next to neck all and next to background none; elsewhere only what lies between parts of a torso.
    cover = np.clip(4 * pull_push(torso_s, known_s) - 2.2 + near, 0, 1) * _lower_share(skin_s)
    colour, cover = (resized(x, (side, side), cv2.INTER_LINEAR) for x in (colour, cover))
    return colour, cover, torso, known


def _under_chin(skin: Array) -> Array:
    """`1 W 1`: 1 below a face's chin, 0 beside its jaw, where collar, hair or background is and no neck."""
    rows, columns = (np.flatnonzero(skin[..., 0].max(axis) > 0.5) for axis in (1, 0))
    if not len(rows):
        return np.ones((1, skin.shape[1], 1), np.float32)
    x = np.arange(skin.shape[1], dtype=np.float32)
    chin = skin[max(rows[0], rows[-1] - len(rows) // 5) : rows[-1] + 1, :, 0].sum(0)
    aside = np.abs(x - (x * chin).sum() / chin.sum()) / len(columns)
    return np.asarray(np.clip((0.42 - aside) / 0.14, 0, 1), np.float32)[None, :, None]


def _lower_share(skin: Array) -> Array:
    """`H 1 1`: 1 from a face's mouth downward, 0 above its nose: no neck reaches that far."""
    rows = np.flatnonzero(skin[..., 0].max(1) > 0.5)
    if not len(rows):
        return np.ones((skin.shape[0], 1, 1), np.float32)
    share = np.clip(4 - 8 * (rows[-1] - np.arange(skin.shape[0], dtype=np.float32)) / len(rows), 0, 1)
    return np.asarray(share, np.float32)[:, None, None]


def _blurred_within(picture: Array, mask: Array, sigma: float) -> Array:
    """A mask's colours without their features, and without the colours around it."""
    share = cv2.GaussianBlur(mask, (0, 0), sigma)[..., None]
    return np.asarray(cv2.GaussianBlur(picture * mask, (0, 0), sigma) / np.maximum(share, 1e-6))


SHADE = 0.8
"""How much darker a neck is than the face above it."""
SKIN_WEIGHT = 0.05


def _likeness(frame: Array, skin: Array) -> Array:
    """`H W 1` in [0, 1]: how near each pixel's tint is to the skin's, whatever its brightness."""
    tint = cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb)[..., 1:]
    mean = (tint * skin).sum((0, 1)) / max(float(skin.sum()), 1e-6)
    return np.asarray(np.exp(-np.square((tint - mean) / 0.03).sum(-1, keepdims=True) / 2), np.float32)


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
    tall = float(np.ptp(filmed[:, 1]))
    down = np.array([0.0, 0.07 * tall])
    hulls = [
        np.rint(cv2.convexHull((points + shift * down * _lower(points)).astype(np.float32))).astype(np.int32)
        for points in (drawn[outline], filmed[outline])
        for shift in (0.0, 1.0)
    ]
    sigma = max(1.0, 0.02 * tall)
    corners, spare = np.concatenate(hulls)[:, 0], 2 + round(sigma) + _reach(sigma)
    (left, top), (right, bottom) = (np.clip(edge, 0, side) for edge in (corners.min(0) - spare, corners.max(0) + spare))
    region = np.zeros((side, side, 1), np.float32)
    mask = np.zeros((bottom - top, right - left), np.uint8)
    if mask.size:
        for hull in hulls:
            cv2.fillConvexPoly(mask, hull - np.array([left, top], np.int32), 255, cv2.LINE_AA)
        soft = cv2.GaussianBlur(_dilated(mask, round(sigma)).astype(np.float32) / 255, (0, 0), sigma)
        soft[soft < 1 / 512] = 0  # less than half a step of a byte: leaves nothing to render or blend
        region[top:bottom, left:right, 0] = soft
    return region


def whole(side: int) -> Box:
    """All of a picture."""
    return slice(0, side), slice(0, side)


def box_of(mask: Array) -> Box:
    """The smallest box that holds all of a mask `H W …` that is not 0."""
    flat = np.any(mask.reshape(*mask.shape[:2], -1), axis=2)
    rows, columns = np.flatnonzero(np.any(flat, axis=1)), np.flatnonzero(np.any(flat, axis=0))
    return (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)) if len(rows) else whole(0)


def _threefold(mask: Array) -> Array:
    """`H W 1` as `H W 3`: NumPy is several times slower where it has to spread a mask over colours itself."""
    if not mask.size:
        return np.empty((*mask.shape[:2], 3), np.float32)
    return np.asarray(cv2.merge((np.ascontiguousarray(mask),) * 3))


def _around(box: Box, margin: int, side: int) -> tuple[Box, Box]:
    """A box widened by a margin as far as the picture goes, and the former box within it."""
    wide = [slice(max(0, part.start - margin), min(side, part.stop + margin)) for part in box]
    inner = [slice(part.start - w.start, part.stop - w.start) for part, w in zip(box, wide, strict=True)]
    return (wide[0], wide[1]), (inner[0], inner[1])


def _reach(sigma: float) -> int:
    """How far OpenCV's blur of a float picture looks."""
    return math.ceil(4 * sigma) + 1


def resized(layer: Array, size: tuple[int, int], how: int) -> Array:
    """`H W C` at another width and height; keeps a single channel's axis."""
    if layer.shape[1::-1] == size:
        return layer
    out = np.asarray(cv2.resize(layer, size, interpolation=how), np.float32)
    return out[..., None] if out.ndim == 2 else out


def _lower(points: Points) -> Points:
    """1 for the lowest points, 0 for those above the middle: only the jaw's side of the region reaches down."""
    low, high = points[:, 1].min(), points[:, 1].max()
    return np.asarray(np.clip(2 * (points[:, 1:] - low) / max(high - low, 1e-6) - 1, 0, 1))


def _grown(mask: Array, radius: int) -> Array:
    """A mask `H W` of at least 0, dilated; only its own surroundings are worked on."""
    grown = np.zeros_like(mask, np.float32)
    around, _ = _around(box_of(mask), radius, max(mask.shape))
    grown[around] = _dilated(np.ascontiguousarray(mask[around]), radius)
    return grown


def _shrunk(mask: Array, radius: int) -> Array:
    """A mask `H W` of at least 0, eroded; only what is not 0, and a pixel around it, is worked on."""
    shrunk = np.zeros_like(mask, np.float32)
    around, _ = _around(box_of(mask), 1, max(mask.shape))
    shrunk[around] = 1 - _dilated(1 - mask[around], radius)
    return shrunk


def _dilated(mask: Array, radius: int) -> Array:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.dilate(mask, kernel)) if mask.size else mask
