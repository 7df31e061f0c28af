"""From phonemes to the mouth: targets for each sound, blended as neighbours ask for it.

Co-articulation is Cohen & Massaro's (1993): each sound pulls every control of the mouth towards its target with a
strength that rises and falls round it, and the mouth follows the weighted mean. Closures of the lips are not blended:
p, b and m always close.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from realtalk_core.landmarks import BLENDSHAPES
from realtalk_core.types import AudioClip
from realtalk_core.voice import Phoneme

Array = NDArray[np.float64]
INDEX = {name: k for k, name in enumerate(BLENDSHAPES)}
CONTROLS = ("jaw", "spread", "round", "funnel", "teeth", "tuck", "tongue")

# sounds: jaw, spread, round, funnel, teeth (lips parted), tuck (lower lip to upper teeth), tongue; strength
_TARGETS: dict[str, tuple[tuple[float, ...], float]] = {
    "ɑ": ((0.66, 0.0, 0.0, 0.0, 0.1, 0, 0), 1.0), "a": ((0.64, 0.15, 0.0, 0.0, 0.2, 0, 0), 1.0),
    "æ": ((0.56, 0.45, 0.0, 0.0, 0.3, 0, 0), 1.0), "ɐ": ((0.5, 0.1, 0, 0, 0.1, 0, 0), 0.9),
    "ʌ": ((0.48, 0.05, 0.0, 0.0, 0.15, 0, 0), 0.9), "ə": ((0.28, 0.05, 0.0, 0.0, 0.1, 0, 0), 0.45),
    "ɛ": ((0.44, 0.40, 0.0, 0.0, 0.25, 0, 0), 0.9), "e": ((0.34, 0.55, 0.0, 0.0, 0.25, 0, 0), 0.9),
    "ɪ": ((0.26, 0.45, 0.0, 0.0, 0.25, 0, 0.1), 0.8), "i": ((0.18, 0.85, 0.0, 0.0, 0.35, 0, 0.2), 1.0),
    "ɜ": ((0.30, 0.0, 0.25, 0.25, 0.1, 0, 0.2), 0.9), "ɚ": ((0.28, 0.0, 0.25, 0.2, 0.1, 0, 0.2), 0.7),
    "ɒ": ((0.58, 0.0, 0.35, 0.2, 0.0, 0, 0), 1.0), "ɔ": ((0.48, 0.0, 0.60, 0.3, 0.0, 0, 0), 1.0),
    "o": ((0.36, 0.0, 0.80, 0.3, 0.0, 0, 0), 1.0), "ʊ": ((0.24, 0.0, 0.70, 0.3, 0.0, 0, 0), 0.9),
    "u": ((0.16, 0.0, 1.0, 0.3, 0.0, 0, 0), 1.0), "y": ((0.16, 0.0, 1.0, 0.4, 0.0, 0, 0.2), 1.0),
    "ø": ((0.32, 0.0, 0.8, 0.4, 0.0, 0, 0), 1.0), "œ": ((0.40, 0.0, 0.65, 0.4, 0.0, 0, 0), 1.0),
    "ɨ": ((0.22, 0.3, 0, 0, 0.2, 0, 0), 0.8), "ɯ": ((0.2, 0.2, 0, 0, 0.2, 0, 0), 0.8),
    "p": ((0.10, 0, 0, 0, 0, 0, 0), 0.5), "f": ((0.12, 0.1, 0, 0, 0.25, 1.0, 0), 1.1),
    "t": ((0.12, 0.15, 0, 0, 0.25, 0, 0.9), 0.45), "s": ((0.04, 0.35, 0, 0, 0.5, 0, 0.6), 0.9),
    "θ": ((0.16, 0.1, 0, 0, 0.3, 0, 1.0), 0.8), "ʃ": ((0.09, 0.0, 0.30, 0.85, 0.4, 0, 0.5), 1.1),
    "l": ((0.22, 0.1, 0, 0, 0.2, 0, 1.0), 0.5), "r": ((0.18, 0.0, 0.45, 0.3, 0.1, 0, 0.3), 0.8),
    "w": ((0.12, 0.0, 1.0, 0.25, 0.0, 0, 0), 1.2), "j": ((0.14, 0.55, 0, 0, 0.25, 0, 0.3), 0.8),
    "k": ((0.20, 0.1, 0, 0, 0.15, 0, 0.1), 0.4), "h": ((0.25, 0.0, 0, 0, 0.1, 0, 0), 0.15),
    "": ((0.0, 0.0, 0.0, 0.0, 0.0, 0, 0), 0.8),
}  # fmt: skip
_LIKE = {"b": "p", "m": "p", "v": "f", "d": "t", "n": "t", "z": "s", "ð": "θ", "ʒ": "ʃ", "ɹ": "r", "ɾ": "t", "ɡ": "k",
         "g": "k", "ŋ": "k", "x": "k", "ç": "j", "ɬ": "l", "ɫ": "l", "ʁ": "k", "ɲ": "t", "ʎ": "l", "ɣ": "k", "ɕ": "ʃ",
         "ʑ": "ʃ", "ʂ": "ʃ", "ʐ": "ʃ", "ɟ": "j", "c": "j", "q": "k", "β": "f", "ɸ": "f", "ʋ": "f", "ʔ": "h", "ɦ": "h",
         "ʈ": "t", "ɖ": "t", "ɳ": "t", "ɭ": "l", "ɽ": "t", "ʏ": "y", "ɤ": "ʌ", "ɘ": "ə", "ɵ": "ø", "ɞ": "œ", "ɝ": "ɜ",
         "ᵻ": "ɪ", "ɥ": "w", "ʍ": "w", "χ": "k", "ʉ": "u", "ʀ": "k", "ɱ": "f", "ħ": "h", "ʕ": "h",
         "ʝ": "j"}  # fmt: skip
CLOSED = frozenset("pbm")
REACH_SECONDS = 0.055
"""How far beyond its own time a sound still pulls."""


def unknown_sounds(ipa: str) -> str:
    """The letters of a phoneme, if none of them is a sound that the mouth can form; empty for a pause."""
    return "" if any(c in _TARGETS or c in _LIKE for c in ipa) else ipa.strip()


def _sounds(phonemes: Sequence[Phoneme]) -> list[tuple[str, float, float]]:
    """Single sounds with their times; a diphthong or affricate gives its parts an equal share."""
    out = []
    for p in phonemes:
        # a sound that nobody knows leaves the mouth to its neighbours, as h does; only a pause closes it
        letters = [c for c in p.ipa if c in _TARGETS or c in _LIKE] or ["h" if p.ipa.strip() else ""]
        step = (p.end - p.start) / len(letters)
        out += [(c, p.start + k * step, p.start + (k + 1) * step) for k, c in enumerate(letters)]
    return out


def closures(phonemes: Sequence[Phoneme], times: Array) -> Array:
    """How far the lips are pressed together at each time, 1 in the middle of every p, b and m."""
    out = np.zeros(len(times))
    for sound, start, end in _sounds(phonemes):
        if sound in CLOSED:
            half = 0.40 * (end - start) + 0.034
            out = np.maximum(out, np.exp(-((np.abs(times - (start + end) / 2) / half) ** 4)))
    return out


def controls(phonemes: Sequence[Phoneme], times: Array) -> Array:
    """The mouth's controls `T 7` (`CONTROLS`) at times in seconds."""
    total = np.full((len(times), len(CONTROLS)), 1e-9)
    out = np.zeros((len(times), len(CONTROLS)))
    for sound, start, end in _sounds(phonemes):
        target, strength = _TARGETS[_LIKE.get(sound, sound)]
        middle, half = (start + end) / 2, (end - start) / 2
        reach = half * 0.8 + REACH_SECONDS
        pull = strength * np.exp(-((np.abs(times - middle) / reach) ** 2))
        if sound == "":
            pull = strength * 1.5 / (1 + np.exp(np.clip((np.abs(times - middle) - half + 0.02) / 0.035, -50, 50)))
        # sounds that round, tuck or raise the tongue insist on just that; the others follow their neighbours there
        insist = 0.35 + np.abs(np.array(target)) * 1.6
        insist[0] = 1.0
        out += pull[:, None] * insist * np.array(target)
        total += pull[:, None] * insist
    return out / total


