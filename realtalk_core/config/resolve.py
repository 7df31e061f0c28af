"""Layers to one checked configuration: every problem found is reported, and nothing heavy is imported."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import Any

from realtalk_core.config.layers import (
    BESIDE,
    SELECTED_STAGES,
    VERSION,
    Layer,
    Registry,
    StageLayer,
    Value,
    read_registry,
    read_sets,
)
from realtalk_core.config.motion import MotionConfig
from realtalk_core.config.needs import Selected, unmet_needs
from realtalk_core.config.reader import MAX_BYTES, Document, read_yaml
from realtalk_core.config.validate import validate
from realtalk_core.errors import ConfigError, Problem, UserError, did_you_mean
from realtalk_core.plugins import Plugins, discover
from realtalk_core.spec import PIPELINE_STAGES, ComponentSpec, Stage

DEFAULT_FPS = 25.0
ENV_CONFIG = "REALTALK_CONFIG"


@dataclass(frozen=True, slots=True)
class Config:
    """A complete, checked configuration.

    Attributes:
        fps: Video frames per second.
        stages: What fills audio, landmarks, emotion, renderer and tracker; and voice, where one is named.
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

    def to_dict(self, *, voice: bool = False) -> dict[str, Any]:
        """The filled configuration as plain data, in the shape of a registry.

        Args:
            voice: Whether to say who speaks texts, too: no part of an avatar, which any voice drives.
        """

        def part(stage: Stage) -> dict[str, Any]:
            chosen = self.stages[stage]
            alone = len([s for s in self.plugins.of(stage) if s.name == chosen.spec.name]) <= 1
            name = chosen.spec.name if alone else chosen.spec.qualified
            return {"use": name, "params": chosen.config.model_dump(mode="json")}

        return {
            "version": VERSION,
            "fps": self.fps,
            "pipeline": {stage: part(stage) for stage in PIPELINE_STAGES},
            **{stage: part(stage) for stage in BESIDE if stage in self.stages and (voice or stage != "voice")},
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
    every_preset: bool = False,
) -> Config:
    """Reads the configuration: component defaults < shipped registry < `file` < preset < `--set`.

    Args:
        file: A registry; default the one named by `REALTALK_CONFIG`, or the shipped one alone.
        preset: A preset of `file` or of the shipped registry.
        sets: `stage=name`, `stage.param=value`, `motion.param=value`, `fps=value`.
        plugins: What is installed; discovered if not given.
        every_preset: Whether to check the presets that were not asked for, too.

    Raises:
        ConfigError: with every problem, each as `file:line:column: path: message`.
    """
    problems: list[Problem] = []
    registries = _registries(file, problems)
    found = plugins if plugins is not None else discover(_disabled(registries))
    layers = [registry.layer for registry in registries]
    if preset is not None:
        known = [name for registry in registries for name in registry.presets]
        if preset not in known:
            problems.append(Problem(f"unknown preset {preset!r}{did_you_mean(preset, set(known))}", source="--preset"))
        layers += [registry.presets[preset] for registry in registries if preset in registry.presets]
    required = tuple(value for registry in registries for value in registry.required)
    source = str(_chosen(file))
    if every_preset:
        base = [registry.layer for registry in registries]
        for registry in registries:
            for other in registry.presets.values():
                problems += _preset_problems([*base, other], found, problems)
    return _resolve(layers, required, preset, tuple(sets), found, problems, source)


def disabled_plugins(file: FilePath | None = None) -> frozenset[str]:
    """Plugins that the configuration disables, whatever else is wrong with it.

    Raises:
        UserError: if a file cannot be read.
    """
    return _disabled(_registries(file, []))


def names_stage(chosen: Selected, file: FilePath | None, preset: str | None) -> bool:
    """Whether a file, or a preset, says what shall fill a stage, or how what fills it now shall be.

    The shipped registry itself, which says it for every stage, does not count.

    Args:
        chosen: What fills the stage now; what a preset says of other components is no word about it.
        file: See `load_config`.
        preset: Likewise.
    """
    registries = _registries(file, [])
    layers = [registry.presets[preset] for registry in registries if preset in registry.presets]
    layers += [registry.layer for registry in registries[1:]]
    names = (chosen.spec.name, chosen.spec.qualified)
    parts = [part for layer in layers for part in layer.stages.get(chosen.spec.stage, ())]
    return any(part.when is None or part.when.value in names for part in parts)


def _chosen(file: FilePath | None) -> FilePath:
    named = os.environ.get(ENV_CONFIG)
    return file or (FilePath(named) if named else default_registry())


def _registries(file: FilePath | None, problems: list[Problem]) -> list[Registry]:
    """The shipped registry, and the chosen one on top if it is another."""
    shipped, chosen = default_registry(), _chosen(file)
    files = [shipped] if chosen.resolve() == shipped.resolve() else [shipped, chosen]
    return [_read(each, problems) for each in files]


