"""The tri-plane renderer on a CUDA GPU: frames a second and training time at 512², tinycudann against torch, and CPU.

    python benchmarks/gpu.py CAPTURE [--size 512] [--steps 200]

Trains a head on the GPU with planes read by torch and, where it is installed, by tinycudann; prints milliseconds a
step, the time a whole training would take, and frames a second, with the largest difference of the pictures from those
of the same weights on the CPU. Without a GPU it says so and ends with code 2.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from realtalk_core.device import resolve
from realtalk_core.nn import cuda_planes
from realtalk_core.types import AudioFeatures, Drive

WARM_UP = 20
FRAMES = 24


def seconds(work: Callable[[], Any]) -> float:
    torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def train(component: Any, data: Any, device: torch.device, steps: range) -> None:
    optimizers = component.optimizers()
    for step in steps:
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        batch = {name: value.to(device) for name, value in component.batch(data, step).items()}
        component.training_step(batch, step)["loss"].backward()
        for optimizer in optimizers:
            optimizer.step()
        component.after_step(step)


def pictures(renderer: Any, drive: Drive, cameras: Any) -> torch.Tensor:
    return torch.cat([batch.rgb * batch.alpha for batch in renderer.render(drive, cameras)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capture", type=Path)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=200, help="steps to time")
    options = parser.parse_args()
    device = resolve("cuda")

    from realtalk_core.capture import Capture
    from realtalk_core.plugins import discover
    from realtalk_core.training.data import TrainingData

    capture = Capture.open(options.capture)
    spec = discover().find("renderer", "triplane_nerf")
    config: Any = spec.config.model_validate({"size": options.size})
    kind: Any = spec.load()
    frames = capture.training_frames(0.8)
    data = TrainingData(capture, AudioFeatures(torch.zeros(len(capture), 1), capture.fps), frames, frames[:0])
    cameras = capture.cameras.resized(options.size, options.size)[:FRAMES]
    drive = Drive(capture.landmarks[:FRAMES], blendshapes=capture.blendshapes[:FRAMES])
    print(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}, {options.size}²")
    if cuda_planes.tinycudann() is None:
        print(f"without tinycudann: {cuda_planes.why_not()}")
    for how in ("torch", "tinycudann") if cuda_planes.tinycudann() is not None else ("torch",):
        with cuda_planes.reading_with(how):
            component = kind.for_training(config, data).to(device)
            train(component, data, device, range(WARM_UP))
            spent = seconds(lambda: train(component, data, device, range(WARM_UP, WARM_UP + options.steps)))  # noqa: B023
            state = component.state()
            there = kind.from_state(config, state).to(device)
            pictures(there, drive[:2], cameras[:2])
            rendering = seconds(lambda: pictures(there, drive, cameras))  # noqa: B023
            here = pictures(kind.from_state(config, state), drive[:2], cameras[:2])
            apart = float((pictures(there, drive[:2], cameras[:2]) - here).abs().max())
        print(
            f"planes by {how:10}  training {1e3 * spent / options.steps:7.1f} ms/step, "
            f"{spent / options.steps * config.steps / 60:5.1f} min for {config.steps} steps; "
            f"{FRAMES / rendering:6.1f} frames/s; largest difference from the CPU {apart:.4f}"
        )
    return 0


if __name__ == "__main__":
    from script import run

    run(main)
