"""Renderer `triplane_nerf`: a tri-plane hash NeRF of one head, driven by landmarks and upper-face blendshapes."""

from __future__ import annotations

from collections.abc import Iterable

from realtalk_core import declare
from realtalk_core.hookspecs import hookimpl
from realtalk_core.spec import ComponentSpec
from realtalk_triplane_nerf.about import about
from realtalk_triplane_nerf.config import TriplaneNerfConfig


def _load() -> type:
    from realtalk_triplane_nerf.renderer import TriplaneNerf

    return TriplaneNerf


def _needs(config: TriplaneNerfConfig) -> frozenset[str]:
    points = "landmarks:68" if config.landmarks == "ibug68" else "landmarks:478"
    return frozenset({points} if config.blendshapes == "none" else {points, "blendshapes:52"})


@hookimpl
def realtalk_components() -> Iterable[ComponentSpec]:
    """Declares the renderer."""
    yield declare.renderer(
        "triplane_nerf",
        summary="Tri-plane hash NeRF of the head, warped by landmarks; learns from one capture in minutes on a CPU.",
        api=1,
        config=TriplaneNerfConfig,
        load=_load,
        needs=_needs,
        about=about,
    )
