"""Cutting sound of unknown length into overlapping windows, so that a chain works on any length in constant memory.

A stage whose frame t looks only at what lies within `context` frames of t gives in a window, away from its inner
edges, what it gives for the whole clip. So each window is wider than what is kept of it, by the sum of all contexts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch

from realtalk_core.errors import ShapeError
from realtalk_core.types import AudioClip


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the clip.

    Attributes:
        clip: Its sound.
        start: Number of its first frame within the clip.
        count: Its frames.
        first: First frame to keep, counted from `start`.
        last: One past the last frame to keep, counted from `start`.
    """

    clip: AudioClip
    start: int
    count: int
    first: int
    last: int

    @property
    def kept(self) -> int:
        """Frames to keep."""
        return self.last - self.first


def windows(
    sound: Iterable[AudioClip], fps: float, *, chunk: int = 100, context: int = 0, stride: int = 1
) -> Iterator[Window]:
    """Cuts sound into windows whose kept parts follow one another without gap or overlap.

    Args:
        sound: Consecutive chunks at one sample rate, of any lengths; read only as far as needed.
        fps: Video frames per second.
        chunk: About how many frames to keep of each window.
        context: Frames needed on both sides of what is kept, where the clip has them.
        stride: Windows start at multiples of this (and at even frames, at whole samples).

    Raises:
        ShapeError: if the chunks differ in sample rate, or there is none.
    """
    pieces = iter(sound)
    piece = next(pieces, None)
    if piece is None:
        raise ShapeError("windows: no sound")
    rate = piece.sample_rate
    per_frame = Fraction(rate) / Fraction(fps).limit_denominator(1001)
    # Even, because Python rounds halves to even: a window then has as many frames as its stretch of the clip.
    step = math.lcm(stride, 2, per_frame.denominator)
    chunk = max(1, round(chunk / step)) * step
    context = -(-context // step) * step

    held, held_from = piece.samples, 0  # the samples from number `held_from` on
    ended, total = False, 0
    begin = 0
    while not ended or begin < total:
        low, high = max(0, begin - context), begin + chunk + context
        while not ended and held_from + held.shape[0] < high * per_frame:
            piece = next(pieces, None)
            if piece is None:
                ended = True
                total = max(1, round((held_from + held.shape[0]) / rate * fps))
                held = _exactly(held, math.ceil(total * per_frame) - held_from)
            elif piece.sample_rate != rate:
                raise ShapeError(f"windows: sample rates differ: {rate} and {piece.sample_rate}")
            else:
                held = torch.cat([held, piece.samples])
        if ended and begin >= total:
            return
        high = min(high, total) if ended else high
        keep_until = min(begin + chunk, total) if ended else begin + chunk
        first, last = int(low * per_frame) - held_from, math.ceil(high * per_frame) - held_from
        clip = AudioClip(held[first:last].contiguous(), rate)
        yield Window(clip, low, high - low, begin - low, keep_until - low)
        begin = keep_until
        drop = int(max(0, begin - context) * per_frame) - held_from if not (ended and begin >= total) else 0
        held, held_from = held[drop:], held_from + drop


def _exactly(samples: torch.Tensor, count: int) -> torch.Tensor:
    """Cut, or lengthened with silence."""
    missing = count - samples.shape[0]
    return torch.nn.functional.pad(samples, (0, missing)) if missing > 0 else samples[:count]


def context_frames(part: Any, fps: float) -> int:
    """How far a component looks to each side, in frames: its `context_frames` or `context_seconds`, else 0."""
    frames = getattr(part, "context_frames", None)
    return int(frames) if frames is not None else math.ceil(float(getattr(part, "context_seconds", 0.0)) * fps)
