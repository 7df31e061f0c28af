"""From documents to assignments: what each layer sets, checked against the shape of a registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from realtalk_core.config.reader import Document, Mark, Path, dotted, parse_set
from realtalk_core.errors import Problem, did_you_mean
from realtalk_core.spec import PIPELINE_STAGES, Stage

VERSION = 1
BESIDE: tuple[Stage, ...] = ("tracker", "voice")
"""Stages beside the pipeline: a registry's own keys."""
SELECTED_STAGES: tuple[Stage, ...] = (*PIPELINE_STAGES, *BESIDE)
_TOP = ("version", "plugins", "fps", "pipeline", *BESIDE, "motion", "presets")
_LAYER = ("fps", "pipeline", *BESIDE, "motion")


@dataclass(frozen=True, slots=True)
class Value:
    """One assigned value, where it was written, and whether YAML made a boolean out of a word there.

    `base` is the folder that relative paths in it start from; None leaves them as they are.
    """

    value: Any
    path: Path
    mark: Mark
    base: FilePath | None = None
    word: str | None = None

    def problem(self, message: str) -> Problem:
        """A problem at this value's place."""
        return Problem(message, dotted(self.path), *self.mark)


@dataclass(slots=True)
class StageLayer:
    """What one layer says about one stage."""

    use: Value | None = None
    when: Value | None = None
    params: dict[str, Value] = field(default_factory=dict)


@dataclass(slots=True)
class Layer:
    """What one layer says."""

    fps: Value | None = None
    stages: dict[Stage, tuple[StageLayer, ...]] = field(default_factory=dict)
    motion: dict[str, Value] = field(default_factory=dict)


@dataclass(slots=True)
class Registry:
    """One registry file, taken apart."""

    layer: Layer = field(default_factory=Layer)
    presets: dict[str, Layer] = field(default_factory=dict)
    disabled: tuple[str, ...] = ()
    required: tuple[Value, ...] = ()


def read_registry(document: Document, base: FilePath | None) -> Registry:
    """Takes a document apart; problems are added to the document's."""
    registry, reader = Registry(), _Reader(document, base)
    data = document.data
    if document.problems and data is None:
        return registry
    if not isinstance(data, dict):
        reader.fault((), "a registry is a mapping; it starts with: version: 1")
        return registry
    version = data.get("version")
    if "version" not in data:
        reader.fault((), f"no version; write: version: {VERSION}")
    elif not isinstance(version, int) or isinstance(version, bool) or version < 1:
        reader.fault(("version",), f"must be a whole number such as {VERSION}, got {version!r}")
    elif version > VERSION:
        reader.fault(("version",), f"{version} is newer than this realtalk reads ({VERSION}); update realtalk")
        document.problems[:-1] = []  # the rest may be right by rules that are not known here
        return registry
    reader.known_keys(data, (), _TOP)
    plugins = reader.mapping(data, (), "plugins", ("disabled", "required"))
    registry.disabled = tuple(str(v.value) for v in reader.names(plugins, ("plugins",), "disabled"))
    registry.required = tuple(reader.names(plugins, ("plugins",), "required"))
    registry.layer = reader.layer({k: v for k, v in data.items() if k in _LAYER}, ())
    presets = data.get("presets")
    if isinstance(presets, dict):
        for name, body in presets.items():
            path = ("presets", name)
            if not isinstance(body, dict):
                reader.fault(path, "a preset is a mapping with the same keys as the file: " + ", ".join(_LAYER))
                continue
            reader.known_keys(body, path, _LAYER)
            registry.presets[name] = reader.layer(body, path)
    elif presets is not None:
        reader.fault(("presets",), "must be a mapping of preset names")
    return registry


