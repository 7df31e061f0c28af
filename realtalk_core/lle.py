"""Locally linear embedding: a face rebuilt from the person's own nearest faces (paper §3.3; GeneFace++ §3.3)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

REGULAR = 1e-6
ROWS_AT_ONCE = 256


def project(faces: Float[Tensor, "T D"], bank: Float[Tensor, "B D"], neighbours: int) -> Float[Tensor, "T D"]:
    """Each face as the best mixture, of weights that sum to one, of its nearest faces in the bank.

    Args:
        faces: Faces as rows.
        bank: The person's own faces.
        neighbours: K, at most the size of the bank.

    Returns:
        The mixtures. A face is treated alone: the result does not depend on its neighbours in time.
    """
    return torch.cat(
        [_project(rows, bank, min(neighbours, bank.shape[0])) for rows in torch.split(faces, ROWS_AT_ONCE)]
    )


def _project(faces: Tensor, bank: Tensor, count: int) -> Tensor:
    distance = bank.square().sum(1) - 2 * faces @ bank.T
    near = bank[distance.topk(count, largest=False).indices]
    if count == 1:
        return near[:, 0]
    first, edges = near[:, 0], near[:, 1:] - near[:, :1]
    gram = (edges @ edges.transpose(1, 2)).double()
    ridge = REGULAR * gram.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] + 1e-12
    gram = gram + ridge * torch.eye(count - 1, dtype=torch.float64)
    wanted = (edges @ (faces - first)[..., None]).double()
    weights = torch.linalg.solve(gram, wanted).to(faces.dtype)
    rebuilt: Tensor = first + (weights * edges).sum(1)
    return rebuilt
