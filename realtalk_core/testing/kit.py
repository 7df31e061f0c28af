"""Runs the checks: as a pytest test, or as a report for `realtalk conform`."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from realtalk_core.errors import UserError, did_you_mean
from realtalk_core.plugins import Plugins, discover
from realtalk_core.spec import STAGES, ComponentSpec
from realtalk_core.testing.checks import Check, CheckFailure, CheckSkipped, all_checks
from realtalk_core.testing.subject import Subject

Outcome = Literal["passed", "failed", "expected", "skipped"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What came of one check on one component.

    Attributes:
        component: `stage/name`.
        id: The check.
        rule: What it holds components to.
        outcome: `expected` is a failure that the component declares in `expected_failures`.
        detail: What was found, or why it was skipped; empty if it passed.
        seconds: How long it took.
    """

    component: str
    id: str
    rule: str
    outcome: Outcome
    detail: str
    seconds: float

    @property
    def message(self) -> str:
        """The id, the rule and what was found."""
        return f"{self.component}: {self.id}: {self.outcome}\n  rule:  {self.rule}\n  found: {self.detail}"


@dataclass(frozen=True, slots=True)
class ConformanceReport:
    """All results of one run."""

    results: tuple[CheckResult, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed that was not expected to."""
        return all(result.outcome != "failed" for result in self.results)

    def count(self, outcome: Outcome) -> int:
        """How many checks came out so."""
        return sum(result.outcome == outcome for result in self.results)

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {"ok": self.ok, "results": [asdict(result) for result in self.results]}


@dataclass(frozen=True)
class Case:
    """One check on one component."""

    subject: Subject
    check: Check

    @property
    def component(self) -> str:
        """`stage/name`."""
        return f"{self.subject.spec.stage}/{self.subject.spec.name}"

    def run(self) -> CheckResult:
        """Tries it; never raises, except for Ctrl-C."""
        began = time.perf_counter()
        outcome, detail = self._try()
        reason = self.subject.spec.expected_failures.get(self.check.id)
        if reason is not None and outcome == "failed":
            outcome, detail = "expected", f"{reason} ({detail})"
        elif reason is not None and outcome == "passed":
            outcome = "failed"
            detail = f"it passes, but expected_failures says {reason!r}; remove that entry"
        return CheckResult(self.component, self.check.id, self.check.rule, outcome, detail, time.perf_counter() - began)

    def _try(self) -> tuple[Outcome, str]:
        try:
            self.check.run(self.subject)
        except CheckSkipped as skipped:
            return "skipped", str(skipped)
        except CheckFailure as failure:
            return "failed", str(failure)
        except Exception as error:
            return "failed", _place(error)
        return "passed", ""


def _place(error: Exception) -> str:
    """An unexpected error with the innermost line outside this kit."""
    here = str(Path(__file__).parent)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(here)]
    where = f" at {frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


def select(name: str, plugins: Plugins) -> tuple[ComponentSpec, ...]:
    """The components a name stands for: a plugin's, or else those called so, or the one that `stage/component` names.

    Raises:
        UserError: if there is none, with the reason why a plugin failed to load, or the nearest name.
    """
    if "/" in name:
        stage, _, component = name.partition("/")
        if stage not in STAGES:
            raise UserError(f"{name!r}: no stage is called {stage!r}{did_you_mean(stage, STAGES)}")
        return (plugins.find(stage, component),)
    found = tuple(spec for spec in plugins.specs if spec.plugin == name)
    found = found or tuple(spec for spec in plugins.specs if spec.name == name)
    if found:
        return found
    for failure in plugins.failures:
        if failure.name == name:
            raise UserError(f"the plugin {name!r} could not be loaded: {failure.reason}", "See: realtalk plugins")
    known = {spec.plugin for spec in plugins.specs} | {spec.name for spec in plugins.specs}
    raise UserError(
        f"no plugin is called {name!r}{did_you_mean(name, known)}",
        "Name a plugin, a component, or stage/component. See: realtalk plugins",
    )


def cases(name: str, plugins: Plugins | None = None) -> Iterator[Case]:
    """Every check that applies to a plugin's components."""
    plugins = discover() if plugins is None else plugins
    for spec in select(name, plugins):
        subject = Subject(spec, plugins)
        for check in all_checks():
            if spec.stage in check.stages:
                yield Case(subject, check)


def run_conformance(
    name: str, plugins: Plugins | None = None, *, on_result: Callable[[CheckResult], None] | None = None
) -> ConformanceReport:
    """Runs every check.

    Args:
        name: A plugin, a component, or `stage/component`.
        plugins: What was discovered; discovers if not given.
        on_result: Called after each check, for showing progress.

    Raises:
        UserError: if the name stands for nothing.
    """
    results = []
    for case in cases(name, plugins):
        result = case.run()
        results.append(result)
        if on_result is not None:
            on_result(result)
    return ConformanceReport(tuple(results))


def conformance(name: str, plugins: Plugins | None = None) -> Callable[..., None]:
    """A pytest test of a plugin, parametrized over components and checks.

    In a plugin's test file::

        from realtalk_core.testing import conformance

        test_conformance = conformance("my_plugin")

    A check that the component declares in `expected_failures` is reported as an expected failure; if it passes after
    all, that is a failure.
    """
    import pytest

    try:
        found = list(cases(name, plugins))
    except UserError as error:
        problem = str(error)

        def test_plugin_is_found() -> None:
            pytest.fail(problem, pytrace=False)

        return test_plugin_is_found

    @pytest.mark.parametrize("case", [pytest.param(case, id=f"{case.component}-{case.check.id}") for case in found])
    def test_conformance(case: Case) -> None:
        result = case.run()
        if result.outcome == "skipped":
            pytest.skip(f"{result.id}: {result.detail}")
        if result.outcome == "expected":
            pytest.xfail(f"{result.id}: {result.detail}")
        if result.outcome == "failed":
            pytest.fail(result.message, pytrace=False)

    return test_conformance
