"""Pitch, loudness and voice activity: right, on video frames, and the same however the sound is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from realtalk_core.audio import _HIGH_PASS, _SHELF, read_audio
from realtalk_core.config.needs import PROSODY
from realtalk_core.errors import UserError
from realtalk_core.hearing import activity
from realtalk_core.hearing.level import GainStream, block_gains, block_powers
from realtalk_core.hearing.prosody import ProsodyStream, k_weighting, prosody, prosody_key
from realtalk_core.models import VARIABLE
from realtalk_core.types import AudioClip, Prosody, concat_prosody

SPEECH = Path(__file__).parents[2] / "plugins/realtalk_demo/data/speech.opus"
LOUDNESS, ACTIVITY, F0 = ({f"prosody:{name}"} for name in ("loudness", "activity", "f0"))


@pytest.fixture
def energy(monkeypatch):
    """As on a machine without Silero's file."""
    monkeypatch.setattr(activity, "find_model", lambda name: None)


def clip(samples, rate: int = 16000) -> AudioClip:
    return AudioClip(torch.as_tensor(np.asarray(samples, np.float32)), rate)


def voice(seconds: float, low: float, high: float, rate: int = 16000) -> tuple[np.ndarray, np.ndarray]:
    """A buzz whose pitch glides evenly in octaves, and its pitch at each sample."""
    t = np.arange(round(seconds * rate)) / rate
    f = low * (high / low) ** (t / seconds)
    phase = 2 * np.pi * np.cumsum(f) / rate
    x = sum(np.where(k * f < 7000, np.sin(k * phase) / k, 0) for k in range(1, 30))
    return 0.07 * x, f


def noise(seconds: float, level: float, rate: int = 16000) -> np.ndarray:
    return level * np.random.default_rng(0).standard_normal(round(seconds * rate))


def phrase(rate: int, seconds: float) -> AudioClip:
    """Bursts of a voice over faint noise."""
    x, _ = voice(seconds, 110, 160, rate)
    t = np.arange(len(x)) / rate
    return clip(x * (np.sin(2 * np.pi * 0.7 * t) > 0) + noise(seconds, 1e-3, rate), rate)


@pytest.mark.parametrize(("low", "high"), [(60, 500), (500, 60)])
def test_pitch_follows_a_glide_in_its_octave(low, high):
    x, f = voice(4.0, low, high)
    heard = prosody(clip(x), 25.0, F0)
    true = np.interp((np.arange(len(heard)) + 0.5) / 25 * 16000, np.arange(len(f)), f)
    cents = 1200 * np.log2(heard.f0.numpy()[1:-1] / true[1:-1])
    assert np.abs(cents).max() < 60
    assert np.abs(cents).mean() < 10
    assert float(heard.voiced[1:-1].min()) == 1.0


@pytest.mark.parametrize(
    "sound",
    [noise(3.0, 0.1), np.zeros(48000), 0.2 * np.sin(2 * np.pi * 50 * np.arange(48000) / 16000) + noise(3.0, 0.003)],
    ids=["noise", "silence", "hum"],
)
def test_what_is_no_voice_has_no_pitch(sound):
    heard = prosody(clip(sound), 25.0, F0)
    assert float((heard.f0 > 0).float().mean()) < 0.02
    assert not (heard.f0[heard.voiced < 0.5] > 0).any()


def test_loudness_is_of_levelled_sound():
    x, _ = voice(6.0, 120, 130)
    loud, quiet = (prosody(clip(x * gain), 25.0, LOUDNESS).loudness for gain in (1.0, 0.1))
    assert float((loud - quiet).abs().max()) < 1.5
    assert abs(float(loud.mean()) + 20) < 2
    assert torch.equal(prosody(clip(np.zeros(16000)), 25.0, LOUDNESS).loudness, torch.full((25,), -80.0))


