"""Volume rendering of the samples along rays: α_i = 1 − exp(−σ_i δ), w_i = α_i Π_{j<i}(1 − α_j)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from realtalk_core.nn import _ray_kernels
from realtalk_core.nn._jit import array, on_cpu


def composite_reference(
    sigma: Float32[Tensor, "N"], values: Float32[Tensor, "N C"], offsets: Int64[Tensor, "R1"], step: float
) -> tuple[Float32[Tensor, "R C"], Float32[Tensor, "R"], Float32[Tensor, "N"]]:
    """Composites samples front to back.

    Args:
        sigma: Densities per centimetre; samples of one ray are consecutive. There may be more than the rays use.
        values: What to composite, such as colours.
        offsets: `R + 1` indices; ray r owns samples `offsets[r]` to `offsets[r + 1]`.
        step: Distance δ between samples in centimetres.

    Returns:
        Composited values (premultiplied), opacities, and each sample's weight.
    """
    used = int(offsets[-1])
    rays = torch.repeat_interleave(torch.arange(len(offsets) - 1, device=sigma.device), offsets.diff())
    thickness = sigma[:used].double() * step
    before = thickness.cumsum(0) - thickness
    before = before - before[offsets[:-1].clamp(max=max(used - 1, 0))][rays] if used else before
    weights = (torch.exp(-before) * -torch.expm1(-thickness)).to(sigma.dtype)
    out = values.new_zeros(len(offsets) - 1, values.shape[1])
    out = out.index_add(0, rays, weights[:, None] * values[:used])
    alpha = sigma.new_zeros(len(offsets) - 1).index_add(0, rays, weights)
    return out, alpha, torch.cat((weights, sigma.new_zeros(len(sigma) - used)))


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sigma: Tensor, values: Tensor, offsets: Tensor, step: float) -> tuple[Tensor, Tensor, Tensor]:
        rays = len(offsets) - 1
        out, alpha = torch.empty(rays, values.shape[1]), torch.empty(rays)
        weights = torch.zeros_like(sigma)
        _ray_kernels.composite(
            array(sigma), array(values), array(offsets), step, out.numpy(), alpha.numpy(), weights.numpy()
        )
        ctx.save_for_backward(sigma, values, offsets, weights)
        ctx.step = step
        ctx.mark_non_differentiable(weights)
        return out, alpha, weights

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor, grad_alpha: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None]:
        sigma, values, offsets, weights = ctx.saved_tensors
        into_sigma, into_values = torch.zeros_like(sigma), torch.zeros_like(values)
        _ray_kernels.composite_backward(
            array(sigma), array(values), array(offsets), ctx.step, array(weights), array(grad_out), array(grad_alpha),
            into_sigma.numpy(), into_values.numpy(),
        )  # fmt: skip
        return into_sigma, into_values, None, None


def composite(
    sigma: Float32[Tensor, "N"], values: Float32[Tensor, "N C"], offsets: Int64[Tensor, "R1"], step: float
) -> tuple[Float32[Tensor, "R C"], Float32[Tensor, "R"], Float32[Tensor, "N"]]:
    """`composite_reference`, by the kernel on the CPU; there the weights carry no gradient."""
    if not on_cpu(sigma, values, offsets):
        return composite_reference(sigma, values, offsets, step)
    result: tuple[Tensor, Tensor, Tensor] = _Composite.apply(  # type: ignore[no-untyped-call]
        sigma.contiguous(), values.contiguous(), offsets, step
    )
    return result
