"""The priors that ship: they are used, or it is said why not; without a training step lips follow sound."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from realtalk_actor.actor import Actor
from realtalk_actor.dataset import landmarks
from realtalk_core import checkpoint
from realtalk_core.emotion import EmotionPlan, Key
from realtalk_core.errors import UserError
from realtalk_core.expression import lip_gap
from realtalk_core.training.data import TrainingData, encoder_name
from realtalk_core.types import AudioClip, AudioFeatures, LandmarkTrack, Prosody
from realtalk_ldm import LdmConfig
from realtalk_ldm import shipped as ldm_prior
from realtalk_ldm.deformer import LdmDeformer
from realtalk_mel import MelConfig
from realtalk_mel.encoder import MelEncoder
from realtalk_vae import VaeConfig
from realtalk_vae import prior as vae_prior
from realtalk_vae.generator import VaeGenerator

MEL = encoder_name("mel", MelConfig())
FIXTURE = Path(__file__).parents[1] / "golden" / "held_out_speech.npz"


@pytest.fixture(scope="module")
def spoken():
    """Two takes of an actor, a voice and sentences the priors were never trained on; landmarks from the actor."""
    stored = np.load(FIXTURE)
    actor = Actor(int(stored["actor"]))
    neutral = landmarks(actor, np.zeros((1, 52)), 25.0).points[0]
    takes = []
    for number in ("0", "1"):
        shapes = stored[f"shapes{number}"].astype(np.float64) / 255
        heard = torch.from_numpy(stored[f"heard{number}"].astype(np.float32) / 50 - 3)
        takes.append((heard, landmarks(actor, shapes, 25.0), torch.from_numpy(stored[f"closed{number}"]).long()))
    return neutral, takes


def said(heard):
    """Features with their loudness, which `mel` holds in column 32: decibels of levelled sound / 20 + 2."""
    return AudioFeatures(heard, 25.0, Prosody(loudness=20 * (heard[..., 32].mean(1) - 2)))


def filmed(neutral, take, encoder=MEL):
    heard, track, _ = take
    capture = SimpleNamespace(landmarks=track, tracks=SimpleNamespace(neutral=neutral, landmarks=track.points))
    every = torch.arange(len(track))
    return TrainingData(capture, said(heard), every, every[:0], 0, encoder)


@pytest.fixture(scope="module")
def untrained(spoken):
    """The prior on the actor's face, without a training step."""
    neutral, takes = spoken
    return VaeGenerator.for_training(VaeConfig(steps=0), filmed(neutral, takes[1]))


def test_lips_follow_a_new_voice_without_training(spoken, untrained):
    heard, track, closed = spoken[1][0]
    made, true = (lip_gap(points) for points in (untrained.generate(said(heard)).points, track.points))
    by_lag = {k: np.corrcoef(made[3 + k : len(made) - 3 + k], true[3:-3])[0, 1] for k in range(-3, 4)}
    assert by_lag[0] > 0.8
    assert abs(max(by_lag, key=by_lag.get)) <= 1
    reach = torch.stack([made[closed - 1], made[closed], made[(closed + 1).clamp_max(len(made) - 1)]]).amin(0)
    assert (reach < 0.12 * true.quantile(0.95)).float().mean() >= 0.8


def test_lips_rest_in_silence_without_training(untrained):
    quiet = MelEncoder(MelConfig()).encode(AudioClip(torch.zeros(32000), 16000), 25.0)
    gap = lip_gap(untrained.generate(said(quiet.values)).points)
    assert float(gap.max()) < 0.1
    assert float(gap.std()) < 0.01


def test_without_the_prior_nothing_is_known(spoken):
    neutral, takes = spoken
    made = VaeGenerator.for_training(VaeConfig(prior="none", steps=1), filmed(neutral, takes[1]))
    assert made.remarks == ("vae: starts from random weights, as asked (prior: none)",)
    heard, track, _ = takes[0]
    r = np.corrcoef(lip_gap(made.generate(said(heard)).points), lip_gap(track.points))[0, 1]
    assert abs(r) < 0.6


def test_training_from_the_prior_keeps_what_it_knows(spoken):
    neutral, takes = spoken
    data = filmed(neutral, takes[1])
    made = VaeGenerator.for_training(VaeConfig(steps=20, batch=4), data)
    (optimizer,) = made.optimizers()
    for step in range(20):
        optimizer.zero_grad()
        made.training_step(made.batch(data, step), step)["loss"].backward()
        optimizer.step()
        made.after_step(step)
    heard, track, _ = takes[0]
    r = np.corrcoef(lip_gap(made.generate(said(heard)).points), lip_gap(track.points))[0, 1]
    assert r > 0.75


