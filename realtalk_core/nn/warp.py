"""The landmark warp: how far the face has moved from the template, over a frontal grid in head space.

The tracked (or generated) landmarks say where skin went. Interpolating their displacement and subtracting it from
sample positions, before anything is read, lets one static volume follow the face; the networks only learn what motion
leaves over. It was the biggest lever in our measurements (about +1 dB on the face, +1.5 dB on the mouth).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from realtalk_core.expression import eyelid_pairs, inner_lip_pairs
from realtalk_core.landmarks import (
    FACE_OVAL,
    IBUG68_FROM_MEDIAPIPE478,
    LEFT_BROW,
    LEFT_EYE,
    LEFT_IRIS,
    LIPS_INNER,
    LIPS_OUTER,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_IRIS,
)
from realtalk_core.nn import _ray_kernels
from realtalk_core.nn._jit import array, on_cpu
from realtalk_core.nn.mouth import hold_still
from realtalk_core.types import Scheme

SOURCES478: tuple[int, ...] = tuple(
    sorted(
        {
            *IBUG68_FROM_MEDIAPIPE478, *FACE_OVAL, *LIPS_INNER, *LIPS_OUTER, *LEFT_EYE, *RIGHT_EYE, *LEFT_BROW,
            *RIGHT_BROW, *LEFT_IRIS[:1], *RIGHT_IRIS[:1], *range(0, 468, 3),
        }
    )
)  # fmt: skip
"""The dense landmarks that are interpolated: all outlines and every third of the rest. Solving for all costs 8 times
more and changes the field by less than the tracker's noise."""
STIFFNESS = 1e-4
PARTING_CM = 0.16
FADE = 0.15
"""Share of half the grid over which displacement dies away at its edge."""
"""Smoothing of the interpolation; keeps coinciding landmarks that moved apart (closed lips) solvable."""


def interpolate_plane(
    places: Float[Tensor, "K 2"], values: Float[Tensor, "K C"], at: Float[Tensor, "N 2"]
) -> Float32[Tensor, "N C"]:
    """Scattered values interpolated over a plane: a linear radial basis and a constant, solved in double precision.

    Args:
        places: Where the values are known, cm.
        values: There.
        at: Where they are wanted.
    """
    places = places.double()
    count = len(places)
    system = torch.zeros(count + 1, count + 1, dtype=torch.float64)
    system[:count, :count] = -torch.cdist(places, places, compute_mode="donot_use_mm_for_euclid_dist")
    system.diagonal()[:count] += STIFFNESS * float((places.amax(0) - places.amin(0)).mean())
    system[count, :count] = system[:count, count] = 1
    right = torch.cat((values.double(), torch.zeros(1, values.shape[1], dtype=torch.float64)))
    weights = torch.linalg.solve(system, right)
    return evaluate(at.float(), places.float(), weights.float())


def evaluate(
    at: Float32[Tensor, "N 2"], places: Float32[Tensor, "K 2"], weights: Float32[Tensor, "K1 C"]
) -> Float32[Tensor, "N C"]:
    """`evaluate_reference`, by the kernel on the CPU, which takes three channels at a time."""
    if not on_cpu(at, places, weights):
        return evaluate_reference(at, places, weights)
    parts = []
    for three in torch.split(weights, 3, dim=1):
        out = torch.empty(len(at), 3)
        filled = torch.nn.functional.pad(three, (0, 3 - three.shape[1]))
        _ray_kernels.linear_basis(array(at), array(places.T), array(filled.T), out.numpy())
        parts.append(out[:, : three.shape[1]])
    return torch.cat(parts, 1)


def evaluate_reference(
    at: Float32[Tensor, "N 2"], places: Float32[Tensor, "K 2"], weights: Float32[Tensor, "K1 C"]
) -> Float32[Tensor, "N C"]:
    """The interpolant at points: minus the distances to the places, weighted, plus the constant (the last weight)."""
    found: Tensor = -torch.cdist(at, places, compute_mode="donot_use_mm_for_euclid_dist") @ weights[:-1] + weights[-1]
    return found


def parted(points: Float[Tensor, "K 3"]) -> Float[Tensor, "K 3"]:
    """A face whose lips and lids are at least `PARTING_CM` apart, as places to interpolate from.

    Where lips touch, displacement jumps from the upper lip's to the lower's. Landmarks that coincide (or have crossed
    by an error of the tracker) would average there, and the jump would spread over the width of the lips.
    """
    out = points.clone()
    for pairs in (inner_lip_pairs(len(points)), eyelid_pairs(len(points))):
        upper, lower = (list(side) for side in pairs)
        middle = (points[upper, 1] + points[lower, 1]) / 2
        half = ((points[upper, 1] - points[lower, 1]) / 2).clamp(min=PARTING_CM / 2)
        out[upper, 1], out[lower, 1] = middle + half, middle - half
    return out


