"""What inference needs to know of one person: neutral face, ranges, poses, eyes, blendshapes.

A `Person` is taken from a capture once, travels inside the avatar, and is enough to finish generated motion
(`realtalk_core.motion`) without the capture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from realtalk_core.capture import Capture
from realtalk_core.errors import UserError
from realtalk_core.expression import lower_indices, upper_indices
from realtalk_core.shapes import check_shapes
from realtalk_core.types import CameraTrack, Scheme

UPPER_SCORES: tuple[int, ...] = (*range(1, 6), *range(7, 23))
"""Blendshapes of brows, eyes and the cheeks' squint; they are regressed from the upper face alone."""
LOWER_SCORES: tuple[int, ...] = (6, *range(23, 52))
"""The other blendshapes but MediaPipe's `_neutral`."""

JUMP_DEGREES = 6.0
JUMP_CM = 2.0
"""A head that turns or moves further than this within one frame has been cut, not moved."""

RIDGE = 1e-2
BANK_MAX = 2000


@dataclass(frozen=True, slots=True)
class Person:
    """One person's tracks, all in head space (cm) and at the capture's frame rate.

    Attributes:
        neutral: Neutral face.
        landmarks: Tracked faces of every frame; rows without a face are interpolated.
        bank: Frames that ranges, the nearest-face projection and the regressor are taken from (training frames only).
        poses: Camera-to-head of every frame.
        intrinsics: Of the square picture of `side` pixels.
        blendshapes: Tracked scores of every frame.
        score_weights: `score = bias + (landmarks - neutral) . weights`, a ridge regression on the bank.
        score_bias: See above.
        spans: First and one-past-last frame of each stretch without a cut and with a face throughout.
        rate: Frames per second, as a tensor of one number.
        side: Side of the pictures in pixels, as a tensor of one number.
    """

    neutral: Float[Tensor, "K 3"]
    landmarks: Float[Tensor, "N K 3"]
    bank: Int[Tensor, "B"]
    poses: Float[Tensor, "N 4 4"]
    intrinsics: Float[Tensor, "3 3"]
    blendshapes: Float[Tensor, "N 52"]
    score_weights: Float[Tensor, "K 3 52"]
    score_bias: Float[Tensor, "52"]
    spans: Int[Tensor, "S 2"]
    rate: Float[Tensor, "1"]
    side: Int[Tensor, "1"]

    def __post_init__(self) -> None:
        check_shapes(self)

    def __len__(self) -> int:
        return self.landmarks.shape[0]

    @property
    def scheme(self) -> Scheme:
        """Landmark scheme of the tracks."""
        return "mediapipe478" if self.neutral.shape[0] == 478 else "ibug68"

    @property
    def fps(self) -> float:
        """Frames per second of the tracks."""
        return float(self.rate)

    @property
    def size(self) -> int:
        """Side of the square pictures in pixels."""
        return int(self.side)

    @property
    def cameras(self) -> CameraTrack:
        """The camera of every frame at the capture's size."""
        return CameraTrack(self.poses, self.intrinsics, self.size, self.size)

    @classmethod
    def from_capture(cls, capture: Capture, train: Tensor) -> Person:
        """Takes a person from a capture.

        Args:
            capture: The opened capture.
            train: Indices of frames that ranges and the regressor may be learnt from.

        Raises:
            UserError: if no frame of `train` shows a face.
        """
        tracks = capture.tracks
        train = train[tracks.valid[train]]
        if train.numel() == 0:
            raise UserError(
                f"{capture.path}: no frame to learn the person's face from", "Capture a video in which a face is seen."
            )
        step = max(1, -(-train.numel() // BANK_MAX))
        bank = train[::step].contiguous()
        weights, bias = fit_scores(tracks.landmarks[train] - tracks.neutral, tracks.blendshapes[train])
        return cls(
            neutral=tracks.neutral.float(),
            landmarks=tracks.landmarks.float(),
            bank=bank.long(),
            poses=tracks.pose.float(),
            intrinsics=tracks.intrinsics.float(),
            blendshapes=tracks.blendshapes.float(),
            score_weights=weights,
            score_bias=bias,
            spans=stretches(tracks.pose, tracks.valid),
            rate=torch.tensor([capture.fps]),
            side=torch.tensor([capture.size]),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Named tensors for a checkpoint."""
        return {f.name: getattr(self, f.name).contiguous() for f in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Person:
        """The person of a checkpoint.

        Raises:
            UserError: if a tensor is missing.
        """
        missing = [f.name for f in fields(cls) if f.name not in tensors]
        if missing:
            raise UserError(
                f"the person's file lacks {', '.join(missing)}", "It is damaged or not ours; train the avatar again."
            )
        return cls(**{f.name: tensors[f.name] for f in fields(cls)})

    def scores(self, landmarks: Float[Tensor, "T K 3"]) -> Float[Tensor, "T 52"]:
        """Regressed blendshape scores, not clipped."""
        return torch.einsum("tkc,kcs->ts", landmarks - self.neutral, self.score_weights) + self.score_bias

    def quantiles(self, low: float) -> tuple[Float[Tensor, "K 3"], Float[Tensor, "K 3"]]:
        """Per-coordinate range of the bank: its `low` and `1 - low` quantiles."""
        ordered = self.landmarks[self.bank].sort(0).values
        last = ordered.shape[0] - 1
        return ordered[round(low * last)], ordered[round((1 - low) * last)]

    def driven_by(self, other: Person) -> Person:
        """This person with the head motion, brows, eyes and blendshapes of another capture.

        Head turns are taken relative to each person's middle pose; sideways motion in centimetres, motion in depth in
        proportion to the distance. The eyes' and brows' displacements from the other's neutral face are scaled by the
        two faces' sizes. Ranges and regressor stay this person's; the result has the other's frames, so the pictures
        behind the head cannot be this capture's frames.

        Raises:
            UserError: if the two captures differ in landmark scheme.
        """
        if other.scheme != self.scheme:
            raise UserError(
                f"the capture for poses has {other.scheme} landmarks, the avatar {self.scheme}",
                "Make both captures with the same tracker.",
            )
        mine = self.landmarks[self.bank]
        scale = face_size(self.neutral) / face_size(other.neutral)
        moved = self.neutral + (other.landmarks - other.neutral) * scale
        own_scores, other_scores = (p.blendshapes[p.bank].median(0).values for p in (self, other))
        return replace(
            self,
            landmarks=torch.cat([moved, mine]),
            bank=torch.arange(len(other), len(other) + mine.shape[0]),
            poses=torch.cat([retarget(self.poses, other.poses), self.poses[self.bank]]),
            blendshapes=torch.cat(
                [(other.blendshapes - other_scores + own_scores).clamp(0, 1), self.blendshapes[self.bank]]
            ),
            spans=other.spans,
            rate=other.rate,
        )


def face_size(neutral: Float[Tensor, "K 3"]) -> Tensor:
    """Root-mean-square distance of the landmarks from their centre, cm."""
    size: Tensor = (neutral - neutral.mean(0)).norm(dim=-1).square().mean().sqrt()
    return size


def stretches(pose: Float[Tensor, "T 4 4"], valid: Bool[Tensor, "T"]) -> Int[Tensor, "S 2"]:
    """First and one-past-last frame of each stretch with a face and without a cut, in time order.

    >>> stretches(torch.eye(4).expand(5, 4, 4), torch.tensor([True, True, False, True, True])).tolist()
    [[0, 2], [3, 5]]
    """
    rotation, centre = pose[:, :3, :3].double(), pose[:, :3, 3].double()
    turn = (rotation[1:].transpose(1, 2) @ rotation[:-1]).diagonal(dim1=1, dim2=2).sum(1)
    degrees = ((turn - 1) / 2).clamp(-1, 1).acos().rad2deg()
    head = -(rotation.transpose(1, 2) @ centre[..., None])[..., 0]
    cut = (degrees > JUMP_DEGREES) | ((head[1:] - head[:-1]).norm(dim=1) > JUMP_CM)
    found, first = [], None
    for frame in range(valid.shape[0]):
        if first is not None and (not valid[frame] or cut[frame - 1]):
            found.append((first, frame))
            first = None
        if first is None and valid[frame]:
            first = frame
    if first is not None:
        found.append((first, valid.shape[0]))
    return torch.tensor(found, dtype=torch.long).reshape(-1, 2)


def retarget(mine: Float[Tensor, "N 4 4"], theirs: Float[Tensor, "M 4 4"]) -> Float[Tensor, "M 4 4"]:
    """Another head's motion about its middle pose, put onto this head's middle pose; camera-to-head throughout."""
    own, other = torch.linalg.inv(mine.double()), torch.linalg.inv(theirs.double())
    own_mid, other_mid = _middle(own), _middle(other)
    out = torch.eye(4, dtype=torch.float64).repeat(theirs.shape[0], 1, 1)
    out[:, :3, :3] = other[:, :3, :3] @ other_mid[:3, :3].T @ own_mid[:3, :3]
    shift = other[:, :3, 3] - other_mid[:3, 3]
    shift[:, 2] *= own_mid[2, 3] / other_mid[2, 3]
    out[:, :3, 3] = own_mid[:3, 3] + shift
    back: Tensor = torch.linalg.inv(out)
    return back.float()


def _middle(poses: Float[Tensor, "N 4 4"]) -> Float[Tensor, "4 4"]:
    mid = torch.eye(4, dtype=poses.dtype)
    u, _, vh = torch.linalg.svd(poses[:, :3, :3].mean(0))
    mid[:3, :3] = u @ torch.diag(torch.tensor([1.0, 1.0, float(torch.det(u @ vh))], dtype=poses.dtype)) @ vh
    mid[:3, 3] = poses[:, :3, 3].median(0).values
    return mid


def fit_scores(
    displacement: Float[Tensor, "T K 3"], scores: Float[Tensor, "T 52"]
) -> tuple[Float[Tensor, "K 3 52"], Float[Tensor, "52"]]:
    """Ridge regression from landmarks to blendshapes, brows and eyes apart from jaw and mouth."""
    count = displacement.shape[1]
    weights = torch.zeros(count, 3, 52)
    bias = scores.double().mean(0)
    for points, columns in ((upper_indices(count), UPPER_SCORES), (lower_indices(count), LOWER_SCORES)):
        x = displacement[:, list(points)].double().flatten(1)
        mean = x.mean(0)
        y = scores[:, list(columns)].double()
        gram = (x - mean).T @ (x - mean) / x.shape[0]
        gram += RIDGE * gram.diagonal().mean().clamp_min(1e-8) * torch.eye(x.shape[1], dtype=torch.float64)
        solved = torch.linalg.solve(gram, (x - mean).T @ (y - y.mean(0)) / x.shape[0])
        block = torch.zeros(count, 3, len(columns))
        block[list(points)] = solved.float().reshape(len(points), 3, len(columns))
        weights[:, :, list(columns)] = block
        bias[list(columns)] -= mean @ solved
    bias[0] = 0
    return weights, bias.float()
