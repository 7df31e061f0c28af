"""From a drive to the numbers that a renderer's networks are conditioned on, frame by frame."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from realtalk_core.errors import UserError
from realtalk_core.expression import ExpressionBasis
from realtalk_core.landmarks import UPPER_FACE_BLENDSHAPES
from realtalk_core.types import Drive, LandmarkTrack, Scheme

Scores = Literal["none", "upper", "upper_gaze"]
"""Which blendshapes are listened to: none, the seven of brows and blinks, or these and the eight of gaze."""
GAZE_BLENDSHAPES = tuple(range(11, 19))
SOFT_LIMIT = 3.0
"""Standard deviations beyond which a coefficient saturates: networks do not extrapolate, the warp does."""
LANDMARK_CODE = 64


def soft_clamp(values: Tensor, limit: float) -> Tensor:
    """Identity near zero, never beyond ±limit·1.5: linear up to the limit, then bending.

    >>> soft_clamp(torch.tensor([1.0, -2.0, 100.0]), 3.0).tolist()
    [1.0, -2.0, 4.5]
    """
    excess = (values.abs() - limit).clamp(min=0)
    return values.clamp(-limit, limit) + values.sign() * limit / 2 * torch.tanh(excess / (limit / 2))


def score_columns(scores: Scores) -> tuple[int, ...]:
    """Which of the 52 scores are listened to."""
    if scores == "none":
        return ()
    return UPPER_FACE_BLENDSHAPES + (GAZE_BLENDSHAPES if scores == "upper_gaze" else ())


def in_scheme(landmarks: LandmarkTrack, scheme: Scheme, renderer: str) -> LandmarkTrack:
    """A drive's landmarks in the scheme that a renderer was trained with.

    Args:
        landmarks: What drives it.
        scheme: What it was trained with.
        renderer: The component's name, for the message.

    Raises:
        UserError: if 478 landmarks are needed and 68 given.
    """
    if scheme == "mediapipe478" and landmarks.scheme == "ibug68":
        raise UserError(
            f"renderer {renderer} was trained on 478 landmarks and is given 68",
            "Use a landmark generator that gives landmarks:478, or train with --set renderer.landmarks=ibug68.",
        )
    return landmarks.to_scheme(scheme)


def scheme_of(basis: ExpressionBasis) -> Scheme:
    """The landmark scheme of a basis."""
    return "mediapipe478" if len(basis.neutral) == 478 else "ibug68"


def upper_scores(drive: Drive, scores: Scores, renderer: str) -> Float[Tensor, "T S"]:
    """The scores of a drive that are listened to; `T 0` if none are.

    Raises:
        UserError: if they are listened to and the drive has none.
    """
    columns = score_columns(scores)
    if columns and drive.blendshapes is None:
        raise UserError(
            f"renderer {renderer} needs blendshapes:52, and the drive has none",
            "Capture with a tracker that gives blendshapes, such as mediapipe.",
        )
    if drive.blendshapes is None:
        return torch.zeros(len(drive), 0)
    return drive.blendshapes.values[:, list(columns)].float()


def component_features(drive: Drive, basis: ExpressionBasis, renderer: str) -> Float[Tensor, "T F"]:
    """Principal components of a drive's landmarks, in standard deviations, saturating at `SOFT_LIMIT`.

    Raises:
        UserError: if the drive has 68 landmarks where 478 are needed.
    """
    points = in_scheme(drive.landmarks, scheme_of(basis), renderer).points.float()
    return soft_clamp(basis.encode(points), SOFT_LIMIT)


class ComponentCode(nn.Module):
    """Principal components to the landmark code: two small layers."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(features, 64), nn.ReLU(), nn.Linear(64, LANDMARK_CODE))

    def forward(self, features: Float[Tensor, "F"]) -> Float[Tensor, "64"]:
        """The code of one frame."""
        code: Tensor = self.net(features)
        return code
