"""RealTalk plugin: the renderer `mesh_shader`. Declares it; torch is imported only when it is built."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from pydantic import Field

from realtalk_core import declare
from realtalk_core.hookspecs import hookimpl
from realtalk_core.spec import ComponentConfig, ComponentSpec


class MeshShaderConfig(ComponentConfig):
    """Size of the texture, and how it is learnt."""

    texture: int = Field(256, ge=16, le=2048)
    """Side of the texture in texels."""

    steps: int = Field(600, ge=1)
    """Training steps."""

    frames: int = Field(4, ge=1, le=64)
    """Video frames per step."""

    learning_rate: float = Field(0.05, gt=0, le=1)
    """Learning rate of Adam."""

    halo: float = Field(1.9, ge=1.0, le=4.0)
    """How far the mesh reaches beyond the face's outline, for hair and ears, as a factor."""

    @classmethod
    def tiny(cls) -> Self:
        """For tests."""
        return cls(texture=32, steps=20, frames=2)


def _load() -> type:
    from realtalk_mesh_shader.renderer import MeshShader

    return MeshShader


@hookimpl
def realtalk_components() -> Iterable[ComponentSpec]:
    """Declares the renderer."""
    yield declare.renderer(
        "mesh_shader",
        summary="The landmark mesh with a learnt texture; crude, and trained in seconds.",
        api=1,
        config=MeshShaderConfig,
        load=_load,
        needs=frozenset({"landmarks:478"}),
    )
