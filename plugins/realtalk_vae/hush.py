"""Silence, told from an encoder's features without knowing the encoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, max_pool1d, pad

from realtalk_vae.augment import Voice

HUSH_REACH = 2
HUSH_WIDTH = 0.25
"""Share of the way from pauses to speech over which silence fades out."""


@dataclass(frozen=True)
class Hush:
    """Tells silence, so that lips rest in it whatever the network makes of sound it has never heard.

    Attributes:
        share: Share of each feature in a frame's level, `W D` flattened; only features that rise with loudness.
        low: Level of the recording's own pauses; at it and below there is silence.
        high: Level of plain speech.
    """

    share: Tensor
    low: float
    high: float

    @staticmethod
    def learnt(voice: Voice, heard: Tensor) -> dict[str, Tensor]:
        """From training frames `T F`."""
        loud = voice.loud if voice.loud.any() else torch.ones_like(voice.loud)
        share = loud.repeat(heard.shape[1] // len(loud))
        share = share / share.sum()
        level = heard @ share
        return {
            "hush.share": share,
            "hush.low": level.quantile(0.02)[None],
            "hush.high": level.median()[None],
        }

    def silence(self, rows: Tensor) -> Tensor:
        """How far each frame of `T F` lies in silence, 0 to 1; pauses shorter than five frames are none."""
        level = (rows @ self.share)[None, None]
        around = max_pool1d(pad(level, (HUSH_REACH, HUSH_REACH), mode="replicate"), 2 * HUSH_REACH + 1, 1)
        x = ((around - self.low) / max(HUSH_WIDTH * (self.high - self.low), 1e-6)).clamp(0, 1)
        x = pad(1 - x * x * (3 - 2 * x), (HUSH_REACH, HUSH_REACH), mode="replicate")
        return avg_pool1d(x, 2 * HUSH_REACH + 1, 1)[0, 0]
