"""Where components work: on the CPU, or on a CUDA GPU where there is one and the component can.

Stages are handed tensors on the CPU and give tensors on the CPU, wherever they work in between; so a pipeline may mix
stages that can use a GPU with stages that cannot.
"""

from __future__ import annotations

from typing import Any

import torch

from realtalk_core.errors import UserError, did_you_mean

NAMES = ("auto", "cpu", "cuda")


def resolve(name: str | torch.device) -> torch.device:
    """The device that `--device` names: `auto` is the first CUDA GPU if torch finds one, else the CPU.

    Raises:
        UserError: if the name is unknown, or names a GPU that torch does not find.

    >>> resolve("cpu")
    device(type='cpu')
    """
    if isinstance(name, torch.device):
        return name
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    kind, _, number = name.partition(":")
    if kind not in NAMES or kind == "auto" or (number and (kind == "cpu" or not number.isdecimal())):
        raise UserError(
            f"--device: unknown device {name!r}{did_you_mean(name, NAMES)}", "Write auto, cpu, cuda or cuda:NUMBER."
        )
    if kind == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        why = "has no CUDA" if torch.version.cuda is None else "finds no CUDA GPU"
        raise UserError(
            f"--device {name}: this machine's torch {torch.__version__} {why}",
            "Use --device cpu, or install torch for CUDA (pytorch.org) on a machine with an NVIDIA GPU.",
        )
    index, count = int(number or 0), torch.cuda.device_count()
    if index >= count:
        raise UserError(f"--device {name}: there are {count} CUDA GPUs, numbered from 0", "Name one of these.")
    return torch.device("cuda", index)


def place(component: Any, device: str | torch.device) -> Any:
    """Moves a component there if it can work there (`realtalk_core.stages.Movable`); others stay on the CPU.

    Args:
        component: Of any stage.
        device: See `resolve`.

    Returns:
        The component.
    """
    there = resolve(device)
    if there.type in getattr(component, "devices", ("cpu",)) and hasattr(component, "to"):
        component.to(there)
    return component
