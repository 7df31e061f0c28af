"""Components made small for tests, those with outside weights with tiny random ones."""

from __future__ import annotations

import atexit
import tempfile
from pathlib import Path

from realtalk_core.build import load_class
from realtalk_core.spec import ComponentConfig, ComponentSpec


def tiny_config_of(spec: ComponentSpec, folder: Path) -> ComponentConfig:
    """The smallest configuration that a component can be built from.

    A class whose weights come from outside has `tiny_weights(config, folder)`, a classmethod that writes a random model
    of a few thousand numbers as the real one lies in its folder, and gives the configuration that reads it from there.

    Args:
        spec: The component.
        folder: An empty folder for tiny weights; nothing is written where the class has no `tiny_weights`.

    Raises:
        MissingDependencyError, PluginBugError: see `build.load_class`.
    """
    config = spec.config.tiny()
    make = getattr(load_class(spec), "tiny_weights", None)
    if make is None:
        return config
    made: ComponentConfig = make(config, folder)
    return made


def scratch(name: str) -> Path:
    """An empty folder that is there until the process ends."""
    folder = tempfile.TemporaryDirectory(prefix=f"realtalk-conformance-{name}-")
    atexit.register(folder.cleanup)
    return Path(folder.name)
