"""What pictures are compared by beside their pixels: LPIPS, or differences of structure and of gradients."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from realtalk_core.nn.losses import gradient_difference, multi_scale_dissimilarity
from realtalk_core.nn.lpips import BACKBONE, HEADS, Lpips

Kind = Literal["auto", "lpips", "structure"]
"""`lpips` downloads its files if need be, `structure` needs none, `auto` is LPIPS where both files are there."""


class Perceptual(nn.Module):
    """A perceptual loss of pictures.

    Args:
        asked: Which one.
        used: Whether it is needed at all; nothing is loaded otherwise.

    Raises:
        UserError: if LPIPS is asked for and cannot be had, or a file of it is damaged.
    """

    def __init__(self, asked: Kind, used: bool = True) -> None:
        super().__init__()
        self.lpips: Lpips | None = None
        self.used, self.asked = used, asked
        if used and asked != "structure":
            self.lpips = Lpips.installed() if asked == "auto" else Lpips.fetched()

    def remark(self) -> str | None:
        """What the user should know: which of the two it is."""
        if not self.used or self.asked == "structure":
            return None
        if self.lpips is not None:
            return "renderer: patches are compared by LPIPS"
        return (
            f"renderer: patches are compared by structure and gradients; for LPIPS put {BACKBONE} and {HEADS} into "
            "REALTALK_MODELS, or let it download them with --set renderer.perceptual=lpips"
        )

    def forward(self, image: Float[Tensor, "B 3 H W"], truth: Float[Tensor, "B 3 H W"]) -> Float[Tensor, ""]:
        """The difference of pictures in [0, 1]."""
        if self.lpips is not None:
            distance: Tensor = self.lpips(image, truth)
            return distance
        return multi_scale_dissimilarity(image, truth) + gradient_difference(image, truth)
