"""The prior the deformer learns from until emotional footage is used: each emotion as a set of facial action units.

Prototypes after EMFACS (Friesen & Ekman 1983) and the Investigator's Guide to FACS (Ekman, Friesen & Hager 2002,
table 10-2): happiness 6+12, sadness 1+4+15 (+6, 7, 17), surprise 1+2+5+26, fear 1+2+4+5+20+26, anger 4+7+10+23+25
(+5, 17; its open-mouthed variant, since the person is speaking), disgust 9+10 (+4, 7, 15, 16, 17), contempt one-sided
12+14. Units the sources do not name (contempt's raised brows, disgust's stretched lips) and all amounts follow what
two actors do in their clips of acted emotion: docs/emotion-prior.md has the table.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from realtalk_core.emotion import LABELS, NEUTRAL
from realtalk_ldm.lips import LipGuard
from realtalk_ldm.units import OPENING, ActionUnits

RIGHT_ONLY = "right"

PROTOTYPES: dict[str, dict[int, float]] = {
    "angry": {4: 1.0, 7: 0.9, 10: 0.4, 23: 0.6, 16: 0.2, 25: 0.3, 5: 0.1, 17: 0.2},
    "contempt": {1: 0.3, 2: 0.4, 7: 0.3},
    "disgust": {9: 1.0, 10: 0.7, 4: 0.4, 7: 0.8, 15: 0.25, 16: 0.2, 17: 0.3, 20: 0.35},
    "fear": {1: 0.9, 2: 0.5, 4: 0.3, 5: 1.0, 20: 0.75, 25: 0.5, 26: 0.4},
    "happy": {6: 1.0, 12: 1.0, 25: 0.4},
    "neutral": {},
    "sad": {1: 0.95, 4: 0.6, 15: 1.0, 17: 0.5, 7: 0.6, 6: 0.2},
    "surprise": {1: 1.0, 2: 1.0, 5: 1.2, 25: 0.5, 26: 0.8},
}
"""Action units of each label, with their amount at intensity 1, on both sides of the face."""

ONE_SIDED: dict[str, dict[int, float]] = {"contempt": {12: 0.35, 14: 1.0, 10: 0.3, 2: 0.25}}
"""Further units, on the person's right side only."""


@dataclass(frozen=True, slots=True)
class Prior:
    """Emotional displacement of one person's face.

    Attributes:
        units: The person's action units.
        lips: Keeps lips shut that speech holds shut.
        opening: `8 K 3`, what units 25 and 26 add; scaled by how far the lips are open.
        rest: `8 K 3`, all other units, the right and the left half of the face apart: `8 2 K 3`.
    """

    units: ActionUnits
    lips: LipGuard
    opening: Float[Tensor, "8 K 3"]
    rest: Float[Tensor, "8 2 K 3"]

    @classmethod
    def of(cls, neutral: Float[Tensor, "K 3"]) -> Prior:
        """The prior of a person's neutral face."""
        units = ActionUnits(neutral)
        opening = torch.zeros(len(LABELS), *neutral.shape)
        rest = torch.zeros(len(LABELS), 2, *neutral.shape)
        for row, label in enumerate(LABELS):
            for unit, amount in PROTOTYPES[label].items():
                field = units.fields[unit]
                if unit in OPENING:
                    opening[row] += amount * (field["right"] + field["left"])
                else:
                    rest[row, 0] += amount * field["right"]
                    rest[row, 1] += amount * field["left"]
            for unit, amount in ONE_SIDED.get(label, {}).items():
                rest[row, 0] += amount * units.fields[unit][RIGHT_ONLY]
        return cls(units, LipGuard.of(neutral, units), opening, rest)

    def displacement(
        self,
        points: Float[Tensor, "N K 3"],
        labels: Tensor,
        sides: Float[Tensor, "N 2"] | None = None,
    ) -> Float[Tensor, "N K 3"]:
        """What each label does to each face at intensity 1.

        Args:
            points: Faces of neutral speech.
            labels: Index of each face's label.
            sides: Amount of the right and the left half of each face; 1 if not given.
        """
        sides = points.new_ones(points.shape[0], 2) if sides is None else sides
        opened = self.lips.openness(points, 2.0).mean(1)
        move = torch.einsum("nskc,ns->nkc", self.rest[labels], sides)
        move = move + self.opening[labels] * (opened * sides.mean(1))[:, None, None]
        return self.lips.protect(points, move)

    def pairs(
        self, points: Float[Tensor, "N K 3"], labels: Tensor, variety: float, random: Generator
    ) -> tuple[Tensor, Tensor]:
        """Training pairs: faces of a slightly different shape, and what each label does to them, slightly varied."""
        count = points.shape[0]
        sides = 1 + variety * (torch.randn(count, 1, generator=random) + 0.5 * torch.randn(count, 2, generator=random))
        move = self.displacement(points, labels, sides.clamp(0.3, 1.7))
        stretch = 1 + 0.3 * variety * torch.randn(count, 1, 3, generator=random).clamp(-2, 2)
        shear = 0.15 * variety * torch.randn(count, 1, 3, generator=random).clamp(-2, 2)
        faces = points * stretch + shear * points[..., [1, 2, 0]]
        return faces, move * stretch


def label_indices(count: int, random: Generator) -> Tensor:
    """Random labels, never neutral."""
    others = torch.tensor([k for k in range(len(LABELS)) if k != NEUTRAL])
    return others[torch.randint(len(others), (count,), generator=random)]