@pytest.mark.parametrize(("rate", "fps"), [(16000, 25.0), (44100, 30.0), (48000, 29.97)])
def test_a_burst_shows_on_its_frame(rate, fps):
    for frame in (20, 33):
        x = np.zeros(3 * rate)
        middle = round((frame + 0.5) / fps * rate)
        x[middle - rate // 200 : middle + rate // 200] = noise(1.0, 0.3, rate)[: 2 * (rate // 200)]
        assert int(prosody(clip(x, rate), fps, LOUDNESS).loudness.argmax()) == frame


def test_k_weighting_is_the_standards_at_its_rate():
    for (b, a), (numerator, denominator) in zip(k_weighting(48000), (_SHELF, _HIGH_PASS), strict=True):
        np.testing.assert_allclose(b, numerator, atol=1e-8)
        np.testing.assert_allclose(a, denominator, atol=1e-8)


@pytest.mark.parametrize("found", [pytest.param("silero", marks=pytest.mark.models), "energy"])
@pytest.mark.parametrize(("rate", "fps", "seconds"), [(16000, 25.0, 6.03), (44100, 29.97, 4.1), (8000, 60.0, 0.02)])
def test_pieces_give_the_rows_of_the_whole(monkeypatch, found, rate, fps, seconds):
    if found == "energy":
        monkeypatch.setattr(activity, "find_model", lambda name: None)
    sound = phrase(rate, seconds)
    whole = prosody(sound, fps, PROSODY)
    assert len(whole) == sound.frames(fps)
    assert whole.detector == found
    for size in (0.2, 1.37):
        stream, parts, fed = ProsodyStream(rate, fps, PROSODY), [], 0
        for piece in sound.samples.split(round(size * rate)):
            parts.append(stream.feed(piece))
            fed += len(piece)
            assert sum(map(len, parts)) >= int((fed / rate - stream.lookahead_seconds) * fps)
        joined = concat_prosody([*parts, stream.close()])
        for name in ("f0", "voiced", "loudness", "activity"):
            assert torch.equal(getattr(joined, name), getattr(whole, name)), name


def test_only_what_is_asked_for_is_heard():
    heard = prosody(phrase(16000, 1.0), 25.0, LOUDNESS)
    assert (heard.f0, heard.voiced, heard.activity, heard.detector) == (None, None, None, "")
    assert len(prosody(clip([]), 25.0, LOUDNESS | F0)) == 1
    assert prosody_key(LOUDNESS) != prosody_key(F0)
    with pytest.raises(ValueError, match="unknown prosody:mood"):
        prosody(phrase(16000, 1.0), 25.0, {"prosody:mood"})
    with pytest.raises(ValueError, match="nothing is asked for"):
        prosody(phrase(16000, 1.0), 25.0, ())


def test_sound_that_is_not_a_number_is_silence():
    x = phrase(16000, 2.0).samples.clone()
    x[8000:9000] = torch.nan
    heard = prosody(AudioClip(x, 16000), 25.0, PROSODY)
    assert isinstance(heard, Prosody)
    assert float(heard.loudness[13]) < float(heard.loudness[10]) - 20


def test_energy_hears_bursts_over_steady_noise(energy):
    spoken = prosody(phrase(16000, 8.0), 25.0, ACTIVITY)
    assert spoken.detector == "energy"
    middles = (np.arange(200) + 0.5) / 25
    cycle = np.sin(2 * np.pi * 0.7 * middles)
    assert float(spoken.activity[torch.from_numpy(cycle > 0.5)].min()) > 0.9
    assert float(spoken.activity[torch.from_numpy(cycle < -0.7)].max()) < 0.1
    assert float(prosody(clip(noise(5.0, 0.1)), 25.0, ACTIVITY).activity.max()) < 0.1
    assert float(prosody(clip(np.zeros(50000)), 25.0, ACTIVITY).activity.max()) < 0.01


def test_which_detector_it_was_is_said(energy):
    assert activity.detector() == "energy"
    assert "energy alone" in activity.remark("energy")
    assert activity.MODEL in activity.remark("energy")
    assert prosody_key(ACTIVITY).endswith("energy")


@pytest.mark.models
def test_silero_hears_speech_at_any_level_and_nothing_else():
    speech = read_audio(SPEECH, 16000)
    shares = [
        float((prosody(clip(speech.samples * gain), 25.0, ACTIVITY).activity > 0.5).float().mean())
        for gain in (1.0, 0.02)
    ]
    assert shares[0] > 0.6
    assert abs(shares[0] - shares[1]) < 0.05
    assert "Silero" in activity.remark(prosody(speech, 25.0, ACTIVITY).detector)
    for other in (noise(4.0, 0.1), np.zeros(64000)):
        assert float((prosody(clip(other), 25.0, ACTIVITY).activity > 0.5).float().mean()) == 0


def test_a_damaged_detector_is_refused_not_replaced(tmp_path, monkeypatch):
    (tmp_path / activity.MODEL).write_bytes(b"not a network")
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(UserError, match="damaged or another version"):
        ProsodyStream(16000, 25.0, ACTIVITY)


def test_gains_of_pieces_are_those_of_the_whole():
    powers = block_powers(phrase(16000, 9.0).samples.numpy() ** 3, 16000)
    stream = GainStream()
    parts = [stream.feed(powers[first : first + 37]) for first in range(0, len(powers), 37)]
    assert np.array_equal(np.concatenate([*parts, stream.close()]), block_gains(powers))
