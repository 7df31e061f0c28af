"""Blinks: when they come, how the lids move, and eyes that are shut to a wanted degree."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from realtalk_core.config.motion import MotionConfig
from realtalk_core.expression import eye_opening, eyelid_pairs

CLOSING_SECONDS, SHUT_SECONDS, OPENING_SECONDS = 0.08, 0.04, 0.2
"""A spontaneous blink shuts about twice as fast as it opens (VanderWerf et al. 2003)."""

SPREAD = 0.45
"""Standard deviation of the logarithm of natural times between blinks."""


def closure(config: MotionConfig, first: int, count: int, fps: float) -> Float[Tensor, "T"]:
    """How far the lids are shut, 0 to 1, at frames `first … first + count - 1` of the clip.

    A frame's value depends on its number and the configuration alone, so chunks agree.
    """
    if config.blink not in ("period", "natural"):
        return torch.zeros(count)
    times = (torch.arange(first, first + count, dtype=torch.float64) + 0.5) / fps
    shut = torch.zeros(count, dtype=torch.float64)
    for moment in _moments(config, float(times[-1]) + 1 if count else 0.0):
        if moment > float(times[0]) - 1:
            shut = torch.maximum(shut, _one_blink(times - moment))
    return shut.float()


def _moments(config: MotionConfig, until: float) -> list[float]:
    """Seconds at which blinks begin, in order."""
    if config.blink == "period":
        return [config.blink_seconds * (k + 0.75) for k in range(math.ceil(until / config.blink_seconds))]
    random = torch.Generator().manual_seed(config.blink_seed)
    moments, now = [], 0.0
    while now < until:
        wait = math.exp(SPREAD * float(torch.randn(1, generator=random)) - SPREAD * SPREAD / 2)
        now += max(0.6, wait * config.blink_seconds)
        moments.append(now)
    return moments


def _one_blink(since: Tensor) -> Tensor:
    rise = (since / CLOSING_SECONDS).clamp(0, 1)
    fall = ((CLOSING_SECONDS + SHUT_SECONDS + OPENING_SECONDS - since) / OPENING_SECONDS).clamp(0, 1)
    x = torch.minimum(rise, fall)
    return x * x * (3 - 2 * x)


@dataclass(frozen=True, slots=True)
class Lids:
    """Which landmarks the lids carry with them, and how far, for one face.

    Attributes:
        upper: Landmarks of the upper lids' edge.
        lower: The lower lid's landmark facing each.
        follow: How far each landmark follows each upper-lid landmark, `K U`; the edge itself follows wholly.
        follow_lower: Likewise for the lower lids.
    """

    upper: tuple[int, ...]
    lower: tuple[int, ...]
    follow: Float[Tensor, "K U"]
    follow_lower: Float[Tensor, "K U"]

    @classmethod
    def of(cls, neutral: Float[Tensor, "K 3"]) -> Lids:
        """Lids of a neutral face."""
        upper, lower = eyelid_pairs(neutral.shape[0])
        return cls(upper, lower, _following(neutral, upper, lower, 1.0), _following(neutral, lower, upper, -1.0))

    def shut(self, points: Float[Tensor, "T K 3"], amount: Float[Tensor, "T"]) -> Float[Tensor, "T K 3"]:
        """Shuts the eyes: the upper lid comes down most of the way, the lower one up the rest; 1 is wholly shut."""
        gap = points[:, list(self.upper)] - points[:, list(self.lower)]
        gap[..., 0] = 0
        gap = gap * amount[:, None, None]
        return (
            points
            - 0.85 * torch.einsum("ku,tuc->tkc", self.follow, gap)
            + 0.15 * torch.einsum("ku,tuc->tkc", self.follow_lower, gap)
        )


@dataclass(frozen=True, slots=True)
class OpenEyes:
    """How much of an emotion's change each landmark takes: a shut eye's lids take none, so that blinks shut.

    Attributes:
        share: How far each landmark belongs to a lid.
        right: Which landmarks are the right eye's side.
        open: How far the person's right and left eye are usually open, cm.
    """

    share: Float[Tensor, "K 1"]
    right: Bool[Tensor, "K"]
    open: Float[Tensor, "2"]

    @classmethod
    def of(cls, neutral: Float[Tensor, "K 3"], faces: Float[Tensor, "B K 3"]) -> OpenEyes:
        """Of a person's neutral face and tracked ones."""
        lids = Lids.of(neutral)
        share = torch.maximum(lids.follow.amax(1), lids.follow_lower.amax(1))[:, None]
        return cls(share, neutral[:, 0] < 0, eye_opening(faces).median(0).values.clamp_min(1e-3))

    def take(self, points: Float[Tensor, "T K 3"]) -> Float[Tensor, "T K 1"]:
        """What faces before the emotion take of it, 0 to 1."""
        opened = (eye_opening(points) / self.open).clamp(0, 1)
        side = torch.where(self.right, opened[:, :1], opened[:, 1:])[..., None]
        return 1 - self.share * (1 - side)


def _following(neutral: Tensor, edge: tuple[int, ...], other: tuple[int, ...], side: float) -> Tensor:
    """Weights falling off away from the lid's edge on its own side, normalised over the edge's landmarks."""
    ring = neutral[list(edge)]
    distance = torch.cdist(neutral[:, :2], ring[:, :2])
    width = 0.25 * (ring[:, 0].max() - ring[:, 0].min()) / 2
    near = torch.softmax(-(distance / (0.3 * width)).square(), dim=1)
    nearest, index = distance.min(1)
    beyond = side * (neutral[:, 1] - ring[index, 1])
    weight = torch.exp(-(nearest / (0.55 * width)).square()) * (beyond > -1e-3)
    out = near * weight[:, None]
    out[list(edge)] = torch.eye(len(edge))
    out[list(other)] = 0
    return out
