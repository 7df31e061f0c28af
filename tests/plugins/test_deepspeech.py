"""Audio encoder `deepspeech`: TensorFlow's and python_speech_features' numbers, rows where they belong, bad files."""

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
from realtalk_deepspeech.encoder import FILE, DeepSpeechEncoder, inputs, load, save_random
from realtalk_deepspeech.graph import read_constants
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
    assert encoder.weights_digest == checkpoint.digest(tmp_path / "models" / FILE)
    samples = torch.from_numpy(golden["sound"] / 32768).float()
    np.testing.assert_allclose(encoder.rows(samples).numpy(), golden["logits"], rtol=0, atol=TOLERANCE)
    clip = samples[40:]
    values = encoder.encode(AudioClip(clip, RATE), 25.0).values
    heard = torch.from_numpy(np.pad(Front(RATE, RATE).feed(clip.numpy()), (40, 320)))  # a row for each hop begun: 41
    assert values.shape == (20, 2, 29)
    assert torch.allclose(values.reshape(40, 29), encoder.rows(heard)[:40], atol=1e-6)


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


# --- graphs -----------------------------------------------------------------------------------------------------------


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number, content):
    """A field of bytes, or of a number."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def const(name, shape, numbers, dtype=1):
    """A `Const` node; `numbers` are the fields that hold them."""
    dims = b"".join(field(2, field(1, size)) for size in shape)
    tensor = field(1, dtype) + field(2, dims) + numbers
    value = field(5, field(1, b"value") + field(2, field(8, tensor)))
    kind = field(5, field(1, b"dtype") + field(2, varint(6 << 3) + varint(dtype)))
    return field(1, field(1, name.encode()) + field(2, b"Const") + kind + value)


def packed(array):
    return field(5, array.astype("<f4").tobytes())


def single(array):
    return b"".join(varint(5 << 3 | 5) + one.tobytes() for one in array.astype("<f4").ravel())


def content(array):
    return field(4, array.astype("<f4").tobytes())


@pytest.fixture(scope="module")
def constants(graph, tmp_path_factory):
    """The learnt numbers of the graph, by name."""
    path = tmp_path_factory.mktemp("graph") / "g.pb"
    path.write_bytes(graph)
    learnt = {name: c for name, c in read_constants(path).items() if c.dtype == 1 and len(c.shape) in (1, 2)}
    found = {name: c.numbers() for name, c in learnt.items() if len(name) == 2 or "lstm_cell/" in name}
    found = {name: array for name, array in found.items() if name.split("/")[-1] not in ("Const",)}
    assert len(found) == 14
    return found


@pytest.mark.parametrize("write", [content, packed, single])
@pytest.mark.parametrize("prefix", ["", "deepspeech/"])
@pytest.mark.parametrize("old", [False, True])
def test_every_way_to_write_the_same_graph(constants, published, tmp_path, write, prefix, old):
    def named(name):
        name = name.replace("/kernel", "/weights").replace("/bias", "/biases") if old else name
        return prefix + name

    other = tmp_path / "other.pb"
    other.write_bytes(b"".join(const(named(name), a.shape, write(a)) for name, a in constants.items()) + field(4, b""))
    expected, found = read_weights(published), read_weights(other)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_one_number_stands_for_all_that_are_missing(constants, tmp_path):
    graph = {name: const(name, a.shape, content(a)) for name, a in constants.items()}
    graph["b3"] = const("b3", (16,), packed(np.array([3.0, 0.5])))
    (tmp_path / "g.pb").write_bytes(b"".join(graph.values()))
    assert read_weights(tmp_path / "g.pb")["dense3.bias"].tolist() == [3.0] + [0.5] * 15


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"h3": None}, "lacks the constant 'h3'"),
        ({"kernel": None}, "a DeepSpeech of 0.2 or later is another network"),
        ({"h2": ((8, 9), content)}, r"'h2' is \(8, 9\), expected \(8, 8\)"),
        ({"h1": ((494, 10**9), content)}, r"'h1' is \(494, 1000000000\), expected \(494, 2048\)"),
        ({"h1": ((2**40, 2**40), content)}, "'h1' is"),
        ({"b6": ((29,), lambda a: content(a[:-1]))}, "holds 112 bytes, not 116"),
        ({"b6": ((29,), lambda a: field(4, a.tobytes() + b"!"))}, "holds 117 bytes, not 116"),
        ({"b6": ((29,), lambda a: packed(np.append(a, 1)))}, "holds 30 numbers"),
        ({"b6": ((29,), lambda a: field(5, b"123"))}, "3 bytes of float32"),
        ({"b6": ((29,), lambda a: b"")}, "holds 0 numbers"),
        ({"b6": ((29,), lambda a: content(a * np.inf))}, "not finite"),
        ({"b6": ((29,), content, 12)}, "of TensorFlow's type 12, not float32"),
        ({"b6": ((29, 2**63), content)}, "'b6' is"),
    ],
)
def test_graphs_with_something_wrong(constants, tmp_path, change, message):
    source, nodes = tmp_path / "g.pb", []
    for name, array in constants.items():
        key = next((key for key in change if name == key or name.endswith("fw/basic_lstm_cell/" + key)), None)
        if key is None:
            nodes.append(const(name, array.shape, content(array)))
        elif change[key] is not None:
            shape, write, *dtype = change[key]
            nodes.append(const(name, shape, write(array), *dtype))
    source.write_bytes(b"".join(nodes))
    with pytest.raises(UserError, match=message) as caught:
        convert(source, tmp_path / "out.safetensors")
    assert str(source) in str(caught.value)
    assert list(tmp_path.iterdir()) == [source]


def test_two_networks_in_one_graph(graph, constants, tmp_path):
    (tmp_path / "g.pb").write_bytes(graph + const("again/h1", constants["h1"].shape, content(constants["h1"])))
    with pytest.raises(UserError, match="holds 2 constants named 'h1'"):
        read_weights(tmp_path / "g.pb")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"This is a letter, no graph.\n" * 40, "no frozen TensorFlow graph"),
        (b"PK\x03\x04" + bytes(100), "is a zip archive\n  Unpack it first"),
        (b"\x1f\x8b\x08" + bytes(100), "is a gzip archive\n  Unpack it first"),
        (field(2, b"library"), "it has no node"),
        (field(1, field(1, b"name")), "no name or no operation"),
        (b"\x0a" + b"\xff" * 9 + b"\x01", "are announced where"),
        (b"\xff" * 40, "more than ten bytes"),
        (b"\x0a", "ends within a number"),
        (b"\x0b\x00", "unknown wire type 3"),
        (b"\x02\x00", "number 0"),
        (field(1, field(1, b"a") + field(2, b"Const")), "lacks the constant 'h1'"),
    ],
)
def test_files_that_are_no_graph(tmp_path, data, message, capsys):
    source = tmp_path / "g.pb"
    source.write_bytes(data)
    assert run(["convert", "deepspeech", str(source), "-o", str(tmp_path / "out.safetensors")]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert str(source) in err
    assert list(tmp_path.iterdir()) == [source]


def test_a_folder_is_no_graph(tmp_path, capsys):
    assert run(["convert", "deepspeech", str(tmp_path), "-o", str(tmp_path / "out.safetensors")]) == 2
    assert "cannot be read: Is a directory" in capsys.readouterr().err


def test_a_graph_cut_off_or_damaged_anywhere_is_refused_or_whole(graph, tmp_path):
    """Whatever the bytes are: one message, or weights of the right shapes; never another error, never much memory."""
    rng, path, refused, named = np.random.default_rng(0), tmp_path / "g.pb", 0, 0
    expected = {name: tensor.shape for name, tensor in DeepSpeech.random(8).state_dict().items()}
    for trial in range(400):
        data = bytearray(graph)
        if trial % 4 == 0:
            data = data[: rng.integers(1, len(data))]
        else:
            for at in rng.integers(0, len(data), 2 ** (trial % 8)):
                data[at] = rng.integers(256)
        if trial % 4 == 1:
            at = rng.integers(len(data))
            del data[at : at + rng.integers(1, 50)]
        path.write_bytes(data)
        try:
            found = read_weights(path)
        except UserError as error:
            named += str(path) in str(error)
            refused += 1
        else:
            assert {name: tensor.shape for name, tensor in found.items()} == expected
    assert 150 < refused == named < 400
