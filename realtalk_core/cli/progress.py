"""A progress bar with the time left on a terminal, plain lines now and then elsewhere; both on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from realtalk_core.cli.common import note

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_SECONDS = 10.0


class Bars:
    """One bar for each thing done, one after another; a context manager.

    Args:
        unit: What is counted, such as `steps` or `frames`.
    """

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self._rich: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, tuple[float, int]] = {}
        self._said = 0.0

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._rich = Progress(
                TextColumn("{task.description:<10}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rich is not None:
            self._rich.stop()

    def __call__(self, what: str, done: int, total: int, metrics: Mapping[str, float] | None = None) -> None:
        """Shows how far `what` is."""
        now = time.monotonic()
        began, first = self._began.setdefault(what, (now, done - 1))
        rate = (done - first) / max(now - began, 1e-3)
        loss = f"loss {metrics['loss']:.4g}  " if metrics and "loss" in metrics else ""
        speed = f"{loss}{rate:.3g} {self.unit}/s" if now > began else loss
        if self._rich is not None:
            if what not in self._tasks:
                self._tasks[what] = self._rich.add_task(what, total=total, note="")
            self._rich.update(self._tasks[what], completed=done, total=total or None, note=speed)
        elif now - self._said > LINE_SECONDS or done == total:
            self._said = now
            left = f"  {spoken((total - done) / rate)} left" if total > done and now > began else ""
            note(f"{what:<10} {done}{f'/{total}' if total else ''}  {speed}{left}")


def spoken(seconds: float) -> str:
    """A duration to read.

    >>> spoken(8.4), spoken(75), spoken(3700)
    ('8 s', '1 min 15 s', '1 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = whole // 60
    return f"{minutes} min {whole % 60} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
