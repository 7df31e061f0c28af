"""Layers to one checked configuration: every problem found is reported, and nothing heavy is imported."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from realtalk_core.config.layers import (
    SELECTED_STAGES,
    VERSION,
    Layer,
    Registry,
    Value,
    read_registry,
    read_sets,
    word_hint,
)
from realtalk_core.config.motion import MotionConfig
from realtalk_core.config.reader import Document, read_yaml
from realtalk_core.errors import ConfigError, Problem, UserError, did_you_mean
from realtalk_core.plugins import Plugins, discover
from realtalk_core.spec import ComponentConfig, ComponentSpec, Stage

DEFAULT_FPS = 25.0
ENV_CONFIG = "REALTALK_CONFIG"
C = TypeVar("C", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Selected:
    """The component that fills a stage, and its checked parameters."""

    spec: ComponentSpec
    config: ComponentConfig


@dataclass(frozen=True, slots=True)
class Config:
    """A complete, checked configuration.

    Attributes:
        fps: Video frames per second.
        stages: What fills audio, landmarks, emotion, renderer and tracker.
        motion: What happens between emotion and renderer.
        plugins: The plugins it was resolved against.
        source: The registry file it came from.
        preset: The preset that was applied.
    """

    fps: float
    stages: Mapping[Stage, Selected]
    motion: MotionConfig
    plugins: Plugins
    source: str = ""
    preset: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The filled configuration as plain data, in the shape of a registry."""

        def part(stage: Stage) -> dict[str, Any]:
            chosen = self.stages[stage]
            alone = len([s for s in self.plugins.of(stage) if s.name == chosen.spec.name]) <= 1
            name = chosen.spec.name if alone else chosen.spec.qualified
            return {"use": name, "params": chosen.config.model_dump(mode="json")}

        return {
            "version": VERSION,
            "fps": self.fps,
            "pipeline": {stage: part(stage) for stage in SELECTED_STAGES if stage != "tracker"},
            "tracker": part("tracker"),
            "motion": self.motion.model_dump(mode="json"),
        }

    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], plugins: Plugins, *, source: str = "avatar.yaml", sets: Sequence[str] = ()
    ) -> Config:
        """Checks a filled configuration, such as an avatar's, with `--set` on top.

        Raises:
            ConfigError: with every problem.
        """
        document = Document(dict(data), {(): (source, 0, 0)})
        registry = read_registry(document, None)
        return _resolve([registry.layer], registry.required, None, tuple(sets), plugins, document.problems, source)


def default_registry() -> FilePath:
    """The registry that ships with RealTalk: inside the package, or at the root of a source checkout."""
    package = FilePath(__file__).resolve().parent.parent
    inside = package / "registry.yaml"
    return inside if inside.is_file() else package.parent / "registry.yaml"


def load_config(
    file: FilePath | None = None,
    *,
    preset: str | None = None,
    sets: Sequence[str] = (),
    plugins: Plugins | None = None,
) -> Config:
    """Reads the configuration: component defaults < shipped registry < `file` < preset < `--set`.

    Args:
        file: A registry; default the one named by `REALTALK_CONFIG`, or the shipped one alone.
        preset: A preset of `file` or of the shipped registry.
        sets: `stage=name`, `stage.param=value`, `motion.param=value`, `fps=value`.
        plugins: What is installed; discovered if not given.

    Raises:
        ConfigError: with every problem, each as `file:line:column: path: message`.
    """
    if file is None and (named := os.environ.get(ENV_CONFIG)):
        file = FilePath(named)
    problems: list[Problem] = []
    registries = [_read(default_registry(), problems)]
    if file is not None and file.resolve() != default_registry().resolve():
        registries.append(_read(file, problems))
    disabled = {name for registry in registries for name in registry.disabled}
    found = plugins if plugins is not None else discover(disabled)
    layers = [registry.layer for registry in registries]
    if preset is not None:
        known = [name for registry in registries for name in registry.presets]
        if preset not in known:
            problems.append(Problem(f"unknown preset {preset!r}{did_you_mean(preset, set(known))}", source="--preset"))
        layers += [registry.presets[preset] for registry in registries if preset in registry.presets]
    required = tuple(value for registry in registries for value in registry.required)
    source = str(file or default_registry())
    return _resolve(layers, required, preset, tuple(sets), found, problems, source)


def _read(file: FilePath, problems: list[Problem]) -> Registry:
    try:
        text = file.read_bytes()
    except IsADirectoryError:
        raise UserError(f"{file} is a folder, not a registry file", "Name the file: -c FOLDER/registry.yaml") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}", "Check the path given to -c/--config.") from error
    document = read_yaml(text, str(file))
    registry = read_registry(document, file.resolve().parent)
    problems += document.problems
    return registry


