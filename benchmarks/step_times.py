"""Where a training step's time goes, and how near it comes to what its products alone take."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from timing import Row, Target, peak_products, watched

from realtalk_core.nn import _hashgrid_kernel, _ray_kernels
from realtalk_core.nn.parallel import worker_count
from realtalk_core.testing.synthetic import make_capture
from realtalk_core.training.data import TrainingData
from realtalk_core.types import AudioFeatures
from realtalk_triplane_nerf import _train_kernel, head
from realtalk_triplane_nerf.config import TriplaneNerfConfig
from realtalk_triplane_nerf.field import GEOMETRY, HARMONICS, TriplaneField
from realtalk_triplane_nerf.renderer import TriplaneNerf
from realtalk_triplane_nerf.training import Trainer

PARTS: dict[str, list[Target]] = {
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
"""What is timed on the worker threads; the rest of a step is small operations, losses and the torso."""


def products(field: TriplaneField) -> int:
    """Products of a sample in training: once forward, and twice back, to the inputs and to the weights."""
    hidden = field.inner_weight()
    first = field.second.in_features * (hidden.shape[0] + hidden.shape[1])
    seen = field.colour_in.out_features * (GEOMETRY + HARMONICS)
    later = sum(layer.weight.numel() for layer in (field.second, field.third, field.colour_out))
    return 3 * (hidden.numel() + first + later + seen)


def training(steps: int = 12) -> Row:
    """Rays and samples per second of the default configuration's first stage, on a drawn capture at 256²."""
    with tempfile.TemporaryDirectory() as folder:
        capture = make_capture(Path(folder) / "capture", seconds=1.0, size=256, with_audio=False)
        frames = torch.arange(len(capture))
        data = TrainingData(capture, AudioFeatures(torch.zeros(len(capture), 1), capture.fps), frames, frames[-1:])
        component = TriplaneNerf.for_training(TriplaneNerfConfig(), data)
        outside = dict.fromkeys(("batch", "forward and backward", "Adam", "after"), 0.0)
        samples = rays = 0.0
        optimizers = component.optimizers()

        def step(number: int) -> None:
            nonlocal samples, rays
            marks = [time.perf_counter()]
            batch = component.batch(data, number)
            marks.append(time.perf_counter())
            scalars = component.training_step(batch, number)
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            scalars["loss"].backward()
            marks.append(time.perf_counter())
            for optimizer in optimizers:
                optimizer.step()
            marks.append(time.perf_counter())
            component.after_step(number)
            marks.append(time.perf_counter())
            for name, a, b in zip(outside, marks, marks[1:], strict=False):
                outside[name] += b - a
            rays += batch["pixels"].numel()
            samples += float(scalars["samples"]) * batch["pixels"].numel()

        for number in range(3):
            step(number)
        outside, samples, rays = dict.fromkeys(outside, 0.0), 0.0, 0.0
        with watched(PARTS) as spent:
            for number in range(3, 3 + steps):
                step(number)
    total = sum(outside.values())
    inside = {name: seconds / worker_count() for name, seconds in spent.items()}
    share = {"batch": outside["batch"]} | inside
    share["small operations and losses"] = outside["forward and backward"] - sum(inside.values())
    share |= {"Adam": outside["Adam"], "moving average, occupancy": outside["after"]}
    field = component._training.field
    floor = products(field) * samples / peak_products(field.compute == torch.bfloat16) / worker_count()
    return {
        "rays_per_second": round(rays / total),
        "samples_per_second": round(samples / total),
        "samples_per_ray": round(samples / rays, 1),
        "step_ms": round(total / steps * 1e3, 1),
        "floor_ms": round(floor / steps * 1e3, 1),
        "share": {name: round(value / total, 3) for name, value in share.items()},
    }
