"""A loss over chunks whose gradients are summed on worker threads, behind an ordinary differentiable scalar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from realtalk_core.nn.parallel import in_threads, worker_count

Chunk = TypeVar("Chunk")


class _Given(torch.autograd.Function):
    """A scalar with gradients that are already known."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, grads: Sequence[Tensor | None], *parameters: Tensor) -> Tensor:
        ctx.grads = grads
        return value.clone()

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(None if g is None else g * scale for g in ctx.grads)


def accumulated_loss(
    chunk_loss: Callable[[Chunk, Tensor | None], dict[str, Tensor]],
    chunks: Sequence[Chunk],
    parameters: Sequence[Tensor],
    sunk: Tensor | None = None,
    sink_of: Callable[[], Tensor] | None = None,
    folded: Callable[[Sequence[Tensor]], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Mean over chunks of scalars; `loss` is differentiable in `parameters`, the others are plain numbers.

    Each worker thread differentiates its own chunks and keeps its own sums, which are then added in a fixed order: the
    result is the same every time for one thread setting, and the graph of only one chunk per worker is ever alive.

    Args:
        chunk_loss: Gives the scalars of a chunk; called on worker threads with the chunk and its worker's sink. It must
            not touch global random state.
        chunks: At least one.
        parameters: What to differentiate by.
        sunk: One large parameter whose gradient operations add into the sink they are given instead of returning it.
        sink_of: Makes a worker's sink; zeros like `sunk` if None.
        folded: The gradient from the workers' sinks; their sum if None.
    """
    place = next((k for k, p in enumerate(parameters) if p is sunk), -1)
    workers = min(len(chunks), worker_count()) if parameters[0].device.type == "cpu" else 1
    sinks: list[Tensor | None] = [None] * workers

    def work(worker: int, share: list[Chunk]) -> tuple[list[Tensor | None], dict[str, Tensor]]:
        grads: list[Tensor | None] = [None] * len(parameters)
        sink = None
        if sunk is not None and sunk.device.type == "cpu":
            sink = torch.zeros_like(sunk) if sink_of is None else sink_of()
        totals: dict[str, Tensor] = {}
        with torch.enable_grad():
            for chunk in share:
                scalars = chunk_loss(chunk, sink)
                found = torch.autograd.grad(scalars["loss"], parameters, allow_unused=True)
                for k, grad in enumerate(found):
                    if grad is not None:
                        have = grads[k]
                        grads[k] = grad if have is None else have.add_(grad)
                for name, value in scalars.items():
                    totals[name] = totals.get(name, torch.zeros(())) + value.detach().cpu()
        sinks[worker] = sink
        return grads, totals

    sums: list[Tensor | None] = [None] * len(parameters)
    totals: dict[str, Tensor] = {}
    for grads, part in in_threads(work, chunks, workers):
        for k, grad in enumerate(grads):
            if grad is not None:
                have = sums[k]
                sums[k] = grad if have is None else have.add_(grad)
        for name, value in part.items():
            totals[name] = totals.get(name, torch.zeros(())) + value
    filled = [sink for sink in sinks if sink is not None]
    if filled:
        sunken = torch.stack(filled).sum(0) if folded is None else folded(filled)
        have = sums[place]
        sums[place] = sunken if have is None else have.add_(sunken)
    share = 1 / len(chunks)
    scalars = {name: value * share for name, value in totals.items()}
    scaled = [None if g is None else g.mul_(share) for g in sums]
    value = scalars["loss"].to(parameters[0].device)
    scalars["loss"] = _Given.apply(value, scaled, *parameters)  # type: ignore[no-untyped-call]
    return scalars
