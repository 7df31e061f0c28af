"""Declares the smallest right component of each stage."""

from pydantic import Field

from realtalk_core import declare
from realtalk_core.hookspecs import hookimpl
from realtalk_core.spec import ComponentConfig, NoConfig


class SeedConfig(ComponentConfig):
    """The seed."""

    seed: int = Field(0, ge=0)
    """Seed of the tremor."""


class StrengthConfig(ComponentConfig):
    """How far."""

    strength: float = Field(0.3, gt=0)
    """Centimetres that a full emotion moves a landmark."""


def loader(name, module="right_components"):
    def load():
        import importlib

        return getattr(importlib.import_module(module), name)

    return load


@hookimpl
def realtalk_components():
    words = {"summary": "Right in everything.", "api": 1}
    yield declare.audio_encoder("right", config=NoConfig, load=loader("Audio"), **words)
    yield declare.audio_encoder("right_rows", config=NoConfig, load=loader("Hearing"), **words)
    yield declare.landmark_generator("right", config=SeedConfig, load=loader("Landmarks"), **words)
    yield declare.emotion_deformer("right", config=StrengthConfig, load=loader("Emotion"), **words)
    yield declare.renderer("right", config=NoConfig, load=loader("Renderer"), **words)
    yield declare.tracker("right", config=NoConfig, load=loader("Tracker"), **words)
    yield declare.voice("right", config=NoConfig, load=loader("Voice"), **words)
