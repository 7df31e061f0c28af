"""Levelling to the loudness of plain speech, so that quiet and loud recordings mean the same to what listens.

The gain at a moment depends on the sound some seconds to each side and on nothing else, so sound may be levelled in
pieces (ADR 0043).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d

Samples = NDArray[np.float32]

BLOCKS_PER_SECOND = 100
"""Power is taken in blocks of 10 ms."""
SPEECH_LEVEL = 0.1
"""Root mean square of levelled speech; full scale is 1."""
LEVEL_FLOOR = 1e-3
"""Level below which hardly anything is lifted."""
LEVEL_SECONDS = 3.0
"""How far to each side is listened, unless told otherwise."""


def block_powers(samples: Samples, rate: int) -> Samples:
    """Mean square of each block of 10 ms; the last one is filled up with silence.

    Args:
        samples: `N`.
        rate: Samples per second, a multiple of 100.
    """
    block = rate // BLOCKS_PER_SECOND
    padded = np.pad(samples, (0, -len(samples) % block)).reshape(-1, block)
    return np.asarray(np.square(padded).mean(1))


def block_means(samples: Samples, rate: int) -> Samples:
    """Mean of each block of 10 ms, in the manner of `block_powers`."""
    block = rate // BLOCKS_PER_SECOND
    return np.asarray(np.pad(samples, (0, -len(samples) % block)).reshape(-1, block).mean(1))


def local_means(blocks: Samples, seconds: float = LEVEL_SECONDS) -> Samples:
    """Mean of the blocks around each, those nearby counting most."""
    half = _half(seconds)
    kernel = np.hanning(2 * half + 3)[1:-1]
    inside = convolve1d(np.ones_like(blocks), kernel, mode="constant")
    return np.asarray(convolve1d(blocks, kernel, mode="constant") / inside)


def gains_of(powers: Samples) -> Samples:
    """What brings sound of these local powers to the level of plain speech; hardly anything lifts silence."""
    return np.asarray(SPEECH_LEVEL / (np.sqrt(np.maximum(powers, 0)) + LEVEL_FLOOR))


def block_gains(powers: Samples, seconds: float = LEVEL_SECONDS) -> Samples:
    """The gain of each block of a whole clip, from the power of each."""
    return gains_of(local_means(powers, seconds))


def gains_at(samples: Samples, rate: int, places: NDArray[Any], seconds: float = LEVEL_SECONDS) -> Samples:
    """The gain at each place, counted in samples, of a whole clip."""
    gains = block_gains(block_powers(samples, rate), seconds)
    at = places / (rate // BLOCKS_PER_SECOND) - 0.5
    return np.interp(at, np.arange(len(gains)), gains).astype(np.float32)


def _half(seconds: float) -> int:
    return round(seconds * BLOCKS_PER_SECOND)


class MeanStream:
    """`local_means` of blocks that arrive piece by piece: the same means, `lookahead_seconds` later."""

    def __init__(self, seconds: float = LEVEL_SECONDS) -> None:
        self._seconds, self._half = seconds, _half(seconds)
        self._held: Samples = np.zeros(0, np.float32)
        self._from = self._given = 0
        self.lookahead_seconds = self._half / BLOCKS_PER_SECOND

    def feed(self, blocks: Samples) -> Samples:
        """Means that are final by now."""
        self._held = np.concatenate([self._held, blocks])
        return self._take(self._from + len(self._held) - self._half)

    def close(self) -> Samples:
        """The rest."""
        return self._take(self._from + len(self._held))

    def _take(self, until: int) -> Samples:
        if until <= self._given:
            return np.zeros(0, np.float32)
        means = local_means(self._held, self._seconds)[self._given - self._from : until - self._from]
        self._given = until
        # A block beyond the reach is kept as well: where a window ends and where the clip ends must not look alike.
        keep = max(self._from, until - self._half - 1)
        self._held, self._from = self._held[keep - self._from :], keep
        return means


class GainStream:
    """`block_gains` of powers that arrive piece by piece: the same gains, `lookahead_seconds` later."""

    def __init__(self, seconds: float = LEVEL_SECONDS) -> None:
        self._means = MeanStream(seconds)
        self.lookahead_seconds = self._means.lookahead_seconds

    def feed(self, powers: Samples) -> Samples:
        """Gains that are final by now."""
        return gains_of(self._means.feed(powers))

    def close(self) -> Samples:
        """The rest."""
        return gains_of(self._means.close())
