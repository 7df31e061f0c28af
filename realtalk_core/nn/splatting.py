"""Gaussian splatting: Gaussians in space to a picture, with gradients (Kerbl et al. 2023; conventions as gsplat).

`covariances` and `project` give what one camera sees, `sh_colours` its colours, `rasterise` draws them tile by tile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from realtalk_core.errors import ShapeError
from realtalk_core.nn import _splat_gradient_kernel, _splat_pairs_kernel, _splat_raster_kernel
from realtalk_core.nn._jit import array, on_cpu
from realtalk_core.nn._splat_pairs_kernel import TILE
from realtalk_core.nn.parallel import in_threads, worker_count
from realtalk_core.nn.simd_splats import HEADER, RECORD
from realtalk_core.nn.splat_projection import Screen as Screen
from realtalk_core.nn.splat_projection import View as View
from realtalk_core.nn.splat_projection import covariances as covariances
from realtalk_core.nn.splat_projection import project as project
from realtalk_core.nn.splat_projection import rotation_matrices as rotation_matrices
from realtalk_core.nn.splat_projection import sh_colours as sh_colours
from realtalk_core.nn.splatting_reference import rasterise_reference as rasterise_reference


@dataclass(frozen=True, slots=True)
class Drawn:
    """What `rasterise` gives.

    Attributes:
        picture: Channels, premultiplied by alpha.
        alpha: One minus what is left of the light that shines through.
    """

    picture: Float[Tensor, "H W C"]
    alpha: Float[Tensor, "H W"]


class _Tiles:
    """Gaussians packed and sorted for drawing; see `_splat_pairs_kernel`."""

    def __init__(
        self, screen: Screen, opacities: Tensor, channels: Tensor, view: View, region: Tensor | None, threads: int
    ) -> None:
        self.width, self.height, self.threads = view.width, view.height, threads
        self.across, down = -(-view.width // TILE), -(-view.height // TILE)
        order = _splat_pairs_kernel.front_to_back(array(screen.depths), array(screen.radii))
        used = len(order)
        stride = -(-(HEADER + channels.shape[1]) // TILE) * TILE
        self.order, self.packed, self.stride = order, torch.empty(used, stride).numpy(), stride
        reach = torch.empty(used, 2).numpy()
        levels = opacities.detach().log2()
        room = _splat_pairs_kernel.pack(
            order, array(screen.centres), array(screen.conics), array(levels), array(channels),
            view.width, view.height, self.packed, reach,
        )  # fmt: skip
        if room < 0:
            raise ShapeError(
                f"rasterise: Gaussian {-1 - room} is not finite (centre {screen.centres[-1 - room].tolist()}, "
                f"conic {screen.conics[-1 - room].tolist()}, opacity {float(opacities[-1 - room])})"
            )
        wanted = _tiles_of(region, down, self.across)
        tiles, rows = (torch.empty(room, dtype=torch.int32).numpy() for _ in range(2))
        self.starts = torch.empty(used + 1, dtype=torch.int32).numpy()
        self.ends = torch.zeros(down * self.across + 1, dtype=torch.int32).numpy()
        count = _splat_pairs_kernel.pairs_by_gaussian(
            self.packed, reach, array(wanted), view.width, view.height, self.starts, tiles, rows, self.ends
        )
        self.pairs = torch.empty(count, RECORD, dtype=torch.int32).numpy()
        _splat_pairs_kernel.pairs_by_tile(self.starts, tiles, rows, self.ends, self.pairs)
        self.drawn = torch.empty(down * self.across, dtype=torch.int32).numpy()

    def draw(self, channels: int) -> tuple[Tensor, Tensor]:
        counter = np.zeros(1, np.int64)
        picture, alpha = torch.empty(self.height, self.width, channels), torch.empty(self.height, self.width)

        def work(worker: int, _: list[int]) -> None:
            _splat_raster_kernel.draw(
                counter, self.pairs, self.ends, self.packed, self.across,
                picture.numpy(), alpha.numpy(), self.drawn,
            )  # fmt: skip

        in_threads(work, range(self.threads), self.threads)
        return picture, alpha

    def gradients(
        self, opacities: Tensor, picture: Tensor, alpha: Tensor, grad_picture: Tensor, grad_alpha: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        counter = np.zeros(1, np.int64)
        partial = torch.empty(len(self.pairs), self.stride).numpy()
        count, channels = len(opacities), picture.shape[2]
        into = [torch.zeros(count, size) for size in (2, 3, 1, channels)]
        into[2] = into[2][:, 0]

        def work(worker: int, _: list[int]) -> None:
            _splat_gradient_kernel.draw_backward(
                counter, self.pairs, self.ends, self.packed, self.across, array(picture), array(alpha),
                self.drawn, array(grad_picture), array(grad_alpha), partial,
            )  # fmt: skip

        def gather(worker: int, _: list[int]) -> None:
            first, last = (len(self.packed) * (worker + k) // self.threads for k in (0, 1))
            _splat_gradient_kernel.gather(
                first, last, self.order, self.starts, self.packed, partial, array(opacities), *map(array, into)
            )

        in_threads(work, range(self.threads), self.threads)
        in_threads(gather, range(self.threads), self.threads)
        return into[0], into[1], into[2], into[3]


def _tiles_of(region: Tensor | None, down: int, across: int) -> Tensor:
    """Which tiles hold a wanted pixel."""
    if region is None:
        return torch.ones(down, across, dtype=torch.bool)
    height, width = region.shape
    whole = torch.zeros(down * TILE, across * TILE, dtype=torch.bool)
    whole[:height, :width] = region
    return whole.reshape(down, TILE, across, TILE).any(3).any(1)


class _Rasterise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, centres: Tensor, conics: Tensor, opacities: Tensor, channels: Tensor, depths: Tensor, radii: Tensor,
        view: View, region: Tensor | None, threads: int,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        tiles = _Tiles(Screen(centres, conics, depths, radii), opacities, channels, view, region, threads)
        picture, alpha = tiles.draw(channels.shape[1])
        ctx.tiles = tiles
        ctx.save_for_backward(opacities, picture, alpha)
        return picture, alpha

    @staticmethod
    def backward(ctx: Any, grad_picture: Tensor, grad_alpha: Tensor) -> tuple[Tensor | None, ...]:
        opacities, picture, alpha = ctx.saved_tensors
        grads = ctx.tiles.gradients(opacities, picture, alpha, grad_picture, grad_alpha)
        return *grads, None, None, None, None, None


def rasterise(
    screen: Screen,
    opacities: Float32[Tensor, "N"],
    channels: Float32[Tensor, "N C"],
    view: View,
    region: Bool[Tensor, "H W"] | None = None,
    threads: int | None = None,
) -> Drawn:
    """Draws Gaussians front to back (Kerbl et al. 2023, §4 and §6).

    A pixel takes α = min(0.999, opacity · exp(−½ dᵀ Σ⁻¹ d)) of a Gaussian, none below 1/255, and stops before the one
    that would leave less than 1e-4 of the light. Gradients reach centres, conics, opacities and channels; a depth map
    is drawn by handing in the depths as a channel.

    Args:
        screen: The Gaussians as the camera sees them. Those of radius 0, or without a positive definite conic, are not
            drawn.
        opacities: In [0, 1].
        channels: What to draw, such as colours; any number of them, three are fastest.
        view: The camera, for the picture's size.
        region: Pixels that are wanted; tiles of 16 × 16 pixels without any are left empty.
        threads: Worker threads; None for all, 1 to work in the calling thread. Results do not depend on it.

    Returns:
        The picture and its alpha.

    Raises:
        ShapeError: Sizes do not agree, or a Gaussian to draw is not finite.
    """
    _check(screen, opacities, channels, view, region)
    tensors = (screen.centres, screen.conics, opacities, channels, screen.depths, screen.radii)
    if not on_cpu(*tensors):
        from realtalk_core.nn import cuda_splats

        return Drawn(*cuda_splats.rasterise(screen, opacities, channels, view, region))
    return Drawn(*_Rasterise.apply(*tensors, view, region, threads or worker_count()))  # type: ignore[no-untyped-call]


def _check(screen: Screen, opacities: Tensor, channels: Tensor, view: View, region: Tensor | None) -> None:
    count = len(screen.centres)
    given = {
        "screen.centres": (screen.centres, (count, 2)),
        "screen.conics": (screen.conics, (count, 3)),
        "screen.depths": (screen.depths, (count,)),
        "screen.radii": (screen.radii, (count,)),
        "opacities": (opacities, (count,)),
        "channels": (channels, (count, channels.shape[-1])),
    }
    for name, (tensor, shape) in given.items():
        kind = torch.int32 if name.endswith("radii") else torch.float32
        if tuple(tensor.shape) != shape or tensor.dtype != kind:
            raise ShapeError(
                f"rasterise: {name}: expected {shape} of {kind}, got {tuple(tensor.shape)} of {tensor.dtype}"
            )
    if view.width < 1 or view.height < 1:
        raise ShapeError(f"rasterise: a picture of {view.width}x{view.height} pixels")
    if region is not None and (tuple(region.shape) != (view.height, view.width) or region.dtype != torch.bool):
        raise ShapeError(
            f"rasterise: region: expected {(view.height, view.width)} of torch.bool, "
            f"got {tuple(region.shape)} of {region.dtype}"
        )
