"""What an actor does over a clip: mouth from phonemes, emotion, blinks, gaze, head motion, breathing.

All of it is a function of the seed, the speech and the emotion track; the same sentence performed in two emotions is
aligned frame by frame, because only the emotion's own share differs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from realtalk_actor.actor import Pose, gaze_shapes
from realtalk_actor.emotions import emotion_shapes, with_speech
from realtalk_actor.speech import loudness, speech_shapes
from realtalk_core.emotion import LABELS
from realtalk_core.landmarks import BLENDSHAPES
from realtalk_core.types import EmotionTrack
from realtalk_core.voice import Speech

Array = NDArray[np.float64]
INDEX = {name: k for k, name in enumerate(BLENDSHAPES)}
# pitch, yaw, roll in degrees that an emotion adds at full intensity, and how lively the head becomes
_POSTURE: dict[str, tuple[float, float, float, float]] = {
    "angry": (3.0, 0, 0, 1.25), "contempt": (-4.0, 3.0, 3.0, 0.8), "disgust": (-3.0, -4.0, 2.0, 0.8),
    "fear": (-1.5, 0, 0, 1.0), "happy": (-1.5, 0, 2.5, 1.2), "neutral": (0, 0, 0, 1.0), "sad": (5.0, 0, -3.0, 0.55),
    "surprise": (-3.0, 0, 0, 1.1),
}  # fmt: skip


@dataclass(frozen=True)
class Performance:
    """A clip's worth of poses, one per frame.

    Attributes:
        poses: The poses.
        speech: The speech.
        emotion: The emotion of each frame.
        fps: Frames per second.
    """

    poses: tuple[Pose, ...]
    speech: Speech
    emotion: EmotionTrack
    fps: float


def perform(speech: Speech, emotion: EmotionTrack, seed: int, *, motion: float = 1.0) -> Performance:
    """Acts a speech in an emotion.

    Args:
        speech: What is said; its phonemes move the mouth.
        emotion: One row per frame; its length is the performance's.
        seed: Decides blinks, gaze and head motion.
        motion: Strength of the head's motion; 0 keeps it still.
    """
    frames, fps = len(emotion), emotion.fps
    times = (np.arange(frames) + 0.5) / fps
    rng = np.random.default_rng([seed, 31])
    mouth, tongue = speech_shapes(speech.phonemes, speech.clip, times)
    weights = emotion.weights.numpy().astype(np.float64)
    shapes = with_speech(emotion_shapes(weights), mouth)
    loud = loudness(speech.clip, times)
    beat = _slow(np.clip(loud, 0, 1.2), fps, 0.22)
    brows = np.clip(beat - 0.45, 0, 1) * 0.22 * (1 - weights[:, LABELS.index("sad")])
    shapes[:, INDEX["browInnerUp"]] += brows
    for side in ("Left", "Right"):
        shapes[:, INDEX["browOuterUp" + side]] += brows * 0.8
    gaze = _gaze(times, rng)
    blink = blinks(times, rng)
    posture = weights @ np.array([_POSTURE[label] for label in LABELS])
    posture = np.stack([_slow(column, fps, 0.35) for column in posture.T], 1)
    lively = motion * posture[:, 3]
    pitch = np.deg2rad(posture[:, 0] * motion + lively * (3.2 * (beat - 0.4) + 2.0 * _wander(times, rng, 0.12, 0.7)))
    yaw = np.deg2rad(posture[:, 1] * motion + lively * 5.0 * _wander(times, rng, 0.07, 0.45))
    roll = np.deg2rad(posture[:, 2] * motion + lively * 2.2 * _wander(times, rng, 0.08, 0.5))
    shift = np.stack([0.5 * lively * _wander(times, rng, 0.06, 0.3) for _ in range(3)], 1)
    breath = 0.16 * (1 + np.sin(2 * np.pi * times * 0.27 + rng.uniform(0, 6)))
    shapes = np.clip(shapes, 0, 1)
    poses = []
    for k in range(frames):
        look = (float(gaze[k, 0] - 0.55 * yaw[k]), float(gaze[k, 1] + 0.5 * pitch[k]))
        row = gaze_shapes(shapes[k], look)
        for side in ("Left", "Right"):
            row[INDEX["eyeBlink" + side]] = max(row[INDEX["eyeBlink" + side]], blink[k])
        poses.append(Pose(row, look, (float(pitch[k]), float(yaw[k]), float(roll[k])),
                          (float(shift[k, 0]), float(shift[k, 1]), float(shift[k, 2])), float(tongue[k]),
                              float(breath[k])))  # fmt: skip
    return Performance(tuple(poses), speech, emotion, fps)


def blinks(times: Array, rng: np.random.Generator) -> Array:
    """Lid closure at each time: about 17 blinks a minute, closing in 80 ms and opening in 160 ms."""
    out = np.zeros(len(times))
    now = rng.uniform(0.5, 2.0)
    while len(times) and now < times[-1] + 0.2:
        t = times - now
        closing = np.where(t < 0, np.exp(-((t / 0.055) ** 2)), np.exp(-((np.maximum(0, t - 0.03) / 0.10) ** 2)))
        out = np.maximum(out, closing)
        now += 0.9 + rng.gamma(2.0, 1.3)
    return out


def _gaze(times: Array, rng: np.random.Generator) -> Array:
    """Yaw and pitch of fixations near the camera, radians, with quick jumps between them."""
    out = np.zeros((len(times), 2))
    now, here = 0.0, np.zeros(2)
    while len(times) and now < times[-1]:
        hold = 0.25 + rng.gamma(2.0, 0.45)
        away = rng.random() < 0.18
        there = rng.normal(size=2) * np.deg2rad([11, 6] if away else [1.8, 1.2])
        t = np.clip((times - now) / 0.05, 0, 1)[:, None]
        out = np.where(times[:, None] >= now, here + (there - here) * t, out)
        now, here = now + hold, there
    return out


def _wander(times: Array, rng: np.random.Generator, slowest: float, fastest: float) -> Array:
    """A smooth curve of about unit size."""
    rates = np.geomspace(slowest, fastest, 4) * rng.uniform(0.85, 1.15, 4)
    return np.asarray(np.sin(2 * np.pi * (times[:, None] * rates + rng.uniform(0, 1, 4))).sum(1) / 2)


def _slow(values: Array, fps: float, seconds: float) -> Array:
    """A moving average under a Hann window, edges held."""
    n = max(3, round(seconds * fps) * 2 + 1)
    window = np.hanning(n + 2)[1:-1]
    padded = np.pad(values, n // 2, mode="edge")
    return np.convolve(padded, window / window.sum(), "valid")
