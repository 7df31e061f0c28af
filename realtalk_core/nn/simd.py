"""Vector instructions for numba kernels, written as LLVM IR: small matrix products and table reads on 64 samples.

Numba turns plain loops into vector code well, but keeps no block of sums in registers and cannot name the processor's
bfloat16 products. These building blocks do, for blocks of `BLOCK` samples laid out feature-major, `(rows, BLOCK)`, as
32-bit words: either a float32 each, or two bfloat16 (rows 2k and 2k + 1; the first in the low half). They take raw
addresses and check nothing; `realtalk_core.nn.hashgrid` and the renderers wrap them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int32
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from torch import Tensor

from realtalk_core.nn._jit import kernel

BLOCK = 64
"""Samples worked on at a time: four vectors of 16."""
TILE = 4
"""Rows of a matrix multiplied at a time; 4 × 4 vectors of sums hide the latency of a product."""
LANES = 16

_FLOAT, _INT, _LONG, _SHORT, _BYTE = ir.FloatType(), ir.IntType(32), ir.IntType(64), ir.IntType(16), ir.IntType(8)
_FLOATS, _INTS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_INT, LANES)
_VECTORS = BLOCK // LANES


class _Bfloat(ir.Type):  # type: ignore[misc]
    """LLVM's bfloat16, which llvmlite does not name."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bfloat)

    def __hash__(self) -> int:
        return hash(_Bfloat)


@cache
def _features() -> dict[str, bool]:
    return dict(binding.get_host_cpu_features())


def half_reads() -> bool:
    """Whether this processor widens half precision in hardware (x86 since 2013, every 64-bit ARM)."""
    machine = str(binding.get_default_triple()).split("-")[0]
    return machine in ("aarch64", "arm64") or _features().get("f16c", False)


def bfloat_products() -> bool:
    """Whether this processor multiplies pairs of bfloat16 in 512-bit registers."""
    return _features().get("avx512bf16", False) and _features().get("avx512f", False)


def _constant(kind: ir.VectorType, value: float) -> ir.Constant:
    return ir.Constant(kind, [value] * kind.count)


def _splat(b: Any, value: Any, kind: ir.VectorType) -> Any:
    one = b.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_INT, 0))
    return b.shuffle_vector(one, ir.Constant(kind, ir.Undefined), _constant(ir.VectorType(_INT, kind.count), 0))


def _called(b: Any, name: str, arguments: Any, build: Callable[[Any, Sequence[Any]], None]) -> None:
    """Calls a function of its own in the module, made by `build` at first: inlined copies take long to compile."""
    module = b.module
    if name not in module.globals:
        made = ir.Function(module, ir.FunctionType(ir.VoidType(), [a.type for a in arguments]), name)
        made.linkage = "linkonce_odr"
        made.attributes.add("noinline")
        inside = ir.IRBuilder(made.append_basic_block())
        build(inside, made.args)
        inside.ret_void()
    b.call(module.globals[name], arguments)


def _adder(b: Any, bfloat: bool) -> Callable[[Any, Any, Any], Any]:
    """What adds the products of two vectors of words to a vector of sums: of float32, or of pairs of bfloat16."""
    pair = ir.VectorType(_Bfloat(), 2 * LANES)
    factor = pair if bfloat else _FLOATS
    name = "llvm.x86.avx512bf16.dpbf16ps.512" if bfloat else "llvm.fma.v16f32"
    kind = ir.FunctionType(_FLOATS, [_FLOATS, factor, factor])
    multiply = cgutils.get_or_insert_function(b.module, kind, name)

    def add(total: Any, x: Any, y: Any) -> Any:
        x, y = b.bitcast(x, factor), b.bitcast(y, factor)
        return b.call(multiply, [total, x, y] if bfloat else [x, y, total])

    return add


