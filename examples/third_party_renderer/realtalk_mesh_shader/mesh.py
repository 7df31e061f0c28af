"""The mesh: the landmarks and a rigid halo around them for hair and ears, and which texel each pixel sees."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from scipy.spatial import Delaunay
from torch import Tensor

from realtalk_core.landmarks import FACE_OVAL, INNER_LIP_CENTRES
from realtalk_core.types import CameraTrack

VERTICES = 468
"""The landmarks without the irises, which lie on top of the eyes."""
SHIFT = 4
BACK_CM = 6.0


class Mesh:
    """Vertices on the head, their places in the texture, and triangles.

    Attributes:
        halo: `36 3` vertices around the face that move with the skull alone.
        places: `V 2` texture coordinates in [-1, 1].
        triangles: `M 3` indices of vertices.
    """

    def __init__(self, halo: Tensor, places: Tensor, triangles: Tensor) -> None:
        self.halo, self.places, self.triangles = halo, places, triangles

    @classmethod
    def of(cls, neutral: Tensor, tracked: Tensor, reach: float) -> Mesh:
        """Lays out the texture.

        Args:
            neutral: `478 3` neutral face.
            tracked: `T 478 3` landmarks of the person speaking.
            reach: How far the halo reaches, as a factor of the face's outline.
        """
        outline = neutral[list(FACE_OVAL)]
        centre = outline.mean(0)
        halo = centre + (outline - centre) * reach
        halo[:, 2] = outline[:, 2].min() - BACK_CM * (reach - 1)
        # The widest open mouth, so that there is room in the texture for what lies behind the lips.
        upper, lower = INNER_LIP_CENTRES
        widest = tracked[(tracked[:, upper] - tracked[:, lower]).norm(dim=1).argmax()]
        flat = torch.cat([widest[:VERTICES], halo])[:, :2]
        low, high = flat.amin(0), flat.amax(0)
        triangles = torch.from_numpy(Delaunay(flat.numpy()).simplices.astype(np.int64))
        return cls(halo, (flat - low) / (high - low) * 2 - 1, triangles)

    def look_up(self, landmarks: Tensor, camera: CameraTrack) -> tuple[Tensor, Tensor]:
        """What each pixel of one frame sees.

        Args:
            landmarks: `478 3` in head space.
            camera: Of one frame.

        Returns:
            Texture coordinates `H W 2`, and where the mesh is seen at all, `H W` bool.
        """
        vertices = torch.cat([landmarks[:VERTICES], self.halo])
        to_camera = torch.linalg.inv(camera.pose[0])
        seen = vertices @ to_camera[:3, :3].T + to_camera[:3, 3]
        pixels = seen @ camera.intrinsics.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        corners = pixels[self.triangles]
        front = self._rasterise(corners, seen[self.triangles, 2].mean(1), camera)
        shown = torch.from_numpy(front >= 0)
        return self._interpolate(corners, torch.from_numpy(front).clamp_min(0).long()), shown

    @staticmethod
    def _rasterise(corners: Tensor, depth: Tensor, camera: CameraTrack) -> np.ndarray:
        """Index of the foremost triangle of each pixel, -1 for none: painted from far to near."""
        front = np.full((camera.height, camera.width), -1, np.int32)
        fixed = ((corners - 0.5) * (1 << SHIFT)).round().int().numpy()
        for index in torch.argsort(depth, descending=True).tolist():
            cv2.fillConvexPoly(front, fixed[index], index, cv2.LINE_8, SHIFT)
        return front

    def _interpolate(self, corners: Tensor, front: Tensor) -> Tensor:
        height, width = front.shape
        rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        a, b, c = corners.unbind(1)
        area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
        area = torch.where(area.abs() < 1e-6, torch.full_like(area, 1e-6), area)[front]
        a, b, c = (corner[front] for corner in (a, b, c))
        second = ((columns - a[..., 0]) * (c - a)[..., 1] - (rows - a[..., 1]) * (c - a)[..., 0]) / area
        third = ((rows - a[..., 1]) * (b - a)[..., 0] - (columns - a[..., 0]) * (b - a)[..., 1]) / area
        second, third = second.clamp(0, 1)[..., None], third.clamp(0, 1)[..., None]
        places = self.places[self.triangles]
        first_place = places[front, 0]
        return first_place + second * (places[front, 1] - first_place) + third * (places[front, 2] - first_place)
