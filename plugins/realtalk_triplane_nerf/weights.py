"""What a file of this renderer must hold; said in one sentence where it does not."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from realtalk_core.nn.weights import check_head_tensors

NEEDED = ("box", "occupied", "nose_y", "field.tables", "basis.neutral", "basis.scale")


def check_tensors(tensors: Mapping[str, Tensor]) -> None:
    """Refuses tensors that no head can be made of; sizes that differ from the configuration's are found on loading.

    Raises:
        ValueError: naming the tensor and what is wrong with it.
    """
    check_head_tensors(tensors, NEEDED)
    box, occupied = tensors["box"], tensors["occupied"]
    if box.shape != (5,) or float(box[3]) <= 0 or float(box[4]) <= 0:
        raise ValueError("its tensor box must hold a corner, a side above 0 and a cell's side above 0")
    if occupied.dim() != 3 or not occupied.numel():
        raise ValueError(f"its tensor occupied must have three dimensions, and has {list(occupied.shape)}")