def _layer(bfloat: bool, ending: str) -> Any:
    """Makes the intrinsic that multiplies a packed matrix by a block; see `hidden_bfloat` and its siblings."""
    hidden, masked = ending == "hidden", ending == "masked"

    def build(b: Any, arguments: Sequence[Any]) -> None:
        weights, bias, inputs, outputs, depth, tiles, *kept = arguments
        add = _adder(b, bfloat)
        seen = b.inttoptr(kept[0], _INTS.as_pointer()) if masked else None
        sums = [cgutils.alloca_once(b, _FLOATS) for _ in range(TILE * _VECTORS)]
        words, biases = b.inttoptr(weights, _INT.as_pointer()), b.inttoptr(bias, _FLOAT.as_pointer())
        columns, target = (b.inttoptr(address, _INTS.as_pointer()) for address in (inputs, outputs))

        def at(pointer: Any, index: Any, plus: int) -> Any:
            return b.gep(pointer, [b.add(index, ir.Constant(_LONG, plus))])

        with cgutils.for_range(b, tiles) as tile:
            first = b.mul(tile.index, ir.Constant(_LONG, TILE))
            for place, total in enumerate(sums):
                b.store(_splat(b, b.load(at(biases, first, place // _VECTORS)), _FLOATS), total)
            base = b.mul(first, depth)
            with cgutils.for_range(b, depth) as step:
                column = b.mul(step.index, ir.Constant(_LONG, _VECTORS))
                x = [b.load(at(columns, column, v), align=4) for v in range(_VECTORS)]
                word = b.add(base, b.mul(step.index, ir.Constant(_LONG, TILE)))
                for row in range(TILE):
                    w = _splat(b, b.load(at(words, word, row)), _INTS)
                    for vector in range(_VECTORS):
                        total = sums[row * _VECTORS + vector]
                        b.store(add(b.load(total), x[vector], w), total)
            done = [b.load(total) for total in sums]
            if hidden:
                zero = _constant(_FLOATS, 0.0)
                done = [b.select(b.fcmp_ordered(">", value, zero), value, zero) for value in done]
            rows = [[b.bitcast(done[r * _VECTORS + v], _INTS) for v in range(_VECTORS)] for r in range(TILE)]
            if bfloat and (hidden or masked):
                both = zip(rows[::2], rows[1::2], strict=True)
                rows = [[_pair(b, low, high) for low, high in zip(*two, strict=True)] for two in both]
            out = b.mul(tile.index, ir.Constant(_LONG, len(rows) * _VECTORS))
            for place, vector in enumerate(v for row in rows for v in row):
                if seen is not None:
                    vector = _where_positive(b, b.load(at(seen, out, place), align=4), vector, bfloat)
                b.store(vector, at(target, out, place), align=4)

    def generate(context: Any, b: Any, _signature: Any, arguments: Any) -> Any:
        if not bfloat or bfloat_products():  # otherwise never reached: callers ask `bfloat_products` first
            _called(b, f"realtalk_{ending}_{int(bfloat)}", arguments, build)
        return context.get_dummy_value()

    @intrinsic  # type: ignore[untyped-decorator]
    def product(_: Any, weights: Any, bias: Any, inputs: Any, outputs: Any, depth: Any, tiles: Any) -> Any:
        """Addresses of weights, bias, inputs and outputs; words of depth; tiles of `TILE` output rows."""
        return types.void(*[types.int64] * 6), generate

    @intrinsic  # type: ignore[untyped-decorator]
    def masked_product(
        _: Any, weights: Any, bias: Any, inputs: Any, outputs: Any, depth: Any, tiles: Any, kept: Any
    ) -> Any:
        """As `product`, but zero where the words at `kept`, laid out as the outputs, are zero."""
        return types.void(*[types.int64] * 7), generate

    return masked_product if masked else product


def _where_positive(b: Any, kept: Any, value: Any, bfloat: bool) -> Any:
    """Words of `value` where those of `kept` are not zero, which after a ReLU means positive; else zero."""
    kind = ir.VectorType(_SHORT, 2 * LANES) if bfloat else _INTS
    kept, value, zero = b.bitcast(kept, kind), b.bitcast(value, kind), _constant(kind, 0)
    return b.bitcast(b.select(b.icmp_signed("!=", kept, zero), value, zero), _INTS)


def _pair(b: Any, low: Any, high: Any) -> Any:
    """Two vectors of float32 bits as one of bfloat16 pairs, rounded."""
    half, top = _constant(_INTS, 0x8000), _constant(_INTS, -0x10000)
    return b.or_(b.lshr(b.add(low, half), _constant(_INTS, 16)), b.and_(b.add(high, half), top))


hidden_bfloat, linear_bfloat, masked_bfloat = (_layer(True, ending) for ending in ("hidden", "linear", "masked"))
hidden_float, linear_float, masked_float = (_layer(False, ending) for ending in ("hidden", "linear", "masked"))
"""Hidden layers end in ReLU and linear ones in float32. Masked ones carry a gradient back through a ReLU."""


def _build_read(b: Any, arguments: Sequence[Any]) -> None:
    table, first, second, side, outputs, blocks = arguments
    contract = ("contract",)
    u_in, v_in = (b.inttoptr(address, _FLOATS.as_pointer()) for address in (first, second))
    target = b.inttoptr(outputs, _FLOATS.as_pointer())
    entries = b.inttoptr(table, _SHORT.as_pointer())
    scale = _splat(b, b.sitofp(side, _FLOAT), _FLOATS)
    last = _splat(b, b.sub(side, ir.Constant(_INT, 1)), _INTS)
    nodes = b.add(side, ir.Constant(_INT, 1))
    stride = _splat(b, nodes, _INTS)
    next_row = b.gep(entries, [b.zext(nodes, _LONG)])
    places, near_words, far_words = (
        cgutils.alloca_once(b, ir.ArrayType(_INTS, _VECTORS)) for _ in range(3)
    )  # fmt: skip

    def element(array: Any, index: int) -> Any:
        return b.gep(b.bitcast(array, _INT.as_pointer()), [ir.Constant(_INT, index)])

    def vector(array: Any, index: int) -> Any:
        return b.gep(array, [ir.Constant(_INT, 0), ir.Constant(_INT, index)])

    def halves(word: Any) -> tuple[Any, Any]:
        short, half = ir.VectorType(_SHORT, LANES), ir.VectorType(ir.HalfType(), LANES)
        parts = (b.trunc(word, short), b.trunc(b.lshr(word, _constant(_INTS, 16)), short))
        return tuple(b.fpext(b.bitcast(part, half), _FLOATS) for part in parts)

    def between(a: Any, c: Any, share: Any) -> Any:
        return b.fadd(a, b.fmul(share, b.fsub(c, a, contract), contract), contract)

    with cgutils.for_range(b, blocks) as loop:
        start = b.mul(loop.index, ir.Constant(_LONG, _VECTORS))
        shares = []
        for k in range(_VECTORS):
            at = b.add(start, ir.Constant(_LONG, k))
            u = b.fmul(b.load(b.gep(u_in, [at]), align=4), scale)
            v = b.fmul(b.load(b.gep(v_in, [at]), align=4), scale)
            x, y = b.fptosi(u, _INTS), b.fptosi(v, _INTS)
            x, y = (b.select(b.icmp_signed("<", w, last), w, last) for w in (x, y))
            shares.append((b.fsub(u, b.sitofp(x, _FLOATS)), b.fsub(v, b.sitofp(y, _FLOATS))))
            b.store(b.add(b.mul(y, stride), x), vector(places, k))
        for k in range(BLOCK):
            index = b.zext(b.load(element(places, k)), _LONG)
            for source, words in ((entries, near_words), (next_row, far_words)):
                word = b.bitcast(b.gep(source, [index]), _INT.as_pointer())
                b.store(b.load(word, align=2), element(words, k))
        for k, (s, t) in enumerate(shares):
            near, far = (between(*halves(b.load(vector(words, k))), s) for words in (near_words, far_words))
            b.store(between(near, far, t), b.gep(target, [b.add(start, ir.Constant(_LONG, k))]), align=4)


@intrinsic  # type: ignore[untyped-decorator]
def read_level(_: Any, table: Any, first: Any, second: Any, side: Any, outputs: Any, blocks: Any) -> Any:
    """Bilinear reads of one unhashed table of half precision, at `blocks` blocks of points.

    Addresses of the table, the two coordinates in [0, 1] and the float32 outputs; `side` is its cells along a side. Two
    neighbours along a row are read as one word, so a point costs two loads. The loads go through memory, one by one:
    gather instructions and inserting into registers both came out slower on the processor this was measured on.
    """

    def generate(context: Any, b: Any, _signature: Any, arguments: Any) -> Any:
        _called(b, "realtalk_read_level", arguments, _build_read)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3, types.int32, *[types.int64] * 2), generate


@kernel
def pair_rows(rows: Any, out: Any) -> None:
    """float32 rows `(2n, BLOCK)`, as 32-bit words, to `(n, BLOCK)` words of bfloat16 pairs."""
    half, top, shift = np.uint32(0x8000), np.uint32(0xFFFF0000), np.uint32(16)
    for row in range(out.shape[0]):
        low, high, into = rows[2 * row], rows[2 * row + 1], out[row]
        for i in range(BLOCK):
            into[i] = ((low[i] + half) >> shift) | ((high[i] + half) & top)


def padded(count: int) -> int:
    """Rows a layer of `count` rows takes: a multiple of `TILE`."""
    return -(-count // TILE) * TILE


def packed(weight: Float[Tensor, "O I"], bfloat: bool) -> Int32[Tensor, "tiles depth TILE"]:
    """A matrix as `layer` products read it: tiles of `TILE` rows, within a tile column by column (or pairs of them).

    Args:
        weight: Rows and columns multiples of `TILE`.
        bfloat: As pairs of bfloat16; else float32.
    """
    rows, columns = weight.shape
    tiles = weight.detach().reshape(rows // TILE, TILE, columns)
    if bfloat:
        pairs = tiles.to(torch.bfloat16).reshape(rows // TILE, TILE, columns // 2, 2)
        return pairs.view(torch.int32)[..., 0].transpose(1, 2).contiguous()
    return tiles.float().transpose(1, 2).contiguous().view(torch.int32)
