"""Mel-frequency cepstral coefficients as DeepSpeech 0.1 was trained on: those of python_speech_features' defaults.

Frames of 25 ms every 10 ms without window function, pre-emphasis 0.97, power spectrum of 512 points, 26 triangular
filters from 0 to 8000 Hz, logarithm, orthonormal DCT-II of which all 26 coefficients are kept, lifter 22, and the first
one replaced by the logarithm of the frame's energy. All of it in double precision, on samples of 16 bits.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

RATE = 16_000
FRAME, STEP, FFT = 400, 160, 512
COEFFICIENTS = 26
_PREEMPHASIS, _LIFTER = 0.97, 22
_FULL_SCALE = 32768.0
_SMALLEST = float(np.finfo(np.float64).eps)


def mfcc(samples: np.ndarray[Any, np.dtype[np.floating[Any]]], every: int = 1) -> Array:
    """Coefficients of each frame.

    Args:
        samples: `N` in [-1, 1] at 16 kHz, at least 400 of them; rounded to 16 bits, so that what is silent in a file of
            16 bits is silent here.
        every: Only each so-manieth frame is computed.

    Returns:
        `(F, 26)`; frame f spans samples `f * every * 160` to 400 later. Silence gives log(2.2e-16) and zeros.
    """
    whole = np.clip(np.rint(np.asarray(samples, np.float64) * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1)
    sharp = np.append(whole[:1], whole[1:] - _PREEMPHASIS * whole[:-1])
    frames = np.lib.stride_tricks.sliding_window_view(sharp, FRAME)[:: STEP * every]
    power = np.square(np.abs(np.fft.rfft(frames, FFT))) / FFT
    energy = power.sum(1)
    filters, cosines = _filters(), _cosines()
    coefficients: Array = np.log(_audible(power @ filters.T)) @ cosines.T
    coefficients[:, 0] = np.log(_audible(energy))
    return coefficients


def _audible(power: Array) -> Array:
    return np.where(power == 0, _SMALLEST, power)


@cache
def _filters() -> Array:
    """`(26, 257)`: triangles between points evenly spaced in mel, rounded down to bins of the spectrum."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, COEFFICIENTS + 2) / 2595) - 1)
    low, middle, high = (np.floor((FFT + 1) * hertz / RATE)[i : i + COEFFICIENTS, None] for i in range(3))
    bins = np.arange(FFT // 2 + 1)
    rising = np.where((low <= bins) & (bins < middle), (bins - low) / np.maximum(middle - low, 1), 0)
    falling = np.where((middle <= bins) & (bins < high), (high - bins) / np.maximum(high - middle, 1), 0)
    return rising + falling


@cache
def _cosines() -> Array:
    """`(26, 26)`: the orthonormal DCT-II with the lifter on its rows."""
    row = np.arange(COEFFICIENTS)
    dct = np.cos(np.pi / COEFFICIENTS * np.outer(row, row + 0.5)) * np.sqrt(2 / COEFFICIENTS)
    dct[0] /= np.sqrt(2)
    return dct * (1 + _LIFTER / 2 * np.sin(np.pi * row / _LIFTER))[:, None]
