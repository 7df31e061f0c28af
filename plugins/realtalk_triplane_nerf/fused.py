"""Rendering without leaving the cache: `_fused_kernel` with a field's weights laid out for it.

The plain form of the same computation is `head.render_rays` on every ray; tests hold the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from realtalk_core.nn import simd
from realtalk_core.nn._jit import array
from realtalk_core.nn.hashgrid import PlaneGrids
from realtalk_core.nn.marching import Shell
from realtalk_core.nn.occupancy import grow
from realtalk_core.nn.parallel import in_threads, worker_count
from realtalk_core.nn.spherical import spherical_harmonics
from realtalk_core.nn.warp import WarpField
from realtalk_triplane_nerf import _fused_kernel
from realtalk_triplane_nerf.config import TriplaneNerfConfig
from realtalk_triplane_nerf.field import DENSITY_LIMIT, GEOMETRY, HARMONICS, FrameCondition, TriplaneField

FARTHEST = 32
"""Distances to matter are counted up to this many cells."""
RUN = 512
"""Neighbouring rays given to one worker at a time."""


def available(field: TriplaneField) -> bool:
    """Whether the fused kernel runs here: on the CPU, with half-precision reads, and bfloat16 products if asked for."""
    if not PlaneGrids.readable(field.tables):
        return False
    return field.compute == torch.float32 or simd.bfloat_products()


def distance_to_matter(shell: Shell) -> Tensor:
    """`X Y Z` uint8: cells to the nearest occupied one, along the worst axis, up to `FARTHEST`."""
    distance = torch.full(shell.occupied.shape, FARTHEST, dtype=torch.uint8)
    reached = shell.occupied
    for cells in range(FARTHEST):
        distance[reached & (distance == FARTHEST)] = cells
        if bool(reached.all()):
            break
        reached = grow(reached)
    return distance


@dataclass(slots=True)
class FusedField:
    """A field ready for the kernel, for any number of frames; remakes only what a frame's condition changes.

    Args:
        field: Networks, which must not change any more.
        shell: Where to sample.
        config: Of the renderer.
    """

    field: TriplaneField
    shell: Shell
    config: TriplaneNerfConfig
    grids: PlaneGrids
    distance: Tensor
    layers: dict[str, tuple[Any, Any]]

    @classmethod
    def of(cls, field: TriplaneField, shell: Shell, config: TriplaneNerfConfig) -> FusedField:
        """Lays out everything that is the same for all frames."""
        self = cls(field, shell, config, PlaneGrids.of(field.tables, field.layout), distance_to_matter(shell), {})
        inner = torch.cat((field.mouth.inner.weight, field.eyes.inner.weight))
        bias = field.colour_in.bias
        if field.individual is not None:
            bias = bias + field.colour_in.weight[:, GEOMETRY + HARMONICS :] @ field.individual[0]
        self.layers["inner"] = self._packed(inner, None, (field.layout.columns,))
        self.layers["second"] = self._packed(field.second.weight, field.second.bias, (config.width,))
        self.layers["third"] = self._packed(field.third.weight, field.third.bias, (config.width,))
        seen = field.colour_in.weight[:, : GEOMETRY + HARMONICS]
        self.layers["colour_in"] = self._packed(seen, bias, (GEOMETRY, HARMONICS))
        self.layers["colour_out"] = self._packed(field.colour_out.weight, field.colour_out.bias, (config.width,))
        return self

    @property
    def bfloat(self) -> bool:
        """Whether products are taken in bfloat16."""
        return self.field.compute == torch.bfloat16

    def _packed(self, weight: Tensor, bias: Tensor | None, inputs: tuple[int, ...]) -> tuple[Any, Any]:
        """A layer for the kernel: rows, and each part of the inputs, filled up to whole tiles with zeros."""
        rows = simd.padded(len(weight))
        parts = [
            torch.nn.functional.pad(w, (0, simd.padded(n) - n))
            for w, n in zip(weight.split(inputs, 1), inputs, strict=True)
        ]
        whole = torch.nn.functional.pad(torch.cat(parts, 1), (0, 0, 0, rows - len(weight)))
        base = torch.zeros(rows) if bias is None else torch.nn.functional.pad(bias, (0, rows - len(bias)))
        return simd.packed(whole, self.bfloat).numpy().view(np.uint32), array(base.float())

    @torch.no_grad()
    def render_pixels(
        self,
        condition: FrameCondition,
        warp: WarpField | None,
        origin: Float[Tensor, "3"],
        directions: Float[Tensor, "R 3"],
        near: Float[Tensor, "R"],
        far: Float[Tensor, "R"],
        rays: Int64[Tensor, "H"],
    ) -> tuple[Float32[Tensor, "R 4"], tuple[int, int]]:
        """Premultiplied colour and opacity of some rays of one frame, on all worker threads.

        No channel differs from the plain form by more than `config.tolerance`, beyond rounding.

        Args:
            condition: Of the frame.
            warp: Of the frame; None for none.
            origin: Camera centre, head space, cm.
            directions: Unit vectors of all pixels.
            near: Where they enter the box.
            far: Where they leave it.
            rays: Which to render; the others stay transparent.

        Returns:
            All pixels, and how many densities and colours were evaluated.
        """
        field, shell, config = self.field, self.shell, self.config
        inner, weight, bias = field.folded(condition)
        first = self._packed(weight, bias, (field.layout.columns, len(inner)))
        views = spherical_harmonics(directions.float())
        views = views.bfloat16().view(torch.int32) if self.bfloat else views.contiguous().view(torch.int32)
        grid = torch.zeros(1, 1, 3) if warp is None else warp.grid
        low, per_cm = (torch.zeros(2), torch.zeros(2)) if warp is None else (warp.low, warp.cells_per_cm)
        reach = 0.0 if warp is None else warp.reach()
        out = torch.zeros(len(directions), 4)
        arguments = (
            array(origin.float()), array(directions.float()), array(near.float()), array(far.float()),
            array(views).view(np.uint32), np.float32(config.step_cm),
            array(shell.low), np.float32(1 / shell.extent), array(self.distance), np.float32(shell.cell),
            config.samples_per_ray,
            array(grid), array(low), array(per_cm), np.float32(reach),
            self.grids.values.numpy(), self.grids.starts.numpy(), np.array(field.layout.resolutions, np.int32),
            *self.layers["inner"], *first, *self.layers["second"], *self.layers["third"],
            *self.layers["colour_in"], *self.layers["colour_out"],
            np.float32(DENSITY_LIMIT), np.float32(config.tolerance), out.numpy(),
        )  # fmt: skip

        def work(_: int, share: list[Tensor]) -> tuple[int, int]:
            counts = np.zeros(2, np.int64)
            if share:
                _fused_kernel.render(self.bfloat, array(torch.cat(share)), *arguments, counts)
            return int(counts[0]), int(counts[1])

        runs = list(rays.split(RUN))
        totals = in_threads(work, runs, max(1, min(len(runs), worker_count())))
        return out, (sum(t[0] for t in totals), sum(t[1] for t in totals))
