"""Clocks of the speed benchmarks, and what this machine can do at most."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch

from realtalk_core.nn import compositing, hashgrid, marching, simd
from realtalk_core.nn._jit import kernel
from realtalk_core.nn.parallel import in_threads, worker_count
from realtalk_triplane_nerf import fused_training
from realtalk_triplane_nerf.fused import space

Row = dict[str, Any]
Target = tuple[Any, str]


def best(work: Callable[[], object], runs: int) -> float:
    """Seconds of the fastest run, after one to warm up."""
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def in_turn(slow: Callable[[], object], fast: Callable[[], object], rounds: int = 5) -> tuple[float, float]:
    """Median seconds of a reference and of what replaces it, taken in turn: both see the same machine."""
    slow(), fast()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for work, into, runs in ((slow, times[0], 1), (fast, times[1], 3)):
            for _ in range(runs):
                start = time.perf_counter()
                work()
                into.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


@contextmanager
def references_only() -> Iterator[None]:
    """Makes every operation of `realtalk_core.nn` and the field take its plain-torch form, as without kernels."""
    with ExitStack() as stack:
        for module in (hashgrid, marching, compositing):
            stack.enter_context(mock.patch.object(module, "on_cpu", return_value=False))
        stack.enter_context(mock.patch.object(fused_training, "available", return_value=False))
        yield


@contextmanager
def watched(parts: dict[str, list[Target]]) -> Iterator[dict[str, float]]:
    """Adds up the seconds that functions take, on whichever thread; they must not call each other.

    Args:
        parts: For each name, the functions: (module, class or object; attribute).
    """
    spent, lock = dict.fromkeys(parts, 0.0), threading.Lock()

    def wrapped(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                with lock:
                    spent[name] += time.perf_counter() - start

        return call

    with ExitStack() as stack:
        for name, targets in parts.items():
            for owner, attribute in targets:
                function = getattr(owner, attribute)
                new = wrapped(name, function)
                if isinstance(vars(owner).get(attribute), classmethod):
                    new = staticmethod(new)  # type: ignore[assignment]
                stack.enter_context(mock.patch.object(owner, attribute, new))
        yield spent


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
