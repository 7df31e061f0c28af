"""Splatting on CUDA, by gsplat (github.com/nerfstudio-project/gsplat, 1.5), with the CPU's conventions and shapes.

Covariances are plain torch there: gsplat's know no stretch and turn a quaternion of length 0 into NaN. gsplat leaves
unwritten what it does not draw; here it is zero, as on the CPU.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from realtalk_core.errors import MissingDependencyError
from realtalk_core.nn.splat_projection import DEGREES, LOW_PASS, NEAR_CM, Screen, View

TILE = 16
INSTALL = "pip install 'realtalk[gsplat]'"


def project(
    means: Float[Tensor, "N 3"],
    covariances: Float[Tensor, "N 6"],
    view: View,
    opacities: Float[Tensor, "N"] | None = None,
) -> Screen:
    """`splat_projection.project_reference`, by gsplat.

    Raises:
        MissingDependencyError: gsplat is not installed, or cannot compile its kernels.
    """
    gsplat, view = _gsplat(), view.to(means.device)
    turn, origin = view.pose[:3, :3].T, view.pose[:3, 3]
    camera = torch.cat((turn, -(turn @ origin)[:, None]), 1)
    camera = torch.cat((camera, camera.new_tensor([[0.0, 0.0, 0.0, 1.0]])))
    radii, centres, depths, conics, _ = gsplat.fully_fused_projection(
        means, covariances, None, None, camera[None], view.intrinsics[None], view.width, view.height,
        eps2d=LOW_PASS, near_plane=NEAR_CM, opacities=opacities,
    )  # fmt: skip
    radius = radii[0].amax(-1)
    drawn = radius > 0
    return Screen(
        torch.where(drawn[:, None], centres[0], 0.0),
        torch.where(drawn[:, None], conics[0], 0.0),
        torch.where(drawn, depths[0], 0.0),
        radius,
    )


def sh_colours(coefficients: Float[Tensor, "N K 3"], means: Float[Tensor, "N 3"], view: View) -> Float[Tensor, "N 3"]:
    """`splat_projection.sh_colours_reference`, by gsplat.

    Raises:
        MissingDependencyError: gsplat is not installed, or cannot compile its kernels.
    """
    directions = means - view.to(means.device).pose[:3, 3]
    colours: Tensor = _gsplat().spherical_harmonics(DEGREES[coefficients.shape[1]], directions, coefficients)
    return (colours + 0.5).clamp(min=0)


def rasterise(
    screen: Screen,
    opacities: Float[Tensor, "N"],
    channels: Float[Tensor, "N C"],
    view: View,
    region: Bool[Tensor, "H W"] | None = None,
) -> tuple[Float[Tensor, "H W C"], Float[Tensor, "H W"]]:
    """`splatting_reference.rasterise_reference`, by gsplat; tiles without a pixel of the region are left empty.

    Returns:
        The premultiplied picture and its alpha.

    Raises:
        MissingDependencyError: gsplat is not installed, or cannot compile its kernels.
    """
    gsplat = _gsplat()
    across, down = -(-view.width // TILE), -(-view.height // TILE)
    centres, radii = screen.centres[None], screen.radii[None, :, None].expand(1, -1, 2).contiguous()
    wanted = None
    if region is not None:
        whole = F.pad(region.to(centres.device), (0, across * TILE - view.width, 0, down * TILE - view.height))
        wanted = whole.reshape(down, TILE, across, TILE).any(3).any(1)
    with torch.no_grad():
        _, pairs, order = gsplat.isect_tiles(centres, radii, screen.depths[None], TILE, across, down)
        offsets = gsplat.isect_offset_encode(pairs, 1, across, down)
    picture, alpha = gsplat.rasterize_to_pixels(
        centres, screen.conics[None], channels[None], opacities[None], view.width, view.height, TILE, offsets, order,
        masks=None if wanted is None else wanted[None],
    )  # fmt: skip
    if wanted is None:
        return picture[0], alpha[0, ..., 0]
    drawn = wanted.repeat_interleave(TILE, 0).repeat_interleave(TILE, 1)[: view.height, : view.width]
    return torch.where(drawn[..., None], picture[0], 0.0), torch.where(drawn, alpha[0, ..., 0], 0.0)


def why_not() -> str:
    """One sentence on why gsplat cannot be used; empty if it can. Compiles its kernels where that was not done yet."""
    try:
        _gsplat()
    except MissingDependencyError as error:
        return error.message
    return ""


@cache
def _gsplat() -> Any:
    try:
        module = importlib.import_module("gsplat")
        compiled = importlib.import_module("gsplat.cuda._backend")._C
    except ModuleNotFoundError as error:
        if error.name != "gsplat":
            raise _broken(f"{error}") from error
        raise MissingDependencyError(
            "drawing Gaussians on a GPU needs gsplat, which is not installed",
            f"Install it with: {INSTALL}, or choose --device cpu",
        ) from error
    except Exception as error:  # its kernels are compiled at import, which fails in as many ways as compilers do
        raise _broken(" ".join(str(error).split()) or type(error).__name__) from error
    if compiled is None:
        raise _broken("it found no CUDA toolkit (nvcc)")
    return module


def _broken(why: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"gsplat is installed but could not compile its CUDA kernels: {why}",
        "Install the CUDA toolkit of torch's version (nvcc --version, python -m torch.utils.collect_env), "
        "or choose --device cpu",
    )
