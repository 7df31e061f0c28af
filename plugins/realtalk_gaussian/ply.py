"""Gaussians as a standard 3DGS `.ply`, the file that public viewers open.

Written as Kerbl et al.'s own code writes it (graphdeco-inria/gaussian-splatting, `scene/gaussian_model.py`): one vertex
per Gaussian, 32-bit little-endian floats, logarithms of scales, logits of opacities, quaternions w x y z, and
`f_rest_*` channel by channel (all of red, then green, then blue). Normals, zero there, are those of the face.

Axes: what is trained on COLMAP's cameras has y down, and viewers turn a file by half a turn about z to stand it up
(PlayCanvas: `Transform.PLY`, SuperSplat). So head space (x right, y up, z out of the face) is turned by that half turn:
(x, y, z) is written as (−x, −y, z), and a head stands upright and faces the camera there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from realtalk_core.atomic import atomic_file
from realtalk_core.nn.splatting import View, covariances, project, rasterise, rotation_matrices
from realtalk_gaussian.cloud import FLAT
from realtalk_gaussian.head import Posed

UNITS = {"m": 0.01, "cm": 1.0}
"""What a centimetre is in the file."""
TURN = (-1.0, -1.0, 1.0)
"""The half turn about z, by axis."""
SH_SIGNS = (1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1)
"""What the half turn makes of each spherical harmonic up to degree 3: it is even or odd in (x, y)."""
TUCK_CM = 1.0
"""How far behind the face's surface lies what it covers."""
FRONT_SIDE, FAR_CM = 256, 1000.0
"""Side in pixels, and distance, of the look from the front that finds that surface."""
LEAST_OPACITY = 1e-6
LEAST_SCALE = 1e-4
"""Of an axis that a stretch has flattened, cm."""


@dataclass(frozen=True, slots=True)
class Splats:
    """Plain Gaussians: no template, no branches, no stretch.

    Attributes:
        means: Centimetres.
        scales: Standard deviations along the axes, cm.
        rotations: Unit quaternions w x y z.
        opacities: In [0, 1].
        colours: Coefficients of spherical harmonics.
        normals: Unit vectors; zero where there are none.
    """

    means: Float[Tensor, "N 3"]
    scales: Float[Tensor, "N 3"]
    rotations: Float[Tensor, "N 4"]
    opacities: Float[Tensor, "N"]
    colours: Float[Tensor, "N K 3"]
    normals: Float[Tensor, "N 3"]

    def __len__(self) -> int:
        return len(self.means)

    @classmethod
    @torch.no_grad()
    def of(cls, layers: Sequence[Posed]) -> Splats:
        """Layers of one frame, front to back, as one set in head space.

        Stretches go into scales, shades into colours. The head draws each layer behind the one before it, viewers sort
        by depth: what lies on or before the face is moved back behind it.
        """
        face, *hidden = (_plain(layer) for layer in layers)
        parts = [face, *(tucked(part, face) for part in hidden)]
        return cls(*(torch.cat([getattr(part, name) for part in parts]).cpu() for name in cls.__slots__))

    def turned(self) -> Splats:
        """After the half turn about z: colours keep looking the same from the same side of the head."""
        axes, signs = self.means.new_tensor(TURN), self.colours.new_tensor(SH_SIGNS[: self.colours.shape[1]])
        w, x, y, z = self.rotations.unbind(1)
        return Splats(
            self.means * axes, self.scales, torch.stack((-z, -y, x, w), 1), self.opacities,
            self.colours * signs[:, None], self.normals * axes,
        )  # fmt: skip


def _plain(layer: Posed) -> Splats:
    colours = layer.colours.clone()
    if layer.shade is not None:
        colours[:, 0] += layer.shade / FLAT
    scales, rotations = layer.scales, torch.nn.functional.normalize(layer.rotations, dim=1)
    if layer.stretch is not None:
        scales, rotations = decomposed(layer.stretch @ (rotation_matrices(rotations) * scales[:, None, :]))
    normals = torch.zeros_like(layer.means) if layer.normals is None else layer.turned_normals()
    return Splats(layer.means, scales, rotations, layer.opacities, colours, normals)


def tucked(hidden: Splats, face: Splats) -> Splats:
    """Gaussians that, seen from the front, are covered by the face and no deeper than it, moved back along z."""
    low, high = face.means.amin(0), face.means.amax(0)
    middle, side = (low + high) / 2, float((high - low)[:2].max()) * 1.1
    pose = torch.diag(face.means.new_tensor([1.0, -1.0, -1.0, 1.0]))
    pose[:3, 3] = torch.stack((middle[0], middle[1], high[2] + FAR_CM))
    focal = FRONT_SIDE * FAR_CM / side
    intrinsics = pose.new_tensor([[focal, 0, FRONT_SIDE / 2], [0, focal, FRONT_SIDE / 2], [0, 0, 1]])
    view = View(pose, intrinsics, FRONT_SIDE, FRONT_SIDE)
    screen = project(face.means, covariances(face.scales, face.rotations), view, face.opacities)
    drawn = rasterise(screen, face.opacities, face.means[:, 2:].contiguous(), view)
    surface = drawn.picture[..., 0] / drawn.alpha.clamp(min=0.5)
    seen = (hidden.means - pose[:3, 3]) @ pose[:3, :3]
    columns, rows = ((focal * seen[:, k] / seen[:, 2] + FRONT_SIDE / 2).long().clamp(0, FRONT_SIDE - 1) for k in (0, 1))
    behind = torch.minimum(hidden.means[:, 2], surface[rows, columns] - TUCK_CM)
    means = hidden.means.clone()
    means[:, 2] = torch.where(drawn.alpha[rows, columns] > 0.5, behind, means[:, 2])
    return replace(hidden, means=means)


