"""Rows of features at a rate of their own, put onto video frames."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


class OnFrames:
    """A window of rows around the middle of each video frame, as rows arrive.

    Row i describes the sound around (i + 0.5) / rate seconds; the window of frame k is centred on (k + 0.5) / fps.
    Where a place of the window falls between two rows it is interpolated linearly; at 25 frames per second, 50 or 100
    rows per second and a window of an even number of rows each falls on one. Beyond the ends, the first and last row
    repeat.

    Args:
        rate: Rows per second.
        fps: Video frames per second.
        window: Rows per frame; with 1 the result has no window axis.
    """

    def __init__(self, rate: float, fps: float, window: int) -> None:
        self._step, self._window = rate / fps, window
        self._held: Tensor | None = None
        self._from = 0
        self._frame = 0

    def feed(self, rows: Float[Tensor, "R D"]) -> Float[Tensor, "T ..."]:
        """The frames that the rows so far decide."""
        self._hold(rows)
        count = 0 if self._held is None else self._from + len(self._held)
        frames = self._frame
        while self._places(frames)[-1] <= count - 1:
            frames += 1
        return self._give(frames, None)

    def close(self, frames: int) -> Float[Tensor, "T ..."]:
        """The rest of `frames` frames in all."""
        assert self._held is not None
        return self._give(frames, self._from + len(self._held) - 1)

    def _hold(self, rows: Tensor) -> None:
        if len(rows):
            self._held = rows if self._held is None else torch.cat([self._held, rows])

    def _places(self, frame: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Where the window of a frame lies, counted in rows; rounded, so that whole numbers are whole."""
        offsets = np.arange(self._window) - (self._window - 1) / 2
        return np.round((frame + 0.5) * self._step - 0.5 + offsets, 9)

    def _give(self, until: int, last: int | None) -> Tensor:
        if self._held is None or until <= self._frame:
            return torch.zeros(0, 0)
        at = np.stack([self._places(k) for k in range(self._frame, until)])
        at = np.clip(at, 0, last)
        low = np.floor(at).astype(np.int64)
        high = np.ceil(at).astype(np.int64)
        share = torch.from_numpy((at - low).astype(np.float32))[..., None]
        first = self._from
        below, above = self._held[torch.from_numpy(low - first)], self._held[torch.from_numpy(high - first)]
        out = torch.where(share == 0, below, torch.lerp(below, above, share.to(below)))
        self._frame = until
        keep = min(max(first, int(np.floor(max(0.0, self._places(until)[0])))), first + len(self._held) - 1)
        self._held, self._from = self._held[keep - first :], keep
        return out[:, 0] if self._window == 1 else out
