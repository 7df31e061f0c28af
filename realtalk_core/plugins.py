"""Discovery: which plugins are installed, what they declare, and why the others were left out.

The result is data, handed around; there is no global registry, and a broken plugin never breaks the host.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

import pluggy

from realtalk_core import hookspecs
from realtalk_core.errors import UserError, did_you_mean
from realtalk_core.spec import STAGE_API, ComponentSpec, Stage

FailureKind = Literal[
    "missing package", "broken", "misspelt hook", "wrong api", "bad declaration", "name clash", "disabled"
]
HEAVY = ("torch", "numpy", "scipy", "cv2", "numba", "librosa", "av", "mediapipe", "onnxruntime", "matplotlib")
"""Packages that a declaring module must not import: each costs every command, `realtalk --help` too, up to seconds."""


@dataclass(frozen=True, slots=True)
class PluginFailure:
    """A plugin that was left out.

    Attributes:
        name: Its entry-point name.
        reason: What happened, with the cure where there is one.
        kind: The family of the reason.
        distribution: The package it came with, such as `realtalk-mesh 0.1`.
    """

    name: str
    reason: str
    kind: FailureKind
    distribution: str = ""


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """A plugin that was registered.

    Attributes:
        name: Its entry-point name.
        module: The module that declares it.
        distribution: The package it came with, such as `realtalk 0.1.0`.
        components: What it declared.
        heavy: Heavy packages that importing the declaring module pulled in; empty where the plugin keeps the rule, and
            where they had been imported before it.
    """

    name: str
    module: str
    distribution: str
    components: tuple[ComponentSpec, ...]
    heavy: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plugins:
    """Everything discovery found.

    Attributes:
        specs: Components of all registered plugins, in order of plugin name.
        failures: Plugins that were left out, each with its reason.
        loaded: The registered plugins.
        manager: The pluggy manager, for the observing hooks.
    """

    specs: tuple[ComponentSpec, ...]
    failures: tuple[PluginFailure, ...]
    loaded: tuple[PluginInfo, ...]
    manager: pluggy.PluginManager

    def of(self, stage: Stage) -> tuple[ComponentSpec, ...]:
        """The components that can fill a stage."""
        return tuple(spec for spec in self.specs if spec.stage == stage)

    def find(self, stage: Stage, name: str) -> ComponentSpec:
        """A component by `name` or `plugin:name`.

        Raises:
            UserError: unknown (with the nearest known name, and the reason if its plugin was left out), or offered by
                two plugins and named without one.
        """
        candidates = self.of(stage)
        plugin, colon, short = name.rpartition(":")
        found = [s for s in candidates if s.name == short and (not colon or s.plugin == plugin)]
        if len(found) == 1:
            return found[0]
        if found:
            names = " or ".join(s.qualified for s in found)
            raise UserError(
                f"{stage} {name!r} is offered by {len(found)} plugins", f"Name one of them in full: {names}."
            )
        out = next((f for f in self.failures if f.name in (short, plugin)), None)
        cure = f"The plugin {out.name!r} was left out: {out.reason}." if out else None
        elsewhere = next((s.stage for s in self.specs if s.name == name), None)
        known = sorted({s.name if not self._clashes(s) else s.qualified for s in candidates})
        what = f"{name!r} is no {stage} but fills the stage {elsewhere}" if elsewhere else f"unknown {stage} {name!r}"
        raise UserError(f"{what}{did_you_mean(name, known)}", cure)

    def _clashes(self, spec: ComponentSpec) -> bool:
        return sum(other.name == spec.name for other in self.of(spec.stage)) > 1


def discover(disabled: Collection[str] = (), only: Collection[str] | None = None) -> Plugins:
    """Finds, loads and checks every plugin of the entry-point group `realtalk`.

    Args:
        disabled: Entry-point names to leave out.
        only: If given, the only names to load; defaults to the comma-separated list in `REALTALK_PLUGINS`.
    """
    if only is None and (listed := os.environ.get("REALTALK_PLUGINS", "").strip()):
        only = {name.strip() for name in listed.split(",") if name.strip()}
    return discover_from(entry_points(group=hookspecs.PROJECT), disabled, only)


def discover_from(
    points: Iterable[EntryPoint], disabled: Collection[str] = (), only: Collection[str] | None = None
) -> Plugins:
    """`discover` over given entry points; tests and embedding programs use it."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    failures: list[PluginFailure] = []
    loaded: list[PluginInfo] = []
    wanted: list[EntryPoint] = []
    for point in sorted(points, key=lambda p: (p.name, p.value)):
        if point.name in disabled or (only is not None and point.name not in only):
            why = "disabled in the configuration" if point.name in disabled else "not listed in REALTALK_PLUGINS"
            failures.append(PluginFailure(point.name, why, "disabled", _distribution(point)))
        else:
            wanted.append(point)
    offers = Counter(point.name for point in wanted)
    for point in wanted:
        if offers[point.name] > 1:
            rivals = ", ".join(f"{_distribution(p) or p.value}" for p in wanted if p.name == point.name)
            why = f"several packages offer a plugin of this name ({rivals}): uninstall all but one"
            failures.append(PluginFailure(point.name, why, "name clash", _distribution(point)))
            continue
        before = {name for name in HEAVY if name in sys.modules}
        try:
            components = _load(manager, point)
        except _RefusedError as refusal:
            if manager.has_plugin(point.name):
                manager.unregister(name=point.name)
            failures.append(PluginFailure(point.name, refusal.reason, refusal.kind, _distribution(point)))
            continue
        heavy = tuple(name for name in HEAVY if name in sys.modules and name not in before)
        loaded.append(PluginInfo(point.name, point.module, _distribution(point), components, heavy))
    specs = tuple(spec for info in loaded for spec in info.components)
    return Plugins(specs, tuple(failures), tuple(loaded), manager)


