"""The field's networks for training: one differentiable operation over `_train_kernel` instead of one per layer.

The plain form of the same computation is in `TriplaneField.forward`; tests hold values and gradients together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from realtalk_core.nn import simd
from realtalk_core.nn._jit import array, on_cpu
from realtalk_core.nn.simd_gradient import columns_stride
from realtalk_triplane_nerf import _train_kernel as kernel

if TYPE_CHECKING:
    from realtalk_triplane_nerf.field import TriplaneField

SPARE = 0.1
"""Share for `evaluate` with bfloat16 products, whose rounding changes gradients several times more than this does."""
BLOCK, TILE = simd.BLOCK, simd.TILE
Scatter = Callable[[Int64[Tensor, "K"], Float32[Tensor, "columns K"]], None]


def available(field: TriplaneField) -> bool:
    """Whether the kernel runs here: on the CPU, with bfloat16 products if those are asked for."""
    return on_cpu(field.tables) and (field.compute == torch.float32 or simd.bfloat_products())


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where everything lies for networks of given sizes; see `_train_kernel` for the arrays."""

    layers: Any
    sums: Any
    shapes: Any
    parts: Any
    words: int
    biases: int
    room: int
    into: int
    into_bias: int

    @classmethod
    @lru_cache
    def of(cls, columns: int, inner: int, width: int, found: int, views: int, bfloat: bool) -> _Plan:
        c, h, w, g, v = (simd.padded(n) for n in (columns, inner, width, found, views))
        per_word = 2 if bfloat else 1
        inputs = (c, c + h, w, w, g + v, w, TILE, w, g, w, w, w + h)
        outputs = (h, w, w, g, w, TILE, w, g, w, w, h, c)
        layers, word, bias = [], 0, 0
        for number, (i, o) in enumerate(zip(inputs, outputs, strict=True)):
            at = bias if number < kernel.TO_HIDDEN else sum(outputs[: kernel.TO_HIDDEN])
            layers.append((word, at, i // per_word, o // TILE))
            word += i // per_word * o
            bias += o if number < kernel.TO_HIDDEN else 0
        sums, into, into_bias = [], 0, 0
        for i, o in zip(inputs[: kernel.TO_HIDDEN], outputs[: kernel.TO_HIDDEN], strict=True):
            stride = columns_stride(i)
            sums.append((into, stride // simd.LANES, into_bias))
            into, into_bias = into + o * stride, into_bias + o * simd.LANES
        joined, wide = columns_stride(c + h), columns_stride(w)
        rows = [x // per_word for x in (joined, wide, wide, columns_stride(g + v), wide)]
        rows += [max(g, c), TILE, TILE, w, g, w, w + h, max(w, h, g)]
        most = max(joined, wide, columns_stride(g + v))
        rows.append(-(-BLOCK // per_word * most // BLOCK))
        parts = np.cumsum([0, *rows])
        shapes = (
            (inner, columns, columns), (width, columns + inner, columns), (width, width, width), (found, width, width),
            (width, found + views, found), (3, width, width),
        )  # fmt: skip
        starts = parts[:-1].astype(np.int64)
        return cls(
            np.array(layers, np.int64), np.array(sums, np.int64), np.array(shapes, np.int64), starts, word,
            bias + max(outputs), int(parts[-1]), into, into_bias,
        )  # fmt: skip

    def space(self) -> Any:
        """Room for a block, all zeros, each row at the beginning of a cache line."""
        words = np.zeros((self.room + 1) * BLOCK, np.uint32)
        start = -words.ctypes.data % 64 // 4
        return words[start : start + self.room * BLOCK].reshape(self.room, BLOCK)


def _words(matrix: Tensor) -> Any:
    return array(matrix).view(np.uint32)


class _Networks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, geometry: Tensor, given: tuple[Any, ...], hidden: Tensor, weight: Tensor, bias: Tensor,
        second: Tensor, second_bias: Tensor, third: Tensor, third_bias: Tensor, seen: Tensor, seen_bias: Tensor,
        out: Tensor, out_bias: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        bfloat, harmonics, rays, limit = given[:4]
        sizes = len(geometry), len(hidden), len(second), len(third), seen.shape[1] - len(third)
        plan = _Plan.of(*sizes, bfloat)
        words, biases = np.zeros(plan.words, np.uint32), np.zeros(plan.biases, np.float32)
        kernel.pack(bfloat, plan.layers, *(_words(m) for m in (hidden, weight, second, third, seen, out)), words)
        for number, values in enumerate((bias, second_bias, third_bias, seen_bias, out_bias), kernel.FIRST):
            start = plan.layers[number, 1]
            biases[start : start + len(values)] = array(values)
        count, views = geometry.shape[1], np.empty((0, 0), np.uint32)
        if harmonics is not None:
            count = len(rays)
            if harmonics.shape[1] % TILE:
                harmonics = torch.nn.functional.pad(harmonics, (0, -harmonics.shape[1] % TILE))
            views = array((harmonics.bfloat16() if bfloat else harmonics.float()).view(torch.int32)).view(np.uint32)
        sigma, colour = torch.empty(count), torch.empty(0 if harmonics is None else count, 3)
        lines = np.empty(0, np.int64) if rays is None else array(rays)
        fixed = _words(geometry), lines, views, plan.layers, words, biases, plan.parts
        kernel.forward(bfloat, *fixed, plan.space(), sigma.numpy(), colour.numpy())
        sigma.clamp_(max=limit).exp_()
        colour.sigmoid_().mul_(1.002).sub_(0.001)
        ctx.save_for_backward(sigma, colour)
        ctx.fixed, ctx.plan, ctx.given, (ctx.columns, ctx.places) = fixed, plan, given, geometry.shape
        return sigma, colour

    @staticmethod
    def backward(ctx: Any, by_sigma: Tensor, by_colour: Tensor) -> tuple[Tensor | None, ...]:
        sigma, colour = ctx.saved_tensors
        bfloat, harmonics, _, limit, spare, scatter = ctx.given
        plan, columns, coloured = ctx.plan, ctx.columns, harmonics is not None
        order, pulls = np.empty(len(sigma), np.int64), np.empty((4 if coloured else 1, len(sigma)), np.float32)
        most = np.float32(np.exp(limit) * (1 - 1e-6))  # exponentials of torch and numpy may differ in the last bit
        kept = kernel.select(
            array(sigma), array(by_sigma), array(colour), array(by_colour), most, np.float32(spare), order, pulls
        )
        order = order[:kept]
        into, into_bias = np.zeros(plan.into, np.float32), np.zeros(plan.into_bias, np.float32)
        by_geometry = torch.zeros(columns, ctx.places) if scatter is None else torch.empty(columns, kept)
        kernel.backward(
            bfloat, order, pulls, *ctx.fixed, plan.space(), plan.sums, into, into_bias, scatter is None,
            by_geometry.numpy(),
        )  # fmt: skip
        if scatter is not None:
            scatter(torch.from_numpy(order), by_geometry)
        flat = torch.empty(int((plan.shapes[:, 0] * (plan.shapes[:, 1] + 1)).sum()))
        kernel.unpack(plan.sums, into, into_bias, plan.shapes, flat.numpy())
        grads, at = [], 0
        for number, (rows, inputs, _) in enumerate(plan.shapes.tolist()):
            grads.append(flat[at : at + rows * inputs].view(rows, inputs))
            at += rows * inputs
            if number:  # the gates' inner layers have no bias
                grads.append(flat[at : at + rows])
                at += rows
        if not coloured:
            grads[-4:] = [None] * 4
        return by_geometry if scatter is None else None, None, *grads


def evaluate(
    geometry: Float32[Tensor, "columns N"],
    folded: tuple[Tensor, Tensor, Tensor],
    layers: tuple[tuple[Tensor, Tensor], ...],
    harmonics: Float[Tensor, "R V"] | None,
    rays: Int64[Tensor, "N"] | None,
    compute: torch.dtype,
    limit: float,
    spare: float = 0.0,
    scatter: Scatter | None = None,
) -> tuple[Float32[Tensor, "N"], Float32[Tensor, "N 3"] | None]:
    """Density and colour of samples, differentiable in `geometry` and every weight.

    Args:
        geometry: Encoded samples; there may be more than `rays`.
        folded: Gates' inner layers, and weight and bias of the first layer; see `TriplaneField.folded`.
        layers: Weight and bias of the second, the third, the layer on (its output, harmonics), and the last.
        harmonics: Of each ray; None to skip colour.
        rays: Each sample's ray.
        compute: Products in `torch.bfloat16` (sums are float32) or `torch.float32`.
        limit: Densities' logarithms end here.
        spare: Samples the gradients of whose logits stay below this share of the samples' mean are gone back through
            only now and then, and then count for more: gradients are right on average. 0 goes back through every
            sample that has any.
        scatter: Takes the geometry's gradient for some samples (their numbers, columns × them) instead of autograd.

    Returns:
        Density per centimetre; colour in [−0.001, 1.001].
    """
    given = (compute == torch.bfloat16, harmonics, rays, limit, spare, scatter)
    flat = [x for pair in layers for x in pair]
    sigma, colour = _Networks.apply(geometry, given, *folded, *flat)  # type: ignore[no-untyped-call]
    return sigma, None if harmonics is None else colour
