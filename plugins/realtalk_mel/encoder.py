"""Log-mel spectrum, pitch and loudness around each video frame.

Every number depends on the sound within `context_seconds` of its frame and on nothing else, so sound may be encoded in
chunks: with that much sound to each side a chunk gives the rows that the whole clip gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import librosa
import numpy as np
import torch
from scipy.signal import resample_poly

from realtalk_core.hearing.level import LEVEL_FLOOR, gains_at
from realtalk_core.types import AudioClip, AudioFeatures

if TYPE_CHECKING:
    from realtalk_mel import MelConfig

Array = np.ndarray[Any, np.dtype[np.float32]]

RATE = 16_000
SPECTRUM_WINDOW, SPECTRUM_FFT = 400, 512
PITCH_WINDOW, PITCH_LAGS = 640, 320
PITCH_LOW, PITCH_HIGH = 65.0, 420.0
VOICED_BELOW = 0.25
QUIETEST_DB = -80.0
EXTRA = 4


class MelEncoder:
    """The `mel` audio encoder.

    Attributes:
        context_seconds: How far beyond a frame its row hears, to each side.
    """

    def __init__(self, config: MelConfig) -> None:
        self.config = config
        self.context_seconds = config.level_seconds + 0.1
        self._mel: Array = librosa.filters.mel(
            sr=RATE, n_fft=SPECTRUM_FFT, n_mels=config.n_mels, fmin=60, fmax=7600, norm=None
        )
        window = np.hanning(SPECTRUM_WINDOW + 1)[:-1].astype(np.float32)
        self._window = window / window.sum() * 2

    @property
    def features(self) -> int:
        """Numbers per look: mel bands, loudness, change of loudness, pitch, voicing."""
        return self.config.n_mels + EXTRA

    def encode(self, clip: AudioClip, fps: float) -> AudioFeatures:
        """Encodes a clip of any sample rate.

        Args:
            clip: The sound.
            fps: Video frames per second.

        Returns:
            `(T, sub_frames, n_mels + 4)` with `T = clip.frames(fps)`; values lie roughly in [-2, 2]. A row's looks are
            spread evenly over its frame. Silence gives the lowest values, never NaN.
        """
        rows, looks = clip.frames(fps), self.config.sub_frames
        sound = _resampled(np.nan_to_num(clip.samples.numpy(), nan=0.0, posinf=1.0, neginf=-1.0), clip.sample_rate)
        sound = sound if sound.size else np.zeros(1, np.float32)
        centres = np.rint((np.arange(rows * looks) + 0.5) / (fps * looks) * RATE).astype(np.int64)
        gain = gains_at(sound, RATE, centres, self.config.level_seconds)
        bands, loudness = self._spectrum(sound, centres, gain)
        pitch, voiced = self._pitch(sound, centres) if self.config.pitch else np.zeros((2, len(centres)), np.float32)
        change = np.gradient(loudness) * (looks * fps / 25) if len(loudness) > 1 else np.zeros_like(loudness)
        values = np.column_stack([bands, loudness, np.clip(change, -2, 2), pitch, voiced]).astype(np.float32)
        return AudioFeatures(torch.from_numpy(values.reshape(rows, looks, self.features)), fps)

    def _spectrum(self, sound: Array, centres: np.ndarray[Any, Any], gain: Array) -> tuple[Array, Array]:
        frames = _frames(sound, centres, SPECTRUM_WINDOW) * gain[:, None]
        spectrum = np.abs(np.fft.rfft(frames * self._window, SPECTRUM_FFT)).astype(np.float32)
        bands = _scaled(np.square(spectrum) @ self._mel.T)
        loudness = _scaled(np.square(frames).mean(1))
        return bands, loudness

    def _pitch(self, sound: Array, centres: np.ndarray[Any, Any]) -> tuple[Array, Array]:
        """YIN (de Cheveigné and Kawahara 2002): octaves about 150 Hz where voiced, and how clearly voiced, 0 to 1."""
        window = PITCH_WINDOW + PITCH_LAGS
        frames = _frames(sound, centres, window).astype(np.float64)
        head = frames[:, :PITCH_WINDOW]
        size = 2048
        cross = np.fft.irfft(np.fft.rfft(head, size).conj() * np.fft.rfft(frames, size), size)[:, :PITCH_LAGS]
        energy = np.cumsum(np.pad(np.square(frames), ((0, 0), (1, 0))), 1)
        energy = energy[:, PITCH_WINDOW : PITCH_WINDOW + PITCH_LAGS] - energy[:, :PITCH_LAGS]
        difference = np.maximum(energy[:, :1] + energy - 2 * cross, 0)
        running = np.cumsum(difference[:, 1:], 1) / np.arange(1, PITCH_LAGS)
        normal = np.ones_like(difference)
        np.divide(difference[:, 1:], running, out=normal[:, 1:], where=running > 1e-9)
        low, high = int(RATE / PITCH_HIGH), min(PITCH_LAGS - 1, int(RATE / PITCH_LOW))
        valley = normal[:, low:high]
        first_dip = (valley < VOICED_BELOW) & (valley <= np.roll(valley, -1, 1))
        lag = np.where(first_dip.any(1), first_dip.argmax(1), valley.argmin(1))
        depth = 1 - np.take_along_axis(valley, lag[:, None], 1)[:, 0]
        audible = np.sqrt(energy[:, 0] / PITCH_WINDOW) > LEVEL_FLOOR / 3
        voiced = np.clip((depth - 0.5) / 0.4, 0, 1) * audible
        octaves = np.log2(RATE / (lag + low) / 150.0) * voiced
        return octaves.astype(np.float32), voiced.astype(np.float32)


def _resampled(samples: Array, rate: int) -> Array:
    if rate == RATE:
        return samples
    shared = int(np.gcd(rate, RATE))
    return np.asarray(resample_poly(samples, RATE // shared, rate // shared), np.float32)


def _frames(sound: Array, centres: np.ndarray[Any, Any], width: int) -> Array:
    padded = np.pad(sound, (width, width + max(0, int(centres[-1]) - len(sound))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, width)
    return np.asarray(windows[centres + width - width // 2])


def _scaled(power: Array) -> Array:
    """Decibels between the quietest and full scale, put to about [-2, 2]."""
    decibel = 10 * np.log10(np.maximum(power, 10 ** (QUIETEST_DB / 10)))
    return np.asarray(decibel / 20 + 2, np.float32)
