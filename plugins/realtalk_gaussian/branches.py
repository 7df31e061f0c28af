"""A branch: what a Gaussian's place and the frame's condition say about its motion (EmoTalkingGaussian §2.1).

A tri-plane hash encoder reads the place, gates say which part of the condition concerns it, a small network gives
offsets. The place is constant over a clip: what depends on it alone is computed once (`known`), and the gates fold
into the first layer, so that a frame costs one narrow product per Gaussian.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from realtalk_core.nn.attention import RegionAttention
from realtalk_core.nn.hashgrid import PlaneGrids, PlaneLayout, encode_planes
from realtalk_gaussian.config import GaussianConfig


@dataclass(frozen=True, slots=True)
class Known:
    """What a branch knows of Gaussians before any frame.

    Attributes:
        base: First layer's part that depends on the place alone.
        gates: The gates' hidden layer; no columns without attention.
    """

    base: Float[Tensor, "N W"]
    gates: Float[Tensor, "N H"]


class Branch(nn.Module):
    """f(H(μ) ⊕ gates ⊙ condition); zero everywhere before training.

    Args:
        config: Sizes.
        groups: Length of each part of the condition; each has gates of its own.
        outputs: Numbers it gives.
    """

    def __init__(self, config: GaussianConfig, groups: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.layout = PlaneLayout.geometric(config.levels, 1, config.coarsest, config.finest, config.log2_entries)
        columns, width = self.layout.columns, config.width
        self.tables = nn.Parameter(self.layout.empty_tables())
        self.groups = tuple(groups)
        self.attention = (
            nn.ModuleList(
                RegionAttention(columns, max(8, width // (1 + k)), size) for k, size in enumerate(groups) if size
            )
            if config.attention
            else nn.ModuleList()
        )
        self.gate_offset = config.gate_offset if config.attention else 1.0
        self.first = nn.Linear(columns + sum(groups), width)
        self.second = nn.Linear(width, width)
        self.out = nn.Linear(width, outputs)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def geometry(self, points: Float[Tensor, "3 N"], grids: PlaneGrids | None = None) -> Float[Tensor, "N F"]:
        """What the planes hold at points in [0, 1]³."""
        return encode_planes(points, self.tables, self.layout, None, grids).T

    def known(self, points: Float[Tensor, "3 N"], grids: PlaneGrids | None = None) -> Known:
        """Everything that does not depend on the frame."""
        geometry = self.geometry(points, grids)
        base = F.linear(geometry, self.first.weight[:, : self.layout.columns], self.first.bias)
        inner = [torch.relu(gates.inner(geometry)) for gates in self.attention]
        return Known(base, torch.cat(inner, 1) if inner else base[:, :0])

    def folded(self, condition: Sequence[Float[Tensor, "C"]]) -> tuple[Float[Tensor, "W H"], Float[Tensor, "W"]]:
        """The frame's part of the first layer: `first == base + gates @ matrix.T + bias`."""
        weights = self.first.weight[:, self.layout.columns :].split(self.groups, 1)
        told = [(weight, values) for weight, values in zip(weights, condition, strict=True) if weight.shape[1]]
        bias = self.gate_offset * sum((w @ v for w, v in told), torch.zeros_like(self.first.bias))
        parts = [gates.folded(w, v) for gates, (w, v) in zip(self.attention, told, strict=False)]
        return torch.cat(parts, 1) if parts else weights[0].new_zeros(len(bias), 0), bias

    def offsets(self, known: Known, condition: Sequence[Float[Tensor, "C"]]) -> Float[Tensor, "N O"]:
        """What the branch gives for one frame."""
        matrix, bias = self.folded(condition)
        hidden = known.base + bias
        if matrix.shape[1]:
            hidden = torch.addmm(hidden, known.gates, matrix.T)
        out: Tensor = self.out(torch.relu(self.second(torch.relu(hidden))))
        return out

    def forward(
        self, points: Float[Tensor, "3 N"], condition: Sequence[Float[Tensor, "C"]], grids: PlaneGrids | None = None
    ) -> Float[Tensor, "N O"]:
        """Offsets of points in [0, 1]³."""
        return self.offsets(self.known(points, grids), condition)

    def grids(self) -> PlaneGrids | None:
        """The planes as they are now, for fast reading; None where they cannot be read so."""
        return PlaneGrids.of(self.tables, self.layout) if PlaneGrids.readable(self.tables) else None