@dataclass(frozen=True, slots=True)
class WarpField:
    """Displacements on a regular grid over x and y.

    Attributes:
        grid: `G G 3` centimetres; rows run along y, columns along x.
        low: (x, y) of the first node, cm.
        cells_per_cm: Grid cells per centimetre along x and y.
    """

    grid: Float32[Tensor, "G G 3"]
    low: Float32[Tensor, "2"]
    cells_per_cm: Float32[Tensor, "2"]

    def reach(self) -> float:
        """The longest displacement along any axis, cm."""
        return float(self.grid.abs().amax())

    def to(self, device: torch.device) -> WarpField:
        """The same field there."""
        return WarpField(self.grid.to(device), self.low.to(device), self.cells_per_cm.to(device))


def warp_reference(points: Float[Tensor, "... 3"], field: WarpField) -> Float[Tensor, "... 3"]:
    """Bilinear reads of a field at points; zero outside its grid."""
    last = field.grid.shape[0] - 1
    place = (points[..., :2] - field.low) * field.cells_per_cm
    inside = ((place >= 0) & (place < last)).all(-1, keepdim=True)
    node = place.floor().long().clamp(0, last - 1)
    s, t = (place - node).unbind(-1)
    i, j = node.unbind(-1)
    value = torch.zeros_like(points)
    for dj, row in ((0, 1 - t), (1, t)):
        for di, column in ((0, 1 - s), (1, s)):
            value = value + (row * column)[..., None] * field.grid[j + dj, i + di]
    return torch.where(inside, value, torch.zeros_like(value))


@dataclass(frozen=True, slots=True)
class Warper:
    """Makes fields for one person.

    Attributes:
        template: The face the volume is stored in, cm.
        ring: Points around the head that never move.
        low: (x, y) of the grid's first node, cm.
        high: (x, y) of its last.
        side: Nodes along a side.
        still_mouth: Whether teeth stay where they are as the lips move (`realtalk_core.nn.mouth`).
    """

    template: Float32[Tensor, "K 3"]
    ring: Float32[Tensor, "A 3"]
    low: Float32[Tensor, "2"]
    high: Float32[Tensor, "2"]
    side: int
    still_mouth: bool = False

    @classmethod
    def around(
        cls, template: Float[Tensor, "K 3"], side: int = 128, margin: float = 1.3, still_mouth: bool = False
    ) -> Warper:
        """A warper whose grid covers the template's outline scaled by `margin`, where displacement has died away."""
        template = template.float()
        low, high = template[:, :2].amin(0), template[:, :2].amax(0)
        centre, half = (low + high) / 2, (high - low) / 2 * margin
        angle = torch.arange(32) / 32 * 2 * torch.pi
        ring = torch.zeros(32, 3)
        ring[:, :2] = centre + half * torch.stack((angle.cos(), angle.sin()), 1)
        return cls(template, ring, centre - half, centre + half, side, still_mouth)

    @property
    def scheme(self) -> Scheme:
        """Landmark scheme it takes."""
        return "mediapipe478" if len(self.template) == 478 else "ibug68"

    def nodes(self) -> Float32[Tensor, "GG 2"]:
        """(x, y) of the grid's nodes, row by row."""
        x, y = (torch.linspace(float(self.low[a]), float(self.high[a]), self.side) for a in (0, 1))
        return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1).reshape(-1, 2)

    def field(self, landmarks: Float[Tensor, "K 3"]) -> WarpField:
        """The field that takes a face back to the template: displacement as a function of where skin is *now*."""
        made = self._interpolate(parted(landmarks), landmarks - self.template)
        if not self.still_mouth:
            return made
        return replace(made, grid=hold_still(made.grid, self.nodes(), landmarks, self.template).contiguous())

    def forward_field(self, landmarks: Float[Tensor, "K 3"]) -> WarpField:
        """Displacement as a function of the place on the *template*: takes template points to this face."""
        return self._interpolate(parted(self.template), landmarks - self.template)

    def _interpolate(self, places: Tensor, moved: Tensor) -> WarpField:
        chosen = list(SOURCES478) if len(places) == 478 else slice(None)
        places = torch.cat((places[chosen, :2].float(), self.ring[:, :2]))
        values = torch.cat((moved[chosen].float(), torch.zeros(len(self.ring), 3)))
        grid = interpolate_plane(places, values, self.nodes())
        grid = grid.reshape(self.side, self.side, 3)
        edge = torch.linspace(-1, 1, self.side).abs()
        fade = ((1 - torch.maximum(edge[:, None], edge[None])) / FADE).clamp(0, 1)[..., None]
        return WarpField((grid * fade).contiguous(), self.low, (self.side - 1) / (self.high - self.low))
