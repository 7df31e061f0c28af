"""What the command line says when something goes wrong, and which exit code it gives."""

from __future__ import annotations

import errno
import sys
import traceback
from typing import Any

import typer

from realtalk_core.cli.common import note
from realtalk_core.errors import ConfigError, UserError, did_you_mean

USER, BUG, INTERRUPTED = 2, 1, 130
"""Exit codes: what the user can mend, a bug of RealTalk's or a plugin's, and Ctrl-C."""

_CLICK: Any = sys.modules[typer.BadParameter.__module__]
"""Click's exceptions, whether this Typer depends on click or carries its own copy."""

_MENDABLE_OS_ERRORS = {
    errno.ENOSPC: "Free some space, or write to another disk.",
    errno.EDQUOT: "Free some space, or write to another disk.",
    errno.EFBIG: "Write to a disk that takes files of this size.",
    errno.EROFS: "Write to a folder that is not read-only.",
    errno.EACCES: "Choose a place you may read and write.",
    errno.EPERM: "Choose a place you may read and write.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.EMFILE: "Raise the limit of open files: ulimit -n 4096",
}


def report(error: BaseException, command: Any) -> int:
    """Says on stderr what went wrong and gives the exit code.

    Args:
        error: What a command raised.
        command: The click command it ran under, for suggestions.
    """
    if isinstance(error, ConfigError):
        note(str(error))
        return USER
    if isinstance(error, UserError):
        note(f"realtalk: {error}")
        return USER
    if isinstance(error, _CLICK.NoArgsIsHelpError):
        error.show()
        return USER
    if isinstance(error, _CLICK.UsageError):
        note(f"realtalk: {_usage(error, command)}")
        return USER
    if isinstance(error, _CLICK.ClickException):
        note(f"realtalk: {error.format_message()}")
        return USER
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        note("\nrealtalk: stopped")
        return INTERRUPTED
    if isinstance(error, OSError) and (cure := _MENDABLE_OS_ERRORS.get(error.errno or 0)):
        place = f"{error.filename}: " if error.filename else ""
        note(f"realtalk: {place}{error.strerror}\n  {cure}")
        return USER
    if isinstance(error, MemoryError):
        note("realtalk: out of memory\n  Close other programs, or work at a smaller size.")
        return USER
    return _bug(error)


def _usage(error: Any, command: Any) -> str:
    text = str(error.format_message())
    if isinstance(error, _CLICK.NoSuchOption):
        known = [option for param in error.ctx.command.params for option in param.opts] if error.ctx else []
        return f"no such option {error.option_name!r}{did_you_mean(error.option_name, known)}"
    if text.startswith("No such command"):
        word = text.split("'")[1]
        return f"no such command {word!r}{did_you_mean(word, command.commands)}"
    where = error.ctx.command_path if error.ctx else "realtalk"
    return f"{text}\n  See: {where} --help"


def _bug(error: BaseException) -> int:
    from realtalk_core.build import PluginBugError

    traceback.print_exception(error)
    culprit = _culprit(error)
    if isinstance(error, PluginBugError):
        note(f"\nrealtalk: {error}\n  This is a bug in that plugin; tell its author.")
    elif culprit:
        note(f"\nrealtalk: this is a bug in the plugin {culprit!r}; please report it there, with the lines above.")
    else:
        note("\nrealtalk: this is a bug in RealTalk; please report it with the lines above.")
    return BUG


def _culprit(error: BaseException) -> str | None:
    """The plugin in whose code the error arose: that of the innermost frame which is a plugin's or RealTalk's."""
    from realtalk_core.plugins import discover

    owners = {info.module.partition(".")[0]: info.name for info in discover().loaded}
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package == "realtalk_core":
            return None
        if package in owners:
            return owners[package]
    return None
