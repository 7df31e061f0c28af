"""Rows of matrices to columns and back, 64 rows at a time: what the kernels of `splat_projection` work on.

The number of columns is a constant of each copy and a whole block a slice of its own; only so does the compiler turn
the loops into loads and shuffles, which is ten times faster.
"""

from __future__ import annotations

from typing import Any

from realtalk_core.nn._jit import kernel

BLOCK = 64


def _gather(columns: int) -> Any:
    @kernel
    def gather(flat: Any, first: int, count: int, into: Any, at: int) -> None:
        """`count` rows of `flat`, row by row, from row `first` on, column by column to `into[at:]`."""
        rows = flat[first * columns : (first + count) * columns]
        if count == BLOCK:
            for i in range(BLOCK):
                for column in range(columns):
                    into[at + column * BLOCK + i] = rows[i * columns + column]
        else:
            for i in range(count):
                for column in range(columns):
                    into[at + column * BLOCK + i] = rows[i * columns + column]

    return gather


def _scatter(columns: int) -> Any:
    @kernel
    def scatter(source: Any, at: int, first: int, count: int, flat: Any) -> None:
        """The other way round."""
        rows = flat[first * columns : (first + count) * columns]
        if count == BLOCK:
            for i in range(BLOCK):
                for column in range(columns):
                    rows[i * columns + column] = source[at + column * BLOCK + i]
        else:
            for i in range(count):
                for column in range(columns):
                    rows[i * columns + column] = source[at + column * BLOCK + i]

    return scatter


gather1, gather2, gather3, gather4, gather6, gather9 = (_gather(columns) for columns in (1, 2, 3, 4, 6, 9))
scatter1, scatter2, scatter3, scatter4, scatter6, scatter9 = (_scatter(columns) for columns in (1, 2, 3, 4, 6, 9))
