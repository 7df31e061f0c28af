"""Pictures of the lower face, cut out along the head's pose so that only the face itself moves in them."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from realtalk_core.capture import Capture
from realtalk_core.landmarks import LIPS_OUTER
from realtalk_core.nn.parallel import in_threads, worker_count

HALF_CM = 3.6
"""Half the side of a cut-out on the face: from below the nose to the chin."""
LOWER_CM = 0.4
"""How far its middle lies below the lips'."""


def cut_outs(capture: Capture, frames: Tensor, side: int) -> UInt8[Tensor, "F S S 3"]:
    """Reads frames of a capture and cuts out the lower face of each, on all worker threads.

    Args:
        capture: Any; its poses say where the neutral mouth would be seen.
        frames: Their numbers, `F`.
        side: Pixels of each side of a cut-out.
    """
    corners = _corners(capture, frames).numpy()
    to = np.array([[side, side], [0, side], [side, 0]], np.float32)
    found = torch.empty(len(frames), side, side, 3, dtype=torch.uint8)

    def work(_: int, rows: list[int]) -> None:
        for row in rows:
            bend = cv2.getAffineTransform(corners[row], to) * 2  # twice as large, then averaged: no aliasing
            picture = capture.frame(int(frames[row]))
            large = cv2.warpAffine(
                picture, bend, (2 * side, 2 * side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            found[row] = torch.from_numpy(cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA))

    in_threads(work, range(len(frames)), worker_count())
    return found


def _corners(capture: Capture, frames: Tensor) -> Float[Tensor, "F 3 2"]:
    """Lower right, lower left and upper right corner of each cut-out, in pixels."""
    neutral = capture.tracks.neutral
    middle = neutral[list(LIPS_OUTER if len(neutral) == 478 else range(48, 60))].mean(0)
    offsets = torch.tensor([[1.0, -1, 0], [-1, -1, 0], [1, 1, 0]])
    points = middle - torch.tensor([0.0, LOWER_CM, 0.0]) + HALF_CM * offsets
    pose = capture.tracks.pose[frames]
    seen = (points - pose[:, None, :3, 3]) @ pose[:, :3, :3]
    flat = seen @ capture.tracks.intrinsics.T
    return (flat[..., :2] / flat[..., 2:].clamp_min(1e-6)).float()
