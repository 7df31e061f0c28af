"""`realtalk voices`: who can speak a text."""

from __future__ import annotations

import textwrap
from typing import Annotated

import typer

from realtalk_core.cli.common import (
    ConfigOption,
    JsonOption,
    SetOption,
    configuration,
    say,
    say_json,
    table,
    terminal_width,
)
from realtalk_core.cli.speech import chosen_voice
from realtalk_core.errors import UserError


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command(short_help="Who can speak a text.")
    def voices(
        word: Annotated[
            str | None, typer.Argument(help="List only those whose name or language has this in it.", metavar="[WORD]")
        ] = None,
        config: ConfigOption = None,
        sets: SetOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Lists what --voice takes: the voices of the component that speaks texts. Choose one with --set voice=NAME."""
        from realtalk_core.voice import ManyVoices, VoiceName

        resolved = configuration(config, None, sets)
        component = chosen_voice(config, sets or (), plugins=resolved.plugins)
        spec = resolved.stages["voice"].spec
        found: list[VoiceName] = list(component.voices()) if isinstance(component, ManyVoices) else []
        if word is not None and found:
            found = [each for each in found if word.lower() in f"{each.name}\n{each.about}".lower()]
            if not found:
                raise UserError(f"no voice of {spec.name!r} has {word!r} in its name", "See them all: realtalk voices")
        if as_json:
            say_json({"component": spec.name, "voices": [{"name": v.name, "about": v.about} for v in found]})
            return
        say(f"{spec.name} - {spec.summary}")
        table([(v.name, v.about) for v in found if not v.name.startswith("+")] or [("has one voice only",)], "  ")
        variants = " ".join(v.name for v in found if v.name.startswith("+"))
        if variants:
            say("variants, appended to any of them, such as en-gb+f3")
            width = terminal_width() or 100
            say(textwrap.fill(variants, width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False))
        others = [(kind.name, kind.summary) for kind in resolved.plugins.of("voice") if kind.name != spec.name]
        if others:
            say("other kinds of voice, chosen with --set voice=NAME")
            table(others, "  ")
