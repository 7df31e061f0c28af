"""From a drive to the numbers the networks are conditioned on: the paper's window of frames, or components."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from realtalk_core.expression import ExpressionBasis
from realtalk_core.nn.conditioning import (
    LANDMARK_CODE,
    SOFT_LIMIT,
    component_features,
    in_scheme,
    scheme_of,
    soft_clamp,
    upper_scores,
)
from realtalk_core.types import Drive, LandmarkTrack
from realtalk_triplane_nerf.config import TriplaneNerfConfig

NAME = "triplane_nerf"
WINDOW = 3


def features_of(drive: Drive, basis: ExpressionBasis, config: TriplaneNerfConfig) -> tuple[Tensor, Tensor]:
    """Landmark features `T F` and upper-face scores `T S` of a drive.

    With `condition: window` a frame's features hold its neighbours'; the drive's ends are repeated.

    Raises:
        UserError: if the drive has no blendshapes and they are listened to, or 68 landmarks where 478 are needed.
    """
    scores = upper_scores(drive, config.blendshapes, NAME)
    if config.condition == "components":
        return component_features(drive, basis, NAME), scores
    points = in_scheme(drive.landmarks, scheme_of(basis), NAME).points.float()
    moved = _sparse(points) - _sparse(basis.neutral[None])
    rows = soft_clamp(moved.flatten(1), SOFT_LIMIT)
    padded = torch.cat((rows[:1], rows, rows[-1:]))
    return torch.stack([padded[k : k + len(rows)] for k in range(WINDOW)], 1).flatten(1), scores


def _sparse(points: Tensor) -> Tensor:
    if points.shape[1] == 68:
        return points
    return LandmarkTrack(points, "mediapipe478", 25.0).to_scheme("ibug68").points


class WindowCode(nn.Module):
    """The paper's form: an audio-net over each frame's 204 numbers, then attention over three frames (§3.3)."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (204, 32, 32, 64, 64)
        layers: list[nn.Module] = []
        for a, b in pairwise(sizes):
            # A kernel of 3 over a sequence of 1 sees zero padding on both sides: a linear layer says the same.
            layers += [nn.Linear(a, b), nn.LeakyReLU(0.02)]
        self.frame = nn.Sequential(*layers, nn.Linear(64, 64), nn.LeakyReLU(0.02), nn.Linear(64, LANDMARK_CODE))
        widths = (LANDMARK_CODE, 16, 8, 4, 2, 1)
        convs: list[nn.Module] = []
        for a, b in pairwise(widths):
            convs += [nn.Conv1d(a, b, 3, padding=1), nn.LeakyReLU(0.02)]
        self.convs = nn.Sequential(*convs)
        self.score = nn.Linear(WINDOW, WINDOW)

    def forward(self, features: Float[Tensor, "F"]) -> Float[Tensor, "64"]:
        """The code of the window's middle frame."""
        codes = self.frame(features.reshape(WINDOW, 204))
        attention = torch.softmax(self.score(self.convs(codes.T[None]).reshape(WINDOW)), 0)
        code: Tensor = attention @ codes
        return code
