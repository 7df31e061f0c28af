"""Training pictures in memory, and which frames and pixels a step looks at."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int32, UInt8
from torch import Tensor

from realtalk_core.capture import PARTS, Capture
from realtalk_core.compositing import Array
from realtalk_core.expression import eye_opening, lip_gap
from realtalk_core.matting import unmix
from realtalk_core.nn.parallel import in_threads, worker_count

PIXEL_WEIGHTS: dict[str, float] = {
    "background": 0.12, "torso": 0.12, "hair_ears": 0.5, "skin": 1.0, "brows": 2.0, "eyes": 4.0, "nose": 1.2,
    "lips": 8.0, "inside_mouth": 20.0,
}  # fmt: skip
"""How often a pixel of each part is drawn, relative to skin."""
MOUTH = ["lips", "inside_mouth"]
LIPS_SIDE = 32
"""Least side of the rectangles around the lips."""
EDGE = 3
"""Pixels beyond a matte's outline that may still belong to the person."""
RAREST = 5.0
"""Most that a rare frame is drawn, relative to the mean."""


def rarity(points: Float[Tensor, "T K 3"]) -> Float[Tensor, "T"]:
    """How much to favour each frame: the largest inverse density of mouth opening, mouth width and eye opening."""
    corners = (78, 308) if points.shape[1] == 478 else (60, 64)
    width = (points[:, corners[0]] - points[:, corners[1]]).norm(dim=1)
    total = torch.full((len(points),), 1 / RAREST)
    for value in (lip_gap(points), width, eye_opening(points).mean(1)):
        low, high = value.min(), value.max()
        bins = ((value - low) / (high - low).clamp(min=1e-6) * 11.999).long()
        share = torch.bincount(bins, minlength=12).float() / len(value)
        total = torch.maximum(total, (1 / (12 * share[bins])).clamp(max=RAREST))
    return total / total.mean()


def thinned(weights: Float[Tensor, "T"], most: int) -> Tensor:
    """Indices of at most `most` frames, rarer ones kept more often, in time order; no randomness."""
    if len(weights) <= most:
        return torch.arange(len(weights))
    low, high = 0.0, 1 / float(weights.min())
    for _ in range(60):  # the scale at which chances, none above one, add up to what is wanted
        scale = (low + high) / 2
        enough = float((weights.double() * scale).clamp(max=1).sum()) > most
        low, high = (low, scale) if enough else (scale, high)
    edges = (weights.double() * high).clamp(max=1).cumsum(0)
    chosen = torch.searchsorted(edges, torch.arange(most) + 0.5).clamp(max=len(weights) - 1)
    frames: Tensor = torch.unique_consecutive(chosen)
    return frames


def head_share(person: Array, head: Array) -> Array:
    """How much of the person at each pixel `S S 1` is head: beyond the person's outline as much as just inside."""
    whole = np.maximum(person, head)
    near_head, near = (cv2.blur(x, (2 * EDGE + 1, 2 * EDGE + 1))[..., None] for x in (head, whole))
    share = np.where(whole > 0.5, head / np.maximum(whole, 1e-3), near_head / np.maximum(near, 1e-3))
    return np.asarray(share, np.float32)


