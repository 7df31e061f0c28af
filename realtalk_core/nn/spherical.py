"""Real spherical harmonics up to degree 3: how colour may depend on the view direction."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def spherical_harmonics(directions: Float[Tensor, "R 3"]) -> Float[Tensor, "R 16"]:
    """The 16 orthonormal real harmonics of degrees 0 to 3 at unit vectors, ordered by degree l, then m = -l … l.

    >>> spherical_harmonics(torch.tensor([[0.0, 0.0, 1.0]]))[0, :3]
    tensor([0.2821, -0.0000, 0.4886])
    """
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    return torch.stack(
        (
            torch.full_like(x, 0.28209479),
            -0.48860251 * y,
            0.48860251 * z,
            -0.48860251 * x,
            1.09254843 * x * y,
            -1.09254843 * y * z,
            0.31539157 * (3 * zz - 1),
            -1.09254843 * x * z,
            0.54627422 * (xx - yy),
            -0.59004359 * y * (3 * xx - yy),
            2.89061144 * x * y * z,
            -0.45704580 * y * (5 * zz - 1),
            0.37317633 * z * (5 * zz - 3),
            -0.45704580 * x * (5 * zz - 1),
            1.44530572 * z * (xx - yy),
            -0.59004359 * x * (xx - 3 * yy),
        ),
        -1,
    )
