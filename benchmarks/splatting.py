"""What the splatting kernels bring and what they could bring, in one run on this machine.

    python benchmarks/splatting.py [--avatar AVATAR] [--quick] [-o DIR]

Prints, and with `-o` writes as `splatting.json` and `splatting.md`, on the head-like scene of `splat_scene.py`:

- 30,000 Gaussians drawn at 512², and there and back at 256², per second, beside the plain-torch reference: as it is
  written (every Gaussian at every pixel; timed on a band of rows and scaled, for whole pictures take minutes), and cut
  into tiles with only the Gaussians whose radius reaches in (all of it timed); the largest differences of values and
  gradients; and the floor set by multiply-adds at this machine's measured peak and by bytes at copying speed;
- the same against the number of Gaussians and of pixels, with the time of each part;
- a whole avatar's renderer at 256² and 512², its parts, and its synthesis: `--avatar`, or one of nobody, trained on a
  drawn capture for a few steps with 30,000 Gaussians;
- a training step and the share of each part, on the same capture.

References and kernels are timed in turn; another busy process makes all times wrong, and the ratios less so.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import splat_scene
import torch
from frame_times import synthesis
from splat_scene import KERNELS, OPERATIONS, gradients, picture, scene
from step_times import training
from timing import Row, Target, best, copy_bandwidth, in_turn, peak_products, watched

from realtalk_core.avatar import Avatar
from realtalk_core.cli.common import configuration, installed
from realtalk_core.config import Config
from realtalk_core.drives import tracked
from realtalk_core.motion import Motion
from realtalk_core.nn.parallel import worker_count
from realtalk_core.nn.splatting import covariances, project, sh_colours
from realtalk_core.testing.avatar import make_avatar
from realtalk_gaussian import head as gaussian_head
from realtalk_gaussian.renderer import GaussianRenderer

COUNT = 30_000
COUNTS = (5_000, 10_000, 30_000, 100_000)
SIZES = (128, 256, 512, 1024)
BAND = 8
"""Rows of pixels on which the reference is timed as it is written."""
FRAMES = 8
AVATAR_STEPS = {"renderer": 20, "landmarks": 20, "emotion": 20}


def pulled(size: int) -> torch.Tensor:
    """What the gradients are taken of: a weighted sum of the picture."""
    return torch.randn(size, size, 4, generator=torch.Generator().manual_seed(1)) / size**2


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))


def against_reference(direction: str, size: int, rounds: int) -> Row:
    """One picture, or one there and back, beside the reference and the floor."""
    some, pull = scene(COUNT, size), pulled(size)
    with torch.no_grad() if direction == "forward" else nullcontext():
        fast: Callable[[], object] = (
            (lambda: picture(some)) if direction == "forward" else (lambda: gradients(some, pull))
        )
        slow: Callable[[], object] = (
            (lambda: splat_scene.reference_picture(some))
            if direction == "forward"
            else (lambda: splat_scene.reference_gradients(some, pull))
        )
        reference, kernel = in_turn(slow, fast, rounds)
        dense = best(splat_scene.dense_band(some, BAND, pull if direction == "backward" else None), 1) * size / BAND
        got, want = fast(), slow()
    assert isinstance(got, (torch.Tensor, list))
    pairs = [(got, want)] if isinstance(got, torch.Tensor) else list(zip(got, want, strict=True))
    counts = splat_scene.contributions(some)
    work = OPERATIONS["forward"] + (OPERATIONS["backward"] if direction == "backward" else 0)
    moved = splat_scene.moved_bytes(some)
    written = moved["forward"] + (moved["backward"] if direction == "backward" else 0)
    return {
        "gaussians": COUNT,
        "size": size,
        "per_second": round(1 / kernel, 1),
        "kernel_ms": round(kernel * 1e3, 2),
        "reference_ms": round(dense * 1e3),
        "ratio": round(dense / kernel),
        "reference_in_tiles_ms": round(reference * 1e3, 1),
        "ratio_to_tiles": round(reference / kernel, 1),
        "floor_operations_ms": round(
            counts["contributions"] * work / peak_products(bfloat=False) / worker_count() * 1e3, 2
        ),
        "floor_bytes_ms": round(written / copy_bandwidth() * 1e3, 2),
        "contributions_per_covered_pixel": round(counts["layers"], 1),
        "worst_relative_difference": max(apart(a, b) for a, b in pairs),
    }


def cost(count: int, size: int, runs: int = 5) -> Row:
    """Milliseconds forward, there and back, and of each part."""
    some, pull = scene(count, size), pulled(size)

    def parts(work: Callable[[], object]) -> dict[str, float]:
        work()
        with watched(KERNELS) as spent:
            for _ in range(runs):
                work()
        return {name: seconds / runs * 1e3 for name, seconds in spent.items()}

    with torch.no_grad():
        forward = best(lambda: picture(some), runs)
        forms = covariances(some.scales, some.rotations)
        shape = best(lambda: covariances(some.scales, some.rotations), runs)
        onto = best(lambda: project(some.means, forms, some.view, some.opacities), runs)
        colour = best(lambda: sh_colours(some.colours, some.means, some.view), runs)
        inside = parts(lambda: picture(some))
    both = best(lambda: gradients(some, pull), runs)
    back = parts(lambda: gradients(some, pull))["raster, backward"]
    share = {"raster": worker_count(), "raster, backward": worker_count()}  # these run on all threads at once
    inside["raster, backward"] = back
    inside = {name: value / share.get(name, 1) for name, value in inside.items()}
    return {
        "gaussians": count,
        "size": size,
        "forward_ms": round(forward * 1e3, 2),
        "forward_backward_ms": round(both * 1e3, 2),
        "parts_ms": {
            "covariances": round(shape * 1e3, 2),
            "project": round(onto * 1e3, 2),
            "colours": round(colour * 1e3, 2),
        }
        | {name: round(value, 2) for name, value in inside.items()},
    }


def trained_avatar(folder: Path) -> Path:
    """An avatar of nobody with 30,000 Gaussians, after a few steps of every stage."""
    steps = [f"{stage}.steps={count}" for stage, count in AVATAR_STEPS.items()]
    sets = ["renderer=gaussian", f"renderer.gaussians={COUNT}", "renderer.strategy=none", *steps]
    config: Config = configuration(None, None, sets)
    return make_avatar(folder, seconds=4.0, size=512, config=config)


def frame(avatar: Avatar, size: int) -> Row:
    """One frame of an avatar's renderer, and its parts."""
    renderer = avatar.component("renderer")
    assert isinstance(renderer, GaussianRenderer)
    drive = tracked(avatar, slice(0, FRAMES))
    cameras = Motion(avatar.person, avatar.config.motion).cameras(0, FRAMES).resized(size, size)
    for _ in renderer.render(drive[:1], cameras[:1]):
        pass
    whole = best(lambda: list(renderer.render(drive, cameras)), 3) / len(cameras)
    with watched(AVATAR_PARTS | KERNELS) as spent:
        list(renderer.render(drive, cameras))
    made = {name: seconds / len(cameras) for name, seconds in spent.items()}
    gaussians = sum(len(cloud.means) for cloud in (renderer.head.face, renderer.head.mouth))
    return {
        "size": size,
        "gaussians": gaussians,
        "frame_ms": round(whole * 1e3, 2),
        "frames_per_second": round(1 / whole, 1),
        "thread_ms": {name: round(value * 1e3, 2) for name, value in made.items() if value},
    }


