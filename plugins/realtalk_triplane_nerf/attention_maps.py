"""Which region listens to which part of the condition: what the gates let through, composited like colours."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from realtalk_core.landmarks import BLENDSHAPES
from realtalk_core.nn.compositing import composite
from realtalk_core.nn.conditioning import score_columns
from realtalk_core.nn.marching import Shell, march
from realtalk_core.nn.warp import WarpField
from realtalk_triplane_nerf.config import TriplaneNerfConfig
from realtalk_triplane_nerf.field import FrameCondition, TriplaneField


def names(config: TriplaneNerfConfig) -> tuple[str, ...]:
    """The maps in order: the landmarks' code; then all blendshapes together and each alone."""
    scores = tuple(f"blendshapes/{BLENDSHAPES[k]}" for k in score_columns(config.blendshapes))
    return ("landmarks", "blendshapes", *scores) if scores else ("landmarks",)


def let_through(field: TriplaneField, points: Float[Tensor, "3 N"], condition: FrameCondition) -> Float[Tensor, "N M"]:
    """Norms of the gated condition at template points, in the order of `names`.

    What the first layer is given is (gates + offset) · condition, channel by channel; of the landmarks' code the norm
    over its 64 channels, of the blendshapes the norm and each one's magnitude.
    """
    assert field.mouth is not None
    geometry = field.geometry(points).float()
    code = (field.mouth.gates(geometry) + field.gate_offset) * field.code(condition.landmarks)
    columns = [code.norm(dim=1)]
    if field.eyes is not None:
        scores = (field.eyes.gates(geometry) + field.gate_offset) * condition.scores
        columns += [scores.norm(dim=1), *scores.abs().unbind(1)]
    return torch.stack(columns, 1)


def maps_of_rays(
    field: TriplaneField,
    shell: Shell,
    warp: WarpField | None,
    condition: FrameCondition,
    origin: Float[Tensor, "3"],
    directions: Float[Tensor, "R 3"],
    config: TriplaneNerfConfig,
) -> Float[Tensor, "R M"]:
    """`let_through` along rays of one frame, weighted as their colours are."""
    shift = directions.new_full((len(directions),), 0.5)
    samples = march(origin, directions, shift, config.step_cm, shell, warp, config.samples_per_ray)
    count = samples.points.shape[1]
    sigma = field(samples.points, condition)[0][:count].float().contiguous()
    values = let_through(field, samples.points, condition)
    out, _, _ = composite(sigma, values, samples.offsets, config.step_cm)
    return out
