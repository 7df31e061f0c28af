"""What is known of a head before training: the template face, the box around it, and the visual hull of its masks."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from realtalk_core.capture import Capture
from realtalk_core.expression import eye_opening, lip_gap, upper_face
from realtalk_core.landmarks import FACE_OVAL, LIPS_INNER, LIPS_OUTER
from realtalk_core.nn.mouth import heights
from realtalk_core.nn.occupancy import Occupancy
from realtalk_core.nn.rays import project
from realtalk_core.nn.warp import Warper, interpolate_plane, warp_reference

BEHIND_CM = 7.0
"""How far behind the rearmost landmark hair and ears may reach."""
BEFORE_CM = 1.2
BENEATH_CM = 2.2
ABOVE_CM = 0.3
OUTLINE_SHARE = 0.9
FOLLOW_CM = 1.0
"""How far from the lips skin follows when a template's mouth is made larger."""
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


def parted_face(points: Float[Tensor, "T K 3"], neutral: Float[Tensor, "K 3"]) -> Float32[Tensor, "K 3"]:
    """`open_face` whose mouth is as wide, and at each place as open, as it gets in any frame.

    Teeth keep their place in the volume as lips move over them. Where the lips of one frame reach into the mouth of
    another, both are stored in one place: a smile then shows teeth torn by the lip of a closed mouth.
    """
    out = open_face(points, neutral)
    dense = len(neutral) == 478
    inner, outer = (LIPS_INNER, LIPS_OUTER) if dense else (tuple(range(60, 68)), tuple(range(48, 60)))
    half, outer_half = len(inner) // 2, len(outer) // 2
    corners, lips = [inner[0], inner[half]], [*inner, *outer]
    some = points[:: max(1, len(points) // 600)]
    count = max(1, len(some) // 40)
    widest = some[(some[:, corners[1], 0] - some[:, corners[0], 0]).topk(count).indices].mean(0)
    wide = (widest[corners[1], 0] - widest[corners[0], 0]) / (out[corners[1], 0] - out[corners[0], 0])
    before, middle = out.clone(), out[lips, 0].mean()
    out[lips, 0] = middle + (out[lips, 0] - middle) * wide.clamp_min(1)
    out[corners, 1] = widest[corners, 1]
    above = (1, inner[: half + 1], outer[: outer_half + 1])
    below = (-1, (*inner[half:], inner[0]), (*outer[outer_half:], outer[0]))
    for sign, edge, beyond in (above, below):
        between = list(edge[1:-1])
        reach = torch.stack([sign * heights(face, [*edge], out[between, 0]) for face in some])
        out[between, 1] = sign * reach.topk(count, 0).values.mean(0)
        order = before[list(edge), 0].argsort()
        x, lift = (v[list(edge)][order].double().numpy() for v in (before[:, 0], out[:, 1] - before[:, 1]))
        out[list(beyond), 1] = before[list(beyond), 1] + torch.from_numpy(
            np.interp(before[list(beyond), 0].double().numpy(), x, lift)
        ).to(out.dtype)
    moved = (out - before)[lips]
    away = torch.cdist(before[:, :2].double(), before[lips, :2].double()).float()
    share = 1 / (away + 0.02).square()
    follow = torch.exp(-((away.amin(1, keepdim=True) / FOLLOW_CM) ** 2)) * (share @ moved) / share.sum(1, keepdim=True)
    follow[lips] = moved
    return before + follow


TEMPLATES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "open": open_face, "apart": parted_face, "neutral": lambda _, neutral: neutral
}  # fmt: skip


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
