"""Gaussians in head space as a camera sees them: covariances, projection, view-dependent colour.

Conventions are 3DGS's as gsplat computes them (Kerbl et al. 2023; Zwicker et al. 2001 for the projection): quaternions
w x y z, a low-pass of 0.3 px², perspective linearised at each mean, harmonics offset by 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int32
from torch import Tensor

from realtalk_core.errors import ShapeError
from realtalk_core.nn import _splat_colour_kernel, _splat_projection_kernel
from realtalk_core.nn._jit import array
from realtalk_core.nn._splat_projection_kernel import LOW_PASS as LOW_PASS
from realtalk_core.nn._splat_projection_kernel import NEAR_CM as NEAR_CM
from realtalk_core.nn.spherical import spherical_harmonics
from realtalk_core.shapes import check_shapes
from realtalk_core.types import CameraTrack

FAINTEST = 1 / 255
"""Alphas below this are not drawn, so an ellipse ends where its own falls below it."""
MARGIN = 0.15
"""Perspective is linearised no further outside the picture than this share of its size."""
DEGREES = {1: 0, 4: 1, 9: 2, 16: 3}
"""Degree of the harmonics by number of coefficients."""


@dataclass(frozen=True, slots=True)
class View:
    """One camera for splatting.

    Attributes:
        pose: Camera-to-head, rigid; camera axes are OpenCV's, cm.
        intrinsics: Pixels, without skew; pixel centres at half-integers.
        width: Of the picture, pixels.
        height: Of the picture, pixels.
    """

    pose: Float[Tensor, "4 4"]
    intrinsics: Float[Tensor, "3 3"]
    width: int
    height: int

    def __post_init__(self) -> None:
        check_shapes(self)
        if self.width < 1 or self.height < 1:
            raise ShapeError(f"View: a picture of {self.width} x {self.height} pixels has no pixel")

    @classmethod
    def of(cls, cameras: CameraTrack, k: int) -> View:
        """The camera of one frame of a track."""
        return cls(cameras.pose[k], cameras.intrinsics, cameras.width, cameras.height)

    def to(self, device: torch.device | str) -> View:
        """The same camera, its numbers on a device."""
        return View(self.pose.to(device), self.intrinsics.to(device), self.width, self.height)


@dataclass(frozen=True, slots=True)
class Screen:
    """Gaussians as a camera sees them. Where the radius is 0 nothing is drawn, all else is 0 and passes no gradient.

    That is so of what is outside the picture, too near or behind, nowhere as opaque as 1/255, or not finite.

    Attributes:
        centres: Pixels.
        conics: The inverse of each 2-D covariance, px⁻²: xx, xy, yy.
        depths: Along the camera's axis, cm.
        radii: Pixels around the centre beyond which alpha is below 1/255; 0 where it is not drawn.
    """

    centres: Float[Tensor, "N 2"]
    conics: Float[Tensor, "N 3"]
    depths: Float[Tensor, "N"]
    radii: Int32[Tensor, "N"]

    def __len__(self) -> int:
        return len(self.radii)


def rotation_matrices(rotations: Float[Tensor, "N 4"]) -> Float[Tensor, "N 3 3"]:
    """Quaternions w x y z of any length as rotation matrices; that of length 0 is no rotation."""
    w, x, y, z = F.normalize(rotations, dim=-1).unbind(-1)
    rows = (
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip
    return torch.stack(rows, -1).reshape(-1, 3, 3)


def covariances_reference(
    scales: Float[Tensor, "N 3"], rotations: Float[Tensor, "N 4"], stretch: Float[Tensor, "N 3 3"] | None = None
) -> Float[Tensor, "N 6"]:
    """Σ = (J R S)(J R S)ᵀ as xx xy xz yy yz zz, cm².

    Args:
        scales: Standard deviations along each Gaussian's own axes, cm.
        rotations: Quaternions w x y z, of any length.
        stretch: J, how space about each mean is deformed afterwards; None leaves it.
    """
    _check_shape(scales, rotations, stretch)
    half = rotation_matrices(rotations) * scales[:, None]
    half = half if stretch is None else stretch @ half
    full = half @ half.transpose(-1, -2)
    row, column = torch.triu_indices(3, 3, device=full.device)
    return full[:, row, column]


def project_reference(
    means: Float[Tensor, "N 3"],
    covariances: Float[Tensor, "N 6"],
    view: View,
    opacities: Float[Tensor, "N"] | None = None,
) -> Screen:
    """Elliptical weighted averages: each Gaussian under the perspective linearised at its mean.

    Args:
        means: Head space, cm.
        covariances: As `covariances` gives them.
        view: The camera.
        opacities: In [0, 1]; only tighten the radii. None takes them as 1.
    """
    _check(means=(means, 3), covariances=(covariances, 6), opacities=(opacities, 0))
    rotation, lens = view.pose[:3, :3], view.intrinsics
    camera = (means - view.pose[:3, 3]) @ rotation
    ahead = camera[:, 2] > NEAR_CM
    x, y, z = torch.where(ahead[:, None], camera, camera.new_tensor([0.0, 0.0, 1.0])).unbind(-1)

    fx, fy, cx, cy = lens[0, 0], lens[1, 1], lens[0, 2], lens[1, 2]
    beside_x, beside_y = MARGIN * view.width, MARGIN * view.height
    u = (x / z).clamp(-(cx + beside_x) / fx, (view.width - cx + beside_x) / fx)
    v = (y / z).clamp(-(cy + beside_y) / fy, (view.height - cy + beside_y) / fy)
    zero = torch.zeros_like(z)
    jacobian = torch.stack((fx / z, zero, -fx * u / z, zero, fy / z, -fy * v / z), -1).reshape(-1, 2, 3)

    full = covariances[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3)
    onto = jacobian @ rotation.T
    flat = onto @ full @ onto.transpose(-1, -2)
    a, b, c = flat[:, 0, 0] + LOW_PASS, flat[:, 0, 1], flat[:, 1, 1] + LOW_PASS
    determinant = (a * c - b * b).clamp(min=LOW_PASS**2)  # which it is but for rounding
    centres = torch.stack((fx * x / z + cx, fy * y / z + cy), -1)
    conics = torch.stack((c, -b, a), -1) / determinant[:, None]

    with torch.no_grad():
        reach_x, reach_y = (torch.ceil(_extent(opacities, z) * variance.sqrt()) for variance in (a, c))
        inside_x = (centres[:, 0] + reach_x > 0) & (centres[:, 0] - reach_x < view.width)
        inside_y = (centres[:, 1] + reach_y > 0) & (centres[:, 1] - reach_y < view.height)
        drawn = ahead & inside_x & inside_y & (determinant < torch.inf)
        radii = torch.where(drawn, torch.maximum(reach_x, reach_y), 0.0).clamp(max=2.0**30).int()
        drawn = radii > 0
    return Screen(
        torch.where(drawn[:, None], centres, 0.0),
        torch.where(drawn[:, None], conics, 0.0),
        torch.where(drawn, z, 0.0),
        radii,
    )


def sh_colours_reference(
    coefficients: Float[Tensor, "N K 3"], means: Float[Tensor, "N 3"], view: View
) -> Float[Tensor, "N 3"]:
    """Colours towards the camera: harmonics of the direction from it, plus 0.5, not below 0.

    Args:
        coefficients: K = 1, 4, 9 or 16 for degree 0 to 3.
        means: Head space, cm.
        view: The camera.
    """
    _check_coefficients(coefficients, means)
    basis = spherical_harmonics(F.normalize(means - view.pose[:3, 3], dim=-1))[:, : coefficients.shape[1]]
    return ((basis[:, :, None] * coefficients).sum(1) + 0.5).clamp(min=0)


class _Covariances(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scales: Tensor, rotations: Tensor, stretch: Tensor | None) -> Tensor:
        ctx.save_for_backward(scales, rotations, stretch)
        out = torch.empty(len(scales), 6)
        _splat_projection_kernel.covariances(*_flat(scales, rotations, stretch, out))
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        scales, rotations, stretch = ctx.saved_tensors
        narrow, turned = torch.empty(len(scales), 3), torch.empty(len(scales), 4)
        bent = torch.empty(len(scales) if ctx.needs_input_grad[2] else 0, 9)
        _splat_projection_kernel.covariances_backward(*_flat(scales, rotations, stretch, grad, narrow, turned, bent))
        return narrow, turned, bent.reshape(-1, 3, 3) if ctx.needs_input_grad[2] else None


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, means: Tensor, shapes: Tensor, extents: Tensor, view: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        count = len(means)
        centres, conics, depths = torch.empty(count, 2), torch.empty(count, 3), torch.empty(count)
        radii = torch.empty(count, dtype=torch.int32)
        _splat_projection_kernel.project(*_flat(means, shapes, extents, view, centres, conics, depths, radii))
        ctx.save_for_backward(means, shapes, view, radii)
        ctx.mark_non_differentiable(radii)
        return centres, conics, depths, radii

    @staticmethod
    def backward(
        ctx: Any, grad_centres: Tensor, grad_conics: Tensor, grad_depths: Tensor, _: Tensor
    ) -> tuple[Tensor, Tensor, None, None]:
        means, shapes, view, radii = ctx.saved_tensors
        into = torch.empty(len(means), 3), torch.empty(len(means), 6)
        _splat_projection_kernel.project_backward(
            *_flat(means, shapes, view, radii, grad_centres, grad_conics, grad_depths, *into)
        )
        return *into, None, None


class _Colours(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, coefficients: Tensor, means: Tensor, origin: Tensor) -> Tensor:
        raw, out = torch.empty(len(means), 3), torch.empty(len(means), 3)
        _splat_colour_kernel.colours[coefficients.shape[1]](*_flat(coefficients, means, origin, raw, out))
        ctx.save_for_backward(coefficients, means, origin, raw)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        coefficients, means, origin, raw = ctx.saved_tensors
        moved = ctx.needs_input_grad[1] and coefficients.shape[1] > 1
        shares, pull = torch.empty(coefficients.shape), torch.empty(means.shape) if moved else None
        _splat_colour_kernel.colours_backward[coefficients.shape[1]](
            *_flat(coefficients, means, origin, raw, grad, shares, pull)
        )
        return shares, pull, None


def covariances(
    scales: Float[Tensor, "N 3"], rotations: Float[Tensor, "N 4"], stretch: Float[Tensor, "N 3 3"] | None = None
) -> Float[Tensor, "N 6"]:
    """`covariances_reference`, by the kernel for float32 on the CPU."""
    if not _fast(scales, rotations, stretch):
        return covariances_reference(scales, rotations, stretch)
    _check_shape(scales, rotations, stretch)
    out: Tensor = _Covariances.apply(scales, rotations, stretch)  # type: ignore[no-untyped-call]
    return out


def project(
    means: Float[Tensor, "N 3"],
    covariances: Float[Tensor, "N 6"],
    view: View,
    opacities: Float[Tensor, "N"] | None = None,
) -> Screen:
    """`project_reference`, on the CPU by the kernel for float32, on CUDA by gsplat. The camera gets no gradient."""
    _check(means=(means, 3), covariances=(covariances, 6), opacities=(opacities, 0))
    if means.is_cuda:
        from realtalk_core.nn import cuda_splats

        return cuda_splats.project(means, covariances, view, opacities)
    if not _fast(means, covariances, opacities):
        return project_reference(means, covariances, view, opacities)
    with torch.no_grad():
        extents = _extent(opacities, means).expand(len(means))
    return Screen(*_Project.apply(means, covariances, extents, _numbers(view)))  # type: ignore[no-untyped-call]


def sh_colours(coefficients: Float[Tensor, "N K 3"], means: Float[Tensor, "N 3"], view: View) -> Float[Tensor, "N 3"]:
    """`sh_colours_reference`, on the CPU by the kernel for float32, on CUDA by gsplat. The camera gets no gradient."""
    _check_coefficients(coefficients, means)
    if means.is_cuda:
        from realtalk_core.nn import cuda_splats

        return cuda_splats.sh_colours(coefficients, means, view)
    if not _fast(coefficients, means):
        return sh_colours_reference(coefficients, means, view)
    out: Tensor = _Colours.apply(coefficients, means, view.pose[:3, 3].float())  # type: ignore[no-untyped-call]
    return out


def _fast(*tensors: Tensor | None) -> bool:
    return all(t is None or (t.device.type == "cpu" and t.dtype == torch.float32) for t in tensors)


def _flat(*tensors: Tensor | None) -> list[Any]:
    """As the kernels take them: contiguous, without shape; none is empty."""
    return [array(torch.empty(0) if t is None else t.contiguous().view(-1)) for t in tensors]


def _numbers(view: View) -> Float[Tensor, "22"]:
    """The view as the projection's kernels read it."""
    (fx, _, cx), (_, fy, cy), _ = view.intrinsics.tolist()
    (lowest_u, highest_u), (lowest_v, highest_v) = (
        ((-centre - MARGIN * size) / focal, ((1 + MARGIN) * size - centre) / focal)
        for focal, centre, size in ((fx, cx, view.width), (fy, cy, view.height))
    )
    rest = [fx, fy, cx, cy, lowest_u, highest_u, lowest_v, highest_v, view.width, view.height]
    return torch.cat((view.pose[:3, :3].T.reshape(9), view.pose[:3, 3], view.pose.new_tensor(rest))).float()


