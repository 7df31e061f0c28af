"""Audio encoder `ave`: SyncTalk's audio-visual encoder, learnt on a capture with a lip-sync discriminator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field

from realtalk_core import declare
from realtalk_core.hookspecs import hookimpl
from realtalk_core.spec import ComponentConfig, ComponentSpec, Converter

if TYPE_CHECKING:
    from realtalk_ave.encoder import AveEncoder


class AveConfig(ComponentConfig):
    """Size, start and training of the encoder."""

    TRAINED: ClassVar[tuple[str, ...]] = ("level_seconds",)
    PLACES: ClassVar[tuple[str, ...]] = (
        "weights", "width", "size", "steps", "batch", "learning_rate", "weight_decay", "sync", "reconstruct", "lips",
        "augment",
    )  # fmt: skip

    weights: Path | None = None
    """What training starts from: a file made by `realtalk convert ave`, or another avatar's audio.safetensors."""

    width: int = Field(16, ge=4, le=128)
    """Channels of the first blocks; they double three times (published: 32). Given weights bring their own."""

    size: int = Field(512, ge=16, le=1024)
    """Numbers per video frame (published: 512). Given weights bring their own."""

    level_seconds: float = Field(3.0, ge=0.2, le=20.0)
    """Loudness is made even over this far to each side, so that quiet recordings work; it is also the look-ahead."""

    steps: int = Field(300, ge=0)
    """Training steps; 0 takes `weights` as they are."""

    batch: int = Field(64, ge=8, le=512)
    """Moments per step, each a window of sound and five pictures."""

    learning_rate: float = Field(2e-3, gt=0.0, le=0.1)
    """Peak learning rate; short warm-up, cosine decay."""

    weight_decay: float = Field(1.0, ge=0.0, le=10.0)
    """Decoupled weight decay; much of it, for a minute of film is soon known by heart."""

    sync: float = Field(1.0, ge=0.0)
    """Weight of the lip-sync discriminator's loss."""

    reconstruct: float = Field(10.0, ge=0.0)
    """Weight of the mouth's mean absolute error, drawn from the sound and a reference picture."""

    lips: float = Field(3.0, ge=0.0)
    """Weight of the tracked lips' shape, told by a linear map of the embedding; 0 learns from pictures alone."""

    augment: float = Field(1.0, ge=0.0, le=2.0)
    """Strength of training augmentation: level, tone colour, voice, noise and rate of the sound; 0 is off."""

    @classmethod
    def tiny(cls) -> Self:
        """Sizes for tests."""
        return cls(width=8, size=64, steps=40, batch=8)


def _load() -> type[AveEncoder]:
    from realtalk_ave.encoder import AveEncoder

    return AveEncoder


def _place(source: Path) -> Path:
    from realtalk_core.models import model_folders

    return next(model_folders()) / f"ave_{source.stem}.safetensors"


def _convert(source: Path, target: Path) -> None:
    from realtalk_ave.published import convert

    convert(source, target)


def _about(config: AveConfig, shapes: Mapping[str, tuple[int, ...]], metrics: Mapping[str, Any]) -> dict[str, Any]:
    first, last = shapes.get("listener.0.conv_block.0.weight"), shapes.get("listener.12.conv_block.0.weight")
    return {"channels": first[0], "numbers per frame": last[0]} if first and last else {}


@hookimpl
def realtalk_components() -> Iterable[ComponentSpec]:
    """Declares the encoder."""
    yield declare.audio_encoder(
        "ave",
        summary="SyncTalk's audio-visual encoder: learns on the capture which mouth belongs to a sound.",
        api=1,
        config=AveConfig,
        load=_load,
        about=_about,
        convert=Converter("SyncTalk's audio encoder (audio_visual_encoder.pth)", _place, _convert),
    )
