"""A renderer's file that cannot be used is named, with what is wrong in it, before anything is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import realtalk_demo
from realtalk_core import checkpoint
from realtalk_core.avatar import Avatar
from realtalk_core.errors import UserError
from realtalk_core.plugins import discover

DEMO = Path(realtalk_demo.__file__).parent / "data/avatar"
Tensors = dict[str, Tensor]


def _without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {k: v for k, v in tensors.items() if k != name}


def _with(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name: change(tensors[name])}


def _spoilt(value: Tensor) -> Tensor:
    out = value.clone()
    out.view(-1)[0] = torch.nan
    return out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without("box"), "it lacks the tensor box"),
        (_without("field.tables"), "it lacks the tensor field.tables"),
        (_without("field.first.weight"), "first.weight"),
        (_without("basis.readout"), "basis.readout"),
        (_with("field.tables", _spoilt), "its tensor field.tables holds NaN"),
        (_with("field.first.bias", _spoilt), "its tensor field.first.bias holds NaN"),
        (_with("field.tables", lambda t: t[:, :100]), "size mismatch for tables"),
        (_with("field.second.weight", lambda t: t[:7]), "size mismatch for second.weight"),
        (_with("box", lambda t: t[:4]), "its tensor box must hold"),
        (_with("box", lambda t: t * torch.tensor([1, 1, 1, 0, 1])), "its tensor box must hold"),
        (_with("occupied", lambda t: t[0]), "its tensor occupied must have three dimensions"),
        (_with("template", lambda t: t[:68]), "its tensor template is [68, 3]"),
        (_with("basis.neutral", lambda t: t[:100]), "must be 478 or 68 landmarks"),
    ],
)
def test_a_file_that_cannot_be_used_is_explained(
    change: Callable[[Tensors], Tensors], said: str, tmp_path: Path
) -> None:
    avatar = tmp_path / "avatar"
    shutil.copytree(DEMO, avatar)
    header, tensors = checkpoint.load(avatar / "renderer.safetensors")
    (avatar / "renderer.safetensors").unlink()
    checkpoint.save(avatar / "renderer.safetensors", header, change(tensors))
    with pytest.raises(UserError) as error:
        Avatar.open(avatar, discover()).component("renderer")
    assert said in error.value.message
    assert "renderer.safetensors" in error.value.message
    assert error.value.cure
    assert "realtalk train" in error.value.cure
