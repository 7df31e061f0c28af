"""Typed helpers that declare a component of each stage.

Each takes `load`, a callable that does the heavy imports and returns the class; the type checker refuses a class that
breaks its stage's protocol.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from realtalk_core.errors import RealTalkError
from realtalk_core.spec import STAGES, About, ComponentConfig, ComponentSpec, Converter, Stage, Tokens

if TYPE_CHECKING:
    from realtalk_core import stages
    from realtalk_core.voice import Voice

_NAME = re.compile(r"[a-z][a-z0-9_]*")


class DeclarationError(RealTalkError):
    """A plugin's declaration breaks the contract; the message says which rule."""


class _Options(TypedDict, total=False):
    requires: tuple[str, ...]
    extra: str | None
    version: int
    migrate: Mapping[int, Callable[[dict[str, Any], dict[str, Any]], tuple[dict[str, Any], dict[str, Any]]]]
    needs: Tokens
    gives: Tokens
    about: About
    convert: Converter
    expected_failures: Mapping[str, str]


def component(
    stage: Stage,
    name: str,
    *,
    summary: str,
    api: int,
    config: type[ComponentConfig],
    load: Callable[[], type[Any]],
    **options: Unpack[_Options],
) -> ComponentSpec:
    """Declares a component of any stage; prefer the helper named after the stage, which checks `load`'s type.

    Raises:
        DeclarationError: for a bad name, an unknown stage, an empty or many-lined summary, a field of `config` without
            default or docstring, or a `load` that cannot be called.
    """
    spec = ComponentSpec(stage, name, summary, api, config, load, **options)
    problems = _problems(spec)
    if problems:
        raise DeclarationError(f"{stage} {name!r}: " + "; ".join(problems))
    return spec


def _problems(spec: ComponentSpec) -> list[str]:
    found = []
    if spec.stage not in STAGES:
        found.append(f"stage must be one of {', '.join(STAGES)}")
    if not _NAME.fullmatch(spec.name):
        found.append("name must be lower-case letters, digits and underscores, starting with a letter")
    if not spec.summary.strip() or "\n" in spec.summary.strip():
        found.append("summary must be one line")
    if isinstance(spec.api, bool) or not isinstance(spec.api, int):
        found.append("api must be an integer")
    if not callable(spec.load):
        found.append("load must be callable")
    if spec.convert is not None and not isinstance(spec.convert, Converter):
        found.append("convert must be a realtalk_core.spec.Converter")
    if not (isinstance(spec.config, type) and issubclass(spec.config, ComponentConfig)):
        found.append("config must be a subclass of realtalk_core.spec.ComponentConfig")
        return found
    for field, info in spec.config.model_fields.items():
        if info.is_required():
            found.append(f"config field {field!r} has no default")
        if not info.description:
            found.append(f"config field {field!r} has no docstring")
    return found


def audio_encoder(
    name: str, *, summary: str, api: int, config: type[ComponentConfig],
    load: Callable[[], Callable[..., stages.AudioEncoder]], **options: Unpack[_Options],
) -> ComponentSpec:  # fmt: skip
    """Declares an audio encoder: sound to features."""
    return component("audio", name, summary=summary, api=api, config=config, load=load, **options)  # type: ignore[arg-type]


def landmark_generator(
    name: str, *, summary: str, api: int, config: type[ComponentConfig],
    load: Callable[[], Callable[..., stages.LandmarkGenerator]], **options: Unpack[_Options],
) -> ComponentSpec:  # fmt: skip
    """Declares a landmark generator: features to landmarks of neutral speech."""
    return component("landmarks", name, summary=summary, api=api, config=config, load=load, **options)  # type: ignore[arg-type]


def emotion_deformer(
    name: str, *, summary: str, api: int, config: type[ComponentConfig],
    load: Callable[[], Callable[..., stages.EmotionDeformer]], **options: Unpack[_Options],
) -> ComponentSpec:  # fmt: skip
    """Declares an emotion deformer: landmarks and emotion to emotional landmarks."""
    return component("emotion", name, summary=summary, api=api, config=config, load=load, **options)  # type: ignore[arg-type]


def renderer(
    name: str, *, summary: str, api: int, config: type[ComponentConfig],
    load: Callable[[], Callable[..., stages.Renderer]], **options: Unpack[_Options],
) -> ComponentSpec:  # fmt: skip
    """Declares a renderer: landmarks and cameras to pictures."""
    return component("renderer", name, summary=summary, api=api, config=config, load=load, **options)  # type: ignore[arg-type]


def tracker(
    name: str, *, summary: str, api: int, config: type[ComponentConfig],
    load: Callable[[], Callable[..., stages.Tracker]], **options: Unpack[_Options],
) -> ComponentSpec:  # fmt: skip
    """Declares a tracker: pictures to faces."""
    return component("tracker", name, summary=summary, api=api, config=config, load=load, **options)  # type: ignore[arg-type]


def voice(
    name: str, *, summary: str, api: int, config: type[ComponentConfig],
    load: Callable[[], Callable[..., Voice]], **options: Unpack[_Options],
) -> ComponentSpec:  # fmt: skip
    """Declares a voice: text to speech with the time of every phoneme."""
    return component("voice", name, summary=summary, api=api, config=config, load=load, **options)  # type: ignore[arg-type]


def face_generator(
    name: str, *, summary: str, api: int, config: type[ComponentConfig],
    load: Callable[[], Callable[..., stages.FaceGenerator]], **options: Unpack[_Options],
) -> ComponentSpec:  # fmt: skip
    """Declares a generator of lip-aligned emotional face pictures for training."""
    return component("face_generator", name, summary=summary, api=api, config=config, load=load, **options)  # type: ignore[arg-type]


def metric(
    name: str, *, summary: str, api: int, config: type[ComponentConfig],
    load: Callable[[], Callable[..., Any]], **options: Unpack[_Options],
) -> ComponentSpec:  # fmt: skip
    """Declares a metric."""
    return component("metric", name, summary=summary, api=api, config=config, load=load, **options)  # type: ignore[arg-type]
