"""What stands around the rendered head in each frame: the filmed body, the background, the region that is replaced."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from realtalk_core.compositing import Array, Backdrop, as_filmed, box_of, composite, face_region, whole
from realtalk_core.evaluation import project
from realtalk_core.footage import Footage, Picture
from realtalk_core.matting import unmix
from realtalk_core.nn.parallel import in_threads, worker_count
from realtalk_core.person import Person
from realtalk_core.types import CameraTrack, FrameBatch, LandmarkTrack

SPARE = 7
"""Side in pixels of the square that widens a region: outlines are rounded, and enlarging reads two pixels to a side."""
Background = str | Picture
"""`original` (as filmed), `plate` (the background without anything moving), or a picture `H W 3`."""


class Replaying(Protocol):
    """Says which frame of the footage each frame of the clip replays; `realtalk_core.motion.Motion` is one."""

    @property
    def person(self) -> Person:
        """Whose footage it is."""
        ...

    def frames(self, start: int, count: int) -> Tensor:
        """Numbers of footage frames, for frames `start … start + count - 1` of the clip."""
        ...

    def cameras(self, start: int, count: int) -> CameraTrack:
        """Their cameras."""
        ...


@dataclass(frozen=True, slots=True)
class _Layers:
    """A frame of the film: as it is, `S S 3` of bytes, and in [0, 1] its colours and the mattes of person and head."""

    shown: Picture
    frame: Array
    person: Array
    head: Array


class Scene:
    """Puts rendered heads over a person's footage.

    Args:
        footage: The person's own pictures.
        motion: Says which of them each frame of the clip replays.
        size: Side of the finished pictures in pixels.
        background: What stands behind.
        moved: True if the heads' poses are not the footage's own: the filmed body is then carried along in the picture
            plane, and the whole head is replaced instead of the face alone.
        torso: True if bodies are rendered too: nothing but the background is then taken from the footage.
    """

    def __init__(
        self,
        footage: Footage,
        motion: Replaying,
        size: int,
        background: Background = "original",
        moved: bool = False,
        torso: bool = False,
    ) -> None:
        self.footage, self.motion, self.size, self.moved, self.torso = footage, motion, size, moved, torso
        filmed = isinstance(background, str) and background == "original" and not (moved or torso)
        self._plate = _unit(_fit(footage.plate(), size))
        picture = self._plate if isinstance(background, str) else _unit(covering(background, size))
        self._backdrop = Backdrop(picture, replaced=not filmed)
        self._layers = lru_cache(maxsize=2)(self._read)
        self._reading = Lock()  # films are decoded by one thread at a time

    def compose(
        self,
        batch: FrameBatch,
        number: int,
        landmarks: LandmarkTrack,
        cameras: CameraTrack,
        torso: FrameBatch | None = None,
    ) -> Float[Tensor, "T S S 3"]:
        """Finished pictures.

        Args:
            batch: Rendered heads, of any size.
            number: Number of the batch's first frame within the clip.
            landmarks: What was rendered.
            cameras: Of which poses, at any size.
            torso: Rendered bodies, of any size, for a scene of rendered bodies.

        Returns:
            uint8 pictures.
        """
        if batch.alpha is None:
            return _bytes(_resized(batch.rgb, self.size))
        if torso is not None:
            plate = torch.from_numpy(self._backdrop.picture).expand(len(batch), -1, -1, -1)
            return _bytes(_over(batch, _over(torso, plate)))
        count = len(batch)
        replayed = self.motion.frames(number, count)
        person = self.motion.person
        filmed_cameras = self.motion.cameras(number, count).resized(self.size, self.size)
        filmed = LandmarkTrack(person.landmarks[replayed], person.scheme, landmarks.fps)
        drawn_at = project(landmarks, cameras.resized(self.size, self.size)).numpy()
        filmed_at = project(filmed, filmed_cameras).numpy()
        rgb, alpha = _resized(batch.rgb, self.size).numpy(), _resized(batch.alpha, self.size).numpy()
        done = np.empty((count, self.size, self.size, 3), np.uint8)

        def work(_: int, share: list[int]) -> None:
            for k in share:
                here = slice(k, k + 1)
                shift = self._carried(filmed_cameras[here], cameras[here]) if self.moved else None
                done[k] = self._composed(rgb[k], alpha[k], int(replayed[k]), drawn_at[k], filmed_at[k], shift)

        in_threads(work, range(count), min(count, worker_count()))
        return torch.from_numpy(done)

    def _composed(
        self,
        rgb: Array,
        alpha: Array,
        replayed: int,
        drawn_at: Array,
        filmed_at: Array,
        shift: NDArray[np.float64] | None,
    ) -> Picture:
        """One finished picture; only the face's surroundings are composited."""
        layers = self._layers(replayed)
        frame, person, head = layers.frame, layers.person, layers.head
        skin = face_region(filmed_at, filmed_at, self.size)
        if shift is not None:
            frame, person, head, skin = (_warped(x, shift, self.size) for x in (frame, person, head, skin))
            face = _whole_head(head, alpha, self.size)
        else:
            face = face_region(drawn_at, filmed_at, self.size)
        if shift is None and not self._backdrop.replaced:
            picture = layers.shown.copy()
        else:
            picture = _pixels(as_filmed(frame, person, self._backdrop, whole(self.size)))
        box = box_of(face)
        picture[box] = _pixels(composite(rgb, alpha, frame, person, head, face, skin, self._backdrop, box))
        return picture

    def region(self, number: int, landmarks: LandmarkTrack, cameras: CameraTrack) -> Bool[Tensor, "T H W"] | None:
        """Where rendered heads will be seen, so that a renderer may leave out the rest; None for everywhere.

        Args:
            number: Number of the first frame within the clip.
            landmarks: What will be rendered.
            cameras: Of which poses, at the size of rendering.
        """
        if self.moved or self.torso or cameras.height != cameras.width:
            return None
        side, count = cameras.height, len(cameras)
        person, replayed = self.motion.person, self.motion.frames(number, count)
        filmed = LandmarkTrack(person.landmarks[replayed], person.scheme, landmarks.fps)
        drawn_at = project(landmarks, cameras).numpy()
        filmed_at = project(filmed, self.motion.cameras(number, count).resized(side, side)).numpy()
        reach = cv2.getStructuringElement(cv2.MORPH_RECT, (SPARE, SPARE))
        seen = np.empty((count, side, side), bool)

        def work(_: int, share: list[int]) -> None:
            for k in share:
                face = face_region(drawn_at[k], filmed_at[k], side)[..., 0] > 0
                seen[k] = cv2.dilate(face.astype(np.uint8), reach) > 0

        in_threads(work, range(count), min(count, worker_count()))
        return torch.from_numpy(seen)

    def _read(self, index: int) -> _Layers:
        with self._reading:
            shown, matte = _fit(self.footage.frame(index), self.size), self.footage.matte(index)
        matte = _unit(_fit(matte, self.size))
        frame, person, head = _unit(shown), matte[..., :1], matte[..., 1:]
        if self._backdrop.replaced:
            frame, person = unmix(frame, self._plate, np.maximum(person, head))
        return _Layers(shown, frame, person, np.minimum(head, person))

    def _carried(self, filmed: CameraTrack, drawn: CameraTrack) -> NDArray[np.float64]:
        """Similarity `2 3` of the picture plane that brings the filmed head's place to the drawn head's."""
        person = self.motion.person
        neutral = LandmarkTrack(person.neutral[None], person.scheme, person.fps)
        here, there = (project(neutral, c.resized(self.size, self.size))[0].numpy() for c in (filmed, drawn))
        found, _ = cv2.estimateAffinePartial2D(here, there, method=cv2.LMEDS)
        return np.asarray(found if found is not None else np.eye(3)[:2], np.float64)


