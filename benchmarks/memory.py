"""Peak memory of training on a long capture, and of synthesis against the clip's length.

    python benchmarks/memory.py [--renderer NAME] [--minutes 5] [--size 512] [--render-size 256 512] [--drive 60 600]

Training: a drawn capture of `--size`² (ten seconds, its frames linked as often as `--minutes` takes), learnt from for
`--steps` pairs of steps at each `--render-size`, spread over the whole schedule; pictures, masks and tracks are all
loaded by then, and every kind of step was taken. What a renderer grows while it learns (Gaussians) is not there yet.
Synthesis: the shipped demo avatar, or `--avatar`, small pictures, sound handed over in chunks; the peak at each of
`--drive` lengths (seconds) of one run. Every figure is the peak resident memory of a process of its own, libraries
included.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file

from realtalk_core.avatar import Avatar
from realtalk_core.build import build, load_class
from realtalk_core.capture import Capture
from realtalk_core.cli.common import configuration, installed
from realtalk_core.pipeline import Pipeline
from realtalk_core.testing.synthetic import make_capture, synthetic_clip
from realtalk_core.training.data import TrainingData
from realtalk_core.types import AudioClip, AudioFeatures

DEMO = Path(__file__).parent.parent / "plugins" / "realtalk_demo" / "data" / "avatar"
DRAWN_SECONDS = 10.0
DRIVE_SIZE = 64


def peak_mb() -> float:
    """Peak resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def long_capture(folder: Path, minutes: float, size: int) -> Path:
    """A drawn capture whose frames repeat."""
    drawn = make_capture(folder / "drawn", seconds=min(DRAWN_SECONDS, minutes * 60), size=size, with_audio=False)
    whole, count = folder / "long", round(minutes * 60 * drawn.fps)
    for name, ending in (("frames", "jpg"), ("masks", "png")):
        (whole / name).mkdir(parents=True)
        for k in range(count):
            os.link(drawn.path / name / f"{k % len(drawn):06d}.{ending}", whole / name / f"{k:06d}.{ending}")
    os.link(drawn.path / "background.png", whole / "background.png")
    rows = torch.arange(count) % len(drawn)
    tracks = load_file(drawn.path / "tracks.safetensors")
    long = {name: t[rows].contiguous() if t.shape[0] == len(drawn) else t for name, t in tracks.items()}
    save_file(long, whole / "tracks.safetensors")
    meta = yaml.safe_load((drawn.path / "capture.yaml").read_text("utf-8")) | {"frames": count}
    (whole / "capture.yaml").write_text(yaml.safe_dump(meta, sort_keys=False), "utf-8")
    return whole


def train(path: Path, renderer: str, render_size: int, steps: int) -> dict[str, Any]:
    """A few steps, spread over the whole schedule; the peak."""
    stages = configuration(None, None, [f"renderer={renderer}", f"renderer.size={render_size}"]).stages
    chosen, encoder = stages["renderer"], build(stages["audio"].spec, stages["audio"].config)
    load_class(chosen.spec)
    before, capture = peak_mb(), Capture.open(path)
    frames = torch.arange(len(capture))
    second = encoder.encode(AudioClip(torch.zeros(16000), 16000), capture.fps).values
    sound = AudioFeatures(second[:1].expand(len(capture), *second.shape[1:]), capture.fps)  # silence, as it is heard
    data = TrainingData(capture, sound, frames[:-1], frames[-1:])
    component = build(chosen.spec, chosen.config, data=data)
    last = component.total_steps - 1
    for step in [round(k * last / max(1, steps - 1)) for k in range(steps)]:
        for one in {step, min(step + 1, last)}:  # late steps look at pixels and at patches in turn
            take_step(component, data, one)
    return {
        "renderer": renderer,
        "frames": len(capture),
        "render_size": render_size,
        "libraries_mb": round(before),
        "peak_mb": round(peak_mb()),
    }


def drive(avatar: Path, seconds: list[float]) -> list[dict[str, float]]:
    """One synthesis; the peak at each length."""
    pipeline = Pipeline.from_avatar(Avatar.open(avatar, installed()), size=DRIVE_SIZE)
    second = synthetic_clip(1.0)

    def sound() -> Iterator[AudioClip]:
        for _ in range(round(max(seconds))):
            yield second

    rows, frames = [], 0
    marks = sorted(round(s * pipeline.fps) for s in seconds)
    for batch in pipeline.frames(sound(), "happy", size=DRIVE_SIZE):
        frames += len(batch)
        while marks and frames >= marks[0]:
            rows.append({"seconds": round(marks.pop(0) / pipeline.fps, 1), "peak_mb": round(peak_mb(), 1)})
    return rows


def take_step(component: Any, data: TrainingData, step: int, device: torch.device | None = None) -> None:
    """One step of a component that learns, as the training loop takes it; its batch is moved to a device if given."""
    for optimizer in component.optimizers():
        optimizer.zero_grad(set_to_none=True)
    batch = component.batch(data, step)
    if device is not None:
        batch = {name: value.to(device) for name, value in batch.items()}
    loss = component.training_step(batch, step)["loss"]
    if not getattr(component, "manual_backward", False):
        loss.backward()
    limit = float(getattr(component, "gradient_clip", 0.0))
    for optimizer in component.optimizers():
        if limit > 0:
            torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], limit)
        optimizer.step()
    component.after_step(step)


def apart(*arguments: object) -> object:
    """The result of this script with some arguments, in a process of its own."""
    command = [sys.executable, __file__, "--only", *(str(a) for a in arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--renderer", default="triplane_nerf")
    parser.add_argument("--avatar", type=Path, default=DEMO, help="whose synthesis is measured; default the demo's")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--render-size", type=int, nargs="*", default=[256, 512])
    parser.add_argument("--drive", type=float, nargs="*", default=[60, 600], help="seconds; none skips it")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--only", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for option, least in (("minutes", 0.1), ("size", 32), ("render_size", 32), ("drive", 1), ("steps", 1)):
        given = getattr(options, option)
        if any(value < least for value in (given if isinstance(given, list) else [given])):
            parser.error(f"--{option.replace('_', '-')} must be at least {least:g}")
    if options.only:
        what, path, *rest = options.only
        made: Any = (
            train(Path(path), rest[0], int(rest[1]), int(rest[2]))
            if what == "train"
            else drive(Path(path), [*map(float, rest)])
        )
        print(json.dumps(made))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = long_capture(Path(folder), options.minutes, options.size)
        for size in options.render_size:
            row = apart("train", path, options.renderer, size, options.steps)
            print(f"training, {options.minutes:g} min at {options.size}²: {json.dumps(row)}", flush=True)
    if options.drive:
        print(f"synthesis at {DRIVE_SIZE}²: {json.dumps(apart('drive', options.avatar, *options.drive))}")


if __name__ == "__main__":
    from script import run

    run(main)
