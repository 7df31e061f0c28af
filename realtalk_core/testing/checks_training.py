"""Checks of components that learn."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from realtalk_core.stages import Stateful, Trainable
from realtalk_core.testing.checks import CheckSkipped, check, require
from realtalk_core.testing.subject import Subject, seed_globally

STEPS = 12
PHASED = 100
"""Most steps that the kit takes to see every part of a schedule."""
RESUME_AT = 3
SAME = 1e-4
"""Relative difference that counts as none after several steps."""


def _trainable(subject: Subject) -> Any:
    component = subject.component
    if not isinstance(component, Trainable):
        raise CheckSkipped("it does not learn")
    return subject.fresh()


@check("train/stateful")
def train_stateful(subject: Subject) -> None:
    """What learns also has a state, or nothing of it would be kept."""
    _trainable(subject)
    require(isinstance(subject.component, Stateful), "it is Trainable but has no state() and from_state()")


@check("train/pure-batch")
def train_pure_batch(subject: Subject) -> None:
    """`batch(data, step)` depends on nothing but the data, the configuration and the step."""
    first, second = _trainable(subject), subject.fresh()
    seed_globally(1)
    expected = copy.deepcopy(dict(first.batch(subject.data, 5)))
    seed_globally(2)
    for step in (9, 0):
        second.batch(subject.data, step)
    apart = _unlike(expected, dict(second.batch(subject.data, 5)))
    require(not apart, f"two calls for step 5 differ in {apart}")


@check("train/gradients-reach-all")
def train_gradients(subject: Subject) -> None:
    """Every trainable parameter belongs to an optimizer and has a gradient before the tiny training ends."""
    component = _trainable(subject)
    names = dict(_named(component))
    optimized = [p for o in component.optimizers() for group in o.param_groups for p in group["params"]]
    require(optimized, "the optimizers hold no parameters")
    forgotten = [name for key, (name, p) in names.items() if p.requires_grad and key not in {id(q) for q in optimized}]
    require(not forgotten, f"in no optimizer: {', '.join(forgotten[:8])}")
    wanted, reached, step = {id(p) for p in optimized if p.requires_grad}, set[int](), 0
    while not wanted <= reached and step < max(STEPS, min(component.total_steps, PHASED)):
        count = min(STEPS, max(STEPS, component.total_steps) - step)  # what is taught last is reached last
        reached |= subject.train(component, step, count).reached
        step += count
    missed = [
        names[id(p)][0] if id(p) in names else f"parameter {k} of shape {tuple(p.shape)}"
        for k, p in enumerate(optimized)
        if p.requires_grad and id(p) not in reached
    ]
    require(not missed, f"no gradient within {step} steps: {', '.join(missed[:8])}")


@check("train/loss-falls")
def train_loss_falls(subject: Subject) -> None:
    """A few steps on one batch lower the loss of that batch."""
    component = _trainable(subject)
    batch = component.batch(subject.data, 0)

    def loss() -> float:
        seed_globally(0)
        return float(component.training_step(copy.deepcopy(batch), 0)["loss"].detach())

    before = loss()
    subject.train(component, 0, STEPS, batch)
    after = loss()
    require(after < before, f"the loss was {before:.5g} and is {after:.5g} after {STEPS} steps")


@check("train/resume")
def train_resume(subject: Subject) -> None:
    """Stopped and resumed from `training_state` and the optimizers' states, training goes on the same."""
    straight = _trainable(subject)
    subject.train(straight, 0, RESUME_AT)
    saved = {name: tensor.detach().clone() for name, tensor in straight.training_state().items()}
    states = [copy.deepcopy(optimizer.state_dict()) for optimizer in straight.optimizers()]
    expected = subject.train(straight, RESUME_AT, 3).losses
    resumed = subject.fresh()
    resumed.load_training_state(saved)
    for optimizer, state in zip(resumed.optimizers(), states, strict=True):
        optimizer.load_state_dict(state)
    found = subject.train(resumed, RESUME_AT, 3).losses
    for step, (a, b) in enumerate(zip(expected, found, strict=True), RESUME_AT):
        require(abs(a - b) <= SAME * max(1e-3, abs(a)), f"the loss of step {step} is {b:.7g}, without a stop {a:.7g}")
    apart = _unlike(dict(straight.training_state()), dict(resumed.training_state()))
    require(not apart, f"after the same steps, training_state differs in {apart}")


def _named(component: Any) -> Iterator[tuple[int, tuple[str, Tensor]]]:
    """The parameters of a component and of the modules it holds, by identity."""
    modules = {"": component} if isinstance(component, nn.Module) else {}
    for name, value in vars(component).items():
        if isinstance(value, nn.Module):
            modules[f"{name}."] = value
        elif isinstance(value, nn.Parameter):
            yield id(value), (name, value)
    for prefix, module in modules.items():
        for name, parameter in module.named_parameters():
            yield id(parameter), (prefix + name, parameter)


def _unlike(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Names of the entries that differ."""
    if set(first) != set(second):
        return ", ".join(sorted(set(first) ^ set(second)))
    return ", ".join(name for name in sorted(first) if not _alike(first[name], second[name]))


def _alike(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.shape != b.shape:
            return False
        return torch.allclose(a.double(), b.double(), rtol=SAME, atol=1e-6) if a.numel() else True
    if dataclasses.is_dataclass(a) and type(a) is type(b):
        return all(_alike(getattr(a, field.name), getattr(b, field.name)) for field in dataclasses.fields(a))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return not _unlike(a, b)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(_alike, a, b))
    try:
        return bool(a == b)
    except (ValueError, RuntimeError):
        return bool((a == b).all())
