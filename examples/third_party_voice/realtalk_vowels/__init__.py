"""RealTalk plugin: a voice made of vowels and hisses."""

from pydantic import Field

from realtalk_core import declare
from realtalk_core.hookspecs import hookimpl
from realtalk_core.spec import ComponentConfig


class VowelsConfig(ComponentConfig):
    """How the voice sounds."""

    pitch: float = Field(110.0, ge=60, le=400)
    """Pitch in hertz."""


def _load():
    from realtalk_vowels.voice import Vowels

    return Vowels


@hookimpl
def realtalk_components():
    """Declares the voice."""
    summary = "Two formants for each vowel, a hiss for each consonant."
    yield declare.voice("vowels", summary=summary, api=1, config=VowelsConfig, load=_load)
