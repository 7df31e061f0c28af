"""Landmark generator `vae`: a flow-prior variational autoencoder from sound to the landmarks of neutral speech."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field

from realtalk_core import declare
from realtalk_core.hookspecs import hookimpl
from realtalk_core.spec import ComponentConfig, ComponentSpec

if TYPE_CHECKING:
    from realtalk_vae.generator import VaeGenerator


class VaeConfig(ComponentConfig):
    """Start, sizes, training and sampling of the generator. The published sizes are in docs/vae.md."""

    prior: str = "shipped"
    """What training starts from: `shipped` (the prior of many synthetic actors), `none`, or a prior's file."""

    hidden: int = Field(64, ge=8, le=1024)
    """Channels of encoder and decoder (the paper's setting: 256)."""

    latent: int = Field(16, ge=1, le=256)
    """Numbers per latent step; a step is four frames."""

    encoder_layers: int = Field(8, ge=1, le=32)
    """Gated layers of the encoder."""

    decoder_layers: int = Field(4, ge=1, le=32)
    """Gated layers of the decoder."""

    condition: int = Field(64, ge=8, le=1024)
    """Channels of the encoded sound (the paper's setting: 128)."""

    flow_layers: int = Field(4, ge=1, le=16)
    """Coupling layers of the prior."""

    flow_hidden: int = Field(32, ge=4, le=512)
    """Channels within a coupling layer (the paper's setting: 64)."""

    components: int = Field(24, ge=2, le=128)
    """Components of the person's expression basis that are generated, those of the prior among them."""

    dropout: float = Field(0.5, ge=0.0, lt=1.0)
    """Dropout within encoder, decoder and sound when training starts from random weights."""

    prior_dropout: float = Field(0.3, ge=0.0, lt=1.0)
    """The same when training starts from a prior."""

    augment: float = Field(1.0, ge=0.0, le=2.0)
    """Strength of training augmentation: level, tone colour, noise, voice and speaking rate; 0 is off."""

    steps: int = Field(250, ge=0)
    """Training steps; 0 takes the prior as it is, fitted to the person's face."""

    batch: int = Field(16, ge=1, le=512)
    """Stretches of speech per step."""

    window: int = Field(64, ge=8, le=1024)
    """Frames in a stretch."""

    learning_rate: float = Field(1e-3, gt=0.0, le=0.1)
    """Peak learning rate; short warm-up, cosine decay."""

    trunk_rate: float = Field(0.3, ge=0.0, le=1.0)
    """Learning rate of all but the output layers, relative to theirs, when training starts from a prior."""

    weight_decay: float = Field(0.05, ge=0.0, le=1.0)
    """Decoupled weight decay."""

    kl: float = Field(0.05, ge=0.0)
    """Weight of the Monte-Carlo KL divergence between posterior and flow prior."""

    listen: int = Field(32, ge=4, le=1024)
    """Principal components by which features of more than 160 numbers a frame are heard; fewer of a short clip."""

    pitch: bool = False
    """Whether pitch is heard beside the encoder's features, as in the paper beside HuBERT's; no prior knows it."""

    temperature: float = Field(0.2, ge=0.0, le=2.0)
    """Spread of the random latent at generation; 0 always gives the same, calmest motion."""

    mouth_amp: float = Field(1.0, ge=0.0, le=3.0)
    """Amplitude of the generated motion about the resting face; 1 is as lively as the person."""

    contact: float = Field(1.0, ge=0.0, le=3.0)
    """Below how wide a gap, in standard deviations of it, lips draw together until they touch; 0 leaves them apart."""

    seed: int = Field(0, ge=0)
    """Seed of the random latent."""

    landmarks: Literal["auto", "mediapipe478", "ibug68"] = "auto"
    """Scheme to generate: the capture's own, or 68 points taken from a dense capture."""

    @classmethod
    def tiny(cls) -> Self:
        """Sizes for tests."""
        return cls(
            prior="none", hidden=16, latent=4, encoder_layers=2, decoder_layers=2, condition=16, flow_layers=2,
            flow_hidden=8, components=6, dropout=0.0, augment=0.0, steps=40, batch=4, window=16, learning_rate=5e-3
        )  # fmt: skip


def _given(config: VaeConfig) -> frozenset[str]:
    return frozenset({"landmarks:68"} if config.landmarks == "ibug68" else {"landmarks:68", "landmarks:478"})


def _needed(config: VaeConfig) -> frozenset[str]:
    return frozenset({"prosody:loudness", "prosody:f0"} if config.pitch else {"prosody:loudness"})


def _load() -> type[VaeGenerator]:
    from realtalk_vae.generator import VaeGenerator

    return VaeGenerator


@hookimpl
def realtalk_components() -> Iterable[ComponentSpec]:
    """Declares the generator."""
    yield declare.landmark_generator(
        "vae",
        summary="Flow-prior VAE: sound to dense landmarks of neutral speech; starts from a prior, learns a capture.",
        api=1,
        config=VaeConfig,
        load=_load,
        needs=_needed,
        gives=_given,
    )
