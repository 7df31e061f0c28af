"""Planar hash grids away from the CPU: read by tinycudann where it is installed, by torch otherwise.

Both read plain grids of nodes, which a differentiable gather takes out of the hashed tables; so the tables, and with
them the checkpoint, are the same everywhere, and gradients reach them through the gather. Values and gradients are
those of `encode_planes_reference` but for rounding.

tinycudann (github.com/NVlabs/tiny-cuda-nn, encoding "Grid") puts a coordinate x of a level with B nodes to a side at
x (B − 1) + 0.5 nodes, and keeps a dense level row by row. Ours lies at u · side of side + 1 nodes. A grid with one
more node all around, B = side + 3, is given x = (u · side + 0.5) / (side + 2): its place is then u · side + 1, which
together with its right neighbour is always inside. Its networks have no biases and compute in half precision, so they
are not used: their sums would be others than ours.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64
from torch import Tensor

from realtalk_core.nn._scatter import PRIME
from realtalk_core.nn.hashgrid import PLANES, PlaneLayout

Reader = Literal["tinycudann", "torch"]
_chosen: Reader | None = None


def encode(
    points: Float32[Tensor, "3 N"], tables: Float32[Tensor, "columns entries"], layout: PlaneLayout
) -> Float32[Tensor, "columns N"]:
    """`encode_planes_reference`, by whichever reader is here; differentiable in the tables.

    Args:
        points: Coordinates in [0, 1]; clamped to it.
        tables: One row per (plane, level), on the same device.
        layout: Their sizes.
    """
    return with_tinycudann(points, tables, layout) if reader() == "tinycudann" else with_torch(points, tables, layout)


def with_torch(
    points: Float32[Tensor, "3 N"], tables: Float32[Tensor, "columns entries"], layout: PlaneLayout
) -> Float32[Tensor, "columns N"]:
    """One `grid_sample` a level, of the three planes at once; see `encode`."""
    places = _places(points)[:, None] * 2 - 1
    levels = []
    for level, side in enumerate(layout.resolutions):
        nodes = _nodes(tables, layout, level, 0).reshape(len(PLANES), 1, side + 1, side + 1)
        found = F.grid_sample(nodes, places, mode="bilinear", padding_mode="border", align_corners=True)
        levels.append(found.reshape(len(PLANES), -1))
    return torch.stack(levels, 1).flatten(0, 1)


def with_tinycudann(
    points: Float32[Tensor, "3 N"], tables: Float32[Tensor, "columns entries"], layout: PlaneLayout
) -> Float32[Tensor, "columns N"]:
    """One dense single-level grid of tinycudann for each plane and level; see `encode`."""
    places, columns = _places(points), []
    scaled = [((places * side + 0.5) / (side + 2)) for side in layout.resolutions]
    values = [_nodes(tables, layout, level, 1) for level in range(len(layout.resolutions))]
    for plane in range(len(PLANES)):
        for level, side in enumerate(layout.resolutions):
            grid = _grid(side, points.device)
            nodes = F.pad(values[level][plane], (0, grid.params.numel() - (side + 3) ** 2))
            read = torch.func.functional_call(grid, {"params": nodes}, (scaled[level][plane],))
            columns.append(read[:, 0].float())
    return torch.stack(columns)


def reader() -> Reader:
    """What reads the planes here."""
    if _chosen is not None:
        return _chosen
    return "tinycudann" if tinycudann() is not None else "torch"


@contextmanager
def reading_with(wanted: Reader) -> Iterator[None]:
    """Has planes read by one of the two inside the block, for comparing them."""
    global _chosen
    before, _chosen = _chosen, wanted
    try:
        yield
    finally:
        _chosen = before


def tinycudann() -> Any:
    """The module, or None where it is not installed or does not work (`why_not` says which)."""
    return _tinycudann()[0]


def why_not() -> str:
    """One sentence on why tinycudann is not used; empty if it is."""
    return _tinycudann()[1]


@cache
def _tinycudann() -> tuple[Any, str]:
    try:
        module = importlib.import_module("tinycudann")
        module.Encoding(2, _config(2), dtype=torch.float32)
    except ModuleNotFoundError as error:
        if error.name == "tinycudann":
            return None, "tinycudann is not installed"
        return None, f"tinycudann does not work: {error}"
    except Exception as error:  # built for another GPU, another torch, another driver: it says so in many ways
        return None, f"tinycudann does not work: {' '.join(str(error).split()) or type(error).__name__}"
    return module, ""


def _config(side: int) -> dict[str, object]:
    return {
        "otype": "Grid", "type": "Dense", "n_levels": 1, "n_features_per_level": 1, "base_resolution": side + 3,
        "per_level_scale": 1.0, "interpolation": "Linear",
    }  # fmt: skip


@cache
def _grid(side: int, device: torch.device) -> Any:
    """A grid whose own parameters are never used: it is always called with nodes in their place."""
    return tinycudann().Encoding(2, _config(side), dtype=torch.float32).to(device).requires_grad_(False)


def _places(points: Tensor) -> Float32[Tensor, "3 N 2"]:
    """Each plane's two coordinates, in [0, 1]."""
    inside = points.detach().clamp(0, 1)
    return torch.stack([inside[list(axes)].T for axes in PLANES])


def _nodes(tables: Tensor, layout: PlaneLayout, level: int, border: int) -> Float32[Tensor, "3 V"]:
    """A level's nodes on the three planes, row by row, the outermost repeated `border` times."""
    rows = tables.reshape(len(PLANES), len(layout.resolutions), -1)[:, level]
    return rows.index_select(1, _index(layout, level, border, tables.device))


@cache
def _index(layout: PlaneLayout, level: int, border: int, device: torch.device) -> Int64[Tensor, "V"]:
    """Which entry of its table each node of a level is."""
    side, entries = layout.resolutions[level], 2**layout.log2_entries
    line = torch.arange(-border, side + 1 + border).clamp(0, side)
    y, x = torch.meshgrid(line, line, indexing="ij")
    index = y * (side + 1) + x if (side + 1) ** 2 <= entries else (x ^ (y * PRIME)) & (entries - 1)
    return index.flatten().to(device)
