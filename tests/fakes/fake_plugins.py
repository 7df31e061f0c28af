"""Plugins made of thin air, for tests of the framework: their texts never change, whatever the real ones become."""

from __future__ import annotations

import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from realtalk_core import declare
from realtalk_core.hookspecs import hookimpl
from realtalk_core.plugins import Plugins, discover_from
from realtalk_core.spec import ComponentConfig, NoConfig


class EarConfig(ComponentConfig):
    bands: int = Field(32, ge=8, le=128)
    """Bands to listen to."""
    pitch: bool = True
    """Whether to listen for pitch."""
    accent: str = "none"
    """An accent."""


class MouthConfig(ComponentConfig):
    temperature: float = Field(0.2, ge=0.0, le=2.0)
    """Spread of the motion."""
    scheme: Literal["dense", "sparse"] = "dense"
    """Landmarks to give."""
    weights: Path | None = None
    """A file of weights."""
    shift: tuple[float, float] = (0.0, 0.0)
    """Shift in x and y."""


class BrushConfig(ComponentConfig):
    steps: int = Field(100, ge=1)
    """Training steps."""
    first: int = Field(10, ge=1)
    """Steps before the rest."""

    @model_validator(mode="after")
    def ordered(self) -> BrushConfig:
        if self.first > self.steps:
            raise ValueError("first must not exceed steps")
        return self


class LarynxConfig(ComponentConfig):
    voice: str = "tenor"
    """Whose voice."""
    pitch: int = Field(0, ge=-12, le=12)
    """Half tones up."""


def _no_load() -> type:
    raise AssertionError("a check of the configuration loads nothing")


def _declared(stage, name, config=NoConfig, **options):
    return declare.component(stage, name, summary=f"A {name}.", api=1, config=config, load=_no_load, **options)


def _mouth_gives(config: MouthConfig) -> frozenset[str]:
    return frozenset({"landmarks:68"} if config.scheme == "sparse" else {"landmarks:68", "landmarks:478"})


SPECS = {
    "senses": [
        _declared("audio", "ear", EarConfig),
        _declared("tracker", "eye", gives=frozenset({"landmarks:68", "landmarks:478", "blendshapes:52"})),
        _declared("tracker", "squint", gives=frozenset({"landmarks:68"})),
        _declared("voice", "larynx", LarynxConfig),
    ],
    "face": [
        _declared("landmarks", "mouth", MouthConfig, gives=_mouth_gives, needs=frozenset({"landmarks:68"})),
        _declared("emotion", "mood", needs=frozenset({"emotion:va"})),
        _declared("renderer", "brush", BrushConfig, needs=frozenset({"landmarks:68"})),
        _declared("renderer", "pencil", needs=frozenset({"landmarks:478", "blendshapes:52"})),
    ],
    "rival_a": [_declared("renderer", "double")],
    "rival_b": [_declared("renderer", "double")],
}


def plugins(*names: str, disabled: tuple[str, ...] = ()) -> Plugins:
    """What discovery finds with these plugins installed (all of `SPECS` if none is named)."""
    points = []
    for name in names or SPECS:
        module = types.ModuleType(f"fake_{name}")
        module.realtalk_components = hookimpl(lambda name=name: SPECS[name])
        sys.modules[module.__name__] = module
        points.append(EntryPoint(name, module.__name__, "realtalk"))
    return discover_from(points, disabled=disabled)
