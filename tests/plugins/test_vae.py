"""`vae`: the contract; silence told by loudness whatever the encoder; features that are no spectrum; older avatars."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from realtalk_actor.actor import Actor
from realtalk_actor.dataset import landmarks
from realtalk_core import checkpoint
from realtalk_core.expression import lip_gap
from realtalk_core.testing import conformance
from realtalk_core.training.data import TrainingData, encoder_name
from realtalk_core.types import AudioFeatures, Prosody
from realtalk_mel import MelConfig
from realtalk_vae import VaeConfig, realtalk_components
from realtalk_vae.augment import Voice
from realtalk_vae.ear import Ear
from realtalk_vae.generator import VaeGenerator
from realtalk_vae.hush import Hush

HERE = Path(__file__).parent
MEL = encoder_name("mel", MelConfig())
DEMO = HERE.parents[1] / "plugins/realtalk_demo/data/avatar/landmarks.safetensors"
GOLDEN = HERE.parent / "golden/demo_speaks.npz"
MEL_LOUDNESS = 32
"""Column of `mel` that holds the loudness of levelled sound: decibels / 20 + 2."""

test_conformance = conformance("vae")


@pytest.fixture(scope="module")
def takes():
    """Two takes of one actor: his neutral face; features of `mel` with their prosody, and landmarks, of each."""
    stored = np.load(HERE.parent / "golden/held_out_speech.npz")
    actor = Actor(int(stored["actor"]))
    found = []
    for number in ("0", "1"):
        heard = torch.from_numpy(stored[f"heard{number}"].astype(np.float32) / 50 - 3)
        loudness = 20 * (heard[..., MEL_LOUDNESS].mean(1) - 2)
        voiced = heard[..., -1].mean(1).clamp(0, 1)
        f0 = torch.where(voiced >= 0.5, 150 * torch.exp2(heard[..., -2].mean(1)), 0.0)
        shapes = stored[f"shapes{number}"].astype(np.float64) / 255
        found.append((AudioFeatures(heard, 25.0, Prosody(f0, voiced, loudness)), landmarks(actor, shapes, 25.0)))
    return landmarks(actor, np.zeros((1, 52)), 25.0).points[0], found


def as_network(audio: AudioFeatures) -> AudioFeatures:
    """Features as of a network: two looks of 256 numbers at random mixtures and scales, one of them huge."""
    random = torch.Generator().manual_seed(1)
    x = audio.values[:, ::2, :33]
    x = torch.tanh((x + 1) @ torch.randn(33, 400, generator=random) / 4)
    x = torch.nn.functional.gelu(x @ torch.randn(400, 256, generator=random) / 16)
    x = x * (torch.rand(256, generator=random) * 0.6 + 0.02)
    x[..., 7] = x[..., 7] * 50 + 5
    return AudioFeatures(x.contiguous(), audio.fps, audio.prosody)


def filmed(neutral, audio, track, encoder=MEL):
    capture = SimpleNamespace(landmarks=track, tracks=SimpleNamespace(neutral=neutral, landmarks=track.points))
    every = torch.arange(len(track))
    return TrainingData(capture, audio, every, every[:0], 0, encoder)


def trained(config, data):
    made = VaeGenerator.for_training(config, data)
    (optimizer,) = made.optimizers()
    for step in range(config.steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        made.training_step(made.batch(data, step), step)["loss"].backward()
        optimizer.step()
        made.after_step(step)
    return made


def quick(steps=1, **more):
    return VaeConfig(prior="none", steps=steps, batch=4, window=32, hidden=32, condition=32, **more)


@pytest.fixture(scope="module")
def stranger(takes):
    """Trained a little on features that no prior knows, and what it was trained on."""
    neutral, found = takes
    audio, track = as_network(found[1][0]), found[1][1]
    return trained(quick(40, learning_rate=3e-3), filmed(neutral, audio, track, "hubert:1"))


def test_lips_follow_features_of_any_encoder(takes, stranger):
    audio, track = takes[1][0]
    r = np.corrcoef(lip_gap(stranger.generate(as_network(audio)).points), lip_gap(track.points))[0, 1]
    assert r > 0.5


def test_lips_rest_where_it_is_quiet_whatever_the_features_say(takes, stranger):
    audio = as_network(takes[1][0][0])
    quiet = AudioFeatures(audio.values, 25.0, Prosody(loudness=torch.full((len(audio),), -60.0)))
    gap = lip_gap(stranger.generate(quiet).points)
    assert float(gap.std()) < 1e-4
    speech = audio.prosody.loudness.clone()
    speech[40:60] = -60.0
    gap = lip_gap(stranger.generate(AudioFeatures(audio.values, 25.0, Prosody(loudness=speech))).points)
    assert float(gap[46:54].std()) < 1e-4
    assert float(gap.std()) > 0.02


def test_loudness_is_asked_for_and_missed(takes, stranger):
    (spec,) = realtalk_components()
    assert spec.tokens_needed(VaeConfig()) == {"prosody:loudness"}
    assert spec.tokens_needed(VaeConfig(pitch=True)) == {"prosody:loudness", "prosody:f0"}
    audio = as_network(takes[1][0][0])
    with pytest.raises(ValueError, match="come without prosody:loudness"):
        stranger.generate(AudioFeatures(audio.values, 25.0))


def test_chunks_join(takes, stranger):
    audio = as_network(takes[1][0][0])
    whole, reach = stranger.generate(audio).points, stranger.context_frames
    first = len(audio) - 20 - reach
    assert first > 0
    part = stranger.generate(audio[first:], start=first).points[reach:]
    assert float((part - whole[-20:]).abs().max()) < 1e-4


def test_without_loudness_silence_is_told_from_the_features_and_that_is_said(takes):
    neutral, found = takes
    audio, track = found[1]
    bare = AudioFeatures(audio.values, 25.0)
    made = VaeGenerator.for_training(VaeConfig(steps=0), filmed(neutral, bare, track))
    assert "silence is told from the features" in made.remarks[1]
    assert "hush.share" in made.state()
    made.generate(bare)


def test_a_spectrum_tells_silence_itself_and_other_features_do_not(takes, stranger):
    neutral, found = takes
    made = VaeGenerator.for_training(VaeConfig(steps=0), filmed(neutral, *found[1]))
    assert len(made.remarks) == 1
    assert "hush.share" in made.state()
    assert "hush.share" not in stranger.state()


def test_an_avatar_of_an_older_version_speaks_as_it_did():
    header, tensors = checkpoint.load(DEMO)
    assert "hush.share" in tensors  # told from the spectrum itself; no loudness is needed
    made = VaeGenerator.from_state(VaeConfig(**header.config), {k: v.float() for k, v in tensors.items()})
    with np.load(GOLDEN) as file:
        audio, gaps = torch.from_numpy(file["heard"].astype(np.float32) / 50 - 3), file["gaps"]
    made_gaps = lip_gap(made.generate(AudioFeatures(audio, 25.0)).points).numpy()
    assert np.abs(made_gaps - gaps).max() < 1e-3


def test_a_spectrum_is_recognised_and_what_is_none(takes):
    audio, _ = takes[1][1]
    loudness = audio.prosody.loudness
    mel = Voice.of(audio.values, loudness)
    assert torch.equal(mel.loud, Voice.of(audio.values).loud)
    assert mel.loud[:20].min() == 1
    assert not Voice.of(as_network(audio).values, loudness).loud.any()
    mixed = torch.randperm(36, generator=torch.Generator().manual_seed(0))
    assert not Voice.of(audio.values[..., mixed] * (torch.arange(36) % 2 * 2 - 1), loudness).loud.any()


def test_features_that_are_no_spectrum_are_blurred_within_their_own_ranges(takes):
    audio = as_network(takes[1][1][0])
    voice = Voice.of(audio.values, audio.prosody.loudness)
    some = audio.values[:64][None].expand(8, -1, -1, -1)
    one, again = (voice.disguised(some, 1.0, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, again)
    off = (one - some).flatten(0, 2).std(0) / voice.spread
    assert float(off.median()) > 0.2
    assert float(off.max()) < 2.0
    deaf = (one == voice.middle).all(2).all(1)  # of a whole stretch
    assert 0.05 < float(deaf.float().mean()) < 0.3
    assert torch.equal(voice.silence(torch.tensor([0.0]))[0], voice.silence(torch.tensor([1.0]))[0])


def test_many_numbers_are_heard_by_their_principal_components(takes):
    audio = as_network(takes[1][1][0])
    ear = Ear.learnt(audio.rows(), 12, pitch=False)
    heard = ear.heard(ear.looks(audio), ear.tune(audio))
    assert heard.shape == (len(audio), 12)
    assert ear.size == 12
    cross = (heard.T @ heard / len(heard)).numpy()
    assert np.abs(cross - np.diag(np.diag(cross))).max() < 0.02
    assert (np.diff(np.diag(cross)) <= 1e-5).all()
    back = Ear.from_tensors(ear.tensors(), False)
    assert torch.equal(back.heard(back.looks(audio), back.tune(audio)), heard)
    assert Ear.learnt(audio.rows(), 512, pitch=False).size == len(audio) // 10
    assert Ear.learnt(audio.rows()[:, :144], 12, pitch=False).project is None
    with pytest.raises(ValueError, match=r"trained on features of 512 numbers a frame, got 36"):
        ear.looks(AudioFeatures(torch.zeros(3, 36), 25.0))


def test_pitch_is_heard_beside_the_features(takes):
    neutral, found = takes
    audio, track = found[1]
    data = filmed(neutral, audio, track)
    made = trained(quick(2, pitch=True), data)
    assert made.batch(data, 0)["sound"].shape[1] == 4 * 36 + 2
    higher = Prosody(audio.prosody.f0 * 1.5, audio.prosody.voiced, audio.prosody.loudness)
    same, other = (made.generate(AudioFeatures(audio.values, 25.0, p)).points for p in (audio.prosody, higher))
    assert not torch.equal(same, other)
    with pytest.raises(ValueError, match="without prosody:f0"):
        made.generate(AudioFeatures(audio.values, 25.0, Prosody(loudness=audio.prosody.loudness)))
    (remark,) = VaeGenerator.for_training(VaeConfig(pitch=True), data).remarks
    assert "does not listen to pitch" in remark


def test_silence_lies_between_pauses_and_speech():
    loudness = torch.cat([torch.full((30,), -45.0), torch.full((100,), -20.0), torch.full((5,), -80.0)])
    hush = Hush.by_loudness(loudness)
    assert hush.low == -44.0  # digital silence does not make pauses loud
    quiet = hush.silence(loudness)
    assert float(quiet[:26].min()) == 1.0
    assert float(quiet[36:126].max()) == 0.0
    assert Hush.from_tensors(hush.tensors()) == hush
