"""`realtalk compact`: a small copy of an avatar."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from realtalk_core.cli.common import installed, table
from realtalk_core.errors import UserError


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command(short_help="A small copy of an avatar: less film, half-precision weights.")
    def compact(
        avatar: Annotated[Path, typer.Argument(help="An avatar folder.", metavar="AVATAR")],
        output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the copy.", metavar="SMALL")],
        seconds: Annotated[float, typer.Option(help="Film to keep; it is played back and forth.")] = 8.0,
        start: Annotated[
            float | None, typer.Option("--from", help="Second at which it begins; default: where the face is calmest.")
        ] = None,
        crf: Annotated[float, typer.Option(help="Quality of the film, 0 to 51; lower is better and larger.")] = 21.0,
    ) -> None:
        """Copies an avatar with only as much film as speaking needs; the copy speaks alike but cannot be resumed."""
        if not 0 <= crf <= 51:
            raise UserError(f"--crf {crf:g} is outside 0 to 51", "Write x264's quality, such as 21.")
        from realtalk_core.avatar import Avatar
        from realtalk_core.cli.progress import Bars
        from realtalk_core.compact import compact as write

        opened = Avatar.open(avatar, installed())
        with Bars("frames") as bars:
            write(opened, output, seconds=seconds, start=start, crf=crf,
                  progress=lambda done, total: bars("film", done, total))  # fmt: skip
        names = sorted(f.name for f in output.iterdir())
        rows = [(name, *(_megabytes(folder / name) for folder in (avatar, output))) for name in names]
        table([("", str(avatar), str(output)), *rows, ("in all", _megabytes(avatar), _megabytes(output))])


def _megabytes(path: Path) -> str:
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
    return f"{sum(f.stat().st_size for f in files) / 1e6:.2f} MB"
