"""The published graph of DeepSpeech 0.1 (`output_graph.pb`) as weights of our network."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from realtalk_core import checkpoint
from realtalk_core.errors import UserError
from realtalk_deepspeech.graph import Array, Constant, read_constants
from realtalk_deepspeech.network import CHARACTERS, HIDDEN, INPUTS

_MOST_HIDDEN = 2 * HIDDEN
_FORGET_BIAS = 1.0
_CURE = "Name DeepSpeech 0.1.0's frozen graph: output_graph.pb, also known as deepspeech-0_1_0-b90017e8.pb."


def convert(source: Path, target: Path) -> None:
    """Writes a published graph as a checkpoint of the encoder.

    Raises:
        UserError: if the source is no such graph, or the target cannot be written.
    """
    tensors = read_weights(source)
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    hidden = len(tensors["dense1.bias"])
    header = checkpoint.Header(
        "audio", "deepspeech", plugin="deepspeech", metrics={"hidden": hidden}, parents=(f"{source.name}:{digest}",)
    )
    checkpoint.save(target, header, tensors)


def read_weights(source: Path) -> dict[str, Tensor]:
    """Weights of `network.DeepSpeech` from a frozen graph of Mozilla's DeepSpeech 0.1.

    Raises:
        UserError: if the file is no frozen graph, is damaged, or another network's.
    """
    constants = read_constants(source)
    try:
        return _weights(constants)
    except ValueError as error:
        raise UserError(f"{source} is no graph of DeepSpeech 0.1: {error}", _CURE) from error


def _weights(constants: dict[str, Constant]) -> dict[str, Tensor]:
    first = _find(constants, "h1")
    hidden = first.shape[1] if len(first.shape) == 2 else 0
    if not 1 <= hidden <= _MOST_HIDDEN:
        raise ValueError(f"'h1' is {first.shape}, expected ({INPUTS}, {HIDDEN})")
    widths = {
        1: (INPUTS, hidden), 2: (hidden, hidden), 3: (hidden, 2 * hidden), 5: (2 * hidden, hidden),
        6: (hidden, CHARACTERS),
    }  # fmt: skip
    found: dict[str, Tensor] = {}
    for number, shape in widths.items():
        weight = _numbers(constants, shape, f"h{number}")
        found[f"dense{number}.weight"] = torch.from_numpy(np.ascontiguousarray(weight.T))
        found[f"dense{number}.bias"] = torch.from_numpy(_numbers(constants, shape[1:], f"b{number}").copy())
    for direction, suffix in (("fw", "l0"), ("bw", "l0_reverse")):
        cell = f"bidirectional_rnn/{direction}/basic_lstm_cell/"
        kernel = _numbers(constants, (3 * hidden, 4 * hidden), cell + "kernel", cell + "weights")
        bias = _numbers(constants, (4 * hidden,), cell + "bias", cell + "biases")
        # TensorFlow's gates come as input, new, forget, output, torch's as input, forget, new, output
        gates = _reordered(kernel.T)
        found[f"lstm.weight_ih_{suffix}"] = torch.from_numpy(gates[:, : 2 * hidden].copy())
        found[f"lstm.weight_hh_{suffix}"] = torch.from_numpy(gates[:, 2 * hidden :].copy())
        ours = _reordered(bias)
        ours[hidden : 2 * hidden] += _FORGET_BIAS
        found[f"lstm.bias_ih_{suffix}"] = torch.from_numpy(ours)
        found[f"lstm.bias_hh_{suffix}"] = torch.zeros(4 * hidden)
    return found


def _reordered(gates: Array) -> Array:
    first, new, forget, last = np.split(gates, 4)
    return np.concatenate([first, forget, new, last])


def _numbers(constants: dict[str, Constant], shape: tuple[int, ...], *names: str) -> Array:
    constant = _find(constants, *names)
    if constant.shape != shape:
        raise ValueError(f"{constant.name!r} is {constant.shape}, expected {shape}")
    return constant.numbers()


def _find(constants: dict[str, Constant], *names: str) -> Constant:
    """The constant of one of these names, whatever scope the graph was put into."""
    found = [c for c in constants.values() if any(c.name == name or c.name.endswith("/" + name) for name in names)]
    if len(found) == 1:
        return found[0]
    wanted = " or ".join(repr(name) for name in names)
    if found:
        raise ValueError(f"it holds {len(found)} constants named {wanted}")
    later = "; a DeepSpeech of 0.2 or later is another network" if "lstm" in names[0] else ""
    raise ValueError(f"it lacks the constant {wanted}{later}")
