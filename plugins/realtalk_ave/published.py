"""Weights from elsewhere: SyncTalk's published audio encoder, converted once, and the encoders of other avatars."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from realtalk_ave.networks import Listener
from realtalk_core import checkpoint
from realtalk_core.errors import UserError

PREFIX = "listener."
_THEIRS = "audio_encoder."
_COUNTER = "num_batches_tracked"


def convert(source: Path, target: Path) -> None:
    """Turns SyncTalk's `audio_visual_encoder.pth` into a checkpoint for the parameter `weights`.

    It is a state dict of the audio encoder's 13 blocks, `0.conv_block.0.weight` and so on, with or without
    `audio_encoder.` before it (SyncTalk, nerf_triplane/provider.py). Nothing in it is executed.

    Raises:
        UserError: if it is another kind of file, or holds another network.
    """
    try:
        found: Any = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch raise what they like
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"{source} cannot be read as weights saved by PyTorch: {reason}",
            "Name SyncTalk's audio_visual_encoder.pth.",
        ) from error
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"{source} holds no weights by name", "Name SyncTalk's audio_visual_encoder.pth.")
    inside = any(str(name).startswith(_THEIRS) for name in found)
    weights = {str(n).removeprefix(_THEIRS): v for n, v in found.items() if str(n).startswith(_THEIRS) or not inside}
    listener = _listener(weights, source, "Name SyncTalk's audio_visual_encoder.pth.")
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    header = checkpoint.Header("audio", "ave", plugin="ave", parents=(f"{source.name}:{digest}",))
    checkpoint.save(target, header, {PREFIX + name: value for name, value in listener.state_dict().items()})


def read_weights(file: Path) -> Listener:
    """A listener from a converted file, or from the `audio.safetensors` of an avatar that hears with `ave`.

    Raises:
        UserError: if it is missing, damaged or something else.
    """
    cure = "Name a file made by realtalk convert ave, or the audio.safetensors of an avatar trained with audio=ave."
    if not file.is_file():
        raise UserError(f"audio.weights: {file} does not exist", cure)
    try:
        header, tensors = checkpoint.load(file)
    except UserError as error:
        raise UserError(f"audio.weights: {error.message}", cure) from error
    if (header.stage, header.component) != ("audio", "ave"):
        raise UserError(f"audio.weights: {file} holds {header.stage} {header.component!r}, not an ave encoder", cure)
    weights = {name.removeprefix(PREFIX): value for name, value in tensors.items() if name.startswith(PREFIX)}
    return _listener(weights, file, cure)


def _listener(weights: Mapping[str, Tensor], file: Path, cure: str) -> Listener:
    clean = {n: v.float() if v.is_floating_point() else v for n, v in weights.items()}
    for name in [n for n in clean if n.endswith("running_mean")]:  # counters that do not matter may be missing
        clean.setdefault(name.replace("running_mean", _COUNTER), torch.tensor(0))
    try:
        listener = Listener.of(clean)
    except ValueError as error:
        raise UserError(f"{file} is not an ave encoder: {error}", cure) from error
    bad = next((n for n, v in clean.items() if not bool(torch.isfinite(v).all())), None)
    if bad is not None:
        raise UserError(f"{file}: {bad} holds NaN or infinite values", cure)
    return listener