@dataclass(slots=True)
class _Reader:
    document: Document
    base: FilePath | None

    def fault(self, path: Path, message: str) -> None:
        self.document.problems.append(self.document.problem(path, message))

    def known_keys(self, data: Mapping[str, Any], path: Path, known: tuple[str, ...]) -> None:
        for key in data:
            if key not in known:
                self.fault((*path, key), f"unknown key{did_you_mean(str(key), known)}")

    def mapping(self, data: Mapping[str, Any], path: Path, key: str, known: tuple[str, ...] | None) -> dict[str, Any]:
        value = data.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.fault((*path, key), f"must be a mapping, got {_kind(value)}")
            return {}
        if known is not None:
            self.known_keys(value, (*path, key), known)
        return value

    def value(self, value: Any, path: Path) -> Value:
        return Value(value, path, self.document.mark(path), self.base, self.document.words.get(path))

    def names(self, data: Mapping[str, Any], path: Path, key: str) -> list[Value]:
        items = data.get(key)
        if items is None:
            return []
        if not isinstance(items, list):
            self.fault((*path, key), f"must be a list of plugin names, got {_kind(items)}")
            return []
        values = [self.value(item, (*path, key, i)) for i, item in enumerate(items)]
        for value in values:
            if not isinstance(value.value, str):
                self.fault(value.path, f"must be a plugin name, got {_kind(value.value)}{word_hint(value)}")
        return [value for value in values if isinstance(value.value, str)]

    def layer(self, data: Mapping[str, Any], path: Path) -> Layer:
        layer = Layer()
        if "fps" in data:
            layer.fps = self.value(data["fps"], (*path, "fps"))
        stages = self.mapping(data, path, "pipeline", PIPELINE_STAGES)
        for stage in PIPELINE_STAGES:
            if stage in stages:
                layer.stages[stage] = self.stages(stages[stage], (*path, "pipeline", stage))
        for stage in BESIDE:
            if stage in data:
                layer.stages[stage] = self.stages(data[stage], (*path, stage))
        for key, value in self.mapping(data, path, "motion", None).items():
            layer.motion[key] = self.value(value, (*path, "motion", key))
        return layer

    def stages(self, data: Any, path: Path) -> tuple[StageLayer, ...]:
        """What a layer says about one stage; a preset may say it for several components, in a list."""
        if not isinstance(data, list) or path[0] != "presets":
            return (self.stage(data, path),)
        parts = tuple(self.stage(item, (*path, i)) for i, item in enumerate(data))
        for i, (item, part) in enumerate(zip(data, parts, strict=True)):
            if isinstance(item, dict) and (part.when is None or part.use is not None):
                self.fault(
                    (*path, i), "in a list, each entry names the component it is meant for: {when: NAME, params}"
                )
        return parts

    def stage(self, data: Any, path: Path) -> StageLayer:
        stage = StageLayer()
        if not isinstance(data, dict):
            self.fault(path, f"must be a mapping such as {{use: NAME}}, got {_kind(data)}")
            return stage
        self.known_keys(data, path, ("use", "params", "when") if path[0] == "presets" else ("use", "params"))
        for key in ("use", "when"):
            if key in data:
                value = self.value(data[key], (*path, key))
                if isinstance(value.value, str):
                    setattr(stage, key, value)
                else:
                    self.fault(
                        value.path, f"must be the name of a component, got {_kind(value.value)}{word_hint(value)}"
                    )
        for name, value in self.mapping(data, path, "params", None).items():
            stage.params[name] = self.value(value, (*path, "params", name))
        return stage


def read_sets(sets: tuple[str, ...]) -> tuple[list[Layer], list[Problem]]:
    """One layer for each `--set`, in order; its relative paths are those of the current folder."""
    layers: list[Layer] = []
    problems: list[Problem] = []
    heads = (*SELECTED_STAGES, "motion", "fps")
    for text in sets:
        parsed = parse_set(text)
        if isinstance(parsed, Problem):
            problems.append(parsed)
            continue
        path, data = _shortened(parsed[0]), parsed[1]
        value = Value(data, path, ("--set", 0, 0), FilePath.cwd())
        layer, head = Layer(), str(path[0])
        if head not in heads:
            problems.append(value.problem(f"unknown key{did_you_mean(head, heads)}"))
        elif head == "fps" and len(path) == 1:
            layer.fps = value
        elif head == "motion" and len(path) == 2:
            layer.motion[str(path[1])] = value
        elif head in SELECTED_STAGES and len(path) == 1:
            if isinstance(data, str):
                layer.stages[head] = (StageLayer(use=value),)
            else:
                problems.append(value.problem(f"must be the name of a component, got {_kind(data)}"))
        elif head in SELECTED_STAGES and len(path) == 2:
            layer.stages[head] = (StageLayer(params={str(path[1]): value}),)
        else:
            problems.append(value.problem("write STAGE=NAME, STAGE.PARAM=VALUE, motion.PARAM=VALUE or fps=NUMBER"))
        layers.append(layer)
    return layers, problems


def _shortened(path: Path) -> Path:
    """`pipeline.renderer.params.steps`, as error messages have it, means `renderer.steps`."""
    if path[0] == "pipeline" and len(path) > 1:
        path = path[1:2] if path[2:] == ("use",) else path[1:]
    return (path[0], path[2]) if len(path) == 3 and path[1] == "params" else path


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true/false", int: "a number", float: "a number"}
    return "nothing" if value is None else names.get(type(value), type(value).__name__)


def word_hint(value: Value) -> str:
    """Tail of an error where YAML turned a word such as `no` into a boolean."""
    return f" - YAML reads {value.word} as {str(value.value).lower()}; quote it: '{value.word}'" if value.word else ""
