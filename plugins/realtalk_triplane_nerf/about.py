"""What a checkpoint of a tri-plane NeRF holds, told from its table alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from realtalk_triplane_nerf.config import TriplaneNerfConfig


def about(
    config: TriplaneNerfConfig, shapes: Mapping[str, tuple[int, ...]], metrics: Mapping[str, Any]
) -> dict[str, Any]:
    """Size of the volume and what it listens to."""
    scores = "" if config.blendshapes == "none" else ", blendshapes"
    held = "three planar hash grids" if config.grid == "planes" else "one hash grid"
    return {
        "volume": f"{held}, {config.levels} levels from {config.coarsest} to {config.finest} cells",
        "size": config.size,
        "moved by": f"landmarks{scores}" + (", after the warp" if config.warp else ""),
        "emotion": "with the landmarks",
        "torso": "learnt" if any(name.startswith("torso") for name in shapes) else "none",
    }
