"""Pieces of the actor beside the head's skin, and how they hang on the head, the jaw and the torso."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """A mesh with one kind of surface.

    Attributes:
        points: `N 3` in head space at rest, cm.
        triangles: `M 3`.
        material: A kind of surface of `realtalk_actor.shade`.
        label: Part label of `realtalk_core.capture.PARTS`.
        uv: `N 2`, see `shade`.
        colour: `N 3` linear reflectance.
        follow: `N 2`: how far each vertex goes with the head (the rest: with the torso) and with the jaw.
        tangents: `N 3` direction of hair; zero elsewhere.
        ao: `N` share of open sky if it is to be fixed, else below 0: measured.
        shadow: Whether it casts shadows.
    """

    points: Array
    triangles: Ints
    material: int
    label: int
    uv: Array
    colour: Array
    follow: Array
    tangents: Array
    ao: Array
    shadow: bool = True


def part(
    points: Array,
    triangles: Ints,
    material: int,
    label: int,
    *,
    colour: Sequence[float] | Array,
    uv: Array | None = None,
    head: float | Array = 1.0,
    jaw: float | Array = 0.0,
    tangents: Array | None = None,
    ao: float | Array = -1.0,
    shadow: bool = True,
) -> Part:
    """A part with the unmentioned attributes filled in."""
    n = len(points)
    return Part(
        points, triangles, material, label,
        np.zeros((n, 2)) if uv is None else uv,
        np.broadcast_to(np.asarray(colour, float), (n, 3)).copy(),
        np.stack([np.broadcast_to(np.asarray(head, float), n), np.broadcast_to(np.asarray(jaw, float), n)], 1),
        np.zeros((n, 3)) if tangents is None else tangents,
        np.broadcast_to(np.asarray(ao, float), n).copy(), shadow,
    )  # fmt: skip


def mirrored(piece: Part) -> Part:
    """The piece on the other side of the head."""
    flip = np.array([-1.0, 1, 1])
    return replace(
        piece, points=piece.points * flip, triangles=piece.triangles[:, [0, 2, 1]], tangents=piece.tangents * flip
    )


def grid_triangles(rows: int, columns: int, closed: bool = False) -> Ints:
    """Two triangles for each cell of a grid of vertices, rows one after another; `closed` joins the last column to the
    first.
    """  # noqa: D205
    r, c = np.meshgrid(np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij")
    a, b = r * columns + c, r * columns + (c + 1) % columns
    d, e = a + columns, b + columns
    return np.concatenate([np.stack([a, d, b], -1).reshape(-1, 3), np.stack([b, d, e], -1).reshape(-1, 3)])


def joined(pieces: Sequence[Part]) -> Part:
    """Pieces of one material and label as one."""
    starts = np.cumsum([0] + [len(p.points) for p in pieces[:-1]])
    first = pieces[0]
    together = {
        name: np.concatenate([getattr(p, name) for p in pieces])
        for name in ("points", "uv", "colour", "follow", "tangents", "ao")
    }
    triangles = np.concatenate([p.triangles + s for p, s in zip(pieces, starts, strict=True)])
    return replace(first, triangles=triangles, **together)
