"""What does not move: where a head's conditions make no difference, within a bound (ADR 0082).

The region attention lets a condition act where it is wanted. Elsewhere nothing depends on the frame, and a cell of the
shell can be known beforehand: that it is empty whatever the face does, or that the gates may be left out there. Both
are measured, at places inside each cell and on its corners, under conditions drawn from the range that faces reach.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from realtalk_core.expression import ExpressionBasis
from realtalk_core.nn.conditioning import SOFT_LIMIT
from realtalk_core.nn.marching import Shell
from realtalk_core.types import Blendshapes, Drive, LandmarkTrack
from realtalk_triplane_nerf.condition import features_of
from realtalk_triplane_nerf.config import TriplaneNerfConfig
from realtalk_triplane_nerf.field import FrameCondition

PARTS = 2
"""Cells along each side of a cell of the shell."""
CONDITIONS = 6
NEVER = 255
"""The code of cells whose gates must be evaluated."""
LEAST = 1e-6
"""The smallest change that is told from none."""
DOUBT = 2.0
"""How much larger a cell's worst change is taken than any that was measured in it."""
Probe = Callable[[Tensor], tuple[Tensor, Tensor]]


def conditions_in_range(basis: ExpressionBasis, config: TriplaneNerfConfig, seed: int = 0) -> list[FrameCondition]:
    """Conditions that stand for all: the mean face, ordinary ones, and extremes in every component and score."""
    random = torch.Generator().manual_seed(seed)
    ordinary = torch.randn(CONDITIONS, len(basis.scale), generator=random).clamp(-SOFT_LIMIT, SOFT_LIMIT)
    extreme = (torch.rand(CONDITIONS, len(basis.scale), generator=random) * 2 - 1) * SOFT_LIMIT
    far = torch.arange(CONDITIONS) % 2 == 1
    coefficients = torch.where(far[:, None], extreme, ordinary)
    scores = torch.rand(CONDITIONS, 52, generator=random)
    coefficients[0], scores[0] = 0.0, 0.0
    points = basis.decode(coefficients)
    track = LandmarkTrack(points, "mediapipe478" if points.shape[1] == 478 else "ibug68", 25.0)
    features, listened = features_of(Drive(track, blendshapes=Blendshapes(scores)), basis, config)
    return [FrameCondition(features[k], listened[k]) for k in range(CONDITIONS)]


def changes() -> Float[Tensor, "256"]:
    """The change that each code stands for: geometric from `LEAST` to 1, and more than any bound for `NEVER`."""
    steps = torch.arange(256, dtype=torch.float64) / (NEVER - 1)
    table = LEAST * LEAST**-steps
    table[NEVER] = 1e9
    return table.float()


def coded(change: Tensor) -> UInt8[Tensor, "N"]:
    """The smallest code whose change is no smaller."""
    steps = torch.log(change.double().clamp(min=LEAST) / LEAST) / -math.log(LEAST) * (NEVER - 1)
    return (steps - 1e-6).ceil().clamp(0, NEVER).to(torch.uint8)


@dataclass(frozen=True, slots=True)
class StillParts:
    """Cells of a finer grid over the shell's box.

    Attributes:
        occupied: Where something may be seen.
        strays: Codes of the most that leaving out the gates changes a premultiplied colour; see `changes`.
        empty: Share of the shell's cells that is left out.
        still: Share of the remaining ones whose gates may be left out in a sample of full weight.
    """

    occupied: Bool[Tensor, "X Y Z"]
    strays: UInt8[Tensor, "X Y Z"]
    empty: float
    still: float

    @classmethod
    def none(cls, shell: Shell) -> StillParts:
        """Nothing is known: every cell as it is."""
        return cls(shell.occupied, torch.full(shell.occupied.shape, NEVER, dtype=torch.uint8), 0.0, 0.0)

    @classmethod
    def measured(cls, shell: Shell, probe: Probe, tolerance: float, step: float) -> StillParts:
        """Measures all cells of a shell.

        Half of the tolerance is shared by all the empty samples that a ray can have, half is left to samples without
        gates.

        Args:
            shell: Where matter may be.
            probe: From places `3 N` in [0, 1]³ to the most each hides over a step, and the most it changes without
                gates.
            tolerance: The most that a premultiplied colour may change.
            step: Distance between samples, cm.
        """
        random = torch.Generator().manual_seed(0)
        fine = shell.occupied
        for axis in range(3):
            fine = fine.repeat_interleave(PARTS, axis)
        side = shell.cell / PARTS
        longest = math.ceil(float((shell.high - shell.low).norm()) / step)
        negligible = tolerance / 2 / longest / DOUBT

        def values(places: Tensor) -> Tensor:
            """Opacities and changes `2 N` at places counted in cells."""
            return torch.stack(probe((places * (side / shell.extent)).clamp(0, 1).T.contiguous()))

        corners = torch.zeros([n + 1 for n in fine.shape], dtype=torch.bool)
        for x in (0, 1):
            for y in (0, 1):
                for z in (0, 1):
                    corners[x : x + fine.shape[0], y : y + fine.shape[1], z : z + fine.shape[2]] |= fine
        at_corners = torch.zeros(2, *corners.shape)
        at_corners[:, corners] = values(corners.nonzero().float())
        cells = fine.nonzero().float()
        worst = torch.nn.functional.max_pool3d(at_corners, 2, 1)[:, fine]
        worst = torch.maximum(worst, values(cells + 0.5))
        hopeful = (worst[0] <= negligible) | (worst[1] * DOUBT <= tolerance / 2)
        inner = torch.tensor([(x, y, z) for x in (0.0, 0.5) for y in (0.0, 0.5) for z in (0.0, 0.5)])
        for corner in inner:
            some = cells[hopeful]
            found = values(some + corner + 0.5 * torch.rand(some.shape, generator=random))
            worst[:, hopeful] = torch.maximum(worst[:, hopeful], found)
        seen = worst[0] > negligible
        occupied, strays = torch.zeros_like(fine), torch.full(fine.shape, NEVER, dtype=torch.uint8)
        occupied[fine] = seen
        strays[fine] = coded(worst[1] * DOUBT)
        some = seen & (worst[1] * DOUBT <= tolerance / 2)
        count = max(1, len(seen))
        return cls(occupied, strays, 1 - float(seen.sum()) / count, float(some.sum()) / max(1, int(seen.sum())))
