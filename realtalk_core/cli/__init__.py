"""The `realtalk` command. One module per sub-command; each does its heavy imports inside the command's body."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

import typer

from realtalk_core import __version__
from realtalk_core.cli.common import installed, note, say
from realtalk_core.cli.failures import INTERRUPTED, report
from realtalk_core.errors import UserError

COMMANDS = (
    "doctor", "plugins", "explain", "schema", "check", "capture", "train", "synthesize", "evaluate", "inspect",
    "compact", "conform", "voices", "convert", "features",
)  # fmt: skip


def build_app(names: Sequence[str] = COMMANDS) -> typer.Typer:
    """The application with these built-in commands."""
    app = typer.Typer(
        name="realtalk",
        help="Emotional talking-head video from a short video of a person and any speech; every stage swappable.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    def version(value: bool) -> None:
        if value:
            say(f"realtalk {__version__}")
            raise typer.Exit

    @app.callback()
    def root(
        _version: bool = typer.Option(False, "--version", callback=version, is_eager=True, help="Print the version."),
    ) -> None:
        pass

    for name in names:
        importlib.import_module(f"realtalk_core.cli.{name}").register(app)
    return app


def add_plugin_commands(app: typer.Typer) -> None:
    """Adds plugins' commands. One that fails, or takes a name that is taken, is reported and left out."""
    try:
        plugins = installed()
    except UserError as error:  # a wrong REALTALK_CONFIG must not take `realtalk --help` away
        note(f"plugins' commands were left out: {error}")
        return
    for implementation in plugins.manager.hook.realtalk_commands.get_hookimpls():
        probe = typer.Typer(rich_markup_mode=None)
        try:
            implementation.function(*(probe for _ in implementation.argnames))
            typer.main.get_command(probe)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            note(f"plugin {implementation.plugin_name!r}: its commands were left out: {type(error).__name__}: {error}")
            continue
        taken = command_names(app) & command_names(probe)
        if taken:
            words = ", ".join(sorted(taken))
            note(f"plugin {implementation.plugin_name!r}: its commands were left out: the name {words} is taken")
            continue
        app.registered_commands += probe.registered_commands
        app.registered_groups += probe.registered_groups


def command_names(app: typer.Typer) -> set[str]:
    """Names of an application's commands and groups."""
    names = set()
    for command in app.registered_commands:
        names.add(command.name or getattr(command.callback, "__name__", "").lower().replace("_", "-"))
    for group in app.registered_groups:
        inner = group.typer_instance.info.name if group.typer_instance else None
        names.add(str(group.name or inner or ""))
    return names


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and exits: 0, 2 for what the user can mend, 130 after Ctrl-C, 1 for a bug of ours."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # an old terminal still gets its message
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    """A polite kill ends like Ctrl-C, so that nothing half-made is left behind."""
    raise KeyboardInterrupt


def run(arguments: Sequence[str]) -> int:
    """Runs the command line and returns the exit code."""
    command: Any = None
    try:
        word = next((word for word in arguments if not word.startswith("-")), None)
        # a built-in command needs neither the others nor plugins' commands: it starts sooner, and a plugin that the
        # configuration disables is not even imported
        app = build_app((word,) if word in COMMANDS else COMMANDS)
        if word not in COMMANDS:
            add_plugin_commands(app)
        command = typer.main.get_command(app)
        result = command.main(list(arguments), prog_name="realtalk", standalone_mode=False)
        sys.stdout.flush()
        if result == INTERRUPTED:  # some versions of Typer turn Ctrl-C into this
            note("\nrealtalk: stopped")
        return result if isinstance(result, int) else 0
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except BaseException as error:
        code = report(error, command)
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        return code
