"""The losses of a chunk beside colour and opacity (RealTalk §3.3 and its code; SyncTalk, ER-NeRF).

What looks at the field itself rather than at pictures does so on a few of a chunk's samples, so that it costs little.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from realtalk_core.nn.hashgrid import PlaneGrids
from realtalk_core.nn.spherical import spherical_harmonics
from realtalk_triplane_nerf.field import FrameCondition, TriplaneField
from realtalk_triplane_nerf.head import Rendered

UNCERTAIN_SHARE = 0.8
"""How much of the colour loss uncertainty redistributes; the rest counts every ray alike (the paper's alpha is 0.2)."""
MOST_UNCERTAIN = 10.0
JITTER = 5e-4
"""Displacement of the smoothness term as a share of the box: 1e-3 of half its side."""
SMOOTH_SAMPLES = 2048


def thin(points: Float[Tensor, "3 N"], most: int) -> Float[Tensor, "3 M"]:
    """At most `most` points, evenly spread."""
    return points[:, :: spacing(points.shape[1], most)]


def spacing(count: int, most: int) -> int:
    """Every which of `count` points to take so that `most` are not exceeded."""
    return max(1, -(-count // most))


def ambient(field: TriplaneField, geometry: Float[Tensor, "N F"], lower: Bool[Tensor, "N"]) -> Float[Tensor, ""]:
    """Mean gate of the mouth's condition above the nose and of the eyes' below it.

    Args:
        field: Whose gates.
        geometry: What its grids hold at some samples.
        lower: Which of them lie below the nose.
    """
    if not len(geometry):
        return geometry.new_zeros(())
    zero = geometry.new_zeros(len(geometry))
    mouth, eyes = (
        zero if gates is None else gates.gates(geometry).abs().mean(1) for gates in (field.mouth, field.eyes)
    )
    return torch.where(lower, eyes, mouth).mean()


def gate_norm(field: TriplaneField, geometry: Float[Tensor, "N F"]) -> Float[Tensor, ""]:
    """Mean length of what lets conditions in, per channel: a length, not its square, becomes zero as a whole.

    Args:
        field: Whose gates.
        geometry: What its grids hold at some samples.
    """
    total = geometry.new_zeros(())
    for gates in (field.mouth, field.eyes):
        if gates is not None and len(geometry):
            open_ = gates.gates(geometry) + field.gate_offset
            total = total + (open_.square().mean(1) + 1e-12).sqrt().mean()
    return total


def doubts(
    field: TriplaneField, out: Rendered, sink: Tensor | None = None, grids: PlaneGrids | None = None
) -> Float[Tensor, "R"]:
    """Each ray's learnt uncertainty, at the mean place of what it meets; zero where it meets nothing.

    The papers composite the uncertainty of every sample. One read a ray costs a tenth, and what is uncertain is a
    place of the surface.
    """
    assert field.doubt is not None
    points, offsets = out.samples.points, out.samples.offsets
    weights = out.weights[: points.shape[1]].detach()
    rays = torch.repeat_interleave(torch.arange(len(out.alpha), device=points.device), offsets.diff())
    total = points.new_zeros(3, len(out.alpha)).index_add(1, rays, points * weights)
    alpha = out.alpha.detach()
    geometry = field.geometry(total / alpha.clamp(min=1e-6), sink, grids)
    return F.softplus(field.doubt(geometry)[:, 0]) * alpha


def doubt_weights(doubt: Float[Tensor, "R"], share: float) -> Float[Tensor, "R"]:
    """Weights of the rays' colour losses: uncertain rays count more; constants.

    Args:
        doubt: Of each ray.
        share: 0 for equal weights, 1 for all that uncertainty says.
    """
    uneven = torch.softmax(doubt.detach(), 0) * len(doubt)
    return 1 - UNCERTAIN_SHARE + UNCERTAIN_SHARE * (1 - share + share * uneven).clamp(max=MOST_UNCERTAIN)


def doubt_loss(doubt: Float[Tensor, "R"], error: Float[Tensor, "R 3"], inside: Bool[Tensor, "R"]) -> Float[Tensor, ""]:
    """What teaches uncertainty: a likelihood of the errors on the head, nothing to doubt outside.

    Args:
        doubt: Of each ray.
        error: Of its colour; a constant.
        inside: Whether it ends on the head.
    """
    beta = doubt + 1
    likelihood = error.detach().norm(dim=1) / (2 * beta.square()) + beta.log().square() / 2
    return torch.where(inside, likelihood, doubt).mean()


def smoothness(
    field: TriplaneField,
    out: Rendered,
    condition: FrameCondition,
    directions: Float[Tensor, "R 3"],
    jitter: Float[Tensor, "3 S"],
    sink: Tensor | None = None,
    grids: PlaneGrids | None = None,
) -> Float[Tensor, ""]:
    """Mean change of density and colour at some of a chunk's samples under a small displacement.

    Args:
        field: Networks.
        out: The chunk.
        condition: Of its frame; a constant here.
        directions: Of its rays.
        jitter: Uniform in [-1, 1]; its length bounds the number of samples.
        sink: As in `encode_planes`.
        grids: As in `encode_planes`.
    """
    points = thin(out.samples.points, jitter.shape[1])
    count = points.shape[1]
    if not count:
        return out.alpha.new_zeros(())
    places = torch.arange(count, device=points.device) * spacing(out.samples.points.shape[1], jitter.shape[1])
    rays = torch.searchsorted(out.samples.offsets, places, right=True) - 1
    views = spherical_harmonics(directions)
    moved = (points + JITTER * jitter[:, :count]).clamp(0, 1)
    with torch.no_grad():
        sigma, colour = field(points, condition, views, rays, None, grids)
    near_sigma, near_colour = field(moved, condition, views, rays, sink, grids)
    return (near_sigma - sigma)[:count].abs().mean() + (near_colour - colour)[:count].abs().mean()