def decomposed(factors: Float[Tensor, "N 3 3"]) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 4"]]:
    """Scales and unit quaternions of the covariances factor · factorᵀ."""
    axes, sizes, _ = torch.linalg.svd(factors.double())
    axes[..., 2] *= torch.linalg.det(axes)[:, None]  # a rotation, not a reflection
    return sizes.clamp(min=LEAST_SCALE).float(), quaternions(axes).float()


def quaternions(matrices: Float[Tensor, "N 3 3"]) -> Float[Tensor, "N 4"]:
    """Unit quaternions w x y z of rotations, w not negative.

    Each way of solving for one is exact where its own component is large; the largest is taken (Shepperd 1978).
    """
    m = matrices
    trace = m.diagonal(dim1=1, dim2=2).sum(1)
    squares = torch.stack((trace, m[:, 0, 0], m[:, 1, 1], m[:, 2, 2]), 1)
    squares[:, 0] = 1 + trace
    squares[:, 1:] = 1 + 2 * squares[:, 1:] - trace[:, None]
    sums = {(i, j): m[:, i, j] + m[:, j, i] for i, j in ((0, 1), (0, 2), (1, 2))}
    turns = {(i, j): m[:, j, i] - m[:, i, j] for i, j in ((0, 1), (0, 2), (1, 2))}
    w, x, y, z = squares.unbind(1)
    ways = torch.stack(
        (
            torch.stack((w, turns[1, 2], -turns[0, 2], turns[0, 1]), 1),
            torch.stack((turns[1, 2], x, sums[0, 1], sums[0, 2]), 1),
            torch.stack((-turns[0, 2], sums[0, 1], y, sums[1, 2]), 1),
            torch.stack((turns[0, 1], sums[0, 2], sums[1, 2], z), 1),
        ),
        1,
    )
    found = ways[torch.arange(len(m)), squares.argmax(1)]
    found = torch.nn.functional.normalize(found, dim=1)
    return torch.where(found[:, :1] < 0, -found, found)


def names(coefficients: int) -> list[str]:
    """The file's properties in order, for K coefficients of harmonics."""
    rest = 3 * (coefficients - 1)
    return [
        "x", "y", "z", "nx", "ny", "nz", *(f"f_dc_{k}" for k in range(3)), *(f"f_rest_{k}" for k in range(rest)),
        "opacity", *(f"scale_{k}" for k in range(3)), *(f"rot_{k}" for k in range(4)),
    ]  # fmt: skip


def table(splats: Splats, unit: str = "m") -> NDArray[np.float32]:
    """The file's numbers, a row per Gaussian, in the order of `names`; of Gaussians in head space."""
    made, size = splats.turned(), UNITS[unit]
    opacities = made.opacities.double().clamp(LEAST_OPACITY, 1 - LEAST_OPACITY)
    columns = (
        made.means * size,
        made.normals,
        made.colours[:, 0],
        made.colours[:, 1:].transpose(1, 2).flatten(1),
        torch.logit(opacities)[:, None],
        (made.scales * size).log(),
        made.rotations,
    )
    out: NDArray[Any] = torch.cat([column.double() for column in columns], 1).numpy()
    return out.astype("<f4")


def write_ply(file: Path, splats: Splats, unit: str = "m", comments: Sequence[str] = ()) -> Path:
    """Writes Gaussians of head space, all of the file or nothing.

    Args:
        file: Where.
        splats: What.
        unit: One of `UNITS`.
        comments: Lines for the header, in ASCII and without line breaks; others are written with question marks.

    Raises:
        UserError: if the place cannot be written to.
    """
    rows = table(splats, unit)
    said = [" ".join(line.split()).encode("ascii", "replace").decode() for line in comments]
    said = [line.replace("end_header", "end header") for line in said]  # readers look for the first one
    header = [
        "ply", "format binary_little_endian 1.0", *(f"comment {line}" for line in said), f"element vertex {len(rows)}",
        *(f"property float {name}" for name in names(splats.colours.shape[1])), "end_header",
    ]  # fmt: skip
    with atomic_file(file) as partial, partial.open("wb") as out:
        out.write(("\n".join(header) + "\n").encode("ascii"))
        out.write(rows.tobytes())
    return file
