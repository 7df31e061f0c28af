"""What the CPU kernels bring and what they could bring, in one run on this machine.

    python benchmarks/kernels.py [--samples N] [--avatar AVATAR] [-o DIR]

Prints, and with `-o` writes as `kernels.json` and `kernels.md`:

- each kernel of `realtalk_core.nn` beside its plain-torch reference (the same formula on all of torch's threads; the
  kernel on as many workers), and the floor set by what must be written, at this machine's measured copying speed;
- a whole frame beside the same frame by references alone, its parts, and the floor set by its products at this
  machine's measured peak;
- frames per second of the renderer (whole head) and of a synthesis (sound to pictures) at 256² and 512²;
- rays per second of training, on a drawn capture.

Times are the best of several runs; another busy process makes all of them wrong.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from realtalk_core.avatar import Avatar
from realtalk_core.cli.common import installed
from realtalk_core.nn import _hashgrid_kernel, compositing, hashgrid, marching, simd
from realtalk_core.nn._jit import array, kernel
from realtalk_core.nn.hashgrid import PlaneGrids, PlaneLayout, encode_planes_reference
from realtalk_core.nn.marching import Shell
from realtalk_core.nn.parallel import in_threads, worker_count
from realtalk_core.nn.rays import camera_rays, meet_box, pixel_centres
from realtalk_core.nn.warp import WarpField, evaluate, evaluate_reference
from realtalk_core.pipeline import Pipeline
from realtalk_core.testing.synthetic import make_capture, synthetic_clip
from realtalk_core.training.data import TrainingData
from realtalk_core.types import AudioFeatures, CameraTrack, Drive
from realtalk_triplane_nerf.condition import features_of
from realtalk_triplane_nerf.config import TriplaneNerfConfig
from realtalk_triplane_nerf.field import FrameCondition
from realtalk_triplane_nerf.fused import FusedField, available, space
from realtalk_triplane_nerf.renderer import TriplaneNerf

DEMO = Path(__file__).parent.parent / "plugins" / "realtalk_demo" / "data" / "avatar"
CHUNK = 1 << 16
Row = dict[str, Any]


def best(work: Callable[[], object], runs: int) -> float:
    """Seconds of the fastest run, after one to warm up."""
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


@contextmanager
def references_only() -> Iterator[None]:
    """Makes every operation of `realtalk_core.nn` take its plain-torch form, as on a device without kernels."""
    modules = (hashgrid, marching, compositing)
    kept = [module.on_cpu for module in modules]
    for module in modules:
        module.on_cpu = lambda *_: False  # type: ignore[assignment]
    try:
        yield
    finally:
        for module, function in zip(modules, kept, strict=True):
            module.on_cpu = function


@kernel
def multiply_again(
    bfloat: bool, runs: int, weights: Any, bias: Any, inputs: Any, outputs: Any, depth: int, tiles: int
) -> None:
    """A hidden layer on one block, over and over."""
    w, b, x, y = weights.ctypes.data, bias.ctypes.data, inputs.ctypes.data, outputs.ctypes.data
    for _ in range(runs):
        if bfloat:
            simd.hidden_bfloat(w, b, x, y, depth, tiles)
        else:
            simd.hidden_float(w, b, x, y, depth, tiles)


def peak_products(bfloat: bool) -> float:
    """Products per second of one thread within the cache."""
    depth, tiles, runs = 32, 16, 3000
    words = np.ones((depth * tiles * simd.TILE,), np.uint32)
    bias, inputs, outputs = np.zeros(tiles * simd.TILE, np.float32), space(depth), space(tiles * simd.TILE)
    seconds = best(lambda: multiply_again(bfloat, runs, words, bias, inputs, outputs, depth, tiles), 3)
    return runs * depth * (2 if bfloat else 1) * tiles * simd.TILE * simd.BLOCK / seconds


def copy_bandwidth() -> float:
    """Bytes per second written while copying 64 MB, on all threads."""
    source = torch.ones(1 << 24)
    target = torch.empty_like(source)
    return source.nbytes / best(lambda: target.copy_(source), 5)


def shared(pieces: list[Any], work: Callable[[Any], Any]) -> list[Any]:
    """Runs work on every piece, on all worker threads."""
    parts = in_threads(lambda _, share: [work(piece) for piece in share], pieces, min(len(pieces), worker_count()))
    return [result for part in parts for result in part]


def kernels(count: int) -> dict[str, Row]:
    """Every kernel and its reference on `count` samples of rays with 8 samples each."""
    generator = torch.Generator().manual_seed(0)
    layout = PlaneLayout.geometric(12, 1, 16, 512, 14)
    along = torch.rand(3, count // 8, 1, generator=generator) * 0.98
    points = (along + torch.linspace(0, 0.02, 8)).flatten(1).contiguous()
    tables = torch.randn(layout.columns, 2**14, generator=generator, requires_grad=True)
    pull = torch.randn(layout.columns, count, generator=generator)
    sigma = (torch.rand(count, generator=generator) * 3).requires_grad_()
    values = torch.rand(count, 3, generator=generator).requires_grad_()
    offsets = torch.arange(0, count + 1, 8)
    shell = Shell(torch.full((3,), -9.0), 18.0, 0.35, torch.rand(51, 51, 51, generator=generator) < 0.1)
    warp = WarpField(torch.randn(128, 128, 3, generator=generator) * 0.2, torch.full((2,), -9.0), torch.full((2,), 7.0))
    directions = torch.randn(count // 8, 3, generator=generator) * 0.1 + torch.tensor([0.0, 0, -1])
    directions, shift = torch.nn.functional.normalize(directions, dim=1), torch.rand(count // 8, generator=generator)
    origin = torch.tensor([0.0, 0, 50])
    spans = [slice(k, min(k + CHUNK, count)) for k in range(0, count, CHUNK)]
    rays = [slice(s.start // 8, s.stop // 8) for s in spans]
    sides = array(torch.tensor(layout.resolutions, dtype=torch.int32))
    encoded = torch.empty(layout.columns, count)
    grids = PlaneGrids.of(tables, layout)

    def encode() -> None:
        grids = PlaneGrids.of(tables, layout)
        shared(spans, lambda s: grids.encode_into(points[:, s], encoded[:, s]))

    def encode_backward() -> Tensor:
        def work(_: int, share: list[slice]) -> Tensor:
            into = torch.zeros_like(tables)
            for s in share:
                _hashgrid_kernel.encode_backward(array(points[:, s]), array(pull[:, s]), sides, into.detach().numpy())
            return into

        return torch.stack(in_threads(work, spans, worker_count())).sum(0)

    def composite(function: Callable[..., tuple[Tensor, ...]], s: slice) -> object:
        inside, some = offsets[: (s.stop - s.start) // 8 + 1], (sigma[s], values[s])
        out, alpha, _ = function(*some, inside, 0.4)
        return torch.autograd.grad(out.sum() + alpha.sum(), some)

    reference = encode_planes_reference(points, tables, layout)
    at, places = torch.rand(16384, 2, generator=generator) * 20, torch.rand(303, 2, generator=generator) * 20
    weights = torch.randn(304, 3, generator=generator)
    march_with = (0.4, shell, warp, 32)
    pairs: dict[str, tuple[Callable[[], object], Callable[[], object], int, float]] = {
        "encode": (
            lambda: encode_planes_reference(points, tables.detach(), layout),
            encode,
            count,
            4.0 * (layout.columns + 3) * count,
        ),
        "encode, backward": (
            lambda: torch.autograd.grad(reference, tables, pull, retain_graph=True),
            encode_backward,
            count,
            4.0 * (layout.columns + 3) * count,
        ),
        "composite, forward and backward": (
            lambda: composite(compositing.composite_reference, slice(0, count)),
            lambda: shared(spans, lambda s: composite(compositing.composite, s)),
            count,
            4.0 * 12 * count,
        ),
        "march": (
            lambda: marching.march_reference(origin, directions, shift, *march_with),
            lambda: shared(rays, lambda s: marching.march(origin, directions[s], shift[s], *march_with)),
            count,
            4.0 * 3 * count,
        ),
        "warp field": (
            lambda: evaluate_reference(at, places, weights),
            lambda: evaluate(at, places, weights),
            len(at),
            4.0 * 3 * len(at),
        ),
    }
    bandwidth = copy_bandwidth()
    rows = {}
    for name, (slow, fast, items, written) in pairs.items():
        a, b = best(slow, 2), best(fast, 5)
        rows[name] = {
            "reference_ns": round(a / items * 1e9, 1),
            "kernel_ns": round(b / items * 1e9, 2),
            "ratio": round(a / b, 1),
            "floor_ns": round(written / bandwidth / items * 1e9, 2),
        }
    torch.testing.assert_close(grids.encode(points[:, :4096]), reference[:, :4096].detach(), atol=6e-3, rtol=1e-2)
    return rows


def frame(avatar: Avatar, size: int) -> Row:
    """One whole head: fused, by kernels one after another, by references; its parts and floor."""
    renderer, person = avatar.component("renderer"), avatar.person
    assert isinstance(renderer, TriplaneNerf)
    assert available(renderer.field), "the fused kernel does not run on this processor"
    drive, cameras = driven(avatar, 1, size)
    features, scores = features_of(drive, renderer.head.basis, renderer.config)
    condition, points = FrameCondition(features[0], scores[0]), drive.landmarks.points[0].float()
    warper = renderer.head.warper
    make_warp: Callable[[], WarpField | None] = lambda: None if warper is None else warper.field(points)  # noqa: E731
    warp, camera = make_warp(), cameras[:1]
    fused = FusedField.of(renderer.field, renderer.shell, renderer.config)
    origin, directions = camera_rays(pixel_centres(size, size), camera.pose[0].float(), camera.intrinsics.float())
    margin = 0.0 if warp is None else warp.reach()
    near, far = meet_box(origin, directions, renderer.shell.low - margin, renderer.shell.high + margin)
    rays = (far > near).nonzero().flatten()

    def quick() -> tuple[Tensor, tuple[int, int]]:
        return fused.render(condition, warp, camera)

    picture, (densities, colours) = quick()
    with torch.no_grad():
        plain = best(lambda: renderer._plain(condition, make_warp(), origin, directions, rays), 2)
        with references_only():
            want = renderer._plain(condition, warp, origin, directions, rays)
            start = time.perf_counter()
            renderer._plain(condition, warp, origin, directions, rays)
            reference = time.perf_counter() - start
    seconds = {"warp field": best(make_warp, 3), "march to pixels": best(quick, 5)}
    whole = best(lambda: next(iter(renderer.render(drive, cameras))), 3)
    layers = fused._network(condition)[0]
    products = [int(layer[2] * layer[3]) * simd.TILE * (2 if fused.bfloat else 1) for layer in layers]
    floor = (densities * sum(products[:4]) + colours * sum(products[4:])) / peak_products(fused.bfloat) / worker_count()
    blocks = torch.rand(3, 1 << 12), torch.empty(renderer.field.layout.columns, 1 << 12)
    encode = best(lambda: fused.grids.encode_into(*blocks), 5) / (1 << 12) * densities / worker_count()
    error = (picture.flatten(0, 1) - want).abs()
    return {
        "size": size,
        "pixels": len(rays),
        "densities": densities,
        "colours": colours,
        "frame_ms": round(whole * 1e3, 1),
        "frames_per_second": round(1 / whole, 1),
        "kernels_ms": round((plain) * 1e3, 1),
        "reference_ms": round((reference + seconds["warp field"]) * 1e3, 1),
        "ratio": round((reference + seconds["warp field"]) / whole, 1),
        "parts_ms": {name: round(value * 1e3, 1) for name, value in seconds.items()}
        | {
            "of which encoding, alone": round(encode * 1e3, 1),
            "of which products, at peak (the floor)": round(floor * 1e3, 1),
        },
        "worst_difference": round(float(error.max()), 5),
        "psnr_to_reference_db": round(float(-10 * error.square().mean().log10()), 1),
        "tolerance": renderer.config.tolerance,
        "person": person.scheme,
    }


def driven(avatar: Avatar, count: int, size: int) -> tuple[Drive, CameraTrack]:
    """The film's own first frames as a drive."""
    person = avatar.person
    from realtalk_core.motion import Motion
    from realtalk_core.types import LandmarkTrack

    motion = Motion(person, avatar.config.motion)
    landmarks = LandmarkTrack(person.landmarks[:count].float(), person.scheme, person.fps)
    return Drive(landmarks, blendshapes=motion.blendshapes(landmarks, 0)), motion.cameras(0, count).resized(size, size)


