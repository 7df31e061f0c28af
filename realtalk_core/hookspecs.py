"""The five hooks of RealTalk. Hooks declare components, add commands and watch progress; they never carry data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from realtalk_core.spec import ComponentSpec

if TYPE_CHECKING:
    import typer

PROJECT = "realtalk"
"""Name of the pluggy project and of the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Decorate a plugin's hook functions with this."""


@hookspec
def realtalk_components() -> Iterable[ComponentSpec]:
    """Declares the plugin's components. Must import nothing heavy.

    Returns:
        Specs made with `realtalk_core.declare`.
    """
    raise AssertionError("a specification is never called")


@hookspec
def realtalk_commands(app: typer.Typer) -> None:
    """Adds sub-commands to `realtalk`.

    Args:
        app: The Typer application to add to.
    """


@hookspec
def realtalk_stage_finished(stage: str, component: str, seconds: float) -> None:
    """A stage of training has finished.

    Args:
        stage: The stage, such as `renderer`.
        component: Name of the component that filled it.
        seconds: How long it took.
    """


@hookspec
def realtalk_training_step(stage: str, step: int, total: int, metrics: Mapping[str, Any]) -> None:
    """A training step was logged.

    Args:
        stage: The stage being trained.
        step: The step, counted from 1.
        total: How many steps the stage takes.
        metrics: Scalars of this step.
    """


@hookspec
def realtalk_checkpoint_saved(path: Path, header: Any) -> None:
    """A checkpoint was written.

    Args:
        path: The file.
        header: Its `realtalk_core.checkpoint.Header`.
    """
