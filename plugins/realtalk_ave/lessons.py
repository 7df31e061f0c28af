"""What the networks learn from: windows of sound beside pictures of the mouth that spoke them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from realtalk_ave.mouths import cut_outs
from realtalk_ave.networks import PICTURES, SIDE
from realtalk_ave.sound import BANDS, HOP, LOOKS, RATE, Array, scaled, spectra
from realtalk_core.capture import Capture
from realtalk_core.errors import UserError
from realtalk_core.landmarks import LIPS_INNER, LIPS_OUTER
from realtalk_core.training.data import TrainingData

PICTURE_SECONDS = 0.04
"""Between the pictures that the watcher sees, whatever the capture's rate."""
APART_SECONDS = 0.2
"""From here on, sound and picture are out of sync; what is nearer, but not the same frame, is neither."""
FAR_SECONDS = 0.6
"""Half of a batch lies between these two away from the other half, so that timing is learnt beside content."""
MARGIN = 3
"""Pixels by which a cut-out may be shifted."""
LEAST = 40
"""Moments that a capture must have."""
SHAPES = 8
"""Principal components of the lips that the embedding must tell."""


@dataclass(frozen=True)
class Lessons:
    """A capture's sound and mouths.

    Attributes:
        sound: Samples at 16 kHz.
        gain: What brings each frame's sound to speech level, `T`.
        fps: Frames per second.
        pictures: Cut-outs `F S S 3` of the frames that are looked at, wider than what is seen by `MARGIN`.
        row: Where each of the capture's frames is in `pictures`, -1 if nowhere, `T`.
        offsets: Frames of the pictures around a moment.
        moments: Frames around which all pictures are there.
        lips: Principal components of the lips' landmarks, in units of their standard deviation or of a tenth of the
            first one's, `T SHAPES`.
    """

    sound: Array
    gain: Array
    fps: float
    pictures: Tensor
    row: Tensor
    offsets: Tensor
    moments: Tensor
    lips: Tensor

    @classmethod
    def of(cls, data: TrainingData, frames: Tensor, sound: Array, gain: Array) -> Lessons:
        """From `frames` of a capture alone.

        Raises:
            UserError: if there are too few in which the mouth is seen for a while.
        """
        capture = data.capture
        row = torch.full((len(capture),), -1, dtype=torch.long)
        row[frames] = torch.arange(len(frames))
        offsets = torch.round((torch.arange(PICTURES) - PICTURES // 2) * PICTURE_SECONDS * capture.fps).long()
        around = frames[:, None] + offsets
        inside = (around >= 0) & (around < len(row))
        moments = frames[(inside & (row[around.clamp(0, len(row) - 1)] >= 0)).all(1)]
        if len(moments) < LEAST:
            raise UserError(
                f"{capture.path}: ave needs {LEAST} moments of 0.2 s that show the face, here are {len(moments)}",
                "Film for one to five minutes, or choose an audio encoder that needs no training: --set audio=mel",
            )
        pictures = cut_outs(capture, frames, SIDE + 2 * MARGIN)
        return cls(sound, gain, capture.fps, pictures, row, offsets, moments, _lips(capture, frames))

    def draw(self, count: int, generator: Generator) -> Tensor:
        """Moments for a batch: half anywhere, half near those."""
        some = self.moments[torch.randint(len(self.moments), (count - count // 2,), generator=generator)]
        low, high = round(APART_SECONDS * self.fps), round(FAR_SECONDS * self.fps)
        shift = torch.randint(low, high + 1, (count // 2,), generator=generator)
        shift = torch.where(torch.rand(count // 2, generator=generator) < 0.5, shift, -shift)
        near = some[: count // 2] + shift
        at = torch.searchsorted(self.moments, near).clamp_max(len(self.moments) - 1)
        return torch.cat([some, self.moments[at]])

    def heard(
        self, moments: Tensor, stretch: Array | float = 1.0, disturb: Generator | None = None, strength: float = 1.0
    ) -> Tensor:
        """Windows of sound `B 80 16` around moments; `stretch` times as long a stretch each, disturbed if asked."""
        centres = (moments.numpy() + 0.5) / self.fps * RATE
        amplitudes = spectra(self.sound, centres, np.asarray(stretch, np.float64) * HOP)
        amplitudes *= self.gain[moments.numpy()][:, None, None]
        return torch.from_numpy(scaled(amplitudes if disturb is None else disturbed(amplitudes, disturb, strength)))

    def seen(self, moments: Tensor, jitter: Generator | None = None) -> Tensor:
        """Pictures `B P S S 3` in [0, 1] around moments, shifted and in another light if asked."""
        found = self.pictures[self.row[moments[:, None] + self.offsets]]
        place = torch.full((len(moments), 2), MARGIN)
        light = torch.tensor([1.0, 0.0]).expand(len(moments), 2)
        if jitter is not None:
            place = torch.randint(2 * MARGIN + 1, (len(moments), 2), generator=jitter)
            light = light + torch.randn(len(moments), 2, generator=jitter) * torch.tensor([0.15, 0.05])
        cut = torch.stack([p[:, y : y + SIDE, x : x + SIDE] for p, (y, x) in zip(found, place.tolist(), strict=True)])
        factor, offset = (light[:, k, None, None, None, None] for k in (0, 1))
        return (cut / 255 * factor + offset).clamp(0, 1)


def _lips(capture: Capture, frames: Tensor) -> Tensor:
    landmarks = capture.tracks.landmarks
    points = sorted({*LIPS_OUTER, *LIPS_INNER}) if landmarks.shape[1] == 478 else list(range(48, 68))
    shapes = landmarks[:, points].flatten(1).double()
    away = shapes - shapes[frames].mean(0)
    _, sigma, rows = torch.linalg.svd(away[frames], full_matrices=False)
    scale = (sigma[:SHAPES] / len(frames) ** 0.5).clamp_min(1e-6)
    found: Tensor = away @ rows[:SHAPES].T / scale.clamp_min(float(scale[0]) / 10)
    return found.float()


def disturbed(amplitudes: Array, generator: Generator, strength: float = 1.0) -> Array:
    """The same speech from another place: another level, tone colour, voice, some noise, some bands missing.

    Args:
        amplitudes: `B 80 16`.
        generator: Of the random choices.
        strength: 1 is usual; scales how far level, colour and voice move, and how often there is noise.
    """
    count = len(amplitudes)

    def normal(*shape: int) -> Array:
        return torch.randn(count, *shape, generator=generator).numpy()

    def uniform(*shape: int) -> Any:
        return torch.rand(count, *shape, generator=generator).numpy()

    at = np.linspace(0, 1, BANDS, dtype=np.float32)
    voice = (1 + 0.05 * strength * normal(1).clip(-2, 2)) * at * (BANDS - 1)  # longer or shorter vocal tracts
    low = np.clip(voice.astype(np.int64), 0, BANDS - 2)
    share = np.clip(voice - low, 0, 1).astype(np.float32)[..., None]
    rows = np.arange(count)[:, None]
    out = amplitudes[rows, low] * (1 - share) + amplitudes[rows, low + 1] * share
    waves = np.cos(np.pi * np.arange(1, 5)[:, None] * at)
    colour = strength * 4 * normal(1) + strength * (normal(4) * np.array([4, 3, 2, 1], np.float32)) @ waves
    out *= 10 ** (np.clip(colour, -20, 20) / 20)[..., None].astype(np.float32)
    speech = np.sqrt(np.square(amplitudes).mean((1, 2)))[:, None, None] + 1e-4
    noisy = uniform(1, 1) < 0.5 * strength
    loud = 10 ** (-(10 + 30 * uniform(1, 1)) / 20) * speech * noisy
    tilt = 10 ** (normal(1) * at * 0.5)[..., None]
    out = np.sqrt(np.square(out) + np.square(loud * tilt * np.abs(normal(BANDS, LOOKS)))).astype(np.float32)
    gone, width = (uniform(1) * BANDS).astype(int), (uniform(1) * 10).astype(int)
    hidden = (np.arange(BANDS) >= gone) & (np.arange(BANDS) < gone + width) & (uniform(1) < 0.3 * strength)
    return np.asarray(np.where(hidden[..., None], np.float32(1e-5), out), np.float32)
