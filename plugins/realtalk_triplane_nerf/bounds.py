"""What is known of a head before training: the template face, the box around it, and the visual hull of its masks."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from realtalk_core.capture import Capture
from realtalk_core.expression import eye_opening, lip_gap, upper_face
from realtalk_core.landmarks import FACE_OVAL
from realtalk_core.nn.occupancy import Occupancy
from realtalk_core.nn.rays import project
from realtalk_core.nn.warp import Warper, interpolate_plane, warp_reference

BEHIND_CM = 7.0
"""How far behind the rearmost landmark hair and ears may reach."""
BEFORE_CM = 1.2
BENEATH_CM = 2.2
ABOVE_CM = 0.3
OUTLINE_SHARE = 0.9
HULL_FRAMES = 24
HULL_SIZE = 128
HULL_SHARE = 0.8
"""Share of the frames in whose mask a cell must lie: masks and poses err now and then."""


def open_face(points: Float[Tensor, "T K 3"], neutral: Float[Tensor, "K 3"]) -> Float32[Tensor, "K 3"]:
    """The mean face of the frames with the widest mouth, with the eyes of those with wide eyes.

    In a volume stored with a closed mouth everything behind the lips shares a strip less than a millimetre high, and
    teeth blur; stored open, what is hidden in a frame merely is not sampled.
    """
    count = max(1, len(points) // 40)
    mouth = points[lip_gap(points).topk(count).indices].mean(0)
    eyes = points[eye_opening(points).mean(1).topk(max(1, len(points) // 10)).indices].mean(0)
    upper = upper_face(neutral)[:, None]
    return (upper * eyes + (1 - upper) * mouth).float()


def spread(frames: Tensor, count: int) -> list[int]:
    """Up to `count` of the frames, evenly spread."""
    return frames[torch.linspace(0, len(frames) - 1, min(count, len(frames))).round().long()].tolist()


def head_box(
    capture: Capture, frames: Tensor, face: Float[Tensor, "K 3"]
) -> tuple[Float32[Tensor, "3"], Float32[Tensor, "3"]]:
    """Corners of the box that holds face, hair and ears, cm: the masks' outline brought into the head's own plane."""
    corners = []
    scale = HULL_SIZE / capture.size
    for frame in spread(frames, HULL_FRAMES):
        rows, columns = np.nonzero(capture.masks(frame, HULL_SIZE)[..., 1] > 127)
        if not len(rows):
            continue
        box = (
            torch.tensor([[columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]], dtype=torch.float32)
            / scale
        )
        pose, k = capture.tracks.pose[frame].float(), capture.tracks.intrinsics.float()
        rays = torch.cat(((box - k[:2, 2]) / k[[0, 1], [0, 1]], torch.ones(2, 1)), 1) @ pose[:3, :3].T
        depth = (face[:, 2].mean() - pose[2, 3]) / rays[:, 2]
        corners.append((pose[:3, 3] + depth[:, None] * rays)[:, :2].sort(0).values)
    low, high = face.amin(0) - BEFORE_CM, face.amax(0) + BEFORE_CM
    if corners:
        found = torch.stack(corners).quantile(0.5, 0)
        low[:2] = torch.minimum(low[:2], found[0] - 1.0)
        high[:2] = torch.maximum(high[:2], found[1] + 1.0)
    low[2] = face[:, 2].min() - BEHIND_CM
    return low.float(), high.float()


def face_shell(grid: Occupancy, face: Float[Tensor, "K 3"]) -> Bool[Tensor, "X Y Z"]:
    """All cells but those inside the face's outline that are far from its surface.

    The landmarks are points of the surface: they say where skin is to within a centimetre, and how far behind it teeth
    and eyes may lie. Fewer samples, and no fog in front of or behind the face that a frontal clip could not contradict.
    """
    dense = len(face) == 478
    outline = face[list(FACE_OVAL) if dense else [*range(17), *range(26, 16, -1)], :2]
    shape = grid.allowed.shape
    cells = (grid.centres(torch.arange(grid.allowed.numel())).T * grid.extent + grid.low).reshape(*shape, 3)
    columns = cells[:, :, 0, :2].reshape(-1, 2)
    centre = outline.mean(0)
    contour = ((outline - centre) * OUTLINE_SHARE + centre).numpy()[:, None].astype(np.float32)
    inside = torch.tensor([cv2.pointPolygonTest(contour, (float(x), float(y)), False) >= 0 for x, y in columns])
    surface = interpolate_plane(face[:, :2], face[:, 2:], columns)[:, 0].reshape(shape[:2])
    depth = cells[..., 2] - surface[..., None]
    slack = grid.cell if dense else grid.cell + 1.0
    near = (depth > -BENEATH_CM - slack) & (depth < ABOVE_CM + slack)
    return near | ~inside.reshape(shape[:2])[..., None]


def visual_hull(capture: Capture, frames: Tensor, grid: Occupancy, warper: Warper | None) -> Bool[Tensor, "X Y Z"]:
    """Cells that lie inside the head's mask in most frames, after being moved with the face by the warp."""
    shape = grid.allowed.shape
    cells = grid.centres(torch.arange(grid.allowed.numel())).T * grid.extent + grid.low
    votes, chosen = torch.zeros(len(cells)), spread(frames, HULL_FRAMES)
    for frame in chosen:
        placed = cells
        if warper is not None:
            points = capture.landmarks.to_scheme(warper.scheme).points[frame]
            placed = cells + warp_reference(cells, warper.forward_field(points))
        pixels = project(placed, capture.tracks.pose[frame].float(), capture.tracks.intrinsics.float())
        mask = capture.masks(frame, HULL_SIZE)[..., 1]
        cell_pixels = grid.cell * float(capture.tracks.intrinsics[0, 0]) * HULL_SIZE / capture.size
        distance = float((capture.tracks.pose[frame, :3, 3]).norm())
        radius = int(np.ceil(cell_pixels / distance)) + 1
        mask = cv2.dilate(mask, np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)) > 25
        column, row = (pixels * (HULL_SIZE / capture.size)).long().unbind(1)
        inside = (column >= 0) & (row >= 0) & (column < HULL_SIZE) & (row < HULL_SIZE)
        hit = torch.from_numpy(mask)[row.clamp(0, HULL_SIZE - 1), column.clamp(0, HULL_SIZE - 1)]
        votes += inside & hit
    hull = (votes >= HULL_SHARE * len(chosen)).reshape(shape)
    return hull if bool(hull.any()) else torch.ones_like(hull)
