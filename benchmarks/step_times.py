"""Where a training step's time goes, and how near it comes to what its products alone take.

    python benchmarks/step_times.py [--renderer NAME] [--at SHARE] [--set renderer.X=Y] [--steps 12]

Steps of the default configuration on a drawn capture at 256², from `--at` of the schedule on (what comes before is not
learnt). `kernels.py` prints the first stage of `triplane_nerf` with everything else.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from splat_scene import KERNELS
from timing import Row, Target, peak_products, watched

from realtalk_core.build import build
from realtalk_core.cli.common import configuration
from realtalk_core.nn import _hashgrid_kernel, _ray_kernels
from realtalk_core.nn.parallel import worker_count
from realtalk_core.testing.synthetic import make_capture
from realtalk_core.training.data import TrainingData
from realtalk_core.training.session import fitted
from realtalk_gaussian import head as gaussian_head
from realtalk_gaussian import training as gaussian_training
from realtalk_triplane_nerf import _train_kernel, head
from realtalk_triplane_nerf.field import GEOMETRY, HARMONICS, TriplaneField
from realtalk_triplane_nerf.training import Trainer

NERF_PARTS: dict[str, list[Target]] = {
    "march": [(head, "march")],
    "warp fields": [(Trainer, "_warp")],
    "unhashing": [(_hashgrid_kernel, "unhash")],
    "encode": [(_hashgrid_kernel, "encode_grids")],
    "networks": [(_train_kernel, "forward")],
    "composite": [(_ray_kernels, "composite")],
    "composite, backward": [(_ray_kernels, "composite_backward")],
    "networks, backward": [(_train_kernel, "backward")],
    "encode, backward": [(_hashgrid_kernel, "encode_grids_backward")],
    "folding": [(_hashgrid_kernel, "fold")],
}
GAUSSIAN_PARTS: dict[str, list[Target]] = {
    "motion of the landmarks": [(gaussian_head.Head, "motion")],
    "deform": [(gaussian_head.Head, "pose")],
    "covariances, project, colours": [(gaussian_head, name) for name in ("covariances", "project", "sh_colours")],
    **KERNELS,
    "losses": [(gaussian_training.Trainer, "_terms")],
}
PARTS: dict[str, dict[str, list[Target]]] = {"triplane_nerf": NERF_PARTS, "gaussian": GAUSSIAN_PARTS}
"""What is timed on the worker threads of each; the rest of a step is small operations, losses and the torso."""


def products(field: TriplaneField) -> int:
    """Products of a sample in training: once forward, and twice back, to the inputs and to the weights."""
    hidden = field.inner_weight()
    first = field.second.in_features * (hidden.shape[0] + hidden.shape[1])
    seen = field.colour_in.out_features * (GEOMETRY + HARMONICS)
    later = sum(layer.weight.numel() for layer in (field.second, field.third, field.colour_out))
    return 3 * (hidden.numel() + first + later + seen)


def training(renderer: str = "triplane_nerf", sets: list[str] | None = None, at: float = 0.0, steps: int = 12) -> Row:
    """Time per step of a renderer's default configuration on a drawn capture at 256², and where it goes.

    With rays and samples per second, and the floor set by its products, where a field is learnt along rays.
    """
    chosen = configuration(None, None, [f"renderer={renderer}", *(sets or ())]).stages["renderer"]
    with tempfile.TemporaryDirectory() as folder:
        capture = make_capture(Path(folder) / "capture", seconds=1.0, size=256)
        encoder = configuration(None).stages["audio"]
        with torch.no_grad():
            features = build(encoder.spec, encoder.config).encode(capture.audio, capture.fps)
        frames = torch.arange(len(capture))
        data = TrainingData(capture, fitted(features, len(capture)), frames, frames[-1:])
        component = build(chosen.spec, chosen.config, data=data)
        outside = dict.fromkeys(("batch", "forward and backward", "optimizers", "after"), 0.0)
        samples = rays = 0.0
        optimizers = component.optimizers()

        def step(number: int) -> None:
            nonlocal samples, rays
            marks = [time.perf_counter()]
            batch = component.batch(data, number)
            marks.append(time.perf_counter())
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            scalars = component.training_step(batch, number)
            if not getattr(component, "manual_backward", False):
                scalars["loss"].backward()
            marks.append(time.perf_counter())
            for optimizer in optimizers:
                optimizer.step()
            marks.append(time.perf_counter())
            component.after_step(number)
            marks.append(time.perf_counter())
            for name, a, b in zip(outside, marks, marks[1:], strict=False):
                outside[name] += b - a
            if "samples" in scalars:
                rays += batch["pixels"].numel()
                samples += float(scalars["samples"]) * batch["pixels"].numel()

        first = max(0, min(round(at * component.total_steps), component.total_steps - 3 - steps))
        for number in range(first, first + 3):
            step(number)
        outside, samples, rays = dict.fromkeys(outside, 0.0), 0.0, 0.0
        with watched(PARTS.get(renderer, {})) as spent:
            for number in range(first + 3, first + 3 + steps):
                step(number)
    total = sum(outside.values())
    inside = {name: seconds / worker_count() for name, seconds in spent.items()}
    share = {"batch": outside["batch"]} | inside
    share["small operations and losses"] = outside["forward and backward"] - sum(inside.values())
    share |= {"Adam": outside["optimizers"], "after the step": outside["after"]}
    row: Row = {"step_ms": round(total / steps * 1e3, 1)}
    if samples:
        field: Any = component._training.field
        floor = products(field) * samples / peak_products(field.compute == torch.bfloat16) / worker_count()
        row |= {
            "rays_per_second": round(rays / total),
            "samples_per_second": round(samples / total),
            "samples_per_ray": round(samples / rays, 1),
            "floor_ms": round(floor / steps * 1e3, 1),
        }
    return row | {"share": {name: round(value / total, 3) for name, value in share.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--renderer", default="triplane_nerf")
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--at", type=float, default=0.0, help="share of the schedule at which to begin, below 1")
    parser.add_argument("--steps", type=int, default=12)
    options = parser.parse_args()
    if not 0 <= options.at < 1:
        parser.error(f"--at {options.at:g} is outside 0 to 1")
    print(json.dumps(training(options.renderer, options.sets, options.at, options.steps), indent=1))


if __name__ == "__main__":
    from script import run

    run(main)
