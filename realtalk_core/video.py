"""Reading video as upright RGB pictures at a steady frame rate, one at a time.

Output frame k stands for the time from k / fps to (k + 1) / fps after the first picture, and shows what the source
shows in the middle of that span; so a source of any rate, steady or not, keeps time with its sound.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from realtalk_core.audio import decode, open_media
from realtalk_core.errors import UserError

Picture = NDArray[np.uint8]
MIN_SIDE = 64
"""A picture with a shorter side than this cannot show a usable face."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What the file says about its picture; upright, with square pixels.

    Attributes:
        width: Pixels.
        height: Pixels.
        fps: Average rate stated by the file; 0 if it states none.
        start: Container time of the first picture in seconds; sound read with this `start` is in step.
        seconds: Duration as the file states it; 0 if unknown.
        codec: Name of the codec.
        rotation: Degrees counter-clockwise applied to stand the picture upright.
        has_audio: Whether there is sound.
    """

    width: int
    height: int
    fps: float
    start: float
    seconds: float
    codec: str
    rotation: int
    has_audio: bool


@dataclass(slots=True)
class SourceCounts:
    """What happened to the source's frames while reading.

    Attributes:
        decoded: Pictures decoded.
        given: Pictures given out.
        repeated: Given out again because the source had nothing newer.
        skipped: Decoded but never shown (a higher source rate).
        seconds: Time spanned by the decoded pictures.
    """

    decoded: int = 0
    given: int = 0
    repeated: int = 0
    skipped: int = 0
    seconds: float = 0.0


@dataclass
class VideoReader:
    """A video file as pictures at `fps`.

    Iterating decodes from the start each time; nothing but the current picture is held.

    Attributes:
        path: The file.
        fps: Frames per second given out.
        max_side: Pictures with a longer side are scaled down to it; None keeps them.
        start: Seconds to skip at the beginning.
        end: Second at which to stop; None for the end.
        counts: Filled while iterating.
        info: What the file says about its picture.

    Raises:
        UserError: on construction, if the file is unreadable, a picture, or has no picture stream.
    """

    path: Path
    fps: float = 25.0
    max_side: int | None = None
    start: float = 0.0
    end: float | None = None
    counts: SourceCounts = field(default_factory=SourceCounts)
    info: VideoInfo = field(init=False)

    def __post_init__(self) -> None:
        self.path = Path(self.path)
        self.info = probe(self.path)

    @property
    def scale(self) -> float:
        """Size of the pictures given out relative to the file's."""
        longest = max(self.info.width, self.info.height)
        return 1.0 if self.max_side is None else min(1.0, self.max_side / longest)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures given out."""
        return max(1, round(self.info.width * self.scale)), max(1, round(self.info.height * self.scale))

    @property
    def expected(self) -> int:
        """About how many pictures will come, as far as the file tells; 0 if it does not."""
        end = min(self.end or math.inf, self.info.seconds)
        return max(0, round((end - self.start) * self.fps))

    def __iter__(self) -> Iterator[Picture]:
        """Pictures `H W 3`, RGB, uint8, each an array of its own."""
        return self.pick(0, 1)

    def pick(self, first: int, step: int) -> Iterator[Picture]:
        """Every `step`-th picture from `first` on; the others are decoded but not converted."""
        self.counts = counts = SourceCounts()
        index = 0
        for frame, shown_from, shown_until in self._shown():
            counts.decoded += 1
            counts.seconds = shown_until
            if self.end is not None and shown_from >= self.end:
                return
            uses, picture = 0, None
            while self.start + (index + 0.5) / self.fps < shown_until:
                if self.end is not None and self.start + (index + 0.5) / self.fps >= self.end:
                    return
                if index >= first and (index - first) % step == 0:
                    picture = self._upright(frame) if picture is None else picture.copy()
                    yield picture
                uses += 1
                index += 1
                counts.given = index
                counts.repeated += uses > 1
            counts.skipped += uses == 0 and shown_until > self.start

    def _shown(self) -> Iterator[tuple[Any, float, float]]:
        """Decoded frames with the span of time each is shown, seconds after the first; repeated stamps are dropped."""
        with open_media(self.path) as container:
            stream = _picture_stream(container, self.path)
            stream.thread_type = "AUTO"
            usual = 1.0 / self.info.fps if self.info.fps > 0 else 1.0 / self.fps
            first: float | None = None
            held, shown_from = None, 0.0
            for frame in decode(container, stream):
                stamp = frame.time
                if first is None:
                    first = stamp or 0.0
                now = stamp - first if stamp is not None else shown_from + usual
                if held is not None:
                    if now <= shown_from:
                        continue
                    yield held, shown_from, now
                held, shown_from = frame, now
            if held is not None:
                yield held, shown_from, shown_from + usual

    def _upright(self, frame: Any) -> Picture:
        width, height = self.size
        turns = self.info.rotation // 90 % 4
        if turns % 2:
            width, height = height, width
        if (frame.width, frame.height) != (width, height):
            frame = VideoReformatter().reformat(frame, width, height, "rgb24", interpolation=Interpolation.AREA)
        picture: Picture = frame.to_ndarray(format="rgb24")
        return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


def probe(path: Path) -> VideoInfo:
    """Reads what a file says about its picture, and its first frame.

    Raises:
        UserError: if it cannot be read, is a picture, has no picture stream, or its first frame cannot be decoded.
    """
    with open_media(path) as container:
        stream = _picture_stream(container, path)
        frame = next(decode(container, stream), None)
        if frame is None:
            raise UserError(
                f"{path}: no frame of its video can be decoded", "It may be cut off or damaged; export it again."
            )
        rotation = int(round(frame.rotation / 90.0) * 90) % 360
        aspect = float(stream.sample_aspect_ratio or 1)
        width, height = frame.width, frame.height
        if aspect > 0 and abs(aspect - 1) > 1e-3:
            width = round(width * aspect)
        if rotation % 180:
            width, height = height, width
        if min(width, height) < MIN_SIDE:
            raise UserError(
                f"{path}: the picture is {width}x{height} pixels, too small to show a face",
                f"Use a video at least {MIN_SIDE} pixels high and wide; a face of 200 pixels or more is best.",
            )
        seconds = stream.duration * stream.time_base if stream.duration else (container.duration or 0) / av.time_base
        return VideoInfo(
            width, height, float(stream.average_rate or 0), float(frame.time or 0.0), float(seconds),
            stream.codec_context.name, rotation, bool(container.streams.audio),
        )  # fmt: skip


def _picture_stream(container: Any, path: Path) -> Any:
    """The first stream of moving pictures (cover art does not count)."""
    name = container.format.name
    if name.endswith("_pipe") or name in ("image2", "ico"):
        raise UserError(
            f"{path} is a picture, not a video", "Name a video: RealTalk learns a person from their speech."
        )
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    raise UserError(f"{path} has no picture, only sound", "Name a video that shows the person speaking.")
