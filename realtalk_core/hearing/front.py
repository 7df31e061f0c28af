"""The front end of hearing: mono sound of any rate to another rate without DC, piece by piece.

However the sound is cut into pieces, the samples that come out are the same: each is a sum of its own over the input,
and the filter against DC runs on from piece to piece.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

BLOCKED_BELOW = 5.0
"""Corner of the high-pass against DC, Hz."""
_HALF_TAPS = 10
"""Half the length of the resampling filter, in samples of the lower rate."""


@cache
def _low_pass(up: int, down: int, beta: float) -> NDArray[np.float32]:
    from scipy.signal import firwin

    most = max(up, down)
    return np.asarray(firwin(2 * _HALF_TAPS * most + 1, 1 / most, window=("kaiser", beta)), np.float32)


class Resampler:
    """Polyphase resampling with a Kaiser window, as `realtalk_core.audio.resample` does it.

    Args:
        rate: Samples per second that come.
        to: Samples per second that go.
        beta: Shape of the window.

    Attributes:
        delay_seconds: How far beyond an output sample's time the input must be known.
    """

    def __init__(self, rate: int, to: int, beta: float = 8.0) -> None:
        shared, self._beta = math.gcd(rate, to), beta
        self._up, self._down = to // shared, rate // shared
        reach = math.ceil(_HALF_TAPS * max(self._up, self._down) / self._up) + 1
        self.delay_seconds = 0.0 if rate == to else (reach + self._down) / rate
        self._reach = -(-reach // self._down) * self._down  # windows begin at whole periods of the two rates
        self._held: Samples = np.zeros(0, np.float32)
        self._from = 0  # number of the first held sample
        self._given = 0  # output samples given out

    def feed(self, samples: Samples) -> Samples:
        """The output samples that are final by now."""
        if self._up == self._down:
            return samples
        self._held = np.concatenate([self._held, samples])
        ready = self._from + self._held.size - self._reach
        return self._take(max(0, ready) // self._down * self._up)

    def close(self) -> Samples:
        """The rest: as many samples in all as the sound lasts, rounded up."""
        if self._up == self._down:
            return np.zeros(0, np.float32)
        return self._take(-(-(self._from + self._held.size) * self._up // self._down))

    def _take(self, until: int) -> Samples:
        from scipy.signal import resample_poly

        if until <= self._given:
            return np.zeros(0, np.float32)
        # `_given` is a whole number of periods until the last call, so windows begin in phase.
        begin = max(0, self._given // self._up * self._down - self._reach)
        part = self._held[begin - self._from :]
        out = resample_poly(part, self._up, self._down, window=_low_pass(self._up, self._down, self._beta))
        first = begin // self._down * self._up
        out = np.asarray(out[self._given - first : until - first], np.float32)
        self._given = until
        keep = max(0, until // self._up * self._down - self._reach)
        self._held, self._from = self._held[keep - self._from :], keep
        return out


class Front:
    """Resampling, then a high-pass against DC; NaN becomes silence, and what exceeds full scale is cut.

    Attributes:
        delay_seconds: How far beyond an output sample's time the input must be known.
    """

    def __init__(self, rate: int, to: int) -> None:
        self._resampler = Resampler(rate, to)
        self._pole = math.exp(-2 * math.pi * BLOCKED_BELOW / to)
        self._state: NDArray[np.float64] | None = None
        self.delay_seconds = self._resampler.delay_seconds

    def feed(self, samples: Samples) -> Samples:
        """The samples that are final by now."""
        clean = np.nan_to_num(np.asarray(samples, np.float32), nan=0.0, posinf=1.0, neginf=-1.0)
        return self._without_dc(self._resampler.feed(np.clip(clean, -1.0, 1.0)))

    def close(self) -> Samples:
        """The rest."""
        return self._without_dc(self._resampler.close())

    def _without_dc(self, samples: Samples) -> Samples:
        from scipy.signal import lfilter

        if not samples.size:
            return samples
        if self._state is None:  # as if the first sample had always been there: an offset makes no click
            self._state = np.array([-float(samples[0])])
        out, self._state = lfilter([1.0, -1.0], [1.0, -self._pole], samples.astype(np.float64), zi=self._state)
        return np.asarray(out, np.float32)
