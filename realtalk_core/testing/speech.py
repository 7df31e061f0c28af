"""Synthetic speech whose loudness and formants follow a mouth, so that sound predicts the face."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from realtalk_core.types import AudioClip

Array = np.ndarray[Any, np.dtype[np.floating[Any]]]
CONTROL_RATE = 200
"""Controls per second; far above what lips do, far below what ears hear."""


def mouth_controls(seconds: float, seed: int) -> tuple[Array, Array, Array]:
    """Syllables with pauses between phrases.

    Returns:
        Times in seconds, jaw opening in [0, 1], lip width in [-1, 1] (negative is rounded), each at `CONTROL_RATE`.
    """
    rng = np.random.default_rng([seed, 1])
    count = max(2, round(seconds * CONTROL_RATE))
    times = (np.arange(count) + 0.5) / CONTROL_RATE
    jaw, width, weight = np.zeros(count), np.zeros(count), np.full(count, 1e-3)
    now, left = 0.12, int(rng.integers(5, 10))
    while now < seconds + 0.2:
        length = rng.uniform(0.14, 0.28)
        bump = np.exp(-(((times - now - length / 2) / (0.36 * length)) ** 2))
        jaw = np.maximum(jaw, rng.uniform(0.35, 1.0) * bump)
        width += bump * rng.uniform(-1, 1)
        weight += bump
        now += length
        left -= 1
        if left == 0:
            now, left = now + rng.uniform(0.25, 0.5), int(rng.integers(5, 10))
    return times, jaw, width / np.maximum(weight, 0.3)


def synthetic_clip(seconds: float, sample_rate: int = 16000, seed: int = 0) -> AudioClip:
    """The sound of `mouth_controls`: a voice whose loudness and first formant rise with the jaw, the second with width.

    Args:
        seconds: Duration; exactly `round(seconds * sample_rate)` samples.
        sample_rate: Samples per second.
        seed: Same seed, same sound, and the same mouth as `make_capture` with this seed.
    """
    times, jaw, width = mouth_controls(seconds, seed)
    count = round(seconds * sample_rate)
    at = (np.arange(count) + 0.5) / sample_rate
    rng = np.random.default_rng([seed, 2])
    pitch = 120 * (
        1 + 0.12 * np.sin(2 * np.pi * 0.4 * times + rng.uniform(0, 6)) + 0.05 * np.sin(2 * np.pi * 1.3 * times)
    )
    first, second = 280 + 520 * jaw, 1500 + 700 * width
    phase = 2 * np.pi * np.cumsum(np.interp(at, times, pitch)) / sample_rate
    sound = np.zeros(count)
    for harmonic in range(1, 31):
        frequency = harmonic * pitch
        if frequency.min() > 0.48 * sample_rate:
            break
        gain = sum(
            height / (1 + ((frequency - centre) / band) ** 2)
            for centre, band, height in ((first, 90, 1.0), (second, 130, 0.5), (2700.0, 200, 0.15))
        )
        sound += np.interp(at, times, gain * jaw / harmonic**0.3) * np.sin(harmonic * phase)
    # Consonants: breath where a wide mouth is nearly closed but speech goes on.
    breath = np.interp(at, times, 0.06 * np.clip(width, 0, 1) * np.clip(1 - jaw, 0, 1) * (jaw > 0.05))
    sound = 0.28 * sound + breath * rng.standard_normal(count) + 2e-4 * rng.standard_normal(count)
    return AudioClip(torch.from_numpy(np.clip(sound, -1, 1).astype(np.float32)), sample_rate)
