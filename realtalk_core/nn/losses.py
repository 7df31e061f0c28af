"""Image losses on patches and regularisers on rays."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def ssim(
    image: Float[Tensor, "B 3 H W"], truth: Float[Tensor, "B 3 H W"], window: int = 11, sigma: float = 1.5
) -> Float[Tensor, ""]:
    """Mean structural similarity (Wang et al. 2004) with a Gaussian window and no padding; pictures in [0, 1].

    Raises:
        ValueError: if a side is shorter than the window.
    """
    if min(image.shape[-2:]) < window:
        raise ValueError(f"ssim: pictures of {tuple(image.shape[-2:])} are smaller than the window of {window}")
    x = torch.arange(window, dtype=image.dtype, device=image.device) - (window - 1) / 2
    line = torch.exp(-(x**2) / (2 * sigma**2))
    line = line / line.sum()
    channels = image.shape[1]

    def blur(picture: Tensor) -> Tensor:
        rows = F.conv2d(picture, line.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
        return F.conv2d(rows, line.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)

    mean_a, mean_b = blur(image), blur(truth)
    var_a, var_b = blur(image * image) - mean_a**2, blur(truth * truth) - mean_b**2
    cov = blur(image * truth) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    index = (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return index.mean()


def multi_scale_dissimilarity(
    image: Float[Tensor, "B 3 H W"], truth: Float[Tensor, "B 3 H W"], scales: int = 3
) -> Float[Tensor, ""]:
    """Mean of 1 − SSIM over an image pyramid, as far down as the window fits.

    Stands in for LPIPS in the patch stage: it rewards structure rather than the mean of all plausible pictures, and
    needs no downloaded backbone.
    """
    total, count = image.new_zeros(()), 0
    for _ in range(scales):
        if min(image.shape[-2:]) < 11:
            break
        total, count = total + 1 - ssim(image, truth), count + 1
        image, truth = F.avg_pool2d(image, 2), F.avg_pool2d(truth, 2)
    return total / max(1, count)


def gradient_difference(image: Float[Tensor, "B 3 H W"], truth: Float[Tensor, "B 3 H W"]) -> Float[Tensor, ""]:
    """Mean absolute difference of horizontal and vertical finite differences: what a blurred edge gets wrong."""
    error = image - truth
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


def opacity_entropy(alpha: Float[Tensor, "R"]) -> Float[Tensor, ""]:
    """Mean binary entropy of ray opacities: pushes rays to be either solid or empty."""
    p = alpha.clamp(1e-4, 1 - 1e-4)
    return -(p * p.log() + (1 - p) * (1 - p).log()).mean()
