"""Where the targets of the rendered normals come from.

The paper asks a network (Abrevaya et al., CVPR 2020). The tracked landmarks say the same for the face, to within what a
tracker knows; whatever else gives normals can take their place by having the method of `NormalEstimator`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from realtalk_core.landmarks import FACE_OVAL
from realtalk_core.nn.rays import pixel_centres, project
from realtalk_core.nn.warp import interpolate_plane

REACH_CM = 0.4
"""Steps over which slopes of the surface are measured: finer ones are the tracker's noise."""
GRID = 48
"""Targets are smooth: they are worked out on so many points a side and interpolated between them."""


@dataclass(frozen=True, slots=True)
class NormalMap:
    """Normals of one picture.

    Attributes:
        normals: `H W 3` unit vectors in head space, pointing out of the head; zero where unknown.
        known: `H W`: where there are any.
    """

    normals: Float32[Tensor, "H W 3"]
    known: Bool[Tensor, "H W"]

    def to(self, device: torch.device) -> NormalMap:
        """The same there."""
        return NormalMap(self.normals.to(device), self.known.to(device))


class NormalEstimator(Protocol):
    """A source of normals for pictures of a capture."""

    def normals(
        self, points: Float[Tensor, "K 3"], pose: Float[Tensor, "4 4"], intrinsics: Float[Tensor, "3 3"], size: int
    ) -> NormalMap:
        """Normals of a picture of `size` pixels a side.

        Args:
            points: The face's landmarks in head space, cm.
            pose: Camera-to-head.
            intrinsics: Of the picture.
            size: Its side.
        """
        ...


class SurfaceNormals:
    """Normals of the surface through the landmarks, a height over the frontal plane; inside the face's outline."""

    def normals(
        self, points: Float[Tensor, "K 3"], pose: Float[Tensor, "4 4"], intrinsics: Float[Tensor, "3 3"], size: int
    ) -> NormalMap:
        """See `NormalEstimator.normals`."""
        points, pose, intrinsics = points.float(), pose.float(), intrinsics.float()
        at = points.repeat(4, 1)[:, :2].reshape(4, -1, 2)
        offsets = REACH_CM * torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
        heights = interpolate_plane(points[:, :2], points[:, 2:], (at + offsets[:, None]).reshape(-1, 2)).view(4, -1)
        slopes = torch.stack((heights[0] - heights[1], heights[2] - heights[3]), 1) / (2 * REACH_CM)
        facing = torch.nn.functional.normalize(torch.cat((-slopes, torch.ones(len(slopes), 1)), 1), dim=1)
        pixels = project(points, pose, intrinsics)
        oval = list(FACE_OVAL) if len(points) == 478 else [*range(17), *range(26, 16, -1)]
        mask = np.zeros((size, size), np.uint8)
        cv2.fillPoly(mask, [pixels[oval].round().int().numpy()], 1)
        spread = interpolate_plane(pixels, facing, pixel_centres(GRID, GRID) * (size / GRID)).view(GRID, GRID, 3)
        wide = cv2.resize(spread.numpy(), (size, size), interpolation=cv2.INTER_LINEAR)
        known = torch.from_numpy(mask).bool()
        normals = torch.nn.functional.normalize(torch.from_numpy(wide), dim=2) * known[..., None]
        return NormalMap(normals, known)
