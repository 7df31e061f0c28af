"""Writing H.264 + AAC that every browser plays, in constant memory, whole or not at all.

Picture and sound last equally long: the sound is cut, or filled with silence, to the pictures' exact duration. What
the AAC encoder puts before the first sample is hidden by the file's edit list, so the two start together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray
from torch import Tensor

from realtalk_core.atomic import atomic_file, check_target
from realtalk_core.types import AudioClip

SOUND_RATE = 48_000
"""The rate of sound in mp4 files that nothing needs to resample."""
_AAC_FRAME = 1024
_BT709 = 1
_LIMITED_RANGE = 1


@contextlib.contextmanager
def open_video(
    path: str | Path,
    width: int,
    height: int,
    fps: float,
    *,
    sound_rate: int | None = SOUND_RATE,
    metadata: Mapping[str, str] | None = None,
    crf: float = 18.0,
    keyframe_every: int = 50,
    preset: str = "fast",
) -> Iterator[VideoWriter]:
    """An mp4 file to write into. Nothing appears under its name until it is complete.

    Args:
        path: The file, ending in `.mp4`.
        width: Pixels; even.
        height: Pixels; even.
        fps: Frames per second.
        sound_rate: Sample rate of the sound; None for no sound.
        metadata: `title`, `comment` and the like.
        crf: x264's constant rate factor; lower is better and larger, 18 is hard to tell from the source.
        keyframe_every: Frames between key frames; small for pictures read back and forth.
        preset: x264's speed.

    Raises:
        UserError: if the name will not do, or the place is full, read-only or forbidden.
        ValueError: for an odd width or height.
    """
    if width % 2 or height % 2:
        raise ValueError(f"open_video: width and height must be even, got {width}x{height}")
    rate = Fraction(fps).limit_denominator(1001)
    options = {"crf": str(crf), "preset": preset, "g": str(keyframe_every), "sc_threshold": "0"}
    with (
        atomic_file(check_output(path)) as partial,
        av.open(str(partial), "w", format="mp4", options={"movflags": "+faststart"}) as container,
    ):
        container.metadata.update(metadata or {})
        picture = container.add_stream("libx264", rate=rate, options=options)
        picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
        picture.time_base = 1 / rate
        context = picture.codec_context
        context.profile, context.thread_count = "High", 2
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = _LIMITED_RANGE
        sound = None
        if sound_rate is not None:
            sound = container.add_stream("aac", rate=sound_rate, layout="mono")
            sound.bit_rate = 128_000
        writer = VideoWriter(container, picture, sound, rate, sound_rate or 0)
        yield writer
        writer.finish()


class VideoWriter:
    """What `open_video` gives: takes pictures and sound in chunks, in any order."""

    def __init__(self, container: Any, picture: Any, sound: Any, rate: Fraction, sound_rate: int) -> None:
        self._container, self._picture, self._audio = container, picture, sound
        self.rate, self.sound_rate = rate, sound_rate
        self._convert = VideoReformatter()  # a new one for each frame costs ten times the conversion
        self.frames = 0
        self._held = np.zeros(0, np.float32)  # sound not yet encoded
        self._encoded = 0  # samples

    def write(self, frames: Tensor | NDArray[np.uint8]) -> None:
        """Appends pictures.

        Args:
            frames: `T H W 3` RGB, uint8.
        """
        pictures = frames.numpy() if isinstance(frames, Tensor) else frames
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = self._convert.reformat(
                frame, format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            frame.pts, frame.time_base = self.frames, 1 / self.rate
            self._container.mux(self._picture.encode(frame))
            self.frames += 1

    def sound(self, clip: AudioClip) -> None:
        """Appends sound; what lasts longer than the pictures in the end is dropped.

        Raises:
            ValueError: if its rate is not the writer's.
        """
        if self._audio is None or clip.sample_rate != self.sound_rate:
            raise ValueError(f"VideoWriter: expected sound at {self.sound_rate} Hz, got {clip.sample_rate}")
        self._held = np.concatenate([self._held, clip.samples.numpy()])
        # Sound beyond the pictures waits: where they end is not known yet.
        ready = min(self._held.size, max(0, self._due - self._encoded)) // _AAC_FRAME * _AAC_FRAME
        self._encode(self._held[:ready])
        self._held = self._held[ready:]

    @property
    def wants_sound(self) -> bool:
        """Whether the pictures written so far last longer than the sound given so far."""
        return self._audio is not None and self._encoded + self._held.size < self._due

    @property
    def _due(self) -> int:
        """Samples that the pictures written so far last."""
        return round(self.frames / self.rate * self.sound_rate)

    def _encode(self, samples: NDArray[np.float32]) -> None:
        for start in range(0, samples.size, _AAC_FRAME):
            block = np.ascontiguousarray(samples[None, start : start + _AAC_FRAME])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate = self.sound_rate
            frame.pts, frame.time_base = self._encoded, Fraction(1, self.sound_rate)
            self._container.mux(self._audio.encode(frame))
            self._encoded += block.shape[1]

    def finish(self) -> None:
        """Makes the sound as long as the pictures and flushes both encoders."""
        if self._audio is not None:
            missing = self._due - self._encoded
            self._encode(np.pad(self._held[:missing], (0, max(0, missing - self._held.size))))
            self._container.mux(self._audio.encode(None))
        self._container.mux(self._picture.encode(None))


def check_output(path: str | Path) -> Path:
    """The path, if an mp4 can be put there.

    Raises:
        UserError: if it does not end in `.mp4`, is a folder, or its folder is missing or may not be written to.
    """
    return check_target(path, ".mp4")


def even(size: float) -> int:
    """The nearest even number of pixels, at least 2; H.264 stores colour at half size.

    >>> even(255), even(256.4)
    (256, 256)
    """
    return max(2, 2 * round(size / 2))


def write_video(
    path: str | Path, batches: Iterable[Tensor], sound: Iterable[AudioClip], fps: float, **options: Any
) -> int:
    """Writes batches of pictures and chunks of sound, taking both only as they are needed.

    Args:
        path: The `.mp4` file.
        batches: `T H W 3` RGB uint8 each, all of one size.
        sound: Chunks of one sample rate; none for a silent film.
        fps: Frames per second.
        **options: See `open_video`.

    Returns:
        The number of frames written.

    Raises:
        UserError: if the place is full, read-only or forbidden.
        ValueError: if there are no pictures.
    """
    pictures, chunks = iter(batches), iter(sound)
    batch, chunk = next(pictures, None), next(chunks, None)
    if batch is None:
        raise ValueError("write_video: no pictures to write")
    rate = None if chunk is None else chunk.sample_rate
    with open_video(path, batch.shape[2], batch.shape[1], fps, sound_rate=rate, **options) as writer:
        while batch is not None:
            writer.write(batch)
            while chunk is not None and writer.wants_sound:
                writer.sound(chunk)
                chunk = next(chunks, None)
            batch = next(pictures, None)
    return writer.frames
