"""Teaching the emotion branch: where a face of speech should go at a valence and arousal.

The paper (EmoTalkingGaussian §2.2) learns from pictures of a generator that edits faces. Its weights cannot be had, so
the teacher here is RealTalk's own emotion stage: it deforms the landmarks of a filmed frame, lips kept in sync, and the
head posed by those is what the head posed by the filmed landmarks must become by its emotion branch alone. A generator
of pictures can teach in its place (`realtalk_core.stages.FaceGenerator`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from realtalk_core.blink import OpenEyes
from realtalk_core.capture import Capture
from realtalk_core.emotion import weights_from_va
from realtalk_core.errors import UserError
from realtalk_core.evaluation import project
from realtalk_core.nn.conditioning import component_features, in_scheme, scheme_of, upper_scores
from realtalk_core.nn.losses import dissimilarity
from realtalk_core.nn.perceptual import Perceptual
from realtalk_core.nn.splatting import View
from realtalk_core.person import Person
from realtalk_core.stages import EmotionDeformer, FaceGenerator
from realtalk_core.training.data import TrainingData
from realtalk_core.types import Blendshapes, Drive, EmotionTrack, LandmarkTrack
from realtalk_gaussian.condition import NAME, FrameCondition
from realtalk_gaussian.config import GaussianConfig
from realtalk_gaussian.head import BRANCHES, Head, Posed, composite
from realtalk_gaussian.losses import Truth, picture_losses

PICTURE_EVERY = 4
"""Steps to one that also compares pictures: places say nearly all, and drawing is dear."""
BLUR_DEGREES = 8.0
"""Spread of the angle that a teacher is told about the one the branch is told: labels that lie side by side on the
circle (anger and fear are 6 degrees apart and raise or lower the brows) blend instead of flipping."""
MILLIMETRE = 0.1
SPEECH = BRANCHES - {"emotion"}


class Teacher(Protocol):
    """Says what a face of speech becomes at a valence and arousal."""

    def lesson(self, frames: Int64[Tensor, "F"], va: Float[Tensor, "F 2"]) -> dict[str, Tensor]:
        """What `terms` needs of these frames of the capture, each row one frame's."""
        ...

    def terms(
        self,
        scene: Scene,
        posed: Mapping[str, Posed],
        lesson: Mapping[str, Tensor],
        weights: Mapping[str, float],
        drawn: bool,
    ) -> dict[str, Tensor]:
        """Losses of one frame.

        Args:
            scene: The frame.
            posed: The head as its emotion branch has it.
            lesson: The frame's row.
            weights: Of the terms; those without are not computed.
            drawn: Whether to compare pictures as well.
        """
        ...


@dataclass(frozen=True, slots=True)
class Scene:
    """One training frame.

    Attributes:
        head: Whose.
        canonical: From `Head.canonical`.
        condition: What speech says to the branches.
        view: The camera.
        truth: The film; its labels, backdrop and patch are used.
        perceptual: The loss of patches.
    """

    head: Head
    canonical: dict[str, Tensor]
    condition: FrameCondition
    view: View
    truth: Truth
    perceptual: Perceptual


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


def emotion_track(va: Float[Tensor, "F 2"], fps: float) -> EmotionTrack:
    """A row per point."""
    weights = torch.tensor([weights_from_va(*point) for point in va.tolist()]).reshape(len(va), 8)
    return EmotionTrack(weights, va.clamp(-1, 1), fps)


