"""The occupancy grid: a density estimate per cell, kept as the maximum over conditions, and when a cell was last seen.

"Maximum occupancy" (RAD-NeRF §3.4): the volume changes with the expression, so a cell counts as occupied if it is dense
under any condition of the training clip. In addition a cell must have carried weight in a rendered ray lately: matter
behind the visible surface is dense but never seen, and sampling it costs without changing a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int32
from scipy import ndimage
from torch import Tensor

from realtalk_core.nn import _ray_kernels
from realtalk_core.nn._jit import array, on_cpu
from realtalk_core.nn.marching import Shell

DECAY = 0.95
NEVER = -(10**9)
ISLAND = 0.02
"""Pieces with fewer cells than this share of the largest one's are islands."""


def grow(grid: Bool[Tensor, "X Y Z"]) -> Bool[Tensor, "X Y Z"]:
    """The grid with every occupied cell's 26 neighbours."""
    pooled = torch.nn.functional.max_pool3d(grid[None, None].float(), 3, 1, 1)
    return pooled[0, 0] > 0.5


def without_islands(occupied: Bool[Tensor, "X Y Z"]) -> Bool[Tensor, "X Y Z"]:
    """Without pieces that touch no large one: what the film's few views never contradicted floats beside others."""
    labels, count = ndimage.label(occupied.cpu().numpy(), np.ones((3, 3, 3), np.uint8))
    if count < 2:
        return occupied
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept = sizes >= ISLAND * sizes.max()
    return torch.from_numpy(kept[labels]).to(occupied.device)


@dataclass(slots=True)
class Occupancy:
    """A mutable grid over a box.

    Attributes:
        low: Lower corner, cm.
        extent: Side of the cube that is mapped to [0, 1]³, cm.
        cell: Side of a cell, cm.
        allowed: Cells that may ever be occupied (the visual hull of the masks).
        density: Decaying maximum of the density per centimetre.
        last_seen: The step at which a cell last carried weight.
    """

    low: Float32[Tensor, "3"]
    extent: float
    cell: float
    allowed: Bool[Tensor, "X Y Z"]
    density: Float32[Tensor, "X Y Z"]
    last_seen: Int32[Tensor, "X Y Z"]

    @classmethod
    def over(cls, low: Tensor, high: Tensor, cell: float, allowed: Tensor | None = None) -> Occupancy:
        """A grid over a box, every allowed cell thought dense."""
        size = [max(1, int(n)) for n in ((high - low) / cell).ceil()]
        allowed = torch.ones(size, dtype=torch.bool) if allowed is None else allowed
        extent = cell * max(allowed.shape)
        density = torch.full(allowed.shape, 10.0)
        return cls(low.float(), extent, cell, allowed, density, torch.full(allowed.shape, NEVER, dtype=torch.int32))

    def to(self, device: torch.device) -> Occupancy:
        """The same grid there."""
        parts = (self.allowed.to(device), self.density.to(device), self.last_seen.to(device))
        return Occupancy(self.low.to(device), self.extent, self.cell, *parts)

    def centres(self, cells: Tensor) -> Float32[Tensor, "3 N"]:
        """Centres of cells given by flat indices, in [0, 1]³."""
        _, ny, nz = self.allowed.shape
        index = torch.stack((cells // (ny * nz), cells // nz % ny, cells % nz))
        return ((index + 0.5) * self.cell / self.extent).float()

    def update(self, density: Callable[[Tensor], Tensor], generator: torch.Generator, fraction: float = 0.25) -> None:
        """Re-estimates a random share of the allowed cells at a random point of each.

        Args:
            density: Density per centimetre at points `(3, N)`, already the maximum over conditions.
            generator: Chooses cells and points.
            fraction: Share of the allowed cells.
        """
        cells, device = self.allowed.flatten().nonzero().flatten(), self.allowed.device
        if fraction < 1:  # random numbers are drawn on the CPU, so that they are the same everywhere
            cells = cells[(torch.rand(len(cells), generator=generator) < fraction).to(device)]
        if not len(cells):
            return
        jitter = (torch.rand(3, len(cells), generator=generator) - 0.5).to(device) * (self.cell / self.extent)
        flat = self.density.view(-1)
        flat[cells] = torch.maximum(flat[cells] * DECAY, density(self.centres(cells) + jitter))

    def mark_seen(self, points: Tensor, weights: Tensor, step: int, threshold: float = 0.01) -> None:
        """Notes the cells in which samples carried weight; several threads may write the same step at once."""
        per_unit = self.extent / self.cell
        if on_cpu(points, self.last_seen):
            _ray_kernels.mark_seen(array(points), array(weights), per_unit, threshold, step, self.last_seen.numpy())
            return
        last = torch.tensor(self.last_seen.shape, device=points.device)[:, None] - 1
        x, y, z = (points[:, weights[: points.shape[1]] > threshold] * per_unit).long().minimum(last)
        self.last_seen[x, y, z] = step

    def shell(self, step_length: float, seen_since: int | None, least: float = 0.01) -> Shell:
        """The cells to sample.

        Args:
            step_length: Marching step, cm: a cell counts as dense if one step through it is more opaque than `least`.
            seen_since: Also demand that a cell or a neighbour was seen at or after this step; None for no demand.
            least: Opacity.
        """
        threshold = min(-math.log1p(-least) / step_length, float(self.density[self.allowed].mean()))
        occupied = grow(self.density > threshold) & self.allowed
        if seen_since is not None:
            occupied &= grow(self.last_seen >= seen_since)
        return Shell(self.low, self.extent, self.cell, without_islands(occupied).contiguous())
