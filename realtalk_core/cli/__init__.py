"""The `realtalk` command. One module per sub-command; each does its heavy imports inside the command's body."""

from __future__ import annotations

import errno
import importlib
import importlib.util
import os
import sys
import traceback
from typing import Any

import pluggy
import typer

from realtalk_core import __version__
from realtalk_core.cli.common import note, say
from realtalk_core.errors import UserError, did_you_mean

COMMANDS = (
    "doctor", "plugins", "explain", "schema", "check", "capture", "train", "synthesize", "evaluate", "inspect",
    "conform",
)  # fmt: skip

_CLICK: Any = sys.modules[typer.BadParameter.__module__]
"""Click's exceptions, whether this Typer depends on click or carries its own copy."""

_MENDABLE_OS_ERRORS = {
    errno.ENOSPC: "Free some space, or write to another disk.",
    errno.EDQUOT: "Free some space, or write to another disk.",
    errno.EROFS: "Write to a folder that is not read-only.",
    errno.EACCES: "Choose a place you may read and write.",
    errno.EPERM: "Choose a place you may read and write.",
}


def build_app() -> typer.Typer:
    """The application with every built-in command."""
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

    for name in COMMANDS:
        if importlib.util.find_spec(f"realtalk_core.cli.{name}") is None:
            continue
        importlib.import_module(f"realtalk_core.cli.{name}").register(app)
    return app


def _plugin_commands(app: typer.Typer) -> None:
    """Adds plugins' commands; one that fails is reported and left out."""
    from realtalk_core.plugins import discover

    for plugin, implementation in _command_hooks(discover().manager):
        try:
            implementation(app)
        except Exception as error:
            note(f"plugin {plugin!r}: its commands were left out: {type(error).__name__}: {error}")


def _command_hooks(manager: pluggy.PluginManager) -> list[tuple[str, Any]]:
    hooks = manager.hook.realtalk_commands.get_hookimpls()
    return [(impl.plugin_name, impl.function) for impl in hooks]


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits: 0, 2 for what the user can mend, 130 after Ctrl-C, 1 for a bug of ours."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Runs the command line and returns the exit code."""
    app = build_app()
    _plugin_commands(app)
    command = typer.main.get_command(app)
    try:
        result = command.main(arguments, prog_name="realtalk", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except UserError as error:
        note(f"realtalk: {error}" if "\n" not in error.message else str(error))
        return 2
    except _CLICK.NoArgsIsHelpError as error:
        error.show()
        return 2
    except _CLICK.UsageError as error:
        note(f"realtalk: {_usage(error, command)}")
        return 2
    except _CLICK.ClickException as error:
        note(f"realtalk: {error.format_message()}")
        return 2
    except (KeyboardInterrupt, typer.Abort):
        note("\nrealtalk: stopped")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        cure = _MENDABLE_OS_ERRORS.get(error.errno or 0)
        if cure is None:
            return _bug(error)
        place = f"{error.filename}: " if error.filename else ""
        note(f"realtalk: {place}{error.strerror}\n  {cure}")
        return 2
    except Exception as error:
        return _bug(error)


def _usage(error: Any, command: Any) -> str:
    text = str(error.format_message())
    if isinstance(error, _CLICK.NoSuchOption):
        known = [opt for param in error.ctx.command.params for opt in param.opts] if error.ctx else []
        return f"no such option {error.option_name!r}{did_you_mean(error.option_name, known)}"
    if text.startswith("No such command"):
        word = text.split("'")[1]
        return f"no such command {word!r}{did_you_mean(word, command.commands)}"
    where = error.ctx.command_path if error.ctx else "realtalk"
    return f"{text}\n  See: {where} --help"


def _bug(error: BaseException) -> int:
    traceback.print_exception(error)
    from realtalk_core.build import PluginBugError

    if isinstance(error, PluginBugError):
        note(f"\nrealtalk: {error}\n  This is a bug in that plugin; tell its author.")
    else:
        note("\nrealtalk: this is a bug; please report it with the lines above.")
    return 1
