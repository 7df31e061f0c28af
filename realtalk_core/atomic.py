"""Files that appear whole or not at all: written beside their target, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from realtalk_core.errors import UserError


@contextmanager
def atomic_file(target: str | Path) -> Iterator[Path]:
    """Gives a temporary path beside `target`; renames it there on success, removes it otherwise.

    Raises:
        UserError: if the place is full, read-only or forbidden.
    """
    target = Path(target)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    with writing(target):
        try:
            yield partial
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)


def check_target(path: str | Path, suffix: str) -> Path:
    """The path, if a file with this suffix can be put there; looked at before any work.

    Raises:
        UserError: if its name ends otherwise, it is a folder, or its folder is missing or may not be written to.
    """
    target = Path(path)
    if target.suffix.lower() != suffix:
        raise UserError(f"{target} does not end in {suffix}", f"Write -o {target.with_suffix(suffix)}.")
    if target.is_dir():
        raise UserError(f"{target} is a folder", f"Name a file (-o out{suffix}).")
    if not target.parent.is_dir():
        raise UserError(f"the folder {target.parent} does not exist", f"Make it with: mkdir -p {target.parent}")
    with contextlib.suppress(_ProbedError), atomic_file(target) as partial:
        partial.touch()
        raise _ProbedError
    return target


class _ProbedError(Exception):
    """Leaves `atomic_file` before it renames anything: the place can be written to, and that was the question."""


def write_text(target: str | Path, text: str) -> None:
    """Writes UTF-8 text atomically.

    Raises:
        UserError: if the place is full, read-only or forbidden.
    """
    with atomic_file(target) as partial:
        partial.write_text(text, "utf-8")


@contextmanager
def writing(place: str | Path) -> Iterator[None]:
    """Turns the ways in which writing fails for a user's reasons into a `UserError` that names the cure."""
    try:
        yield
    except OSError as error:
        raise explain_write(error, Path(place)) from error


def explain_write(error: OSError, place: Path) -> Exception:
    """The `UserError` for a failed write, or the error itself where a user can do nothing about it."""
    if error.errno == errno.ENOSPC or error.errno == errno.EDQUOT:
        return UserError(f"the disk is full: {place} could not be written", "Free some space, then run it again.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError(f"{place} cannot be written: {error.strerror}", "Choose a folder that you may write to.")
    if error.errno in (errno.ENOTDIR, errno.ENAMETOOLONG, errno.ENOENT, errno.EISDIR, errno.EEXIST):
        return UserError(f"{place} cannot be written: {error.strerror}", "Choose another place.")
    return error
