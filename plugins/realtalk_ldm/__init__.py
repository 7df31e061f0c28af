"""Emotion deformer `ldm`: the landmark deformation model, a residual network with attention over face regions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Self

from pydantic import Field

from realtalk_core import declare
from realtalk_core.hookspecs import hookimpl
from realtalk_core.spec import ComponentConfig, ComponentSpec

if TYPE_CHECKING:
    from realtalk_ldm.deformer import LdmDeformer


class LdmConfig(ComponentConfig):
    """Start, sizes, training and strength of the deformer."""

    prior: str = "shipped"
    """Where emotion comes from: `shipped` (learnt from many synthetic actors), a prior's file, or `units` (facial
    action units on this face)."""

    delta: float = Field(1.0, ge=0.0, le=2.0)
    """Strength of every emotion (the paper's δ); 1 shows the prior's full expression at intensity 1."""

    hidden: int = Field(256, ge=16, le=1024)
    """Channels throughout, a multiple of four."""

    embedding: int = Field(16, ge=1, le=256)
    """Numbers per emotion label."""

    res_blocks: int = Field(2, ge=0, le=8)
    """Residual blocks before the attention."""

    feed_forward: int = Field(1024, ge=16, le=4096)
    """Channels within the attention block's feed-forward part."""

    components: int = Field(48, ge=4, le=204)
    """Components of emotional displacement that the network speaks in."""

    variety: float = Field(0.15, ge=0.0, le=0.5)
    """Spread of amplitude, asymmetry and face shape among the training pairs."""

    protect_mouth: float = Field(1.0, ge=0.0, le=1.0)
    """How strictly lips that speech closes stay closed; 0 leaves it to what the network has learnt."""

    steps: int = Field(600, ge=1)
    """Training steps, when it learns from action units; a learnt prior is fitted to the face in one go."""

    batch: int = Field(64, ge=8, le=4096)
    """Pairs per step."""

    learning_rate: float = Field(1e-3, gt=0.0, le=0.1)
    """Peak learning rate; short warm-up, cosine decay."""

    @classmethod
    def tiny(cls) -> Self:
        """Sizes for tests."""
        return cls(
            prior="units", hidden=32, embedding=4, res_blocks=1, feed_forward=32, components=12, steps=60, batch=32
        )


def _load() -> type[LdmDeformer]:
    from realtalk_ldm.deformer import LdmDeformer

    return LdmDeformer


@hookimpl
def realtalk_components() -> Iterable[ComponentSpec]:
    """Declares the deformer."""
    yield declare.emotion_deformer(
        "ldm",
        summary="Landmark deformation model: eight emotions with intensity, from a prior or action units.",
        api=1,
        config=LdmConfig,
        load=_load,
    )
