"""Pitch by pYIN (Mauch and Dixon 2014), in blocks with margins, so that no row depends on how the sound was cut."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy.typing import NDArray
from torch import Tensor

from realtalk_core.hearing.encoder import RowEncoder

LOWEST, HIGHEST = 55.0, 600.0
"""Range of pitches, Hz: low men to high women; children and song mostly."""
SEMITONES = 0.2
"""Steps between pitches that are told apart; twice as fine takes three times as long."""
STATED_ABOVE = 57.0
"""Rumble below the range settles on its lowest pitches; they are not believed."""
RUMBLE_BELOW = 70.0
"""Corner of a steep high-pass, Hz: hum is no pitch, and a low voice is heard by its harmonics."""
THRESHOLDS = (2.0, 34 / 3)
"""Beta distribution of YIN's threshold, its mean 0.15: librosa's 0.1 leaves half of a hoarse or noisy voice out."""
INAUDIBLE = 3e-4
"""Root mean square below which nothing has a pitch."""


@cache
def _high_pass(rate: int) -> NDArray[np.float64]:
    from scipy.signal import butter

    return np.asarray(butter(4, RUMBLE_BELOW, "highpass", fs=rate, output="sos"))


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
        from scipy.signal import sosfilt

        sound = np.asarray(sosfilt(_high_pass(self.sample_rate), samples.numpy()), np.float32)
        f0, voiced, _ = librosa.pyin(
            sound,
            fmin=LOWEST,
            fmax=HIGHEST,
            sr=self.sample_rate,
            frame_length=self.kernel,
            hop_length=self.hop,
            resolution=SEMITONES,
            beta_parameters=THRESHOLDS,
            fill_na=LOWEST,
            center=False,
        )
        spans = np.lib.stride_tricks.sliding_window_view(sound, self.kernel)[:: self.hop]
        audible = np.square(spans).mean(1) > INAUDIBLE**2
        there = (voiced & audible & (f0 > STATED_ABOVE)).astype(np.float32)
        return torch.from_numpy(np.stack([np.log2(f0 / LOWEST) * there, there], 1).astype(np.float32))


def pitch_of(looks: Float[Tensor, "T 2 2"]) -> tuple[Float32[Tensor, "T"], Float32[Tensor, "T"]]:
    """Pitch in Hz, 0 where there is none for at least half of the looks, and how much of the looks has one."""
    octaves, there = looks.double().sum(1).unbind(-1)  # double: single precision rounds by the length of the batch
    voiced = there / looks.shape[1]
    f0 = LOWEST * torch.exp2(octaves / there.clamp_min(1e-6))
    return torch.where(voiced >= 0.5, f0, 0.0).float(), voiced.clamp(0, 1).float()
