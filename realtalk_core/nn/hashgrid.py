"""Planar hash grids: three 2-D multi-resolution tables read at (x, y), (y, z) and (x, z) of a point.

Three planes with hashed corners collide in O(R² + 2RN) instead of O(R²N) entries (ER-NeRF, RealTalk §3.3). Everything
is feature-major, `(columns, N)`: neighbouring samples then sit side by side, which lets the kernel use vector gathers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from jaxtyping import Float, Float32, Int16, Int64
from torch import Tensor

from realtalk_core.nn import _hashgrid_kernel
from realtalk_core.nn._jit import array, on_cpu
from realtalk_core.nn._scatter import PRIME as PRIME
from realtalk_core.nn.parallel import in_threads, worker_count
from realtalk_core.nn.simd import BLOCK, half_reads

PLANES = ((0, 1), (1, 2), (0, 2))
HASHED = 2
"""Nodes an entry up to which a level's gradient is summed in a plain grid. Finer ones outgrow the cache, and zeroing
and folding them costs as much as the sums themselves."""


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

    @property
    def starts(self) -> Int64[Tensor, "columns1"]:
        """Where each table's nodes begin when they are stored unhashed, one table after another; then their number.

        A table of `side` cells has `(side + 1)²` nodes, row by row.
        """
        return self._starts([(side + 1) ** 2 for side in self.resolutions])

    @property
    def sum_starts(self) -> Int64[Tensor, "columns1"]:
        """As `starts`, of the sums of a gradient: levels of more than `HASHED` nodes an entry are left hashed."""
        entries = 2**self.log2_entries
        return self._starts([n if n <= HASHED * entries else entries for n in ((s + 1) ** 2 for s in self.resolutions)])

    def _starts(self, sizes: list[int]) -> Tensor:
        return _cumulated((0, *sizes * len(PLANES)))

    def empty_nodes(self) -> Float32[Tensor, "V"]:
        """Zeros to add a gradient into: a `sink` of `encode_planes`, to be `folded` afterwards."""
        return torch.zeros(int(self.sum_starts[-1]))

    def folded(self, sums: Sequence[Float32[Tensor, "V"]]) -> Float32[Tensor, "columns entries"]:
        """The tables' gradient from such sums (of several workers: added in their order), on all worker threads."""
        out, starts = torch.zeros(self.columns, 2**self.log2_entries), array(self.sum_starts)

        def work(_: int, tables: list[int]) -> None:
            for k in tables:
                for one in sums:
                    _hashgrid_kernel.fold(array(one), _sides(self), starts, k, out[k : k + 1].numpy())

        in_threads(work, range(self.columns), min(self.columns, worker_count()))
        return out


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


