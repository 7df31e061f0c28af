"""Finding a VITS model and loading it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtalk_core import hub
from realtalk_core.errors import MissingDependencyError

if TYPE_CHECKING:
    from realtalk_vits import VitsConfig

WANTED = hub.Wanted(
    what="VITS model",
    kind="vits",
    stage="voice",
    files=("config.json", "vocab.json", "tokenizer_config.json"),
    also=("special_tokens_map.json",),
)
_TRAINING_ONLY = ("posterior_encoder.",)
"""Weights that speaking does not use: a model without them speaks all the same."""


def located(config: VitsConfig) -> Path:
    """The folder of the model, downloaded if it must be.

    Raises:
        UserError: if none is named, or the folder is none of a VITS model.
        MissingDependencyError: if it is not on this machine and cannot be downloaded.
    """
    if config.folder is None and config.model is None:
        raise MissingDependencyError(
            "the voice 'vits' has no model: none ships with RealTalk",
            "Name a model: --set voice.folder=FOLDER (docs/voices.md says where to get one)",
        )
    return hub.located(WANTED, config.folder, config.model, config.revision)


def loaded(folder: Path) -> tuple[Any, Any]:
    """The model, ready to speak, and its tokenizer.

    Raises:
        UserError: if a file is damaged, or weights are missing or of another shape.
    """
    from transformers import VitsModel, VitsTokenizer

    with hub.reading(folder):
        tokenizer = VitsTokenizer.from_pretrained(str(folder), local_files_only=True)
    return hub.loaded(VitsModel, folder, optional=_TRAINING_ONLY), tokenizer
