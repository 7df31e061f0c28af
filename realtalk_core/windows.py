"""Cutting rows of features into overlapping windows, so that a chain works on any length in constant memory.

A stage whose frame t looks only at what lies within `context` frames of t gives in a window, away from its inner
edges, what it gives for the whole clip. So each window is wider than what is kept of it, by the sum of all contexts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from realtalk_core.errors import ShapeError
from realtalk_core.types import AudioFeatures, concat_features


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the clip.

    Attributes:
        features: What is heard in it, one row per frame.
        start: Number of its first frame within the clip.
        first: First frame to keep, counted from `start`.
        last: One past the last frame to keep, counted from `start`.
    """

    features: AudioFeatures
    start: int
    first: int
    last: int

    @property
    def count(self) -> int:
        """Its frames."""
        return len(self.features)

    @property
    def kept(self) -> int:
        """Frames to keep."""
        return self.last - self.first


def windows(rows: Iterable[AudioFeatures], *, chunk: int = 100, context: int = 0, stride: int = 1) -> Iterator[Window]:
    """Cuts rows into windows whose kept parts follow one another without gap or overlap.

    Args:
        rows: Consecutive rows in pieces of any lengths (`realtalk_core.hearing.pieces`); read only as far as needed.
        chunk: About how many frames to keep of each window.
        context: Frames needed on both sides of what is kept, where the clip has them.
        stride: Windows start at multiples of this.

    Raises:
        ShapeError: if there are no rows.
    """
    pieces = iter(rows)
    chunk = max(1, round(chunk / stride)) * stride
    context = -(-context // stride) * stride
    held: list[AudioFeatures] = []
    held_from = begin = count = 0  # first held row, first row that was not yet kept, rows so far
    ended = False
    while True:
        high = begin + chunk + context
        while not ended and count < high:
            piece = next(pieces, None)
            ended = piece is None
            if piece is not None and len(piece):
                held.append(piece)
                count += len(piece)
        if not held:
            raise ShapeError("windows: no rows")
        if begin >= count:
            return
        low, until = max(0, begin - context), min(begin + chunk, count)
        rows_held = concat_features(held)
        yield Window(rows_held[low - held_from : min(high, count) - held_from], low, begin - low, until - low)
        begin = until
        drop = max(0, begin - context) - held_from
        held, held_from = [rows_held[drop:]], held_from + drop


def context_frames(part: Any, fps: float) -> int:
    """How far a component looks to each side, in frames: its `context_frames` or `context_seconds`, else 0."""
    frames = getattr(part, "context_frames", None)
    return int(frames) if frames is not None else math.ceil(float(getattr(part, "context_seconds", 0.0)) * fps)
