"""RealTalk plugin: audio encoder `deepspeech`, the network that AD-NeRF and ER-NeRF listen with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field

from realtalk_core import declare
from realtalk_core.hookspecs import hookimpl
from realtalk_core.spec import ComponentConfig, ComponentSpec, Converter

if TYPE_CHECKING:
    from realtalk_deepspeech.encoder import DeepSpeechEncoder


class DeepSpeechConfig(ComponentConfig):
    """Parameters of the encoder."""

    PLACES: ClassVar[tuple[str, ...]] = ("weights", "block_seconds", "margin_seconds", "past_seconds")

    weights: Path | None = None
    """The converted weights (`realtalk convert deepspeech output_graph.pb`); none looks for deepspeech.safetensors
    where model files are kept."""
    window: int = Field(default=16, ge=1, le=64)
    """Rows of logits, 50 per second, around the middle of each video frame; AD-NeRF's and ER-NeRF's windows have 16."""
    block_seconds: float = Field(default=10.0, ge=0.1, le=60.0)
    """The sound goes through the network in blocks of this length."""
    margin_seconds: float = Field(default=5.0, ge=0.0, le=30.0)
    """How much more is heard before and after each block."""
    past_seconds: float | None = Field(default=None, ge=0.0, le=30.0)
    """How much is heard before each block, if not the margin; it costs no look-ahead."""

    @classmethod
    def tiny(cls) -> Self:
        """Short blocks; the weights come from `DeepSpeechEncoder.tiny_weights`."""
        return cls(block_seconds=2.0, margin_seconds=0.5)


def _load() -> type[DeepSpeechEncoder]:
    from realtalk_deepspeech.encoder import DeepSpeechEncoder

    return DeepSpeechEncoder


def _place(source: Path) -> Path:
    from realtalk_deepspeech.encoder import default_place

    return default_place(source)


def _convert(source: Path, target: Path) -> None:
    from realtalk_deepspeech.taking_over import convert

    convert(source, target)


@hookimpl
def realtalk_components() -> Iterable[ComponentSpec]:
    """Declares the encoder."""
    yield declare.audio_encoder(
        "deepspeech",
        summary="Character logits of Mozilla DeepSpeech 0.1, as AD-NeRF and ER-NeRF hear; weights are converted once.",
        api=1,
        config=DeepSpeechConfig,
        load=_load,
        convert=Converter("DeepSpeech 0.1.0's frozen TensorFlow graph (output_graph.pb)", _place, _convert),
    )
