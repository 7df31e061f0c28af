"""What a component learns from beside the capture: the avatar's emotion stage, or an installed generator of faces.

A component says so by a class method `learns_from(config)`: a tuple of `"emotion"` and of `"face_generator:NAME"`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from realtalk_core import checkpoint
from realtalk_core.avatar import Avatar
from realtalk_core.build import build, load_class
from realtalk_core.config import Config, Selected
from realtalk_core.errors import UserError
from realtalk_core.training.data import TrainingData

if TYPE_CHECKING:
    from torch import Tensor


def learns_from(chosen: Selected) -> tuple[str, ...]:
    """The teachers that a component asks for; empty for most."""
    asked = getattr(load_class(chosen.spec), "learns_from", None)
    return () if asked is None else tuple(asked(chosen.config))


def with_teachers(
    data: TrainingData, chosen: Selected, config: Config, folder: Path
) -> tuple[TrainingData, tuple[str, ...]]:
    """The data with what the component learns from beside the capture.

    Args:
        data: The capture.
        chosen: The component that is to be trained.
        config: What else the avatar is made of.
        folder: The avatar.

    Returns:
        The data, and a digest of each teacher: other teachers are another training.

    Raises:
        UserError: if the emotion stage has not been trained, or no such generator is installed.
    """
    digests = []
    for teacher in learns_from(chosen):
        kind, _, name = teacher.partition(":")
        if kind == "emotion":
            deformer = config.stages["emotion"]
            tensors = _weights(deformer, chosen, data, folder)
            data = replace(data, deformer=build(deformer.spec, deformer.config, tensors=tensors))
            digests.append(_digest(deformer, tensors))
        elif kind == "face_generator":
            spec = config.plugins.find("face_generator", name)
            generator = Selected(spec, spec.config())
            data = replace(data, faces=build(spec, generator.config))
            digests.append(_digest(generator, None))
        else:
            raise ValueError(
                f"{chosen.spec.name}: learns_from names {teacher!r}; it may name emotion and face_generator:…"
            )
    return data, tuple(digests)


def _weights(deformer: Selected, learner: Selected, data: TrainingData, folder: Path) -> dict[str, Tensor] | None:
    """The emotion stage's weights; None if it has none."""
    if not hasattr(load_class(deformer.spec), "from_state"):
        return None
    file = folder / "emotion.safetensors"
    if not file.is_file():
        raise UserError(
            f"{learner.spec.stage} {learner.spec.name!r} learns its emotions from the avatar's emotion stage, "
            f"and {folder} has none that is trained",
            f"Train it first: realtalk train {data.capture.path} -o {folder} --stage emotion",
        )
    header, tensors = checkpoint.load(file, deformer.spec)
    return Avatar.widened(header, tensors)


def _digest(chosen: Selected, tensors: Mapping[str, Tensor] | None) -> str:
    """Names a component by what it does: itself, its parameters and its weights, not when these were written."""
    digest = hashlib.sha256(
        json.dumps([chosen.spec.qualified, chosen.spec.version, chosen.config.model_dump(mode="json")]).encode()
    )
    for name, tensor in sorted((tensors or {}).items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
