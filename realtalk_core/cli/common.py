"""What every command shares: options, output, and turning options into a checked configuration."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from realtalk_core.config import Config
    from realtalk_core.plugins import Plugins

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "-c", "--config", help="A registry file; what it leaves out comes from the shipped one.", metavar="FILE"
    ),
]
PresetOption = Annotated[
    str | None, typer.Option("--preset", help="A preset of the registry, such as quick.", metavar="NAME")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="STAGE=NAME, STAGE.PARAM=VALUE, motion.PARAM=VALUE or fps=N; repeatable.", metavar="KEY=VALUE"
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a script to read.")]


def say(text: str = "") -> None:
    """Prints a line of result on stdout."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Prints a remark on stderr, out of a script's way."""
    sys.stderr.write(text + "\n")


def say_json(data: Any) -> None:
    """Prints data as JSON on stdout."""
    say(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def table(rows: Sequence[Sequence[str]], indent: str = "") -> None:
    """Prints aligned columns; plain text, so that it reads the same in a pipe."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)] if rows else []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        say((indent + "  ".join([*cells, row[-1]])).rstrip())


def installed() -> Plugins:
    """The installed plugins."""
    from realtalk_core.plugins import discover

    return discover()


def configuration(
    file: Path | None, preset: str | None = None, sets: Sequence[str] | None = None, plugins: Plugins | None = None
) -> Config:
    """The configuration that `-c`, `--preset` and `--set` ask for."""
    from realtalk_core.config import load_config

    return load_config(file, preset=preset, sets=sets or (), plugins=plugins)
