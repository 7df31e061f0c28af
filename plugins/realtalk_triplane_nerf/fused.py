"""Rendering without leaving the cache: `_fused_kernel` with a field's weights laid out for it.

The plain form of the same computation is `head.render_rays` on every ray; tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from realtalk_core.nn import simd
from realtalk_core.nn._jit import array
from realtalk_core.nn.hashgrid import PlaneGrids, PlaneLayout
from realtalk_core.nn.marching import Shell
from realtalk_core.nn.occupancy import grow
from realtalk_core.nn.parallel import in_threads, worker_count
from realtalk_core.nn.warp import WarpField
from realtalk_core.types import CameraTrack
from realtalk_triplane_nerf import _fused_kernel, _rays_kernel, _still_kernel
from realtalk_triplane_nerf.config import TriplaneNerfConfig
from realtalk_triplane_nerf.field import DENSITY_LIMIT, GEOMETRY, HARMONICS, FrameCondition, TriplaneField
from realtalk_triplane_nerf.still import StillParts, changes

FARTHEST = 32
"""Distances to matter are counted up to this many cells."""
RUN = 4
"""Neighbouring tiles given to one worker at a time."""
PROBED = 1 << 14
"""Places probed by one worker at a time."""
WORTH = 0.4
"""Share of cells without need of gates from which on they are left out: blocks of both kinds cost more than either."""
GUESSED = 1 << 14
"""Places that the gates' inner layer is guessed from."""


class Counts(NamedTuple):
    """Evaluations of a frame: densities, colours, and how many of the densities did without gates."""

    densities: int
    colours: int
    still: int


def available(field: TriplaneField) -> bool:
    """Whether the fused kernel runs here: planes on the CPU, half-precision reads, bfloat16 products if asked for."""
    if not isinstance(field.layout, PlaneLayout) or not PlaneGrids.readable(field.tables):
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


def reaches(warp: WarpField | None) -> tuple[Float32[Tensor, "J I"], float]:
    """The longest displacement (cm, along any axis) around each square of `SQUARE` nodes of a warp.

    Returns:
        The displacements, and how far sideways (cm) from anywhere in its square each of them still holds.
    """
    if warp is None:
        return torch.zeros(1, 1), 1e6
    side = _rays_kernel.SQUARE
    longest = warp.grid.abs().amax(-1)[None, None]
    around = torch.nn.functional.max_pool2d(longest, 3 * side, side, side)[0, 0]
    return around, (side - 1) / float(warp.cells_per_cm.max())


