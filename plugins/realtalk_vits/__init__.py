"""RealTalk plugin: VITS (Kim et al., 2021) as a voice, through transformers: neural speech from a model of your own.

VITS predicts how long every letter or phoneme of the text lasts, so the times of phonemes come from the model itself.
No model ships with RealTalk: name a folder, or a model and its commit on the hub that transformers loads from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from realtalk_core import declare
from realtalk_core.hookspecs import hookimpl
from realtalk_core.spec import ComponentConfig, ComponentSpec


class VitsConfig(ComponentConfig):
    """Parameters of the VITS voice."""

    folder: Path | None = None
    """Folder of a VITS model as transformers saves it: config.json, model.safetensors, vocab.json and
    tokenizer_config.json."""
    model: str | None = None
    """In place of a folder: a model of the hub, such as facebook/mms-tts-deu, downloaded once; needs `revision`."""
    revision: str | None = None
    """The commit of that model, 40 hexadecimal digits, so that it never changes unnoticed."""
    voice: int = Field(default=0, ge=0)
    """Number of the speaker, in a model with several."""
    speaking_rate: float = Field(default=1.0, ge=0.25, le=4.0)
    """Speed; 2 is twice as fast as the model was trained."""
    noise_scale: float | None = Field(default=None, ge=0.0, le=2.0)
    """Liveliness of the sound; 0 gives the most likely one, none the model's own."""
    noise_scale_duration: float | None = Field(default=None, ge=0.0, le=2.0)
    """Liveliness of the rhythm, in models that draw it; none the model's own."""
    seed: int = Field(default=0, ge=0)
    """Seed of that liveliness: the same seed and text sound the same."""

    @model_validator(mode="after")
    def _one_model(self) -> VitsConfig:
        if self.folder is not None and self.model is not None:
            raise ValueError("folder and model both name a model; give one of them")
        if self.model is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", self.model):
            raise ValueError(f"model {self.model!r} is not of the form OWNER/NAME; a local model is given as folder")
        if (self.model is None) != (self.revision is None):
            raise ValueError("model and revision belong together: OWNER/NAME and the commit it is pinned to")
        if self.revision is not None and not re.fullmatch(r"[0-9a-f]{40}", self.revision):
            raise ValueError(f"revision {self.revision!r} is no commit (40 hexadecimal digits)")
        return self


def _load() -> type[Any]:
    from realtalk_vits.voice import VitsVoice

    return VitsVoice


@hookimpl
def realtalk_components() -> Iterable[ComponentSpec]:
    """Declares the voice."""
    yield declare.voice(
        "vits",
        summary="VITS, a neural voice through transformers, from a model that you name; phoneme times are its own",
        api=1,
        config=VitsConfig,
        load=_load,
        requires=("transformers",),
        extra="realtalk[vits]",
    )
