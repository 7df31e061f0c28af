"""The one way kernels are compiled here: single-threaded, without the GIL, cached on disk where a folder allows it.

Kernels hold no threads of their own, because whole chunks run on worker threads (`realtalk_core.nn.parallel`): two
thread pools inside one step would fight for the same cores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from torch import Tensor

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compiles `function` on first use."""
    options = {"nogil": True, "fastmath": {"nsz", "arcp", "contract", "afn", "reassoc"}, "error_model": "numpy"}
    try:
        compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no writable cache folder: compile in every process
        compiled = numba.njit(**options)(function)
    return cast(F, compiled)


def array(tensor: Tensor) -> Any:
    """A contiguous NumPy view (or copy) of a CPU tensor, cut from the graph."""
    return tensor.detach().contiguous().numpy()


def on_cpu(*tensors: Tensor) -> bool:
    """Whether the CPU kernels can take these tensors; otherwise callers use their torch reference."""
    return all(tensor.device.type == "cpu" for tensor in tensors)