@dataclass(frozen=True, slots=True)
class FrameBank:
    """Pictures of the head alone, at the training size.

    Attributes:
        head: `F S S 3`: the head's colour times its opacity, with the plate behind soft edges taken out.
        alpha: `F S S`: the head's opacity.
        label: `F S S`: part labels.
        mouth: `F 4`: top, left, bottom and right of the lips and what is between them; -1 where there are none.
    """

    head: UInt8[Tensor, "F S S 3"]
    alpha: UInt8[Tensor, "F S S"]
    label: UInt8[Tensor, "F S S"]
    mouth: Int32[Tensor, "F 4"]

    @classmethod
    def load(cls, capture: Capture, frames: Tensor, size: int) -> FrameBank:
        """Reads and reduces the given frames, on all worker threads."""
        plate = capture.background(size).astype(np.float32) / 255
        boxes = torch.full((len(frames), 4), -1, dtype=torch.int32)
        pictures, alphas, labels = (torch.empty(len(frames), size, size, *c, dtype=torch.uint8) for c in ((3,), (), ()))
        bank = cls(pictures, alphas, labels, boxes)

        def work(_: int, rows: list[int]) -> None:
            for row in rows:
                masks = capture.masks(int(frames[row]), size)
                picture = capture.frame(int(frames[row]), size).astype(np.float32) / 255
                person, head = (masks[..., k : k + 1].astype(np.float32) / 255 for k in (0, 1))
                colour, alpha = unmix(picture, plate, np.maximum(person, head))
                alpha = alpha * head_share(person, head)
                bank.head[row] = torch.from_numpy((colour * alpha * 255 + 0.5).astype(np.uint8))
                bank.alpha[row] = torch.from_numpy((alpha[..., 0] * 255 + 0.5).astype(np.uint8))
                bank.label[row] = torch.from_numpy(masks[..., 2].copy())
                down, right = np.nonzero(np.isin(masks[..., 2], [PARTS[name] for name in MOUTH]))
                if len(down):
                    boxes[row] = torch.tensor([down.min(), right.min(), down.max() + 1, right.max() + 1])

        in_threads(work, range(len(frames)), worker_count())
        return bank

    def draw(self, row: int, count: int, generator: torch.Generator) -> Tensor:
        """Flat indices of pixels of one frame, by `PIXEL_WEIGHTS`."""
        table = torch.tensor([PIXEL_WEIGHTS[name] for name in sorted(PARTS, key=PARTS.__getitem__)])
        edges = table[self.label[row].flatten().clamp(max=len(table) - 1).long()].cumsum(0)
        at = torch.rand(count, generator=generator) * edges[-1]
        return torch.searchsorted(edges, at).clamp(max=len(edges) - 1)

    def patch(self, row: int, side: int, generator: torch.Generator) -> Tensor:
        """Flat indices of a square patch around a random pixel of the mouth (half the time), the eyes or the rest."""
        size, dice = self.label.shape[1], float(torch.rand((), generator=generator))
        if dice < 0.5:
            names = MOUTH
        elif dice < 0.8:
            names = ["eyes", "brows"]
        else:
            names = ["hair_ears", "skin", "nose"]
        wanted = torch.isin(self.label[row].flatten(), torch.tensor([PARTS[n] for n in names], dtype=torch.uint8))
        found = wanted.nonzero().flatten()
        if not len(found):
            found = torch.tensor([size * size // 2 + size // 2])
        centre = int(found[int(torch.randint(len(found), (), generator=generator))])
        top, left = (max(0, min(size - side, int(c) - side // 2)) for c in divmod(centre, size))
        return ((top + torch.arange(side))[:, None] * size + left + torch.arange(side)).flatten()

    @property
    def lips_shape(self) -> tuple[int, int]:
        """Height and width of the rectangles around the lips: nearly every frame's mouth fits."""
        size, seen = self.label.shape[1], self.mouth[self.mouth[:, 0] >= 0].float()
        if not len(seen):
            return min(size, LIPS_SIDE), min(size, LIPS_SIDE)
        sides = (seen[:, 2:] - seen[:, :2]).quantile(0.98, 0).ceil().int() + 2
        height, width = (min(size, max(LIPS_SIDE, int(side))) for side in sides)
        return height, width

    def lips(self, row: int) -> Tensor:
        """Flat indices of a rectangle of `lips_shape` around one frame's lips; in the middle if it shows none."""
        size, (height, width) = self.label.shape[1], self.lips_shape
        box = self.mouth[row].tolist()
        down, right = (size // 2, size // 2) if box[0] < 0 else ((box[0] + box[2]) // 2, (box[1] + box[3]) // 2)
        top, left = max(0, min(size - height, down - height // 2)), max(0, min(size - width, right - width // 2))
        return ((top + torch.arange(height))[:, None] * size + left + torch.arange(width)).flatten()