def covering(picture: Picture, size: int) -> Picture:
    """The middle square of a picture, scaled to `size`."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return _fit(np.ascontiguousarray(picture[top : top + side, left : left + side]), size)


def _whole_head(filmed: Array, drawn: Array, size: int) -> Array:
    both = np.maximum(filmed, drawn)[..., 0]
    radius = max(2, round(size * 0.02))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    soft = cv2.GaussianBlur(cv2.dilate(both, kernel), (0, 0), radius / 2)
    return np.asarray(soft, np.float32)[..., None]


def _warped(layer: Array, transform: NDArray[np.float64], size: int) -> Array:
    out = cv2.warpAffine(layer, transform, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(out, np.float32).reshape(size, size, -1)


def _fit(picture: Picture, size: int) -> Picture:
    if picture.shape[0] == size:
        return picture
    how = cv2.INTER_AREA if size < picture.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (size, size), interpolation=how), np.uint8)


def _resized(pictures: Float[Tensor, "T H W C"], size: int) -> Float[Tensor, "T S S C"]:
    if pictures.shape[1:3] == (size, size):
        return pictures
    shrinking = size < pictures.shape[1]
    out = torch.nn.functional.interpolate(
        pictures.movedim(-1, 1),
        (size, size),
        mode="area" if shrinking else "bicubic",
        align_corners=None if shrinking else False,
    )
    return out.movedim(1, -1).clamp(0, 1)


def _over(layer: FrameBatch, under: Float[Tensor, "T S S 3"]) -> Float[Tensor, "T S S 3"]:
    """Puts a layer over pictures of another size: premultiplied, so that what is transparent leaves no colour."""
    size = under.shape[1]
    if layer.alpha is None:
        return _resized(layer.rgb, size)
    return _resized(layer.rgb * layer.alpha, size) + under * (1 - _resized(layer.alpha, size))


def _unit(picture: NDArray[Any]) -> Array:
    return np.asarray(picture, np.float32) / 255.0


def _pixels(picture: Array) -> Picture:
    return np.asarray(np.rint(np.clip(picture, 0, 1) * np.float32(255)), np.uint8)


def _bytes(pictures: Float[Tensor, "T H W 3"]) -> Tensor:
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8)
