"""The sound path: samples of any rate in, one row per video frame out, whatever the pieces are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from realtalk_ave.sound import HALF_SPAN, RATE, Array, scaled, spectra
from realtalk_core.hearing.front import Front
from realtalk_core.hearing.level import BLOCKS_PER_SECOND, GainStream, block_powers

BLOCK = RATE // BLOCKS_PER_SECOND
BATCH = 64
"""Windows that go through the network at a time."""

Network = Callable[[Float[Tensor, "B 80 16"]], Float[Tensor, "B D"]]


class AveStream:
    """One run of the encoder; see `realtalk_core.stages.AudioStream`.

    Frame k hears the 242 ms around (k + 0.5) / fps, at the level that the sound around it needs to be as loud as plain
    speech. Every frame has a window of its own, so any frame rate is exact and nothing is interpolated.

    Attributes:
        lookahead_seconds: How much sound after a frame's end decides its row: almost all of it is for the level.
    """

    def __init__(self, network: Network, sample_rate: int, fps: float, level_seconds: float) -> None:
        self._network, self._rate, self._fps = network, sample_rate, fps
        self._front, self._levels = Front(sample_rate, RATE), GainStream(level_seconds)
        self._sound: Array = np.zeros(0, np.float32)
        self._gains: Array = np.zeros(0, np.float32)
        self._sound_from = self._gains_from = 0  # numbers of the first held sample and gain
        self._measured = 0  # samples whose power has been taken
        self._fed = self._frame = 0
        listens = max((HALF_SPAN + 1) / RATE, self._levels.lookahead_seconds + 2 / BLOCKS_PER_SECOND)
        self.lookahead_seconds = listens + self._front.delay_seconds

    @torch.no_grad()
    def feed(self, samples: Float32[Tensor, "N"]) -> Float[Tensor, "T ..."]:
        """Rows that are final by now."""
        self._fed += samples.numel()
        self._hear(self._front.feed(samples.numpy()))
        whole = self._end // BLOCK * BLOCK
        self._level(self._levels.feed(self._powers(whole)))
        known = min(self._end - HALF_SPAN - 1, (self._gains_from + len(self._gains) - 1) * BLOCK)
        return self._rows(max(self._frame, int(known / RATE * self._fps - 0.5) + 1 if known > 0 else 0))

    @torch.no_grad()
    def close(self) -> Float[Tensor, "T ..."]:
        """The rest."""
        self._hear(self._front.close())
        self._level(self._levels.feed(self._powers(self._end)))
        self._level(self._levels.close())
        return self._rows(max(1, round(self._fed / self._rate * self._fps)))

    @property
    def _end(self) -> int:
        return self._sound_from + len(self._sound)

    def _hear(self, samples: Array) -> None:
        self._sound = np.concatenate([self._sound, samples])

    def _powers(self, until: int) -> Array:
        found = block_powers(self._sound[self._measured - self._sound_from : until - self._sound_from], RATE)
        self._measured = until
        return found

    def _level(self, gains: Array) -> None:
        self._gains = np.concatenate([self._gains, gains.astype(np.float32)])

    def _rows(self, until: int) -> Tensor:
        rows = []
        while self._frame < until:
            frames = np.arange(self._frame, min(until, self._frame + BATCH))
            centres = (frames + 0.5) / self._fps * RATE
            places = centres / BLOCK - 0.5 - self._gains_from
            gains = np.interp(places, np.arange(len(self._gains)), self._gains) if len(self._gains) else np.ones(1)
            windows = spectra(self._sound, centres - self._sound_from) * gains.astype(np.float32)[:, None, None]
            rows.append(self._network(torch.from_numpy(scaled(windows))))
            self._frame = int(frames[-1]) + 1
        self._forget()
        return torch.cat(rows) if rows else torch.zeros(0, 0)

    def _forget(self) -> None:
        """Drops what no later frame hears."""
        centre = (self._frame + 0.5) / self._fps * RATE
        sound = (
            min(self._measured, max(self._sound_from, int(centre) - HALF_SPAN - 2)) // 2 * 2
        )  # even: ties round alike
        gain = max(self._gains_from, min(int(centre / BLOCK) - 2, self._gains_from + len(self._gains) - 1))
        self._sound, self._sound_from = self._sound[sound - self._sound_from :], sound
        self._gains, self._gains_from = self._gains[gain - self._gains_from :], gain
