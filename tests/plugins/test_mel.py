"""The `mel` encoder: the contract, and its numbers, which the shipped priors were trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from realtalk_core.testing import conformance
from realtalk_core.types import AudioClip
from realtalk_mel import MelConfig
from realtalk_mel.encoder import MelEncoder

GOLDEN = Path(__file__).parent.parent / "golden" / "mel.npz"

test_conformance = conformance("mel")


def harmonics(rate: int, seconds: float = 9.0) -> AudioClip:
    """A gliding voice of eleven harmonics with gaps, its level changing a hundredfold, faint tones, silence at last."""
    t = np.arange(round(rate * seconds)) / rate
    phase = 2 * np.pi * np.cumsum(110 + 40 * np.sin(2 * np.pi * 0.31 * t)) / rate
    x = sum(np.sin(k * phase) / k for k in range(1, 12))
    x = x * (0.55 + 0.45 * np.sign(np.sin(2 * np.pi * 1.7 * t))) * 10 ** (-1 + np.sin(2 * np.pi * t / seconds))
    x = x * 0.2 + 0.0005 * np.sin(2 * np.pi * 997.3 * t) * np.sin(2 * np.pi * 3001.7 * t)
    x[t > seconds - 1.5] = 0
    return AudioClip(torch.from_numpy(np.clip(x, -1, 1).astype(np.float32)), rate)


@pytest.mark.parametrize(
    ("rate", "fps", "config"),
    [
        (16000, 25.0, MelConfig()),
        (48000, 30.0, MelConfig()),
        (11025, 29.97, MelConfig(level_seconds=0.5, sub_frames=2, n_mels=16)),
    ],
)
def test_numbers_are_those_the_priors_learnt(rate: int, fps: float, config: MelConfig) -> None:
    with np.load(GOLDEN) as file:
        expected = file[str(rate)]
    heard = MelEncoder(config).encode(harmonics(rate), fps).values[::9].numpy()
    # A pitch may hop where two lags are equally good, as rounding goes on another processor. What they learnt had its
    # DC in it, which shows in the loudness of the faintest looks.
    assert np.abs(heard - expected)[..., :-4].max() < (1e-3 if config.level_seconds == 3 else 0.02)
    assert np.abs(heard - expected)[..., -4:-2].max() < 0.1
    assert np.mean(np.abs(heard - expected)) < (1e-4 if config.level_seconds == 3 else 3e-3)


@pytest.mark.parametrize("fps", [25.0, 29.97])
def test_dc_is_not_heard(fps: float) -> None:
    clip = harmonics(16000)
    lifted = AudioClip(clip.samples * 0.5 + 0.4, 16000)
    plain = MelEncoder(MelConfig()).encode(AudioClip(clip.samples * 0.5, 16000), fps).values[:180]
    heard = MelEncoder(MelConfig()).encode(lifted, fps).values[:180]
    assert float((heard - plain)[..., :32].abs().max()) < 0.05
    assert float((heard - plain).abs().mean()) < 2e-3


def test_look_ahead_is_that_of_the_level_whatever_the_rates() -> None:
    for rate, fps in ((16000, 25.0), (44100, 29.97), (22050, 23.976)):
        assert MelEncoder(MelConfig()).stream(rate, fps).lookahead_seconds < 3.2


@pytest.mark.parametrize("samples", [torch.zeros(0), torch.full((320,), torch.nan), torch.zeros(16000)])
def test_nothing_to_hear_is_silence(samples: torch.Tensor) -> None:
    heard = MelEncoder(MelConfig()).encode(AudioClip(samples, 16000), 25.0).values
    silence = MelEncoder(MelConfig()).encode(AudioClip(torch.zeros(16000), 16000), 25.0).values
    assert torch.equal(heard, silence[: len(heard)])
