"""Discovery: which plugins are installed, what they declare, and why the others were left out.

The result is data, handed around; there is no global registry, and a broken plugin never breaks the host.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

import pluggy

from realtalk_core import hookspecs
from realtalk_core.errors import UserError, did_you_mean
from realtalk_core.spec import STAGE_API, ComponentSpec, Stage

FailureKind = Literal["missing package", "broken", "misspelt hook", "wrong api", "bad declaration", "disabled"]


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
    """A plugin that was registered."""

    name: str
    module: str
    distribution: str
    components: tuple[ComponentSpec, ...]


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
        cure = f"The plugin {out.name!r} was left out: {out.reason}" if out else None
        raise UserError(f"unknown {stage} {name!r}{did_you_mean(name, [s.name for s in candidates])}", cure)


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
    for point in sorted(points, key=lambda p: (p.name, p.value)):
        distribution = f"{point.dist.name} {point.dist.version}" if point.dist else ""
        if point.name in disabled or (only is not None and point.name not in only):
            why = "disabled in the configuration" if point.name in disabled else "not listed in REALTALK_PLUGINS"
            failures.append(PluginFailure(point.name, why, "disabled", distribution))
            continue
        outcome = _load(manager, point)
        if isinstance(outcome, PluginFailure):
            failures.append(replace(outcome, distribution=distribution))
        else:
            loaded.append(PluginInfo(point.name, point.module, distribution, outcome))
    specs = tuple(spec for info in loaded for spec in info.components)
    return Plugins(specs, tuple(failures), tuple(loaded), manager)


def _load(manager: pluggy.PluginManager, point: EntryPoint) -> tuple[ComponentSpec, ...] | PluginFailure:
    name = point.name
    if manager.has_plugin(name):
        return PluginFailure(name, "another package already offers a plugin of this name; uninstall one", "broken")
    try:
        module = point.load()
    except ModuleNotFoundError as error:
        return PluginFailure(name, f"it imports {error.name!r}, which is not installed", "missing package")
    except Exception as error:
        return PluginFailure(name, f"importing it failed: {_brief(error)}", "broken")
    try:
        manager.register(module, name=name)
        manager.check_pending()
        return _collect(name, module)
    except pluggy.PluginValidationError as error:
        _forget(manager, name)
        text = str(error)
        known = [hook for hook in vars(hookspecs) if hook.startswith("realtalk_")]
        wrong = next((word.strip("'") for word in text.split() if word.strip("'").startswith("realtalk_")), "")
        hint = did_you_mean(wrong, known) if wrong and wrong not in known else ""
        return PluginFailure(name, f"{text}{hint}", "misspelt hook")
    except _WrongApiError as error:
        _forget(manager, name)
        return PluginFailure(name, str(error), "wrong api")
    except Exception as error:
        _forget(manager, name)
        return PluginFailure(name, f"declaring its components failed: {_brief(error)}", "bad declaration")


class _WrongApiError(Exception):
    pass


def _forget(manager: pluggy.PluginManager, name: str) -> None:
    if manager.has_plugin(name):
        manager.unregister(name=name)


def _collect(name: str, module: Any) -> tuple[ComponentSpec, ...]:
    declare = getattr(module, "realtalk_components", None)
    if declare is None:
        return ()
    specs = tuple(replace(spec, plugin=name) for spec in declare())
    for spec in specs:
        ours = STAGE_API[spec.stage]
        if spec.api != ours:
            cure = "update realtalk" if spec.api > ours else "update the plugin"
            raise _WrongApiError(
                f"{spec.stage} {spec.name!r} is written for version {spec.api} of the stage; "
                f"this realtalk speaks {ours}: {cure}"
            )
    twice = Counter((spec.stage, spec.name) for spec in specs)
    clash = [f"{stage} {component!r}" for (stage, component), count in twice.items() if count > 1]
    if clash:
        raise ValueError(f"it declares {', '.join(clash)} more than once")
    return specs


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