class _RefusedError(Exception):
    def __init__(self, kind: FailureKind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


@contextlib.contextmanager
def _guarded(kind: FailureKind, doing: str) -> Iterator[None]:
    """Turns whatever a plugin's code does into a refusal: even `sys.exit()`; only Ctrl-C passes.

    What it prints goes to stderr, so that it cannot spoil the JSON a script is reading.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (_RefusedError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise _RefusedError(kind, f"{doing} failed: {_brief(error)}") from error


def _load(manager: pluggy.PluginManager, point: EntryPoint) -> tuple[ComponentSpec, ...]:
    with _guarded("broken", "importing it"):
        try:
            plugin = point.load()
        except ModuleNotFoundError as error:
            own = (error.name or "").partition(".")[0] == point.module.partition(".")[0]
            if own or error.name is None:
                raise
            raise _RefusedError(
                "missing package", f"it imports {error.name!r}, which is not installed; install what it depends on"
            ) from error
    with _guarded("broken", "registering it"):
        try:
            manager.register(plugin, name=point.name)
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise _RefusedError("misspelt hook", _hook_fault(error, plugin)) from error
    with _guarded("bad declaration", "declaring its components"):
        return _collect(manager, point.name, plugin)


def _hook_fault(error: pluggy.PluginValidationError, plugin: object) -> str:
    known = hook_names()
    for name in dir(plugin):
        if name.startswith("realtalk_") and name not in known and hasattr(getattr(plugin, name), "realtalk_impl"):
            return f"unknown hook {name!r}{did_you_mean(name, known)}"
    # a known hook with arguments it does not have
    return " ".join(str(error).replace("hook definition", "hook").split())


def hook_names() -> tuple[str, ...]:
    """Names of all hooks."""
    return tuple(sorted(name for name in vars(hookspecs) if name.startswith("realtalk_")))


def _collect(manager: pluggy.PluginManager, name: str, plugin: object) -> tuple[ComponentSpec, ...]:
    callers = manager.get_hookcallers(manager.get_plugin(name))
    if not callers:
        unmarked = [hook for hook in hook_names() if hasattr(plugin, hook)]
        cure = f"put @hookimpl on {unmarked[0]}" if unmarked else f"it can implement {', '.join(hook_names())}"
        raise _RefusedError("bad declaration", f"it implements no hook: {cure}")
    declared: list[ComponentSpec] = []
    for implementation in manager.hook.realtalk_components.get_hookimpls():
        if implementation.plugin_name != name:
            continue
        offered: Any = implementation.function()
        for spec in offered or ():
            if not isinstance(spec, ComponentSpec):
                raise _RefusedError(
                    "bad declaration",
                    f"realtalk_components gave {type(spec).__name__!r} instead of a ComponentSpec; "
                    "make them with realtalk_core.declare",
                )
            declared.append(replace(spec, plugin=name))
    for spec in declared:
        ours = STAGE_API[spec.stage]
        if spec.api != ours:
            cure = "update realtalk" if spec.api > ours else "update the plugin"
            raise _RefusedError(
                "wrong api",
                f"{spec.stage} {spec.name!r} is written for version {spec.api} of the stage; "
                f"this realtalk speaks {ours}: {cure}",
            )
    twice = Counter((spec.stage, spec.name) for spec in declared)
    clash = [f"{stage} {component!r}" for (stage, component), count in twice.items() if count > 1]
    if clash:
        raise _RefusedError("name clash", f"it declares {', '.join(clash)} more than once")
    return tuple(declared)


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else ""


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
