"""Audio encoder `deepspeech`: TensorFlow's and python_speech_features' numbers, rows where they belong, bad weights."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from realtalk_core import checkpoint
from realtalk_core.cli import run
from realtalk_core.encoders import encoder_name
from realtalk_core.errors import MissingDependencyError, UserError
from realtalk_core.hearing.front import Front
from realtalk_core.models import VARIABLE
from realtalk_core.types import AudioClip
from realtalk_deepspeech import DeepSpeechConfig
from realtalk_deepspeech.encoder import DeepSpeechEncoder, inputs, load, save_random
from realtalk_deepspeech.mfcc import mfcc
from realtalk_deepspeech.network import CONTEXT, DeepSpeech
from realtalk_deepspeech.taking_over import convert, read_weights

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "deepspeech.npz"
RATE = 16_000
TOLERANCE = 1e-4
"""On logits of about 1; what is found is 1e-6."""


@pytest.fixture(scope="module")
def golden():
    """A graph of TensorFlow with random weights, a sound, and what the original code made of it."""
    with np.load(GOLDEN) as stored:
        return {name: stored[name] for name in stored.files}


@pytest.fixture(scope="module")
def graph(golden):
    return golden["graph"].tobytes()


@pytest.fixture
def published(graph, tmp_path):
    """The graph as a file."""
    path = tmp_path / "output_graph.pb"
    path.write_bytes(graph)
    return path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    config = DeepSpeechConfig(block_seconds=1.0, margin_seconds=0.4)
    return DeepSpeechEncoder(DeepSpeechEncoder.tiny_weights(config, tmp_path_factory.mktemp("weights")))


def sound(seconds, seed=0, rate=RATE):
    """Noise whose loudness goes up and down like that of syllables."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    return torch.from_numpy((rng.normal(0, 0.1, len(time)) * np.sin(np.pi * 2 * time) ** 2).astype(np.float32))


# --- the original's numbers -------------------------------------------------------------------------------------------


