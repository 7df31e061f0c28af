"""Emotion labels, intensities, timelines and valence/arousal. Parsing needs no torch; building a track does.

A timeline is written `"neutral@0 happy:0.8@1.5 sad@4"`: label, optional intensity, the second at which it is reached.
In place of a label there may be a point, `valence=0.6,arousal=-0.2@1.5`.
Between key frames the weights move over a short cross-fade before each key, so that a label holds until then.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from realtalk_core.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

    from realtalk_core.types import EmotionTrack

LABELS: tuple[str, ...] = ("angry", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise")
"""The paper's eight labels in its order (alphabetical)."""
NEUTRAL = LABELS.index("neutral")

ALIASES: dict[str, str] = {
    "anger": "angry", "contemptuous": "contempt", "disgusted": "disgust", "fearful": "fear", "afraid": "fear",
    "happiness": "happy", "joy": "happy", "sadness": "sad", "surprised": "surprise",
    "ang": "angry", "con": "contempt", "dis": "disgust", "fea": "fear", "hap": "happy", "neu": "neutral",
    "sur": "surprise",
}  # fmt: skip

VALENCE_AROUSAL: dict[str, tuple[float, float]] = {
    "angry": (-0.51, 0.59), "contempt": (-0.55, 0.10), "disgust": (-0.60, 0.35), "fear": (-0.64, 0.60),
    "happy": (0.81, 0.51), "neutral": (0.0, 0.0), "sad": (-0.63, -0.27), "surprise": (0.40, 0.67),
}  # fmt: skip
"""Where each label lies on Russell's circumplex; after Russell & Mehrabian 1977 (contempt by AffectNet's means)."""

AXES = ("valence", "arousal")

