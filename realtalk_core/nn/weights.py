"""What a file of any renderer of a head must hold; said in one sentence where it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def check_head_tensors(tensors: Mapping[str, Tensor], needed: Sequence[str]) -> None:
    """Refuses tensors that no head can be made of.

    Args:
        tensors: Of a checkpoint.
        needed: Names that must be there, `basis.neutral` (`K 3`, K 478 or 68) among them.

    Raises:
        ValueError: naming the tensor and what is wrong with it: missing, not finite, or not such a face.
    """
    missing = [name for name in needed if name not in tensors]
    if missing:
        raise ValueError(f"it lacks the tensor{'s' if len(missing) > 1 else ''} {', '.join(missing)}")
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(f"its tensor {name} holds NaN or infinite values: training went wrong, or it was damaged")
    points = tensors["basis.neutral"].shape
    if tuple(points) not in ((478, 3), (68, 3)):
        raise ValueError(f"its tensor basis.neutral must be 478 or 68 landmarks, and is {list(points)}")
    if "template" in tensors and tensors["template"].shape != points:
        raise ValueError(f"its tensor template is {list(tensors['template'].shape)}, its neutral face {list(points)}")
