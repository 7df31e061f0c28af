"""The eight emotions as facial action units, and action units as ARKit's blendshapes.

Which units make which emotion follows EMFACS (Friesen & Ekman 1983; tables in Ekman, Friesen & Hager 2002, FACS
Investigator's Guide, ch. 12); contempt is the one-sided tightened corner of Ekman & Friesen 1986. Strengths were set
by looking, and by comparing a face reader's response with its response to real actors (docs/actor.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from realtalk_core.emotion import LABELS
from realtalk_core.landmarks import BLENDSHAPES

Array = NDArray[np.float64]
INDEX = {name: k for k, name in enumerate(BLENDSHAPES)}

ACTION_UNITS: dict[str, dict[str, float]] = {
    "1": {"browInnerUp": 1.0}, "2": {"browOuterUp": 1.0}, "4": {"browDown": 1.0}, "5": {"eyeWide": 1.0},
    "6": {"cheekSquint": 1.0, "eyeSquint": 0.35}, "7": {"eyeSquint": 1.0}, "9": {"noseSneer": 1.0},
    "10": {"mouthUpperUp": 1.0}, "12": {"mouthSmile": 1.0}, "14": {"mouthDimple": 1.0}, "15": {"mouthFrown": 1.0},
    "16": {"mouthLowerDown": 1.0}, "17": {"mouthShrugLower": 1.0}, "20": {"mouthStretch": 1.0},
    "22": {"mouthFunnel": 1.0}, "23": {"mouthPress": 0.7, "mouthRollUpper": 0.2, "mouthRollLower": 0.2},
    "24": {"mouthPress": 1.0}, "25": {"jawOpen": 0.12}, "26": {"jawOpen": 0.38}, "43": {"eyeBlink": 1.0},
}  # fmt: skip
"""What each unit means in blendshapes; names without a side stand for both."""

EMOTIONS: dict[str, dict[str, float]] = {
    "angry": {"4": 1.0, "5": 0.15, "7": 0.75, "23": 0.6, "9": 0.25, "17": 0.2},
    "contempt": {"L12": 0.4, "L14": 0.8, "10": 0.65, "L10": 0.3, "1": 0.5, "2": 0.45, "7": 0.15},
    "disgust": {"4": 0.85, "6": 0.45, "7": 0.75, "9": 0.85, "10": 0.7, "15": 0.35, "17": 0.3},
    "fear": {"1": 0.9, "2": 0.35, "4": 0.2, "5": 0.85, "20": 0.7, "25": 1.0, "26": 0.1, "12": 0.4},
    "happy": {"6": 0.65, "12": 0.95, "10": 0.55, "25": 0.8},
    "neutral": {},
    "sad": {"1": 0.45, "4": 0.9, "7": 0.9, "15": 0.7, "17": 0.35, "43": 0.12},
    "surprise": {"1": 0.9, "2": 0.9, "5": 0.9, "26": 1.0},
}
"""Strength of each unit at full intensity; an L or R before the number keeps it to the person's left or right."""

UPPER_FACE = tuple(k for k, name in enumerate(BLENDSHAPES) if name.startswith(("brow", "eye", "cheekSquint", "nose")))


def unit_shapes(units: dict[str, float]) -> Array:
    """Blendshapes `52` of action units."""
    out = np.zeros(52)
    for unit, strength in units.items():
        sides = {"L": ("Left",), "R": ("Right",)}.get(unit[0], ("Left", "Right"))
        for name, share in ACTION_UNITS[unit.lstrip("LR")].items():
            for full in (name,) if name in INDEX else tuple(name + side for side in sides):
                out[INDEX[full]] += strength * share
    return np.clip(out, 0, 1)


def emotion_table() -> Array:
    """Blendshapes `8 52` of each label at full intensity."""
    return np.stack([unit_shapes(EMOTIONS[label]) for label in LABELS])


def emotion_shapes(weights: Array) -> Array:
    """Blendshapes `T 52` of emotion weights `T 8` (`realtalk_core.types.EmotionTrack`)."""
    return np.clip(weights @ emotion_table(), 0, 1)


def with_speech(emotion: Array, speech: Array) -> Array:
    """Speech laid over emotion, both `T 52`.

    The upper face is the emotion's alone. Round the mouth the emotion gives way where speech needs the lips: the
    more a phoneme presses or rounds them, the less of the emotion's pull on them is left, so that p, b and m close.
    """
    out = emotion + speech
    press = speech[:, [INDEX["mouthPressLeft"], INDEX["mouthRollLower"], INDEX["mouthClose"]]].max(1)
    need = np.clip(np.maximum(press * 1.6, speech[:, INDEX["mouthPucker"]] * 0.8), 0, 1)
    for name, gives in (("jawOpen", 1.0), ("mouthUpperUp", 0.95), ("mouthLowerDown", 1.0), ("mouthSmile", 0.35),
                        ("mouthStretch", 0.5), ("mouthFrown", 0.3), ("mouthFunnel", 1.0), ("noseSneer",
                            0.4)):  # fmt: skip
        for full in (name,) if name in INDEX else (name + "Left", name + "Right"):
            k = INDEX[full]
            out[:, k] = emotion[:, k] * (1 - gives * need) + speech[:, k]
    return np.clip(out, 0, 1)
