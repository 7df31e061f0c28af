"""Small measures of pictures and faces, shared by training, `realtalk evaluate` and the benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from realtalk_core.landmarks import INNER_LIP_CENTRES
from realtalk_core.types import CameraTrack, LandmarkTrack

Picture = NDArray[Any]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are one past the last."""


def psnr(picture: Picture, truth: Picture) -> float:
    """Peak signal-to-noise ratio in dB of `H W C` pictures, uint8 or float in [0, 1]; higher is better.

    >>> round(psnr(np.zeros((2, 2, 3)), np.full((2, 2, 3), 0.1)), 2)
    20.0
    """
    error = float(np.mean((_unit(picture) - _unit(truth)) ** 2))
    return float("inf") if error == 0 else -10.0 * float(np.log10(error))


def ssim(picture: Picture, truth: Picture) -> float:
    """Structural similarity in [-1, 1] (Wang et al. 2004): Gaussian window 11x11, sigma 1.5, mean over channels."""
    a, b = _unit(picture), _unit(truth)

    def blur(x: Picture) -> Picture:
        return np.asarray(cv2.GaussianBlur(x, (11, 11), 1.5))

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    cov = blur(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + 0.01**2) * (2 * cov + 0.03**2)
    return float(np.mean(top / ((mean_a**2 + mean_b**2 + 0.01**2) * (var_a + var_b + 0.03**2))))


def perceptual_distance() -> Callable[[Picture, Picture], float] | None:
    """LPIPS of two `H W C` pictures, lower is better; None unless both of its files are on this machine.

    Raises:
        UserError: if a file of it is there but damaged.
    """
    from realtalk_core.nn.lpips import Lpips

    lpips = Lpips.installed()
    if lpips is None:
        return None

    def measure(picture: Picture, truth: Picture) -> float:
        a, b = (torch.from_numpy(_unit(x)).float().permute(2, 0, 1)[None] for x in (picture, truth))
        with torch.no_grad():
            return float(lpips(a, b))

    return measure


def _unit(picture: Picture) -> Picture:
    return picture.astype(np.float64) / 255.0 if picture.dtype == np.uint8 else picture.astype(np.float64)


def project(landmarks: LandmarkTrack, cameras: CameraTrack) -> Float[Tensor, "T K 2"]:
    """Landmarks in pixels of the cameras' pictures (x right, y down)."""
    rotation, centre = cameras.pose[:, :3, :3], cameras.pose[:, None, :3, 3]
    seen = (landmarks.points - centre) @ rotation  # camera-to-head, so its transpose brings head points to the camera
    flat = seen @ cameras.intrinsics.T
    pixels: Tensor = flat[..., :2] / flat[..., 2:].clamp_min(1e-6)
    return pixels


def landmark_box(points: Float[Tensor, "K 2"], size: int, margin: float = 0.0) -> Box:
    """The box of projected landmarks, widened on each side by `margin` of its size and kept in the picture."""
    low, high = points.min(0).values, points.max(0).values
    extra = (high - low) * margin
    left, top = ((low - extra).floor().clamp(0, size - 2)).int().tolist()
    right, bottom = ((high + extra).ceil().clamp(2, size)).int().tolist()
    return left, top, max(right, left + 2), max(bottom, top + 2)


def crop(picture: Picture, box: Box) -> Picture:
    """The part of a picture inside a box."""
    left, top, right, bottom = box
    return picture[top:bottom, left:right]


def mouth_opening(landmarks: LandmarkTrack) -> Float[Tensor, "T"]:
    """Distance between the inner lips' centres in centimetres."""
    upper, lower = INNER_LIP_CENTRES if landmarks.scheme == "mediapipe478" else (62, 66)
    gap: Tensor = (landmarks.points[:, upper] - landmarks.points[:, lower]).norm(dim=-1)
    return gap


def correlation(a: Float[Tensor, "T"], b: Float[Tensor, "T"]) -> float:
    """Pearson's correlation; 0 if either does not vary."""
    x, y = a.double() - a.double().mean(), b.double() - b.double().mean()
    norm = float(x.norm() * y.norm())
    return float(x @ y) / norm if norm > 1e-12 else 0.0


def spread(values: Tensor, count: int) -> Tensor:
    """At most `count` entries, evenly spread.

    >>> spread(torch.arange(10), 3).tolist()
    [0, 4, 9]
    """
    if values.numel() <= count:
        return values
    return values[torch.linspace(0, values.numel() - 1, count).long()]