def _disabled(registries: Sequence[Registry]) -> frozenset[str]:
    return frozenset(name for registry in registries for name in registry.disabled)


def _read(file: FilePath, problems: list[Problem]) -> Registry:
    try:
        with file.open("rb") as stream:
            text = stream.read(MAX_BYTES + 1)
    except IsADirectoryError:
        raise UserError(f"{file} is a folder, not a registry file", "Name the file: -c FOLDER/registry.yaml") from None
    except OSError as error:
        raise UserError(
            f"{file} cannot be read: {error.strerror}", f"Check the path given to -c/--config or {ENV_CONFIG}."
        ) from error
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
            hint = did_you_mean(value.value, [info.name for info in plugins.loaded])
            why = f": {reasons[value.value]}" if value.value in reasons else f"; install it{hint}"
            problems.append(value.problem(f"the required plugin {value.value!r} is not available{why}"))
    choices = {stage: _choose(stage, everything, plugins, problems) for stage in SELECTED_STAGES}
    stages: dict[Stage, Selected] = {}
    for stage, choice in choices.items():
        if choice.spec is not None:
            owner = f"{stage} {choice.spec.name!r}"
            config = validate(choice.spec.config, choice.params, problems, choice.place, owner)
            if config is not None:
                stages[stage] = Selected(choice.spec, config)
    places = {stage: choice.place for stage, choice in choices.items() if choice.place is not None}
    problems += unmet_needs(stages, places)
    motion_values = {name: value for layer in everything for name, value in layer.motion.items()}
    motion = validate(MotionConfig, motion_values, problems, None, "motion")
    fps = DEFAULT_FPS
    for layer in everything:
        if layer.fps is not None:
            fps = _fps(layer.fps, problems) or fps
    if problems:
        raise ConfigError(sorted(dict.fromkeys(problems), key=lambda p: (p.source, p.line, p.column)))
    assert motion is not None
    return Config(fps, MappingProxyType(stages), motion, plugins, source, preset)


def _preset_problems(layers: Sequence[Layer], plugins: Plugins, known: Sequence[Problem]) -> list[Problem]:
    """What is wrong in the last of these layers, a preset's, whichever of its components is chosen."""
    found: list[Problem] = []
    with contextlib.suppress(ConfigError):
        _resolve(layers, (), None, (), plugins, found, "")
    for stage, parts in layers[-1].stages.items():
        names = [name for spec in plugins.of(stage) for name in (spec.name, spec.qualified)]
        absent = [failure.name for failure in plugins.failures]
        for when in (part.when for part in parts if part.when is not None):
            if when.value in names:
                with contextlib.suppress(ConfigError):
                    _resolve(
                        [*layers, Layer(stages={stage: (StageLayer(use=when),)})], (), None, (), plugins, found, ""
                    )
            elif when.value not in absent:
                hint = did_you_mean(when.value, [*names, *absent])
                found.append(when.problem(f"no {stage} is called {when.value!r}{hint}"))
    return [problem for problem in found if problem.path.startswith("presets.") and problem not in known]


def _fps(value: Value, problems: list[Problem]) -> float | None:
    number = value.value
    if isinstance(number, bool) or not isinstance(number, int | float) or not 1 <= number <= 240:
        problems.append(value.problem(f"must be a number from 1 to 240, got {number!r}"))
        return None
    return float(number)


@dataclass(slots=True)
class _Choice:
    spec: ComponentSpec | None = None
    place: Value | None = None
    params: dict[str, Value] = field(default_factory=dict)


def _choose(stage: Stage, layers: Sequence[Layer], plugins: Plugins, problems: list[Problem]) -> _Choice:
    """The component that the last layer names, and the parameters meant for it.

    Parameters without `when` are meant for the component that is chosen where they stand, so a later choice of another
    one drops them; those with `when` wait for theirs, wherever it is chosen.
    """
    choice, parts = _Choice(), [part for layer in layers for part in layer.stages.get(stage, ())]
    since = 0
    for k, part in enumerate(parts):
        if part.use is not None:
            choice.place = part.use
            try:
                spec = plugins.find(stage, part.use.value)
            except UserError as error:
                problems.append(part.use.problem(" - ".join(filter(None, (error.message, error.cure)))))
                choice.spec = None
                continue
            if choice.spec is None or spec.qualified != choice.spec.qualified:
                choice.spec, since = spec, k
    if choice.spec is not None:
        called = (choice.spec.name, choice.spec.qualified)
        for k, part in enumerate(parts):
            if (k >= since) if part.when is None else part.when.value in called:
                choice.params |= part.params
    if choice.place is None and (stage != "voice" or any(stage in layer.stages for layer in layers)):
        names = ", ".join(s.name for s in plugins.of(stage)) or "none is installed"
        problems.append(Problem(f"nothing fills the stage {stage}; choose one: {names}", stage))
    return choice
