"""Prosody of sound of any length: pitch, loudness and voice activity of each video frame, whatever the encoder.

However the sound is cut into pieces the rows are the same, in memory that does not grow.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray
from torch import Tensor

from realtalk_core.config.needs import PROSODY
from realtalk_core.hearing.activity import ActivityStream, detector, open_activity
from realtalk_core.hearing.encoder import Blocks
from realtalk_core.hearing.frames import OnFrames
from realtalk_core.hearing.front import Front
from realtalk_core.hearing.level import BLOCKS_PER_SECOND, LEVEL_SECONDS, GainStream, block_powers
from realtalk_core.hearing.pitch import PitchRows, pitch_of
from realtalk_core.hearing.stream import frames_of, pieces_of
from realtalk_core.types import AudioClip, Prosody, concat_prosody

VERSION = 1
"""Changes whenever the numbers do; part of the key under which prosody is kept."""
RATE = 16_000
QUIETEST_DB = -80.0
Samples = NDArray[np.float32]


def prosody(clip: AudioClip, fps: float, asked: Collection[str]) -> Prosody:
    """Prosody of a whole clip.

    Args:
        clip: Sound of any sample rate.
        fps: Video frames per second.
        asked: What to hear: tokens of `realtalk_core.config.needs.PROSODY`, at least one.

    Returns:
        `clip.frames(fps)` rows; row k describes the sound around (k + 0.5) / fps.
    """
    stream = ProsodyStream(clip.sample_rate, fps, asked)
    return concat_prosody([*(stream.feed(piece) for piece in pieces_of(clip)), stream.close()])


def prosody_key(asked: Collection[str]) -> str:
    """Names everything but the sound and the frame rate that prosody depends on, for keeping it."""
    by = detector() if "prosody:activity" in asked else ""
    return f"{VERSION}:{','.join(sorted(asked))}:{by}"


class ProsodyStream:
    """Prosody of sound that arrives piece by piece.

    Attributes:
        lookahead_seconds: Row k has been given out once the sound up to (k + 1) / fps and this has been fed.
        detector: What judges voice activity: `silero` or `energy`; empty if that was not asked for.
    """

    def __init__(self, sample_rate: int, fps: float, asked: Collection[str]) -> None:
        if unknown := sorted(set(asked) - PROSODY):
            raise ValueError(f"prosody: unknown {', '.join(unknown)}; there are {', '.join(sorted(PROSODY))}")
        if not asked:
            raise ValueError(f"prosody: nothing is asked for; there are {', '.join(sorted(PROSODY))}")
        self._rate, self._fps, self._fed = sample_rate, fps, 0
        self._front = Front(sample_rate, RATE)
        self._pitch = _Pitch(fps) if "prosody:f0" in asked else None
        self._voice = _Voice(fps) if "prosody:activity" in asked else None
        self.detector = "" if self._voice is None else self._voice.detector
        self._level = _Level(fps) if self._voice is not None or "prosody:loudness" in asked else None
        self._loudness = "prosody:loudness" in asked
        ahead = [0.0 if self._pitch is None else self._pitch.lookahead_seconds]
        if self._level is not None:
            after = 0.0 if self._voice is None else self._voice.lookahead_seconds
            ahead.append(LEVEL_SECONDS + max(after, self._level.frame_seconds if self._loudness else 0.0))
        self.lookahead_seconds = max(ahead) + self._front.delay_seconds
        self._ready: dict[str, Tensor] = {}

    @torch.no_grad()
    def feed(self, samples: Float32[Tensor, "N"]) -> Prosody:
        """Rows that are final by now; may be none."""
        self._fed += samples.numel()
        self._hear(self._front.feed(samples.numpy()))
        return self._give()

    @torch.no_grad()
    def close(self) -> Prosody:
        """The rest; `AudioClip.frames` rows in all."""
        self._hear(self._front.close())
        frames = frames_of(self._fed, self._rate, self._fps)
        if self._pitch is not None:
            self._add(*self._pitch.close(frames))
        if self._level is not None:
            level = self._level.close(frames)
            self._add(loudness=level.rows)
            if self._voice is not None:
                self._add(activity=self._voice.close(level, frames))
        return self._give()

    def _hear(self, sound: Samples) -> None:
        if self._pitch is not None:
            self._add(*self._pitch.feed(sound))
        if self._level is not None:
            level = self._level.feed(sound)
            self._add(loudness=level.rows)
            if self._voice is not None:
                self._add(activity=self._voice.feed(level))

    def _add(
        self,
        f0: Tensor | None = None,
        voiced: Tensor | None = None,
        loudness: Tensor | None = None,
        activity: Tensor | None = None,
    ) -> None:
        named = {"f0": f0, "voiced": voiced, "loudness": loudness if self._loudness else None, "activity": activity}
        for name, rows in named.items():
            if rows is not None:
                self._ready[name] = torch.cat([self._ready[name], rows]) if name in self._ready else rows

    def _give(self) -> Prosody:
        """What all parts have by now."""
        count = min(len(rows) for rows in self._ready.values())
        given = Prosody(**{name: rows[:count] for name, rows in self._ready.items()}, detector=self.detector)
        self._ready = {name: rows[count:] for name, rows in self._ready.items()}
        return given


class _Pitch:
    def __init__(self, fps: float) -> None:
        rows = PitchRows()
        self._blocks = Blocks(rows)
        rate = rows.sample_rate / rows.hop
        self._frames = OnFrames(rate, fps, rows.window)
        self.lookahead_seconds = (self._blocks.size + self._blocks.future + rows.window) / rate + rows.kernel / 2 / RATE

    def feed(self, sound: Samples) -> tuple[Tensor, Tensor]:
        return _pitches(self._frames.feed(self._blocks.feed(sound)))

    def close(self, frames: int) -> tuple[Tensor, Tensor]:
        return _pitches(_joined(self._frames.feed(self._blocks.close()), self._frames.close(frames)))


def _pitches(looks: Tensor) -> tuple[Tensor, Tensor]:
    return pitch_of(looks) if len(looks) else (torch.zeros(0), torch.zeros(0))


def _joined(*parts: Tensor) -> Tensor:
    some = [part for part in parts if len(part)]
    return torch.cat(some) if some else torch.zeros(0)


@dataclass(frozen=True, slots=True)
class _Levelled:
    """Loudness of frames in decibels; and of whole blocks of 10 ms their levelled sound and their loudness."""

    rows: Tensor
    sound: Samples
    loudness: Samples


class _Level:
    """Levelled sound, its K-weighted power in blocks of 10 ms, and the mean of that over each frame in decibels."""

    def __init__(self, fps: float) -> None:
        self._size = RATE // BLOCKS_PER_SECOND
        self._gains = GainStream()
        looks = max(2, 2 * round(BLOCKS_PER_SECOND / fps / 2))
        self._frames = OnFrames(BLOCKS_PER_SECOND, fps, looks)
        self._held: Samples = np.zeros(0, np.float32)
        self._sound: Samples = np.zeros(0, np.float32)  # whole blocks whose gains are not known yet, and their powers
        self._powers: Samples = np.zeros(0, np.float32)
        self._blocks = 0
        self._filters = [(b, a, np.zeros(2)) for b, a in k_weighting(RATE)]
        self.frame_seconds = (looks / 2 + 2) / BLOCKS_PER_SECOND

    def feed(self, sound: Samples) -> _Levelled:
        """What is final by now."""
        self._held = np.concatenate([self._held, sound])
        whole = len(self._held) // self._size * self._size
        now, self._held = self._held[:whole], self._held[whole:]
        heard, powers = self._levelled(now, self._gains.feed(block_powers(now, RATE)))
        return _Levelled(_decibels(self._frames.feed(torch.from_numpy(powers)[:, None])), heard, _decibel(powers))

    def close(self, frames: int) -> _Levelled:
        """The rest; a last block that has only begun is filled up with silence."""
        last = np.pad(self._held, (0, -len(self._held) % self._size))
        gains = np.concatenate([self._gains.feed(block_powers(last, RATE)), self._gains.close()])
        heard, powers = self._levelled(last, gains)
        if not self._blocks:
            powers = np.zeros(1, np.float32)  # no sound at all
        rows = _joined(self._frames.feed(torch.from_numpy(powers)[:, None]), self._frames.close(frames))
        return _Levelled(_decibels(rows), heard, _decibel(powers))

    def _levelled(self, sound: Samples, gains: Samples) -> tuple[Samples, Samples]:
        self._sound = np.concatenate([self._sound, sound])
        self._powers = np.concatenate([self._powers, block_powers(self._weighted(sound), RATE)])
        count = len(gains)
        heard = self._sound[: count * self._size].reshape(count, self._size) * gains[:, None]
        powers = self._powers[:count] * np.square(gains)
        self._sound, self._powers = self._sound[count * self._size :], self._powers[count:]
        self._blocks += count
        return np.clip(heard, -1.0, 1.0).reshape(-1), powers

    def _weighted(self, sound: Samples) -> Samples:
        from scipy.signal import lfilter

        heard: NDArray[Any] = sound.astype(np.float64)
        if not heard.size:
            return sound
        for number, (b, a, state) in enumerate(self._filters):
            heard, state = lfilter(b, a, heard, zi=state)
            self._filters[number] = (b, a, state)
        return heard.astype(np.float32)


def _decibels(looks: Tensor) -> Tensor:
    if not len(looks):
        return torch.zeros(0)
    return (10 * looks.double().mean((1, 2)).clamp_min(10 ** (QUIETEST_DB / 10)).log10()).float()


def _decibel(powers: Samples) -> Samples:
    return np.asarray(10 * np.log10(np.maximum(powers, 10 ** (QUIETEST_DB / 10))), np.float32)


class _Voice:
    def __init__(self, fps: float) -> None:
        self.detector = detector()
        self._stream: ActivityStream = open_activity()
        self._frames = OnFrames(self._stream.rate, fps, 1)
        self.lookahead_seconds = self._stream.lookahead_seconds + 1 / self._stream.rate

    def feed(self, level: _Levelled) -> Tensor:
        found = self._stream.feed(level.sound, level.loudness)
        return self._frames.feed(torch.from_numpy(found)[:, None]).reshape(-1)

    def close(self, level: _Levelled, frames: int) -> Tensor:
        found = np.concatenate([self._stream.feed(level.sound, level.loudness), self._stream.close()])
        rows = _joined(self._frames.feed(torch.from_numpy(found)[:, None]), self._frames.close(frames))
        return rows.reshape(-1).clamp(0, 1)


@cache
def k_weighting(rate: int) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]:
    """The two filters of K-weighting (ITU-R BS.1770), numerator and denominator, at any rate.

    The standard gives them at 48 kHz; these are the analogue filters behind those numbers, by the bilinear transform.
    """
    k = math.tan(math.pi * 1681.9744509555319 / rate)
    high, q = 10 ** (3.99984385397 / 20), 0.7071752369554193
    band = high**0.4996667741545416
    over = 1 + k / q + k * k
    shelf = (
        np.array([high + band * k / q + k * k, 2 * (k * k - high), high - band * k / q + k * k]) / over,
        np.array([1.0, 2 * (k * k - 1) / over, (1 - k / q + k * k) / over]),
    )
    k, q = math.tan(math.pi * 38.13547087602444 / rate), 0.5003270373238773
    over = 1 + k / q + k * k
    high_pass = np.array([1.0, -2.0, 1.0]), np.array([1.0, 2 * (k * k - 1) / over, (1 - k / q + k * k) / over])
    return shelf, high_pass
