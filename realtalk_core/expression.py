"""One compact expression basis per person: principal components of tracked motion relative to the neutral face.

Generators learn in this basis and decode to whichever landmark scheme the capture has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from realtalk_core.landmarks import (
    FACE_OVAL,
    IBUG68_FROM_MEDIAPIPE478,
    INNER_LIP_CENTRES,
    LEFT_BROW,
    LEFT_EYE,
    LEFT_IRIS,
    LIPS_INNER,
    LIPS_OUTER,
    OUTER_EYE_CORNERS,
    REGIONS68,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_IRIS,
)
from realtalk_core.shapes import check_shapes


def upper_indices(count: int) -> tuple[int, ...]:
    """Landmarks of brows, eyes and irises in the scheme with `count` points."""
    if count == 478:
        return (*RIGHT_EYE, *LEFT_EYE, *RIGHT_BROW, *LEFT_BROW, *RIGHT_IRIS, *LEFT_IRIS)
    return tuple(k for name in ("right_brow", "left_brow", "right_eye", "left_eye") for k in REGIONS68[name])


def lower_indices(count: int) -> tuple[int, ...]:
    """Landmarks of lips, nose and jaw in the scheme with `count` points."""
    if count == 478:
        return (*LIPS_OUTER, *LIPS_INNER, *FACE_OVAL[9:28], *IBUG68_FROM_MEDIAPIPE478[27:36])
    return tuple(k for name in ("jaw", "nose", "outer_lips", "inner_lips") for k in REGIONS68[name])


def inner_lip_pairs(count: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Upper and lower inner-lip landmarks facing each other, from the person's right to left, corners left out."""
    if count == 478:
        return LIPS_INNER[1:10], LIPS_INNER[:10:-1]
    return (61, 62, 63), (67, 66, 65)


def eyelid_pairs(count: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Upper- and lower-lid landmarks facing each other: the right eye's, then the left eye's."""
    if count == 478:
        right, left = RIGHT_EYE, LEFT_EYE
        return (*right[1:8], *left[1:8]), (*right[:8:-1], *left[:8:-1])
    return (37, 38, 43, 44), (41, 40, 47, 46)


def lip_gap(points: Float[Tensor, "T K 3"]) -> Float[Tensor, "T"]:
    """Height between the middles of the inner lips, cm."""
    upper, lower = INNER_LIP_CENTRES if points.shape[1] == 478 else (62, 66)
    return points[:, upper, 1] - points[:, lower, 1]


def eye_opening(points: Float[Tensor, "T K 3"]) -> Float[Tensor, "T 2"]:
    """Mean height between the lids of the right and the left eye, cm."""
    upper, lower = eyelid_pairs(points.shape[1])
    gap = points[:, list(upper), 1] - points[:, list(lower), 1]
    return gap.reshape(points.shape[0], 2, -1).mean(2)


def upper_face(neutral: Float[Tensor, "K 3"]) -> Float[Tensor, "K"]:
    """How far each landmark belongs to eyes, brows and forehead: 1 there, 0 from the nostrils down, smooth between."""
    dense = neutral.shape[0] == 478
    corners = list(OUTER_EYE_CORNERS) if dense else [36, 45]
    lids = list(eyelid_pairs(neutral.shape[0])[1])
    mouth = list(LIPS_OUTER[:11:10]) if dense else [48, 54]
    eye_y, mouth_y = neutral[corners, 1].mean(), neutral[mouth, 1].mean()
    top = torch.minimum(neutral[lids, 1].min(), eye_y) - 0.02 * (eye_y - mouth_y)
    bottom = eye_y + 0.55 * (mouth_y - eye_y)
    t = ((neutral[:, 1] - bottom) / (top - bottom)).clamp(0, 1)
    return t * t * (3 - 2 * t)


@dataclass(frozen=True, slots=True)
class ExpressionBasis:
    """Principal components of displacement from a neutral face.

    Attributes:
        neutral: The neutral face, cm.
        mean: Mean displacement, cm.
        components: Orthonormal rows in the weighted space, already divided by the weights: `decode` needs no weights.
        readout: What `encode` multiplies by: weights times orthonormal rows.
        scale: Standard deviation of each coefficient.
    """

    neutral: Float[Tensor, "K 3"]
    mean: Float[Tensor, "K 3"]
    components: Float[Tensor, "C K 3"]
    readout: Float[Tensor, "C K 3"]
    scale: Float[Tensor, "C"]

    def __post_init__(self) -> None:
        check_shapes(self)

    @classmethod
    def fit(
        cls, points: Float[Tensor, "T K 3"], neutral: Float[Tensor, "K 3"], weight: Float[Tensor, "K"], rank: int
    ) -> ExpressionBasis:
        """Fits to tracked faces.

        Args:
            points: Faces in head space, cm.
            neutral: The person's neutral face.
            weight: Importance of each landmark, positive.
            rank: Most components to keep.
        """
        moved = (points - neutral).double()
        mean = moved.mean(0)
        w = weight.double()[:, None].expand_as(neutral)
        _, sigma, rows = torch.linalg.svd(((moved - mean) * w).flatten(1), full_matrices=False)
        rank = min(rank, rows.shape[0])
        rows = rows[:rank].reshape(rank, *neutral.shape)
        scale = (sigma[:rank] / max(1, points.shape[0] - 1) ** 0.5).clamp_min(1e-4)
        return cls(neutral.float(), mean.float(), (rows / w).float(), (rows * w).float(), scale.float())

    def encode(self, points: Float[Tensor, "T K 3"]) -> Float[Tensor, "T C"]:
        """Coefficients, each in units of its standard deviation."""
        return torch.einsum("tkc,rkc->tr", points - self.neutral - self.mean, self.readout) / self.scale

    def decode(self, coefficients: Float[Tensor, "T C"]) -> Float[Tensor, "T K 3"]:
        """Faces of coefficients."""
        return self.neutral + self.mean + torch.einsum("tr,rkc->tkc", coefficients * self.scale, self.components)

    def tensors(self, prefix: str = "basis.") -> dict[str, Tensor]:
        """Named tensors for a checkpoint."""
        return {prefix + name: getattr(self, name).contiguous() for name in self.__dataclass_fields__}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], prefix: str = "basis.") -> ExpressionBasis:
        """The basis of a checkpoint."""
        return cls(**{name: tensors[prefix + name] for name in cls.__dataclass_fields__})