@pytest.mark.parametrize(
    ("config", "encoder", "why"),
    [
        (VaeConfig(), "hubert:00000000", "it was trained with the sound of mel:"),
        (VaeConfig(), "", "an unnamed encoder"),
        (VaeConfig(hidden=80), MEL, "its networks have other sizes (hidden)"),
    ],
)
def test_a_prior_that_does_not_fit_is_said(spoken, config, encoder, why):
    neutral, takes = spoken
    made = VaeGenerator.for_training(config, filmed(neutral, takes[1], encoder))
    (remark,) = made.remarks
    assert remark.startswith("vae: starts from random weights")
    assert why in remark


def test_no_steps_and_no_prior_is_refused(spoken):
    neutral, takes = spoken
    with pytest.raises(UserError, match="nothing to speak with"):
        VaeGenerator.for_training(VaeConfig(prior="none", steps=0), filmed(neutral, takes[1]))


def vae_for(spoken, prior):
    return VaeGenerator.for_training(VaeConfig(prior=str(prior)), filmed(spoken[0], spoken[1][1]))


def ldm_for(spoken, prior):
    return LdmDeformer.for_training(LdmConfig(prior=str(prior)), filmed(spoken[0], spoken[1][1]))


BOTH = pytest.mark.parametrize(("build", "module"), [(vae_for, vae_prior), (ldm_for, ldm_prior)])


@BOTH
def test_a_damaged_prior_is_refused(spoken, tmp_path, build, module):
    data = bytearray(module.SHIPPED.read_bytes())
    data[-100] ^= 1
    (tmp_path / "bad.safetensors").write_bytes(data)
    with pytest.raises(UserError, match=r"prior: .*bad\.safetensors is damaged"):
        build(spoken, tmp_path / "bad.safetensors")


@BOTH
def test_a_newer_prior_is_refused(spoken, tmp_path, build, module):
    header, tensors = checkpoint.load(module.SHIPPED)
    newer = checkpoint.Header(**{**vars(header), "version": module.VERSION + 1})
    checkpoint.save(tmp_path / "new.safetensors", newer, tensors)
    with pytest.raises(UserError, match=r"version 2, this RealTalk reads up to 1") as caught:
        build(spoken, tmp_path / "new.safetensors")
    assert "pip install --upgrade" in caught.value.cure


@BOTH
def test_a_prior_of_something_else_or_none_is_refused(spoken, tmp_path, build, module):
    other = ldm_prior.SHIPPED if module is vae_prior else vae_prior.SHIPPED
    with pytest.raises(UserError, match=r"no prior of"):
        build(spoken, other)
    with pytest.raises(UserError, match=r"prior: .*nowhere"):
        build(spoken, tmp_path / "nowhere.safetensors")


def test_emotions_move_the_face_and_leave_shut_lips_shut(spoken):
    neutral, takes = spoken
    made = LdmDeformer.for_training(LdmConfig(), filmed(neutral, takes[1]))
    assert made.total_steps == 0
    assert made.remarks == ("ldm: takes the shipped prior, fitted to the face",)
    track: LandmarkTrack = takes[0][1]

    def felt(label, intensity=1.0):
        return made.deform(track, EmotionPlan((Key(0.0, label, intensity),)).track(len(track), 25.0)).points

    move = {label: (felt(label) - track.points).mean(0) for label in ("happy", "surprise", "angry", "sad")}
    assert float(move["happy"][[61, 291], 1].mean()) > 0.15  # corners up
    assert float(move["surprise"][[55, 285, 46, 276], 1].mean()) > 0.15  # brows up
    assert float(move["angry"][[55, 285], 1].mean()) < -0.1  # brows down
    assert float(move["sad"][[61, 291], 1].mean()) < -0.05  # corners down
    shut = lip_gap(track.points) < 0.02
    assert shut.any()
    for label in move:
        assert float(lip_gap(felt(label))[shut].max()) < 0.1
    assert torch.equal(felt("neutral"), track.points)


def test_the_priors_are_small_and_in_the_wheel():
    sizes = [module.SHIPPED.stat().st_size for module in (vae_prior, ldm_prior)]
    assert sum(sizes) < 15e6
    builder = pytest.importorskip("hatchling.builders.wheel", reason="hatchling builds the wheel")
    files = builder.WheelBuilder(str(Path(__file__).parents[2])).recurse_included_files()
    names = {Path(file.distribution_path).as_posix() for file in files}
    assert {"realtalk_vae/prior.safetensors", "realtalk_ldm/prior.safetensors"} <= names