def test_the_coefficients_are_those_of_python_speech_features(golden):
    assert golden["mfcc"].min() < -36 < 5 < golden["mfcc"].max()  # silence and sound
    np.testing.assert_allclose(mfcc(golden["sound"] / 32768), golden["mfcc"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(mfcc(golden["sound"] / 32768, 2), golden["mfcc"][::2], rtol=0, atol=1e-9)


def test_the_inputs_are_those_of_the_original(golden):
    given = inputs(torch.from_numpy(golden["sound"] / 32768).float())
    np.testing.assert_allclose(given.numpy(), golden["inputs"], rtol=0, atol=1e-5)


def test_the_network_gives_tensorflow_s_logits(golden, published):
    network = DeepSpeech.from_tensors(read_weights(published))
    rows = torch.from_numpy(golden["inputs"])
    np.testing.assert_allclose(network(rows).numpy(), golden["logits"], rtol=0, atol=TOLERANCE)
    for layer in (network.dense1, network.dense2, network.dense3):  # the weights make use of both ends of the ReLU
        rows = layer(rows)
        assert rows.min() < 0
        assert rows.max() > 20
        rows = rows.clamp(0, 20)


def test_converted_by_the_command_and_heard_in_one_block(golden, published, tmp_path, monkeypatch):
    """File to logits through every part that a user runs; the encoder's rows begin 40 samples before the original's."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "models"))
    assert run(["convert", "deepspeech", str(published)]) == 0
    encoder = DeepSpeechEncoder(DeepSpeechConfig(window=2, block_seconds=60.0))
    samples = torch.from_numpy(golden["sound"] / 32768).float()
    np.testing.assert_allclose(encoder.rows(samples).numpy(), golden["logits"], rtol=0, atol=TOLERANCE)
    clip = samples[40:]
    values = encoder.encode(AudioClip(clip, RATE), 25.0).values
    heard = torch.from_numpy(np.pad(Front(RATE, RATE).feed(clip.numpy()), (40, 320)))  # a row for each hop begun: 41
    assert values.shape == (20, 2, 29)
    assert torch.allclose(values.reshape(40, 29), encoder.rows(heard)[:40], atol=1e-6)


def test_converting_again_gives_the_same_weights(published, tmp_path, monkeypatch):
    """An avatar records the digest: a file that was written at another time or by another version has the same."""
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    convert(published, one)
    monkeypatch.setattr(checkpoint, "__version__", "99.0")
    convert(published, two)
    assert checkpoint.digest(one) != checkpoint.digest(two)
    assert load(one)[1] == load(two)[1]
    save_random(two, 8)
    assert load(one)[1] != load(two)[1]


@pytest.mark.skipif(
    not (find_spec("tensorflow") and find_spec("python_speech_features")),
    reason="tensorflow or python_speech_features is not installed; the stored numbers of both were compared",
)
def test_a_fresh_graph_run_by_tensorflow_itself(tmp_path):
    made, source = tmp_path / "fresh.npz", tmp_path / "fresh.pb"
    command = [sys.executable, ROOT / "recipes" / "deepspeech_graph.py", made, "--hidden", "24", "--seed", "99"]
    subprocess.run([*command, "--graph", source], check=True, capture_output=True)
    fresh = np.load(made)
    network = DeepSpeech.from_tensors(read_weights(source))
    samples = torch.from_numpy(fresh["sound"] / 32768).float()
    np.testing.assert_allclose(network(inputs(samples)).numpy(), fresh["logits"], rtol=0, atol=TOLERANCE)


# --- rows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", [24.0, 25.0, 29.97, 30.0, 50.0, 60.0])
def test_an_impulse_at_frame_k_shows_in_the_middle_of_row_k(encoder, monkeypatch, fps):
    """A network that passes on the energy of its own frame shows where each row listens."""
    monkeypatch.setattr(encoder, "network", lambda rows: rows[:, CONTEXT * 26 : CONTEXT * 26 + 1])
    quiet = sound(3.0) * 0.02
    before = encoder.encode(AudioClip(quiet, RATE), fps).values[..., 0]
    for frame in (0, 1, round(0.97 * fps), round(1.0 * fps), round(1.53 * fps), len(before) - 2, len(before) - 1):
        clicked = quiet.clone()
        clicked[round((frame + 0.5) / fps * RATE) - 1] += 0.9
        heard = encoder.encode(AudioClip(clicked, RATE), fps).values[..., 0]
        change = (heard - before).clamp(min=0)
        assert change.shape[1] == 16
        middle = change[:, 7:9].sum(1)
        assert middle.argmax() == frame
        if 8 <= frame < len(before) - 8:
            places = (change[frame] * torch.arange(16)).sum() / change[frame].sum()
            assert abs(float(places) - 7.5) < 0.5
            # whoever looks from another frame sees it as many rows to the side as lie between
            aside = (change[frame + 2] * torch.arange(16)).sum() / change[frame + 2].sum()
            assert abs(float(places - aside) - 2 * 50 / fps) < 0.5


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_pieces_of_200_ms_give_the_same_rows(encoder, rate):
    clip = sound(4.3, 1, rate)
    whole = encoder.encode(AudioClip(clip, rate), 25.0).values
    stream, parts, size = encoder.stream(rate, 25.0), [], rate // 5
    for at in range(0, len(clip), size):
        parts.append(stream.feed(clip[at : at + size]))
        rows = sum(len(part) for part in parts)
        known = min(at + size, len(clip)) / rate
        assert rows >= int((known - stream.lookahead_seconds) * 25)
    parts.append(stream.close())
    assert torch.equal(torch.cat([part for part in parts if len(part)]), whole)
    assert whole.shape == (108, 16, 29)


def test_blocks_differ_little_from_hearing_it_all(encoder):
    """By the whitening and the LSTM alone; docs/adr/0102 has numbers on real speech."""
    clip = AudioClip(sound(30.0, 2), RATE)
    config = DeepSpeechConfig(weights=encoder.config.weights, window=2)
    blocks = DeepSpeechEncoder(config).encode(clip, 25.0).values
    whole = DeepSpeechEncoder(config.model_copy(update={"block_seconds": 60.0})).encode(clip, 25.0).values
    error = (blocks - whole).square().mean().sqrt() / whole.std()
    assert 0 < error < 0.02


def test_silence_stays_silence(encoder):
    values = encoder.encode(AudioClip(torch.zeros(4 * RATE), RATE), 25.0).values
    assert values.isfinite().all()
    inner = values[20:30]
    assert torch.allclose(inner, inner[:1].expand_as(inner), atol=1e-3)
    given = inputs(torch.zeros(100 * 320 + 80))
    assert given.abs().max() < 6  # nothing is blown up


@pytest.mark.parametrize("samples", [1, 320, 700])
def test_next_to_no_sound(encoder, samples):
    values = encoder.encode(AudioClip(sound(1.0)[:samples], RATE), 25.0).values
    assert values.shape == (max(1, round(samples / 640)), 16, 29)
    assert values.isfinite().all()


def test_names_tell_weights_and_window_apart_but_not_places(encoder):
    config, digest = encoder.config, encoder.weights_digest
    assert len(digest) == 64
    name = encoder_name("deepspeech", config, digest)
    moved = config.model_copy(update={"weights": Path("elsewhere"), "block_seconds": 3.0})
    assert encoder_name("deepspeech", moved, digest) == name
    assert encoder_name("deepspeech", config.model_copy(update={"window": 8}), digest) != name
    assert encoder_name("deepspeech", config, "0" * 64) != name


# --- weights that are not what they should be -------------------------------------------------------------------------


def test_missing_weights_name_the_command_and_the_folders(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "here"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(MissingDependencyError) as caught:
        load(None)
    text = str(caught.value)
    assert f"deepspeech.safetensors is neither in {tmp_path / 'here'} nor in " in text
    assert "https://github.com/osmr/deepspeech_features/releases" in text
    assert text.endswith("then: realtalk convert deepspeech deepspeech-0_1_0-b90017e8.pb")
    with pytest.raises(MissingDependencyError, match=r"nowhere\.safetensors does not exist\n(.*\n)*.* -o \S*nowhere"):
        load(tmp_path / "nowhere.safetensors")
    with pytest.raises(MissingDependencyError, match=r" -o '\S*my weights\.safetensors'$"):
        load(tmp_path / "my weights.safetensors")
    with pytest.raises(MissingDependencyError, match="is a folder"):
        load(tmp_path)


def test_weights_of_something_else(tmp_path):
    path = tmp_path / "w.safetensors"
    tensors = DeepSpeech.random(4).state_dict()

    def refused(match):
        with pytest.raises(UserError, match=match) as caught:
            load(path)
        assert str(path) in str(caught.value)
        assert "realtalk convert deepspeech" in str(caught.value)

    checkpoint.save(path, checkpoint.Header("landmarks", "vae"), tensors)
    refused("holds landmarks 'vae', not DeepSpeech")
    header = checkpoint.Header("audio", "deepspeech")
    checkpoint.save(path, header, {k: v for k, v in tensors.items() if k != "lstm.bias_hh_l0"})
    refused("lacks 'lstm.bias_hh_l0'")
    checkpoint.save(path, header, tensors | {"dense5.weight": torch.zeros(4, 9)})
    refused(r"'dense5.weight' is \(4, 9\), expected \(4, 8\)")
    checkpoint.save(path, header, tensors | {"dense6.bias": torch.full((29,), torch.nan)})
    refused("not finite")
    checkpoint.save(path, header, tensors | {"extra": torch.zeros(1)})
    refused("unknown 'extra'")
    checkpoint.save(path, header, {})
    refused("lacks 'dense1.bias'")
    save_file(tensors, path)
    refused("no RealTalk checkpoint")
    path.write_text("no weights at all")
    refused("no safetensors file")
    save_random(path, 4)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    refused("damaged")
    path.write_bytes(data[:-100])
    refused("damaged")
