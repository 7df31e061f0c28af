"""Log-mel spectrum, pitch and loudness around each video frame.

Every number depends on the sound within `context_seconds` of its frame and on nothing else, so rows are given out as
the sound comes, that much later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import librosa
import numpy as np
import torch
from torch import Tensor

from realtalk_core.hearing.front import Resampler
from realtalk_core.hearing.level import (
    BLOCKS_PER_SECOND,
    LEVEL_FLOOR,
    MeanStream,
    block_means,
    block_powers,
    gains_of,
)
from realtalk_core.hearing.stream import encode_whole
from realtalk_core.types import AudioClip, AudioFeatures

if TYPE_CHECKING:
    from realtalk_mel import MelConfig

Array = np.ndarray[Any, np.dtype[np.float32]]
Places = np.ndarray[Any, np.dtype[np.int64]]

RATE = 16_000
SPECTRUM_WINDOW, SPECTRUM_FFT = 400, 512
PITCH_WINDOW, PITCH_LAGS = 640, 320
PITCH_LOW, PITCH_HIGH = 65.0, 420.0
VOICED_BELOW = 0.25
QUIETEST_DB = -80.0
EXTRA = 4
RESAMPLING_BETA = 5.0
"""Of the resampling's Kaiser window; the shipped priors learnt what is heard through it."""
REACH = PITCH_WINDOW + PITCH_LAGS
"""Samples beyond a look's middle that are held for it, more than it needs."""
PIECE_SECONDS = 20.0


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
        return encode_whole(self.stream(clip.sample_rate, fps), clip, fps, PIECE_SECONDS)

    def stream(self, sample_rate: int, fps: float) -> MelStream:
        """See `realtalk_core.stages.StreamingEncoder`."""
        return MelStream(self, sample_rate, fps)

    def looks_at(self, sound: Array, middles: Places, gain: Array, offset: Array) -> tuple[Array, Array]:
        """What is seen at some places.

        Args:
            sound: Samples at 16 kHz; silence around them.
            middles: `L` where in them.
            gain: `L` what brings the sound there to the level of speech.
            offset: `L` its DC there.

        Returns:
            `(L, n_mels + 3)` bands, loudness, pitch and voicing; and `L` the loudness alone.
        """
        bands, loudness = self._spectrum(_frames(sound, middles, SPECTRUM_WINDOW, offset) * gain[:, None])
        if self.config.pitch:
            pitch, voiced = self._pitch(_frames(sound, middles, PITCH_WINDOW + PITCH_LAGS, offset))
        else:
            pitch, voiced = np.zeros((2, len(middles)), np.float32)
        return np.column_stack([bands, loudness, pitch, voiced]).astype(np.float32), loudness

    def _spectrum(self, frames: Array) -> tuple[Array, Array]:
        spectrum = np.abs(np.fft.rfft(frames * self._window, SPECTRUM_FFT)).astype(np.float32)
        bands = _scaled(np.square(spectrum) @ self._mel.T)
        loudness = _scaled(np.square(frames).mean(1))
        return bands, loudness

    def _pitch(self, heard: Array) -> tuple[Array, Array]:
        """YIN (de Cheveigné and Kawahara 2002): octaves about 150 Hz where voiced, and how clearly voiced, 0 to 1."""
        frames = heard.astype(np.float64)
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


