"""RealTalk plugin: eSpeak NG as a voice. eSpeak NG is GPL-3.0-or-later, which is why it is an optional extra.

The plugin itself is MIT like the rest of RealTalk; installing `realtalk[espeak]` adds the GPL library beside it.
"""

from collections.abc import Iterable
from typing import Any

from pydantic import Field

from realtalk_core import declare
from realtalk_core.hookspecs import hookimpl
from realtalk_core.spec import ComponentConfig, ComponentSpec


class EspeakConfig(ComponentConfig):
    """Parameters of the eSpeak NG voice."""

    voice: str = "en-gb"
    """A language of eSpeak NG such as en-us, de or fr, optionally with a variant, such as en-us+f3 or en-gb+m5;
    `realtalk voices` lists them."""
    words_per_minute: int = Field(default=155, ge=80, le=450)
    """Speaking rate."""
    pitch: int = Field(default=50, ge=0, le=99)
    """Base pitch; 50 is the voice's own."""
    pitch_range: int = Field(default=50, ge=0, le=99)
    """Liveliness of the intonation; 0 is monotonous."""


def _load() -> type[Any]:
    from realtalk_espeak.voice import EspeakVoice

    return EspeakVoice


@hookimpl
def realtalk_components() -> Iterable[ComponentSpec]:
    """Declares the voice."""
    yield declare.voice(
        "espeak",
        summary="eSpeak NG (GPL-3.0): over a hundred languages, many voices, exact phoneme times; needs no model file",
        api=1,
        config=EspeakConfig,
        load=_load,
        requires=("espeakng_loader",),
        extra="realtalk[espeak]",
    )
