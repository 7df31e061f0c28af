"""RealTalk plugin: two audio encoders, loudness in bands and WavLM."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from realtalk_core import declare
from realtalk_core.hookspecs import hookimpl
from realtalk_core.spec import ComponentConfig


class BandsConfig(ComponentConfig):
    """What the bands are."""

    bands: int = Field(20, ge=4, le=40)
    """Bands between 80 and 7600 Hz, each higher than the one below by the same factor."""


class WavLmConfig(ComponentConfig):
    """Which model is heard with."""

    PLACES: ClassVar[tuple[str, ...]] = ("folder",)

    folder: Path = Path("models/wavlm-large")
    """Folder of a WavLM model as transformers saves it."""


def _load_bands():
    from realtalk_ears.bands import Bands

    return Bands


def _load_wavlm():
    from realtalk_ears.wavlm import WavLm

    return WavLm


@hookimpl
def realtalk_components():
    """Declares the encoders."""
    yield declare.audio_encoder(
        "bands", summary="Loudness in bands, four times a frame.", api=1, config=BandsConfig, load=_load_bands
    )
    yield declare.audio_encoder(
        "wavlm",
        summary="WavLM (Chen et al. 2021), last hidden state.",
        api=1,
        config=WavLmConfig,
        load=_load_wavlm,
        requires=("transformers",),
    )