AVATAR_PARTS: dict[str, list[Target]] = {
    "motion of the landmarks": [(gaussian_head.Head, "motion")],
    "deform (warp and branches)": [(gaussian_head.Head, "pose")],
    "covariances, project, colours": [(gaussian_head, name) for name in ("covariances", "project", "sh_colours")],
}
"""Of a frame, beside `KERNELS`; summed over the threads that do it."""


def as_markdown(report: Row) -> str:
    """The report as tables."""
    lines = [
        f"{report['threads']} threads; {report['processor']}; torch {torch.__version__}",
        "",
        f"| {COUNT} Gaussians | forward, 512² | forward and backward, 256² |",
        "|---|---|---|",
    ]
    a, b = report["forward"], report["backward"]
    lines += [f"| {key.replace('_', ' ')} | {a[key]} | {b[key]} |" for key in a if key not in ("gaussians", "size")]
    names = list(report["cost"][0]["parts_ms"])
    lines += ["", f"| Gaussians | size | forward, ms | forward and backward, ms | {' | '.join(names)} |"]
    lines.append("|---" * (4 + len(names)) + "|")
    for row in report["cost"]:
        parts = " | ".join(str(row["parts_ms"][name]) for name in names)
        lines.append(
            f"| {row['gaussians']} | {row['size']}² | {row['forward_ms']} | {row['forward_backward_ms']} | {parts} |"
        )
    if "frames" in report:
        a, b = report["frames"]
        lines += ["", f"| whole head, {a['gaussians']} Gaussians | 256² | 512² |", "|---|---|---|"]
        lines += [f"| {key.replace('_', ' ')} | {a[key]} | {b[key]} |" for key in ("frame_ms", "frames_per_second")]
        for name in b["thread_ms"]:
            lines.append(f"| {name}, ms on its threads | {a['thread_ms'].get(name, '')} | {b['thread_ms'][name]} |")
        lines += ["", "| synthesis | frames/s | share of the time |", "|---|---|---|"]
        for row in report["synthesis"]:
            share = ", ".join(f"{name} {value:.0%}" for name, value in row["share"].items())
            lines.append(f"| {row['size']}² | {row['frames_per_second']} | {share} |")
        row = report["training"]
        lines += ["", f"Training: {row['step_ms']} ms a step at 256².", "", "| part of a step | share |", "|---|---|"]
        lines += [f"| {name} | {value:.1%} |" for name, value in row["share"].items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--avatar", type=Path, help="whose head is rendered; default one of nobody, made on the spot")
    parser.add_argument("--quick", action="store_true", help="only the kernels, on fewer sizes and rounds")
    parser.add_argument("-o", "--output", type=Path, help="folder for splatting.json and splatting.md")
    options = parser.parse_args()
    rounds = 1 if options.quick else 3
    sizes, counts = ((256, 512), (COUNT,)) if options.quick else (SIZES, COUNTS)
    report: Row = {
        "threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
        "forward": against_reference("forward", 512, rounds),
        "backward": against_reference("backward", 256, rounds),
        "cost": [cost(count, 512) for count in counts] + [cost(COUNT, size) for size in sizes if size != 512],
    }
    if not options.quick:
        with tempfile.TemporaryDirectory() as folder:
            avatar = Avatar.open(options.avatar or trained_avatar(Path(folder) / "made"), installed())
            report["frames"] = [frame(avatar, size) for size in (256, 512)]
            report["synthesis"] = [synthesis(avatar, size) for size in (256, 512)]
        report["training"] = training("gaussian", at=0.5)
    text = as_markdown(report)
    print(text, end="")
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "splatting.json").write_text(json.dumps(report, indent=1) + "\n")
        (options.output / "splatting.md").write_text(text)


if __name__ == "__main__":
    from script import run

    run(main)
