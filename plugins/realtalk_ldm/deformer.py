"""The `ldm` emotion deformer: learns a person's emotional displacements, adds them to landmarks of neutral speech."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from jaxtyping import Float
from torch import Tensor

from realtalk_core.emotion import LABELS, NEUTRAL
from realtalk_core.errors import UserError
from realtalk_core.expression import inner_lip_pairs
from realtalk_core.landmarks import IBUG68_FROM_MEDIAPIPE478
from realtalk_core.types import EmotionTrack, LandmarkTrack
from realtalk_ldm.lips import LipGuard
from realtalk_ldm.network import DeformationNetwork
from realtalk_ldm.prior import Prior, label_indices
from realtalk_ldm.shipped import chosen

if TYPE_CHECKING:
    from realtalk_core.training.data import TrainingData
    from realtalk_ldm import LdmConfig

EXAMPLES = 512
"""Faces whose emotional displacements the components are taken from."""
CONTACT_WEIGHT = 0.5


class LdmDeformer:
    """Landmarks of neutral speech to emotional ones: `l + δ · Σ wₑ Δₑ(l)`, neutral left out.

    Each frame is deformed by itself, so chunks need no context.

    Attributes:
        total_steps: Training steps.
        gradient_clip: Largest norm of the gradient.
        remarks: What the user should know before training.
    """

    gradient_clip = 1.0

    def __init__(self, config: LdmConfig, tensors: Mapping[str, Tensor]) -> None:
        self.config, self.total_steps = config, config.steps
        self.mean, self.std = tensors["faces.mean"], tensors["faces.std"]
        self.components, self.centre = tensors["components"], tensors["centre"]
        self.lips = LipGuard(float(tensors["lips.full"]), tensors["lips.follow"])
        self.net = DeformationNetwork(config, self.components.shape[0])
        weights = {k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")}
        if weights:
            self.net.load_state_dict(weights)
        self.net.eval()
        self.remarks: tuple[str, ...] = ()

    @classmethod
    def from_state(cls, config: LdmConfig, tensors: Mapping[str, Tensor]) -> Self:
        """A trained deformer."""
        return cls(config, tensors)

    def state(self) -> dict[str, Tensor]:
        """Weights, components of displacement, the person's ranges."""
        return {
            **self.training_state(),
            "faces.mean": self.mean,
            "faces.std": self.std,
            "components": self.components,
            "centre": self.centre,
            "lips.full": torch.tensor([self.lips.full]),
            "lips.follow": self.lips.follow,
        }

    # ---- inference --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def deform(self, landmarks: LandmarkTrack, emotion: EmotionTrack) -> LandmarkTrack:
        """Adds emotion.

        A label's effect grows in proportion to its weight; a mixture adds the labels' effects. Where all weight is on
        neutral the result is the input itself, number for number.

        Args:
            landmarks: Of the scheme trained on.
            emotion: One row per frame.

        Raises:
            UserError: if the landmarks are of another scheme than the deformer was trained on.
        """
        points = landmarks.points
        if points.shape[1] != self.components.shape[1]:
            raise UserError(
                f"ldm: trained on faces of {self.components.shape[1]} landmarks, got {points.shape[1]}",
                "Train the emotion stage on this capture: realtalk train CAPTURE -o AVATAR --stage emotion",
            )
        weights = emotion.weights.clone()
        weights[:, NEUTRAL] = 0
        frame, label = torch.nonzero(weights, as_tuple=True)
        if frame.numel() == 0:
            return landmarks
        self.net.eval()
        faces = self._normal(points)
        found = self.net(faces[frame], label) * weights[frame, label][:, None]
        summed = found.new_zeros(len(points), found.shape[1]).index_add_(0, frame, found)
        centre = (weights @ self.centre.flatten(1)).view_as(points)
        move = self.config.delta * (centre + torch.einsum("nr,rkc->nkc", summed, self.components))
        if self.config.protect_mouth:
            move = self.lips.protect(points, move, self.config.protect_mouth)
        moved = (weights.sum(1) > 0)[:, None, None]
        return LandmarkTrack(torch.where(moved, points + move, points), landmarks.scheme, landmarks.fps)

    def _normal(self, points: Float[Tensor, "N K 3"]) -> Float[Tensor, "N 68 3"]:
        sparse = points[:, list(IBUG68_FROM_MEDIAPIPE478)] if points.shape[1] == 478 else points
        return (sparse - self.mean) / self.std

    # ---- training ---------------------------------------------------------------------------------------------------

    @classmethod
    def for_training(cls, config: LdmConfig, data: TrainingData) -> Self:
        """A deformer fitted to the person's face: the learnt prior's, or a fresh one that learns from action units.

        Raises:
            UserError: if the prior asked for cannot be read.
        """
        faces = data.capture.tracks.landmarks[data.train].float()
        prior = Prior.of(data.capture.tracks.neutral.float())
        shipped, remark = chosen(config)
        if shipped is not None:
            lips = {"lips.full": torch.tensor([prior.lips.full]), "lips.follow": prior.lips.follow}
            made = cls(config, {**shipped.fitted(prior.units.neutral, prior.units.scale), **lips})
            made.total_steps = 0
        else:
            made = cls._to_learn(config, data, faces, prior)
        made.remarks = (remark,)
        made._faces, made._prior = faces, prior
        made._begin()
        return made

    @classmethod
    def _to_learn(cls, config: LdmConfig, data: TrainingData, faces: Tensor, prior: Prior) -> Self:
        """With random weights, and components of what the action units do to this face."""
        random = data.generator(0, salt=41)
        some = faces[torch.randint(len(faces), (EXAMPLES,), generator=random)]
        labels = label_indices(EXAMPLES, random)
        moves = prior.displacement(some, labels)
        centre = torch.stack(
            [moves[labels == k].mean(0) if (labels == k).any() else moves[0] * 0 for k in range(len(LABELS))]
        )
        away = (prior.pairs(some, labels, config.variety, random)[1] - centre[labels]).flatten(1)
        _, sigma, rows = torch.linalg.svd(away, full_matrices=False)
        rank = min(config.components, rows.shape[0])
        rows = rows[:rank] * (sigma[:rank, None] / EXAMPLES**0.5).clamp_min(1e-4)
        sparse = faces[:, list(IBUG68_FROM_MEDIAPIPE478)] if faces.shape[1] == 478 else faces
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(data.seed)
            return cls(
                config,
                {
                    "faces.mean": sparse.mean(0),
                    "faces.std": torch.full((3,), 0.2 * prior.units.scale),
                    "components": rows.reshape(rank, *faces.shape[1:]).contiguous(),
                    "centre": centre,
                    "lips.full": torch.tensor([prior.lips.full]),
                    "lips.follow": prior.lips.follow,
                },
            )

    def _begin(self) -> None:
        self._optimizer = torch.optim.Adam(self.net.parameters(), lr=self.config.learning_rate, betas=(0.9, 0.999))
        self._set_rate(0)

    def batch(self, data: TrainingData, step: int) -> dict[str, Tensor]:
        """Frames of speech, a label each, and what the prior does to them."""
        random = data.generator(step, salt=43)
        picked = self._faces[torch.randint(len(self._faces), (self.config.batch,), generator=random)]
        labels = label_indices(self.config.batch, random)
        faces, moves = self._prior.pairs(picked, labels, self.config.variety, random)
        return {"faces": faces, "labels": labels, "moves": moves}

    def training_step(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:
        """Squared error of the displacement, and of the change it makes to the gap between the lips."""
        self.net.train()
        faces, labels, moves = batch["faces"], batch["labels"], batch["moves"]
        found = self.net(self._normal(faces), labels)
        got = self.centre[labels] + torch.einsum("nr,rkc->nkc", found, self.components)
        if "amount" in batch:
            got = got * batch["amount"][:, None, None]
        unit = (0.5 * self.std.mean()) ** 2  # a millimetre on a face of standard size
        error = (got - moves).square().sum(2).mean() / unit
        upper, lower = (list(side) for side in inner_lip_pairs(faces.shape[1]))
        part = (got - moves)[:, upper, 1] - (got - moves)[:, lower, 1]
        contact = part.square().mean() / unit
        return {"loss": error + CONTACT_WEIGHT * contact, "error": error.detach(), "contact": contact.detach()}

    def optimizers(self) -> Sequence[torch.optim.Optimizer]:
        """Adam over all weights."""
        return [self._optimizer]

    def after_step(self, step: int) -> None:
        """Moves the learning rate."""
        self._set_rate(step + 1)

    def _set_rate(self, step: int) -> None:
        total = max(1, self.total_steps)
        warm = min(1.0, (step + 1) / max(1, min(50, total // 10)))
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))
        for group in self._optimizer.param_groups:
            group["lr"] = self.config.learning_rate * warm * (0.02 + 0.98 * cosine)

    def training_state(self) -> dict[str, Tensor]:
        """Raw weights and batch statistics."""
        return {f"net.{name}": value.detach().clone() for name, value in self.net.state_dict().items()}

    def load_training_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts `training_state` back."""
        self.net.load_state_dict({k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")})
