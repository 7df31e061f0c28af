"""The landmark warp forwards, with its Jacobian: where template points go, and how their surroundings stretch.

`Warper.forward_field` solves for every frame, though its places are always the template's: what it gives is linear in
the landmarks. Here that map is one matrix, made once; a frame costs one product and a read per point.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from realtalk_core.nn import _forward_warp_kernel
from realtalk_core.nn._jit import array, on_cpu
from realtalk_core.nn.warp import FADE, SOURCES478, STIFFNESS, Warper, parted


@dataclass(frozen=True, slots=True)
class ForwardField:
    """One frame's displacement from the template and its slopes, over a grid in x and y.

    Attributes:
        grid: `G G 9`: displacement in cm, its slope along x, its slope along y; rows run along y.
        low: (x, y) of the first node, cm.
        cells_per_cm: Grid cells per centimetre along x and y.
    """

    grid: Float32[Tensor, "G G 9"]
    low: Float32[Tensor, "2"]
    cells_per_cm: Float32[Tensor, "2"]

    def read_reference(self, points: Float32[Tensor, "N 3"]) -> tuple[Float32[Tensor, "N 3"], Float32[Tensor, "N 3 3"]]:
        """Displacement and Jacobian (identity plus slopes) at template points; none outside the grid."""
        last = self.grid.shape[0] - 1
        place = (points[:, :2] - self.low) * self.cells_per_cm
        inside = ((place >= 0) & (place < last)).all(1, keepdim=True)
        node = place.floor().long().clamp(0, last - 1)
        s, t = (place - node)[:, :, None].unbind(1)
        i, j = node.unbind(1)
        near = (1 - s) * self.grid[j, i] + s * self.grid[j, i + 1]
        far = (1 - s) * self.grid[j + 1, i] + s * self.grid[j + 1, i + 1]
        value = torch.where(inside, (1 - t) * near + t * far, near.new_zeros(()))
        slopes = torch.stack((value[:, 3:6], value[:, 6:9], torch.zeros_like(value[:, :3])), 2)
        return value[:, :3], torch.eye(3, device=points.device) + slopes

    def read(self, points: Float32[Tensor, "N 3"]) -> tuple[Float32[Tensor, "N 3"], Float32[Tensor, "N 3 3"]]:
        """`read_reference`, by the kernel on the CPU; not differentiable there."""
        if not on_cpu(points, self.grid):
            return self.read_reference(points)
        moved, jump = torch.empty(len(points), 3), torch.empty(len(points), 3, 3)
        x, y = self.low.tolist()
        per_x, per_y = self.cells_per_cm.tolist()
        _forward_warp_kernel.read(array(points), array(self.grid), x, y, per_x, per_y, moved.numpy(), jump.numpy())
        return moved, jump

    def to(self, device: torch.device) -> ForwardField:
        """The same field there."""
        return ForwardField(self.grid.to(device), self.low.to(device), self.cells_per_cm.to(device))


@dataclass(frozen=True, slots=True)
class ForwardWarp:
    """`Warper.forward_field` for one person, all that does not depend on the frame done beforehand.

    Attributes:
        template: The face points are stored in, cm.
        sources: Which landmarks are interpolated.
        operator: `S GG`, displacements of the sources to displacements of the nodes (in this order: six times faster).
        low: (x, y) of the grid's first node, cm.
        cells_per_cm: Grid cells per centimetre along x and y.
    """

    template: Float32[Tensor, "K 3"]
    sources: tuple[int, ...]
    operator: Float32[Tensor, "S GG"]
    low: Float32[Tensor, "2"]
    cells_per_cm: Float32[Tensor, "2"]

    @classmethod
    def of(cls, warper: Warper) -> ForwardWarp:
        """Solves the interpolation for unit displacements of every source."""
        template, side = warper.template, warper.side
        sources = SOURCES478 if len(template) == 478 else tuple(range(len(template)))
        places = torch.cat((parted(template)[list(sources), :2], warper.ring[:, :2])).double()
        count = len(places)
        system = torch.zeros(count + 1, count + 1, dtype=torch.float64)
        system[:count, :count] = -torch.cdist(places, places, compute_mode="donot_use_mm_for_euclid_dist")
        system.diagonal()[:count] += STIFFNESS * float((places.amax(0) - places.amin(0)).mean())
        system[count, :count] = system[:count, count] = 1
        weights = torch.linalg.inv(system)[:, : len(sources)]
        distances = torch.cdist(warper.nodes().double(), places, compute_mode="donot_use_mm_for_euclid_dist")
        edge = torch.linspace(-1, 1, side).abs()
        fade = ((1 - torch.maximum(edge[:, None], edge[None])) / FADE).clamp(0, 1).reshape(-1, 1)
        operator = (weights[count] - distances @ weights[:count]) * fade
        return cls(
            template,
            tuple(sources),
            operator.T.float().contiguous(),
            warper.low,
            (side - 1) / (warper.high - warper.low),
        )

    def field(self, landmarks: Float[Tensor, "K 3"]) -> ForwardField:
        """The field that takes template points to this face."""
        chosen = list(self.sources)
        moved = (landmarks[chosen].float() - self.template[chosen]).T @ self.operator
        side = round(moved.shape[1] ** 0.5)
        grid = moved.T.reshape(side, side, 3)
        along_y, along_x = torch.gradient(grid, dim=(0, 1))
        slopes = along_x * self.cells_per_cm[0], along_y * self.cells_per_cm[1]
        return ForwardField(torch.cat((grid, *slopes), 2).contiguous(), self.low, self.cells_per_cm)
