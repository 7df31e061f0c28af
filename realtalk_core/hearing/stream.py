"""Encoders over sound that arrives piece by piece: their own streams, or windows for those that have none."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from realtalk_core.errors import ShapeError
from realtalk_core.stages import AudioEncoder, AudioStream, StreamingEncoder
from realtalk_core.types import AudioClip, AudioFeatures
from realtalk_core.windows import context_frames

CHUNK_SECONDS = 2.0
PIECE_SECONDS = 10.0
"""A long clip goes through a stream in pieces of this length."""
SPARE_SECONDS = 1.0
"""How much more of the past a window may hear than it needs, to begin where a frame begins at a whole sample."""


def open_stream(
    encoder: AudioEncoder, sample_rate: int, fps: float, *, chunk_seconds: float = CHUNK_SECONDS
) -> AudioStream:
    """Starts an encoder on sound that arrives piece by piece.

    Args:
        encoder: Any audio encoder. One without `stream` must state `context_seconds` (or `context_frames`), how far its
            rows hear to each side, and is run on overlapping windows.
        sample_rate: Of the samples that will be fed.
        fps: Video frames per second.
        chunk_seconds: How much such windows decide at a time; an encoder's own stream decides that itself.
    """
    if isinstance(encoder, StreamingEncoder):
        return encoder.stream(sample_rate, fps)
    return WindowStream(encoder, sample_rate, fps, chunk_seconds)


def encode_whole(stream: AudioStream, clip: AudioClip, fps: float, seconds: float = PIECE_SECONDS) -> AudioFeatures:
    """Runs a fresh stream over a whole clip, `seconds` at a time: `encode` of an encoder whose stream does the work."""
    parts = [*(stream.feed(piece) for piece in pieces_of(clip, seconds)), stream.close()]
    return AudioFeatures(torch.cat([part for part in parts if len(part)]), fps)


def pieces_of(clip: AudioClip, seconds: float = PIECE_SECONDS) -> Iterator[Float32[Tensor, "N"]]:
    """A clip's samples cut into pieces of this length; none if it has no sample."""
    size = max(1, round(seconds * clip.sample_rate))
    for first in range(0, clip.samples.numel(), size):
        yield clip.samples[first : first + size]


def frames_of(samples: int, sample_rate: int, fps: float) -> int:
    """How many video frames so much sound spans; see `AudioClip.frames`."""
    return max(1, round(samples / sample_rate * fps))


class WindowStream:
    """Runs an encoder without a stream of its own on overlapping windows; see `AudioStream`.

    A row that hears only what lies within the encoder's context is in a window, away from its inner edges, what it is
    in the whole clip. So each window is wider than what is kept of it.

    A window begins at a frame, and at a whole sample: where frames do not begin at whole samples (29.97 fps), at the
    one nearest to the frame. Its frames' middles then lie off by less than half a sample: 31 us at 16 kHz. Of the
    frames up to `SPARE_SECONDS` earlier than need be, it begins at the one that is off least.
    """

    def __init__(self, encoder: AudioEncoder, sample_rate: int, fps: float, chunk_seconds: float) -> None:
        self._encoder, self._rate, self._fps = encoder, sample_rate, fps
        self._per_frame = Fraction(sample_rate) / Fraction(fps)
        # Even, because Python rounds halves to even: a window then has as many frames as its stretch of the clip.
        self._step = step = math.lcm(int(getattr(encoder, "stride", 1)), 2)
        self._chunk = max(1, round(chunk_seconds * fps / step)) * step
        self._context = -(-context_frames(encoder, fps) // step) * step
        self._spare = math.ceil(SPARE_SECONDS * fps / step) * step
        self._held, self._from, self._begin = torch.zeros(0), 0, 0
        self.lookahead_seconds = (self._chunk + self._context) / fps

    @torch.no_grad()
    def feed(self, samples: Float32[Tensor, "N"]) -> Float[Tensor, "T ..."]:
        """Rows that are final by now."""
        self._held = torch.cat([self._held, samples])
        parts = []
        while self._from + len(self._held) >= self._sample(high := self._begin + self._chunk + self._context):
            parts.append(self._rows(self._begin + self._chunk, high))
        return torch.cat(parts) if parts else torch.zeros(0, 0)

    @torch.no_grad()
    def close(self) -> Float[Tensor, "T ..."]:
        """The rest."""
        heard = self._from + len(self._held)
        total = frames_of(heard, self._rate, self._fps)
        parts = []
        while self._begin < total:
            until = self._begin + self._chunk
            parts.append(self._rows(min(until, total), min(until + self._context, total), last=total))
        return torch.cat(parts) if parts else torch.zeros(0, 0)

    def _sample(self, frame: int) -> int:
        """The whole sample nearest to a frame's beginning."""
        return round(frame * self._per_frame)

    def _low(self, begin: int) -> int:
        """Where the window begins that keeps frames from `begin` on."""
        latest = max(0, begin - self._context)
        return min(
            range(latest, max(0, latest - self._spare) - 1, -self._step),
            key=lambda frame: abs(frame * self._per_frame - self._sample(frame)),
        )

    def _rows(self, until: int, high: int, last: int | None = None) -> Tensor:
        """Rows up to `until`, heard in a window up to frame `high`; the clip's last frame ends where the clip does."""
        low = self._low(self._begin)
        first = self._sample(low) - self._from
        end = None if high == last else self._sample(high) - self._from
        clip = AudioClip(self._lasting(self._held[first:end].contiguous(), high - low), self._rate)
        rows = self._encoder.encode(clip, self._fps).values
        if len(rows) != high - low:
            raise ShapeError(
                f"{type(self._encoder).__name__}.encode: expected {high - low} rows for {clip.seconds:.3f} s at "
                f"{self._fps:g} fps, got {len(rows)}"
            )
        kept = rows[self._begin - low : until - low]
        self._begin = until
        drop = self._sample(self._low(until))
        self._held, self._from = self._held[drop - self._from :], drop
        return kept

    def _lasting(self, samples: Tensor, frames: int) -> Tensor:
        """The samples, one more or less where else they would round to another number of frames than the clip's."""
        while (found := frames_of(len(samples), self._rate, self._fps)) != frames:
            samples = samples[:-1] if found > frames else torch.nn.functional.pad(samples, (0, 1))
        return samples
