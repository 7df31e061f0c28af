"""Whether rendered mouths and lids move as far as filmed ones: measures on landmarks tracked on both.

Used by `self_reconstruction.py`, which prints them. Openings are heights in pixels between the inner lips' middles and
between the lids, tracked by the same tracker on the rendered and on the true pictures, so that the tracker's own bias
is on both sides. The slope is that of the least-squares line from true to rendered openings: 1 where the render opens
as far as the truth, 0 where it does not move.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from realtalk_core.expression import eyelid_pairs
from realtalk_core.landmarks import INNER_LIP_CENTRES, LEFT_IRIS, RIGHT_IRIS

Points = NDArray[np.float32]
CLOSED_SHARE = 0.45
"""Lids nearer than this share of the clip's median opening count as closed."""


def mouth_height(points: Points) -> float:
    """Height between the middles of the inner lips, in pixels."""
    upper, lower = INNER_LIP_CENTRES
    return float(np.linalg.norm(points[lower] - points[upper]))


def lid_height(points: Points) -> float:
    """Mean height between the lids of both eyes, in pixels."""
    upper, lower = (list(side) for side in eyelid_pairs(478))
    return float(np.linalg.norm(points[lower] - points[upper], axis=1).mean())


def line(true: Sequence[float], made: Sequence[float]) -> tuple[float, float]:
    """Slope of the least-squares line from true to made, and Pearson's correlation.

    >>> line([0.0, 1.0, 2.0], [1.0, 1.5, 2.0])
    (0.5, 1.0)
    """
    x, y = (np.asarray(v, np.float64) - np.mean(v) for v in (true, made))
    spread = float(x @ x)
    if spread < 1e-12 or float(y @ y) < 1e-12:
        return 0.0, 0.0
    return float(x @ y) / spread, float(x @ y) / float(np.sqrt(spread * (y @ y)))


def articulation(true: Sequence[Points | None], made: Sequence[Points | None]) -> dict[str, float]:
    """Slope and correlation of the mouth's and the lids' opening, over the frames where a face was found in both.

    `mouth peak` is the mean rendered opening of the tenth of the frames whose true mouth is widest, as a share of the
    true one; `lids closed` the mean lid height of rendered frames whose true lids are closed, as a share of the true
    median: what remains open of a blink (compare `lids closed, truth`).
    """
    both = [(a, b) for a, b in zip(true, made, strict=True) if a is not None and b is not None]
    out: dict[str, float] = {"found": len(both) / max(1, sum(a is not None for a in true))}
    if len(both) < 3:
        return out
    for name, height in (("mouth", mouth_height), ("lids", lid_height)):
        x, y = np.array([height(a) for a, _ in both]), np.array([height(b) for _, b in both])
        out[f"{name} slope"], out[f"{name} r"] = line(x.tolist(), y.tolist())
        if name == "mouth":
            widest = np.argsort(x)[-max(1, len(x) // 10) :]
            out["mouth peak"] = float(y[widest].mean() / max(x[widest].mean(), 1e-6))
        else:
            closed = x < CLOSED_SHARE * np.median(x)
            if closed.any():
                out["lids closed"] = float(y[closed].mean() / np.median(x))
                out["lids closed, truth"] = float(x[closed].mean() / np.median(x))
    return out


def closed_frames(true: Sequence[Points | None]) -> list[int]:
    """Positions of the frames whose true lids are closed."""
    heights = np.array([np.nan if p is None else lid_height(p) for p in true])
    return np.nonzero(heights < CLOSED_SHARE * np.nanmedian(heights))[0].tolist()


def iris_darkening(picture: NDArray[np.float32], truth: NDArray[np.float32], points: Points) -> float:
    """Mean brightness of truth minus render over both irises' discs: positive where an iris shows through closed lids.

    Args:
        picture: Rendered, `H W 3` in [0, 1].
        truth: Filmed.
        points: Landmarks of the filmed frame in pixels.
    """
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    values = []
    for ring in (RIGHT_IRIS, LEFT_IRIS):
        centre = points[ring[0]]
        radius = float(np.linalg.norm(points[list(ring[1:])] - centre, axis=1).mean())
        disc = (columns + 0.5 - centre[0]) ** 2 + (rows + 0.5 - centre[1]) ** 2 <= radius**2
        if disc.any():
            values.append(float((truth - picture).mean(-1)[disc].mean()))
    return float(np.mean(values)) if values else 0.0