def space(rows: int) -> Any:
    """Rows of a block to work in, all zeros, each beginning at a cache line."""
    words = np.zeros((rows + 1) * simd.BLOCK, np.uint32)
    start = -words.ctypes.data % 64 // 4
    return words[start : start + rows * simd.BLOCK].reshape(rows, simd.BLOCK)


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
    layers: list[tuple[Tensor, Tensor]]
    guess: Tensor
    still: StillParts
    distance: Tensor

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        field: TriplaneField,
        shell: Shell,
        config: TriplaneNerfConfig,
        conditions: Sequence[FrameCondition] = (),
    ) -> FusedField:
        """Lays out everything that is the same for all frames.

        Args:
            field: Networks.
            shell: Where to sample.
            config: Of the renderer.
            conditions: Those that show what moves and what does not; none to take all for moving, as a
                `static_tolerance` of 0 does.
        """
        grids = field.grids()
        assert grids is not None, "see available()"
        unknown = StillParts.none(shell)
        self = cls(field, shell, config, grids, [], torch.empty(0), unknown, torch.empty(0))
        inner = field.inner_weight()
        bias, seen = field.colour_in.bias, field.colour_in.weight[:, : GEOMETRY + HARMONICS]
        if field.individual is not None:
            bias = bias + field.colour_in.weight[:, GEOMETRY + HARMONICS :] @ field.individual[0]
        self.layers = [
            self._packed(inner, torch.zeros(len(inner)), (field.layout.columns,)),
            (torch.empty(0), torch.empty(0)),  # the first layer depends on the frame
            self._packed(field.second.weight, field.second.bias, (config.width,)),
            self._packed(field.third.weight, field.third.bias, (config.width,)),
            self._packed(seen, bias, (GEOMETRY, HARMONICS)),
            self._packed(field.colour_out.weight, field.colour_out.bias, (config.width,)),
            (torch.empty(0), torch.empty(0)),  # so does its stand-in
        ]
        self.guess = self._guess()
        if conditions and config.static_tolerance > 0:
            self.still = StillParts.measured(
                shell, lambda places: self._probe(places, conditions), config.static_tolerance, config.step_cm
            )
        cell = shell.cell * shell.occupied.shape[0] / self.still.occupied.shape[0]
        self.shell = Shell(shell.low, shell.extent, cell, self.still.occupied)
        self.distance = distance_to_matter(self.shell)
        return self

    def _guess(self) -> Float32[Tensor, "F1 H"]:
        """The linear function of what the planes hold that comes nearest to the gates' inner layer, in the shell."""
        cells = self.shell.occupied.nonzero()
        random = torch.Generator().manual_seed(0)
        some = cells[torch.randint(max(1, len(cells)), (GUESSED if len(cells) else 0,), generator=random)]
        places = (some + torch.rand(some.shape, generator=random)) * (self.shell.cell / self.shell.extent)
        held = torch.nn.functional.pad(self.field.geometry(places.clamp(0, 1).T.contiguous()).float(), (0, 1), value=1)
        inner = torch.relu(held[:, :-1] @ self.field.inner_weight().float().T)
        system = held.T @ held + 1e-3 * max(1, len(held)) * 1e-4 * torch.eye(held.shape[1])
        return torch.linalg.solve(system, held.T @ inner)

    def _probe(self, places: Tensor, conditions: Sequence[FrameCondition]) -> tuple[Tensor, Tensor]:
        """How much places `3 N` hide at most over a step, and how much leaving out the gates changes there at most."""
        networks = [self._network(condition) for condition in conditions]
        random = torch.Generator().manual_seed(0)
        looks = torch.randn(simd.BLOCK, 3, generator=random) * 0.4 + torch.tensor([0.0, 0.0, -1.0])
        looks = array(torch.nn.functional.normalize(looks, dim=1))
        words, biases = (np.stack([network[k] for network in networks]) for k in (1, 2))
        opacity, stray = torch.zeros(places.shape[1]), torch.zeros(places.shape[1])
        sides = np.array(self.field.layout.resolutions, np.int32)

        def work(_: int, share: list[slice]) -> None:
            for span in share:
                _still_kernel.probe(
                    self.bfloat, array(places[:, span]), looks, np.float32(self.config.step_cm),
                    self.grids.values.numpy(), self.grids.starts.numpy(), sides, networks[0][0], words, biases,
                    np.float32(DENSITY_LIMIT), space(self._rows(networks[0][0])), opacity[span].numpy(),
                    stray[span].numpy(),
                )  # fmt: skip

        spans = [slice(k, k + PROBED) for k in range(0, places.shape[1], PROBED)]
        in_threads(work, spans, max(1, min(len(spans), worker_count())))
        return opacity, stray

    @staticmethod
    def _rows(layers: Any) -> int:
        """Rows of room that a kernel needs for these layers."""
        return int(2 * layers[_fused_kernel.INNER, 2] + layers[:, 2].sum() + 2 * simd.TILE * layers[:, 3].sum())

    @property
    def bfloat(self) -> bool:
        """Whether products are taken in bfloat16."""
        return self.field.compute == torch.bfloat16

    def _packed(self, weight: Tensor, bias: Tensor, inputs: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """A layer for the kernel: rows, and each part of the inputs, filled up to whole tiles with zeros."""
        pad, more = torch.nn.functional.pad, simd.padded(len(weight)) - len(weight)
        parts = [pad(w, (0, simd.padded(n) - n, 0, more)) for w, n in zip(weight.split(inputs, 1), inputs, strict=True)]
        return simd.packed(torch.cat(parts, 1), self.bfloat), pad(bias, (0, more)).float()

    def _network(self, condition: FrameCondition) -> tuple[Any, Any, Any]:
        """All layers of a frame: where each begins and its size, their words, their biases."""
        inner, weight, bias = self.field.folded(condition)
        layers = [*self.layers]
        columns = self.field.layout.columns
        layers[_fused_kernel.FIRST] = self._packed(weight, bias, (columns, len(inner)))
        guess = self.guess @ weight[:, columns:].T.float()
        layers[_fused_kernel.STILL] = self._packed(weight[:, :columns] + guess[:-1].T, bias + guess[-1], (columns,))
        sizes = torch.tensor([[w.numel(), len(b)] for w, b in layers]).cumsum(0)
        starts = torch.cat((torch.zeros(1, 2, dtype=torch.long), sizes[:-1]))
        shapes = torch.tensor([[w.shape[1], w.shape[0]] for w, _ in layers])
        words = torch.cat([w.flatten() for w, _ in layers]).numpy().view(np.uint32)
        return torch.cat((starts, shapes), 1).numpy(), words, torch.cat([b for _, b in layers]).numpy()

    @torch.no_grad()
    def render(
        self,
        condition: FrameCondition,
        warp: WarpField | None,
        camera: CameraTrack,
        region: Bool[Tensor, "H W"] | None = None,
    ) -> tuple[Float32[Tensor, "H W 4"], Counts]:
        """Premultiplied colour and opacity of one frame, on all worker threads.

        No channel differs from the plain form by more than `config.tolerance` and `config.static_tolerance`, beyond
        rounding.

        Args:
            condition: Of the frame.
            warp: Of the frame; None for none.
            camera: Of the frame, a track of one.
            region: Which pixels to render; the others stay transparent. All of them if None.

        Returns:
            All pixels, and what was evaluated.
        """
        field, shell, config = self.field, self.shell, self.config
        height, width = camera.height, camera.width
        layers, words, biases = self._network(condition)
        grid = torch.zeros(1, 1, 3) if warp is None else warp.grid
        low, per_cm = (torch.zeros(2), torch.zeros(2)) if warp is None else (warp.low, warp.cells_per_cm)
        reach, free = reaches(warp)
        margin = 0.0 if warp is None else warp.reach()
        pose, lens = camera.pose[0].float(), camera.intrinsics.float()
        wanted = torch.ones(height, width, dtype=torch.bool) if region is None else region
        leeway = config.static_tolerance / 2 if self.still.still >= WORTH else -1.0
        out = torch.zeros(height * width, 4)
        arguments = (
            array(wanted), array(pose[:3, :3]), array(torch.stack((lens[0, 0], lens[1, 1], lens[0, 2], lens[1, 2]))),
            array(pose[:3, 3]), array(torch.stack((shell.low - margin, shell.high + margin))),
            np.float32(config.step_cm),
            array(shell.low), np.float32(1 / shell.extent), array(self.distance),
            array(self.still.strays), array(changes()), np.float32(leeway), np.float32(shell.cell),
            config.samples_per_ray,
            array(grid), array(low), array(per_cm), array(reach), np.float32(free),
            self.grids.values.numpy(), self.grids.starts.numpy(), np.array(field.layout.resolutions, np.int32),
            layers, words, biases, np.float32(DENSITY_LIMIT), np.float32(config.tolerance),
        )  # fmt: skip

        def work(_: int, share: list[Tensor]) -> Any:
            counts = np.zeros(3, np.int64)
            if share:
                tiles = array(torch.cat(share))
                _fused_kernel.render(self.bfloat, tiles, *arguments, space(self._rows(layers)), out.numpy(), counts)
            return counts

        side = _rays_kernel.SIDE
        runs = list(torch.arange(-(-height // side) * -(-width // side)).split(RUN))
        totals = in_threads(work, runs, min(len(runs), worker_count()))
        densities, colours, still = (int(n) for n in sum(totals))
        return out.view(height, width, 4), Counts(densities, colours, still)
