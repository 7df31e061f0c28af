"""Models that were published as PyTorch's pickles, turned into safetensors once; read with `weights_only`, as data."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

from realtalk_core.atomic import writing
from realtalk_core.errors import UserError
from realtalk_core.hub import INDEX, PICKLED, PICKLED_INDEX, WEIGHTS, Wanted, check_kind, shards
from realtalk_core.spec import Converter

if TYPE_CHECKING:
    from torch import Tensor


def converter(wanted: Wanted) -> Converter:
    """What `realtalk convert` runs for a component: a folder with pickles in, a folder with safetensors out."""
    return Converter(
        reads=f"the folder of a {wanted.what} whose weights are in {PICKLED}",
        place=lambda source: _folder(source).with_name(_folder(source).name + "-safetensors"),
        write=lambda source, target: convert(wanted, source, target),
    )


def convert(wanted: Wanted, source: Path, target: Path) -> None:
    """Writes the model of a folder into a new folder, its weights as safetensors.

    Args:
        wanted: What it must be.
        source: A folder with config.json and pytorch_model.bin, or with the shards of one; or that file itself.
        target: A folder that does not exist yet.

    Raises:
        UserError: if the source is no such model, holds more than tensors, or is damaged.
    """
    source = _folder(source)
    check_kind(wanted, source)
    if (source / WEIGHTS).is_file() or (source / INDEX).is_file():
        raise UserError(f"{source} has its weights as safetensors already", f"Use it: --set {wanted.stage}.folder=…")
    whole = (source / PICKLED).is_file()
    if not whole and not (source / PICKLED_INDEX).is_file():
        raise UserError(f"{source} has neither {PICKLED} nor {WEIGHTS}", "Download the model whole.")
    parts = [PICKLED] if whole else shards(source / PICKLED_INDEX)
    with writing(target):
        target.mkdir()
        for file in source.glob("*.json"):
            if not file.name.endswith(".index.json"):
                shutil.copyfile(file, target / file.name)
    places: dict[str, str] = {}
    for number, part in enumerate(parts, 1):
        name = WEIGHTS if whole else f"model-{number:05}-of-{len(parts):05}.safetensors"
        places |= dict.fromkeys(_write(source / part, target / name), name)
    if not whole:
        with writing(target):
            (target / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}), "utf-8")


def _folder(source: Path) -> Path:
    return source.resolve() if source.is_dir() else source.resolve().parent


def _write(pickled: Path, target: Path) -> list[str]:
    """The tensors of one file, written as safetensors; their names."""
    from safetensors.torch import save_file

    seen: set[int] = set()
    tensors: dict[str, Tensor] = {}
    for name, tensor in _read(pickled).items():
        shared = tensor.untyped_storage().data_ptr() in seen  # tied weights: safetensors has no such thing
        seen.add(tensor.untyped_storage().data_ptr())
        tensors[name] = tensor.clone() if shared else tensor.contiguous()
    with writing(target):
        save_file(tensors, target, {"format": "pt"})
    return list(tensors)


def _read(file: Path) -> dict[str, Tensor]:
    import torch

    try:
        read = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file) or None)
    except UnpicklingError as error:
        raise UserError(
            f"{file} holds more than tensors and is not read: such a file can run code",
            "Get the model from where you trust it, best as safetensors.",
        ) from error
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, IndexError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{file} is damaged: {reason}", "Copy or download it again.") from error
    if not isinstance(read, dict) or not all(isinstance(part, torch.Tensor) for part in read.values()):
        raise UserError(f"{file} holds no table of tensors", "Name the folder of a model as transformers saves it.")
    return dict(read)
