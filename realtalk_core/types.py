"""The data that flows between stages: frozen dataclasses of tensors, checked once at construction.

Head space, used by every landmark and pose: right-handed, unit centimetre, origin at the origin of MediaPipe's
canonical face (behind the nose bridge), x to the image's right (the person's left), y up, z out of the face.
Camera space has OpenCV's axes: x right, y down, z forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from realtalk_core.errors import ShapeError
from realtalk_core.landmarks import IBUG68_FROM_MEDIAPIPE478
from realtalk_core.shapes import check_shapes

Scheme = Literal["ibug68", "mediapipe478"]
POINTS_OF: dict[str, int] = {"ibug68": 68, "mediapipe478": 478}


def _finite(owner: str, **tensors: Tensor | None) -> None:
    for name, tensor in tensors.items():
        if tensor is not None and not bool(torch.isfinite(tensor).all()):
            raise ShapeError(f"{owner}.{name}: holds NaN or infinite values")


@dataclass(frozen=True, slots=True)
class AudioClip:
    """Mono sound.

    Attributes:
        samples: Amplitudes in [-1, 1].
        sample_rate: Samples per second.
    """

    samples: Float32[Tensor, "N"]
    sample_rate: int

    def __post_init__(self) -> None:
        check_shapes(self)
        if self.sample_rate <= 0:
            raise ShapeError(f"AudioClip.sample_rate: must be positive, got {self.sample_rate}")

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.samples.shape[0] / self.sample_rate

    def frames(self, fps: float) -> int:
        """How many video frames this sound spans: its duration rounded to the nearest frame, at least one.

        Every audio encoder gives exactly this many rows.
        """
        return max(1, round(self.seconds * fps))


@dataclass(frozen=True, slots=True)
class Prosody:
    """How something is said, one value per *video* frame, whatever the encoder; a part is None where nobody asked.

    Attributes:
        f0: `T` pitch in Hz, 0 where there is none.
        voiced: `T` in [0, 1], how likely it is that there is a pitch; given with `f0`.
        loudness: `T` decibels relative to full scale, of sound levelled to speech (`realtalk_core.hearing.level`), so
            that a number means the same in a quiet recording as in a loud one.
        activity: `T` in [0, 1], how likely it is that somebody speaks.
        detector: What found `activity`: `silero` or `energy`; empty without it.
    """

    f0: Float32[Tensor, "T"] | None = None
    voiced: Float32[Tensor, "T"] | None = None
    loudness: Float32[Tensor, "T"] | None = None
    activity: Float32[Tensor, "T"] | None = None
    detector: str = ""

    def __post_init__(self) -> None:
        if not self._parts():
            raise ShapeError("Prosody: has no part; give f0 and voiced, loudness or activity")
        if (self.f0 is None) != (self.voiced is None):
            raise ShapeError("Prosody: f0 and voiced come together or not at all")
        check_shapes(self)
        _finite("Prosody", **self._parts())
        if self.f0 is not None and self.f0.numel() and self.f0.min() < 0:
            raise ShapeError("Prosody.f0: must not be negative; 0 where there is no pitch")
        for name, values in (("voiced", self.voiced), ("activity", self.activity)):
            if values is not None and values.numel() and (values.min() < 0 or values.max() > 1):
                raise ShapeError(f"Prosody.{name}: must lie in [0, 1]")

    def _parts(self) -> dict[str, Tensor]:
        named = {"f0": self.f0, "voiced": self.voiced, "loudness": self.loudness, "activity": self.activity}
        return {name: part for name, part in named.items() if part is not None}

    def __len__(self) -> int:
        return next(iter(self._parts().values())).shape[0]

    def __getitem__(self, span: slice) -> Prosody:
        parts = {name: part[span] for name, part in self._parts().items()}
        return Prosody(**parts, detector=self.detector)


def concat_prosody(parts: Sequence[Prosody]) -> Prosody:
    """Joins consecutive stretches that have the same parts."""
    first, names = parts[0], list(parts[0]._parts())
    if any(list(part._parts()) != names or part.detector != first.detector for part in parts):
        raise ShapeError("Prosody: stretches to join differ in their parts")
    joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    return Prosody(**joined, detector=first.detector)


@dataclass(frozen=True, slots=True)
class AudioFeatures:
    """What an audio encoder hears: one row per *video* frame.

    Attributes:
        values: `T ...`: `(T, D)`, or `(T, W, D)` where an encoder gives a window of W sub-frames to each frame.
        fps: Video frames per second.
        prosody: Pitch, loudness and voice activity of the same frames, as far as a stage of the chain needs them.
    """

    values: Float[Tensor, "T ..."]
    fps: float
    prosody: Prosody | None = None

    def __post_init__(self) -> None:
        if self.values.ndim not in (2, 3):
            raise ShapeError(f"AudioFeatures.values: expected (T, D) or (T, W, D), got {tuple(self.values.shape)}")
        _finite("AudioFeatures", values=self.values)
        if self.prosody is not None and len(self.prosody) != len(self):
            raise ShapeError(f"AudioFeatures.prosody: has {len(self.prosody)} frames, values have {len(self)}")

    def __len__(self) -> int:
        return self.values.shape[0]

    def __getitem__(self, span: slice) -> AudioFeatures:
        return AudioFeatures(self.values[span], self.fps, None if self.prosody is None else self.prosody[span])

    def rows(self) -> Float[Tensor, "T D"]:
        """The values with any window flattened into the feature axis."""
        return self.values.flatten(1)


def concat_features(parts: Sequence[AudioFeatures]) -> AudioFeatures:
    """Joins consecutive rows of one encoder, with their prosody."""
    if len(parts) == 1:
        return parts[0]
    said = [part.prosody for part in parts if part.prosody is not None]
    joined = concat_prosody(said) if said else None
    return AudioFeatures(torch.cat([part.values for part in parts]), parts[0].fps, joined)


@dataclass(frozen=True, slots=True)
class LandmarkTrack:
    """Facial landmarks in head space with the head's pose removed, in centimetres.

    Attributes:
        points: `T K 3`; K is 68 for `ibug68` (the paper's 204 numbers), 478 for `mediapipe478` (dense).
        scheme: Which landmarks these are.
        fps: Frames per second.
    """

    points: Float[Tensor, "T K 3"]
    scheme: Scheme
    fps: float

    def __post_init__(self) -> None:
        if self.scheme not in POINTS_OF:
            raise ShapeError(f"LandmarkTrack.scheme: {self.scheme!r} is none of {', '.join(POINTS_OF)}")
        count, shape = POINTS_OF[self.scheme], tuple(self.points.shape)
        if len(shape) != 3 or shape[1:] != (count, 3):
            raise ShapeError(f"LandmarkTrack.points: expected (T, {count}, 3) with T={shape[0]}, got {shape}")
        check_shapes(self)
        _finite("LandmarkTrack", points=self.points)

    def __len__(self) -> int:
        return self.points.shape[0]

    def __getitem__(self, span: slice) -> LandmarkTrack:
        return replace(self, points=self.points[span])

    def to_scheme(self, scheme: Scheme) -> LandmarkTrack:
        """The same faces in another scheme; only dense to sparse is possible.

        Raises:
            ShapeError: if asked to make 478 points out of 68.
        """
        if scheme == self.scheme:
            return self
        if scheme == "ibug68" and self.scheme == "mediapipe478":
            return LandmarkTrack(self.points[:, list(IBUG68_FROM_MEDIAPIPE478)], "ibug68", self.fps)
        raise ShapeError(f"LandmarkTrack: {self.scheme} cannot be turned into {scheme}")


@dataclass(frozen=True, slots=True)
class EmotionTrack:
    """The emotion of each frame.

    Attributes:
        weights: `T 8`, each in [0, 1], over `realtalk_core.emotion.LABELS`. A label at intensity i has weight i and
            leaves 1 - i to neutral.
        va: `T 2` valence and arousal, each in [-1, 1].
        fps: Frames per second.
    """

    weights: Float[Tensor, "T 8"]
    va: Float[Tensor, "T 2"]
    fps: float

    def __post_init__(self) -> None:
        check_shapes(self)
        if self.weights.numel() and (self.weights.min() < -1e-4 or self.weights.max() > 1 + 1e-4):
            raise ShapeError("EmotionTrack.weights: must lie in [0, 1]")
        if self.va.numel() and self.va.abs().max() > 1 + 1e-4:
            raise ShapeError("EmotionTrack.va: must lie in [-1, 1]")

    def __len__(self) -> int:
        return self.weights.shape[0]

    def __getitem__(self, span: slice) -> EmotionTrack:
        return replace(self, weights=self.weights[span], va=self.va[span])


@dataclass(frozen=True, slots=True)
class Blendshapes:
    """ARKit blendshape scores in MediaPipe's order (`realtalk_core.landmarks.BLENDSHAPES`), each in [0, 1].

    Attributes:
        values: `T 52`; column 0 is MediaPipe's `_neutral`.
    """

    values: Float[Tensor, "T 52"]

    def __post_init__(self) -> None:
        check_shapes(self)
        _finite("Blendshapes", values=self.values)

    def __len__(self) -> int:
        return self.values.shape[0]

    def __getitem__(self, span: slice) -> Blendshapes:
        return Blendshapes(self.values[span])


@dataclass(frozen=True, slots=True)
class CameraTrack:
    """Where the camera is, seen from the head, and how it projects.

    Attributes:
        pose: `T 4 4` camera-to-head; maps camera points (OpenCV axes, cm) to head space (cm).
        intrinsics: `3 3` in pixels of a `width` x `height` picture; pixel centres at half-integers.
        width: Pixels.
        height: Pixels.
    """

    pose: Float[Tensor, "T 4 4"]
    intrinsics: Float[Tensor, "3 3"]
    width: int
    height: int

    def __post_init__(self) -> None:
        check_shapes(self)
        _finite("CameraTrack", pose=self.pose, intrinsics=self.intrinsics)

    def __len__(self) -> int:
        return self.pose.shape[0]

    def __getitem__(self, span: slice) -> CameraTrack:
        return replace(self, pose=self.pose[span])

    def resized(self, width: int, height: int) -> CameraTrack:
        """The same cameras with pictures of another size."""
        scale = self.intrinsics.new_tensor([width / self.width, height / self.height, 1.0])
        return CameraTrack(self.pose, self.intrinsics * scale[:, None], width, height)


@dataclass(frozen=True, slots=True)
class Drive:
    """Everything that moves a face over T frames.

    Attributes:
        landmarks: Emotional landmarks.
        audio: The sound's features, for renderers that listen themselves.
        emotion: The emotion, for renderers that deform themselves.
        blendshapes: Scores that agree with the landmarks (eyes and brows above all).
        background: `T H W 3` in [0, 1], the pictures beneath the head, at the cameras' size; None if not wanted.
        neutral: The same speech before emotion was added, for renderers that express `emotion` themselves and would
            have it twice from `landmarks`; None where the landmarks carry none, as those of tracked frames.
    """

    landmarks: LandmarkTrack
    audio: AudioFeatures | None = None
    emotion: EmotionTrack | None = None
    blendshapes: Blendshapes | None = None
    background: Float[Tensor, "T H W 3"] | None = None
    neutral: Drive | None = None

    def __post_init__(self) -> None:
        lengths = {
            name: len(part)
            for name, part in (
                ("landmarks", self.landmarks),
                ("audio", self.audio),
                ("emotion", self.emotion),
                ("blendshapes", self.blendshapes),
                ("background", self.background),
                ("neutral", self.neutral),
            )
            if part is not None
        }
        if len(set(lengths.values())) > 1:
            raise ShapeError("Drive: parts differ in length: " + ", ".join(f"{k} {v}" for k, v in lengths.items()))
        if self.background is not None:
            check_shapes(self)
        if self.neutral is not None:
            if self.neutral.landmarks.scheme != self.landmarks.scheme:
                raise ShapeError(
                    f"Drive.neutral: its landmarks are {self.neutral.landmarks.scheme}, not {self.landmarks.scheme}"
                )
            if self.neutral.neutral is not None:
                raise ShapeError("Drive.neutral: is neutral already and holds no neutral of its own")

    def __len__(self) -> int:
        return len(self.landmarks)

    @property
    def speech(self) -> Drive:
        """What moves the face without emotion: `neutral`, or this drive where its landmarks carry no emotion."""
        return self if self.neutral is None else self.neutral

    def __getitem__(self, span: slice) -> Drive:
        return Drive(
            self.landmarks[span],
            None if self.audio is None else self.audio[span],
            None if self.emotion is None else self.emotion[span],
            None if self.blendshapes is None else self.blendshapes[span],
            None if self.background is None else self.background[span],
            None if self.neutral is None else self.neutral[span],
        )


@dataclass(frozen=True, slots=True)
class FrameBatch:
    """Consecutive pictures.

    Attributes:
        rgb: `T H W 3` in [0, 1], not premultiplied by alpha.
        alpha: `T H W 1` in [0, 1], what the renderer covers; None if the picture is complete.
        start: Index of the first frame within the drive.
    """

    rgb: Float[Tensor, "T H W 3"]
    alpha: Float[Tensor, "T H W 1"] | None
    start: int

    def __post_init__(self) -> None:
        check_shapes(self)

    def __len__(self) -> int:
        return self.rgb.shape[0]

    def over(self, background: Float[Tensor, "T H W 3"]) -> Float[Tensor, "T H W 3"]:
        """Composites onto pictures of the same size."""
        return self.rgb if self.alpha is None else self.rgb * self.alpha + background * (1 - self.alpha)


@dataclass(frozen=True, slots=True)
class Face:
    """One face found by a tracker in one picture.

    Attributes:
        points: `K 3` in pixels of that picture: x right, y down, z away from the camera on the scale of x
            (zero near the head's centre); z is zero where a tracker knows no depth.
        scheme: Which landmarks these are.
        score: Confidence in [0, 1].
        blendshapes: 52 ARKit scores in MediaPipe's order, if the tracker gives them.
        transform: `4 4` canonical-face-to-camera (OpenCV axes, cm), if the tracker gives it.
    """

    points: Float32[Tensor, "K 3"]
    scheme: Scheme
    score: float
    blendshapes: Float32[Tensor, "52"] | None = None
    transform: Float32[Tensor, "4 4"] | None = None

    def __post_init__(self) -> None:
        check_shapes(self)


def concat_landmarks(tracks: Sequence[LandmarkTrack]) -> LandmarkTrack:
    """Joins tracks of one scheme end to end."""
    return replace(tracks[0], points=torch.cat([t.points for t in tracks]))


Valid = Bool[Tensor, "T"]
