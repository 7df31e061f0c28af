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
"""Correlation with the mean of all features of a spectrum from which on one rises with loudness."""
LEAST_BANDS, NEIGHBOURS, MEAN_IS_LOUDNESS = 8, 0.6, 0.7
"""A spectrum begins with this many features that rise with loudness, its neighbours correlate this much on average, and
the mean of all features this much with the loudness."""
MASKED_SHARE, MASKED_FRAMES = 0.3, 5
"""Of features that are no spectrum: share of the stretches in which some frames in a row are not heard; how many."""
OFFSET, BLUR = 0.2, 0.3
"""Of such features, in standard deviations: spread of a stretch's offset, and of noise."""
DEAF_SHARE = 0.15
"""Share of such features that a stretch does not hear."""


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
    """How an encoder's features behave on this speaker, learnt from the features themselves and their loudness.

    Attributes:
        low: Least value of each feature, `D`.
        high: Greatest value of each feature, `D`.
        spread: Standard deviation of each feature, `D`.
        middle: Mean of each feature, `D`.
        quiet: Mean of each feature over the quietest looks, `D`.
        loud: 1 for features that rise with loudness (a spectrum does, pitch does not), `D`; all 0 if they are no
            spectrum, of which nothing is known but its spread.
    """

    low: Tensor
    high: Tensor
    spread: Tensor
    middle: Tensor
    quiet: Tensor
    loud: Tensor

    @classmethod
    def of(cls, sound: Tensor, loudness: Tensor | None = None) -> Voice:
        """Of features `T W D` and the loudness of their frames, `T`; without it, of features known to be a spectrum."""
        looks = sound.flatten(0, 1)
        level = looks.mean(1)
        away = looks - looks.mean(0)
        unit = away / away.norm(dim=0).clamp_min(1e-6)
        loud = (_unit(level) @ unit > LOUD_ABOVE).float()
        if loudness is not None:
            told = loudness.repeat_interleave(sound.shape[1])
            if not _is_spectrum(unit, loud, float(_unit(level) @ _unit(told))):
                level, loud = told, torch.zeros_like(loud)
        quiet = looks[level.argsort(stable=True)[: max(1, len(level) // 50)]].mean(0)
        return cls(looks.amin(0), looks.amax(0), looks.std(0, correction=0), looks.mean(0), quiet, loud)

    def silence(self, depth: Tensor) -> Tensor:
        """Silence, from this recording's own (0) down to what is quieter than anything heard (1); `... D`."""
        least = self.low - 0.1 * (self.high - self.low)
        return self.quiet + depth[..., None] * self.loud * (least - self.quiet)

    def disguised(self, sound: Tensor, strength: float, random: Generator) -> Tensor:
        """Another voice, room and microphone saying the same.

        Of a spectrum: tone colour, vocal tract, noise, constant over a stretch. Of other features: an offset and deaf
        features, constant over a stretch, frames that are not heard, and noise.

        Args:
            sound: `B T W D`.
            strength: 1 is usual.
            random: The step's generator.
        """
        if not self.loud.any():
            return self._blurred(sound, strength, random)
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

    def _blurred(self, sound: Tensor, strength: float, random: Generator) -> Tensor:
        batch, window, _, depth = sound.shape
        x = (sound - self.middle) / self.spread.clamp_min(1e-6)
        x = x + OFFSET * strength * torch.randn(batch, 1, 1, depth, generator=random)
        x = x + BLUR * strength * torch.randn(x.shape, generator=random)
        heard = (torch.rand(batch, 1, 1, depth, generator=random) >= DEAF_SHARE * strength).float()
        first = torch.rand(batch, 1, generator=random) * (window - MASKED_FRAMES)
        length = torch.rand(batch, 1, generator=random) * MASKED_FRAMES
        chosen = torch.rand(batch, 1, generator=random) < MASKED_SHARE * strength
        frame = torch.arange(window)
        masked = chosen & (frame >= first) & (frame < first + length)
        return self.middle + x * heard * (~masked).float()[:, :, None, None] * self.spread

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


def _unit(level: Tensor) -> Tensor:
    away = level - level.mean()
    return away / away.norm().clamp_min(1e-6)


def _is_spectrum(unit: Tensor, loud: Tensor, alike: float) -> bool:
    """Whether features begin with the bands of a spectrum, and their mean is the loudness.

    Args:
        unit: Features, each centred and of norm 1 over the looks.
        loud: 1 for those that rise with the mean of all.
        alike: Correlation of that mean with the loudness.
    """
    bands = int(loud.cumprod(0).sum())
    if bands < LEAST_BANDS or alike < MEAN_IS_LOUDNESS:
        return False
    return float((unit[:, : bands - 1] * unit[:, 1:bands]).sum(0).mean()) > NEIGHBOURS


def transposed(tune: Tensor, strength: float, random: Generator) -> Tensor:
    """Pitch `B T 2` (half octaves, voicing) of voices up to some semitones higher or lower; `B T 0` stays as it is."""
    if not tune.shape[2]:
        return tune
    shift = 0.3 * strength * torch.randn(len(tune), 1, generator=random)
    return torch.stack([tune[..., 0] + shift * (tune[..., 1] >= 0.5), tune[..., 1]], 2)


def with_pauses(
    sound: Tensor, tune: Tensor, motion: Tensor, voice: Voice, rest: Tensor, random: Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Puts a pause into some stretches: silence to hear, the resting face to show, with a short way there and back."""
    batch, window = sound.shape[:2]
    sound, tune, motion = sound.clone(), tune.clone(), motion.clone()
    frame = torch.arange(window, dtype=torch.float32)
    chosen = torch.rand(batch, generator=random) < QUIET_SHARE
    depth = torch.rand(batch, generator=random)
    edges = torch.rand(batch, 2, generator=random) * (window * 1.2) - window * 0.1
    for row in torch.nonzero(chosen).flatten().tolist():
        first, last = sorted(edges[row].tolist())
        inside = ((frame + 0.5 - first) / 0.5).clamp(0, 1) * ((last - frame - 0.5) / 0.5).clamp(0, 1)
        shut = ((frame + 0.5 - first) / PAUSE_FADE).clamp(0, 1) * ((last - frame - 0.5) / PAUSE_FADE).clamp(0, 1)
        silent = (inside >= 1).float()
        sound[row] = torch.lerp(sound[row], voice.silence(depth[row]).expand_as(sound[row]), silent[:, None, None])
        tune[row] *= 1 - silent[:, None]
        motion[row] = torch.lerp(motion[row], rest.expand_as(motion[row]), (shut * shut * (3 - 2 * shut))[:, None])
    return sound, tune, motion
