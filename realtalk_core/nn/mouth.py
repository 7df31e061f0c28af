"""The inside of the mouth in the landmark warp: teeth do not stretch with the lips.

Interpolated between the lips, displacement would squeeze the template's teeth into whatever gap the lips leave. Upper
teeth are part of the skull, so in head space they stay where they are: inside the lips' inner outline nothing moves,
but for what the template's lips hide, which is taken from their edge.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from realtalk_core.landmarks import LIPS_INNER

INNER_LIPS68 = tuple(range(60, 68))


def depth_inside(at: Float[Tensor, "N 2"], outline: Float[Tensor, "V 2"]) -> Float[Tensor, "N"]:
    """Distance of points to a closed outline; negative outside.

    >>> depth_inside(torch.tensor([[0.5, 0.4], [2.0, 0.5]]), torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]])).tolist()
    [0.4000000059604645, -1.0]
    """
    begin, end = outline, outline.roll(-1, 0)
    along, to = end - begin, at[:, None] - begin
    share = ((to * along).sum(-1) / along.square().sum(-1).clamp_min(1e-9)).clamp(0, 1)
    distance = (to - share[..., None] * along).norm(dim=-1).amin(1)
    crossed = (begin[:, 1] > at[:, None, 1]) != (end[:, 1] > at[:, None, 1])
    rise = torch.where(along[:, 1].abs() < 1e-9, torch.full_like(along[:, 1], 1e-9), along[:, 1])
    where = begin[:, 0] + (at[:, None, 1] - begin[:, 1]) / rise * along[:, 0]
    odd = (crossed & (at[:, None, 0] < where)).sum(1) % 2 == 1
    return torch.where(odd, distance, -distance)


def hold_still(
    grid: Float32[Tensor, "G G 3"],
    nodes: Float32[Tensor, "GG 2"],
    landmarks: Float[Tensor, "K 3"],
    template: Float[Tensor, "K 3"],
) -> Float32[Tensor, "G G 3"]:
    """A warp's grid that leaves the inside of the mouth where it is.

    This sets in over one cell from the lips' edge inward, so the field changes steadily as the lips move.

    Args:
        grid: Displacements from the template.
        nodes: (x, y) of its nodes, row by row.
        landmarks: The face as it is now, 478 or 68 points.
        template: The face the volume is stored in.
    """
    inner = list(LIPS_INNER if len(landmarks) == 478 else INNER_LIPS68)
    outline = landmarks[inner, :2].float()
    cell = (nodes[-1] - nodes[0]).amax() / (grid.shape[0] - 1)
    near = ((nodes > outline.amin(0)) & (nodes < outline.amax(0))).all(1).nonzero().flatten()
    at = nodes[near]
    within = (depth_inside(at, outline) / cell).clamp(0, 1)[:, None]
    upper, lower = (heights(template, edge, at[:, 0]) for edge in (inner[: len(inner) // 2 + 1], _lower(inner)))
    held = torch.zeros(len(near), 3)
    held[:, 1] = (at[:, 1] - upper).clamp(min=0) + (at[:, 1] - lower).clamp(max=0)
    out = grid.reshape(-1, 3).clone()
    out[near] += within * (held - out[near])
    return out.reshape(grid.shape)


def heights(face: Float[Tensor, "K 3"], edge: list[int], x: Float[Tensor, "N"]) -> Float32[Tensor, "N"]:
    """Height of a lip's edge at each x; beyond the corners, the corner's."""
    places = face[edge].double().numpy()
    places = places[np.argsort(places[:, 0])]
    return torch.from_numpy(np.interp(x.double().numpy(), places[:, 0], places[:, 1])).float()


def _lower(inner: list[int]) -> list[int]:
    return [*inner[len(inner) // 2 :], inner[0]]
