"""Wav2Lip's log-mel spectrum around any instant: the form of sound that lip-sync discriminators listen to.

Parameters: Prajwal et al. 2020, "A Lip Sync Expert Is All You Need" (arXiv 2008.10010), as its public code has them: 80
bands of 55 to 7600 Hz at 16 kHz, 800 samples per look, one every 200, pre-emphasis 0.97, decibels from -100 to 0 (under
a reference of 20) put to [-4, 4].
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from librosa.filters import mel

Array = np.ndarray[Any, np.dtype[np.float32]]

RATE = 16_000
BANDS, LOOKS = 80, 16
LOOK, HOP = 800, 200
PREEMPHASIS = 0.97
LOWEST_DB, REFERENCE_DB, LIMIT = -100.0, 20.0, 4.0
HALF_SPAN = LOOKS // 2 * HOP + LOOK // 2
"""Samples that a window reaches to each side of its middle, one more or less."""


@cache
def _tables() -> tuple[Array, Array]:
    bank = mel(sr=RATE, n_fft=LOOK, n_mels=BANDS, fmin=55, fmax=7600)
    return np.asarray(bank.T, np.float32), np.hanning(LOOK + 1)[:-1].astype(np.float32)


def spectra(sound: Array, centres: np.ndarray[Any, Any], spacing: np.ndarray[Any, Any] | float = HOP) -> Array:
    """Mel amplitudes of windows of 16 looks, each window centred on an instant.

    The middle of a window lies between its eighth and ninth look. (The published code centres the window of frame k of
    25 per second 64 to 74 ms after its middle and then shifts all by two rows: 6 to 16 ms early.)

    Args:
        sound: Samples at 16 kHz; beyond its ends is silence.
        centres: Middle of each window in samples, `T`, fractions allowed.
        spacing: Samples between looks, one number or one per window; the published 200 hears 200 ms.

    Returns:
        `T 80 16`.
    """
    bank, window = _tables()
    offsets = (np.arange(LOOKS) - (LOOKS - 1) / 2) * np.reshape(spacing, (-1, 1))
    at = np.rint(np.asarray(centres, np.float64)[:, None] + offsets).astype(np.int64)
    emphasized = sound - PREEMPHASIS * np.pad(sound, (1, 0))[: len(sound)]
    low, high = int(at.min()) - LOOK // 2, int(at.max()) + LOOK // 2
    known = emphasized[max(0, low) : max(0, high)]
    padded = np.pad(known, (max(0, -low), max(0, high - max(0, low) - len(known))))
    looks = np.lib.stride_tricks.sliding_window_view(padded, LOOK)[at.ravel() - LOOK // 2 - low]
    amplitudes = np.abs(np.fft.rfft(looks * window)).astype(np.float32) @ bank
    return np.asarray(amplitudes.reshape(*at.shape, BANDS).transpose(0, 2, 1))


def scaled(amplitudes: Array) -> Array:
    """Amplitudes as the network wants them: decibels put to [-4, 4]; silence is -4."""
    decibel = 20 * np.log10(np.maximum(amplitudes, 10 ** (LOWEST_DB / 20))) - REFERENCE_DB
    return np.asarray(np.clip(2 * LIMIT * (decibel / -LOWEST_DB + 1) - LIMIT, -LIMIT, LIMIT), np.float32)
