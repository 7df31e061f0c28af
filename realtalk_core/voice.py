"""The `voice` extension point: text to speech with the time of every phoneme."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from realtalk_core.errors import ShapeError
from realtalk_core.types import AudioClip


@dataclass(frozen=True, slots=True)
class Phoneme:
    """One sound of speech.

    Attributes:
        ipa: The sound in the International Phonetic Alphabet; empty for a pause.
        start: When it begins, seconds.
        end: When it ends, seconds.
    """

    ipa: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Speech:
    """Speech and what is said when.

    Attributes:
        clip: The sound.
        phonemes: In order of time, without gaps or overlaps, from 0 to the clip's end; pauses included.
    """

    clip: AudioClip
    phonemes: tuple[Phoneme, ...]

    def __post_init__(self) -> None:
        at = 0.0
        for phoneme in self.phonemes:
            if abs(phoneme.start - at) > 1e-3 or phoneme.end < phoneme.start:
                raise ShapeError(f"Speech.phonemes: {phoneme} does not begin where the one before it ends ({at:.3f} s)")
            at = phoneme.end


@runtime_checkable
class Voice(Protocol):
    """Text to speech. The same text and configuration give the same phonemes at (nearly) the same times."""

    def speak(self, text: str) -> Speech:
        """Speaks a text.

        Raises:
            UserError: if the text is empty, or holds nothing that this voice can speak.
        """
        ...
