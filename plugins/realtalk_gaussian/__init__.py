"""Renderer `gaussian`: 3-D Gaussians of one head, moved by landmarks, blendshapes, sound and emotion."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from realtalk_core import declare
from realtalk_core.hookspecs import hookimpl
from realtalk_core.spec import ComponentSpec
from realtalk_gaussian.about import about
from realtalk_gaussian.config import GaussianConfig


def _load() -> type:
    from realtalk_gaussian.renderer import GaussianRenderer

    return GaussianRenderer


def _needs(config: GaussianConfig) -> frozenset[str]:
    points = "landmarks:68" if config.landmarks == "ibug68" else "landmarks:478"
    sound = set() if config.condition == "components" else {"audio"}
    return frozenset({points, *sound} if config.blendshapes == "none" else {points, "blendshapes:52", *sound})


@hookimpl
def realtalk_components() -> Iterable[ComponentSpec]:
    """Declares the renderer."""
    yield declare.renderer(
        "gaussian",
        summary="3-D Gaussians of the head, moved by landmarks and branches for face, mouth and emotion; real time.",
        api=1,
        config=GaussianConfig,
        load=_load,
        needs=_needs,
        about=about,
    )


@hookimpl
def realtalk_commands(app: typer.Typer) -> None:
    """Adds `realtalk export-ply`."""
    from realtalk_gaussian.command import register

    register(app)