def _check_shape(scales: Tensor, rotations: Tensor, stretch: Tensor | None) -> None:
    _check(scales=(scales, 3), rotations=(rotations, 4))
    if stretch is not None and stretch.shape != (len(scales), 3, 3):
        raise ShapeError(f"stretch: expected ({len(scales)}, 3, 3), got {tuple(stretch.shape)}")


def _extent(opacities: Tensor | None, like: Tensor) -> Tensor:
    """At how many standard deviations alpha falls below `FAINTEST`; 0 where it is nowhere above (StopThePop, B.2)."""
    full = like.new_ones(()) if opacities is None else opacities
    return (2 * (full / FAINTEST).log()).clamp(min=0).sqrt()


def _check(**tensors: tuple[Tensor | None, int]) -> None:
    """Raises `ShapeError` unless all tensors are floats of one length and their number of columns; 0 is none."""
    count = None
    for name, (tensor, columns) in tensors.items():
        if tensor is None:
            continue
        count = len(tensor) if count is None and tensor.dim() else count
        wanted = (count,) if columns == 0 else (count, columns)
        if tuple(tensor.shape) != wanted:
            raise ShapeError(f"{name}: expected {wanted}, got {tuple(tensor.shape)}")


def _check_coefficients(coefficients: Tensor, means: Tensor) -> None:
    _check(means=(means, 3))
    shape = tuple(coefficients.shape)
    if len(shape) != 3 or shape[0] != len(means) or shape[1] not in DEGREES or shape[2] != 3:
        raise ShapeError(f"coefficients: expected ({len(means)}, 1 | 4 | 9 | 16, 3), got {shape}")
