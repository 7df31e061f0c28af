"""NIQE: how natural a picture looks without anything to compare it with (Mittal, Soundararajan & Bovik 2013).

"Making a 'completely blind' image quality analyzer", IEEE Signal Processing Letters 20(3). Lower is better; good
photographs read about 3 to 4. The model of pristine pictures is the authors', as the file `niqe_pris_params.npz` of the
model store. A score is the mean over blocks of 96 pixels, so pictures are comparable only at the same size.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import gamma

from realtalk_core.errors import ShapeError
from realtalk_core.models import model_path

Array = NDArray[np.float64]
MODEL = "niqe_pris_params.npz"
BLOCK = 96
"""Side of a block at full size, pixels."""
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
# cubic convolution (a = -0.5) stretched to twice its width: halves a picture without aliasing
_HALVING = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256


def niqe(picture: NDArray[np.uint8]) -> float:
    """NIQE of a picture `H W 3` (RGB, uint8); lower is better.

    Raises:
        ShapeError: if the picture is smaller than two blocks of 96 pixels on a side.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or min(picture.shape[:2]) < 2 * BLOCK:
        raise ShapeError(f"niqe: a picture H W 3 of at least {2 * BLOCK} pixels a side is needed, got {picture.shape}")
    mean, covariance = _pristine()
    found = features(np.round(picture @ np.array([0.2989, 0.5870, 0.1140])))
    apart = mean - found.mean(0)
    spread = (covariance + np.cov(found.T)) / 2
    return float(np.sqrt(apart @ np.linalg.pinv(spread) @ apart))


def features(grey: Array) -> Array:
    """36 features of every block `B 36` of a grey picture `H W` in 0 to 255; part blocks at the edges are left out."""
    rows, columns = grey.shape[0] // BLOCK, grey.shape[1] // BLOCK
    grey = grey[: rows * BLOCK, : columns * BLOCK].astype(np.float64)
    scales = []
    for side in (BLOCK, BLOCK // 2):
        even = _evened(grey)
        blocks = even.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(-1, side, side)
        scales.append(np.stack([_block_features(b) for b in blocks]))
        grey = _halved(grey)
    out = np.concatenate(scales, 1)
    return np.asarray(out[np.isfinite(out).all(1)])


@cache
def _pristine() -> tuple[Array, Array]:
    with np.load(model_path(MODEL)) as file:
        return file["mu_pris_param"].ravel(), file["cov_pris_param"]


def _evened(grey: Array) -> Array:
    """Differences from the local mean over the local deviation (mean-subtracted contrast-normalised coefficients)."""
    kernel = cv2.getGaussianKernel(7, 7 / 6)

    def blur(x: Array) -> Array:
        return np.asarray(cv2.sepFilter2D(x, cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_REPLICATE))

    mean = blur(grey)
    return np.asarray((grey - mean) / (np.sqrt(np.abs(blur(grey * grey) - mean * mean)) + 1))


def _halved(grey: Array) -> Array:
    padded = cv2.copyMakeBorder(grey, 3, 4, 3, 4, cv2.BORDER_REFLECT)
    kernel = _HALVING[:, None]
    # the kernel's eight values lie round the middle between two pixels: anchor on the fourth
    out = cv2.sepFilter2D(padded, cv2.CV_64F, kernel, kernel, anchor=(3, 3), borderType=cv2.BORDER_REFLECT)
    return np.asarray(out[3:-4:2, 3:-4:2])


def _block_features(block: Array) -> list[Any]:
    shape, left, right = _asymmetric_gaussian(block)
    out = [shape, (left + right) / 2]
    for shift in _SHIFTS:
        shape, left, right = _asymmetric_gaussian(block * np.roll(block, shift, (0, 1)))
        mean = (right - left) * gamma(2 / shape) / gamma(1 / shape)
        out += [shape, mean, left, right]
    return out


@cache
def _shapes() -> tuple[Array, Array]:
    candidates = np.arange(0.2, 10.001, 0.001)
    return candidates, gamma(2 / candidates) ** 2 / (gamma(1 / candidates) * gamma(3 / candidates))


def _asymmetric_gaussian(values: Array) -> tuple[float, float, float]:
    """Shape, left and right scale of an asymmetric generalised Gaussian, by matching moments (Lasmar et al. 2009)."""
    flat = values.ravel()
    below, above = flat[flat < 0], flat[flat > 0]
    if not len(below) or not len(above):
        return np.nan, np.nan, np.nan
    left, right = np.sqrt(np.mean(below**2)), np.sqrt(np.mean(above**2))
    ratio = left / right
    wanted = np.mean(np.abs(flat)) ** 2 / np.mean(flat**2)
    wanted *= (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    candidates, ratios = _shapes()
    shape = float(candidates[np.argmin((ratios - wanted) ** 2)])
    scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, float(left * scale), float(right * scale)
