"""Training stretches: cut out, played faster or slower, in another voice, with pauses: a minute goes further."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import interpolate

QUIET_SHARE = 0.3
"""Share of the stretches that get a pause of digital silence put in, with the resting face as its answer."""

PAUSE_FADE = 3.0
"""Frames from speech to rest."""

LOUD_ABOVE = 0.3
"""Correlation with the mean of all features from which on one counts as loudness."""


def starts_within(frames: Tensor, window: int) -> Tensor:
    """First frames of the windows that lie within the span of `frames`, at least half of each being among them."""
    first, last = int(frames[0]), int(frames[-1]) + 1
    counted = torch.zeros(last - first + 1)
    counted[1 + frames - first] = 1
    total = counted.cumsum(0)
    width = min(window, last - first)
    share = (total[width:] - total[:-width]) / width
    return first + torch.nonzero(share >= 0.5).flatten()


def speed_changed(x: Tensor, start: float, rate: float, window: int) -> Tensor:
    """`window` rows of `T D` from `start` on, `rate` rows apart, linearly interpolated."""
    at = (start + rate * torch.arange(window)).clamp(0, x.shape[0] - 1)
    low = at.floor().long()
    high = (low + 1).clamp_max(x.shape[0] - 1)
    return torch.lerp(x[low], x[high], (at - low)[:, None])


@dataclass(frozen=True)
class Voice:
    """How an encoder's features behave on this speaker, learnt from the features themselves.

    Attributes:
        low: Least value of each feature, `D`.
        high: Greatest value of each feature, `D`.
        quiet: Mean of each feature over the quietest looks, `D`.
        loud: 1 for features that rise with loudness (a spectrum does, pitch does not), `D`.
    """

    low: Tensor
    high: Tensor
    quiet: Tensor
    loud: Tensor

    @classmethod
    def of(cls, sound: Tensor) -> Voice:
        """Of features `T W D`."""
        looks = sound.flatten(0, 1)
        level = looks.mean(1)
        order = level.argsort()
        away = looks - looks.mean(0)
        level = level - level.mean()
        alike = (away * level[:, None]).sum(0) / (away.norm(dim=0) * level.norm()).clamp_min(1e-6)
        return cls(
            looks.amin(0), looks.amax(0), looks[order[: max(1, len(order) // 50)]].mean(0), (alike > LOUD_ABOVE).float()
        )

    def silence(self, depth: Tensor) -> Tensor:
        """Silence, from this recording's own (0) down to what is quieter than anything heard (1); `... D`."""
        least = self.low - 0.1 * (self.high - self.low)
        return self.quiet + depth[..., None] * self.loud * (least - self.quiet)

    def disguised(self, sound: Tensor, strength: float, random: Generator) -> Tensor:
        """Another voice, room and microphone saying the same: tone colour, vocal tract, noise; constant over a stretch.

        Args:
            sound: `B T W D`.
            strength: 1 is usual.
            random: The step's generator.
        """
        batch, depth = sound.shape[0], sound.shape[3]
        spread = (self.high - self.low).clamp_min(1e-6)
        x = self._tract(sound, strength, random)
        x = (x - self.low) / spread

        place = torch.linspace(0, torch.pi, depth)
        colour = torch.stack([torch.cos(k * place) for k in range(4)])
        amount = torch.tensor([0.06, 0.05, 0.04, 0.03]) * strength
        tone = (torch.randn(batch, 4, generator=random) * amount) @ colour * self.loud
        x = x + tone[:, None, None] * (x > 0.02)
        hiss = (torch.rand(batch, 1, 1, 1, generator=random) * 0.6 * strength).square()
        noisy = torch.maximum(x, hiss + 0.02 * torch.randn(x.shape, generator=random))
        x = torch.where((self.loud > 0) & (hiss > 0.02), noisy, x)
        x = x + 0.02 * strength * torch.randn(x.shape, generator=random)
        return self.low + x.clamp(-0.1, 1.2) * spread

    def _tract(self, sound: Tensor, strength: float, random: Generator) -> Tensor:
        bands = int(self.loud.cumprod(0).sum())
        if bands < 8:
            return sound
        out = sound.clone()
        factors = 1 + 0.06 * strength * torch.randn(sound.shape[0], generator=random).clamp(-2, 2)
        for row, factor in enumerate(factors.tolist()):
            bent = interpolate(sound[row, ..., :bands], size=max(2, round(bands * factor)), mode="linear")[..., :bands]
            out[row, ..., : bent.shape[-1]] = bent
            out[row, ..., bent.shape[-1] : bands] = bent[..., -1:]
        return out


def with_pauses(sound: Tensor, motion: Tensor, voice: Voice, rest: Tensor, random: Generator) -> tuple[Tensor, Tensor]:
    """Puts a pause into some stretches: silence to hear, the resting face to show, with a short way there and back."""
    batch, window = sound.shape[:2]
    sound, motion = sound.clone(), motion.clone()
    frame = torch.arange(window, dtype=torch.float32)
    chosen = torch.rand(batch, generator=random) < QUIET_SHARE
    depth = torch.rand(batch, generator=random)
    edges = torch.rand(batch, 2, generator=random) * (window * 1.2) - window * 0.1
    for row in torch.nonzero(chosen).flatten().tolist():
        first, last = sorted(edges[row].tolist())
        inside = ((frame + 0.5 - first) / 0.5).clamp(0, 1) * ((last - frame - 0.5) / 0.5).clamp(0, 1)
        shut = ((frame + 0.5 - first) / PAUSE_FADE).clamp(0, 1) * ((last - frame - 0.5) / PAUSE_FADE).clamp(0, 1)
        sound[row] = torch.lerp(
            sound[row], voice.silence(depth[row]).expand_as(sound[row]), (inside >= 1).float()[:, None, None]
        )
        motion[row] = torch.lerp(motion[row], rest.expand_as(motion[row]), (shut * shut * (3 - 2 * shut))[:, None])
    return sound, motion
