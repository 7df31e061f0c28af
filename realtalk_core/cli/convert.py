"""`realtalk convert`: weights published for another program, taken over for a component."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from realtalk_core.cli.common import ConfigOption, installed, say
from realtalk_core.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from realtalk_core.plugins import Plugins
    from realtalk_core.spec import Converter


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command(short_help="Weights published for another program, taken over.")
    def convert(
        name: Annotated[str, typer.Argument(help="The component they are for, such as deepspeech.")],
        source: Annotated[Path, typer.Argument(help="The published file or folder.", metavar="SOURCE")],
        output: Annotated[
            Path | None,
            typer.Option(
                "-o", "--output", help="Where to write; default: where the component looks.", metavar="TARGET"
            ),
        ] = None,
        force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
        config: ConfigOption = None,
    ) -> None:
        """Reads weights as others publish them and writes them as RealTalk loads them.

        Published files are read as data: none of them can run code.
        """
        converter = find(name, installed(config))
        if not source.exists():
            raise UserError(f"{source} does not exist", f"Name {converter.reads}.")
        target = output if output is not None else converter.place(source)
        _check(source, target, force)
        if output is None:
            _make(target.parent)
        elif not target.parent.is_dir():
            raise UserError(f"the folder {target.parent} does not exist", f"Make it with: mkdir -p {target.parent}")
        take_over(converter, source, target)
        say(str(target))


def find(name: str, plugins: Plugins) -> Converter:
    """The converter of the component called `name` or `plugin:name`, of whatever stage.

    Raises:
        UserError: unknown, without a converter (with those that have one), or offered by two plugins.
    """
    able = [(spec, spec.convert) for spec in plugins.specs if spec.convert is not None]
    found = [pair for pair in able if name in (pair[0].name, pair[0].qualified)]
    if len(found) == 1:
        return found[0][1]
    if found:
        names = " or ".join(spec.qualified for spec, _ in found)
        raise UserError(f"{name!r} is offered by {len(found)} plugins", f"Name one of them in full: {names}.")
    what = "; ".join(f"{spec.name} reads {converter.reads}" for spec, converter in able)
    cure = f"These do: {what}." if able else "No installed plugin does."
    other = next((spec for spec in plugins.specs if name in (spec.name, spec.qualified)), None)
    if other is not None:
        raise UserError(f"{other.stage} {name!r} takes over no weights from other programs", cure)
    out = next((f for f in plugins.failures if f.name == name.partition(":")[0]), None)
    if out is not None:
        cure += f"\n  The plugin {out.name!r} was left out: {out.reason}."
    raise UserError(f"no component is called {name!r}{did_you_mean(name, [spec.name for spec, _ in able])}", cure)


def take_over(converter: Converter, source: Path, target: Path) -> None:
    """Runs a converter so that its result, a file or a folder, appears at `target` whole or not at all.

    What was there is replaced; it is lost only once the new one is complete.

    Raises:
        UserError: if the source cannot be used, or the place is full or forbidden.
    """
    from realtalk_core.atomic import writing

    partial, old = (target.with_name(f".{target.name}.{os.getpid()}.{word}") for word in ("partial", "old"))
    try:
        converter.write(source, partial)
        with writing(target):
            if target.is_dir() or (target.exists() and partial.is_dir()):  # only a file is replaced in one step
                target.rename(old)
            try:
                partial.replace(target)
            except OSError:
                with suppress(FileNotFoundError):
                    old.rename(target)
                raise
    finally:
        for rest in (partial, old):
            _remove(rest)


def _check(source: Path, target: Path, force: bool) -> None:
    if target.exists():
        if target.samefile(source):
            raise UserError(f"{target} is the source itself", "Name another place with -o.")
        if not force:
            raise UserError(f"{target} is there already", "Replace it with --force, or name another place with -o.")


def _make(folder: Path) -> None:
    from realtalk_core.atomic import writing

    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
