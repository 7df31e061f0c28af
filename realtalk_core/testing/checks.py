"""What a conformance check is: a stable id, the rule it holds a component to, and the function that tries it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from realtalk_core.spec import STAGES, Stage

if TYPE_CHECKING:
    from realtalk_core.testing.subject import Subject

RUNNABLE: tuple[Stage, ...] = ("audio", "landmarks", "emotion", "renderer", "tracker", "voice")
"""Stages whose components the kit knows how to run."""


class CheckFailure(Exception):  # noqa: N818  # a verdict, not an error
    """The component breaks the rule; the text says what was found."""


class CheckSkipped(Exception):  # noqa: N818
    """The rule does not apply to this component, or cannot be tried here; the text says why."""


@dataclass(frozen=True, slots=True)
class Check:
    """One rule of conformance.

    Attributes:
        id: Stable name such as `renderer/order`; what `ComponentSpec.expected_failures` refers to.
        rule: What every component must do, in one sentence.
        stages: The stages it applies to.
        run: Tries it; raises `CheckFailure` or `CheckSkipped`, returns otherwise.
    """

    id: str
    rule: str
    stages: tuple[Stage, ...]
    run: Callable[[Subject], None]


CheckFunction = Callable[["Subject"], None]
_CHECKS: dict[str, Check] = {}


def check(name: str, stages: tuple[Stage, ...] = STAGES) -> Callable[[CheckFunction], CheckFunction]:
    """Declares the decorated function as a check; the first line of its docstring is the rule."""

    def declare(run: CheckFunction) -> CheckFunction:
        if name in _CHECKS:
            raise ValueError(f"two checks are called {name!r}")
        _CHECKS[name] = Check(name, (run.__doc__ or "").splitlines()[0], stages, run)
        return run

    return declare


def all_checks() -> tuple[Check, ...]:
    """Every check, in the order in which they are tried: cheap ones first, training last."""
    from realtalk_core.testing import (  # noqa: F401  # importing declares them
        checks_declaration,
        checks_hearing,
        checks_output,
        checks_renderer,
        checks_stages,
        checks_tracker,
        checks_training,
        checks_voice,
    )

    return tuple(_CHECKS.values())


def require(condition: object, found: str) -> None:
    """Raises `CheckFailure(found)` unless the condition holds."""
    if not condition:
        raise CheckFailure(found)
