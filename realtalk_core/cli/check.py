"""`realtalk check`: is this configuration right?"""

from __future__ import annotations

import typer

from realtalk_core.cli.common import (
    ConfigOption,
    JsonOption,
    PresetOption,
    SetOption,
    configuration,
    say,
    say_json,
    table,
)
from realtalk_core.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command(short_help="Is this configuration right?")
    def check(
        config: ConfigOption = None, preset: PresetOption = None, sets: SetOption = None, as_json: JsonOption = False
    ) -> None:
        """Checks a configuration and reports every problem at once, each with its place and a suggestion."""
        try:
            resolved = configuration(config, preset, sets, every_preset=True)
        except ConfigError as error:
            if not as_json:
                raise
            fields = ("source", "line", "column", "path", "message")
            say_json({"valid": False, "problems": [{f: getattr(p, f) for f in fields} for p in error.problems]})
            raise typer.Exit(2) from None
        if as_json:
            filled = resolved.to_dict(voice=True)
            say_json({"valid": True, "source": resolved.source, "preset": preset, "configuration": filled})
            return
        say(f"{resolved.source}{f' with preset {preset}' if preset else ''}: valid")
        table(
            [
                (stage, chosen.spec.name, f"from plugin {chosen.spec.plugin}")
                for stage, chosen in resolved.stages.items()
            ],
            "  ",
        )
