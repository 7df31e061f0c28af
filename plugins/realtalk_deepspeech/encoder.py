"""Audio encoder `deepspeech`: character logits of DeepSpeech 0.1, as AD-NeRF (Guo et al., 2021, section 3.1) hears."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from realtalk_core import checkpoint
from realtalk_core.errors import MissingDependencyError, UserError
from realtalk_core.hearing import RowEncoder
from realtalk_core.models import model_folders
from realtalk_deepspeech.mfcc import FRAME, RATE, STEP, mfcc
from realtalk_deepspeech.network import CONTEXT, INPUTS, DeepSpeech

if TYPE_CHECKING:
    from realtalk_deepspeech import DeepSpeechConfig

FILE = "deepspeech.safetensors"
PUBLISHED = "https://github.com/osmr/deepspeech_features/releases/download/v0.0.1/deepspeech-0_1_0-b90017e8.pb.zip"
_EVERY = 2
_SMALLEST_DEVIATION = 1.0
"""What whitening divides by at least. Speech has about 10 and silence 7, so this only keeps noughts from a division."""


class DeepSpeechEncoder(RowEncoder):
    """The `deepspeech` audio encoder: `(T, window, 29)` logits, 50 rows per second.

    A row hears 0.2 s to each side through its context, and all of its block through the LSTM and the whitening, which
    the original takes over a whole file.
    """

    sample_rate = RATE
    hop = _EVERY * STEP
    kernel = FRAME

    def __init__(self, config: DeepSpeechConfig) -> None:
        self.config = config
        self.window = config.window
        self.block_seconds, self.margin_seconds = config.block_seconds, config.margin_seconds
        self.past_seconds = config.past_seconds
        self.network, self.weights_digest = load(config.weights)

    def rows(self, samples: Float32[Tensor, "N"]) -> Float[Tensor, "R 29"]:
        """See `RowEncoder`."""
        return self.network(inputs(samples))

    @classmethod
    def tiny_weights(cls, config: DeepSpeechConfig, folder: Path) -> DeepSpeechConfig:
        """Writes a small network with random weights into a folder and gives the configuration that reads it."""
        path = folder / FILE
        save_random(path, hidden=64)
        return config.model_copy(update={"weights": path})


def inputs(samples: Float32[Tensor, "N"]) -> Float32[Tensor, "R 494"]:
    """What the network is given: coefficients of every second frame with nine to each side, whitened.

    Beyond the ends the context is zeros, which count in the whitening as in the original.
    """
    frames = np.pad(mfcc(samples.numpy(), _EVERY), ((CONTEXT, CONTEXT), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(frames, 2 * CONTEXT + 1, 0)
    rows = windows.transpose(0, 2, 1).reshape(-1, INPUTS)
    white = (rows - rows.mean()) / max(float(rows.std()), _SMALLEST_DEVIATION)
    return torch.from_numpy(white.astype(np.float32))


def default_place(source: Path | None = None) -> Path:
    """Where converted weights go and are looked for first."""
    return next(model_folders()) / FILE


def load(path: Path | None) -> tuple[DeepSpeech, str]:
    """The network and the digest of its weights, which is the same however often the graph is converted.

    Args:
        path: The converted weights; None looks into the folders of the model store.

    Raises:
        MissingDependencyError: if they are not on this machine.
        UserError: if the file is damaged, or something else.
    """
    found = _located(path)
    again = f"Convert the published graph again: {_command(found)} --force"
    try:
        header, tensors = checkpoint.load(found)
    except UserError as error:
        raise UserError(f"audio.weights: {error.message}", again) from error
    if (header.stage, header.component) != ("audio", "deepspeech"):
        raise UserError(f"audio.weights: {found} holds {header.stage} {header.component!r}, not DeepSpeech", again)
    try:
        return DeepSpeech.from_tensors(tensors), checkpoint.content(tensors)
    except ValueError as error:
        raise UserError(f"audio.weights: {found} is no network of DeepSpeech 0.1: {error}", again) from error


def save_random(path: Path, hidden: int, seed: int = 0) -> None:
    """Writes a network with random weights of some width: for tests, and for measuring speed at 2048."""
    header = checkpoint.Header("audio", "deepspeech", plugin="deepspeech", metrics={"hidden": hidden, "random": seed})
    checkpoint.save(path, header, DeepSpeech.random(hidden, seed).state_dict())


def _located(path: Path | None) -> Path:
    if path is not None:
        if path.is_file():
            return path
        raise MissingDependencyError(
            f"audio.weights: {path} {'is a folder' if path.is_dir() else 'does not exist'}", _advice(path)
        )
    folders = list(model_folders())
    found = next((folder / FILE for folder in folders if (folder / FILE).is_file()), None)
    if found is None:
        places = " nor in ".join(map(str, folders))
        where = f"neither in {places}" if len(folders) > 1 else f"not in {places}"
        raise MissingDependencyError(
            f"the weights of DeepSpeech are not on this machine: {FILE} is {where}", _advice(None)
        )
    return found


def _command(path: Path | None) -> str:
    place = f" -o {shlex.quote(str(path))}" if path is not None else ""
    return f"realtalk convert deepspeech deepspeech-0_1_0-b90017e8.pb{place}"


def _advice(path: Path | None) -> str:
    return f"Get and unpack the published graph, {PUBLISHED}\n  then: {_command(path)}"