CROSS_FADE_SECONDS = 0.4


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a timeline: a label with its intensity, or valence and arousal in its place."""

    seconds: float
    label: str
    intensity: float
    va: tuple[float, float] | None = None

    @property
    def values(self) -> list[float]:
        """The eight weights, then valence and arousal."""
        if self.va is not None:
            return [*weights_from_va(*self.va), *self.va]
        weights = [0.0] * len(LABELS)
        weights[NEUTRAL] = 1.0 - self.intensity
        weights[LABELS.index(self.label)] += self.intensity
        return [*weights, *(self.intensity * axis for axis in VALENCE_AROUSAL[self.label])]


@dataclass(frozen=True, slots=True)
class EmotionPlan:
    """A parsed `--emotion` or `--valence/--arousal`: keys in time order, the first at or before 0 s."""

    keys: tuple[Key, ...] = ()

    def track(self, frames: int, fps: float, start: int = 0) -> EmotionTrack:
        """The plan sampled at video frames `start … start + frames - 1` (frame k is at (k + 0.5) / fps seconds)."""
        import torch

        from realtalk_core.types import EmotionTrack

        rows = [self.values_at((start + k + 0.5) / fps) for k in range(frames)]
        values = torch.tensor(rows, dtype=torch.float32).reshape(frames, len(LABELS) + 2)
        return EmotionTrack(values[:, : len(LABELS)].contiguous(), values[:, len(LABELS) :].contiguous(), fps)

    def values_at(self, seconds: float) -> list[float]:
        """The eight weights, valence and arousal at one moment."""
        now = self.keys[0].values
        for key in self.keys[1:]:
            fade = (seconds - (key.seconds - CROSS_FADE_SECONDS / 2)) / CROSS_FADE_SECONDS
            fade = min(1.0, max(0.0, fade))
            fade = fade * fade * (3 - 2 * fade)
            now = [a + (b - a) * fade for a, b in zip(now, key.values, strict=True)]
        return now


def label_index(name: str) -> int:
    """Index of a label or one of its aliases.

    Raises:
        UserError: for an unknown name, with the nearest known one.

    >>> label_index("Happy"), label_index("surprised")
    (4, 7)
    """
    word = name.strip().lower()
    word = ALIASES.get(word, word)
    if word not in LABELS:
        raise UserError(f"unknown emotion {name!r}{did_you_mean(word, LABELS)}")
    return LABELS.index(word)


def parse_emotion(text: str) -> EmotionPlan:
    """Parses a label, a label with intensity, valence and arousal, or a timeline of these.

    Raises:
        UserError: naming the word at fault: unknown label, intensity outside [0, 1], valence or arousal outside
            [-1, 1], bad or unordered time.

    >>> parse_emotion("happy:0.7").keys
    (Key(seconds=0.0, label='happy', intensity=0.7, va=None),)
    >>> parse_emotion("valence=0.5, arousal=-0.2").keys[0].va
    (0.5, -0.2)
    >>> [k.seconds for k in parse_emotion("neutral@0 sad@4").keys]
    [0.0, 4.0]
    """
    words = _joined(text.replace(",", " ").split())
    if not words:
        raise UserError("--emotion is empty", "Write a label such as happy, happy:0.7 or 'neutral@0 happy:0.8@1.5'.")
    keys = [_parse_key(word, alone=len(words) == 1) for word in words]
    for before, after in pairwise(keys):
        if after.seconds <= before.seconds:
            raise UserError(
                f"--emotion: {_named(after)} does not come after {_named(before)}",
                "Write the times of a timeline in rising order.",
            )
    if keys[0].seconds > 0:
        keys.insert(0, Key(0.0, "neutral", 1.0))
    return EmotionPlan(tuple(keys))


def _joined(words: list[str]) -> list[str]:
    """The words with valence and arousal that stand beside each other made one."""
    out: list[str] = []
    for word in words:
        axis, before = _axis(word), _axis(out[-1]) if out else ""
        if axis and before and axis != before and "," not in out[-1] and "@" not in out[-1]:
            out[-1] += f",{word}"
        else:
            out.append(word)
    return out


def _axis(word: str) -> str:
    """`valence` or `arousal`, where a word gives one of them; else empty."""
    name, equals, _ = word.partition("=")
    return name.lower() if equals and name.lower() in AXES else ""


def _named(key: Key) -> str:
    name = key.label if key.va is None else f"valence={key.va[0]:g},arousal={key.va[1]:g}"
    return f"{name}@{key.seconds:g}"


def _point(name: str, word: str) -> tuple[float, float]:
    """Valence and arousal of `valence=V,arousal=A`; one that is not given is 0."""
    found = dict.fromkeys(AXES, 0.0)
    for part in name.split(","):
        axis, _, amount = part.partition("=")
        axis = axis.lower()
        if axis not in AXES:
            raise UserError(
                f"--emotion: unknown {axis!r} in {word!r}{did_you_mean(axis, AXES)}", "Write valence=V,arousal=A."
            )
        found[axis] = _number(amount, word, axis)
        if not -1 <= found[axis] <= 1:
            raise UserError(
                f"--emotion: {axis} {found[axis]:g} in {word!r} is outside -1 to 1", "Write a number between -1 and 1."
            )
    return found["valence"], found["arousal"]


def _parse_key(word: str, alone: bool) -> Key:
    name, at, when = word.partition("@")
    label, colon, amount = name.partition(":")
    seconds, intensity = 0.0, 1.0
    if at:
        seconds = _number(when, word, "time")
        if seconds < 0:
            raise UserError(
                f"--emotion: the time in {word!r} is negative", "Write seconds from the start, such as happy@1.5."
            )
    elif not alone:
        raise UserError(
            f"--emotion: {word!r} has no time", "In a timeline each entry ends in @SECONDS, such as happy:0.8@1.5."
        )
    if "=" in name:
        return Key(seconds, "neutral", 0.0, _point(name, word))
    if colon:
        intensity = _number(amount, word, "intensity")
        if not 0 <= intensity <= 1:
            raise UserError(
                f"--emotion: intensity {intensity:g} in {word!r} is outside 0 to 1",
                "Write it between 0 (neutral) and 1 (full).",
            )
    return Key(seconds, LABELS[label_index(label)], intensity)


def _number(text: str, word: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"--emotion: {text!r} in {word!r} is no {what}", "Write a number, such as happy:0.8@1.5.")
    return value


def weights_from_va(valence: float, arousal: float) -> list[float]:
    """Label weights of a point on the circumplex: the two labels nearest in angle share it, radius gives intensity.

    >>> [round(w, 2) for w in weights_from_va(0, 0)]
    [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    """
    radius = math.hypot(valence, arousal)
    weights = [0.0] * len(LABELS)
    weights[NEUTRAL] = 1.0
    if radius < 1e-6:
        return weights
    angle = math.atan2(arousal, valence)
    ring = sorted(
        (math.atan2(a, v), label, math.hypot(v, a)) for label, (v, a) in VALENCE_AROUSAL.items() if label != "neutral"
    )
    right = next((i for i, item in enumerate(ring) if item[0] >= angle), 0)
    (a0, left_label, r0), (a1, right_label, r1) = ring[right - 1], ring[right]
    span = (a1 - a0) % math.tau or math.tau
    t = ((angle - a0) % math.tau) / span
    intensity = min(1.0, radius / (r0 + (r1 - r0) * t))
    weights[LABELS.index(left_label)] += (1 - t) * intensity
    weights[LABELS.index(right_label)] += t * intensity
    weights[NEUTRAL] = max(0.0, 1 - intensity)
    return weights


def parse_va(valence: float, arousal: float) -> EmotionPlan:
    """A constant valence/arousal.

    Raises:
        UserError: if either is outside [-1, 1].
    """
    for name, value in (("--valence", valence), ("--arousal", arousal)):
        if not -1 <= value <= 1:
            raise UserError(f"{name} {value:g} is outside -1 to 1", "Write a number between -1 and 1.")
    return EmotionPlan((Key(0.0, "neutral", 0.0, (valence, arousal)),))


def va_track(va: Tensor, fps: float) -> EmotionTrack:
    """The emotion of frames from their valence and arousal.

    Args:
        va: `T 2`, within the disc or square of [-1, 1].
        fps: Frames per second.
    """
    import torch

    from realtalk_core.types import EmotionTrack

    weights = torch.tensor([weights_from_va(*point) for point in va.tolist()]).reshape(len(va), len(LABELS))
    return EmotionTrack(weights, va.clamp(-1, 1), fps)
