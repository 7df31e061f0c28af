"""`RowEncoder`: everything of an audio encoder but its network."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from realtalk_core.hearing.frames import OnFrames
from realtalk_core.hearing.front import Front
from realtalk_core.hearing.stream import encode_whole
from realtalk_core.types import AudioClip, AudioFeatures


class RowEncoder(ABC):
    """Base class of encoders that give rows at a fixed rate; a subclass gives `rows`, and what it does not share.

    Sound is mixed, resampled and freed from DC, then heard in blocks on a grid that begins with the clip, each with a
    margin on both sides. So a network may look as far as it likes (attention, recurrence, normalisation over all it
    hears) and the whole file, pieces of it, and pieces of 200 ms still give the same rows, in memory that does not
    grow. Row i of a clip lies around (i + 0.5) * hop samples.

    Attributes:
        sample_rate: What `rows` is given, samples per second.
        hop: Samples between rows.
        kernel: Samples that row 0 of `rows` spans; its middle is the row's time.
        window: Rows around each video frame's middle; the features are `(T, window, D)`, or `(T, D)` if it is 1.
        block_seconds: How much is decided at a time.
        margin_seconds: How much more is heard after a block, and before it.
        past_seconds: How much is heard before a block, if that is another length: it costs no look-ahead.
        weights_digest: sha256 of weights that are not in an avatar's own file, hexadecimal; empty if there are none.
    """

    sample_rate: int = 16_000
    hop: int = 320
    kernel: int = 400
    window: int = 2
    block_seconds: float = 10.0
    margin_seconds: float = 5.0
    past_seconds: float | None = None
    weights_digest: str = ""

    @abstractmethod
    def rows(self, samples: Float32[Tensor, "N"]) -> Float[Tensor, "R D"]:
        """Features of a stretch of sound.

        Args:
            samples: `(R - 1) * hop + kernel` of them at `sample_rate`, within about [-1, 1]; R is at least 1.

        Returns:
            R rows; row r lies around sample `r * hop + kernel / 2`.
        """

    def encode(self, clip: AudioClip, fps: float) -> AudioFeatures:
        """See `AudioEncoder`."""
        return encode_whole(self.stream(clip.sample_rate, fps), clip, fps)

    def stream(self, sample_rate: int, fps: float) -> RowStream:
        """See `StreamingEncoder`."""
        return RowStream(self, sample_rate, fps)


class RowStream:
    """One run of a `RowEncoder`; see `realtalk_core.stages.AudioStream`."""

    def __init__(self, encoder: RowEncoder, sample_rate: int, fps: float) -> None:
        self._encoder, self._rate, self._fps = encoder, sample_rate, fps
        self._front = Front(sample_rate, encoder.sample_rate)
        self._blocks = Blocks(encoder)
        rate = encoder.sample_rate / encoder.hop
        self._frames = OnFrames(rate, fps, encoder.window)
        self._fed = 0
        ahead = (self._blocks.size + self._blocks.future + encoder.window / 2 + 1) / rate
        self.lookahead_seconds = ahead + encoder.kernel / 2 / encoder.sample_rate + self._front.delay_seconds

    @torch.no_grad()
    def feed(self, samples: Float32[Tensor, "N"]) -> Float[Tensor, "T ..."]:
        """Rows that are final by now."""
        self._fed += samples.numel()
        return self._frames.feed(self._blocks.feed(self._front.feed(samples.numpy())))

    @torch.no_grad()
    def close(self) -> Float[Tensor, "T ..."]:
        """The rest."""
        rows = [self._blocks.feed(self._front.close()), self._blocks.close()]
        known = [self._frames.feed(part) for part in rows if len(part)]
        frames = max(1, round(self._fed / self._rate * self._fps))
        parts = [part for part in (*known, self._frames.close(frames)) if len(part)]
        return torch.cat(parts) if parts else torch.zeros(0, 0)


class Blocks:
    """Samples in, rows out, block by block on a grid that begins with the first sample.

    Attributes:
        size: Rows in a block.
        past: Rows heard before it.
        future: Rows heard after it.
    """

    def __init__(self, encoder: RowEncoder) -> None:
        self._encoder = encoder
        rate = encoder.sample_rate / encoder.hop
        before = encoder.margin_seconds if encoder.past_seconds is None else encoder.past_seconds
        self.size = max(1, round(encoder.block_seconds * rate))
        self.past, self.future = math.ceil(before * rate), math.ceil(encoder.margin_seconds * rate)
        self._shift = (encoder.hop - encoder.kernel) // 2
        self._held = np.zeros(0, np.float32)
        self._from = 0
        self._block = 0

    def feed(self, samples: np.ndarray[tuple[int], np.dtype[np.float32]]) -> Float[Tensor, "R D"]:
        """Rows of the blocks that are complete by now, their margins included."""
        self._held = np.concatenate([self._held, samples])
        found = []
        while self._end_of((self._block + 1) * self.size + self.future) <= self._from + self._held.size:
            found.append(self._take((self._block + 1) * self.size, (self._block + 1) * self.size + self.future))
        return torch.cat(found) if found else torch.zeros(0, 0)

    def close(self) -> Float[Tensor, "R D"]:
        """The rest: a row for each hop that has begun, at least one in all."""
        total = max(1, -(-(self._from + self._held.size) // self._encoder.hop))
        found = []
        while self._block * self.size < total:
            until = (self._block + 1) * self.size
            found.append(self._take(min(until, total), min(until + self.future, total)))
        return torch.cat(found) if found else torch.zeros(0, 0)

    def _end_of(self, rows: int) -> int:
        """One past the last sample that the first `rows` rows span."""
        return (rows - 1) * self._encoder.hop + self._shift + self._encoder.kernel

    def _take(self, until: int, heard: int) -> Tensor:
        """Rows of the next block up to `until`, hearing what belongs to rows up to `heard`."""
        first = max(0, self._block * self.size - self.past)
        begin, end = first * self._encoder.hop + self._shift, self._end_of(heard)
        known = self._held[max(0, begin) - self._from : end - self._from]
        before = max(0, -begin)
        padded = np.pad(known, (before, end - begin - before - len(known)))
        rows = self._encoder.rows(torch.from_numpy(padded))
        if rows.ndim != 2 or len(rows) != heard - first:
            raise ValueError(
                f"{type(self._encoder).__name__}.rows: expected ({heard - first}, D) for {len(padded)} samples, "
                f"got {tuple(rows.shape)}"
            )
        kept = rows[self._block * self.size - first : until - first].float()
        self._block += 1
        keep = max(0, max(0, self._block * self.size - self.past) * self._encoder.hop + self._shift)
        self._held, self._from = self._held[max(0, keep - self._from) :], max(keep, self._from)
        return kept
