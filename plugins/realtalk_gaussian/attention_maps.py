"""Which region listens to which part of the condition: what the gates let through, drawn like colours."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from realtalk_core.landmarks import BLENDSHAPES
from realtalk_core.nn.conditioning import score_columns
from realtalk_core.nn.splatting import View, project, rasterise
from realtalk_gaussian.condition import FrameCondition
from realtalk_gaussian.config import GaussianConfig
from realtalk_gaussian.head import Head


def map_names(config: GaussianConfig) -> tuple[str, ...]:
    """The maps in order: the speech's code; then all blendshapes together and each alone."""
    speech = {"components": "landmarks", "audio": "audio", "both": "landmarks_audio"}[config.condition]
    scores = tuple(f"blendshapes/{BLENDSHAPES[k]}" for k in score_columns(config.blendshapes))
    return (speech, "blendshapes", *scores) if scores else (speech,)


def let_through(head: Head, condition: FrameCondition) -> Float[Tensor, "N M"]:
    """Norms of the gated condition of the face's Gaussians, in the order of `map_names`."""
    branch, told = head.face_branch, head.code(condition)
    geometry = branch.geometry(head.unit(head.face.means))
    speech, *scores = (
        (gates.gates(geometry) + branch.gate_offset) * values
        for gates, values in zip(branch.attention, (v for v in told if len(v)), strict=True)
    )
    columns = [speech.norm(dim=1)]
    for values in scores:
        columns += [values.norm(dim=1), *values.abs().unbind(1)]
    return torch.stack(columns, 1)


def maps_of_frame(
    head: Head, canonical: dict[str, Tensor], points: Float[Tensor, "K 3"], condition: FrameCondition, view: View
) -> Float[Tensor, "M H W"]:
    """`let_through` as a camera sees it, weighted as colours are."""
    posed = head.pose(canonical, condition, head.motion(points))["face"]
    screen = project(posed.means, posed.covariances(), view, posed.opacities)
    return rasterise(screen, posed.opacities, let_through(head, condition), view).picture.permute(2, 0, 1)
