"""A renderer on a CUDA GPU: frames a second and training time at 512², and its GPU libraries against the CPU.

    python benchmarks/gpu.py CAPTURE [--renderer NAME] [--set renderer.X=Y] [--size 512] [--steps 200]

Trains on the GPU and prints milliseconds a step, the time a whole training would take, and frames a second, with the
largest difference of the pictures from those of the same weights on the CPU. `triplane_nerf`: with planes read by torch
and, where it is installed, by tinycudann. `gaussian`, where gsplat is installed: first gsplat against the CPU's
rasteriser on the scene of `splat_scene.py`, values and gradients, and how many a second each draws. Without a GPU it
says so and ends with code 2; its GPU side has never been run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import splat_scene
import torch
from memory import take_step

from realtalk_core.build import build
from realtalk_core.capture import Capture
from realtalk_core.cli.common import configuration
from realtalk_core.device import place, resolve
from realtalk_core.drives import filmed
from realtalk_core.errors import UserError
from realtalk_core.nn import cuda_planes
from realtalk_core.training.data import TrainingData
from realtalk_core.training.session import fitted
from realtalk_core.types import Drive

WARM_UP = 20
FRAMES = 24
COUNT = 30_000
DRAWN = 20
NAMES = ("means", "scales", "rotations", "opacities", "colours")


def seconds(work: Callable[[], Any]) -> float:
    torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def splats_against_cpu(device: torch.device, size: int) -> str:
    """gsplat and the CPU's kernels on one scene."""
    here = splat_scene.scene(COUNT, size)
    there = here.to(device)
    pull = torch.randn(size, size, 4, generator=torch.Generator().manual_seed(1)) / size**2
    pull_there = pull.to(device)
    values = float((splat_scene.picture(there).cpu() - splat_scene.picture(here)).abs().max())
    pairs = zip(splat_scene.gradients(there, pull_there), splat_scene.gradients(here, pull), strict=True)
    gradients = [float((a.cpu() - b).abs().max() / b.abs().max()) for a, b in pairs]

    def often(work: Callable[[], object]) -> float:
        return seconds(lambda: [work() for _ in range(DRAWN)]) / DRAWN

    with torch.no_grad():
        rates = [1 / often(lambda s=s: splat_scene.picture(s)) for s in (there, here)]
    back = [1 / often(lambda s=s, p=p: splat_scene.gradients(s, p)) for s, p in ((there, pull_there), (here, pull))]
    named = ", ".join(f"{name} {value:.1e}" for name, value in zip(NAMES, gradients, strict=True))
    return (
        f"gsplat against the CPU, {COUNT} Gaussians at {size}²: values differ by {values:.1e}, gradients, relative to "
        f"the largest, by {named}\n"
        f"drawn {rates[0]:.0f} a second, by the CPU {rates[1]:.1f}; there and back {back[0]:.0f}, {back[1]:.1f}"
    )


def train(component: Any, data: TrainingData, device: torch.device, steps: range) -> None:
    for step in steps:
        take_step(component, data, step, device)


def pictures(renderer: Any, drive: Drive, cameras: Any) -> torch.Tensor:
    return torch.cat([batch.rgb * batch.alpha for batch in renderer.render(drive, cameras)])


def ways(renderer: str) -> Iterator[tuple[str, AbstractContextManager[Any]]]:
    """What a renderer may use there, and how to make it do so."""
    if renderer != "triplane_nerf":
        yield "as installed", nullcontext()
        return
    yield "planes by torch", cuda_planes.reading_with("torch")
    if cuda_planes.tinycudann() is not None:
        yield "planes by tinycudann", cuda_planes.reading_with("tinycudann")
    else:
        print(f"without tinycudann: {cuda_planes.why_not()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capture", type=Path)
    parser.add_argument("--renderer", default="triplane_nerf")
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=200, help="steps to time")
    options = parser.parse_args()
    device = resolve("cuda")
    sets = [f"renderer={options.renderer}", f"renderer.size={options.size}", *options.sets]
    stages = configuration(None, None, sets).stages
    chosen, encoder = stages["renderer"], stages["audio"]
    capture = Capture.open(options.capture)
    with torch.no_grad():
        heard = build(encoder.spec, encoder.config).encode(capture.audio, capture.fps)
    frames = capture.training_frames(0.8)
    data = TrainingData(capture, fitted(heard, len(capture)), frames, frames[:0])
    cameras = capture.cameras.resized(options.size, options.size)[:FRAMES]
    drive = filmed(capture, data.features)[:FRAMES]
    print(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}, {options.size}²")
    if options.renderer == "gaussian":
        from realtalk_core.nn import cuda_splats

        missing = cuda_splats.why_not()
        if missing:
            raise UserError(f"renderer 'gaussian' cannot work on {device}: {missing}")
        print(splats_against_cpu(device, options.size))
    for name, way in ways(options.renderer):
        with way:
            component = place(build(chosen.spec, chosen.config, data=data), device)
            train(component, data, device, range(WARM_UP))
            spent = seconds(lambda: train(component, data, device, range(WARM_UP, WARM_UP + options.steps)))  # noqa: B023
            tensors = component.state()
            there = place(build(chosen.spec, chosen.config, tensors=tensors), device)
            pictures(there, drive[:2], cameras[:2])
            rendering = seconds(lambda: pictures(there, drive, cameras))  # noqa: B023
            here = pictures(build(chosen.spec, chosen.config, tensors=tensors), drive[:2], cameras[:2])
            apart = float((pictures(there, drive[:2], cameras[:2]) - here).abs().max())
        total = component.total_steps
        print(
            f"{name:20}  training {1e3 * spent / options.steps:7.1f} ms/step, "
            f"{spent / options.steps * total / 60:5.1f} min for {total} steps; "
            f"{FRAMES / rendering:6.1f} frames/s; largest difference from the CPU {apart:.4f}"
        )


if __name__ == "__main__":
    from script import run

    run(main)