@dataclass(frozen=True)
class LandmarkTeacher:
    """The avatar's emotion stage: what the landmarks of speech become, as `emotion: landmarks` would be posed by them.

    The emotion is added as in synthesis: whole, but for the lids of an eye that is shut.

    Attributes:
        deformer: The emotion stage.
        landmarks: The capture's.
        person: Whose blendshapes go with which landmarks.
        eyes: What shut eyes take.
        config: Which blendshapes are listened to.
        head: Whose basis and scheme.
    """

    deformer: EmotionDeformer
    landmarks: LandmarkTrack
    person: Person
    eyes: OpenEyes
    config: GaussianConfig
    head: Head

    @classmethod
    def of(cls, deformer: EmotionDeformer, config: GaussianConfig, data: TrainingData, head: Head) -> LandmarkTeacher:
        """For a capture."""
        person = Person.from_capture(data.capture, data.train)
        eyes = OpenEyes.of(person.neutral, person.landmarks[person.bank])
        return cls(deformer, data.capture.landmarks, person, eyes, config, head)

    @torch.no_grad()
    def faces(self, frames: Int64[Tensor, "F"], va: Float[Tensor, "F 2"]) -> tuple[LandmarkTrack, Blendshapes]:
        """Landmarks and blendshapes of these frames, each with its emotion."""
        track = LandmarkTrack(self.landmarks.points[frames].float(), self.landmarks.scheme, self.landmarks.fps)
        change = self.deformer.deform(track, emotion_track(va, track.fps)).points - track.points
        points = track.points + change * self.eyes.take(track.points)
        moved = self.person.scores(points) - self.person.scores(track.points)
        scores = (self.person.blendshapes[frames] + moved).clamp(0, 1)
        return LandmarkTrack(points, track.scheme, track.fps), Blendshapes(scores)

    def lesson(self, frames: Int64[Tensor, "F"], va: Float[Tensor, "F 2"]) -> dict[str, Tensor]:
        """Emotional landmarks, their components and the blendshapes that go with them; see `Teacher`."""
        landmarks, scores = self.faces(frames, va)
        drive, basis = Drive(landmarks, blendshapes=scores), self.head.basis
        return {
            "points": in_scheme(landmarks, scheme_of(basis), NAME).points,
            "landmarks": component_features(drive, basis, NAME)[:, : 0 if self.config.condition == "audio" else None],
            "scores": upper_scores(drive, self.config.blendshapes, NAME),
        }

    def terms(
        self,
        scene: Scene,
        posed: Mapping[str, Posed],
        lesson: Mapping[str, Tensor],
        weights: Mapping[str, float],
        drawn: bool,
    ) -> dict[str, Tensor]:
        """Places, shapes and pictures against the head posed by emotional landmarks; see `Teacher`."""
        head, device = scene.head, scene.head.device
        with torch.no_grad():
            told = FrameCondition(
                lesson["landmarks"], lesson["scores"], scene.condition.audio, torch.zeros_like(scene.condition.va)
            ).to(device)
            wanted = head.pose(scene.canonical, told, head.motion(lesson["points"]), SPEECH)
        terms: dict[str, Tensor] = {}
        if weights.get("means"):
            terms["means"] = places_apart(posed, wanted)
        if weights.get("covariances"):
            terms["covariances"] = shapes_apart(posed["face"], wanted["face"])
        if drawn and any(weights.get(name) for name in ("l1", "dssim", "lpips")):
            colour, alpha = composite(head.draw(dict(posed), scene.view, joined=True, threads=1))
            with torch.no_grad():
                taught = composite(head.draw(wanted, scene.view, joined=True, threads=1))
            truth = Truth(*taught, scene.truth.label, scene.truth.backdrop, scene.truth.patch)
            shown = {name: weight for name, weight in weights.items() if name != "alpha"}
            terms |= picture_losses(shown, colour, alpha, truth, scene.perceptual)
        return terms


