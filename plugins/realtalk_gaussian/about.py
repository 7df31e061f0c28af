"""What a checkpoint of Gaussians holds, told from its table alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from realtalk_gaussian.config import GaussianConfig
from realtalk_gaussian.schedule import spans

HEARD = {"components": "landmarks", "audio": "sound", "both": "landmarks and sound"}
FELT = {"landmarks": "with the landmarks", "branch": "by a branch for valence and arousal", "none": "not at all"}


def about(config: GaussianConfig, shapes: Mapping[str, tuple[int, ...]], metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers of Gaussians, what moves them, and the phases of the training, each with the steps it has had."""
    step = int(metrics.get("step", 0))
    scores = "" if config.blendshapes == "none" else ", blendshapes"
    counts = {layer: shapes[f"{layer}.means"][0] for layer in ("face", "mouth") if f"{layer}.means" in shapes}
    return {
        "gaussians": {**counts, "together": sum(counts.values())},
        "size": config.size,
        "harmonics of degree": config.sh_degree,
        "moved by": f"{HEARD[config.condition]}{scores}" + (", after the warp" if config.warp else ""),
        "emotion": FELT[config.emotion],
        "torso": "learnt" if any(name.startswith("torso") for name in shapes) else "none",
        "phases": {
            phase: f"{min(max(step - steps.start, 0), len(steps))} of {len(steps)} steps"
            for phase, steps in spans(config).items()
            if len(steps)
        },
    }
