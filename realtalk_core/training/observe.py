"""Telling plugins how training goes, so that none of them can disturb it."""

from __future__ import annotations

import warnings
from typing import Any

import pluggy

from realtalk_core.training.loop import Notify


def notifier(manager: pluggy.PluginManager | None) -> Notify:
    """A function that calls a training hook of every plugin.

    A hook that raises is reported once, as a warning, and not called again in this run.
    """
    broken: set[str] = set()

    def notify(hook: str, **arguments: Any) -> None:
        if manager is None or hook in broken:
            return
        try:
            getattr(manager.hook, hook)(**arguments)
        except Exception as error:  # a plugin's bug, of any kind, must not cost a training
            broken.add(hook)
            warnings.warn(
                f"a plugin's {hook} raised {type(error).__name__}: {error}; it is not called again", stacklevel=2
            )

    return notify
