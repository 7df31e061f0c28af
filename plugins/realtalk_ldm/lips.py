"""Speech has the lips: an emotion may move them together, but neither part what speech shuts nor shut what it parts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from realtalk_core.expression import inner_lip_pairs
from realtalk_ldm.units import ActionUnits

OPEN_CM = 0.35
"""Lips this far apart (on a face of standard size) take an emotion's change of the gap in full."""
LEAST_LEFT = 0.45
"""An emotion may take an opening down to this share of itself."""


@dataclass(frozen=True, slots=True)
class LipGuard:
    """Scales what an emotion does to the gap between the lips by how open they are.

    Attributes:
        full: Gap that takes an emotion's change in full, cm.
        follow: How far each landmark follows the correction of each pair of inner-lip landmarks, against its direction
            below the mouth's slit.
    """

    full: float
    follow: Float[Tensor, "K P"]

    @classmethod
    def of(cls, neutral: Float[Tensor, "K 3"], units: ActionUnits) -> LipGuard:
        """The guard of a person's neutral face."""
        upper, lower = (list(side) for side in inner_lip_pairs(neutral.shape[0]))
        middle = (neutral[upper] + neutral[lower])[:, :2] / 2
        near = torch.cdist(neutral[:, :2], middle)
        share = torch.softmax(-(near / (0.25 * units.scale)).square(), 1)
        beyond = (near.amin(1) - 0.35 * units.scale).clamp_min(0) / (0.6 * units.scale)
        follow = share * (torch.exp(-beyond.square()) * (2 * units.above_mouth - 1))[:, None]
        follow[upper] = torch.eye(len(upper))
        follow[lower] = -torch.eye(len(lower))
        return cls(OPEN_CM * units.scale, follow)

    def openness(self, points: Float[Tensor, "N K 3"], wide: float = 1.0) -> Float[Tensor, "N P"]:
        """How far each pair of inner-lip landmarks is open: 0 is shut, 1 is `wide` times the full gap or more."""
        upper, lower = inner_lip_pairs(points.shape[1])
        gap = points[:, list(upper), 1] - points[:, list(lower), 1]
        return (gap / (wide * self.full)).clamp(0, 1)

    def protect(
        self, points: Float[Tensor, "N K 3"], move: Float[Tensor, "N K 3"], share: float = 1.0
    ) -> Float[Tensor, "N K 3"]:
        """Corrects what an emotion would do to faces of neutral speech.

        A gap of nothing stays nothing and every opening keeps its order; the correction fades into the skin above and
        below.

        Args:
            points: Faces of neutral speech.
            move: What the emotion would do to them.
            share: 1 corrects wholly, 0 not at all.
        """
        upper, lower = (list(side) for side in inner_lip_pairs(points.shape[1]))
        gap = (points[:, upper, 1] - points[:, lower, 1]).clamp_min(0)
        change = move[:, upper] - move[:, lower]
        wanted = change * self.openness(points)[..., None]
        wanted[..., 1] = torch.maximum(wanted[..., 1], (LEAST_LEFT - 1) * gap)
        return move + torch.einsum("kp,npc->nkc", self.follow, share * (wanted - change) / 2)
