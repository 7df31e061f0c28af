"""Teaching the emotion branch: where a face of speech should go at a valence and arousal.

The paper (EmoTalkingGaussian §2.2) learns from pictures of a generator that edits faces. Its weights cannot be had, so
the teacher here is RealTalk's own emotion stage: it deforms the landmarks of a filmed frame, lips kept in sync, and the
head posed by those is what the head posed by the filmed landmarks must become by its emotion branch alone. A generator
of pictures can teach in its place (`realtalk_core.stages.FaceGenerator`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from realtalk_core.errors import UserError
from realtalk_core.training.data import TrainingData
from realtalk_gaussian.config import GaussianConfig
from realtalk_gaussian.head import Head
from realtalk_gaussian.teachers import PICTURE_TERMS, SPEECH, LandmarkTeacher, PictureTeacher, Scene, Teacher

GAUSSIANS = 1024
"""How many Gaussians of the larger cloud a frame's places are compared for in one step: many emotions of a few teach
more than few emotions of all."""
BLUR_DEGREES = 8.0
"""Spread of the angle that a teacher is told about the one the branch is told: labels that lie side by side on the
circle (anger and fear are 6 degrees apart and lower or raise the brows) blend instead of flipping."""


def drawn_va(count: int, generator: torch.Generator) -> Float[Tensor, "F 2"]:
    """Points spread evenly over the disc of radius 1, their directions as far apart as can be."""
    angle = (torch.arange(count) + torch.rand(count, generator=generator)) / count * math.tau
    angle = angle + math.tau * torch.rand((), generator=generator)
    radius = torch.rand(count, generator=generator).sqrt()
    return torch.stack((radius * angle.cos(), radius * angle.sin()), 1)


def blurred(va: Float[Tensor, "F 2"], generator: torch.Generator) -> Float[Tensor, "F 2"]:
    """The same points turned about neutral by `BLUR_DEGREES` or so."""
    turn = math.radians(BLUR_DEGREES) * torch.randn(len(va), generator=generator)
    (v, a), (c, s) = va.unbind(1), (turn.cos(), turn.sin())
    return torch.stack((c * v - s * a, s * v + c * a), 1)


class Distiller:
    """What the emotion share of a training adds to a step.

    Args:
        teacher: Who says what a face becomes.
    """

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher

    @classmethod
    def of(cls, config: GaussianConfig, data: TrainingData, head: Head) -> Distiller | None:
        """The distiller of a training; None if there is no emotion branch.

        Raises:
            UserError: if there is one and the data lacks its teacher.
        """
        if config.emotion != "branch":
            return None
        if config.teacher != "landmarks":
            if data.faces is None:
                raise UserError(
                    f"renderer gaussian: no generator of faces {config.teacher!r} to teach the emotion branch",
                    "Install the plugin that has it, or leave out renderer.teacher.",
                )
            if not any(config.losses["emotion"].get(name) for name in PICTURE_TERMS):
                raise UserError(
                    f"renderer.losses: emotion weighs none of {', '.join(PICTURE_TERMS)}, all that pictures can teach",
                    "Give one of them a weight, or leave out renderer.teacher.",
                )
            return cls(PictureTeacher(data.faces, data.capture, config.size))
        if data.deformer is None:
            raise UserError(
                "renderer gaussian: its emotion branch (emotion: branch) learns from the avatar's emotion stage, which "
                "has not been trained",
                "Train it first: realtalk train CAPTURE -o AVATAR --stage emotion",
            )
        return cls(LandmarkTeacher.of(data.deformer, data, head))

    def batch(self, frames: Int64[Tensor, "F"], generator: torch.Generator) -> dict[str, Tensor]:
        """A step's emotions of each of its frames of the capture, `F E …`: `va`, and the `lesson.…`; and `draws`."""
        count, emotions = len(frames), self.teacher.emotions
        va = drawn_va(count * emotions, generator)
        lesson = self.teacher.lesson(frames.repeat(emotions), blurred(va, generator))
        rows = {"va": va, **{f"lesson.{name}": value for name, value in lesson.items()}}
        # Neighbours on the circle go to different frames.
        found = {name: value.unflatten(0, (emotions, count)).transpose(0, 1) for name, value in rows.items()}
        return found | {"draws": torch.rand(count, GAUSSIANS, generator=generator)}

    def terms(
        self, scene: Scene, batch: Mapping[str, Tensor], k: int, step: int, weights: Mapping[str, float]
    ) -> dict[str, Tensor]:
        """Unweighted losses of the k-th frame of a batch, differentiable in what of the head may learn.

        Places are compared for some of the Gaussians, drawn anew in every step, pictures for one emotion.

        Args:
            scene: The frame.
            batch: From `batch`.
            k: Which frame of it.
            step: Of the training.
            weights: The loss table's row `emotion`.
        """
        lessons = {name.removeprefix("lesson."): v[k] for name, v in batch.items() if name.startswith("lesson.")}
        va, some, emotions = batch["va"][k], scene.some(batch["draws"][k]), self.teacher.emotions
        found: dict[str, Tensor] = {}
        for e in range(emotions):
            lesson = {name: value[e] for name, value in lessons.items()}
            for name, value in self.teacher.geometry(some, va[e], lesson, weights).items():
                found[name] = found.get(name, 0) + value / emotions
        if step % self.teacher.picture_every == 0 or not found:
            found |= self.teacher.pictures(scene, va[0], {name: value[0] for name, value in lessons.items()}, weights)
        return found


__all__ = ["SPEECH", "Distiller", "Scene"]
