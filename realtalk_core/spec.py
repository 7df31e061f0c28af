"""What a plugin says about a component before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict

Stage = Literal["audio", "landmarks", "emotion", "renderer", "tracker", "voice", "face_generator", "metric"]
STAGES: tuple[Stage, ...] = get_args(Stage)
PIPELINE_STAGES: tuple[Stage, ...] = ("audio", "landmarks", "emotion", "renderer")
"""The four stages `registry.yaml` fills, in the order data flows through them."""

STAGE_API: dict[Stage, int] = dict.fromkeys(STAGES, 1)
"""The interface version of each stage that this core speaks."""


class ComponentConfig(BaseModel):
    """Base of every component's parameters.

    The sentence under a field is its help text, its schema text and its documentation; every field has a default.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )

    TRAINED: ClassVar[tuple[str, ...]] = ()
    """Parameters that weights were learnt for: an avatar refuses other values until it is trained again."""

    PLACES: ClassVar[tuple[str, ...]] = ()
    """Parameters that say where things are or how work is cut up, not what comes out: no part of an encoder's name."""

    @classmethod
    def tiny(cls) -> Self:
        """The same component made small for tests: a few training steps in seconds. The defaults unless overridden.

        The conformance kit builds components with this configuration.
        """
        return cls()


class NoConfig(ComponentConfig):
    """For a component without parameters."""


About = Callable[[Any, Mapping[str, tuple[int, ...]], Mapping[str, Any]], Mapping[str, Any]]
"""Says what a checkpoint holds, from its parameters, the shapes of its tensors, and its metrics (`step`, `total` …)."""
Tokens = frozenset[str] | Callable[[Any], frozenset[str]]
"""What a component needs or gives, such as `landmarks:68`; a callable when it depends on the configuration."""


@dataclass(frozen=True, slots=True)
class Converter:
    """How a component takes over weights that were published for another program; `realtalk convert` runs it.

    Attributes:
        reads: What it reads, in a few words, such as `DeepSpeech 0.1's frozen TensorFlow graph (output_graph.pb)`.
        place: Where the result goes when nobody says: from the source to a `.safetensors` file, or to a folder.
        write: Reads its first argument and writes the result to its second, which does not exist yet and is renamed to
            the target afterwards, so that nothing half-written stays. Does the heavy imports. Raises `UserError` for a
            source it cannot use.
    """

    reads: str
    place: Callable[[Path], Path]
    write: Callable[[Path, Path], None]


@dataclass(frozen=True, slots=True)
class ComponentSpec:
    """One component, declared. Build these with `realtalk_core.declare`, which checks them against the protocols.

    Attributes:
        stage: The stage it can fill.
        name: Its name in `registry.yaml`: lower case, digits, underscores.
        summary: One line for `realtalk plugins`.
        api: The version of the stage's interface it was written for; no default, on purpose.
        config: Its parameters.
        load: Does the heavy imports and returns the class.
        requires: Modules that `load` imports beyond RealTalk's own dependencies, e.g. `("face_alignment",)`.
        extra: The pip requirement that installs them, e.g. `realtalk[face-alignment]`.
        version: Version of the component's checkpoint format.
        migrate: `{old_version: function(tensors, config_dict) -> (tensors, config_dict)}`, each one version up.
        needs: Tokens it needs from the stages before it.
        gives: Tokens it gives to the stages after it.
        about: Says in a few facts what weights hold, for `realtalk inspect`; imports nothing heavy.
        convert: How it takes over weights published for another program, if it does.
        expected_failures: Conformance check ids that it is known to fail, each with the reason.
        plugin: Name of the plugin that declared it; filled in by discovery.
    """

    stage: Stage
    name: str
    summary: str
    api: int
    config: type[ComponentConfig]
    load: Callable[[], type[Any]]
    requires: tuple[str, ...] = ()
    extra: str | None = None
    version: int = 1
    migrate: Mapping[int, Callable[[dict[str, Any], dict[str, Any]], tuple[dict[str, Any], dict[str, Any]]]] = field(
        default_factory=dict
    )
    needs: Tokens = frozenset()
    gives: Tokens = frozenset()
    about: About | None = None
    convert: Converter | None = None
    expected_failures: Mapping[str, str] = field(default_factory=dict)
    plugin: str = ""

    @property
    def qualified(self) -> str:
        """`plugin:name`, which is never ambiguous."""
        return f"{self.plugin}:{self.name}" if self.plugin else self.name

    def tokens_needed(self, config: ComponentConfig) -> frozenset[str]:
        """Tokens needed under this configuration."""
        return self.needs(config) if callable(self.needs) else self.needs

    def tokens_given(self, config: ComponentConfig) -> frozenset[str]:
        """Tokens given under this configuration."""
        return self.gives(config) if callable(self.gives) else self.gives
