"""Vector instructions for splatting: one tile of Gaussians, drawn or differentiated, a row of 16 pixels at a time.

A tile's state is 16 rows of vectors, one number a pixel: the light that still shines through, then what a pass needs.
Everything takes raw addresses and checks nothing; `_splat_raster_kernel` and `_splat_gradient_kernel` wrap it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from realtalk_core.nn.simd import _FLOAT, _FLOATS, _INT, _INTS, _LONG, LANES, _called, _constant, _features, _splat

HEADER = 6
"""Numbers of a packed Gaussian before its channels: centre, quadratic form (3) and level, in powers of two."""
RECORD = 4
"""Words of a pair: the Gaussian, its first row and its last within the tile, its place among the partial gradients."""
COLOURS, SHADED = 3, 6
"""Numbers of channels (colours; colours and normals) for which loops over channels are unrolled."""
CHECKED = 16
"""Pairs after which to look whether anything still shines through."""
LEAST = math.log2(1 / 255)
OPAQUE = math.log2(0.999)
SPENT = 1e-4
_POWERS = (0.9999992251396179, 0.6931219100952148, 0.24024811387062073, 0.05591749772429466, 0.009567738510668278)
"""2^f for f in ±½, minimax: relative error 2.7e-6."""


def _fma(b: Any, x: Any, y: Any, z: Any) -> Any:
    return b.fadd(b.fmul(x, y, ("contract",)), z, ("contract",))


def _power(b: Any, level: Any) -> Any:
    """2^level for levels of at least −100; anything for lower ones."""
    kind = ir.FunctionType(_FLOATS, [_FLOATS])
    whole = b.call(cgutils.get_or_insert_function(b.module, kind, "llvm.nearbyint.v16f32"), [level])
    rest = b.fsub(level, whole)
    value = _constant(_FLOATS, _POWERS[-1])
    for factor in reversed(_POWERS[:-1]):
        value = _fma(b, value, rest, _constant(_FLOATS, factor))
    exponent = b.shl(b.fptosi(whole, _INTS), _constant(_INTS, 23))
    return b.bitcast(b.add(b.bitcast(value, _INTS), exponent), _FLOATS)


def _inverse(b: Any, x: Any) -> Any:
    """1 / x. Dividing 16 numbers holds up a row's other work for ten cycles; an estimate and a Newton step do not."""
    if not _features().get("avx512f", False):
        return b.fdiv(_constant(_FLOATS, 1.0), x)
    short = ir.IntType(16)
    kind = ir.FunctionType(_FLOATS, [_FLOATS, _FLOATS, short])
    estimate = cgutils.get_or_insert_function(b.module, kind, "llvm.x86.avx512.rcp14.ps.512")
    first = b.call(estimate, [x, _constant(_FLOATS, 0.0), ir.Constant(short, -1)])
    wrong = _fma(b, b.fneg(x), first, _constant(_FLOATS, 1.0))
    return _fma(b, first, wrong, first)


