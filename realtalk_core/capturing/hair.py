"""Which colours are this person's hair: tells long hair beside the neck from neck and clothes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from realtalk_core.landmarks import FACE_OVAL
from realtalk_core.video import Picture

_SHIFT = 4  # 16 bins a channel


@dataclass(frozen=True)
class HairModel:
    """Share of hair among the person's pixels of each colour.

    Attributes:
        posterior: `16 16 16` probability that a pixel of this colour is hair.
    """

    posterior: NDArray[np.float32]

    @classmethod
    def fit(cls, frames: list[Picture], people: list[NDArray[np.uint8]], faces: list[NDArray[np.float32]]) -> HairModel:
        """Learns from frames spread over the clip.

        Hair is what belongs to the person above the face; skin and clothes are the lower face and what lies well
        below the chin.

        Args:
            frames: Pictures.
            people: Their person masks, 0-255.
            faces: Their landmarks in pixels, `478 3`.
        """
        hair, other = np.full(4096, 1e-6), np.full(4096, 1e-6)
        for frame, person, points in zip(frames, people, faces, strict=True):
            xy = points[:, :2]
            codes = _codes(frame)
            face = np.zeros(person.shape, np.uint8)
            cv2.fillConvexPoly(face, cv2.convexHull(xy[list(FACE_OVAL)].round().astype(np.int32)), 1)
            wide = cv2.dilate(face, np.ones((9, 9), np.uint8))
            rows = np.arange(person.shape[0])[:, None]
            brow, nose, chin = xy[105, 1], xy[2, 1], xy[152, 1]
            tall = chin - xy[10, 1]
            sure = person > 230
            hair += np.bincount(codes[sure & (wide == 0) & (rows < brow)], minlength=4096)
            other += np.bincount(codes[(face == 1) & (rows > nose)], minlength=4096)
            other += np.bincount(codes[sure & (rows > chin + 0.25 * tall)], minlength=4096)
        yes, no = _smooth(hair), _smooth(other)
        return cls((yes / (yes + no + 1e-7)).astype(np.float32))

    def __call__(self, picture: Picture) -> NDArray[np.float32]:
        """Probability of hair for each pixel, `H W`, by colour alone, slightly blurred."""
        side = picture.shape[0]
        found = self.posterior.reshape(-1)[_codes(picture)]
        return np.asarray(cv2.GaussianBlur(found, (0, 0), side / 200), np.float32)


def _codes(picture: Picture) -> NDArray[np.int64]:
    wide = (picture >> _SHIFT).astype(np.int64)
    return np.asarray(wide[..., 0] * 256 + wide[..., 1] * 16 + wide[..., 2])


def _smooth(histogram: NDArray[np.float64]) -> NDArray[np.float64]:
    """A normalised histogram blurred over neighbouring colours, `16 16 16`."""
    cube = (histogram / histogram.sum()).reshape(16, 16, 16)
    for axis in range(3):
        padded = np.pad(cube, [(1, 1) if k == axis else (0, 0) for k in range(3)], mode="edge")
        before, after = np.take(padded, range(16), axis), np.take(padded, range(2, 18), axis)
        cube = 0.25 * before + 0.5 * cube + 0.25 * after
    return np.asarray(cube)
