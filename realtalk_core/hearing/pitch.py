"""Pitch by pYIN (Mauch and Dixon 2014), in blocks with margins, so that no row depends on how the sound was cut."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from realtalk_core.hearing.encoder import RowEncoder

LOWEST, HIGHEST = 55.0, 600.0
"""Range of pitches, Hz: low men to high women; children and song mostly."""
SEMITONES = 0.2
"""Steps between pitches that are told apart; twice as fine takes three times as long."""
INAUDIBLE = 3e-4
"""Root mean square below which nothing has a pitch."""


class PitchRows(RowEncoder):
    """Rows at 100 Hz: how many octaves the pitch is above `LOWEST`, times whether there is one, and whether."""

    hop = 160
    kernel = 1024
    window = 2
    block_seconds = 2.0
    margin_seconds = 0.5

    def rows(self, samples: Float32[Tensor, "N"]) -> Float[Tensor, "R 2"]:
        """See `RowEncoder`."""
        import librosa

        sound = samples.numpy()
        f0, voiced, _ = librosa.pyin(
            sound,
            fmin=LOWEST,
            fmax=HIGHEST,
            sr=self.sample_rate,
            frame_length=self.kernel,
            hop_length=self.hop,
            resolution=SEMITONES,
            fill_na=LOWEST,
            center=False,
        )
        spans = np.lib.stride_tricks.sliding_window_view(sound, self.kernel)[:: self.hop]
        there = (voiced & (np.square(spans).mean(1) > INAUDIBLE**2)).astype(np.float32)
        return torch.from_numpy(np.stack([np.log2(f0 / LOWEST) * there, there], 1).astype(np.float32))


def pitch_of(looks: Float[Tensor, "T 2 2"]) -> tuple[Float32[Tensor, "T"], Float32[Tensor, "T"]]:
    """Pitch in Hz, 0 where there is none for at least half of the looks, and how much of the looks has one."""
    octaves, there = looks.sum(1).unbind(-1)
    voiced = there / looks.shape[1]
    f0 = LOWEST * torch.exp2(octaves / there.clamp_min(1e-6))
    return torch.where(voiced >= 0.5, f0, 0.0), voiced.clamp(0, 1)
