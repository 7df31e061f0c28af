"""What every command shares: options, output, and turning options into a checked configuration."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

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
        "--set",
        help="STAGE=NAME, STAGE.PARAM=VALUE, motion.PARAM=VALUE or fps=N; repeatable. `realtalk explain` lists them.",
        metavar="KEY=VALUE",
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device", help="auto (a CUDA GPU where there is one), cpu, cuda or cuda:NUMBER.", metavar="auto|cpu|cuda"
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a script to read.")]


def field_help(model: type[BaseModel], field: str) -> str:
    """The sentence under a configuration's field, for an option that sets it: one text, wherever it is read.

    >>> from realtalk_core.config import MotionConfig
    >>> field_help(MotionConfig, "start")
    'Frame of the capture at which the replayed poses begin.'
    """
    return " ".join((model.model_fields[field].description or "").split())


def say(text: str = "") -> None:
    """Prints a line of result on stdout."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Prints a remark on stderr, out of a script's way."""
    sys.stderr.write(text + "\n")


def say_json(data: Any) -> None:
    """Prints data as JSON on stdout."""
    say(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def terminal_width() -> int | None:
    """Columns of the terminal, or None where stdout is a file or a pipe: nothing is wrapped there."""
    return max(40, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None


def table(rows: Sequence[Sequence[str]], indent: str = "") -> None:
    """Prints aligned columns: one line a row in a pipe, the last column wrapped in a terminal."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)] if rows else []
    columns = terminal_width()
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lead = indent + "".join(cell + "  " for cell in cells)
        room = columns - len(lead) if columns else 0
        lines = textwrap.wrap(row[-1], room) if room >= 24 else [row[-1]]
        say((lead + (lines[0] if lines else "")).rstrip())
        for line in lines[1:]:
            say(" " * len(lead) + line)


def installed(file: Path | None = None) -> Plugins:
    """The installed plugins, without those that the configuration disables."""
    from realtalk_core.config import disabled_plugins
    from realtalk_core.plugins import discover

    return discover(disabled_plugins(file))


def configuration(
    file: Path | None,
    preset: str | None = None,
    sets: Sequence[str] | None = None,
    plugins: Plugins | None = None,
    every_preset: bool = False,
) -> Config:
    """The configuration that `-c`, `--preset` and `--set` ask for."""
    from realtalk_core.config import load_config

    return load_config(file, preset=preset, sets=sets or (), plugins=plugins, every_preset=every_preset)
