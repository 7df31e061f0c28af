"""Makes tests/golden/deepspeech.npz: DeepSpeech 0.1's TensorFlow graph with random weights, and what it answers.

The graph is built as Mozilla's DeepSpeech.py of version 0.1.0 builds and freezes it for export (BiRNN, the CTC decoder,
names and all), at a small width. The test converts it and holds our network and front end to TensorFlow's numbers.

It needs TensorFlow (any version with tf.compat.v1) and python_speech_features, and nothing of RealTalk:

    python -m venv tf && tf/bin/pip install tensorflow scipy python_speech_features
    tf/bin/python recipes/deepspeech_graph.py tests/golden/deepspeech.npz
    tf/bin/python recipes/deepspeech_graph.py big.npz --hidden 2048 --graph big.pb     # the published width
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np

RATE, SAMPLES = 16_000, 39 * 320 + 400  # 40 rows, so that the last frame is whole
INPUTS, CONTEXT, CEPSTRUM, CHARACTERS, CLIP = 494, 9, 26, 29, 20.0
GAINS = {"h1": 10.0, "h2": 4.0, "h3": 1.5, "kernel": 0.2, "h5": 20.0, "h6": 0.1}
"""Sizes of the random weights: every ReLU is cut at both ends by some rows, and the LSTM's gates are not saturated."""


def main() -> None:
    """Builds, freezes, runs and stores the graph."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--hidden", type=int, default=8)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--graph", type=Path, help="also write the graph here, instead of into the output")
    arguments = parser.parse_args()

    sound = test_sound(arguments.seed)
    coefficients = original_mfcc(sound)
    given = original_inputs(coefficients)
    graph = frozen(arguments.hidden, arguments.seed)
    if arguments.graph:
        arguments.graph.write_bytes(graph)
    stored: dict[str, Any] = {} if arguments.graph else {"graph": np.frombuffer(graph, np.uint8)}
    stored |= {"sound": sound, "mfcc": coefficients, "inputs": given.astype(np.float32), "logits": run(graph, given)}
    np.savez_compressed(arguments.output, **stored)
    print({name: value.shape for name, value in stored.items()}, f"logits to {np.abs(stored['logits']).max():.3f}")


def test_sound(seed: int) -> Any:
    """Sound of 16 bits: two gliding tones with noise, between silences of nothing but noughts."""
    rng = np.random.default_rng(seed)
    time = np.arange(SAMPLES) / RATE
    tones = 0.3 * np.sin(2 * np.pi * (150 + 200 * time) * time) + 0.1 * np.sin(2 * np.pi * (2500 - 900 * time) * time)
    sound = (tones + 0.02 * rng.standard_normal(len(time))) * ((time > 0.1) & (time < 0.65))
    return np.asarray(np.rint(np.clip(sound, -1, 1) * 20000), np.int16)


def original_mfcc(sound: Any) -> Any:
    """The coefficients of all frames, by the package that the published code uses."""
    from python_speech_features import mfcc

    return mfcc(sound, samplerate=RATE, numcep=CEPSTRUM)


def original_inputs(coefficients: Any) -> Any:
    """Every second frame, nine to each side of it, whitened over the whole sound."""
    padded = np.pad(coefficients[::2], ((CONTEXT, CONTEXT), (0, 0)))
    rows = np.stack([padded[i : i + 2 * CONTEXT + 1].reshape(-1) for i in range(len(padded) - 2 * CONTEXT)])
    return (rows - rows.mean()) / rows.std()


def frozen(hidden: int, seed: int) -> bytes:
    """The graph as exported, with constants in place of variables."""
    tf = tensorflow()
    rng = np.random.default_rng(seed)
    with tf.Graph().as_default() as graph, tf.Session() as session:
        build(tf, hidden)
        for variable in tf.global_variables():
            shape, name = variable.shape.as_list(), variable.op.name.split("/")[-1]
            values = rng.standard_normal(shape) * (GAINS[name] / np.sqrt(shape[0]) if name in GAINS else 0.3)
            variable.load(values.astype(np.float32), session)
        ends = ["output_node", "logits"]
        definition = tf.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ends)
        return bytes(definition.SerializeToString())


def build(tf: Any, hidden: int) -> None:
    """BiRNN and create_inference_graph of DeepSpeech.py 0.1.0; sequence lengths are given, as in the export."""
    source = tf.placeholder(tf.float32, [None, None, INPUTS], name="input_node")
    lengths = tf.placeholder(tf.int32, [None], name="input_lengths")
    batch = tf.shape(source)[0]

    def dense(rows: Any, number: int, width: int) -> Any:
        bias = tf.get_variable(f"b{number}", [width])
        weight = tf.get_variable(f"h{number}", [rows.shape[-1], width])
        return tf.add(tf.matmul(rows, weight), bias)

    def clipped(rows: Any) -> Any:
        return tf.minimum(tf.nn.relu(rows), CLIP)

    rows = tf.reshape(tf.transpose(source, [1, 0, 2]), [-1, INPUTS])
    for number, width in ((1, hidden), (2, hidden), (3, 2 * hidden)):
        rows = clipped(dense(rows, number, width))
    cell = basic_lstm_cell(tf)
    both, _ = tf.nn.bidirectional_dynamic_rnn(
        cell_fw=cell(hidden, forget_bias=1.0, state_is_tuple=True),
        cell_bw=cell(hidden, forget_bias=1.0, state_is_tuple=True),
        inputs=tf.reshape(rows, [-1, batch, 2 * hidden]),
        dtype=tf.float32, time_major=True, sequence_length=tf.cast(lengths, tf.int64),
    )  # fmt: skip
    rows = tf.reshape(tf.concat(both, 2), [-1, 2 * hidden])
    rows = dense(clipped(dense(rows, 5, hidden)), 6, CHARACTERS)
    logits = tf.reshape(rows, [-1, batch, CHARACTERS], name="logits")
    decoded, _ = tf.nn.ctc_beam_search_decoder(logits, lengths, beam_width=8, merge_repeated=False)
    tf.convert_to_tensor([tf.sparse_tensor_to_dense(found) for found in decoded], name="output_node")


def run(graph: bytes, rows: Any) -> Any:
    """The logits `(R, 29)` that TensorFlow computes from `(R, 494)`."""
    tf = tensorflow()
    definition = tf.GraphDef()
    definition.ParseFromString(graph)
    with tf.Graph().as_default() as here, tf.Session() as session:
        tf.import_graph_def(definition, name="deepspeech")
        names = ("logits", "input_node", "input_lengths")
        logits, source, lengths = (here.get_tensor_by_name(f"deepspeech/{name}:0") for name in names)
        return session.run(logits, {source: rows[np.newaxis], lengths: [len(rows)]})[:, 0]


def tensorflow() -> Any:
    """TensorFlow as of version 1, with its loops as operations of the graph."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow

    tensorflow.compat.v1.disable_v2_behavior()
    tensorflow.compat.v1.disable_control_flow_v2()
    return tensorflow.compat.v1


def basic_lstm_cell(tf: Any) -> Any:
    """The cell, which TensorFlow with Keras 3 no longer offers under its public name."""
    try:
        return tf.nn.rnn_cell.BasicLSTMCell
    except AttributeError:
        from tensorflow.python.keras.layers.legacy_rnn import rnn_cell_impl

        return rnn_cell_impl.BasicLSTMCell


if __name__ == "__main__":
    main()
