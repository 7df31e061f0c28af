"""How far sound and mouth are apart, found by how well the sound at each shift foretells the mouth."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from realtalk_core.audio import resample
from realtalk_core.types import AudioClip

Array = NDArray[np.float64]

RATE, HOP, WINDOW, BANDS = 16000, 160, 400, 20
CONTEXT = 2
"""Frames of sound on each side of a picture that the regression sees."""
REACH = 12
"""Shifts tried on each side, in frames."""
ANTICIPATION_MS = 40.0
"""In speech the mouth moves ahead of its own sound; clips known to be in sync measure this much apart."""
LEAST_SECONDS = 8.0
RIDGE = 3e-2


@dataclass(frozen=True)
class Sync:
    """Sound against mouth.

    Attributes:
        lag_ms: When the mouth moves relative to the sound; negative: the mouth moves first (the sound is late).
        correlation: Cross-validated correlation of the mouth with what the sound foretells, at that lag.
        at_zero: The same without a shift.
        curve: Correlation at each shift of -12 … 12 frames.
    """

    lag_ms: float
    correlation: float
    at_zero: float
    curve: tuple[float, ...]

    @property
    def reliable(self) -> bool:
        """Whether the peak stands out enough to be believed."""
        return self.correlation > 0.25 and self.correlation > float(np.median(self.curve)) + 0.1


def log_mel(clip: AudioClip) -> Array:
    """Log-mel energies `N 20` every 10 ms (25 ms Hann windows centred on the hop), 0 to 8 kHz."""
    samples = resample(clip, RATE).samples.numpy().astype(np.float64)
    padded = np.pad(samples, (WINDOW // 2, WINDOW))
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    filters = _filters()
    out = np.empty((len(windows), BANDS))
    for start in range(0, len(windows), 4096):
        power = np.abs(np.fft.rfft(windows[start : start + 4096] * np.hanning(WINDOW), 512)) ** 2
        out[start : start + 4096] = np.log(power @ filters.T + 1e-6)
    return out


def _filters() -> Array:
    hertz = np.linspace(0, RATE / 2, 257)
    mel = np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), BANDS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    rise = (hertz - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - hertz) / (edges[2:] - edges[1:-1])[:, None]
    return np.asarray(np.clip(np.minimum(rise, fall), 0, None))


def measure_sync(clip: AudioClip, mouth: Array, fps: float, valid: NDArray[np.bool_]) -> Sync | None:
    """Finds the shift between sound and mouth.

    Args:
        clip: The sound, beginning with frame 0.
        mouth: `T D` what the mouth does in each frame (opening, jaw, width …).
        fps: Frames per second.
        valid: `T` frames in which the mouth was seen.

    Returns:
        None if there is too little to tell from: under 8 s, hardly any sound, or a mouth that does not move.
    """
    if valid.sum() < LEAST_SECONDS * fps or clip.seconds < LEAST_SECONDS:
        return None
    target = mouth[valid] - mouth[valid].mean(0)
    if float(clip.samples.abs().max()) < 1e-3 or not (target.std(0) > 1e-6).all():
        return None
    mel = log_mel(clip)
    frames = np.flatnonzero(valid)
    curve = [_correlation(_features(mel, frames, fps, shift), target) for shift in range(-REACH, REACH + 1)]
    best = int(np.argmax(curve))
    # neighbouring shifts see much of the same sound, so the peak is a plateau: its centre is what counts
    height = np.array(curve)
    excess = np.clip(height - 0.85 * height[best], 0.0, None)
    excess[np.abs(np.arange(len(curve)) - best) > 4] = 0.0
    centre = float((excess * np.arange(len(curve))).sum() / excess.sum()) if height[best] > 0 else float(best)
    # the sound that fits lies `shift` frames after the picture: the mouth was early by as much
    lag = ANTICIPATION_MS - (centre - REACH) * 1000 / fps
    return Sync(round(lag, 1), curve[best], curve[REACH], tuple(curve))


def _features(mel: Array, frames: NDArray[np.int64], fps: float, shift: int) -> Array:
    """Sound around each frame's middle, moved by `shift` frames: `T (2 CONTEXT + 1) BANDS`, standardised."""
    offsets = np.arange(-CONTEXT, CONTEXT + 1)
    seconds = (frames[:, None] + 0.5 + shift + offsets) / fps
    low = np.clip((seconds * RATE / HOP - 2).round().astype(int), 0, len(mel) - 5)
    rows = sum(mel[low + k] for k in range(5)).reshape(len(frames), -1) / 5.0  # 40 ms around each moment
    return np.asarray((rows - rows.mean(0)) / (rows.std(0) + 1e-6))


def _correlation(features: Array, target: Array, folds: int = 5) -> float:
    """Mean over targets of the correlation between ridge predictions and truth, each fold predicted by the others."""
    count = len(features)
    predicted = np.zeros_like(target)
    bounds = np.linspace(0, count, folds + 1).astype(int)
    gram, cross = features.T @ features, features.T @ target
    eye = np.eye(features.shape[1])
    for a, b in pairwise(bounds.tolist()):
        inner = gram - features[a:b].T @ features[a:b]
        weights = np.linalg.solve(inner + RIDGE * count * eye, cross - features[a:b].T @ target[a:b])
        predicted[a:b] = features[a:b] @ weights
    predicted -= predicted.mean(0)
    top = (predicted * target).sum(0)
    return float((top / np.sqrt((predicted**2).sum(0) * (target**2).sum(0) + 1e-12)).mean())
