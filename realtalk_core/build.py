"""Turning a declared component into an object: the only place where a plugin's heavy imports happen."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from realtalk_core.errors import MissingDependencyError, RealTalkError, UserError
from realtalk_core.spec import ComponentConfig, ComponentSpec, Stage

if TYPE_CHECKING:
    from torch import Tensor

    from realtalk_core.training.data import TrainingData


class PluginBugError(RealTalkError):
    """A plugin's own code is wrong; the user cannot mend it, its author can."""


METHOD: dict[Stage, str] = {
    "audio": "encode", "landmarks": "generate", "emotion": "deform", "renderer": "render", "tracker": "track",
    "voice": "speak", "face_generator": "edit",
}  # fmt: skip
"""The method that each stage's protocol asks for."""


def load_class(spec: ComponentSpec) -> type[Any]:
    """The component's class.

    Raises:
        MissingDependencyError: if a package it needs is not installed, with the install line.
        PluginBugError: if loading fails for any other reason, or gives something that is no such component.
    """
    missing = [module for module in spec.requires if not _importable(module)]
    if missing:
        raise _missing(spec, missing)
    try:
        cls = spec.load()
    except RealTalkError:
        raise
    except ModuleNotFoundError as error:
        top = (error.name or "").partition(".")[0]
        if not top or top in (_package(spec), "realtalk_core") or _importable(top):
            raise _bug(spec, f"failed to load: {error}") from error
        raise _missing(spec, [top]) from error
    except Exception as error:
        raise _bug(spec, f"failed to load: {type(error).__name__}: {error}") from error
    method = METHOD.get(spec.stage)
    if not isinstance(cls, type) or (method and not callable(getattr(cls, method, None))):
        wanted = f"a class with a method {method!r}" if method else "a class"
        raise _bug(spec, f"its load() must return {wanted}, but gave {getattr(cls, '__name__', cls)!r}")
    return cls


def build(
    spec: ComponentSpec,
    config: ComponentConfig,
    *,
    tensors: Mapping[str, Tensor] | None = None,
    data: TrainingData | None = None,
) -> Any:
    """Builds a component: from its weights, or fresh for training on `data`, or from its configuration alone.

    Raises:
        UserError: if the component has weights and neither `tensors` nor `data` are given.
        MissingDependencyError, PluginBugError: see `load_class`.
    """
    cls = load_class(spec)
    if hasattr(cls, "from_state"):
        if tensors is not None:
            return cls.from_state(config, tensors)
        if data is None:
            raise UserError(
                f"{spec.stage} {spec.name!r} has weights to learn and cannot start without them",
                "Train it on a capture first: realtalk train CAPTURE -o AVATAR",
            )
    if data is not None and hasattr(cls, "for_training"):
        return cls.for_training(config, data)
    return cls(config)


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module.partition(".")[0]) is not None
    except ValueError:  # a module without __spec__ that is already imported
        return True


def _package(spec: ComponentSpec) -> str:
    return str(getattr(spec.load, "__module__", "")).partition(".")[0]


def _missing(spec: ComponentSpec, modules: list[str]) -> MissingDependencyError:
    return MissingDependencyError(
        f"{spec.stage} {spec.name!r} needs {', '.join(modules)}, which is not installed",
        f'Install it with: pip install "{spec.extra or " ".join(modules)}"',
    )


def _bug(spec: ComponentSpec, what: str) -> PluginBugError:
    return PluginBugError(f"plugin {spec.plugin!r}: {spec.stage} {spec.name!r}: {what}")
