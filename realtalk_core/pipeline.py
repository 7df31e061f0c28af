"""Speech to frames: encode as the sound comes, then window by window generate, deform, finish, render, composite.

The encoder hears the sound once, as a stream; windows are cut out of its rows (`realtalk_core.windows`). Memory does
not depend on the length of the sound, and no frame depends on how the sound was cut.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from realtalk_core.avatar import Avatar
from realtalk_core.config.needs import wanted_prosody
from realtalk_core.emotion import EmotionPlan, parse_emotion
from realtalk_core.errors import ShapeError, UserError, did_you_mean
from realtalk_core.hearing.pieces import heard_rows
from realtalk_core.motion import Motion
from realtalk_core.person import Person
from realtalk_core.scene import Background, Scene
from realtalk_core.stages import AudioEncoder, EmotionDeformer, LandmarkGenerator, Renderer, TorsoLayer
from realtalk_core.types import (
    AudioClip,
    AudioFeatures,
    Blendshapes,
    CameraTrack,
    Drive,
    EmotionTrack,
    FrameBatch,
    LandmarkTrack,
)
from realtalk_core.video_writer import even
from realtalk_core.windows import Window, context_frames, windows

CHUNK_SECONDS = 4.0
TORSOS = ("film", "model")


class Finisher(Protocol):
    """What comes between the emotion stage and the renderer; `realtalk_core.motion.Motion` is one."""

    def cameras(self, start: int, count: int) -> CameraTrack:
        """The camera of each frame."""
        ...

    def finish(self, neutral: LandmarkTrack, emotional: LandmarkTrack, start: int) -> LandmarkTrack:
        """Landmarks as they will be rendered."""
        ...

    def blendshapes(self, landmarks: LandmarkTrack, start: int) -> Blendshapes:
        """Scores that agree with finished landmarks."""
        ...


@dataclass(frozen=True, slots=True)
class Cut:
    """Everything a renderer needs for one window, and which of its frames to keep.

    Attributes:
        drive: What moves the face.
        cameras: One per frame.
        start: Number of the first frame within the clip.
        first: First frame to keep, counted from `start`.
        last: One past the last frame to keep, counted from `start`.
    """

    drive: Drive
    cameras: CameraTrack
    start: int
    first: int
    last: int

    @property
    def kept_landmarks(self) -> LandmarkTrack:
        """The landmarks of the frames to keep."""
        return self.drive.landmarks[self.first : self.last]


@dataclass(frozen=True)
class Pipeline:
    """A chain of components, ready to speak.

    Any object with the stage's method will do. A component may state how far to each side a frame of it looks
    (`context_frames` or `context_seconds`) and that its windows must start at multiples of `stride`; `generate` and
    `deform` are given the window's first frame number if they take `start`, `render` where the head will be seen if it
    takes `region` (bool `T H W`, or None for everywhere; what it gives elsewhere is not looked at).

    Attributes:
        audio: Sound to features.
        landmarks: Features to landmarks of neutral speech.
        emotion: Adds the emotion.
        renderer: Landmarks to pictures.
        motion: Poses, eyes, and what keeps landmarks within the person's own.
        scene: What stands around the head; None leaves the rendered head on white.
        fps: Frames per second.
        torso: Renders what is below the head, for a scene of rendered bodies; None takes it from the film.
        prosody: What else of the sound its stages need: tokens of `realtalk_core.config.needs.PROSODY`.
    """

    audio: AudioEncoder
    landmarks: LandmarkGenerator
    emotion: EmotionDeformer
    renderer: Renderer
    motion: Finisher
    scene: Scene | None = None
    fps: float = 25.0
    torso: TorsoLayer | None = None
    prosody: frozenset[str] = frozenset()

    @classmethod
    def from_avatar(
        cls,
        avatar: Avatar,
        *,
        size: int | None = None,
        background: Background = "original",
        pose: Person | None = None,
        device: str = "auto",
        torso: str | None = None,
    ) -> Pipeline:
        """The chain of an avatar.

        Args:
            avatar: The opened avatar.
            size: Side of the finished pictures in pixels; the avatar's own if None.
            background: See `Scene`.
            pose: Another capture's person whose head motion, eyes and brows are replayed; the avatar's own if None.
            device: Where stages work that can work there; see `realtalk_core.device`.
            torso: What is below the head: `film`, as filmed; `model`, as the renderer has learnt it. If None, the film
                where its own poses are replayed, else the model where there is one.

        Raises:
            UserError: if a file is missing or damaged, if the two persons' landmarks differ in scheme, if the avatar
                has no torso and it is asked for, or if its stages have learnt from another encoder, or from other
                weights of it.
        """
        renderer = avatar.component("renderer", device)
        layer = _torso(renderer, avatar, torso, moved=pose is not None)
        own = Motion(avatar.person, avatar.config.motion)
        motion = own if pose is None else Motion(avatar.person.driven_by(pose), avatar.config.motion)
        return cls(
            audio=avatar.component("audio", device),
            landmarks=avatar.component("landmarks", device),
            emotion=avatar.component("emotion", device),
            renderer=renderer,
            motion=motion,
            scene=Scene(
                avatar.footage, own, even(size or avatar.size), background, pose is not None, torso=layer is not None
            ),
            fps=avatar.fps,
            torso=layer,
            prosody=wanted_prosody(avatar.config.stages),
        )

    def frames(
        self,
        sound: AudioClip | Iterable[AudioClip],
        emotion: EmotionPlan | str = "neutral",
        *,
        size: int | None = None,
        chunk_seconds: float = CHUNK_SECONDS,
    ) -> Iterator[Tensor]:
        """Finished pictures, batch by batch.

        Args:
            sound: A clip, or consecutive chunks of one (`realtalk_core.audio.stream_audio`).
            emotion: A plan, or what `--emotion` takes.
            size: Side at which the head is rendered; the renderer's own `render_size` or the cameras' if None.
            chunk_seconds: How much to hold at a time.

        Yields:
            `T H W 3` RGB uint8, in order and without a gap; `clip.frames(fps)` in all.
        """
        for cut in self.cuts(sound, emotion, chunk_seconds=chunk_seconds):
            yield from self.pictures(cut, size)

    @torch.no_grad()
    def cuts(
        self,
        sound: AudioClip | Iterable[AudioClip],
        emotion: EmotionPlan | str = "neutral",
        *,
        chunk_seconds: float = CHUNK_SECONDS,
    ) -> Iterator[Cut]:
        """Everything up to the renderer, window by window: for looking at motion without rendering it."""
        plan = parse_emotion(emotion) if isinstance(emotion, str) else emotion
        stages = (self.landmarks, self.emotion, self.motion)
        reach = context_frames(self.renderer, self.fps)
        for window in windows(
            heard_rows(self.audio, sound, self.fps, self.prosody, chunk_seconds=chunk_seconds),
            chunk=max(1, round(chunk_seconds * self.fps)),
            context=sum(context_frames(part, self.fps) for part in stages) + reach,
            stride=math.lcm(*(int(getattr(part, "stride", 1)) for part in (*stages, self.renderer))),
        ):
            yield self._cut(window, plan, reach)

    def _cut(self, window: Window, plan: EmotionPlan, reach: int) -> Cut:
        features, start, count = window.features, window.start, window.count
        neutral: LandmarkTrack = _numbered(self.landmarks.generate, features, start=start)
        track: EmotionTrack = plan.track(count, self.fps, start)
        emotional: LandmarkTrack = _numbered(self.emotion.deform, neutral, track, start=start)
        finished = self.motion.finish(neutral, emotional, start)
        # Only what is kept, and what the renderer looks at beside it, need be rendered.
        low, high = max(0, window.first - reach), min(count, window.last + reach)
        scores = self.motion.blendshapes(finished, start)
        drive = Drive(finished, features, track, scores, neutral=self._speech(neutral, emotional, features, start))
        cameras = self.motion.cameras(start + low, high - low)
        return Cut(drive[low:high], cameras, start + low, window.first - low, window.last - low)

    def _speech(
        self, neutral: LandmarkTrack, emotional: LandmarkTrack, features: AudioFeatures, start: int
    ) -> Drive | None:
        """The window's drive without emotion; None where the emotion stage changed nothing."""
        if torch.equal(neutral.points, emotional.points):
            return None
        finished = self.motion.finish(neutral, neutral, start)
        return Drive(finished, features, blendshapes=self.motion.blendshapes(finished, start))

    @torch.no_grad()
    def pictures(self, cut: Cut, size: int | None = None) -> Iterator[Tensor]:
        """Finished pictures of one window of `cuts`, batch by batch; arguments and batches are those of `frames`."""
        side = size or getattr(self.renderer, "render_size", None)
        if side and self.scene is not None:
            side = min(side, self.scene.size)
        cameras = cut.cameras.resized(side, side) if side else cut.cameras
        expected = 0
        options = {}
        if self.scene is not None and "region" in inspect.signature(self.renderer.render).parameters:
            options["region"] = self.scene.region(cut.start, cut.drive.landmarks, cameras)
        for batch in self.renderer.render(cut.drive, cameras, **options):
            if batch.start != expected:
                raise ShapeError(f"{type(self.renderer).__name__}.render: expected frame {expected}, got {batch.start}")
            expected += len(batch)
            low, high = max(cut.first - batch.start, 0), min(cut.last - batch.start, len(batch))
            if low >= high:
                continue
            alpha = None if batch.alpha is None else batch.alpha[low:high]
            kept = FrameBatch(batch.rgb[low:high], alpha, batch.start + low)
            span = slice(kept.start, kept.start + len(kept))
            if self.scene is None:
                white = torch.ones_like(kept.rgb)
                yield (kept.over(white).clamp(0, 1) * 255).round().to(torch.uint8)
            else:
                torso = None if self.torso is None else self.torso.render(cameras[span])
                yield self.scene.compose(kept, cut.start + kept.start, cut.drive.landmarks[span], cameras[span], torso)
        if expected != len(cut.drive):
            raise ShapeError(f"{type(self.renderer).__name__}.render: expected {len(cut.drive)} frames, got {expected}")