class MelStream:
    """One run of `MelEncoder`; see `realtalk_core.stages.AudioStream`."""

    def __init__(self, encoder: MelEncoder, sample_rate: int, fps: float) -> None:
        self._encoder, self._rate, self._fps, self._fed = encoder, sample_rate, fps, 0
        self._resampler = Resampler(sample_rate, RATE, RESAMPLING_BETA)
        seconds = encoder.config.level_seconds
        self._powers, self._means = MeanStream(seconds), MeanStream(seconds)
        self._sound: Array = np.zeros(0, np.float32)
        self._from = self._measured = 0  # samples: number of the first held, and how many are in blocks
        self._levels: Array = np.zeros((0, 2), np.float32)  # gain and offset of each block
        self._levels_from = self._frame = 0
        more = REACH / RATE + 2 / BLOCKS_PER_SECOND + self._resampler.delay_seconds
        self.lookahead_seconds = seconds + more + 1 / (fps * encoder.config.sub_frames)

    def feed(self, samples: Tensor) -> Tensor:
        """Rows that are final by now."""
        self._fed += samples.numel()
        clean = np.nan_to_num(samples.numpy(), nan=0.0, posinf=1.0, neginf=-1.0)
        self._hear(self._resampler.feed(clean))
        ready = self._measured + (len(self._sound) + self._from - self._measured) // _BLOCK * _BLOCK
        self._level(self._sound[self._measured - self._from : ready - self._from], ready)
        blocks = self._levels_from + len(self._levels)
        # The look after a frame's last one counts too: loudness changes towards it.
        known = min(self._from + len(self._sound) - REACH, (blocks - 2) * _BLOCK)
        looks = self._encoder.config.sub_frames
        return self._rows(int(known / RATE * self._fps - 0.5 / looks - 1e-6), None)

    def close(self) -> Tensor:
        """The rest."""
        self._hear(self._resampler.close())
        if not len(self._sound) and not self._from:
            self._hear(np.zeros(1, np.float32))
        end = self._from + len(self._sound)
        self._level(self._sound[self._measured - self._from :], end)
        self._append(self._powers.close(), self._means.close())
        frames = max(1, round(self._fed / self._rate * self._fps))
        return self._rows(frames, frames)

    def _hear(self, samples: Array) -> None:
        self._sound = np.concatenate([self._sound, samples])

    def _level(self, samples: Array, until: int) -> None:
        self._measured = until
        self._append(
            self._powers.feed(block_powers(samples, RATE)) if len(samples) else self._levels[:0, 0],
            self._means.feed(block_means(samples, RATE)) if len(samples) else self._levels[:0, 0],
        )

    def _append(self, powers: Array, means: Array) -> None:
        found = np.stack([gains_of(powers - np.square(means)), means], 1).astype(np.float32)
        self._levels = np.concatenate([self._levels, found])

    def _rows(self, until: int, last: int | None) -> Tensor:
        """The frames up to `until`, of `last` in all if the clip has ended."""
        looks = self._encoder.config.sub_frames
        if until <= self._frame:
            return torch.zeros(0, looks, self._encoder.features)
        first, end = self._frame * looks, until * looks
        low, high = max(0, first - 1), end + 1 if last is None else end
        middles = np.rint((np.arange(low, high) + 0.5) / (self._fps * looks) * RATE).astype(np.int64)
        at = middles / _BLOCK - 0.5
        blocks = self._levels_from + np.arange(len(self._levels))
        gain, offset = (np.interp(at, blocks, self._levels[:, k]).astype(np.float32) for k in (0, 1))
        seen, loudness = self._encoder.looks_at(self._sound, middles - self._from, gain, offset)
        change = np.gradient(loudness) if len(loudness) > 1 else np.zeros_like(loudness)
        change = np.clip(change * (looks * self._fps / 25), -2, 2)
        values = np.insert(seen, seen.shape[1] - 2, change, 1)[first - low : end - low]
        self._forget(until)
        return torch.from_numpy(values.reshape(until - self._frame_before, looks, -1).astype(np.float32))

    def _forget(self, until: int) -> None:
        """Moves on to frame `until`, and drops what no later look needs."""
        self._frame_before, self._frame = self._frame, until
        earliest = int(until / self._fps * RATE) - RATE // 4 - REACH
        keep = max(self._from, min(earliest, self._measured) // _BLOCK * _BLOCK)
        self._sound, self._from = self._sound[keep - self._from :], keep
        block = max(self._levels_from, keep // _BLOCK - 1)
        self._levels, self._levels_from = self._levels[block - self._levels_from :], block


_BLOCK = RATE // BLOCKS_PER_SECOND


def _frames(sound: Array, centres: Places, width: int, offset: Array) -> Array:
    """Stretches around each place without the DC there; silence where the sound ends."""
    pads = (width, width + max(0, int(centres[-1]) - len(sound)))
    first = centres + width - width // 2
    heard, inside = (
        np.lib.stride_tricks.sliding_window_view(np.pad(x, pads), width)[first] for x in (sound, np.ones_like(sound))
    )
    return np.asarray(heard - offset[:, None] * inside)


def _scaled(power: Array) -> Array:
    """Decibels between the quietest and full scale, put to about [-2, 2]."""
    decibel = 10 * np.log10(np.maximum(power, 10 ** (QUIETEST_DB / 10)))
    return np.asarray(decibel / 20 + 2, np.float32)