class _Pair:
    """One Gaussian in one tile, within the code being built."""

    def __init__(self, b: Any, record: Any, packed: Any, stride: Any, left: Any, top: Any) -> None:
        self.b = b
        word = [b.load(b.gep(record, [ir.Constant(_INT, k)])) for k in range(RECORD)]
        self.first, self.last, self.place = word[1], word[2], b.sext(word[3], _LONG)
        self.gaussian = b.gep(packed, [b.mul(b.sext(word[0], _LONG), stride)])
        x, y, a, cross, c, level = (self.number(k) for k in range(HEADER))
        lanes = ir.Constant(_FLOATS, [k + 0.5 for k in range(LANES)])
        self.dx = b.fadd(lanes, _splat(b, b.fsub(left, x), _FLOATS))
        middle = ir.Constant(_FLOAT, 0.5)
        self.dy = b.fadd(b.fadd(b.sitofp(self.first, _FLOAT), middle), b.fsub(top, y))
        # down a column the level is a parabola: two sums a row give it
        dy, a, c = (_splat(b, number, _FLOATS) for number in (self.dy, a, c))
        slope = b.fmul(_splat(b, cross, _FLOATS), self.dx)
        level = _fma(b, b.fmul(a, self.dx), self.dx, _splat(b, level, _FLOATS))
        self.level, self.rise = (cgutils.alloca_once(b, _FLOATS) for _ in range(2))
        b.store(_fma(b, _fma(b, c, dy, slope), dy, level), self.level)
        self.curve = b.fadd(c, c)
        b.store(_fma(b, self.curve, dy, b.fadd(slope, c)), self.rise)

    def number(self, index: int) -> Any:
        return self.b.load(self.b.gep(self.gaussian, [ir.Constant(_INT, index)]))

    def rows(self, state: Any, width: Any, work: Callable[[Any, Any], None]) -> None:
        """Calls `work(row of the state, level)` for each row."""
        b = self.b
        first, last = (b.sext(row, _LONG) for row in (self.first, self.last))
        end = b.add(last, ir.Constant(_LONG, 1))
        with cgutils.for_range_slice(b, first, end, ir.Constant(_LONG, 1), _LONG) as (row, _):
            level, rise = b.load(self.level), b.load(self.rise)
            b.store(b.fadd(level, rise), self.level)
            b.store(b.fadd(rise, self.curve), self.rise)
            work(b.gep(state, [b.mul(row, width)]), level)

    def moments(self, once: Any, twice: Any, thrice: Any) -> tuple[Any, Any, Any]:
        """ΣG, ΣG dy and ΣG dy² from sums over the rows, sums of these sums row by row, and sums of those.

        With k = end − row: once = ΣG, twice = ΣG k, thrice = ΣG k (k + 1) / 2.
        """
        b = self.b
        rows = b.sub(b.add(self.last, ir.Constant(_INT, 1)), self.first)
        end = _splat(b, b.fadd(self.dy, b.sitofp(rows, _FLOAT)), _FLOATS)
        down = b.fsub(b.fmul(end, once), twice)
        squares = b.fsub(b.fadd(thrice, thrice), twice)
        return once, down, _fma(b, end, b.fsub(down, twice), squares)

    def channel(self, index: Any) -> Any:
        """A channel's number in every lane; `index` counts from the first channel."""
        b = self.b
        at = b.add(index, ir.Constant(_LONG, HEADER))
        return _splat(b, b.load(b.gep(self.gaussian, [at])), _FLOATS)


def _each(b: Any, channels: Any, work: Callable[[Any], None]) -> None:
    """Calls `work(index)` for every channel: a number unrolls the loop, a value makes one."""
    if isinstance(channels, int):
        for k in range(channels):
            work(ir.Constant(_LONG, k))
    else:
        with cgutils.for_range(b, channels) as loop:
            work(loop.index)


def _count(b: Any, channels: Any) -> Any:
    return ir.Constant(_LONG, channels) if isinstance(channels, int) else channels


def _vector(b: Any, pointer: Any, index: Any, plus: int = 0) -> Any:
    return b.gep(pointer, [b.add(index, ir.Constant(_LONG, plus))])


def _step(b: Any, level: Any, row: Any) -> tuple[Any, Any, Any]:
    """A row's alphas, their weights in the picture, and where they count; lets the light of the row fall.

    A pixel's light is made negative when the next Gaussian would leave less than `SPENT` of it: it is done for good.
    """
    least, spent, opaque, zero = (_constant(_FLOATS, number) for number in (LEAST, SPENT, OPAQUE, 0.0))
    light = b.load(row, align=4)
    share = _power(b, b.select(b.fcmp_ordered("<", level, opaque), level, opaque))
    seen = b.fcmp_ordered(">=", level, least)
    weight = b.select(seen, b.fmul(share, light), zero)
    left = b.fsub(light, weight)
    lit = b.fcmp_ordered(">", left, spent)
    over = b.bitcast(b.or_(b.bitcast(light, _INTS), _constant(_INTS, -(2**31))), _FLOATS)
    b.store(b.select(lit, left, over), row, align=4)
    return share, b.select(lit, weight, zero), b.and_(seen, lit)


def _draw_builder(fixed: int | None) -> Callable[[Any, Sequence[Any]], None]:
    def build(b: Any, arguments: Sequence[Any]) -> None:
        pairs, count, packed, stride, left, top, state, given, drawn = arguments
        channels = given if fixed is None else fixed
        width = b.add(_count(b, channels), ir.Constant(_LONG, 1))
        rows, records = b.inttoptr(state, _FLOATS.as_pointer()), b.inttoptr(pairs, _INT.as_pointer())
        numbers = b.inttoptr(packed, _FLOAT.as_pointer())
        taken = b.inttoptr(drawn, _INT.as_pointer())
        b.store(b.trunc(count, _INT), taken)
        with cgutils.for_range(b, count) as loop:
            due = b.icmp_signed("==", b.and_(loop.index, ir.Constant(_LONG, CHECKED - 1)), ir.Constant(_LONG, 0))
            with b.if_then(due, likely=False):
                lit = b.load(rows, align=4)
                for row in range(1, LANES):
                    light = b.load(b.gep(rows, [b.mul(width, ir.Constant(_LONG, row))]), align=4)
                    lit = b.select(b.fcmp_ordered(">", light, lit), light, lit)
                bits = b.bitcast(b.fcmp_ordered(">", lit, _constant(_FLOATS, SPENT)), ir.IntType(LANES))
                with b.if_then(b.icmp_signed("==", bits, ir.Constant(ir.IntType(LANES), 0)), likely=False):
                    b.store(b.trunc(loop.index, _INT), taken)
                    b.ret_void()
                    b.position_at_end(b.append_basic_block("unreachable"))
            record = b.gep(records, [b.mul(loop.index, ir.Constant(_LONG, RECORD))])
            pair = _Pair(b, record, numbers, stride, left, top)
            colour = [pair.channel(ir.Constant(_LONG, k)) for k in range(fixed or 0)]

            def work(row: Any, level: Any, pair: Any = pair, colour: Any = colour) -> None:
                _, weight, _ = _step(b, level, row)

                def add(k: Any) -> None:
                    at = _vector(b, row, k, 1)
                    value = colour[k.constant] if fixed else pair.channel(k)
                    b.store(_fma(b, weight, value, b.load(at, align=4)), at, align=4)

                _each(b, channels, add)

            pair.rows(rows, width, work)

    return build


