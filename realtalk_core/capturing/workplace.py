"""Where a capture is built: a hidden folder beside its place, renamed when it is whole.

An interrupted run leaves that folder behind, and the next run with the same video and options goes on from it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from realtalk_core.atomic import explain_write, write_text, writing
from realtalk_core.errors import UserError

JOB = "job.json"


@dataclass(frozen=True)
class Workplace:
    """A place to build a capture.

    Attributes:
        target: Where the capture will be.
        folder: The hidden folder.
        job: Which video and options it is for.
    """

    target: Path
    folder: Path
    job: dict[str, Any]

    def finish(self) -> None:
        """Puts the whole capture into its place, and takes an earlier one away.

        Raises:
            UserError: if it cannot be written.
        """
        with writing(self.target):
            (self.folder / JOB).unlink(missing_ok=True)
            old = self.target.with_name(f".{self.target.name}.old")
            if old.exists():
                shutil.rmtree(old)
            if self.target.exists():
                os.replace(self.target, old)
            os.replace(self.folder, self.target)
            shutil.rmtree(old, ignore_errors=True)


def finished(target: Path, job: dict[str, Any], force: bool = False) -> bool:
    """Whether `target` already is the capture this job would make; never, if it shall be replaced.

    Raises:
        UserError: if something else is there.
    """
    if not target.exists():
        return False
    if not target.is_dir():
        raise UserError(f"{target} is a file, not a folder", "Choose another place for the capture (-o DIR).")
    if not any(target.iterdir()):
        return False
    file = target / "capture.yaml"
    if force and file.exists():
        return False
    try:
        made_from = yaml.safe_load(file.read_text("utf-8"))["job"]
    except FileNotFoundError:
        raise UserError(
            f"{target} is not empty and is no capture; nothing in it is overwritten",
            "Choose another place for the capture (-o DIR).",
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise UserError(
            f"{target} holds a damaged capture", "Make it anew with --force, or choose another place (-o DIR)."
        ) from error
    if made_from != job:
        differs = [k for k in job if not isinstance(made_from, dict) or made_from.get(k) != job[k]]
        raise UserError(
            f"{target} already holds a capture made differently ({', '.join(differs)})",
            "Replace it with --force, or choose another place (-o DIR).",
        )
    return True


@contextmanager
def workplace(target: Path, job: dict[str, Any]) -> Iterator[Workplace]:
    """Opens the hidden folder: an earlier one for the same job is continued, any other is replaced.

    On an interruption it stays; on every other failure it is removed.

    Raises:
        UserError: if the place cannot be written.
    """
    folder = target.with_name(f".{target.name}.partial")
    with writing(target):
        if _read_job(folder) != job:
            if folder.exists():
                shutil.rmtree(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
            write_text(folder / JOB, json.dumps(job))
    try:
        yield Workplace(target, folder, job)
    except KeyboardInterrupt:
        raise
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise explain_write(error, target) from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _read_job(folder: Path) -> Any:
    try:
        return json.loads((folder / JOB).read_text("utf-8"))
    except (OSError, ValueError):
        return None
