"""Checks jaxtyping annotations of a dataclass once, at construction."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args, get_type_hints

import torch

from realtalk_core.errors import ShapeError

_FIELDS: dict[type, tuple[tuple[str, Any, bool], ...]] = {}


def _tensor_fields(cls: type) -> tuple[tuple[str, Any, bool], ...]:
    if cls in _FIELDS:
        return _FIELDS[cls]
    hints = get_type_hints(cls)
    found = []
    for field in fields(cls):
        hint, optional = hints[field.name], False
        if type(None) in get_args(hint):
            optional = True
            hint = next(arg for arg in get_args(hint) if arg is not type(None))
        if hasattr(hint, "dim_str") and hasattr(hint, "dtypes"):
            found.append((field.name, hint, optional))
    _FIELDS[cls] = tuple(found)
    return _FIELDS[cls]


def check_shapes(value: Any) -> None:
    """Raises `ShapeError` unless every jaxtyped field of a dataclass has its shape and kind.

    A named axis must have one size throughout the object; `_` and `...` match anything.

    Raises:
        ShapeError: for example `LandmarkTrack.points: expected (T, 68, 3) with T=75, got (75, 3, 68)`.
    """
    bound: dict[str, int] = {}
    owner = type(value).__name__
    for name, hint, optional in _tensor_fields(type(value)):
        tensor = getattr(value, name)
        if tensor is None and optional:
            continue
        if not isinstance(tensor, torch.Tensor):
            raise ShapeError(f"{owner}.{name}: expected a torch.Tensor, got {type(tensor).__name__}")
        kind = str(tensor.dtype).removeprefix("torch.")
        if not isinstance(hint.dtypes, (list, tuple)) or kind not in hint.dtypes:
            wanted = hint.__name__.partition("[")[0]
            raise ShapeError(f"{owner}.{name}: expected dtype {wanted.lower()}, got {kind}")
        _match(owner, name, hint.dim_str.split(), tuple(tensor.shape), bound)


def _match(owner: str, name: str, dims: list[str], shape: tuple[int, ...], bound: dict[str, int]) -> None:
    free = "..." in dims
    wanted = [d for d in dims if d != "..."]
    ok = len(shape) >= len(wanted) if free else len(shape) == len(wanted)
    seen = dict(bound)
    if ok:
        for dim, size in zip(wanted, shape[len(shape) - len(wanted) :] if free else shape, strict=True):
            if dim.isdigit():
                ok &= int(dim) == size
            elif dim != "_":
                ok &= seen.setdefault(dim, size) == size
    if not ok:
        known = ", ".join(f"{d}={bound[d]}" for d in wanted if d in bound)
        with_known = f" with {known}" if known else ""
        raise ShapeError(f"{owner}.{name}: expected ({', '.join(dims)}){with_known}, got {shape}")
    bound.update(seen)
