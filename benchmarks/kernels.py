"""What the CPU kernels bring and what they could bring, in one run on this machine.

    python benchmarks/kernels.py [--samples N] [--avatar AVATAR] [-o DIR]

Prints, and with `-o` writes as `kernels.json` and `kernels.md`:

- each kernel of `realtalk_core.nn` beside its plain-torch reference (the same formula on all of torch's threads; the
  kernel on as many workers), and the floor set by what must be written, at this machine's measured copying speed;
- a field's samples in training, there and back, and the floor set by its products at this machine's measured peak;
- a whole frame beside the same frame by references alone, its parts, and its floor (`frame_times.py`);
- frames per second of the renderer (whole head, face region) and of a synthesis (sound to pictures) at 256² and 512²;
- rays per second of training on a drawn capture, and the share of each part of a step (`step_times.py`).

References and kernels are timed in turn and the medians compared; another busy process makes all times wrong, and the
ratios less so.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from pathlib import Path

import torch
from frame_times import frame, synthesis
from step_times import products, training
from timing import Row, copy_bandwidth, in_turn, peak_products, references_only, shared
from torch import Tensor

from realtalk_core.avatar import Avatar
from realtalk_core.cli.common import installed
from realtalk_core.nn import compositing, marching, simd
from realtalk_core.nn.conditioning import score_columns
from realtalk_core.nn.hashgrid import PlaneGrids, PlaneLayout, add_nodes_gradient, encode_planes_reference
from realtalk_core.nn.marching import Shell
from realtalk_core.nn.parallel import in_threads, worker_count
from realtalk_core.nn.warp import WarpField, evaluate, evaluate_reference
from realtalk_triplane_nerf import fused_training
from realtalk_triplane_nerf.config import TriplaneNerfConfig
from realtalk_triplane_nerf.field import HARMONICS, FrameCondition, TriplaneField

DEMO = Path(__file__).parent.parent / "plugins" / "realtalk_demo" / "data" / "avatar"
CHUNK = 1 << 16


def kernels(count: int) -> dict[str, Row]:
    """Every kernel and its reference on `count` samples of rays with 8 samples each."""
    generator = torch.Generator().manual_seed(0)
    config = TriplaneNerfConfig()
    layout = PlaneLayout.geometric(config.levels, config.channels, config.coarsest, config.finest, config.log2_entries)
    along = torch.rand(3, count // 8, 1, generator=generator) * 0.98
    points = (along + torch.linspace(0, 0.02, 8)).flatten(1).contiguous()
    tables = torch.randn(layout.columns, 2**layout.log2_entries, generator=generator, requires_grad=True)
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
    pieces = [(points[:, s].contiguous(), pull[:, s].contiguous()) for s in spans]
    encoded = torch.empty(layout.columns, count)
    grids = PlaneGrids.of(tables, layout)

    def encode() -> None:
        grids = PlaneGrids.of(tables, layout)
        shared(spans, lambda s: grids.encode_into(points[:, s], encoded[:, s]))

    def encode_backward() -> Tensor:
        def work(_: int, share: list[tuple[Tensor, Tensor]]) -> Tensor:
            nodes = layout.empty_nodes()
            for some, some_pull in share:
                add_nodes_gradient(some, some_pull, layout, nodes)
            return nodes

        return layout.folded(in_threads(work, pieces, worker_count()))

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
        a, b = in_turn(slow, fast)
        rows[name] = {
            "reference_ns": round(a / items * 1e9, 1),
            "kernel_ns": round(b / items * 1e9, 2),
            "ratio": round(a / b, 1),
            "floor_ns": round(written / bandwidth / items * 1e9, 2),
        }
    torch.testing.assert_close(grids.encode(points[:, :4096]), reference[:, :4096].detach(), atol=6e-3, rtol=1e-2)
    (want,) = torch.autograd.grad(reference, tables, pull, retain_graph=True)
    torch.testing.assert_close(encode_backward(), want, atol=0.1, rtol=1e-2)
    return rows


def networks(count: int = 1 << 14) -> Row:
    """A field's samples there and back, as a training chunk asks for them: kernels against plain operations."""
    config = TriplaneNerfConfig()
    generator = torch.Generator().manual_seed(0)
    field = TriplaneField(config, config.components, 1)
    rays = torch.arange(count) // 8
    views = torch.randn(count // 8, HARMONICS, generator=generator)
    points = torch.rand(3, count, generator=generator)
    scores = torch.rand(len(score_columns(config.blendshapes)), generator=generator)
    condition = FrameCondition(torch.randn(config.components, generator=generator), scores)
    pull, parameters = torch.randn(count, generator=generator), list(field.parameters())
    grids, layout = field.grids(), field.layout
    assert isinstance(layout, PlaneLayout)

    def step() -> object:
        kernels = fused_training.available(field)
        nodes = layout.empty_nodes() if kernels else None
        sigma, colour = field(points, condition, views, rays, nodes, grids if kernels else None)
        assert colour is not None
        loss = (sigma[:count] * pull).sum() + (colour[:count].sum(1) * pull).sum()
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        return found if nodes is None else layout.folded([nodes])

    def plain() -> object:
        with references_only():
            return step()

    a, b = in_turn(plain, step)
    floor = products(field) / peak_products(field.compute == torch.bfloat16) / worker_count()
    return {
        "reference_ns": round(a / count * 1e9, 1),
        "kernel_ns": round(b / count * 1e9, 1),
        "ratio": round(a / b, 1),
        "floor_ns": round(floor * 1e9, 1),
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
    for key, value in a.items():
        if key not in ("size", "parts_ms"):
            lines.append(f"| {key.replace('_', ' ')} | {value} | {b[key]} |")
    for name in a["parts_ms"]:
        lines.append(f"| {name}, ms | {a['parts_ms'][name]} | {b['parts_ms'][name]} |")
    lines += ["", "| synthesis | frames/s | share of the time |", "|---|---|---|"]
    for row in report["synthesis"]:
        share = ", ".join(f"{name} {value:.0%}" for name, value in row["share"].items())
        lines.append(f"| {row['size']}² | {row['frames_per_second']} | {share} |")
    row = report["training"]
    lines += [
        "",
        f"Training: {row['rays_per_second']} rays/s, {row['samples_per_second']} samples/s "
        f"({row['samples_per_ray']} a ray), {row['step_ms']} ms a step; its products at peak: {row['floor_ms']} ms.",
        "",
        "| part of a training step | share |",
        "|---|---|",
        *(f"| {name} | {value:.1%} |" for name, value in row["share"].items()),
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
    default = TriplaneNerfConfig().static_tolerance  # the demo's avatar has it off, to start sooner
    avatar = Avatar.open(options.avatar, installed(), [f"renderer.static_tolerance={default}"])
    report = {
        "samples": options.samples,
        "threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
        "bfloat16_products": simd.bfloat_products(),
        "kernels": kernels(options.samples) | {"training: encode and networks, there and back": networks()},
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
    from script import run

    run(main)
