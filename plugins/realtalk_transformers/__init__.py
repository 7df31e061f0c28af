"""RealTalk plugin: audio encoders from transformers: `hubert`, `wav2vec2`, `whisper`.

Each takes any checkpoint of its kind, whatever its size: a model of the hub at a pinned commit, or a local folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from realtalk_core import declare
from realtalk_core.hookspecs import hookimpl
from realtalk_core.hub import Wanted
from realtalk_core.pickled import converter
from realtalk_core.spec import ComponentConfig, ComponentSpec

if TYPE_CHECKING:
    from realtalk_transformers.waveform import HubertEncoder, Wav2Vec2Encoder
    from realtalk_transformers.whisper import WhisperEncoder

PINNED = {
    "facebook/hubert-large-ls960-ft": "ece5fabbf034c1073acae96d5401b25be96709d8",
    "facebook/hubert-base-ls960": "dba3bb02fda4248b6e082697eee756de8fe8aa8a",
    "TencentGameMate/chinese-hubert-large": "90cb660492214f687e60f5ca509b20edae6e75bd",
    "facebook/wav2vec2-base-960h": "22aad52d435eb6dbaf354bdad9b0da84ce7d6156",
    "facebook/wav2vec2-large-960h-lv60-self": "54074b1c16f4de6a5ad59affb4caa8f2ea03a119",
    "openai/whisper-tiny": "169d4a4341b33bc18d8881c4b69c2e104e1cc0af",
    "openai/whisper-base": "e37978b90ca9030d5170a5c07aadb050351a65bb",
    "openai/whisper-small": "973afd24965f72e36ca33b3055d56a652f456b4d",
    "openai/whisper-medium": "abdf7c39ab9d0397620ccaea8974cc764cd0953e",
    "openai/whisper-large-v3": "06f233fe06e710322aca913c1bc4249a0d71fce1",
}
"""The commits at which these models are used, each as several public projects pin it (docs/adr/0101)."""

_FILES = ("config.json", "preprocessor_config.json|processor_config.json")


def _wanted(what: str, kind: str) -> Wanted:
    others = {other: f"audio={other}" for other in ("hubert", "wav2vec2", "whisper") if other != kind}
    return Wanted(what, kind, "audio", _FILES, elsewhere={**others, "vits": "voice=vits"}, convert=kind)


HUBERT = _wanted("HuBERT model", "hubert")
WAV2VEC2 = _wanted("wav2vec 2.0 model", "wav2vec2")
WHISPER = _wanted("Whisper model", "whisper")


class HubConfig(ComponentConfig):
    """What the three encoders have in common."""

    PLACES: ClassVar[tuple[str, ...]] = (
        "model", "revision", "folder", "block_seconds", "margin_seconds", "past_seconds",
    )  # fmt: skip

    model: str
    """The model, OWNER/NAME on the hub."""
    revision: str | None = None
    """Its commit, 40 hexadecimal digits; none: the one that RealTalk pins for this model, if it knows it."""
    folder: Path | None = None
    """A local folder in place of `model`, as transformers saves one: config.json, model.safetensors and
    preprocessor_config.json."""
    layer: int = Field(default=-1, ge=-1)
    """After which layer of the transformer features are taken: 0 is before the first, -1 the last hidden state."""
    window: int = Field(default=2, ge=1, le=32)
    """Rows, 50 per second, around the middle of each video frame."""
    block_seconds: float = Field(default=20.0, ge=0.1, le=60.0)
    """The sound goes through the network in blocks of this length."""
    margin_seconds: float = Field(default=2.5, ge=0.0, le=30.0)
    """How much more is heard before and after each block."""
    past_seconds: float | None = Field(default=None, ge=0.0, le=30.0)
    """How much is heard before each block, if not the margin; it costs no look-ahead."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What the network calculates in; bfloat16 is faster where the processor has it, and rounds."""

    @model_validator(mode="after")
    def _one_commit(self) -> Self:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", self.model):
            raise ValueError(f"model {self.model!r} is not of the form OWNER/NAME; a local model is given as folder")
        if self.revision is not None and not re.fullmatch(r"[0-9a-f]{40}", self.revision):
            raise ValueError(f"revision {self.revision!r} is no commit (40 hexadecimal digits)")
        if self.folder is None and self.commit is None:
            raise ValueError(
                f"revision: RealTalk pins no commit of {self.model}; name one (40 hexadecimal digits, from the history "
                "of its files on the hub)"
            )
        return self

    @property
    def commit(self) -> str | None:
        """The commit that is used."""
        return self.revision or PINNED.get(self.model)

    @classmethod
    def tiny(cls) -> Self:
        """Short blocks; the weights come from `tiny_weights` of the encoder."""
        return cls.model_validate({"block_seconds": 2.0, "margin_seconds": 0.5})


class HubertConfig(HubConfig):
    """Parameters of the HuBERT encoder."""

    model: str = "facebook/hubert-large-ls960-ft"
    """The model, OWNER/NAME on the hub; the default is the one that the paper and GeneFace++ listen with."""


class Wav2Vec2Config(HubConfig):
    """Parameters of the wav2vec 2.0 encoder."""

    model: str = "facebook/wav2vec2-base-960h"
    """The model, OWNER/NAME on the hub; the default is the one FaceFormer, CodeTalker and Hallo listen with."""


class WhisperConfig(HubConfig):
    """Parameters of the Whisper encoder."""

    model: str = "openai/whisper-tiny"
    """The model, OWNER/NAME on the hub; the default is the one MuseTalk listens with."""
    block_seconds: float = Field(default=25.0, ge=0.1, le=30.0)
    """The sound goes through the network in blocks of this length; with what is heard around it at most 30 s."""
    padded: bool = True
    """Whether each block is filled up to the 30 s that Whisper was trained on; without, short blocks are faster."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        past = self.margin_seconds if self.past_seconds is None else self.past_seconds
        heard = past + self.block_seconds + self.margin_seconds
        if heard > 30.0:
            raise ValueError(
                f"block_seconds with what is heard before and after it is {heard:g} s; Whisper hears 30 s at most"
            )
        return self


def _hubert() -> type[HubertEncoder]:
    from realtalk_transformers.waveform import HubertEncoder

    return HubertEncoder


def _wav2vec2() -> type[Wav2Vec2Encoder]:
    from realtalk_transformers.waveform import Wav2Vec2Encoder

    return Wav2Vec2Encoder


def _whisper() -> type[WhisperEncoder]:
    from realtalk_transformers.whisper import WhisperEncoder

    return WhisperEncoder


@hookimpl
def realtalk_components() -> Iterable[ComponentSpec]:
    """Declares the encoders."""
    requires, extra = ("transformers",), "realtalk[transformers]"
    yield declare.audio_encoder(
        "hubert",
        summary="HuBERT, hidden states of any checkpoint, 50 per second; the paper's encoder.",
        api=1,
        config=HubertConfig,
        load=_hubert,
        requires=requires,
        extra=extra,
        convert=converter(HUBERT),
    )
    yield declare.audio_encoder(
        "wav2vec2",
        summary="wav2vec 2.0, hidden states of any checkpoint, 50 per second.",
        api=1,
        config=Wav2Vec2Config,
        load=_wav2vec2,
        requires=requires,
        extra=extra,
        convert=converter(WAV2VEC2),
    )
    yield declare.audio_encoder(
        "whisper",
        summary="Whisper's encoder, hidden states of any size, 50 per second.",
        api=1,
        config=WhisperConfig,
        load=_whisper,
        requires=requires,
        extra=extra,
        convert=converter(WHISPER),
    )
