"""First pass: every face of every frame, and what the frames say about themselves (cuts, sharpness)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from realtalk_core.landmarks import FACE_OVAL
from realtalk_core.stages import Tracker
from realtalk_core.types import Face
from realtalk_core.video import Picture

FACE_PATCH = 128
"""Sharpness is measured on the face scaled to this many pixels, so that its size does not count."""


@dataclass(frozen=True)
class Sightings:
    """All faces of a clip in flat arrays, ordered by frame, and one row of frame measures per frame.

    Attributes:
        frame: `N` frame of each face.
        points: `N K 3` in source pixels.
        blendshapes: `N 52`; NaN where the tracker gives none.
        transform: `N 4 4`; NaN where the tracker gives none.
        sharpness: `N` log variance of the Laplacian on the face.
        change: `T` difference of each frame from the one before, in [0, 1]; 0 for the first.
    """

    frame: NDArray[np.int64]
    points: NDArray[np.float32]
    blendshapes: NDArray[np.float32]
    transform: NDArray[np.float32]
    sharpness: NDArray[np.float32]
    change: NDArray[np.float32]

    def save(self, file: Path) -> None:
        """Writes an uncompressed `.npz`."""
        with file.open("wb") as stream:
            np.savez(stream, **{name: getattr(self, name) for name in self.__dataclass_fields__})

    @classmethod
    def load(cls, file: Path) -> Sightings:
        """Reads what `save` wrote."""
        with np.load(file, allow_pickle=False) as arrays:
            return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})


def extents(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Left, top, right, bottom of the face outline of each face: `N K 3` to `N 4`."""
    outline = points[:, list(FACE_OVAL), :2] if points.shape[1] == 478 else points[..., :2]
    return np.concatenate([outline.min(1), outline.max(1)], axis=1).astype(np.float64)


class _Change:
    """How much one frame differs from the last: mean of what moved and how the colours' histogram shifted."""

    def __init__(self) -> None:
        self._last: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    def __call__(self, picture: Picture) -> float:
        small = cv2.resize(picture, (48, 48), interpolation=cv2.INTER_AREA)
        histogram = cv2.calcHist([small], [0, 1, 2], None, [6, 6, 6], [0, 256] * 3).flatten() / 48**2
        now = (small.astype(np.float32) / 255, histogram.astype(np.float32))
        last, self._last = self._last, now
        if last is None:
            return 0.0
        moved = float(np.abs(now[0] - last[0]).mean())
        shifted = 0.5 * float(np.abs(now[1] - last[1]).sum())
        return 0.5 * (min(1.0, 4 * moved) + shifted)


def _sharpness(picture: Picture, face: Face) -> float:
    left, top, right, bottom = extents(face.points.numpy()[None])[0]
    patch = picture[max(0, int(top)) : max(0, int(bottom)), max(0, int(left)) : max(0, int(right))]
    if min(patch.shape[:2]) < 8:
        return 0.0
    grey = cv2.cvtColor(cv2.resize(patch, (FACE_PATCH, FACE_PATCH), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return float(np.log(cv2.Laplacian(grey, cv2.CV_32F).var() + 1e-3))


def watch(pictures: Iterable[Picture], tracker: Tracker, fps: float, scale: float) -> Iterator[Sightings | int]:
    """Tracks all pictures.

    Args:
        pictures: Consecutive pictures, read once.
        tracker: Any tracker.
        fps: Their rate.
        scale: Size of these pictures relative to the source's.

    Yields:
        The number of frames done after each frame, and the `Sightings` at the very end.
    """
    change, changes = _Change(), list[float]()
    held: list[Picture] = []

    def passing() -> Iterator[Picture]:
        for picture in pictures:
            changes.append(change(picture))
            held[:] = [picture]
            yield picture

    kept = _Kept()
    done = 0
    for index, faces in enumerate(tracker.track(passing(), fps)):
        for face in faces:
            kept.add(index, face, _sharpness(held[0], face))
        done = index + 1
        yield done
    yield kept.sightings(changes[:done], scale)


class _Kept:
    """What is kept of each face, in arrays that grow by doubling.

    Keeping the faces themselves would leave thousands of small blocks between the freed pictures, which the allocator
    then cannot reuse: memory would grow by a picture a frame.
    """

    def __init__(self) -> None:
        self.count = 0
        self._arrays: dict[str, NDArray[Any]] = {}

    def add(self, index: int, face: Face, sharpness: float) -> None:
        blank, eye = np.full(52, np.nan, np.float32), np.full((4, 4), np.nan, np.float32)
        row: dict[str, Any] = {
            "frame": np.int64(index),
            "points": face.points.numpy(),
            "blendshapes": blank if face.blendshapes is None else face.blendshapes.numpy(),
            "transform": eye if face.transform is None else face.transform.numpy(),
            "sharpness": np.float32(sharpness),
        }
        for name, value in row.items():
            array = self._arrays.get(name)
            if array is None:
                array = np.zeros((256, *value.shape), value.dtype)
            elif self.count == len(array):
                array = np.concatenate([array, np.zeros_like(array)])
            array[self.count] = value
            self._arrays[name] = array
        self.count += 1

    def sightings(self, changes: Sequence[float], scale: float) -> Sightings:
        if not self.count:
            shapes = {"frame": (0,), "points": (0, 478, 3), "blendshapes": (0, 52), "transform": (0, 4, 4)}
            empty: dict[str, Any] = {
                name: np.zeros(shape, np.float32) for name, shape in {**shapes, "sharpness": (0,)}.items()
            }
            empty["frame"] = empty["frame"].astype(np.int64)
            return Sightings(**empty, change=np.array(changes, np.float32))
        found: dict[str, Any] = {name: array[: self.count].copy() for name, array in self._arrays.items()}
        found["points"] /= np.float32(scale)
        return Sightings(**found, change=np.array(changes, np.float32))
