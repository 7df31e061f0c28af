"""Audio encoder `mel`: log-mel spectrum, pitch, voicing and loudness. No weights needed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import Field

from realtalk_core import declare
from realtalk_core.hookspecs import hookimpl
from realtalk_core.spec import ComponentConfig, ComponentSpec

if TYPE_CHECKING:
    from realtalk_mel.encoder import MelEncoder


class MelConfig(ComponentConfig):
    """What the encoder listens to."""

    n_mels: int = Field(32, ge=8, le=128)
    """Mel bands between 60 and 7600 Hz."""

    sub_frames: int = Field(4, ge=1, le=16)
    """Looks at the sound per video frame; 4 at 25 frames per second are the usual 100 per second."""

    level_seconds: float = Field(3.0, ge=0.2, le=20.0)
    """Loudness is made even over this far to each side, so that quiet recordings work."""

    pitch: bool = True
    """Whether pitch and voicing are given beside the spectrum."""


def _load() -> type[MelEncoder]:
    from realtalk_mel.encoder import MelEncoder

    return MelEncoder


@hookimpl
def realtalk_components() -> Iterable[ComponentSpec]:
    """Declares the encoder."""
    yield declare.audio_encoder(
        "mel",
        summary="Log-mel spectrum with pitch, voicing and loudness, several looks per video frame; no weights.",
        api=1,
        config=MelConfig,
        load=_load,
    )