def _torso(renderer: Renderer, avatar: Avatar, wanted: str | None, moved: bool) -> TorsoLayer | None:
    """The layer that `torso` of `Pipeline.from_avatar` names."""
    if wanted not in (None, *TORSOS):
        raise UserError(f"--torso: unknown choice {wanted!r}{did_you_mean(wanted, TORSOS)}", "Write film or model.")
    layer: TorsoLayer | None = getattr(renderer, "torso", None)
    if wanted == "model" and layer is None:
        spec = avatar.config.stages["renderer"].spec
        with_one = [s.name for s in avatar.config.plugins.of("renderer") if "torso" in s.config.model_fields]
        name = spec.name if spec.name in with_one else " or ".join(with_one) or "NAME"
        raise UserError(
            f"--torso model: {avatar.path} has no torso; its renderer {spec.name} has learnt the head alone",
            f"Use --torso film, or train one with a torso: realtalk train CAPTURE -o {avatar.path} --stage renderer"
            f" --set renderer={name} --set renderer.torso=true",
        )
    return layer if wanted == "model" or (wanted is None and moved) else None


def _numbered(method: Callable[..., Any], *arguments: Any, start: int) -> Any:
    """Calls a stage's method, with `start` if it takes it."""
    if "start" in inspect.signature(method).parameters:
        return method(*arguments, start=start)
    return method(*arguments)
