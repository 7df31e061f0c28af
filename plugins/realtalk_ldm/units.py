"""Facial action units as displacement fields on one person's neutral face.

Which muscles move what, and which way, follows the Facial Action Coding System (Ekman & Friesen 1978; Ekman, Friesen
& Hager 2002). How far and how wide are ours, in centimetres on a face whose outer eye corners are 8.9 cm apart; they
scale with the face. A field is a sum of pulls: each drags the skin about one anchor, fading like a Gaussian.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from realtalk_core.expression import eyelid_pairs, inner_lip_pairs
from realtalk_core.landmarks import IBUG68_FROM_MEDIAPIPE478, LEFT_IRIS, RIGHT_IRIS

EYE_CORNERS_CM = 8.9
JAW_DEGREES = 7.0


@dataclass(frozen=True, slots=True)
class Pull:
    """One pull on the skin.

    Attributes:
        anchors: Named places (see `_places`) of the person's right side; the left is its mirror.
        move: Outward (away from the midline), up, forward; cm.
        radius: Standard deviation of the Gaussian, cm.
        only: Skin it may move: all, only that above or below the mouth's or the eye's slit, or the brow's (no lid).
    """

    anchors: Sequence[str]
    move: tuple[float, float, float]
    radius: float
    only: str = "all"


UNITS: dict[int, tuple[Pull, ...]] = {
    1: (Pull(("brow_in", "brow_in2"), (-0.03, 0.6, 0.05), 0.95, "brow"),),
    2: (Pull(("brow_out", "brow_out2", "brow_mid"), (0.0, 0.5, 0.0), 0.9, "brow"),),
    4: (
        Pull(("brow_in", "brow_in2"), (-0.16, -0.45, 0.08), 0.9, "brow"),
        Pull(("brow_mid", "brow_out2", "brow_out"), (-0.05, -0.28, 0.03), 0.8, "brow"),
    ),
    5: (
        Pull(("lid_up1", "lid_up2"), (0.0, 0.2, 0.0), 0.42, "above_eye"),
        Pull(("lid_low1", "lid_low2"), (0.0, -0.08, 0.0), 0.42, "below_eye"),
    ),
    6: (
        Pull(("cheek",), (0.02, 0.34, 0.14), 1.1),
        Pull(("lid_low1", "lid_low2"), (0.0, 0.1, 0.03), 0.45, "below_eye"),
        Pull(("eye_out",), (-0.03, -0.04, 0.0), 0.6, "above_eye"),
    ),
    7: (
        Pull(("lid_low1", "lid_low2"), (0.0, 0.18, 0.0), 0.45, "below_eye"),
        Pull(("lid_up1", "lid_up2"), (0.0, -0.07, 0.0), 0.42, "above_eye"),
    ),
    9: (
        Pull(("wing", "wing_in"), (0.06, 0.3, 0.06), 0.7),
        Pull(("nose_side",), (-0.02, 0.16, 0.1), 0.6),
        Pull(("brow_in",), (-0.1, -0.25, 0.05), 0.8, "brow"),
        Pull(("lip_up2", "lip_up1"), (0.0, 0.2, 0.04), 0.7, "above_mouth"),
    ),
    10: (
        Pull(("lip_up2", "lip_up1"), (0.05, 0.34, 0.06), 0.75, "above_mouth"),
        Pull(("fold",), (0.05, 0.22, 0.1), 0.7, "above_mouth"),
        Pull(("wing",), (0.06, 0.12, 0.0), 0.5),
    ),
    12: (
        Pull(("corner",), (0.5, 0.48, -0.36), 0.95),
        Pull(("cheek_low",), (0.16, 0.3, 0.14), 1.0),
        Pull(("fold",), (0.14, 0.14, 0.06), 0.8),
        Pull(("lip_up2", "lip_up1"), (0.0, 0.08, -0.03), 0.6, "above_mouth"),
    ),
    14: (Pull(("corner",), (0.2, 0.12, -0.28), 0.75),),
    15: (
        Pull(("corner",), (0.06, -0.42, -0.06), 0.75),
        Pull(("below_corner",), (0.04, -0.22, 0.0), 0.9),
    ),
    16: (Pull(("lip_low1", "lip_low2"), (0.0, -0.26, 0.06), 0.65, "below_mouth"),),
    17: (
        Pull(("chin_boss",), (0.0, 0.3, 0.14), 1.0, "below_mouth"),
        Pull(("lip_low1",), (0.0, 0.14, 0.12), 0.8, "below_mouth"),
        Pull(("lip_up1",), (0.0, 0.12, 0.05), 0.8, "above_mouth"),
    ),
    20: (
        Pull(("corner",), (0.44, -0.12, -0.32), 0.9),
        Pull(("below_corner",), (0.2, -0.05, -0.1), 0.9),
    ),
    23: (
        Pull(("lip_up1", "lip_up2"), (0.0, -0.14, -0.04), 0.4, "above_mouth"),
        Pull(("lip_low1", "lip_low2"), (0.0, 0.16, -0.04), 0.4, "below_mouth"),
        Pull(("corner",), (-0.14, 0.0, 0.02), 0.7),
    ),
    24: (
        Pull(("lip_up1", "lip_up2"), (0.0, -0.13, -0.1), 0.45, "above_mouth"),
        Pull(("lip_low1", "lip_low2"), (0.0, 0.14, -0.1), 0.45, "below_mouth"),
    ),
    25: (
        Pull(("lip_up1", "lip_up2"), (0.0, 0.08, 0.0), 0.6, "above_mouth"),
        Pull(("lip_low1", "lip_low2"), (0.0, -0.16, 0.0), 0.7, "below_mouth"),
    ),
}
"""Action units by number; 26, the dropping jaw, is a rotation and made in `ActionUnits`."""

OPENING: tuple[int, ...] = (25, 26)
"""Units whose whole work is to open the mouth."""

_RIGHT: dict[str, int] = {
    "brow_out": 17, "brow_out2": 18, "brow_mid": 19, "brow_in2": 20, "brow_in": 21, "eye_out": 36, "lid_up1": 37,
    "lid_up2": 38, "eye_in": 39, "lid_low2": 40, "lid_low1": 41, "wing": 31, "wing_in": 32, "corner": 48,
    "lip_up2": 49, "lip_up1": 50, "lip_low2": 59, "lip_low1": 58,
}  # fmt: skip
_LEFT: dict[str, int] = {
    "brow_out": 26, "brow_out2": 25, "brow_mid": 24, "brow_in2": 23, "brow_in": 22, "eye_out": 45, "lid_up1": 44,
    "lid_up2": 43, "eye_in": 42, "lid_low2": 47, "lid_low1": 46, "wing": 35, "wing_in": 34, "corner": 54,
    "lip_up2": 53, "lip_up1": 52, "lip_low2": 55, "lip_low1": 56,
}  # fmt: skip


class ActionUnits:
    """The fields of all units on one neutral face.

    Args:
        neutral: Neutral face of either scheme, cm in head space.

    Attributes:
        scale: Size of this face against the one the table is written for.
        above_mouth: 1 for skin above the mouth's slit, 0 below it.
    """

    def __init__(self, neutral: Float[Tensor, "K 3"]) -> None:
        count = neutral.shape[0]
        sparse = neutral[list(IBUG68_FROM_MEDIAPIPE478)] if count == 478 else neutral
        self.neutral = neutral
        self.scale = float((sparse[45] - sparse[36]).norm()) / EYE_CORNERS_CM
        self.middle = float(sparse[27:31, 0].mean())
        self._places = {"right": _places(sparse, _RIGHT), "left": _places(sparse, _LEFT)}
        self.above_mouth = _above_mouth(neutral, sparse, self.scale)
        above_eye = _above_eyes(neutral, sparse, self.scale)
        self._masks = {
            "all": torch.ones(count), "above_mouth": self.above_mouth, "below_mouth": 1 - self.above_mouth,
            "above_eye": above_eye, "below_eye": 1 - above_eye, "brow": _brow(neutral, sparse),
        }  # fmt: skip
        if count == 478:
            for mask in self._masks.values():
                mask[[*RIGHT_IRIS, *LEFT_IRIS]] = 0
        side = ((neutral[:, 0] - self.middle) / (0.35 * self.scale)).clamp(-1, 1) / 2 + 0.5
        self._sides = {"right": 1 - side, "left": side}
        self.fields = {unit: {s: self._field(pulls, s) for s in ("right", "left")} for unit, pulls in UNITS.items()}
        jaw = _jaw_drop(neutral, sparse, self.above_mouth, self.scale)
        self.fields[26] = {s: jaw * share[:, None] for s, share in self._sides.items()}

    def _field(self, pulls: Sequence[Pull], side: str) -> Float[Tensor, "K 3"]:
        total = torch.zeros_like(self.neutral)
        outward = -1.0 if side == "right" else 1.0
        for pull in pulls:
            places = torch.stack([self._places[side][name] for name in pull.anchors])
            away = torch.cdist(self.neutral[:, :2], places[:, :2]) / (pull.radius * self.scale)
            near = torch.exp(-0.5 * away.square()).amax(1) * self._masks[pull.only]
            move = torch.tensor([outward * pull.move[0], pull.move[1], pull.move[2]]) * self.scale
            total += near[:, None] * move
        return total * self._sides[side][:, None]


def _places(sparse: Float[Tensor, "68 3"], table: dict[str, int]) -> dict[str, Tensor]:
    """Anchors of one side: landmarks by name, and places between them where the 68 points have none."""
    places = {name: sparse[index] for name, index in table.items()}
    right = table is _RIGHT
    lid = (places["lid_low1"] + places["lid_low2"]) / 2
    jaw = sparse[4 if right else 12]
    outer = 0.6 * places["eye_out"] + 0.4 * lid
    places["cheek"] = 0.62 * outer + 0.38 * places["corner"]
    places["cheek_low"] = 0.35 * outer + 0.55 * places["corner"] + 0.1 * jaw
    places["fold"] = 0.45 * places["wing"] + 0.55 * places["corner"]
    places["below_corner"] = 0.6 * places["corner"] + 0.4 * sparse[6 if right else 10]
    places["nose_side"] = 0.55 * places["wing"] + 0.45 * sparse[27]
    places["chin_boss"] = 0.45 * sparse[57] + 0.55 * sparse[8]
    return places


def _above_mouth(neutral: Tensor, sparse: Tensor, scale: float) -> Float[Tensor, "K"]:
    knots = torch.stack(
        [sparse[60], *((sparse[a] + sparse[b]) / 2 for a, b in ((61, 67), (62, 66), (63, 65))), sparse[64]]
    )
    line = _interpolate(neutral[:, 0], knots[:, 0], knots[:, 1])
    outside = (knots[0, 0] - neutral[:, 0]).clamp_min(0) + (neutral[:, 0] - knots[-1, 0]).clamp_min(0)
    mask = torch.sigmoid((neutral[:, 1] - line) / (0.03 * scale + 0.5 * outside))
    upper, lower = inner_lip_pairs(neutral.shape[0])
    mask[list(upper)], mask[list(lower)] = 1.0, 0.0
    return mask


def _above_eyes(neutral: Tensor, sparse: Tensor, scale: float) -> Float[Tensor, "K"]:
    """1 above the line through the four eye corners, 0 below; the lids' edges wholly on their own side."""
    corners = sparse[[36, 39, 42, 45]]
    line = _interpolate(neutral[:, 0], corners[:, 0], corners[:, 1])
    mask = torch.sigmoid((neutral[:, 1] - line) / (0.1 * scale))
    upper, lower = eyelid_pairs(neutral.shape[0])
    mask[list(upper)], mask[list(lower)] = 1.0, 0.0
    return mask