def _folded(b: Any, vectors: Sequence[Any]) -> Any:
    """The sums of up to 16 vectors, each in the lane of its number; other lanes hold anything.

    Two vectors at a time, what is left of each in half the lanes: first whole quarters, then lanes within quarters, for
    which there are the quickest instructions.
    """
    nothing, second = ir.Constant(_FLOATS, ir.Undefined), LANES
    quarters = ((0, 1, second // 4, second // 4 + 1), (0, 2, second // 4, second // 4 + 2))
    lanes = ((0, 1, second, second + 1), (0, 2, second, second + 2))
    steps = [
        ([4 * q + k for q in pick for k in range(4)], 4 * move) for pick, move in zip(quarters, (2, 1), strict=True)
    ]
    steps += [([4 * q + k for q in range(4) for k in pick], move) for pick, move in zip(lanes, (2, 1), strict=True)]
    order = [k % 4 * 4 + k // 4 for k in range(LANES)]
    sums = [vectors[k] if k < len(vectors) else None for k in order]
    for pick, move in steps:
        picks = [ir.Constant(_INTS, [lane + move * k for lane in pick]) for k in (0, 1)]
        sums = [
            one and b.fadd(*(b.shuffle_vector(one, two or nothing, lanes) for lanes in picks))
            for one, two in zip(sums[::2], sums[1::2], strict=True)
        ]
    return sums[0]


def _differentiate_builder(fixed: int | None) -> Callable[[Any, Sequence[Any]], None]:
    def build(b: Any, arguments: Sequence[Any]) -> None:
        pairs, count, packed, stride, left, top, state, given, partial, spare = arguments
        channels = given if fixed is None else fixed
        width = b.add(_count(b, channels), ir.Constant(_LONG, 3))
        rows, records = b.inttoptr(state, _FLOATS.as_pointer()), b.inttoptr(pairs, _INT.as_pointer())
        numbers, target = (b.inttoptr(address, _FLOAT.as_pointer()) for address in (packed, partial))
        sums = b.inttoptr(spare, _FLOATS.as_pointer())
        zero, one, opaque = (_constant(_FLOATS, number) for number in (0.0, 1.0, OPAQUE))
        moments = [cgutils.alloca_once(b, _FLOATS) for _ in range(3)]
        shades = [cgutils.alloca_once(b, _FLOATS) for _ in range(fixed or 0)]

        def shade(k: Any) -> Any:
            return shades[k.constant] if fixed else b.gep(sums, [k])

        with cgutils.for_range(b, count) as loop:
            pair = _Pair(b, b.gep(records, [b.mul(loop.index, ir.Constant(_LONG, RECORD))]), numbers, stride, left, top)
            colour = [pair.channel(ir.Constant(_LONG, k)) for k in range(fixed or 0)]
            for total in moments:
                b.store(zero, total)
            _each(b, channels, lambda k: b.store(zero, shade(k), align=4))

            def work(row: Any, level: Any, pair: Any = pair, colour: Any = colour) -> None:
                share, weight, counts = _step(b, level, row)
                rest = b.load(b.gep(row, [ir.Constant(_LONG, 1)]), align=4)
                worth = cgutils.alloca_once(b, _FLOATS)
                b.store(b.load(b.gep(row, [ir.Constant(_LONG, 2)]), align=4), worth)

                def add(k: Any) -> None:
                    wanted = b.load(_vector(b, row, k, 3), align=4)
                    value = colour[k.constant] if fixed else pair.channel(k)
                    b.store(_fma(b, wanted, value, b.load(worth)), worth)
                    b.store(_fma(b, weight, wanted, b.load(shade(k), align=4)), shade(k), align=4)

                _each(b, channels, add)
                here = b.fmul(weight, b.load(worth))
                rest = b.fsub(rest, here)
                b.store(rest, b.gep(row, [ir.Constant(_LONG, 1)]), align=4)
                behind = b.fmul(b.fmul(share, _inverse(b, b.fsub(one, share))), rest)
                moves = b.and_(counts, b.fcmp_ordered("<", level, opaque))
                slope = b.select(moves, b.fsub(here, behind), zero)
                for total in moments:
                    slope = b.fadd(b.load(total), slope)
                    b.store(slope, total)

            pair.rows(rows, width, work)
            still, down, square = pair.moments(*(b.load(total) for total in moments))
            right = b.fmul(still, pair.dx)
            done = [still, right, down, b.fmul(right, pair.dx), b.fmul(down, pair.dx), square]
            done += [b.load(total) for total in shades]
            into = b.gep(target, [b.mul(pair.place, stride)])
            b.store(_folded(b, done), b.bitcast(into, _FLOATS.as_pointer()), align=4)
            if fixed is None:
                kind = ir.FunctionType(_FLOAT, [_FLOAT, _FLOATS])
                reduce = cgutils.get_or_insert_function(b.module, kind, "llvm.vector.reduce.fadd.v16f32")

                def finish(k: Any, into: Any = into, reduce: Any = reduce) -> None:
                    total = b.call(reduce, [ir.Constant(_FLOAT, 0.0), b.load(shade(k), align=4)], fastmath=("reassoc",))
                    b.store(total, b.gep(into, [b.add(k, ir.Constant(_LONG, HEADER))]))

                _each(b, channels, finish)

    return build


def _named(name: str, build: Callable[[Any, Sequence[Any]], None]) -> Callable[[Any, Any, Any, Any], Any]:
    def generate(context: Any, b: Any, _signature: Any, arguments: Any) -> Any:
        _called(b, f"realtalk_{name}", arguments, build)
        return context.get_dummy_value()

    return generate


_ADDRESSES = (
    types.int64,
    types.int64,
    types.int64,
    types.int64,
    types.float32,
    types.float32,
    types.int64,
    types.int64,
)


def _draw(fixed: int | None) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def draw_tile(
        _: Any, pairs: Any, count: Any, packed: Any, stride: Any, left: Any, top: Any, state: Any, channels: Any,
        drawn: Any,
    ) -> Any:  # fmt: skip
        """Adds pairs to a tile's state: rows of the light that shines through, then the channels.

        Address and number of the pairs' records; address of the packed Gaussians and numbers between them; the tile's
        corner in pixels; address of the state; channels; address of an int32 for how many pairs were drawn until
        nothing shone through.
        """
        return types.void(*_ADDRESSES, types.int64), _named(f"draw_tile_{fixed}", _draw_builder(fixed))

    return draw_tile


def _differentiate(fixed: int | None) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def differentiate_tile(
        _: Any, pairs: Any, count: Any, packed: Any, stride: Any, left: Any, top: Any, state: Any, channels: Any,
        partial: Any, spare: Any,
    ) -> Any:  # fmt: skip
        """Writes every pair's part of its Gaussian's gradients: ΣG, ΣGx, ΣGy, ΣGx², ΣGxy, ΣGy², then the channels'.

        G is the gradient of the level, in powers of e; x and y are counted from the centre. The state's rows are the
        light, what the pairs to come are worth (at first alpha and channels, times their gradients), alpha's gradient
        and the channels'. As `draw_tile`; then the addresses of the parts (as far apart as the packed Gaussians) and of
        room for one vector a channel.
        """
        return types.void(*_ADDRESSES, types.int64, types.int64), _named(
            f"differentiate_tile_{fixed}", _differentiate_builder(fixed)
        )

    return differentiate_tile


draw_colours, draw_shaded, draw_channels = (_draw(fixed) for fixed in (COLOURS, SHADED, None))
differentiate_colours, differentiate_shaded, differentiate_channels = (
    _differentiate(fixed) for fixed in (COLOURS, SHADED, None)
)


@intrinsic  # type: ignore[untyped-decorator]
def next_of(_: Any, counter: Any) -> Any:
    """Takes the next number from the int64 at an address that worker threads share."""

    def generate(_context: Any, b: Any, _signature: Any, arguments: Any) -> Any:
        at = b.inttoptr(arguments[0], _LONG.as_pointer())
        return b.atomic_rmw("add", at, ir.Constant(_LONG, 1), "monotonic")

    return types.int64(types.int64), generate
