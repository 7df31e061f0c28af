"""A CUDA device that is none: tensors that say they are on `cuda:0`, hold their values on the CPU, and refuse to be
mixed with tensors that were not moved there. What runs under `pretending()` without an error, and gives the same
numbers, has no tensor on the wrong device.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("cuda", 0)
CPU_INDICES = ("index", "index_put_", "_index_put_impl_")
"""Operations that torch lets take indices from the CPU."""


class Pretended(Tensor):
    """A tensor on the pretended device."""

    def __new__(cls, held: Tensor) -> Pretended:
        return Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held

    def __repr__(self) -> str:
        return f"Pretended({self.held})"

    @property
    def device(self) -> torch.device:
        return DEVICE

    @property
    def is_cuda(self) -> bool:
        return True

    @property
    def data(self) -> Tensor:
        return Pretended(self.held.data)

    @data.setter
    def data(self, value: Tensor) -> None:
        """As `parameter.data = …` of another size: the same object holds the other numbers."""
        assert isinstance(value, Pretended)
        with torch._C.DisableTorchFunction():
            Tensor.data.__set__(self, value)  # type: ignore[attr-defined]
        self.held = value.held

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten.copy_.default:  # the one operation that may cross
            _bare(args[0]).copy_(_bare(args[1]))
            return args[0]
        loose = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and not isinstance(t, cls) and t.ndim]
        if loose and not (func.overloadpacket.__name__ in CPU_INDICES and isinstance(args[0], cls)):
            raise RuntimeError(f"{func}: tensors on cuda:0 and on the CPU, of {[tuple(t.shape) for t in loose]}")
        out = func(*tree_map(_bare, args), **tree_map(_bare, kwargs))
        return return_and_correct_aliasing(func, args, kwargs, tree_map(_wrapped, out))


def _bare(value: Any) -> Any:
    return value.held if isinstance(value, Pretended) else value


def _wrapped(value: Any) -> Any:
    return Pretended(value) if isinstance(value, Tensor) and not isinstance(value, Pretended) else value


def _moved(x: Tensor, there: bool) -> Tensor:
    if there == isinstance(x, Pretended):
        return x.view_as(x)
    return Pretended(x.detach().clone()) if there else x.detach().held.clone()


class _Move(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, there: bool) -> Tensor:
        ctx.back = not there
        return _moved(x, there)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _moved(grad, ctx.back), None


def _on_cuda(device: Any) -> bool:
    return torch.device(device).type == "cuda"


class _Pretending(TorchFunctionMode):
    """Takes the word `cuda` out of every call, and remembers it in the result."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (Tensor.numpy, Tensor.__array__) and isinstance(args[0], Pretended):
            raise TypeError("can't convert a tensor on cuda:0 to numpy")
        if func is Tensor.tolist and isinstance(args[0], Pretended):
            return args[0].held.tolist()
        if func is Tensor.new_tensor and isinstance(args[0], Pretended):
            return Pretended(args[0].held.new_tensor(*args[1:], **kwargs))
        if func in (Tensor.cpu, Tensor.cuda):
            return self._to(args[0], func is Tensor.cuda)
        if func is Tensor.to:
            return self._to_many(*args, **kwargs)
        if kwargs.get("device") is not None and _on_cuda(kwargs["device"]):
            out = func(*args, **kwargs | {"device": "cpu"})
            return tree_map(
                lambda t: Pretended(t) if isinstance(t, Tensor) and not isinstance(t, Pretended) else t, out
            )
        return func(*args, **kwargs)

    def _to(self, x: Tensor, there: bool | None) -> Tensor:
        return x if there is None or there == isinstance(x, Pretended) else _Move.apply(x, there)

    def _to_many(self, x: Tensor, *rest: Any, **named: Any) -> Tensor:
        device, left = named.pop("device", None), []
        for each in rest:
            if isinstance(each, Tensor):
                device, each = each.device, each.dtype
            if isinstance(each, (str, torch.device)):
                device = each
            elif each is not None:
                left.append(each)
        made = x.to(*left, **named) if any(isinstance(v, torch.dtype) for v in (*left, *named.values())) else x
        return self._to(made, None if device is None else _on_cuda(device))


@contextmanager
def pretending() -> Iterator[None]:
    """Inside, `.to("cuda")` and `device="cuda"` give tensors of the pretended device, differentiably."""
    swap = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # real devices keep a moved parameter's identity too
    try:
        with _Pretending():
            yield
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swap)
