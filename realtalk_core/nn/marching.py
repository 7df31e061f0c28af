"""Marching: which points along each ray are worth a network evaluation.

Positions are pulled back to the template face by the warp before the occupancy grid and the planes are read, so that
one grid serves all expressions and geometry follows landmarks beyond those of the training clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from realtalk_core.nn import _ray_kernels
from realtalk_core.nn._jit import array, on_cpu
from realtalk_core.nn.rays import meet_box
from realtalk_core.nn.warp import WarpField, warp_reference


@dataclass(frozen=True, slots=True)
class Shell:
    """Where matter may be.

    Attributes:
        low: Lower corner of the box, cm.
        extent: Side of the cube that is mapped to [0, 1]³, cm.
        cell: Side of a grid cell, cm.
        occupied: The grid over the box; cell (0, 0, 0) begins at `low`, axes x, y, z.
    """

    low: Float32[Tensor, "3"]
    extent: float
    cell: float
    occupied: Bool[Tensor, "X Y Z"]

    @property
    def high(self) -> Float32[Tensor, "3"]:
        """Upper corner of the box, cm."""
        return self.low + self.cell * torch.tensor(self.occupied.shape, dtype=torch.float32, device=self.low.device)

    def to(self, device: torch.device) -> Shell:
        """The same shell there."""
        return Shell(self.low.to(device), self.extent, self.cell, self.occupied.to(device))


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples of some rays.

    Attributes:
        points: Template positions in [0, 1]³, feature-major.
        offsets: Ray r owns samples `offsets[r]` to `offsets[r + 1]`.
    """

    points: Float32[Tensor, "3 N"]
    offsets: Int64[Tensor, "R1"]


def march_reference(
    origin: Float[Tensor, "3"],
    directions: Float[Tensor, "R 3"],
    shift: Float[Tensor, "R"],
    step: float,
    shell: Shell,
    warp: WarpField | None,
    limit: int,
) -> Samples:
    """Evenly spaced samples that fall into occupied cells, the first `limit` of each ray.

    Args:
        origin: Camera centre, head space, cm.
        directions: Unit vectors.
        shift: Fraction of a step by which each ray's first sample is moved, in [0, 1).
        step: Distance between samples, cm.
        shell: Box and occupancy, on the template face.
        warp: Displacement of the face from the template; None for none.
        limit: Most samples a ray may have.
    """
    margin = warp.reach() if warp is not None else 0.0
    near, far = meet_box(origin, directions, shell.low - margin, shell.high + margin)
    most = max(1, int(((far - near).clamp(min=0).amax() / step).item()) + 2)
    distance = near[:, None] + (torch.arange(most, device=near.device) + shift[:, None]) * step
    points = origin + distance[..., None] * directions[:, None]
    if warp is not None:
        points = points - warp_reference(points, warp)
    local = points - shell.low
    cell = (local / shell.cell).floor().long()
    size = torch.tensor(shell.occupied.shape, device=cell.device)
    inside = (local >= 0).all(-1) & (cell < size).all(-1) & (distance < far[:, None])
    x, y, z = cell.clamp(min=0).minimum(size - 1).unbind(-1)
    taken = inside & shell.occupied[x, y, z]
    taken &= taken.cumsum(1) <= limit
    offsets = torch.cat((torch.zeros(1, dtype=torch.long, device=near.device), taken.sum(1).cumsum(0)))
    return Samples((local[taken] / shell.extent).T.contiguous(), offsets)


def march(
    origin: Float[Tensor, "3"],
    directions: Float[Tensor, "R 3"],
    shift: Float[Tensor, "R"],
    step: float,
    shell: Shell,
    warp: WarpField | None,
    limit: int,
) -> Samples:
    """`march_reference`, by the kernel on the CPU."""
    if not on_cpu(directions, shell.occupied):
        return march_reference(origin, directions, shift, step, shell, warp, limit)
    margin = warp.reach() if warp is not None else 0.0
    near, far = meet_box(origin, directions, shell.low - margin, shell.high + margin)
    rays = directions.shape[0]
    points, offsets = torch.empty(3, rays * limit), torch.empty(rays + 1, dtype=torch.long)
    grid = torch.zeros(1, 1, 3) if warp is None else warp.grid
    low, inverse = (torch.zeros(2), torch.zeros(2)) if warp is None else (warp.low, warp.cells_per_cm)
    count = _ray_kernels.march(
        array(origin.float()), array(directions.float()), array(near.float()), array(far.float()),
        array(shift.float()), step, array(shell.low), 1 / shell.extent,
        array(grid), array(low), array(inverse), array(shell.occupied), 1 / shell.cell, limit,
        points.numpy(), offsets.numpy(),
    )  # fmt: skip
    return Samples(points[:, :count].contiguous(), offsets)
