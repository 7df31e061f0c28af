"""Each kernel of `realtalk_core.nn` against its plain-torch reference, in one run on this machine.

    python benchmarks/kernels.py [--samples N] [--json]

Kernels run on one thread (whole chunks share out the cores, see `realtalk_core.nn.parallel`); the references use all of
torch's threads. Times are the best of several runs, in nanoseconds per sample.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import torch

from realtalk_core.nn.compositing import composite, composite_reference
from realtalk_core.nn.hashgrid import PlaneLayout, encode_planes, encode_planes_reference
from realtalk_core.nn.marching import Shell, march, march_reference
from realtalk_core.nn.warp import WarpField


def best(work: Callable[[], object], runs: int) -> float:
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1 << 16)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    count = options.samples
    generator = torch.Generator().manual_seed(0)
    layout = PlaneLayout.geometric(12, 1, 16, 512, 14)
    rays = torch.rand(3, count // 8, 1, generator=generator) * 0.98
    points = (rays + torch.linspace(0, 0.02, 8)).flatten(1).contiguous()
    tables = torch.randn(layout.columns, 2**14, generator=generator, requires_grad=True)
    pull = torch.randn(layout.columns, points.shape[1], generator=generator)
    sigma = (torch.rand(count, generator=generator) * 3).requires_grad_()
    values = torch.rand(count, 3, generator=generator).requires_grad_()
    offsets = torch.arange(0, count + 1, 8)
    shell = Shell(torch.full((3,), -9.0), 18.0, 0.35, torch.rand(51, 51, 51, generator=generator) < 0.1)
    warp = WarpField(torch.randn(128, 128, 3, generator=generator) * 0.2, torch.full((2,), -9.0), torch.full((2,), 7.0))
    directions = torch.randn(count // 8, 3, generator=generator) * 0.1 + torch.tensor([0.0, 0, -1])
    directions = torch.nn.functional.normalize(directions, dim=1)
    march_arguments = (
        torch.tensor([0.0, 0, 50]), directions, torch.rand(count // 8, generator=generator), 0.4, shell, warp, 32
    )  # fmt: skip

    def backward_of_encode(encode: Callable[..., torch.Tensor]) -> object:
        return torch.autograd.grad((encode(points, tables, layout) * pull).sum(), tables)

    def both_of_composite(function: Callable[..., tuple[torch.Tensor, ...]]) -> object:
        out, alpha, _ = function(sigma, values, offsets, 0.4)
        return torch.autograd.grad(out.sum() + alpha.sum(), (sigma, values))

    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "encode": (
            lambda: encode_planes_reference(points, tables.detach(), layout),
            lambda: encode_planes(points, tables.detach(), layout),
        ),
        "encode + backward": (
            lambda: backward_of_encode(encode_planes_reference),
            lambda: backward_of_encode(encode_planes),
        ),
        "composite + backward": (
            lambda: both_of_composite(composite_reference),
            lambda: both_of_composite(composite),
        ),
        "march": (lambda: march_reference(*march_arguments), lambda: march(*march_arguments)),
    }
    results = {}
    for name, (reference, kernel) in pairs.items():
        slow, fast = best(reference, 2), best(kernel, 7)
        results[name] = {
            "reference_ns": round(slow / count * 1e9, 1),
            "kernel_ns": round(fast / count * 1e9, 1),
            "ratio": round(slow / fast, 1),
        }
    if options.json:
        print(json.dumps(results))
        return
    print(f"{count} samples; reference on {torch.get_num_threads()} threads, kernel on one")
    for name, row in results.items():
        print(f"{name:22} {row['reference_ns']:9.1f} ns {row['kernel_ns']:8.1f} ns {row['ratio']:7.1f}x")


if __name__ == "__main__":
    main()
