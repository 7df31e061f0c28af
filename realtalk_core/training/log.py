"""`metrics.jsonl` and the loss plot of a stage under training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from realtalk_core.atomic import atomic_file, write_text, writing


class MetricsLog:
    """One JSON line every few steps; a resumed training drops the lines after the step it resumes from.

    Attributes:
        last: The newest line's measures, without step and time.
    """

    def __init__(self, folder: Path, resume_at: int) -> None:
        self._file = folder / "metrics.jsonl"
        self._plot = folder / "loss.png"
        self._rows = [row for row in read_metrics(self._file) if row["step"] <= resume_at] if resume_at else []
        self.last: dict[str, float] = {}
        write_text(self._file, "".join(json.dumps(row) + "\n" for row in self._rows))

    def write(self, step: int, seconds: float, metrics: Mapping[str, float]) -> None:
        """Appends a line.

        Raises:
            UserError: if the disk is full.
        """
        self.last = {name: float(f"{value:.6g}") for name, value in metrics.items()}
        row = {"step": step, "seconds": round(seconds, 2), **self.last}
        self._rows.append(row)
        with writing(self._file), self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def plot(self, title: str) -> None:
        """Draws every measure over the steps."""
        if not self._rows:
            return
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4), dpi=100, layout="tight")
        axes = figure.add_subplot()
        steps = [row["step"] for row in self._rows]
        for name in self._rows[-1]:
            values: list[Any] = [row.get(name) for row in self._rows]
            if name not in ("step", "seconds") and all(isinstance(v, (int, float)) and v > 0 for v in values):
                axes.plot(steps, values, label=name, linewidth=2 if name == "loss" else 1)
        axes.set(xlabel="step", title=title, yscale="log")
        if axes.lines:
            axes.legend(fontsize="small")
        with atomic_file(self._plot) as partial, partial.open("wb") as file:
            FigureCanvasAgg(figure).print_png(file)


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """All lines of a `metrics.jsonl`; a line cut off by a crash ends the list."""
    rows: list[dict[str, Any]] = []
    if file.is_file():
        for line in file.read_text("utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
    return rows
