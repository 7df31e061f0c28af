"""What training needs to go on to the same trajectory: a component's own tensors, its optimizers, the step."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from realtalk_core.checkpoint import Header, load, save
from realtalk_core.errors import UserError
from realtalk_core.stages import Trainable

_TENSOR = "$tensor"
_PAIRS = "$pairs"


def flatten(tree: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """Moves the tensors of a nested structure into `tensors` and returns the rest as plain JSON.

    Dictionaries keep the type of their keys (an optimizer's state is keyed by integers).

    Raises:
        TypeError: for a value that neither JSON nor a tensor file can hold.

    >>> held = {}
    >>> flatten({"lr": 0.1, "state": {0: torch.ones(1)}}, held)
    {'$pairs': [['lr', 0.1], ['state', {'$pairs': [[0, {'$tensor': '/state/0'}]]}]]}
    >>> list(held)
    ['/state/0']
    """
    if isinstance(tree, Tensor):
        tensors[path] = tree
        return {_TENSOR: path}
    if isinstance(tree, Mapping):
        return {_PAIRS: [[key, flatten(value, tensors, f"{path}/{key}")] for key, value in tree.items()]}
    if isinstance(tree, (list, tuple)):
        return [flatten(value, tensors, f"{path}/{index}") for index, value in enumerate(tree)]
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return tree
    raise TypeError(f"{path}: {type(tree).__name__} cannot be saved without pickling")


def unflatten(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `flatten`; tuples come back as lists."""
    if isinstance(tree, dict) and _TENSOR in tree:
        return tensors[tree[_TENSOR]]
    if isinstance(tree, dict):
        return {key: unflatten(value, tensors) for key, value in tree[_PAIRS]}
    if isinstance(tree, list):
        return [unflatten(value, tensors) for value in tree]
    return tree


def save_training(
    path: Path, header: Header, component: Trainable, optimizers: Sequence[torch.optim.Optimizer], step: int
) -> None:
    """Writes everything needed to resume at `step` (the number of steps done).

    Raises:
        UserError: if the place is full, read-only or forbidden.
    """
    tensors = {f"component{name}": t for name, t in _slashed(component.training_state()).items()}
    states = [flatten(opt.state_dict(), tensors, f"optimizer/{k}") for k, opt in enumerate(optimizers)]
    metrics = {**header.metrics, "step": step, "optimizers": json.dumps(states)}
    save(path, Header(**{**vars(header), "metrics": metrics}), tensors)


def load_training(
    path: Path, header: Header, component: Trainable, optimizers: Sequence[torch.optim.Optimizer]
) -> tuple[int, Mapping[str, Any]]:
    """Puts a saved state back.

    Args:
        path: The file.
        header: What is being trained now; the file must be of the same component and parameters.
        component: Fresh from `for_training` with the same config and data.
        optimizers: Its optimizers.

    Returns:
        The number of steps done, and the metrics stored with them.

    Raises:
        UserError: if the file is damaged, or of another component or other parameters.
    """
    found, tensors = load(path)
    again = "Resume with the parameters it began with, or begin anew with --force."
    if (found.stage, found.component, found.version) != (header.stage, header.component, header.version):
        raise UserError(f"{path} is the training of {found.stage} {found.component!r}, not {header.component!r}", again)
    if dict(found.config) != dict(header.config):
        changed = sorted(k for k in {*found.config, *header.config} if found.config.get(k) != header.config.get(k))
        raise UserError(f"{path}: training began with other parameters ({', '.join(changed)})", again)
    if found.metrics.get("data") != header.metrics.get("data"):
        what = "another capture, split or seed, or with another emotion stage to learn from"
        raise UserError(f"{path}: training began on {what}", again)
    component.load_training_state(
        {name.removeprefix("component/"): t for name, t in tensors.items() if name.startswith("component/")}
    )
    states = json.loads(found.metrics["optimizers"])
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict(unflatten(state, tensors))
    return int(found.metrics["step"]), found.metrics


def seed_step(seed: int, step: int) -> None:
    """Seeds every global generator from (seed, step), so that step k draws the same numbers after any interruption."""
    mixed = (seed * 1_000_003 + step) % (2**32)
    random.seed(mixed)
    np.random.seed(mixed)  # components may use the legacy generator
    torch.manual_seed(mixed)


def _slashed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"/{name}": tensor for name, tensor in tensors.items()}
