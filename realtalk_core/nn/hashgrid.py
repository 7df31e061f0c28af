"""Planar hash grids: three 2-D multi-resolution tables read at (x, y), (y, z) and (x, z) of a point.

Three planes with hashed corners collide in O(R² + 2RN) instead of O(R²N) entries (ER-NeRF, RealTalk §3.3). Everything
is feature-major, `(columns, N)`: neighbouring samples then sit side by side, which lets the kernel use vector gathers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from realtalk_core.nn import _hashgrid_kernel
from realtalk_core.nn._jit import array, on_cpu

PLANES = ((0, 1), (1, 2), (0, 2))
PRIME = 2654435761


@dataclass(frozen=True, slots=True)
class PlaneLayout:
    """Sizes of the tables.

    Attributes:
        resolutions: Cells along a side, one entry per level (a level of two channels is listed twice).
        log2_entries: Each table has `2 ** log2_entries` entries; a level that fits is stored without hashing.
    """

    resolutions: tuple[int, ...]
    log2_entries: int

    @classmethod
    def geometric(cls, levels: int, channels: int, coarsest: int, finest: int, log2_entries: int) -> PlaneLayout:
        """`levels` resolutions in geometric progression, each with `channels` channels.

        >>> PlaneLayout.geometric(3, 1, 64, 256, 14).resolutions
        (64, 128, 256)
        """
        growth = (finest / coarsest) ** (1 / max(1, levels - 1))
        sides = [round(coarsest * growth**level) for level in range(levels)]
        return cls(tuple(side for side in sides for _ in range(channels)), log2_entries)

    @property
    def columns(self) -> int:
        """Features of a point."""
        return len(PLANES) * len(self.resolutions)

    def empty_tables(self) -> Float32[Tensor, "columns entries"]:
        """Fresh tables: uniform in ±1e-4, as in Instant-NGP."""
        return torch.empty(self.columns, 2**self.log2_entries).uniform_(-1e-4, 1e-4)


def encode_planes_reference(
    points: Float32[Tensor, "3 N"], tables: Float32[Tensor, "columns entries"], layout: PlaneLayout
) -> Float32[Tensor, "columns N"]:
    """Bilinear reads of every table, as the formula says; differentiable in the tables.

    Args:
        points: Coordinates in [0, 1]; clamped to it.
        tables: One row per (plane, level).
        layout: Their sizes.
    """
    mask, columns = 2**layout.log2_entries - 1, []
    for plane, (a, b) in enumerate(PLANES):
        for level, side in enumerate(layout.resolutions):
            u, v = (points[axis].clamp(0, 1) * side for axis in (a, b))
            x, y = (w.long().clamp(max=side - 1) for w in (u, v))
            s, t = u - x, v - y
            table = tables[plane * len(layout.resolutions) + level]
            value = torch.zeros_like(u)
            for dy, row in ((0, 1 - t), (1, t)):
                for dx, column in ((0, 1 - s), (1, s)):
                    if (side + 1) ** 2 <= mask + 1:
                        index = (y + dy) * (side + 1) + x + dx
                    else:
                        index = ((x + dx) ^ ((y + dy) * PRIME)) & mask
                    value = value + row * column * table[index]
            columns.append(value)
    return torch.stack(columns)


class _EncodePlanes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, tables: Tensor, layout: PlaneLayout, sink: Tensor | None) -> Tensor:
        sides = array(torch.tensor(layout.resolutions, dtype=torch.int32))
        out = torch.empty(layout.columns, points.shape[1])
        _hashgrid_kernel.encode(array(points), array(tables), sides, out.numpy())
        ctx.save_for_backward(points)
        ctx.sides, ctx.shape, ctx.sink = sides, tables.shape, sink
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None, None, None]:
        (points,) = ctx.saved_tensors
        into = torch.zeros(ctx.shape) if ctx.sink is None else ctx.sink
        _hashgrid_kernel.encode_backward(array(points), array(grad.float()), ctx.sides, into.numpy())
        return None, into if ctx.sink is None else None, None, None


def encode_planes(
    points: Float32[Tensor, "3 N"],
    tables: Float32[Tensor, "columns entries"],
    layout: PlaneLayout,
    sink: Float32[Tensor, "columns entries"] | None = None,
) -> Float32[Tensor, "columns N"]:
    """`encode_planes_reference`, by the kernel where the tensors are on the CPU.

    Args:
        points: Coordinates in [0, 1]; clamped to it.
        tables: One row per (plane, level).
        layout: Their sizes.
        sink: Where the kernel adds the tables' gradient instead of returning it; saves a table-sized buffer per call.
    """
    if not on_cpu(points, tables):
        return encode_planes_reference(points, tables, layout)
    encoded: Tensor = _EncodePlanes.apply(points, tables, layout, sink)  # type: ignore[no-untyped-call]
    return encoded
