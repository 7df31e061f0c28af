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
from jaxtyping import Bool, Float, Float32, Int8, UInt8
from torch import Tensor

from realtalk_core.landmarks import FACE_OVAL
from realtalk_core.nn.rays import pixel_centres, project
from realtalk_core.nn.warp import interpolate_plane

REACH_CM = 0.4
"""Steps over which slopes of the surface are measured: finer ones are the tracker's noise."""
GRID = 48
"""Targets are smooth: they are worked out on so many points a side and interpolated between them."""

QUARTER = 4
"""How many pixels share a kept normal along a side."""


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


@dataclass(frozen=True, slots=True)
class KeptNormals:
    """A `NormalMap` in a fortieth of its memory: normals in bytes at a quarter of the size, the mask in bits.

    Attributes:
        normals: `h w 3`, times 127.
        known: Eight pixels a byte.
        shape: Of the map.
    """

    normals: Int8[Tensor, "h w 3"]
    known: UInt8[Tensor, "B"]
    shape: tuple[int, int]

    @classmethod
    def of(cls, made: NormalMap) -> KeptNormals:
        """Keeps a map; where nothing is known, its neighbours are continued."""
        height, width = made.known.shape
        side = (max(1, width // QUARTER), max(1, height // QUARTER))
        known = made.known.float().numpy()
        share = cv2.resize(known, side, interpolation=cv2.INTER_AREA)[..., None]
        mean = cv2.resize((made.normals * made.known[..., None]).numpy(), side, interpolation=cv2.INTER_AREA)
        near = cv2.blur(mean, (3, 3)), cv2.blur(share, (3, 3))[..., None]
        filled = torch.from_numpy(
            np.where(share > 0, mean / np.maximum(share, 1e-6), near[0] / np.maximum(near[1], 1e-6))
        )
        bits = torch.from_numpy(np.packbits(made.known.numpy()))
        return cls((torch.nn.functional.normalize(filled, dim=2) * 127).round().to(torch.int8), bits, (height, width))

    def map(self) -> NormalMap:
        """The map again: off by a hundredth or so where normals are smooth."""
        height, width = self.shape
        wide = cv2.resize(self.normals.float().numpy(), (width, height), interpolation=cv2.INTER_LINEAR)
        known = torch.from_numpy(np.unpackbits(self.known.numpy(), count=height * width).reshape(height, width)).bool()
        return NormalMap(torch.nn.functional.normalize(torch.from_numpy(wide), dim=2) * known[..., None], known)


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
