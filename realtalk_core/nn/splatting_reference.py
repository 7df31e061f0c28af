"""Gaussian splatting as the formulas say, in plain torch: what the kernels of `splatting` must agree with.

C = Σ_i c_i α_i T_i with T_i = Π_{j<i} (1 − α_j) and α_i = min(0.999, o_i exp(−½ dᵀ Σ_i⁻¹ d)) (Kerbl et al. 2023, §4).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from realtalk_core.nn.splat_projection import Screen, View

OPAQUE = 0.999
FAINTEST = 1 / 255
SPENT = 1e-4


def rasterise_reference(
    screen: Screen, opacities: Float[Tensor, "N"], channels: Float[Tensor, "N C"], view: View, rows: int = 16
) -> tuple[Float[Tensor, "H W C"], Float[Tensor, "H W"]]:
    """`realtalk_core.nn.splatting.rasterise`, without a region; differentiable by autograd.

    Args:
        screen: The Gaussians as the camera sees them.
        opacities: In [0, 1].
        channels: What to draw.
        view: The camera, for the picture's size.
        rows: Rows of pixels worked on at a time, for memory.
    """
    a, b, c = screen.conics.unbind(1)
    seen = (screen.radii > 0) & (a > 0) & (a * c > b * b)
    order = torch.argsort(screen.depths, stable=True)
    order = order[seen[order]]
    x, y = (screen.centres[order, axis, None] for axis in (0, 1))
    a, b, c = (number[order, None] for number in (a, b, c))
    columns = torch.arange(view.width, device=x.device).to(x) + 0.5
    parts = []
    for first in range(0, view.height, rows):
        lines = torch.arange(first, min(first + rows, view.height), device=x.device).to(x) + 0.5
        dy, dx = (grid.flatten() for grid in torch.meshgrid(lines, columns, indexing="ij"))
        dx, dy = dx - x, dy - y
        level = opacities[order, None] * torch.exp(-0.5 * (a * dx * dx + 2 * b * dx * dy + c * dy * dy))
        share = torch.where(level >= FAINTEST, level.clamp(max=OPAQUE), 0.0)
        before = torch.cumprod(torch.cat((torch.ones_like(share[:1]), 1 - share)), 0)
        weights = torch.where(before[1:] > SPENT, share * before[:-1], 0.0)
        parts.append((weights.T @ channels[order], weights.sum(0)))
    picture, alpha = (torch.cat(part) for part in zip(*parts, strict=True))
    return picture.reshape(view.height, view.width, channels.shape[1]), alpha.reshape(view.height, view.width)
