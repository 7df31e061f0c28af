"""Graphs that `realtalk convert deepspeech` reads: every way to write one, and all that can be wrong with one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from realtalk_core.cli import run
from realtalk_core.errors import UserError
from realtalk_deepspeech.graph import read_constants
from realtalk_deepspeech.network import DeepSpeech
from realtalk_deepspeech.taking_over import convert, read_weights

GOLDEN = Path(__file__).parents[1] / "golden" / "deepspeech.npz"


@pytest.fixture(scope="module")
def graph():
    """A graph of TensorFlow with random weights."""
    with np.load(GOLDEN) as stored:
        return stored["graph"].tobytes()


@pytest.fixture
def published(graph, tmp_path):
    """The graph as a file."""
    path = tmp_path / "output_graph.pb"
    path.write_bytes(graph)
    return path


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
