"""Image losses on patches and regularisers on rays."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from realtalk_core.nn._jit import array, on_cpu

WINDOW = 11
"""Side of the windows that structure is compared in."""


def ssim(
    image: Float[Tensor, "B 3 H W"], truth: Float[Tensor, "B 3 H W"], window: int = WINDOW, sigma: float = 1.5
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


def dissimilarity(image: Float[Tensor, "H W 3"], truth: Float[Tensor, "H W 3"]) -> Float[Tensor, ""]:
    """`1 - ssim` of two pictures, differentiable in the first alone.

    Value and slope in closed form, in the calling thread: five times faster than `ssim` and its derivative on one core.

    Raises:
        ValueError: if a side is shorter than the window.
    """
    if not on_cpu(image, truth):
        a, b = (p.permute(2, 0, 1)[None] for p in (image, truth.detach()))
        return 1 - ssim(a, b)
    if min(image.shape[:2]) < WINDOW:
        raise ValueError(f"dissimilarity: pictures of {tuple(image.shape[:2])} are smaller than the window of {WINDOW}")
    found: Tensor = _Dissimilarity.apply(image, truth)  # type: ignore[no-untyped-call]
    return found


class _Dissimilarity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, truth: Tensor) -> Tensor:
        value, slope = _similarity(array(image.detach().float()), array(truth.detach().float()))
        ctx.slope = torch.from_numpy(slope)
        return image.new_tensor(1 - value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return -grad * ctx.slope, None


def _similarity(x: NDArray[np.float32], y: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
    """Mean index of two pictures `H W 3` where the window fits, and its slope by every value of the first."""
    line, edge = cv2.getGaussianKernel(WINDOW, 1.5, cv2.CV_32F), WINDOW // 2

    def blur(picture: Any) -> Any:
        return cv2.sepFilter2D(picture, -1, line, line, borderType=cv2.BORDER_CONSTANT)

    mean_x, mean_y = blur(x), blur(y)
    both, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    a1, a2 = 2 * both + 0.01**2, 2 * (blur(x * y) - both) + 0.03**2
    b1, b2 = squares + 0.01**2, blur(x * x + y * y) - squares + 0.03**2
    over = 1 / (b1 * b2)
    index = a1 * a2 * over
    by_variance, by_covariance = -index / b2, 2 * a1 * over
    by_mean = 2 * (mean_y * a2 * over - mean_x * index / b1 - mean_x * by_variance) - mean_y * by_covariance
    for slope in (by_mean, by_variance, by_covariance):
        slope[:edge], slope[-edge:], slope[:, :edge], slope[:, -edge:] = 0, 0, 0, 0
    inner = index[edge:-edge, edge:-edge]
    # the blur is its own transpose, for its window is symmetric and what lies outside is zero
    slope = (blur(by_mean) + 2 * x * blur(by_variance) + y * blur(by_covariance)) / np.float32(inner.size)
    return float(inner.mean(dtype=np.float64)), slope


def multi_scale_dissimilarity(
    image: Float[Tensor, "B 3 H W"], truth: Float[Tensor, "B 3 H W"], scales: int = 3
) -> Float[Tensor, ""]:
    """Mean of 1 − SSIM over an image pyramid, as far down as the window fits.

    Stands in for LPIPS in the patch stage: it rewards structure rather than the mean of all plausible pictures, and
    needs no downloaded backbone. Differentiable in `image` alone.
    """
    total, count = image.new_zeros(()), 0
    for _ in range(scales):
        if min(image.shape[-2:]) < WINDOW:
            break
        pairs = zip(image.permute(0, 2, 3, 1), truth.detach().permute(0, 2, 3, 1), strict=True)
        total, count = total + torch.stack([dissimilarity(a, b) for a, b in pairs]).mean(), count + 1
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
