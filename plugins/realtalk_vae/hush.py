"""Silence, told from features that are a spectrum, else by the loudness of levelled sound beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, max_pool1d, pad

from realtalk_core.types import AudioFeatures
from realtalk_vae.augment import Voice

HUSH_REACH = 2
HUSH_WIDTH = 0.25
"""Share of the way from pauses to speech over which silence fades out."""
PAUSES = 0.05
"""Share of the frames that are taken to be pauses."""
DEEPEST = 24.0
"""Decibels below plain speech from which on everything is silence, however quiet the recording's own pauses are."""


@dataclass(frozen=True)
class Hush:
    """Tells silence, so that lips rest in it whatever the network makes of sound it has never heard.

    Attributes:
        low: Level of the recording's own pauses; at it and below there is silence.
        high: Level of plain speech.
        share: Share of each number of a row in the level, `F`, where it is told from a spectrum; None where it is the
            loudness beside the rows, in decibels.
    """

    low: float
    high: float
    share: Tensor | None = None

    @classmethod
    def by_loudness(cls, loudness: Tensor) -> Self:
        """From the loudness of training frames, `T`."""
        high = float(loudness.median())
        return cls(max(float(loudness.quantile(PAUSES)), high - DEEPEST), high)

    @classmethod
    def by_spectrum(cls, voice: Voice, heard: Tensor) -> Self:
        """From training frames `T F`, the features that rise with their mean being what is weighed."""
        loud = voice.loud if voice.loud.any() else torch.ones_like(voice.loud)
        share = loud.repeat(heard.shape[1] // len(loud))
        share = share / share.sum()
        level = heard @ share
        return cls(float(level.quantile(0.02)), float(level.median()), share)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """As `tensors` gave it."""
        return cls(float(tensors["hush.low"]), float(tensors["hush.high"]), tensors.get("hush.share"))

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        share = {} if self.share is None else {"hush.share": self.share}
        return {**share, "hush.low": torch.tensor([self.low]), "hush.high": torch.tensor([self.high])}

    def level(self, audio: AudioFeatures) -> Tensor:
        """How loud each frame is, `T`.

        Raises:
            ValueError: if the features come without the loudness that silence is told by.
        """
        if self.share is not None:
            return audio.rows() @ self.share
        if audio.prosody is None or audio.prosody.loudness is None:
            raise ValueError("vae: tells silence by loudness, but the features come without prosody:loudness")
        return audio.prosody.loudness

    def silence(self, level: Tensor) -> Tensor:
        """How far each frame lies in silence, 0 to 1, of its level; pauses shorter than five frames are none."""
        around = pad(level[None, None], (HUSH_REACH, HUSH_REACH), mode="replicate")
        around = max_pool1d(around, 2 * HUSH_REACH + 1, 1)
        x = ((around - self.low) / max(HUSH_WIDTH * (self.high - self.low), 1e-6)).clamp(0, 1)
        x = pad(1 - x * x * (3 - 2 * x), (HUSH_REACH, HUSH_REACH), mode="replicate")
        return avg_pool1d(x, 2 * HUSH_REACH + 1, 1)[0, 0]
