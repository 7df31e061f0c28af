"""What the encoders from transformers have in common: finding a model, cutting it at a layer, where it works."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from realtalk_core import hub
from realtalk_core.errors import UserError
from realtalk_core.hearing import RowEncoder

if TYPE_CHECKING:
    from realtalk_transformers import HubConfig

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class HubEncoder(RowEncoder):
    """A network of transformers that hears.

    Attributes:
        config: Its parameters.
        weights_digest: Of the whole model as published, whichever layer is used.
        devices: It can work on a GPU.
    """

    devices = ("cpu", "cuda")

    def __init__(self, config: HubConfig, wanted: hub.Wanted) -> None:
        self.config = config
        self.window = config.window
        self.block_seconds, self.margin_seconds = config.block_seconds, config.margin_seconds
        self.past_seconds = config.past_seconds
        self._wanted = wanted
        self._folder = hub.located(wanted, config.folder, config.model, config.commit)
        self._device, self._dtype = torch.device("cpu"), DTYPES[config.precision]

    def to(self, device: torch.device) -> Self:
        """See `Movable`."""
        self._device = device
        self._model.to(device)
        return self

    def _prepare(self, extractor: type[Any], config: type[Any]) -> tuple[Any, Any]:
        """What prepares the model's input, and the model's own configuration."""
        here = str(self._folder)
        with hub.reading(self._folder):
            return (
                extractor.from_pretrained(here, local_files_only=True),
                config.from_pretrained(here, local_files_only=True),
            )

    def _depth(self, layers: int) -> int:
        """How many layers are needed for the one that was asked for.

        Raises:
            UserError: if the model has not so many.
        """
        if self.config.layer > layers:
            raise UserError(
                f"audio.layer: {self.config.layer} is beyond the last layer of {self._folder.name}, which has {layers}",
                f"Choose 0 to {layers}, or -1 for the last hidden state.",
            )
        return layers if self.config.layer < 0 else self.config.layer

    def _load(self, kind: type[Any], config: Any, *, optional: tuple[str, ...] = ()) -> None:
        """Loads the model: only the layers that `config` has."""
        self._model = hub.loaded(kind, self._folder, optional=optional, config=config).to(self._dtype)
        self.weights_digest = hub.weights_digest(self._folder)

    def _checked(self, rows: Tensor) -> Tensor:
        """Rows as the rest of the pipeline wants them.

        Raises:
            UserError: if weights or sound made them NaN or infinite.
        """
        rows = rows.float().cpu()
        if not bool(torch.isfinite(rows).all()):
            raise UserError(
                f"the {self._wanted.what} in {self._folder} gives no features but NaN", "Copy or download it again."
            )
        return rows


def weight_names(folder: Path) -> list[str]:
    """The names of a model's weights, without reading these."""
    from safetensors import safe_open

    names: list[str] = []
    with hub.reading(folder):
        for file in hub.weight_files(folder):
            with safe_open(file, "pt") as tensors:
                names += tensors.keys()
    return names