@dataclass(frozen=True, slots=True)
class PlaneGrids:
    """The tables unhashed: every node of every level in its place, in half precision, for fast reading.

    A hash spreads the corners of a cell over the table; in a plain grid two of them are one word, and rays that walk
    side by side meet in the cache. 3.4 MB for 12 levels of 16 to 512 cells; made anew whenever the tables change, which
    costs as much as encoding some tens of thousands of points. Error: rounding to half precision, 2⁻¹¹ of each entry.

    Attributes:
        layout: Sizes of the tables.
        values: Half precision, as 16-bit words.
        starts: Where each table's grid begins.
    """

    layout: PlaneLayout
    values: Int16[Tensor, "V"]
    starts: Int64[Tensor, "columns"]

    @staticmethod
    def readable(*tensors: Tensor) -> bool:
        """Whether the kernels can read such grids here."""
        return on_cpu(*tensors) and half_reads()

    @classmethod
    def of(cls, tables: Float[Tensor, "columns entries"], layout: PlaneLayout) -> PlaneGrids:
        """Unhashes tables, on all worker threads."""
        starts = layout.starts
        values = torch.empty(int(starts[-1]), dtype=torch.int16)
        words, sides = tables.detach().half().view(torch.int16), len(layout.resolutions)

        def work(_: int, planes: list[int]) -> None:
            for plane in planes:
                rows = slice(plane * sides, (plane + 1) * sides)
                _hashgrid_kernel.unhash(array(words[rows]), _sides(layout), array(starts[:-1][rows]), values.numpy())

        in_threads(work, range(len(PLANES)), min(len(PLANES), worker_count()))
        return cls(layout, values, starts[:-1].contiguous())

    def encode(self, points: Float32[Tensor, "3 N"]) -> Float32[Tensor, "columns N"]:
        """`encode_planes_reference` of the tables rounded to half precision, in the calling thread.

        Args:
            points: Coordinates in [0, 1]; clamped to it.
        """
        count = points.shape[1]
        whole = -(-count // BLOCK) * BLOCK
        points = (
            points.clamp(0, 1) if whole == count else torch.nn.functional.pad(points.clamp(0, 1), (0, whole - count))
        )
        out = torch.empty(self.layout.columns, whole)
        self.encode_into(points, out)
        return out[:, :count]

    def encode_into(self, points: Float32[Tensor, "3 N"], out: Float32[Tensor, "columns N"]) -> None:
        """As `encode`, without copies: points in [0, 1], N a multiple of `BLOCK`; rows may lie apart."""
        _hashgrid_kernel.encode_grids(
            points.numpy(), self.values.numpy(), _sides(self.layout), self.starts.numpy(), out.numpy()
        )


@cache
def _cumulated(sizes: tuple[int, ...]) -> Tensor:
    return torch.tensor(sizes).cumsum(0)


@cache
def _sides(layout: PlaneLayout) -> Any:
    return array(torch.tensor(layout.resolutions, dtype=torch.int32))


class _EncodePlanes(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        points: Tensor,
        tables: Tensor,
        layout: PlaneLayout,
        sink: Tensor | None,
        grids: PlaneGrids | None,
    ) -> Tensor:
        sides = _sides(layout)
        if grids is None:
            out = torch.empty(layout.columns, points.shape[1])
            _hashgrid_kernel.encode(array(points), array(tables), sides, out.numpy())
        else:
            out = grids.encode(points)
        ctx.save_for_backward(points)
        ctx.layout, ctx.sides, ctx.shape, ctx.sink = layout, sides, tables.shape, sink
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None, None, None, None]:
        (points,) = ctx.saved_tensors
        if ctx.sink is not None and ctx.sink.dim() == 1:
            add_nodes_gradient(points, grad.float(), ctx.layout, ctx.sink)
            return None, None, None, None, None
        into = torch.zeros(ctx.shape) if ctx.sink is None else ctx.sink
        _hashgrid_kernel.encode_backward(array(points), array(grad.float()), ctx.sides, into.numpy())
        return None, into if ctx.sink is None else None, None, None, None


def add_nodes_gradient(
    points: Float32[Tensor, "3 N"],
    grad: Float32[Tensor, "columns N"],
    layout: PlaneLayout,
    sums: Float32[Tensor, "V"],
) -> None:
    """Adds the gradient of what `encode_planes` gives, in the calling thread.

    Several times faster than adding into hashed tables; points whose gradient is zero in all rows cost next to nothing.

    Args:
        points: Coordinates in [0, 1]; clamped to it.
        grad: Of the loss by the encoded points.
        layout: Sizes of the tables.
        sums: `layout.empty_nodes()`, or more already in it.
    """
    _hashgrid_kernel.encode_grids_backward(
        array(points.clamp(0, 1)), array(grad), _sides(layout), array(layout.sum_starts), sums.numpy()
    )


def encode_planes(
    points: Float32[Tensor, "3 N"],
    tables: Float32[Tensor, "columns entries"],
    layout: PlaneLayout,
    sink: Float32[Tensor, "columns entries"] | Float32[Tensor, "V"] | None = None,
    grids: PlaneGrids | None = None,
) -> Float32[Tensor, "columns N"]:
    """`encode_planes_reference`, by the kernel where the tensors are on the CPU, else by `cuda_planes`.

    Args:
        points: Coordinates in [0, 1]; clamped to it.
        tables: One row per (plane, level).
        layout: Their sizes.
        sink: Where the kernel adds the tables' gradient instead of returning it; saves a table-sized buffer per call.
            Or `layout.empty_nodes()`, to be `folded` at the end: several times faster.
        grids: Made of these tables, to read instead of them: several times faster, rounded to half precision.
    """
    if not on_cpu(points, tables):
        from realtalk_core.nn import cuda_planes

        return cuda_planes.encode(points, tables, layout)
    encoded: Tensor = _EncodePlanes.apply(points, tables, layout, sink, grids)  # type: ignore[no-untyped-call]
    return encoded
