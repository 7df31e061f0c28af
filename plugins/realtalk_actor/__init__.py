"""RealTalk plugin: a synthetic actor who performs any text in any emotion, with exact ground truth."""

import typer

from realtalk_core.hookspecs import hookimpl


@hookimpl
def realtalk_commands(app: typer.Typer) -> None:
    """Adds `realtalk actor`."""
    from realtalk_actor.command import register

    register(app)