def _brow(neutral: Tensor, sparse: Tensor) -> Float[Tensor, "K"]:
    """0 on the lids' edges and below, 1 from the brows up, smooth between."""
    lid = sparse[[36, 37, 38, 39, 42, 43, 44, 45]]
    brow = sparse[17:27]
    low = _interpolate(neutral[:, 0], lid[:, 0], lid[:, 1])
    high = _interpolate(neutral[:, 0], brow[:, 0], brow[:, 1])
    t = ((neutral[:, 1] - low) / (0.8 * (high - low)).clamp_min(1e-3)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def _jaw_drop(neutral: Tensor, sparse: Tensor, above_mouth: Tensor, scale: float) -> Float[Tensor, "K 3"]:
    """The lower jaw turned about the ears; cheeks follow the nearer they are to it."""
    hinge = (sparse[1] + sparse[15]) / 2
    corner_y = sparse[[48, 54], 1].mean()
    drop = (corner_y - sparse[8, 1]).clamp_min(1e-3)
    low = ((corner_y + 0.3 * drop - neutral[:, 1]) / (0.9 * drop)).clamp(0, 1)
    share = low * low * (3 - 2 * low)
    inside = ((sparse[54, 0] - sparse[48, 0]) / 2 - (neutral[:, 0] - (sparse[54, 0] + sparse[48, 0]) / 2).abs()) / scale
    central = torch.sigmoid((inside - 0.25) / 0.2)
    share = central * (1 - above_mouth) * share.clamp_min(0.8) + (1 - central) * share * (1 - 0.5 * above_mouth)
    angle = torch.deg2rad(torch.tensor(JAW_DEGREES)) * share
    y, z = neutral[:, 1] - hinge[1], neutral[:, 2] - hinge[2]
    out = torch.zeros_like(neutral)
    out[:, 1] = y * torch.cos(angle) - z * torch.sin(angle) - y
    out[:, 2] = y * torch.sin(angle) + z * torch.cos(angle) - z
    return out


def _interpolate(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Piecewise linear, constant beyond the ends; `knots` ascending."""
    at = torch.searchsorted(knots.contiguous(), x.contiguous()).clamp(1, len(knots) - 1)
    t = ((x - knots[at - 1]) / (knots[at] - knots[at - 1])).clamp(0, 1)
    return torch.lerp(values[at - 1], values[at], t)
