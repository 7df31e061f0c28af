"""Vector instructions for gradients of small matrices: what `simd` lacks for training.

A layer's weight gradient sums, over the samples of a block, products of an output's gradient and an input. Its vectors
lie along the inputs, so these are needed sample by sample (`transpose_*`), and bfloat16 pairs must be neighbouring
samples instead of neighbouring features (`split_rows` for the output's gradient). Layouts of a block, in 32-bit words:

- as layers give it: `simd`'s, `(rows, 64)` of float32 or `(rows / 2, 64)` of pairs of rows;
- rows: `(rows, 64)` of float32 or `(rows, 32)` of pairs of samples;
- columns: `(64, stride)` of float32 or `(32, stride)` of pairs of samples, the rows padded to multiples of 16.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from realtalk_core.nn.simd import (
    _FLOATS,
    _INT,
    _INTS,
    _LONG,
    _SHORT,
    BLOCK,
    LANES,
    TILE,
    _adder,
    _called,
    _constant,
    _splat,
    bfloat_products,
)

_SHORTS = ir.VectorType(_SHORT, 2 * LANES)
_BFLOAT_ONES = 0x3F803F80


def columns_stride(rows: int) -> int:
    """Words between samples of a block of `rows` rows laid out as columns."""
    return -(-rows // LANES) * LANES


def _vectors(b: Any, address: Any) -> Callable[[Any, int], Any]:
    """Addresses of vectors from an address on: `at(index, plus)`."""
    pointer = b.inttoptr(address, _INTS.as_pointer())
    return lambda index, plus: b.gep(pointer, [b.add(index, ir.Constant(_LONG, plus))])


def _times(b: Any, value: Any, factor: int) -> Any:
    return b.mul(value, ir.Constant(_LONG, factor))


def _halves(b: Any, first: Any, second: Any) -> tuple[Any, Any]:
    """The low and the high halves of the words of two vectors, each as one vector."""
    first, second = b.bitcast(first, _SHORTS), b.bitcast(second, _SHORTS)
    index = ir.VectorType(_INT, 2 * LANES)
    picks = (ir.Constant(index, [2 * k + odd for k in range(2 * LANES)]) for odd in (0, 1))
    low, high = (b.bitcast(b.shuffle_vector(first, second, pick), _INTS) for pick in picks)
    return low, high


def _square_transposed(b: Any, rows: list[Any]) -> list[Any]:
    """16 vectors of 16 words, transposed by exchanging ever smaller squares."""
    rows = list(rows)
    for distance in (8, 4, 2, 1):
        keep = [p if not p & distance else LANES + p - distance for p in range(LANES)]
        move = [p + distance if not p & distance else LANES + p for p in range(LANES)]
        for k in range(LANES):
            if not k & distance:
                one, two = rows[k], rows[k + distance]
                rows[k] = b.shuffle_vector(one, two, ir.Constant(_INTS, keep))
                rows[k + distance] = b.shuffle_vector(one, two, ir.Constant(_INTS, move))
    return rows


def _build_split(b: Any, arguments: Sequence[Any]) -> None:
    words, out, pairs = arguments
    source, target = _vectors(b, words), _vectors(b, out)
    with cgutils.for_range(b, pairs) as loop:
        start = _times(b, loop.index, BLOCK // LANES)
        for side in (0, 1):
            low, high = _halves(b, *(b.load(source(start, 2 * side + k), align=4) for k in (0, 1)))
            b.store(low, target(start, side), align=4)
            b.store(high, target(start, 2 + side), align=4)


def _transpose_builder(bfloat: bool) -> Callable[[Any, Sequence[Any]], None]:
    def build(b: Any, arguments: Sequence[Any]) -> None:
        words, out, groups, stride = arguments
        source, target = _vectors(b, words), _vectors(b, out)
        vectors = BLOCK // LANES
        step = b.udiv(stride, ir.Constant(_LONG, LANES))
        with cgutils.for_range(b, groups) as group:
            if bfloat:
                start = _times(b, group.index, LANES // 2 * vectors)
                for side in range(vectors // 2):
                    pairs = [
                        _halves(b, *(b.load(source(start, k * vectors + 2 * side + j), align=4) for j in (0, 1)))
                        for k in range(LANES // 2)
                    ]
                    done = _square_transposed(b, [row for pair in pairs for row in pair])
                    for k, column in enumerate(done):
                        at = b.add(group.index, _times(b, step, side * LANES + k))
                        b.store(column, target(at, 0), align=4)
            else:
                start = _times(b, group.index, LANES * vectors)
                for side in range(vectors):
                    rows = [b.load(source(start, k * vectors + side), align=4) for k in range(LANES)]
                    for k, column in enumerate(_square_transposed(b, rows)):
                        at = b.add(group.index, _times(b, step, side * LANES + k))
                        b.store(column, target(at, 0), align=4)

    return build


def _outer_builder(bfloat: bool) -> Callable[[Any, Sequence[Any]], None]:
    steps = BLOCK // 2 if bfloat else BLOCK

    def build(b: Any, arguments: Sequence[Any]) -> None:
        rows, columns, into, into_sums, tiles, vectors, stride = arguments
        add = _adder(b, bfloat)
        grads = b.inttoptr(rows, _INT.as_pointer())
        inputs, target, total_of = _vectors(b, columns), _vectors(b, into), _vectors(b, into_sums)
        sums = [cgutils.alloca_once(b, _FLOATS) for _ in range(TILE * 4)]
        step = b.udiv(stride, ir.Constant(_LONG, LANES))
        ones = b.bitcast(_constant(_INTS, _BFLOAT_ONES), _INTS) if bfloat else _constant(_FLOATS, 1.0)

        def multiply(first_row: Any, first: Any, width: int) -> None:
            place = [
                b.add(b.mul(first_row, vectors), b.add(_times(b, first, TILE), ir.Constant(_LONG, v * TILE + r)))
                for r in range(TILE)
                for v in range(width)
            ]
            for k, at in enumerate(place):
                b.store(b.bitcast(b.load(target(at, 0), align=4), _FLOATS), sums[k])
            base = _times(b, first_row, steps)
            with cgutils.for_range(b, ir.Constant(_LONG, steps)) as sample:
                start = b.add(b.mul(sample.index, step), first)
                x = [b.load(inputs(start, v), align=4) for v in range(width)]
                for r in range(TILE):
                    at = b.add(b.add(base, sample.index), ir.Constant(_LONG, r * steps))
                    w = _splat(b, b.load(b.gep(grads, [at])), _INTS)
                    for v in range(width):
                        total = sums[r * width + v]
                        b.store(add(b.load(total), x[v], w), total)
            for k, at in enumerate(place):
                b.store(b.bitcast(b.load(sums[k]), _INTS), target(at, 0), align=4)

        fours = b.udiv(vectors, ir.Constant(_LONG, 4))
        rest = b.urem(vectors, ir.Constant(_LONG, 4))
        source = _vectors(b, rows)
        with cgutils.for_range(b, tiles) as tile:
            first_row = _times(b, tile.index, TILE)
            for r in range(TILE):
                at = b.add(first_row, ir.Constant(_LONG, r))
                total = b.bitcast(b.load(total_of(at, 0), align=4), _FLOATS)
                for v in range(steps // LANES):
                    total = add(total, b.load(source(_times(b, at, steps // LANES), v), align=4), ones)
                b.store(b.bitcast(total, _INTS), total_of(at, 0), align=4)
            with cgutils.for_range(b, fours) as four:
                multiply(first_row, _times(b, four.index, 4), 4)
            for width in (1, 2, 3):
                with b.if_then(b.icmp_signed("==", rest, ir.Constant(_LONG, width))):
                    multiply(first_row, _times(b, fours, 4), width)

    return build


def _named(name: str, bfloat: bool, build: Callable[[Any, Sequence[Any]], None]) -> Callable[[Any, Any, Any, Any], Any]:
    def generate(context: Any, b: Any, _signature: Any, arguments: Any) -> Any:
        if not bfloat or bfloat_products():  # otherwise never reached: callers ask `bfloat_products` first
            _called(b, f"realtalk_{name}_{int(bfloat)}", arguments, build)
        return context.get_dummy_value()

    return generate


@intrinsic  # type: ignore[untyped-decorator]
def split_rows(_: Any, words: Any, out: Any, pairs: Any) -> Any:
    """Pairs of rows (address, how many pairs) to rows of pairs of samples (address)."""
    return types.void(*[types.int64] * 3), _named("split", True, _build_split)


def _transpose(bfloat: bool) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def transpose(_: Any, words: Any, out: Any, groups: Any, stride: Any) -> Any:
        """A block as layers give it (address), `groups` of 16 rows, to columns (address, words between samples).

        Rows up to the end of the last group are read, whatever they hold.
        """
        return types.void(*[types.int64] * 4), _named("transpose", bfloat, _transpose_builder(bfloat))

    return transpose


def _outer(bfloat: bool) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def outer(_: Any, rows: Any, columns: Any, into: Any, into_sums: Any, tiles: Any, vectors: Any, stride: Any) -> Any:
        """Adds a block's weight gradient into `(tiles, vectors, TILE, 16)` float32 and its bias' into `(4 tiles, 16)`.

        Addresses of the outputs' gradients as rows, the inputs as columns and the sums; tiles of `TILE` outputs;
        vectors of 16 inputs; words between samples of the inputs. A bias' gradient is the sum of its 16 numbers.
        """
        return types.void(*[types.int64] * 7), _named("outer", bfloat, _outer_builder(bfloat))

    return outer


transpose_bfloat, transpose_float = _transpose(True), _transpose(False)
outer_bfloat, outer_float = _outer(True), _outer(False)
