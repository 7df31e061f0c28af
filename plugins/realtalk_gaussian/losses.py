"""The losses of a drawn frame; the table of their weights is in `loss_table.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from realtalk_core.capture import PARTS
from realtalk_core.nn.losses import dissimilarity
from realtalk_core.nn.perceptual import Perceptual
from realtalk_gaussian.normals import NormalMap

OPENINGS = ("inside_mouth", "eyes")
"""Parts that lie behind the face."""
EMPHASIS: dict[str, float] = {
    "background": 1.0, "torso": 1.0, "hair_ears": 1.0, "skin": 1.0, "brows": 4.0, "eyes": 8.0, "nose": 1.0,
    "lips": 8.0, "inside_mouth": 16.0,
}  # fmt: skip
"""How much a pixel of each part counts: what speaks and looks is small."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What a frame should look like.

    Attributes:
        head: The head's colour times its opacity.
        alpha: Its opacity.
        label: Parts.
        backdrop: The colour behind it, random.
        patch: Top, left and side of the patch that is compared perceptually.
    """

    head: Float[Tensor, "H W 3"]
    alpha: Float[Tensor, "H W"]
    label: UInt8[Tensor, "H W"]
    backdrop: Float[Tensor, "3"]
    patch: tuple[int, int, int]

    @property
    def picture(self) -> Float[Tensor, "H W 3"]:
        """The head over its backdrop."""
        return self.head + (1 - self.alpha[..., None]) * self.backdrop


def emphasis(label: UInt8[Tensor, "H W"]) -> Float[Tensor, "H W"]:
    """Weights of pixels by their part."""
    table = torch.tensor([EMPHASIS[name] for name in sorted(PARTS, key=PARTS.__getitem__)], device=label.device)
    return table[label.long().clamp(max=len(table) - 1)]


def opening_mask(label: UInt8[Tensor, "H W"]) -> Tensor:
    """Pixels where what lies behind the face's openings is seen."""
    return torch.isin(label, torch.tensor([PARTS[name] for name in OPENINGS], dtype=label.dtype, device=label.device))


def picture_losses(
    weights: Mapping[str, float],
    colour: Float[Tensor, "H W 3"],
    alpha: Float[Tensor, "H W"],
    truth: Truth,
    perceptual: Perceptual,
) -> dict[str, Tensor]:
    """Terms of the composite; those without weight are not computed.

    Args:
        weights: A phase's row of the table.
        colour: The drawn head, premultiplied.
        alpha: Its opacity.
        truth: What it should be.
        perceptual: The loss of patches.
    """
    image, wanted = colour + (1 - alpha[..., None]) * truth.backdrop, truth.picture
    terms: dict[str, Tensor] = {}
    if weights.get("l1"):
        terms["l1"] = ((image - wanted).abs().mean(2) * emphasis(truth.label)).mean()
    if weights.get("dssim"):
        terms["dssim"] = dissimilarity(image, wanted)
    if weights.get("lpips"):
        top, left, side = truth.patch
        a, b = (x[top : top + side, left : left + side].permute(2, 0, 1)[None] for x in (image, wanted))
        terms["lpips"] = perceptual(a, b)
    if weights.get("alpha"):
        terms["alpha"] = (alpha - truth.alpha).abs().mean()
    return terms


def opening_loss(alpha: Float[Tensor, "H W"], label: UInt8[Tensor, "H W"]) -> Float[Tensor, ""]:
    """Opacity of the face where something behind it is seen, a mean over the whole picture."""
    return (alpha * opening_mask(label)).mean()


def normal_losses(
    weights: Mapping[str, float],
    normals: Float[Tensor, "H W 3"],
    alpha: Float[Tensor, "H W"],
    target: NormalMap,
) -> dict[str, Tensor]:
    """Terms of the drawn normals.

    Args:
        weights: A phase's row of the table.
        normals: Drawn as a colour would be: times opacity.
        alpha: The opacity they were drawn with.
        target: What they should be.
    """
    terms: dict[str, Tensor] = {}
    if weights.get("normals"):
        known = target.known[..., None]
        terms["normals"] = ((normals - alpha.detach()[..., None] * target.normals) * known).abs().mean()
    if weights.get("normals_tv"):
        terms["normals_tv"] = normals.diff(dim=0).abs().mean() + normals.diff(dim=1).abs().mean()
    return terms


def cloud_losses(weights: Mapping[str, float], canonical: Mapping[str, Tensor], extent: float) -> dict[str, Tensor]:
    """Terms of the Gaussians themselves, whatever the frame.

    Args:
        weights: A phase's row of the table.
        canonical: From `Head.canonical`.
        extent: Half the head's size in cm.
    """
    terms: dict[str, Tensor] = {}
    if weights.get("normals_residual"):
        terms["normals_residual"] = canonical["face.normals"].norm(dim=1).mean()
    if weights.get("opacities"):
        terms["opacities"] = torch.cat([canonical[f"{name}.opacities"] for name in ("face", "mouth")]).mean()
    if weights.get("scales"):
        terms["scales"] = torch.cat([canonical[f"{name}.scales"] for name in ("face", "mouth")]).mean() / extent
    return terms


def weighed(weights: Mapping[str, float], terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The terms and their weighted sum, `loss`: zero without any."""
    total = sum((weights[name] * value for name, value in terms.items()), torch.zeros(()))
    return {**terms, "loss": total}
