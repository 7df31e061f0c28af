"""Landmarks of many actors speaking, without pictures: what landmark models can be trained and judged on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from realtalk_actor.actor import Actor, Pose
from realtalk_actor.emotions import emotion_shapes, with_speech
from realtalk_actor.speech import closures, speech_shapes
from realtalk_core.landmarks import BLENDSHAPES
from realtalk_core.types import LandmarkTrack
from realtalk_core.voice import Speech

Array = NDArray[np.float64]
_GROUPS: dict[str, tuple[str, ...]] = {
    "jaw": ("jawOpen",), "round": ("mouthPucker", "mouthFunnel"), "spread": ("mouthStretch", "mouthSmile"),
    "upper": ("mouthUpperUp",), "lower": ("mouthLowerDown",),
}  # fmt: skip


@dataclass(frozen=True)
class Style:
    """How a person articulates.

    Attributes:
        amount: Strength of each of jaw, round, spread, upper and lower lip; 1 is the actor's own.
        blur: How far sounds run into each other, seconds (standard deviation); closures of the lips stay.
        sides: Strength of an emotion on the person's right and left half of the face.
    """

    amount: tuple[float, float, float, float, float] = (1.0, 1.0, 1.0, 1.0, 1.0)
    blur: float = 0.0
    sides: tuple[float, float] = (1.0, 1.0)

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Style:
        """One person's way, at random."""
        overall = rng.uniform(0.65, 1.15)
        parts = overall * np.exp(rng.normal(size=5) * [0.10, 0.25, 0.25, 0.3, 0.3])
        sides = np.clip(rng.normal(1.0, 0.12) + rng.normal(size=2) * 0.06, 0.6, 1.3)
        return cls(tuple(map(float, parts)), float(rng.uniform(0.0, 0.035)), (float(sides[0]), float(sides[1])))  # type: ignore[arg-type]


def spoken_shapes(speech: Speech, frames: int, fps: float, style: Style) -> Array:
    """Blendshapes `T 52` of a speech in a style; frame k shows the moment (k + 0.5) / fps."""
    times = (np.arange(frames) + 0.5) / fps
    shapes, _ = speech_shapes(speech.phonemes, speech.clip, times)
    if style.blur * fps > 0.1:
        press = closures(speech.phonemes, times)[:, None]
        shapes = shapes * press + gaussian_filter1d(shapes, style.blur * fps, axis=0, mode="nearest") * (1 - press)
    for strength, names in zip(style.amount, _GROUPS.values(), strict=True):
        for k, name in enumerate(BLENDSHAPES):
            if name.startswith(names):
                shapes[:, k] *= strength
    return np.clip(shapes, 0, 1)


def acted_shapes(spoken: Array, weights: Array, style: Style) -> Array:
    """Blendshapes `T 52` of speech with emotions of weights `T 8` laid over it.

    There are no blinks, so that a pair of neutral and emotional faces differs by the emotion alone.
    """
    felt = emotion_shapes(weights)
    for name, strength in zip(("Right", "Left"), style.sides, strict=True):
        felt[:, [k for k, full in enumerate(BLENDSHAPES) if full.endswith(name)]] *= strength
    return with_speech(np.clip(felt, 0, 1), spoken)


def landmarks(actor: Actor, shapes: Array, fps: float) -> LandmarkTrack:
    """Exact landmarks of an actor, one face per row of blendshapes `T 52`."""
    faces = [actor.landmarks(Pose(row)) for row in shapes]
    points = np.stack(faces) if faces else np.zeros((0, 478, 3))
    return LandmarkTrack(torch.from_numpy(points.astype(np.float32)), "mediapipe478", fps)
