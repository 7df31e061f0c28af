"""Turning a declared component into an object: the only place where a plugin's heavy imports happen."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from realtalk_core.errors import MissingDependencyError, RealTalkError
from realtalk_core.spec import ComponentConfig, ComponentSpec

if TYPE_CHECKING:
    from torch import Tensor

    from realtalk_core.training.data import TrainingData


class PluginBugError(RealTalkError):
    """A plugin's own code failed while loading; the user cannot mend it, its author can."""


def load_class(spec: ComponentSpec) -> type[Any]:
    """The component's class.

    Raises:
        MissingDependencyError: if a package that `spec.requires` names is not installed, with the install line.
        PluginBugError: if loading fails for any other reason.
    """
    missing = [module for module in spec.requires if importlib.util.find_spec(module.partition(".")[0]) is None]
    if missing:
        requirement = spec.extra or " ".join(missing)
        raise MissingDependencyError(
            f"{spec.stage} {spec.name!r} needs {', '.join(missing)}, which is not installed",
            f'Install it with: pip install "{requirement}"',
        )
    try:
        return spec.load()
    except RealTalkError:
        raise
    except Exception as error:
        raise PluginBugError(
            f"plugin {spec.plugin!r} failed to load {spec.stage} {spec.name!r}: {type(error).__name__}: {error}"
        ) from error


def build(
    spec: ComponentSpec,
    config: ComponentConfig,
    *,
    tensors: Mapping[str, Tensor] | None = None,
    data: TrainingData | None = None,
) -> Any:
    """Builds a component: from its weights, or fresh for training on `data`, or from its configuration alone.

    A component without weights is always `cls(config)`; one that is Stateful needs `tensors` or `data`.
    """
    cls = load_class(spec)
    if tensors is not None and hasattr(cls, "from_state"):
        return cls.from_state(config, tensors)
    if data is not None and hasattr(cls, "for_training"):
        return cls.for_training(config, data)
    return cls(config)