def synthesis(avatar: Avatar, size: int, seconds: float = 3.0) -> Row:
    """Sound to finished pictures, the head rendered at their size, after a first half second to warm up."""
    pipeline = Pipeline.from_avatar(avatar, size=size)
    sound = synthetic_clip(seconds)
    frames = 0
    for batch in pipeline.frames(synthetic_clip(0.5), "happy", size=size):
        frames += len(batch)
    spent: dict[str, float] = {}

    def timed(owner: Any, name: str, label: str) -> None:
        method = getattr(owner, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            result = method(*arguments, **named)
            spent[label] = spent.get(label, 0.0) + time.perf_counter() - start
            return result

        setattr(owner, name, wrapped)

    timed(pipeline.scene, "compose", "compositing")
    timed(pipeline.scene, "region", "region")
    start = time.perf_counter()
    for _ in pipeline.cuts(sound, "happy"):
        pass
    spoken = time.perf_counter() - start
    start, frames = time.perf_counter(), 0
    for batch in pipeline.frames(sound, "happy", size=size):
        frames += len(batch)
    total = time.perf_counter() - start
    spent["sound to landmarks"] = spoken
    spent["rendering and the rest"] = total - sum(spent.values())
    return {
        "size": size,
        "frames_per_second": round(frames / total, 1),
        "share": {name: round(value / total, 3) for name, value in spent.items()},
    }


def training(steps: int = 8) -> Row:
    """Rays and samples per second of the default configuration, and where a step's time goes."""
    with tempfile.TemporaryDirectory() as folder:
        capture = make_capture(Path(folder) / "capture", seconds=1.0, size=256, with_audio=False)
        frames = torch.arange(len(capture))
        data = TrainingData(capture, AudioFeatures(torch.zeros(len(capture), 1), capture.fps), frames, frames[-1:])
        component = TriplaneNerf.for_training(TriplaneNerfConfig(), data)
        (optimizer,) = component.optimizers()
        spent = {"batch": 0.0, "forward and backward": 0.0, "optimiser": 0.0, "after": 0.0}
        samples = 0.0
        for step in range(-2, steps):
            marks = [time.perf_counter()]
            batch = component.batch(data, step + 2)
            marks.append(time.perf_counter())
            scalars = component.training_step(batch, step + 2)
            optimizer.zero_grad(set_to_none=True)
            scalars["loss"].backward()
            marks.append(time.perf_counter())
            optimizer.step()
            marks.append(time.perf_counter())
            component.after_step(step + 2)
            marks.append(time.perf_counter())
            if step >= 0:
                for name, a, b in zip(spent, marks, marks[1:], strict=False):
                    spent[name] += b - a
                samples += float(scalars["samples"]) * batch["pixels"].numel()
        total = sum(spent.values())
        rays = steps * component.config.chunks_per_step * component.config.rays_per_chunk
    return {
        "rays_per_second": round(rays / total),
        "samples_per_second": round(samples / total),
        "step_ms": round(total / steps * 1e3, 1),
        "share": {name: round(value / total, 3) for name, value in spent.items()},
    }


def as_markdown(report: Row) -> str:
    """The report as tables."""
    lines = [
        f"{report['samples']} samples; {report['threads']} threads; {report['processor']}; torch {torch.__version__}",
        "",
        "| | reference, ns a sample | kernel, ns a sample | ratio | floor, ns (bytes at copying speed) |",
        "|---|---|---|---|---|",
    ]
    for name, row in report["kernels"].items():
        lines.append(f"| {name} | {row['reference_ns']} | {row['kernel_ns']} | {row['ratio']}× | {row['floor_ns']} |")
    lines += ["", "| whole head | 256² | 512² |", "|---|---|---|"]
    a, b = report["frames"]
    for key in (
        "pixels", "densities", "colours", "frame_ms", "frames_per_second", "kernels_ms", "reference_ms", "ratio",
        "worst_difference", "psnr_to_reference_db",
    ):  # fmt: skip
        lines.append(f"| {key.replace('_', ' ')} | {a[key]} | {b[key]} |")
    for name in a["parts_ms"]:
        lines.append(f"| {name}, ms | {a['parts_ms'][name]} | {b['parts_ms'][name]} |")
    lines += ["", "| synthesis | frames/s | share of the time |", "|---|---|---|"]
    for row in report["synthesis"]:
        share = ", ".join(f"{name} {value:.0%}" for name, value in row["share"].items())
        lines.append(f"| {row['size']}² | {row['frames_per_second']} | {share} |")
    row = report["training"]
    share = ", ".join(f"{name} {value:.0%}" for name, value in row["share"].items())
    lines += [
        "",
        f"Training: {row['rays_per_second']} rays/s, {row['samples_per_second']} samples/s, {row['step_ms']} ms a step"
        f" ({share}).",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1 << 20, help="a multiple of 64; default 2^20")
    parser.add_argument("--avatar", type=Path, default=DEMO, help="whose head is rendered; default the demo's")
    parser.add_argument("-o", "--output", type=Path, help="folder for kernels.json and kernels.md")
    options = parser.parse_args()
    if options.samples <= 0 or options.samples % simd.BLOCK:
        parser.error(f"--samples {options.samples} is not a positive multiple of {simd.BLOCK}")
    avatar = Avatar.open(options.avatar, installed(), [])
    report = {
        "samples": options.samples,
        "threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
        "bfloat16_products": simd.bfloat_products(),
        "kernels": kernels(options.samples),
        "frames": [frame(avatar, size) for size in (256, 512)],
        "synthesis": [synthesis(avatar, size) for size in (256, 512)],
        "training": training(),
    }
    text = as_markdown(report)
    print(text, end="")
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "kernels.json").write_text(json.dumps(report, indent=1) + "\n")
        (options.output / "kernels.md").write_text(text)


if __name__ == "__main__":
    main()
