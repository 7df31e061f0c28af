"""Region attention: which part of the condition concerns a point (ER-NeRF's, RealTalk §3.3).

A two-layer perceptron of the geometry feature gives one gate per channel of the condition, which it multiplies element
by element: no softmax, no sigmoid, no bias. With one frame per chunk the condition is a single vector, so the gating
and the linear layer behind it fold into one matrix and cost nothing per sample.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class RegionAttention(nn.Module):
    """Gates for one condition vector.

    Args:
        features: Size of the geometry feature.
        hidden: Width between the two layers.
        channels: Size of the condition.
    """

    def __init__(self, features: int, hidden: int, channels: int) -> None:
        super().__init__()
        self.inner = nn.Linear(features, hidden, bias=False)
        self.outer = nn.Linear(hidden, channels, bias=False)

    def gates(self, geometry: Float[Tensor, "N F"]) -> Float[Tensor, "N C"]:
        """One gate per channel; their norm is the "ambient" map that training regularises."""
        gates: Tensor = self.outer(torch.relu(self.inner(geometry)))
        return gates

    def forward(self, geometry: Float[Tensor, "N F"], condition: Float[Tensor, "C"]) -> Float[Tensor, "N C"]:
        """The gated condition of each point: the plain form."""
        return self.gates(geometry) * condition

    def folded(self, weight: Float[Tensor, "O C"], condition: Float[Tensor, "C"]) -> Float[Tensor, "O H"]:
        """The matrix M with `weight @ (gates * condition) == M @ relu(inner(geometry))` for every point."""
        return (weight * condition) @ self.outer.weight
