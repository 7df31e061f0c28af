"""Channels of any layout to one.

The mixture can never exceed full scale: two channels equally, more by their place, the centre (which carries speech)
most. Stereo with one channel inverted, a wiring fault that would mix to silence, is heard as the difference instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

_WEIGHTS = {"FC": 1.0, "FL": 0.7, "FR": 0.7, "LFE": 0.0, "LFE2": 0.0}
"""Of channels beyond stereo, by FFmpeg's name; the others count half."""
_INVERTED, _UPRIGHT = 0.01, 0.1
"""Energy of the sum over that of the difference: below the first it is taken for inverted, above the second no more."""
_MEMORY = 0.9
"""How much of the energies is kept from one block to the next, some 20 ms each."""


class Mixer:
    """Mixes consecutive blocks of one sound."""

    def __init__(self) -> None:
        self._sum = self._difference = 0.0
        self._inverted: float | None = None  # 1 if the difference is heard; None before the first block

    def mix(self, channels: Samples, names: Sequence[str]) -> Samples:
        """One block.

        Args:
            channels: `C N`.
            names: FFmpeg's names of the C channels.
        """
        channels = np.nan_to_num(channels, nan=0.0, posinf=1.0, neginf=-1.0)
        if len(channels) == 1:
            return np.asarray(channels[0])
        if len(channels) == 2:
            return self._stereo(channels[0], channels[1])
        weights = np.array([_WEIGHTS.get(name, 0.5) for name in names], np.float32)
        if not weights.any():
            weights[:] = 1.0
        return np.asarray((weights / weights.sum()) @ channels, np.float32)

    def _stereo(self, left: Samples, right: Samples) -> Samples:
        both = np.asarray((left + right) / 2, np.float32)
        apart = np.asarray((left - right) / 2, np.float32)
        self._sum = _MEMORY * self._sum + float(np.square(both, dtype=np.float64).sum())
        self._difference = _MEMORY * self._difference + float(np.square(apart, dtype=np.float64).sum())
        limit = _UPRIGHT if self._inverted else _INVERTED
        now = float(self._sum < limit * self._difference)
        before, self._inverted = now if self._inverted is None else self._inverted, now
        if before == now == 0.0:
            return both
        share = np.linspace(before, now, both.size, dtype=np.float32)
        return np.asarray(both + share * (apart - both), np.float32)


class Peaks:
    """How loud samples written as floating-point numbers are: some programs write them as if full scale were 32768."""

    _LARGEST = 33  # nobody's full scale is above 2 ** 33: such numbers are damage, and are cut like any other

    def __init__(self) -> None:
        self._counts = np.zeros(self._LARGEST + 1, np.int64)

    def add(self, samples: Samples) -> None:
        """Counts samples of any shape by their power of two."""
        sizes = np.abs(samples[np.isfinite(samples)]).astype(np.float64)
        powers = np.ceil(np.log2(np.maximum(sizes, 1.0))).astype(np.int64)
        self._counts += np.bincount(powers[powers <= self._LARGEST], minlength=len(self._counts))

    @property
    def scale(self) -> float:
        """What to multiply with so that all but one sample in ten thousand lie within [-1, 1]; 1 if they do so."""
        beyond = self._counts.sum() - self._counts.cumsum()  # samples above each power of two
        return float(2.0 ** -int(np.argmax(beyond <= self._counts.sum() * 1e-4)))
