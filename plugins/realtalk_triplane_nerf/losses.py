"""Terms of the loss that look at the field itself rather than at pictures; each on a few of a chunk's samples."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from realtalk_triplane_nerf.field import TriplaneField


def thin(points: Float[Tensor, "3 N"], most: int) -> Float[Tensor, "3 M"]:
    """At most `most` points (and a few more), evenly spread."""
    return points[:, :: max(1, points.shape[1] // most)]


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
