"""One 3-D multi-resolution hash grid (Instant-NGP, Müller et al. 2022, §3), read trilinearly.

What `hashgrid` replaces: hashed corners of a volume collide in O(R³) cells instead of O(R²). Kept for the ablation
"without tri-plane" (RealTalk, table 3), with the same feature-major interface.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from realtalk_core.nn import _hashvolume_kernel
from realtalk_core.nn._jit import array, on_cpu

PRIMES = (1, 2654435761, 805459861)


@dataclass(frozen=True, slots=True)
class VolumeLayout:
    """Sizes of the tables.

    Attributes:
        resolutions: Cells along a side, one entry per column (a level of two channels is listed twice).
        log2_entries: Each table has `2 ** log2_entries` entries; a level that fits is stored without hashing.
    """

    resolutions: tuple[int, ...]
    log2_entries: int

    @classmethod
    def geometric(cls, levels: int, channels: int, coarsest: int, finest: int, log2_entries: int) -> VolumeLayout:
        """`levels` resolutions in geometric progression, each with `channels` channels.

        As many numbers and columns as three planes of one channel take three channels here.

        >>> VolumeLayout.geometric(3, 3, 16, 64, 14).resolutions
        (16, 16, 16, 32, 32, 32, 64, 64, 64)
        """
        growth = (finest / coarsest) ** (1 / max(1, levels - 1))
        sides = [round(coarsest * growth**level) for level in range(levels)]
        return cls(tuple(side for side in sides for _ in range(channels)), log2_entries)

    @property
    def columns(self) -> int:
        """Features of a point."""
        return len(self.resolutions)

    def empty_tables(self) -> Float32[Tensor, "columns entries"]:
        """Fresh tables: uniform in ±1e-4, as in Instant-NGP."""
        return torch.empty(self.columns, 2**self.log2_entries).uniform_(-1e-4, 1e-4)


def encode_volume_reference(
    points: Float32[Tensor, "3 N"], tables: Float32[Tensor, "columns entries"], layout: VolumeLayout
) -> Float32[Tensor, "columns N"]:
    """Trilinear reads of every table, as the formula says; differentiable in the tables.

    Args:
        points: Coordinates in [0, 1]; clamped to it.
        tables: One row per column.
        layout: Their sizes.
    """
    mask, columns = 2**layout.log2_entries - 1, []
    for table, side in zip(tables, layout.resolutions, strict=True):
        place = points.clamp(0, 1) * side
        cell = place.long().clamp(max=side - 1)
        share = place - cell
        value = torch.zeros_like(points[0])
        for corner in range(8):
            bits = [corner >> axis & 1 for axis in range(3)]
            at = [cell[axis] + bits[axis] for axis in range(3)]
            if (side + 1) ** 3 <= mask + 1:
                index = (at[2] * (side + 1) + at[1]) * (side + 1) + at[0]
            else:
                index = ((at[0] * PRIMES[0]) ^ (at[1] * PRIMES[1]) ^ (at[2] * PRIMES[2])) & mask
            weights = [share[axis] if bits[axis] else 1 - share[axis] for axis in range(3)]
            value = value + weights[0] * weights[1] * weights[2] * table[index]
        columns.append(value)
    return torch.stack(columns)


class _EncodeVolume(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, tables: Tensor, layout: VolumeLayout, sink: Tensor | None) -> Tensor:
        sides, out = array(torch.tensor(layout.resolutions)), torch.empty(layout.columns, points.shape[1])
        _hashvolume_kernel.encode(array(points), array(tables), sides, out.numpy())
        ctx.save_for_backward(points)
        ctx.sides, ctx.shape, ctx.sink = sides, tables.shape, sink
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None, None, None]:
        (points,) = ctx.saved_tensors
        into = torch.zeros(ctx.shape) if ctx.sink is None else ctx.sink
        _hashvolume_kernel.encode_backward(array(points), array(grad.float()), ctx.sides, into.numpy())
        return None, into if ctx.sink is None else None, None, None


def encode_volume(
    points: Float32[Tensor, "3 N"],
    tables: Float32[Tensor, "columns entries"],
    layout: VolumeLayout,
    sink: Float32[Tensor, "columns entries"] | None = None,
) -> Float32[Tensor, "columns N"]:
    """`encode_volume_reference`, by the kernel where the tensors are on the CPU.

    Args:
        points: Coordinates in [0, 1]; clamped to it.
        tables: One row per column.
        layout: Their sizes.
        sink: Where the kernel adds the tables' gradient instead of returning it; saves a table-sized buffer per call.
    """
    if not on_cpu(points, tables):
        return encode_volume_reference(points, tables, layout)
    encoded: Tensor = _EncodeVolume.apply(points, tables, layout, sink)  # type: ignore[no-untyped-call]
    return encoded
