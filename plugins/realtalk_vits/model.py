"""Finding a VITS model and loading it: safetensors only, no code of the model's own, no surprise from the network."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtalk_core.errors import MissingDependencyError, UserError
from realtalk_core.models import cache_folder

if TYPE_CHECKING:
    from realtalk_vits import VitsConfig

FILES = ("config.json", "vocab.json", "tokenizer_config.json")
WEIGHTS = "*.safetensors"
TIMEOUT_SECONDS = 20
_TRAINING_ONLY = "posterior_encoder."
"""Weights that speaking does not use: a model without them speaks all the same."""


def located(config: VitsConfig) -> Path:
    """The folder of the model, downloaded if it must be.

    Raises:
        UserError: if none is named, or the folder is none of a VITS model.
        MissingDependencyError: if it is not on this machine and cannot be downloaded.
    """
    if config.folder is not None:
        _check(config.folder)
        return config.folder
    if config.model is None or config.revision is None:
        raise MissingDependencyError(
            "the voice 'vits' has no model: none ships with RealTalk",
            "Name a model: --set voice.folder=FOLDER (docs/voices.md says where to get one)",
        )
    folder = _downloaded(config.model, config.revision)
    _check(folder)
    return folder


def _downloaded(model: str, revision: str) -> Path:
    import huggingface_hub

    wanted = {"repo_id": model, "revision": revision, "allow_patterns": [*FILES, WEIGHTS, "special_tokens_map.json"]}
    try:
        return Path(huggingface_hub.snapshot_download(**wanted, local_files_only=True))
    except OSError:  # LocalEntryNotFoundError is one
        pass
    try:
        huggingface_hub.HfApi().model_info(model, revision=revision, timeout=TIMEOUT_SECONDS)  # the rest tries for long
        return Path(huggingface_hub.snapshot_download(**wanted))
    except Exception as error:  # its HTTP library, and so the classes of its errors, change with its version
        folder = cache_folder() / model.replace("/", "--")
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise MissingDependencyError(
            f"the VITS model {model} (revision {revision[:12]}) is not on this machine and could not be downloaded:"
            f" {reason}",
            f"Where there is a network: hf download {model} --revision {revision} --local-dir {folder}\n"
            f"  then: --set voice.folder={folder}",
        ) from error


def _check(folder: Path) -> None:
    """Raises unless a VITS model is there."""
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UserError(
            f"voice.folder: {folder} {what}", "Name the folder of a VITS model: config.json, model.safetensors …"
        )
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"voice.folder: {folder} is no VITS model: it lacks {', '.join(missing)}",
            "Save a model and its tokenizer there with save_pretrained, or download it whole.",
        )
    try:
        kind = json.loads((folder / "config.json").read_text("utf-8")).get("model_type")
    except (ValueError, AttributeError) as error:
        raise UserError(f"{folder / 'config.json'} is damaged: {error}", "Copy or download it again.") from error
    if kind != "vits":
        raise UserError(f"voice.folder: {folder} holds a model of type {kind!r}, not 'vits'", "Name a VITS model.")
    if not any(folder.glob(WEIGHTS)):
        raise UserError(
            f"voice.folder: {folder} has no model.safetensors; weights in pickle files are not read, since they can run"
            " code",
            "Get a revision of the model that has model.safetensors.",
        )


def loaded(folder: Path) -> tuple[Any, Any]:
    """The model, ready to speak, and its tokenizer.

    Raises:
        UserError: if a file is damaged, or weights are missing or of another shape.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import VitsModel, VitsTokenizer

    here = str(folder)
    with _quiet(), torch.random.fork_rng(devices=[]):  # weights are drawn before they are read
        try:
            tokenizer = VitsTokenizer.from_pretrained(here, local_files_only=True)
            model, found = VitsModel.from_pretrained(
                here, local_files_only=True, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{folder} cannot be loaded: {reason}", "Copy or download it again.") from error
    lost = sorted(name for name in found["missing_keys"] if not name.startswith(_TRAINING_ONLY))
    if lost:
        raise UserError(
            f"{folder} lacks {len(lost)} of the model's weights, such as {lost[0]}", "Copy or download it again."
        )
    return model.eval(), tokenizer


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' bars and advice: what goes wrong is said in our words."""
    from transformers.utils import logging as theirs

    level, bar = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    theirs.set_verbosity(logging.CRITICAL)
    theirs.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        theirs.set_verbosity(level)
        if bar:
            theirs.enable_progress_bar()
