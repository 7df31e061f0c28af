"""Which colours are this person's hair: tells long hair beside the neck from neck and clothes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from realtalk_core.landmarks import FACE_OVAL
from realtalk_core.video import Picture

_SHIFT = 4  # 16 bins a channel


SEPARABLE = 0.8
"""Hair is looked for beyond the segmentation only where its colours and the background's are told apart this well."""


@dataclass(frozen=True)
class HairModel:
    """Where this person's hair lies in colour space.

    Attributes:
        on_person: `4096` probability that a pixel of this colour is hair, among the person's pixels.
        on_background: The same among pixels that are either hair or background.
        separable: Whether hair and background differ enough in colour to find hair the segmentation missed.
    """

    on_person: NDArray[np.float32]
    on_background: NDArray[np.float32]
    separable: bool

    @classmethod
    def fit(cls, frames: list[Picture], people: list[NDArray[np.uint8]], faces: list[NDArray[np.float32]]) -> HairModel:
        """Learns from frames spread over the clip.

        Hair is what belongs to the person above the face; skin and clothes are the lower face and what lies well
        below the chin; background is what lies well away from the person.

        Args:
            frames: Pictures.
            people: Their person masks, 0-255.
            faces: Their landmarks in pixels, `478 3`.
        """
        hair, other, behind = (np.full(4096, 1e-6) for _ in range(3))
        for frame, person, points in zip(frames, people, faces, strict=True):
            codes = _codes(frame)
            regions = _regions(person, points[:, :2])
            for histogram, region in zip((hair, other, behind), regions, strict=True):
                histogram += np.bincount(codes[region], minlength=4096)
        enough = min(hair.sum(), behind.sum()) > 500
        yes, no, back = (_smooth(h) for h in (hair, other, behind))
        on_background = yes / (yes + back + 1e-7)
        told = float((yes * on_background).sum() + (back * (1 - on_background)).sum()) / 2
        return cls(
            (yes / (yes + no + 1e-7)).astype(np.float32), on_background.astype(np.float32), enough and told > SEPARABLE
        )

    def __call__(self, picture: Picture) -> NDArray[np.float32]:
        """Probability of hair for each of the person's pixels, `H W`, by colour alone, slightly blurred."""
        found = self.on_person[_codes(picture)]
        return np.asarray(cv2.GaussianBlur(found, (0, 0), picture.shape[0] / 200), np.float32)

    def extend(self, alpha: NDArray[np.float32], picture: Picture, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Adds hair that the segmentation missed: around the head, hair-coloured, hanging together with the person."""
        if not self.separable:
            return alpha
        small_side = max(32, alpha.shape[0] // 4)
        scale = small_side / alpha.shape[0]
        small = cv2.resize(picture, (small_side, small_side), interpolation=cv2.INTER_AREA)
        likely = cv2.GaussianBlur(self.on_background[_codes(small)], (0, 0), 1.0)
        zone = _around_head(points[:, :2] * scale, small_side)
        person = cv2.resize(alpha, (small_side, small_side), interpolation=cv2.INTER_AREA)
        found = ((likely > 0.85) & (zone > 0) & (person < 0.6)).astype(np.uint8)
        found = cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        _, labels = cv2.connectedComponents(found | (person > 0.5).astype(np.uint8))
        x, y = np.clip((points[:, :2].mean(0) * scale).astype(int), 0, small_side - 1)
        found &= (labels == labels[y, x]).astype(np.uint8)
        grown = cv2.GaussianBlur(
            cv2.morphologyEx(found, cv2.MORPH_CLOSE, np.ones((5, 5))).astype(np.float32), (0, 0), 1
        )
        full = cv2.resize(grown, alpha.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return np.asarray(np.maximum(alpha, full), np.float32)


def _regions(person: NDArray[np.uint8], xy: NDArray[np.float32]) -> tuple[NDArray[np.bool_], ...]:
    """Pixels that surely are hair, surely another part of the person, and surely background."""
    side = person.shape[0]
    face = np.zeros(person.shape, np.uint8)
    cv2.fillConvexPoly(face, cv2.convexHull(xy[list(FACE_OVAL)].round().astype(np.int32)), 1)
    wide = cv2.dilate(face, np.ones((9, 9), np.uint8))
    rows = np.arange(side)[:, None]
    brow, nose, chin = xy[105, 1], xy[2, 1], xy[152, 1]
    tall = chin - xy[10, 1]
    inner = cv2.erode(person, np.ones((7, 7), np.uint8)) > 230
    hair = inner & (wide == 0) & (rows < brow)
    other = ((face == 1) & (rows > nose)) | (inner & (rows > chin + 0.25 * tall))
    reach = 2 * round(0.05 * side) + 1
    near = cv2.dilate(person, np.ones((reach, reach), np.uint8)) > 25
    return hair, other, ~near & (_around_head(xy, side) == 0)


def _around_head(xy: NDArray[np.float32], side: int) -> NDArray[np.uint8]:
    """Where a head's hair can be: an ellipse about the face, from above it to the shoulders."""
    left, top = xy[list(FACE_OVAL)].min(0)
    right, bottom = xy[list(FACE_OVAL)].max(0)
    zone = np.zeros((side, side), np.uint8)
    middle = (round(float(left + right) / 2), round(float(top + 0.6 * (bottom - top))))
    axes = (round(0.95 * float(right - left)), round(1.05 * float(bottom - top)))
    cv2.ellipse(zone, middle, axes, 0, 0, 360, 1, -1)
    return zone


def _codes(picture: Picture) -> NDArray[np.int64]:
    wide = (picture >> _SHIFT).astype(np.int64)
    return np.asarray(wide[..., 0] * 256 + wide[..., 1] * 16 + wide[..., 2])


def _smooth(histogram: NDArray[np.float64]) -> NDArray[np.float64]:
    """A normalised histogram blurred over neighbouring colours."""
    cube = (histogram / histogram.sum()).reshape(16, 16, 16)
    for axis in range(3):
        padded = np.pad(cube, [(1, 1) if k == axis else (0, 0) for k in range(3)], mode="edge")
        before, after = np.take(padded, range(16), axis), np.take(padded, range(2, 18), axis)
        cube = 0.25 * before + 0.5 * cube + 0.25 * after
    return np.asarray(cube.reshape(-1))
