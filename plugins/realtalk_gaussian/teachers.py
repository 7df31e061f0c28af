"""Who teaches the emotion branch: landmarks with emotion, or edited pictures; and what is compared (ADR 0095)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from realtalk_core.blink import OpenEyes
from realtalk_core.capture import Capture
from realtalk_core.emotion import va_track
from realtalk_core.evaluation import project
from realtalk_core.nn.conditioning import in_scheme, scheme_of
from realtalk_core.nn.forward_warp import ForwardWarp
from realtalk_core.nn.losses import dissimilarity
from realtalk_core.nn.perceptual import Perceptual
from realtalk_core.nn.splatting import View
from realtalk_core.nn.warp import Warper
from realtalk_core.stages import EmotionDeformer, FaceGenerator
from realtalk_core.training.data import TrainingData
from realtalk_core.types import LandmarkTrack, Scheme
from realtalk_gaussian.condition import NAME, FrameCondition
from realtalk_gaussian.head import BRANCHES, LAYERS, Head, Posed, composite
from realtalk_gaussian.losses import Truth, picture_losses

MILLIMETRE = 0.1
PICTURE_TERMS = ("l1", "dssim", "lpips")
SPEECH = BRANCHES - {"emotion"}


@dataclass(frozen=True, slots=True)
class Scene:
    """One training frame.

    Attributes:
        head: Whose.
        canonical: From `Head.canonical`; maybe of some of the Gaussians.
        condition: What speech says to the branches.
        points: Its landmarks.
        view: The camera.
        truth: The film; its labels, backdrop and patch are used.
        perceptual: The loss of patches.
    """

    head: Head
    canonical: dict[str, Tensor]
    condition: FrameCondition
    points: Float[Tensor, "K 3"]
    view: View
    truth: Truth
    perceptual: Perceptual

    def posed(self, va: Float[Tensor, "2"]) -> dict[str, Posed]:
        """The head of this frame's speech with an emotion of the emotion branch."""
        told = replace(self.condition, va=va.to(self.condition.va))
        return self.head.pose(self.canonical, told, self.head.motion(self.points))

    def some(self, draws: Float[Tensor, "S"]) -> Scene:
        """The same of some Gaussians, each named by a number in [0, 1); of smaller clouds proportionally fewer."""
        counts = {cloud: len(self.canonical[f"{cloud}.means"]) for cloud in LAYERS}
        index = {}
        for cloud, count in counts.items():
            mine = draws[: -(-len(draws) * count // max(counts.values()))]
            index[cloud] = (mine.to(self.head.device) * count).long()
        found = {}
        for name, value in self.canonical.items():
            owner = name.partition(".")[0]
            cloud = owner.removesuffix("_branch")
            last = owner != cloud and value.shape[-1] == counts[cloud]  # what a branch knows has a column for each
            found[name] = value.index_select(value.ndim - 1 if last else 0, index[cloud])
        return replace(self, canonical=found)


class Teacher(Protocol):
    """Says what a face of speech becomes at a valence and arousal.

    Attributes:
        emotions: How many emotions of a frame it teaches in one step.
        picture_every: Steps to one that compares pictures.
    """

    emotions: ClassVar[int]
    picture_every: ClassVar[int]

    def lesson(self, frames: Int64[Tensor, "F"], va: Float[Tensor, "F 2"]) -> dict[str, Tensor]:
        """What the losses need of these frames of the capture, a row for each."""
        ...

    def geometry(
        self, scene: Scene, va: Float[Tensor, "2"], lesson: Mapping[str, Tensor], weights: Mapping[str, float]
    ) -> dict[str, Tensor]:
        """Losses of where Gaussians are; those without weight are left out."""
        ...

    def pictures(
        self, scene: Scene, va: Float[Tensor, "2"], lesson: Mapping[str, Tensor], weights: Mapping[str, float]
    ) -> dict[str, Tensor]:
        """Losses of the drawn head; those without weight are left out."""
        ...


@dataclass(frozen=True)
class LandmarkTeacher:
    """The avatar's emotion stage: the head as the landmarks' warp poses it under what that makes of speech.

    The emotion is added as in synthesis: whole, but for the lids of an eye that is shut; the deformer keeps lips shut
    that speech shuts. Branches hear speech alone, for of emotions they have learnt nothing.

    Attributes:
        deformer: The emotion stage.
        landmarks: The capture's.
        eyes: What shut eyes take.
        scheme: The landmarks that pose the head.
        warp: Where they take a head that has no warp of its own; None if it has one.
    """

    emotions: ClassVar[int] = 8
    picture_every: ClassVar[int] = 4

    deformer: EmotionDeformer
    landmarks: LandmarkTrack
    eyes: OpenEyes
    scheme: Scheme
    warp: ForwardWarp | None

    @classmethod
    def of(cls, deformer: EmotionDeformer, data: TrainingData, head: Head) -> LandmarkTeacher:
        """For a capture."""
        tracks = data.capture.tracks
        eyes = OpenEyes.of(tracks.neutral.float(), tracks.landmarks[data.train].float())
        own = (
            None
            if head.forward_warp is not None
            else ForwardWarp.of(Warper.around(head.template, head.config.warp_side))
        )
        return cls(deformer, data.capture.landmarks, eyes, scheme_of(head.basis), own)

    @torch.no_grad()
    def faces(self, frames: Int64[Tensor, "F"], va: Float[Tensor, "F 2"]) -> LandmarkTrack:
        """Landmarks of these frames, each with its emotion."""
        track = LandmarkTrack(self.landmarks.points[frames].float(), self.landmarks.scheme, self.landmarks.fps)
        change = self.deformer.deform(track, va_track(va, track.fps)).points - track.points
        return LandmarkTrack(track.points + change * self.eyes.take(track.points), track.scheme, track.fps)

    def lesson(self, frames: Int64[Tensor, "F"], va: Float[Tensor, "F 2"]) -> dict[str, Tensor]:
        """Emotional landmarks; see `Teacher`."""
        return {"points": in_scheme(self.faces(frames, va), self.scheme, NAME).points}

    @torch.no_grad()
    def wanted(self, scene: Scene, lesson: Mapping[str, Tensor]) -> dict[str, Posed]:
        """The head posed by emotional landmarks, without its emotion branch."""
        points = lesson["points"].cpu()  # motions are made there, wherever the Gaussians are
        motion = scene.head.motion(points)
        posed = scene.head.pose(scene.canonical, scene.condition, motion, SPEECH)
        if self.warp is not None:
            places, device = scene.canonical["face.means"].detach(), scene.head.device
            (now, stretch), (spoken, before) = (
                self.warp.field(face).to(device).read(places) for face in (points, scene.points)
            )
            layer = posed["face"]
            stretch = stretch @ torch.linalg.pinv(before)
            posed["face"] = replace(layer, means=layer.means + now - spoken, stretch=stretch)
        return posed

    def geometry(
        self, scene: Scene, va: Float[Tensor, "2"], lesson: Mapping[str, Tensor], weights: Mapping[str, float]
    ) -> dict[str, Tensor]:
        """Places and shapes; see `Teacher`."""
        posed, wanted = scene.posed(va), self.wanted(scene, lesson)
        terms: dict[str, Tensor] = {}
        if weights.get("means"):
            terms["means"] = places_apart(posed, wanted)
        if weights.get("covariances"):
            terms["covariances"] = shapes_apart(posed["face"], wanted["face"])
        return terms

    def pictures(
        self, scene: Scene, va: Float[Tensor, "2"], lesson: Mapping[str, Tensor], weights: Mapping[str, float]
    ) -> dict[str, Tensor]:
        """The two heads drawn; see `Teacher`."""
        shown = {name: weights[name] for name in PICTURE_TERMS if weights.get(name)}
        if not shown:
            return {}
        colour, alpha = scene_drawn(scene, scene.posed(va))
        with torch.no_grad():
            taught = scene_drawn(scene, self.wanted(scene, lesson))
        truth = replace(scene.truth, head=taught[0], alpha=taught[1])
        return picture_losses(shown, colour, alpha, truth, scene.perceptual)


@dataclass(frozen=True)
class PictureTeacher:
    """A generator of emotional pictures, as in the paper: filmed frames edited on the fly.

    Attributes:
        generator: Edits pictures.
        capture: Where they come from.
        size: Side of the pictures.
    """

    emotions: ClassVar[int] = 1
    picture_every: ClassVar[int] = 1

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
        pictures, mask = self.generator.edit(film, project(track, cameras), va_track(va, track.fps))
        if pictures.shape != film.shape or mask.shape != film.shape[:3]:
            raise ValueError(
                f"{type(self.generator).__name__}.edit: expected {tuple(film.shape)} and {tuple(film.shape[:3])}, "
                f"got {tuple(pictures.shape)} and {tuple(mask.shape)}"
            )
        return {"pictures": pictures.clamp(0, 1), "mask": mask.clamp(0, 1)}

    def geometry(
        self, scene: Scene, va: Float[Tensor, "2"], lesson: Mapping[str, Tensor], weights: Mapping[str, float]
    ) -> dict[str, Tensor]:
        """None: pictures are all it has."""
        return {}

    def pictures(
        self, scene: Scene, va: Float[Tensor, "2"], lesson: Mapping[str, Tensor], weights: Mapping[str, float]
    ) -> dict[str, Tensor]:
        """The drawn head against the edited picture, as far as that is to be learnt from; see `Teacher`."""
        colour, alpha = scene_drawn(scene, scene.posed(va))
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


def scene_drawn(scene: Scene, posed: dict[str, Posed]) -> tuple[Float[Tensor, "H W 3"], Float[Tensor, "H W"]]:
    """Premultiplied colour and opacity of the head, drawn in the calling thread."""
    return composite(scene.head.draw(posed, scene.view, joined=True, threads=1))


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
