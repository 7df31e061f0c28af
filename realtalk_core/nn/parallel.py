"""Worker threads that each run whole chunks with one OpenMP thread of their own.

Splitting single operations over cores loses up to twentyfold when another process is busy, for every operation waits
for the slowest core; whole chunks have nothing to wait for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")
_LOCK = threading.Lock()


@cache
def _pool(count: int) -> ThreadPoolExecutor:
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, "realtalk-nn", initializer=torch.set_num_threads, initargs=(1,))
    barrier = threading.Barrier(count)
    for future in [pool.submit(barrier.wait) for _ in range(count)]:
        future.result()
    torch.set_num_threads(threads)  # a worker's setting also became the default of threads made later
    return pool


def worker_count() -> int:
    """How many workers are used: torch's own thread setting."""
    return max(1, torch.get_num_threads())


def in_threads(work: Callable[[int, list[Item]], Result], items: Sequence[Item], workers: int) -> list[Result]:
    """Runs `work(worker, share)` once per worker; worker w always gets `items[w::workers]`.

    The split depends on nothing but its arguments, so sums taken per worker come out the same every time.

    Args:
        work: Called with the worker's number and its share; it may be an empty list.
        items: What there is to do.
        workers: How many shares; 1 runs in the calling thread.

    Returns:
        The results in the workers' order.
    """
    shares = [list(items[w::workers]) for w in range(workers)]
    if workers == 1:
        return [work(0, shares[0])]
    with _LOCK:
        pool = _pool(workers)
    return [future.result() for future in [pool.submit(work, w, share) for w, share in enumerate(shares)]]
