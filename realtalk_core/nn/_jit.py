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


_FAST = {"nogil": True, "fastmath": {"nsz", "arcp", "contract", "afn", "reassoc"}, "error_model": "numpy"}


def kernel(function: F) -> F:
    """Compiles `function` on first use."""
    try:
        compiled = numba.njit(cache=True, **_FAST)(function)
    except RuntimeError:  # no writable cache folder: compile in every process
        compiled = numba.njit(**_FAST)(function)
    return cast(F, compiled)


def inlined(function: F) -> F:
    """Part of a kernel, called for single samples: a call that hands over twenty arrays costs as much as the work."""
    return cast(F, numba.njit(forceinline=True, **_FAST)(function))


def array(tensor: Tensor) -> Any:
    """A contiguous NumPy view (or copy) of a CPU tensor, cut from the graph."""
    return tensor.detach().contiguous().numpy()


def on_cpu(*tensors: Tensor) -> bool:
    """Whether the CPU kernels can take these tensors; otherwise callers use their torch reference."""
    return all(tensor.device.type == "cpu" for tensor in tensors)
