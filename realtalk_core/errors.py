"""Errors a user can cause, and how they read.

Everything a user can mend is a `UserError`: the command line prints it on stderr without a traceback and exits with 2.
Anything else that escapes is our bug, keeps its traceback and exits with 1.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class RealTalkError(Exception):
    """Base of every error RealTalk raises on purpose."""


class UserError(RealTalkError):
    """Something the user can mend: names the thing, the place and the cure.

    Args:
        message: What is wrong, with the file, option or value it concerns.
        cure: What to do about it, as one imperative sentence; printed on a line of its own.
    """

    def __init__(self, message: str, cure: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure

    def __str__(self) -> str:
        return self.message if self.cure is None else f"{self.message}\n  {self.cure}"


class MissingDependencyError(UserError):
    """An optional package is not installed; the cure is the exact install line."""


class ShapeError(RealTalkError, ValueError):
    """A tensor handed between stages has the wrong shape, type or range."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One configuration problem, as `file:line:column: path: message`.

    Attributes:
        message: What is wrong, with a suggestion where there is one.
        path: Dotted path inside the document, such as `pipeline.renderer.params.steps`; empty for the whole file.
        source: File name, or `--set` for a command-line override.
        line: Line, counted from 1; 0 if unknown.
        column: Column, counted from 1; 0 if unknown.
    """

    message: str
    path: str = ""
    source: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        place = self.source
        if self.line:
            place += f":{self.line}:{self.column}"
        return ": ".join(part for part in (place, self.path, self.message) if part)


class ConfigError(UserError):
    """All problems of a configuration at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(p) for p in self.problems))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The tail of an error about an unknown word: the nearest known one, and all of them.

    >>> did_you_mean("hapy", ["happy", "sad"])
    " - did you mean 'happy'? (known: happy, sad)"
    >>> did_you_mean("zzz", ["happy", "sad"])
    ' (known: happy, sad)'
    """
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    hint = f" - did you mean {near[0]!r}?" if near else ""
    return f"{hint} (known: {', '.join(names) or 'none'})"