def _resolve(
    layers: Sequence[Layer],
    required: Sequence[Value],
    preset: str | None,
    sets: tuple[str, ...],
    plugins: Plugins,
    problems: list[Problem],
    source: str,
) -> Config:
    set_layers, set_problems = read_sets(sets)
    problems += set_problems
    everything = [*layers, *set_layers]
    reasons = {f.name: f.reason for f in plugins.failures}
    for value in required:
        if value.value not in {info.name for info in plugins.loaded}:
            why = f": {reasons[value.value]}" if value.value in reasons else "; install it"
            problems.append(value.problem(f"the required plugin {value.value!r} is not available{why}"))
    stages: dict[Stage, Selected] = {}
    for stage in SELECTED_STAGES:
        chosen = _stage(stage, everything, plugins, problems)
        if chosen is not None:
            stages[stage] = chosen
    motion_values = {name: value for layer in everything for name, value in layer.motion.items()}
    motion = _validate(MotionConfig, motion_values, problems)
    fps = DEFAULT_FPS
    for layer in everything:
        if layer.fps is not None:
            fps = _fps(layer.fps, problems) or fps
    if not problems:
        problems += _match(stages)
    if problems:
        raise ConfigError(sorted(problems, key=lambda p: (p.source, p.line, p.column)))
    assert motion is not None
    return Config(fps, MappingProxyType(stages), motion, plugins, source, preset)


def _fps(value: Value, problems: list[Problem]) -> float | None:
    number = value.value
    if isinstance(number, bool) or not isinstance(number, int | float) or not 1 <= number <= 240:
        problems.append(value.problem(f"must be a number from 1 to 240, got {number!r}{word_hint(value)}"))
        return None
    return float(number)


@dataclass(slots=True)
class _Choice:
    spec: ComponentSpec | None = None
    asked: bool = False
    params: dict[str, Value] = field(default_factory=dict)


def _stage(stage: Stage, layers: Sequence[Layer], plugins: Plugins, problems: list[Problem]) -> Selected | None:
    choice = _Choice()
    for layer in layers:
        part = layer.stages.get(stage)
        if part is None:
            continue
        if part.use is not None:
            choice.asked = True
            try:
                spec = plugins.find(stage, part.use.value)
            except UserError as error:
                problems.append(part.use.problem(" - ".join(filter(None, (error.message, error.cure)))))
                choice.spec, choice.params = None, {}
                continue
            if choice.spec is None or spec.qualified != choice.spec.qualified:
                choice.spec, choice.params = spec, {}
        applies = part.when is None or (choice.spec and part.when.value in (choice.spec.name, choice.spec.qualified))
        if applies:
            choice.params |= part.params
    if choice.spec is None:
        if not choice.asked:
            names = ", ".join(s.name for s in plugins.of(stage)) or "none is installed"
            problems.append(Problem(f"nothing fills the stage {stage}; choose one: {names}", stage))
        return None
    config = _validate(choice.spec.config, choice.params, problems, owner=f"{stage} {choice.spec.name!r}")
    return None if config is None else Selected(choice.spec, config)


def _validate(model: type[C], values: Mapping[str, Value], problems: list[Problem], owner: str = "motion") -> C | None:
    before = len(problems)
    data: dict[str, Any] = {}
    for name, value in values.items():
        field_info = model.model_fields.get(name)
        if field_info is None:
            problems.append(value.problem(f"{owner} has no such parameter{did_you_mean(name, model.model_fields)}"))
        elif isinstance(value.value, bool) and not _takes_bool(field_info.annotation):
            problems.append(value.problem(f"must not be true or false{word_hint(value)}"))
        elif isinstance(value.value, str) and _is_path(field_info.annotation) and value.base is not None:
            data[name] = value.base / value.value
        else:
            data[name] = value.value
    try:
        made = model(**data)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            name = str(item["loc"][0]) if item["loc"] else ""
            inner = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"][1:])
            text = f"{item['msg'][0].lower()}{item['msg'][1:]}, got {item['input']!r}"
            if inner:
                text = f"{inner.lstrip('.')}: {text}"
            problems.append(values[name].problem(text) if name in values else Problem(f"{owner}: {text}", name))
        return None
    return made if len(problems) == before else None


def _takes_bool(annotation: Any) -> bool:
    return "bool" in str(annotation) or annotation is Any


def _is_path(annotation: Any) -> bool:
    return "Path" in str(annotation)


def _match(stages: Mapping[Stage, Selected]) -> list[Problem]:
    """What each stage needs and none before it gives.

    A tracker's landmarks serve the training of the generator only: at inference landmarks come from the generator.
    Blendshapes are replayed from the capture, so the tracker's reach the renderer.
    """
    found: list[Problem] = []
    tracked = stages["tracker"].spec.tokens_given(stages["tracker"].config)
    at_hand = frozenset(token for token in tracked if not token.startswith("landmarks:"))
    for stage in SELECTED_STAGES[:-1]:
        chosen = stages[stage]
        pool = at_hand | tracked if stage == "landmarks" else at_hand
        for token in sorted(chosen.spec.tokens_needed(chosen.config) - pool):
            givers = ", ".join(sorted(pool)) or "nothing"
            found.append(
                Problem(
                    f"{chosen.spec.name!r} needs {token}, which nothing before it gives (given: {givers}); "
                    f"choose another {stage} or another stage before it",
                    f"pipeline.{stage}",
                )
            )
        at_hand |= chosen.spec.tokens_given(chosen.config)
    return found
