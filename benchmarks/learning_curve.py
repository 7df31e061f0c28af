"""Quality of a renderer on held-out frames against training time; which one, `--set renderer=NAME` says.

    python benchmarks/learning_curve.py CAPTURE WORK [--minutes 1 3 6 10 20 30] [--preset P] [--set renderer.X=Y]

Trains the stage `renderer` as `realtalk train CAPTURE -o WORK/avatar --stage renderer --split 0.8` would, keeping a
copy of its checkpoint at the first save after each of the given minutes and at the end; `WORK/avatar` can be trained on
with `realtalk train --stage …`. Afterwards each copy is measured (`self_reconstruction.py`) off the clock. Times are
those of training, saves and previews included. Writes `curve.json` and `curve.png` into WORK. Run again after an
interruption: training that is finished, and checkpoints that have been measured, are not repeated.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from self_reconstruction import HeldOut, heard, load_renderer, measure, nearest_frame, rendered

from realtalk_core import checkpoint
from realtalk_core.capture import Capture
from realtalk_core.cli.common import configuration, installed
from realtalk_core.cli.progress import Bars
from realtalk_core.hookspecs import hookimpl
from realtalk_core.training.session import Session

SHOWN = ("face PSNR", "mouth PSNR", "eyes PSNR", "face sharpness", "mouth sharpness", "mouth slope", "lids slope")


class Keeper:
    """A plugin that copies the renderer's checkpoint whenever the next of some times has come."""

    def __init__(self, folder: Path, seconds: list[float]) -> None:
        self.folder, self.due = folder, sorted(seconds)
        folder.mkdir(parents=True, exist_ok=True)

    @hookimpl
    def realtalk_checkpoint_saved(self, path: Path, header: Any) -> None:
        """Keeps a copy named after the training time."""
        if header.stage != "renderer":
            return
        spent, metrics = float(header.metrics["seconds"]), header.metrics
        if metrics["step"] == metrics["total"] or (self.due and spent >= self.due[0]):
            self.due = [t for t in self.due if t > spent]
            shutil.copyfile(path, self.folder / f"{round(spent):05d}.safetensors")


def train(capture: Path, work: Path, minutes: list[float], preset: str | None, sets: list[str], seed: int) -> None:
    """Trains, or goes on training, `work/avatar`."""
    plugins = installed()
    config, opened = configuration(None, preset, sets, plugins), Capture.open(capture)
    assert plugins.manager is not None
    plugins.manager.register(Keeper(work / "snapshots", [60 * m for m in minutes]))
    options = {"stages": ("renderer",), "split": 0.8, "seed": seed, "resume": True}
    with Bars("steps") as bars:
        Session(opened, work / "avatar", config, **options, progress=bars).run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capture", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 3, 6, 10, 20, 30])
    parser.add_argument("--preset")
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=2, help="measure on every N-th held-out frame")
    parser.add_argument("--train-only", action="store_true", help="leave measuring to a later run")
    options = parser.parse_args()
    train(options.capture, options.work, options.minutes, options.preset, options.sets, options.seed)
    if options.train_only:
        return
    file = options.work / "curve.json"
    curve: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {"points": {}}
    plugins = installed()
    avatar, capture = options.work / "avatar", Capture.open(options.capture)
    size = int(getattr(load_renderer(avatar, plugins), "render_size", None) or min(capture.size, 256))
    held = HeldOut.of(capture, heard(capture, plugins, avatar), every=options.every, size=size)
    if "nearest" not in curve:
        curve["nearest"] = measure(nearest_frame(held), held)
    for snapshot in sorted((options.work / "snapshots").glob("*.safetensors")):
        if snapshot.stem not in curve["points"]:
            metrics = checkpoint.read_header(snapshot).metrics
            made = measure(rendered(load_renderer(snapshot, plugins), held), held)
            curve["points"][snapshot.stem] = {"seconds": metrics["seconds"], "step": metrics["step"], **made}
            file.write_text(json.dumps(curve, indent=1), "utf-8")
        point = curve["points"][snapshot.stem]
        shown = ", ".join(f"{name} {point[name]}" for name in SHOWN if name in point)
        print(f"{point['seconds'] / 60:5.1f} min, step {point['step']:6}: {shown}")
    plot(curve, options.work / "curve.png")


def plot(curve: dict[str, Any], file: Path) -> None:
    """Three panels against training time: PSNR, sharpness, articulation."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points = sorted(curve["points"].values(), key=lambda p: p["seconds"])
    minutes = [p["seconds"] / 60 for p in points]
    figure = Figure(figsize=(11, 3.2), dpi=110, layout="tight")
    panels = {
        "PSNR, dB": ("face PSNR", "mouth PSNR", "eyes PSNR", "head PSNR over white"),
        "sharpness, truth = 1": ("face sharpness", "mouth sharpness", "eyes sharpness"),
        "opening: slope and r": ("mouth slope", "mouth r", "lids slope", "lids r"),
    }
    for axes, (title, names) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for name in (n for n in names if n in points[-1]):
            axes.plot(minutes, [p.get(name, float("nan")) for p in points], marker="o", markersize=3, label=name)
        axes.set(xlabel="minutes of training", title=title)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="x-small")
    with file.open("wb") as out:
        FigureCanvasAgg(figure).print_png(out)


if __name__ == "__main__":
    from script import run

    run(main)
