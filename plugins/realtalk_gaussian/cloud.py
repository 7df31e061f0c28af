"""A cloud of 3-D Gaussians: what is learnt of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

FLAT = 0.28209479177387814
"""The spherical harmonic of degree 0."""
LEAST_SCALE, MOST_SCALE = 0.002, 4.0
"""Bounds of a scale in centimetres."""


class Cloud(nn.Module):
    """Persistent Gaussians in the template's head space.

    Every tensor's first axis is the Gaussian. Parameters stay the same objects when their number changes, only `.data`
    is replaced: optimizers keep them.

    Attributes:
        means: `N 3` centres, cm.
        scales: `N 3` logarithms of the standard deviations in centimetres.
        rotations: `N 4` quaternions (w x y z), of any length.
        opacities: `N` logits.
        colours: `N K 3` coefficients of spherical harmonics (3DGS's convention).
        normals: `N 3` residuals on the shortest axis (GaussianShader).
        follow: `N A`, how far each follows each rigid part (`rigid.PARTS`); not learnt. None where all follow the skin.
    """

    def __init__(self, count: int, degree: int, parts: int = 0) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.zeros(count, 3))
        self.scales = nn.Parameter(torch.zeros(count, 3))
        self.rotations = nn.Parameter(torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1))
        self.opacities = nn.Parameter(torch.zeros(count))
        self.colours = nn.Parameter(torch.zeros(count, (degree + 1) ** 2, 3))
        self.normals = nn.Parameter(torch.zeros(count, 3))
        self.follow: nn.Parameter | None = None
        if parts:
            self.follow = nn.Parameter(torch.zeros(count, parts), requires_grad=False)

    def __len__(self) -> int:
        return len(self.means)

    @property
    def active_scales(self) -> Float[Tensor, "N 3"]:
        """Standard deviations, cm."""
        return self.scales.exp().clamp(LEAST_SCALE, MOST_SCALE)

    @property
    def active_rotations(self) -> Float[Tensor, "N 4"]:
        """Unit quaternions."""
        return F.normalize(self.rotations, dim=1)

    @property
    def active_opacities(self) -> Float[Tensor, "N"]:
        """In [0, 1]."""
        return torch.sigmoid(self.opacities)

    def canonical(self) -> dict[str, Tensor]:
        """What `Head.pose` needs of them, differentiable: active values."""
        found = {
            "means": self.means,
            "scales": self.active_scales,
            "rotations": self.active_rotations,
            "opacities": self.active_opacities,
            "colours": self.colours,
            "normals": self.normals,
        }
        return found if self.follow is None else found | {"follow": self.follow}

    @torch.no_grad()
    def fill(self, values: Mapping[str, Tensor]) -> None:
        """Replaces every tensor; they must agree in their number of Gaussians."""
        for name, parameter in self.named_parameters(recurse=False):
            parameter.data = values[name].to(parameter).contiguous().clone()
            parameter.grad = None

    def resized(self, count: int) -> Cloud:
        """Itself with room for `count` Gaussians, whose values are to be loaded."""
        for _, parameter in self.named_parameters(recurse=False):
            parameter.data = parameter.data.new_zeros(count, *parameter.shape[1:])
            parameter.grad = None
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Takes the number of Gaussians from the state."""
        means = state_dict.get(prefix + "means")
        if means is not None and len(means) != len(self):
            self.resized(len(means))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def flat_colours(rgb: Float[Tensor, "N 3"], degree: int) -> Float[Tensor, "N K 3"]:
    """Coefficients of colours that look alike from everywhere."""
    colours = torch.zeros(len(rgb), (degree + 1) ** 2, 3)
    colours[:, 0] = (rgb - 0.5) / FLAT
    return colours
