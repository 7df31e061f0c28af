"""From a drive to what branches are conditioned on, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from realtalk_core.errors import UserError
from realtalk_core.expression import ExpressionBasis
from realtalk_core.nn.conditioning import (
    LANDMARK_CODE,
    ComponentCode,
    component_features,
    score_columns,
    soft_clamp,
    upper_scores,
)
from realtalk_core.types import AudioFeatures, Drive
from realtalk_gaussian.config import GaussianConfig

NAME = "gaussian"
HARMONICS = 4
EMOTION_CODE = 2 * HARMONICS + 1
AUDIO_CODE = 32
AUDIO_LIMIT = 3.0


def emotion_code(va: Float[Tensor, "2"]) -> Float[Tensor, "9"]:
    """Valence and arousal as the emotion branch is told them: r cos kθ and r sin kθ for the first harmonics k, and r.

    Zero at neutral. Emotions lie around a circle, and a small network learns functions of an angle from its harmonics
    far sooner than from the two coordinates (ADR 0095).
    """
    radius, angle = va.norm(), torch.atan2(va[1], va[0])
    turns = torch.arange(1, HARMONICS + 1, device=va.device) * angle
    return radius * torch.cat((turns.cos(), turns.sin(), torch.ones_like(va[:1])))


@dataclass(frozen=True, slots=True)
class FrameCondition:
    """What is the same for all Gaussians of one frame.

    Attributes:
        landmarks: Components of the landmarks; empty if they are not listened to.
        scores: Upper-face blendshapes.
        audio: The sound of the frame and its neighbours, `W D`; `W 0` if it is not listened to.
        va: Valence and arousal, for the emotion branch; zero is neutral.
    """

    landmarks: Float[Tensor, "F"]
    scores: Float[Tensor, "S"]
    audio: Float[Tensor, "W D"]
    va: Float[Tensor, "2"]

    def to(self, device: torch.device) -> FrameCondition:
        """The same there."""
        return FrameCondition(*(x.to(device) for x in (self.landmarks, self.scores, self.audio, self.va)))


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions of all frames of a drive.

    Attributes:
        landmarks: `T F`.
        scores: `T S`.
        audio: `T W D`.
        va: `T 2`.
    """

    landmarks: Float[Tensor, "T F"]
    scores: Float[Tensor, "T S"]
    audio: Float[Tensor, "T W D"]
    va: Float[Tensor, "T 2"]

    def __len__(self) -> int:
        return len(self.landmarks)

    def __getitem__(self, k: int) -> FrameCondition:
        return FrameCondition(self.landmarks[k], self.scores[k], self.audio[k], self.va[k])


@dataclass(frozen=True, slots=True)
class AudioScale:
    """Mean and standard deviation of the sound's features in the training clip.

    Attributes:
        mean: `D`.
        scale: `D`.
    """

    mean: Float[Tensor, "D"]
    scale: Float[Tensor, "D"]

    @classmethod
    def fit(cls, features: AudioFeatures) -> AudioScale:
        """Of a clip's features."""
        rows = features.rows().float()
        return cls(rows.mean(0), rows.std(0, correction=0).clamp_min(1e-4))


def audio_windows(features: AudioFeatures, scale: AudioScale, context: int) -> Float[Tensor, "T W D"]:
    """Each frame's sound with `context` frames to either side, the ends repeated; in standard deviations."""
    rows = soft_clamp((features.rows().float() - scale.mean) / scale.scale, AUDIO_LIMIT)
    places = torch.arange(len(rows))[:, None] + torch.arange(-context, context + 1)
    return rows[places.clamp(0, len(rows) - 1)]


def conditions_of(drive: Drive, basis: ExpressionBasis, audio: AudioScale | None, config: GaussianConfig) -> Conditions:
    """What a drive says to the branches.

    Where the warp carries an emotion with the landmarks, or a branch of its own has it, they are told the speech alone:
    face and mouth branch have learnt what speech looks like, and would have to extrapolate.

    Args:
        drive: Any.
        basis: The landmarks' components.
        audio: Scale of the sound's features; None if they are not listened to.
        config: Which parts are listened to.

    Raises:
        UserError: if the drive lacks sound, blendshapes or an emotion that are listened to, if its sound comes from
            another audio encoder, or if it has 68 landmarks where 478 are needed.
    """
    count, emotion = len(drive), drive.emotion
    if config.warp or config.emotion != "landmarks":
        drive = drive.speech
    landmarks = component_features(drive, basis, NAME)
    if config.condition == "audio":
        landmarks = landmarks[:, :0]
    windows = torch.zeros(count, 1, 0)
    if audio is not None:
        if drive.audio is None:
            raise UserError(
                "renderer gaussian listens to sound, and the drive has none",
                "Give it speech, or train with --set renderer.condition=components.",
            )
        width = drive.audio.rows().shape[1]
        if width != len(audio.mean):
            raise UserError(
                f"renderer gaussian was trained on {len(audio.mean)} audio features a frame and is given {width}",
                "Use the audio encoder it was trained with, or train it again.",
            )
        windows = audio_windows(drive.audio, audio, config.audio_context)
    va = torch.zeros(count, 2)
    if config.emotion == "branch" and emotion is not None:
        va = emotion.va.float()  # the branch has learnt the disc, not the corners of the square around it
        va = va / va.norm(dim=1, keepdim=True).clamp(min=1)
    return Conditions(landmarks, upper_scores(drive, config.blendshapes, NAME), windows, va)


class AudioCode(nn.Module):
    """Sound to a code: a small network for each frame of the window, then attention over the frames (AD-NeRF's form).

    Args:
        features: Of a frame.
        frames: Of a window.
    """

    def __init__(self, features: int, frames: int) -> None:
        super().__init__()
        self.frame = nn.Sequential(
            nn.Linear(features, 64),
            nn.LeakyReLU(0.02),
            nn.Linear(64, 64),
            nn.LeakyReLU(0.02),
            nn.Linear(64, AUDIO_CODE),
        )
        self.score = nn.Linear(AUDIO_CODE, 1)
        self.place = nn.Parameter(torch.zeros(frames))

    def forward(self, window: Float[Tensor, "W D"]) -> Float[Tensor, "32"]:
        """The code of the window's middle frame."""
        codes = self.frame(window)
        share = torch.softmax(self.score(codes)[:, 0] + self.place, 0)
        code: Tensor = share @ codes
        return code


class MotionCode(nn.Module):
    """What face and mouth are told, as one vector: the landmarks' code, the sound's code, the blendshapes.

    Args:
        config: Which parts are listened to.
        components: Of the landmarks.
        audio: Features of a frame's sound; 0 if not listened to.
    """

    def __init__(self, config: GaussianConfig, components: int, audio: int) -> None:
        super().__init__()
        self.points = ComponentCode(components) if config.condition != "audio" else None
        self.sound = AudioCode(audio, 2 * config.audio_context + 1) if config.condition != "components" else None
        self.scores = len(score_columns(config.blendshapes))
        self.speech = LANDMARK_CODE * (self.points is not None) + AUDIO_CODE * (self.sound is not None)

    @property
    def sizes(self) -> tuple[int, int]:
        """Length of what speech moves (landmarks, sound) and of the blendshapes."""
        return self.speech, self.scores

    def forward(self, condition: FrameCondition) -> tuple[Float[Tensor, "P"], Float[Tensor, "S"]]:
        """The two parts for one frame."""
        parts = [self.points(condition.landmarks)] if self.points is not None else []
        if self.sound is not None:
            parts.append(self.sound(condition.audio))
        return torch.cat(parts), condition.scores