@dataclass(frozen=True)
class PictureTeacher:
    """A generator of emotional pictures, as in the paper: filmed frames edited on the fly.

    Attributes:
        generator: Edits pictures.
        capture: Where they come from.
        size: Side of the pictures.
    """

    generator: FaceGenerator
    capture: Capture
    size: int

    @torch.no_grad()
    def lesson(self, frames: Int64[Tensor, "F"], va: Float[Tensor, "F 2"]) -> dict[str, Tensor]:
        """Edited pictures and how far each pixel is to be learnt from; see `Teacher`.

        Raises:
            ValueError: if the generator gives pictures or masks of another size.
        """
        film = torch.stack([torch.from_numpy(self.capture.frame(int(k), self.size)) for k in frames]).float() / 255
        landmarks = self.capture.landmarks
        track = LandmarkTrack(landmarks.points[frames].float(), landmarks.scheme, landmarks.fps)
        cameras = self.capture.cameras.resized(self.size, self.size)
        cameras = type(cameras)(cameras.pose[frames], cameras.intrinsics, self.size, self.size)
        pictures, mask = self.generator.edit(film, project(track, cameras), emotion_track(va, track.fps))
        if pictures.shape != film.shape or mask.shape != film.shape[:3]:
            raise ValueError(
                f"{type(self.generator).__name__}.edit: expected {tuple(film.shape)} and {tuple(film.shape[:3])}, "
                f"got {tuple(pictures.shape)} and {tuple(mask.shape)}"
            )
        return {"pictures": pictures.clamp(0, 1), "mask": mask.clamp(0, 1)}

    def terms(
        self,
        scene: Scene,
        posed: Mapping[str, Posed],
        lesson: Mapping[str, Tensor],
        weights: Mapping[str, float],
        drawn: bool,
    ) -> dict[str, Tensor]:
        """The drawn head against the edited picture where that is to be learnt from; see `Teacher`.

        Pictures are all it has: they are compared at every step, whatever `drawn` says.
        """
        colour, alpha = composite(scene.head.draw(dict(posed), scene.view, joined=True, threads=1))
        wanted, mask = lesson["pictures"].to(colour.device), lesson["mask"].to(colour.device)[..., None]
        image = wanted + mask * (colour + (1 - alpha[..., None]) * wanted - wanted)
        terms: dict[str, Tensor] = {}
        if weights.get("l1"):
            terms["l1"] = (image - wanted).abs().sum() / (3 * mask.sum()).clamp_min(1.0)
        if weights.get("dssim"):
            terms["dssim"] = dissimilarity(image, wanted)
        if weights.get("lpips"):
            top, left, side = scene.truth.patch
            a, b = (x[top : top + side, left : left + side].permute(2, 0, 1)[None] for x in (image, wanted))
            terms["lpips"] = scene.perceptual(a, b)
        return terms


def places_apart(posed: Mapping[str, Posed], wanted: Mapping[str, Posed]) -> Float[Tensor, ""]:
    """Mean squared distance of the Gaussians' centres in square millimetres, each as much as it is opaque."""
    total = weight = torch.zeros(())
    for name, teacher in wanted.items():
        apart = ((posed[name].means - teacher.means) / MILLIMETRE).square().sum(1)
        total = total + (teacher.opacities * apart).sum()
        weight = weight + teacher.opacities.sum()
    return total / weight.clamp_min(1e-6)


def shapes_apart(posed: Posed, wanted: Posed) -> Float[Tensor, ""]:
    """Mean squared difference of covariances relative to the teacher's size, each Gaussian as much as it is opaque."""
    mine, theirs = posed.covariances(), wanted.covariances()
    size = theirs[:, [0, 3, 5]].sum(1, keepdim=True).clamp_min(1e-9)
    apart = (((mine - theirs) / size).square() * mine.new_tensor([1, 2, 2, 1, 2, 1])).sum(1)
    return (wanted.opacities * apart).sum() / wanted.opacities.sum().clamp_min(1e-6)


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
            return cls(PictureTeacher(data.faces, data.capture, config.size))
        if data.deformer is None:
            raise UserError(
                "renderer gaussian: its emotion branch (emotion: branch) learns from the avatar's emotion stage, which "
                "has not been trained",
                "Train it first: realtalk train CAPTURE -o AVATAR --stage emotion",
            )
        return cls(LandmarkTeacher.of(data.deformer, config, data, head))

    def batch(self, frames: Int64[Tensor, "F"], generator: torch.Generator) -> dict[str, Tensor]:
        """Valence and arousal (`va`) and the lessons (`lesson.…`) of a step's frames of the capture."""
        va = drawn_va(len(frames), generator)
        lesson = self.teacher.lesson(frames, blurred(va, generator))
        return {"va": va, **{f"lesson.{name}": value for name, value in lesson.items()}}

    def terms(
        self, scene: Scene, points: Float[Tensor, "K 3"], batch: Mapping[str, Tensor], k: int, step: int,
        weights: Mapping[str, float],
    ) -> dict[str, Tensor]:  # fmt: skip
        """Unweighted losses of the k-th frame of a batch, differentiable in what of the head may learn.

        Args:
            scene: The frame.
            points: Its landmarks.
            batch: From `batch`.
            k: Which frame of it.
            step: Of the training.
            weights: The loss table's row `emotion`.
        """
        condition = scene.condition
        told = FrameCondition(condition.landmarks, condition.scores, condition.audio, batch["va"][k].to(condition.va))
        posed = scene.head.pose(scene.canonical, told, scene.head.motion(points))
        lesson = {name.removeprefix("lesson."): v[k] for name, v in batch.items() if name.startswith("lesson.")}
        return self.teacher.terms(scene, posed, lesson, weights, step % PICTURE_EVERY == 0)