def loudness(clip: AudioClip, times: Array) -> Array:
    """Loudness at each time relative to the clip's loud parts, 0 to about 1."""
    samples = clip.samples.numpy().astype(np.float64)
    window = max(1, round(0.04 * clip.sample_rate))
    power = np.convolve(samples**2, np.hanning(window) / np.hanning(window).sum(), "same") if len(samples) else samples
    level = np.sqrt(np.interp(times * clip.sample_rate, np.arange(len(power)), power)) if len(power) else times * 0
    return np.asarray(level / max(1e-6, float(np.quantile(level, 0.95))))


def speech_shapes(phonemes: Sequence[Phoneme], clip: AudioClip, times: Array) -> tuple[Array, Array]:
    """Blendshapes `T 52` of speech, and the height of the tongue `T`."""
    c = dict(zip(CONTROLS, controls(phonemes, times).T, strict=True))
    press = closures(phonemes, times)
    loud = 0.72 + 0.4 * np.clip(loudness(clip, times), 0, 1.1)
    free = 1 - press
    out = np.zeros((len(times), 52))

    def both(name: str, values: Array) -> None:
        for full in (name,) if name in INDEX else (name + "Left", name + "Right"):
            out[:, INDEX[full]] = np.clip(values, 0, 1)

    both("jawOpen", c["jaw"] * loud * (1 - 0.94 * press) * (1 - 0.6 * c["tuck"]))
    both("mouthPucker", 0.85 * c["round"] * (1 - 0.3 * press))
    both("mouthFunnel", (0.30 * c["round"] + 0.65 * c["funnel"]) * free)
    both("mouthStretch", 0.38 * c["spread"] * free)
    both("mouthSmile", 0.22 * c["spread"] * (1 - 0.4 * press))
    both("mouthUpperUp", (0.28 * c["teeth"] + 0.15 * c["tuck"] + 0.10 * c["jaw"]) * free)
    both("mouthLowerDown", (0.55 * c["teeth"] + 0.10 * c["jaw"]) * free * (1 - c["tuck"]))
    both("mouthRollLower", 0.75 * c["tuck"] * free + 0.28 * press)
    both("mouthRollUpper", 0.20 * press)
    both("mouthPress", 0.55 * press)
    return out, c["tongue"]
