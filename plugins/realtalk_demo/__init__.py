"""RealTalk plugin: a trained avatar of a person who does not exist, recorded speech for it, and `realtalk demo`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

from realtalk_core import declare
from realtalk_core.hookspecs import hookimpl
from realtalk_core.spec import ComponentConfig, ComponentSpec

DATA = Path(__file__).parent / "data"
AVATAR = DATA / "avatar"


class RecordedConfig(ComponentConfig):
    """The recorded voice has no parameters."""


def _load() -> type[Any]:
    from realtalk_demo.recorded import RecordedVoice

    return RecordedVoice


@hookimpl
def realtalk_components() -> Iterable[ComponentSpec]:
    """Declares the recorded voice."""
    yield declare.voice(
        "recorded",
        summary="The sentences that ship with RealTalk, recorded with their phonemes; needs no extra and no model file",
        api=1,
        config=RecordedConfig,
        load=_load,
    )


@hookimpl
def realtalk_commands(app: typer.Typer) -> None:
    """Adds `realtalk demo`."""
    from realtalk_demo.command import register

    register(app)
