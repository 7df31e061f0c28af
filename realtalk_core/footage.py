"""The person's own pictures that a rendered head is put over: read from an avatar's films or from a capture.

An avatar keeps its capture's frames as `base.mp4` (H.264), their mattes as `matte.mp4` (person alpha above head alpha,
grey) and the background plate as `background.png`. Both films have a key frame every `GOP` frames, so that they can be
played backwards at little cost.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import av.error
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from realtalk_core.atomic import atomic_file
from realtalk_core.capture import Capture
from realtalk_core.errors import UserError
from realtalk_core.video_writer import even, open_video

Picture = NDArray[np.uint8]
GOP = 12
_DAMAGED = "Copy the avatar again, or train it again: realtalk train CAPTURE -o AVATAR --force"


class Footage(Protocol):
    """Frames by number, square, RGB uint8."""

    @property
    def size(self) -> int:
        """Side in pixels."""
        ...

    def frame(self, index: int) -> Picture:
        """`S S 3`."""
        ...

    def matte(self, index: int) -> Picture:
        """`S S 2`: alpha of the person, alpha of the head (hair, face, ears), 0 to 255."""
        ...

    def plate(self) -> Picture:
        """`S S 3`: what lies behind the person."""
        ...


@dataclass(frozen=True)
class CaptureFootage:
    """The pictures of a capture."""

    capture: Capture

    @property
    def size(self) -> int:
        """Side in pixels."""
        return self.capture.size

    def frame(self, index: int) -> Picture:
        """See `Footage`."""
        return self.capture.frame(index)

    def matte(self, index: int) -> Picture:
        """See `Footage`."""
        return self.capture.masks(index)[..., :2]

    def plate(self) -> Picture:
        """See `Footage`."""
        return self.capture.background()


class AvatarFootage:
    """The pictures of an avatar's folder."""

    def __init__(self, folder: Path, fps: float) -> None:
        self.folder = folder
        self._base = Film(folder / "base.mp4", fps)
        self._matte = Film(folder / "matte.mp4", fps)
        self.size = self._base.width

    def frame(self, index: int) -> Picture:
        """See `Footage`."""
        return self._base.frame(index)

    def matte(self, index: int) -> Picture:
        """See `Footage`."""
        both = self._matte.frame(index)[..., 0]
        return np.stack([both[: self.size], both[self.size :]], -1)

    def plate(self) -> Picture:
        """See `Footage`."""
        return read_picture(self.folder / "background.png", "Copy the avatar again.")


class Film:
    """Random access to the frames of a film written with a key frame every `GOP` frames.

    Raises:
        UserError: on construction if it is missing or damaged.
    """

    def __init__(self, path: Path, fps: float, held: int = 2) -> None:
        self.path = path
        self._rate = Fraction(fps).limit_denominator(1001)
        self._groups: OrderedDict[int, dict[int, Picture]] = OrderedDict()
        self._held = held
        self._convert = VideoReformatter()
        if not path.is_file():
            raise UserError(f"{path} is missing", _DAMAGED)
        try:
            self._container: Any = av.open(str(path))
            self._stream = self._container.streams.video[0]
        except (av.error.FFmpegError, IndexError) as error:
            raise UserError(f"{path} is damaged: {error}", _DAMAGED) from error
        self.width, self.height = int(self._stream.width), int(self._stream.height)

    def frame(self, index: int) -> Picture:
        """Frame `H W 3`.

        Raises:
            UserError: if it cannot be decoded.
        """
        group = index // GOP
        if group not in self._groups:
            while len(self._groups) >= self._held:
                self._groups.popitem(last=False)
            self._groups[group] = self._decode(group * GOP, (group + 1) * GOP)
        self._groups.move_to_end(group)
        picture = self._groups[group].get(index)
        if picture is None:
            raise UserError(f"{self.path} is damaged or too short: frame {index} cannot be read", _DAMAGED)
        return picture

    def _decode(self, first: int, after: int) -> dict[int, Picture]:
        found: dict[int, Picture] = {}
        try:
            self._container.seek(round(first / self._rate / self._stream.time_base), stream=self._stream)
            for frame in self._container.decode(self._stream):
                index = round(frame.time * self._rate)
                if index >= after:
                    break
                if index >= first:
                    found[index] = np.asarray(self._convert.reformat(frame, format="rgb24").to_ndarray(), np.uint8)
        except av.error.FFmpegError as error:
            raise UserError(f"{self.path} is damaged: {error}", _DAMAGED) from error
        return found


def store_footage(
    capture: Capture, folder: Path, *, crf: float = 16.0, progress: Callable[[int, int], None] = lambda *_: None
) -> None:
    """Writes `base.mp4`, `matte.mp4` and `background.png` of a capture into an avatar's folder.

    Args:
        capture: Where the pictures come from.
        folder: The avatar's folder.
        crf: x264's quality of the base; lower is better and larger.
        progress: Called with (frames done, frames).

    Raises:
        UserError: if a picture is missing or the place cannot be written to.
    """
    store_film(CaptureFootage(capture), folder, range(len(capture)), capture.fps, crf, progress)


def store_film(
    footage: Footage, folder: Path, frames: range, fps: float, crf: float, progress: Callable[[int, int], None]
) -> None:
    """Writes some frames of a footage as an avatar's films, and its plate; arguments as `store_footage`'s."""
    size = even(footage.size)
    film = {"sound_rate": None, "keyframe_every": GOP, "preset": "veryfast"}
    with (
        open_video(folder / "base.mp4", size, size, fps, crf=crf, **film) as base,  # type: ignore[arg-type]
        open_video(folder / "matte.mp4", size, 2 * size, fps, crf=crf - 2, **film) as matte,  # type: ignore[arg-type]
    ):
        for done, index in enumerate(frames):
            base.write(_sized(footage.frame(index), size)[None])
            masks = _sized(footage.matte(index), size)
            grey = np.concatenate([masks[..., 0], masks[..., 1]])
            matte.write(np.repeat(grey[None, ..., None], 3, -1))
            progress(done + 1, len(frames))
    write_picture(folder / "background.png", _sized(footage.plate(), size))


def _sized(picture: Picture, size: int) -> Picture:
    """A picture at another side; captures of odd sides need it."""
    if picture.shape[0] == size:
        return picture
    return np.asarray(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def read_picture(path: Path, cure: str) -> Picture:
    """A picture file `H W 3`, RGB.

    Raises:
        UserError: if it is missing or no picture.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist", cure)
    data = np.frombuffer(path.read_bytes(), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if data.size else None
    if picture is None:
        raise UserError(f"{path} cannot be read as a picture", cure)
    return np.asarray(picture, np.uint8)


def write_picture(path: Path, picture: Picture) -> None:
    """Writes a PNG, atomically.

    Raises:
        UserError: if the place cannot be written to.
    """
    done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert done
    with atomic_file(path) as partial:
        partial.write_bytes(data.tobytes())
