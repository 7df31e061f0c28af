"""Rays of a pinhole camera in head space, and where they meet a box."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float32
from torch import Tensor


def pixel_centres(width: int, height: int) -> Float32[Tensor, "HW 2"]:
    """Centres of all pixels, row by row, as (x, y); the first is (0.5, 0.5).

    >>> pixel_centres(2, 1).tolist()
    [[0.5, 0.5], [1.5, 0.5]]
    """
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack((x, y), -1).reshape(-1, 2)


def camera_rays(
    pixels: Float[Tensor, "R 2"], pose: Float[Tensor, "4 4"], intrinsics: Float[Tensor, "3 3"]
) -> tuple[Float[Tensor, "3"], Float[Tensor, "R 3"]]:
    """The camera's centre and the unit directions through pixels, in head space.

    Args:
        pixels: (x, y), pixel centres at half-integers.
        pose: Camera-to-head.
        intrinsics: Of the same picture size as the pixels.
    """
    flat = (pixels - intrinsics[:2, 2]) / torch.stack((intrinsics[0, 0], intrinsics[1, 1]))
    directions = torch.cat((flat, torch.ones_like(flat[:, :1])), 1) @ pose[:3, :3].T
    return pose[:3, 3], directions / directions.norm(dim=1, keepdim=True)


def meet_box(
    origin: Float[Tensor, "3"], directions: Float[Tensor, "R 3"], low: Float[Tensor, "3"], high: Float[Tensor, "3"]
) -> tuple[Float[Tensor, "R"], Float[Tensor, "R"]]:
    """Distances at which rays enter and leave a box; the second is smaller where a ray misses it."""
    safe = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    first, second = (low - origin) / safe, (high - origin) / safe
    near = torch.minimum(first, second).amax(1).clamp(min=0)
    return near, torch.maximum(first, second).amin(1)


def project(
    points: Float[Tensor, "N 3"], pose: Float[Tensor, "4 4"], intrinsics: Float[Tensor, "3 3"]
) -> Float[Tensor, "N 2"]:
    """Head-space points to pixels."""
    camera = (points - pose[:3, 3]) @ pose[:3, :3]
    flat = camera[:, :2] / camera[:, 2:].clamp(min=1e-6)
    return flat * torch.stack((intrinsics[0, 0], intrinsics[1, 1])) + intrinsics[:2, 2]
