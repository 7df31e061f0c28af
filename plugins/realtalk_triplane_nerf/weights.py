"""What a file of this renderer must hold; said in one sentence where it does not."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

NEEDED = ("box", "occupied", "nose_y", "field.tables", "basis.neutral", "basis.scale")


def check_tensors(tensors: Mapping[str, Tensor]) -> None:
    """Refuses tensors that no head can be made of; sizes that differ from the configuration's are found on loading.

    Raises:
        ValueError: naming the tensor and what is wrong with it.
    """
    missing = [name for name in NEEDED if name not in tensors]
    if missing:
        raise ValueError(f"it lacks the tensor{'s' if len(missing) > 1 else ''} {', '.join(missing)}")
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(f"its tensor {name} holds NaN or infinite values: training went wrong, or it was damaged")
    box, occupied = tensors["box"], tensors["occupied"]
    if box.shape != (5,) or float(box[3]) <= 0 or float(box[4]) <= 0:
        raise ValueError("its tensor box must hold a corner, a side above 0 and a cell's side above 0")
    if occupied.dim() != 3 or not occupied.numel():
        raise ValueError(f"its tensor occupied must have three dimensions, and has {list(occupied.shape)}")
    points = tensors["basis.neutral"].shape
    if tuple(points) not in ((478, 3), (68, 3)):
        raise ValueError(f"its tensor basis.neutral must be 478 or 68 landmarks, and is {list(points)}")
    if "template" in tensors and tensors["template"].shape != points:
        raise ValueError(f"its tensor template is {list(tensors['template'].shape)}, its neutral face {list(points)}")
