"""From a drive to the numbers the networks are conditioned on, frame by frame."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from realtalk_core.errors import UserError
from realtalk_core.expression import ExpressionBasis
from realtalk_core.landmarks import UPPER_FACE_BLENDSHAPES
from realtalk_core.types import Drive, LandmarkTrack, Scheme
from realtalk_triplane_nerf.config import TriplaneNerfConfig

GAZE_BLENDSHAPES = tuple(range(11, 19))
SOFT_LIMIT = 3.0
"""Standard deviations beyond which a coefficient saturates: networks do not extrapolate, the warp does."""
WINDOW = 3
LANDMARK_CODE = 64


def soft_clamp(values: Tensor, limit: float) -> Tensor:
    """Identity near zero, never beyond ±limit·1.5: linear up to the limit, then bending.

    >>> soft_clamp(torch.tensor([1.0, -2.0, 100.0]), 3.0).tolist()
    [1.0, -2.0, 4.5]
    """
    excess = (values.abs() - limit).clamp(min=0)
    return values.clamp(-limit, limit) + values.sign() * limit / 2 * torch.tanh(excess / (limit / 2))


def score_columns(config: TriplaneNerfConfig) -> tuple[int, ...]:
    """Which of the 52 scores are listened to."""
    if config.blendshapes == "none":
        return ()
    return UPPER_FACE_BLENDSHAPES + (GAZE_BLENDSHAPES if config.blendshapes == "upper_gaze" else ())


def in_scheme(landmarks: LandmarkTrack, scheme: Scheme) -> LandmarkTrack:
    """A drive's landmarks in the scheme the component was trained with.

    Raises:
        UserError: if 478 landmarks are needed and 68 given.
    """
    if scheme == "mediapipe478" and landmarks.scheme == "ibug68":
        raise UserError(
            "renderer triplane_nerf was trained on 478 landmarks and is given 68",
            "Use a landmark generator that gives landmarks:478, or train with --set renderer.landmarks=ibug68.",
        )
    return landmarks.to_scheme(scheme)


def features_of(drive: Drive, basis: ExpressionBasis, config: TriplaneNerfConfig) -> tuple[Tensor, Tensor]:
    """Landmark features `T F` and upper-face scores `T S` of a drive.

    With `condition: window` a frame's features hold its neighbours'; the drive's ends are repeated.

    Raises:
        UserError: if the drive has no blendshapes and they are listened to, or 68 landmarks where 478 are needed.
    """
    columns = score_columns(config)
    if columns and drive.blendshapes is None:
        raise UserError(
            "renderer triplane_nerf needs blendshapes:52, and the drive has none",
            "Capture with a tracker that gives blendshapes, such as mediapipe.",
        )
    scheme: Scheme = "mediapipe478" if len(basis.neutral) == 478 else "ibug68"
    points = in_scheme(drive.landmarks, scheme).points.float()
    scores = torch.zeros(len(points), 0)
    if drive.blendshapes is not None:
        scores = drive.blendshapes.values[:, list(columns)].float()
    if config.condition == "components":
        return soft_clamp(basis.encode(points), SOFT_LIMIT), scores
    moved = _sparse(points) - _sparse(basis.neutral[None])
    rows = soft_clamp(moved.flatten(1), SOFT_LIMIT)
    padded = torch.cat((rows[:1], rows, rows[-1:]))
    return torch.stack([padded[k : k + len(rows)] for k in range(WINDOW)], 1).flatten(1), scores


def _sparse(points: Tensor) -> Tensor:
    if points.shape[1] == 68:
        return points
    return LandmarkTrack(points, "mediapipe478", 25.0).to_scheme("ibug68").points


class ComponentCode(nn.Module):
    """Principal components to the landmark code: two small layers."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(features, 64), nn.ReLU(), nn.Linear(64, LANDMARK_CODE))

    def forward(self, features: Float[Tensor, "F"]) -> Float[Tensor, "64"]:
        """The code of one frame."""
        code: Tensor = self.net(features)
        return code


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
