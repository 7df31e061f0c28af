"""A small avatar in seconds: the configured components at their smallest, trained on the synthetic capture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from realtalk_core.config import Config, Selected, load_config
from realtalk_core.spec import Stage
from realtalk_core.testing.synthetic import make_capture
from realtalk_core.testing.tiny import scratch, tiny_config_of
from realtalk_core.training.loop import LoopOptions
from realtalk_core.training.session import Session

STEPS = 12


def tiny_config(config: Config | None = None, steps: int | None = STEPS) -> Config:
    """A configuration with every component at its `tiny()` size, and tiny random weights for those from outside.

    Args:
        config: Which components; the shipped registry's if None.
        steps: Training steps of each component that has that parameter; None keeps `tiny()`'s own.
    """
    config = config or load_config()
    stages: dict[Stage, Selected] = {}
    for stage, chosen in config.stages.items():
        made = tiny_config_of(chosen.spec, scratch(chosen.spec.name))
        if steps is not None and "steps" in type(made).model_fields:
            made = made.model_copy(update={"steps": steps})
        stages[stage] = Selected(chosen.spec, made)
    frozen: Mapping[Stage, Selected] = MappingProxyType(stages)
    return replace(config, stages=frozen)


def make_avatar(
    folder: Path, *, seconds: float = 4.0, size: int = 64, seed: int = 0, config: Config | None = None
) -> Path:
    """Trains an avatar of nobody.

    Args:
        folder: A folder to be made; the capture lies in `capture` inside it, the avatar in `avatar`.
        seconds: Length of the capture.
        size: Side of its pictures in pixels.
        seed: Seed of the drawn person and of training.
        config: Components and parameters; `tiny_config()` if None.

    Returns:
        The avatar's folder.
    """
    capture = make_capture(folder / "capture", seconds=seconds, size=size, seed=seed)
    options = LoopOptions(previews=1)
    Session(capture, folder / "avatar", config or tiny_config(), split=0.8, seed=seed, options=options).run()
    return folder / "avatar"
