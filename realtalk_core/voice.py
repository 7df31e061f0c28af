"""The `voice` extension point: text to speech with the time of every phoneme.

A voice gives the sound as its synthesiser makes it. `speak` is what commands call: it looks at the text first, and
brings every voice to one loudness and, if asked, one sample rate.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from realtalk_core.audio import level, resample
from realtalk_core.errors import ShapeError, UserError
from realtalk_core.types import AudioClip

MAX_CHARACTERS = 20_000
"""The longest text spoken at once: about twenty minutes."""
LOUDNESS_LUFS = -20.0
"""How loud every voice is made (ITU-R BS.1770-5): plain speech with room for its peaks."""
_SPACES = "\t\n\r\v\f\x1c\x1d\x1e\x1f\x85"


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
    """Text to speech. The same text and configuration give the same speech."""

    def speak(self, text: str) -> Speech:
        """Speaks a text.

        Args:
            text: As `readable` leaves it: not empty, composed, without control characters.

        Raises:
            UserError: if it holds something that this voice cannot speak, or nothing to speak, such as `...`.
        """
        ...


@dataclass(frozen=True, slots=True)
class VoiceName:
    """One of a component's voices, as `realtalk voices` lists it.

    Attributes:
        name: What `--voice` takes, such as `en-gb`; one that begins with `+` is appended to another's.
        about: What it is, such as `English (Great Britain)`.
    """

    name: str
    about: str


@runtime_checkable
class ManyVoices(Protocol):
    """The optional capability of a component with several voices; which one speaks is its parameter `voice`."""

    def voices(self) -> Sequence[VoiceName]:
        """Every voice it has."""
        ...


def speak(voice: Voice, text: str, sample_rate: int | None = None) -> Speech:
    """Speaks a text at one loudness, whatever the voice.

    Args:
        voice: Who speaks.
        text: What is said.
        sample_rate: Rate of the sound; the voice's own if None.

    Raises:
        UserError: if the text is empty, too long, or holds what cannot be spoken.
    """
    speech = voice.speak(readable(text))
    clip = speech.clip if sample_rate is None else resample(speech.clip, sample_rate)
    return Speech(level(clip, LOUDNESS_LUFS), speech.phonemes)


def readable(text: str) -> str:
    r"""The text with characters composed (NFC) and every run of white space as one blank or one line end.

    Raises:
        UserError: if nothing is left, it is too long, or it holds control characters.

    >>> readable("  Good   morning.\r\n\n")
    'Good morning.'
    """
    if len(text) > MAX_CHARACTERS:
        raise UserError(
            f"the text has {len(text)} characters; at most {MAX_CHARACTERS} are spoken at once (about twenty minutes)",
            "Speak it in parts.",
        )
    for place, letter in enumerate(text):
        if unicodedata.category(letter) in ("Cc", "Cs") and letter not in _SPACES:
            kind = "the control character" if unicodedata.category(letter) == "Cc" else "half a character,"
            raise UserError(
                f"character {place + 1} of the text is {kind} U+{ord(letter):04X}, which nobody can speak",
                "Delete it; the text may have been copied from a program that uses it for its own purposes.",
            )
    plain = unicodedata.normalize("NFC", "".join(map(_undressed, text)))
    lines = (" ".join(line.split()) for line in plain.splitlines())
    clean = "\n".join(line for line in lines if line).strip("\ufeff ")
    if not clean:
        raise UserError("the text to speak is empty", 'Write a sentence, such as "Good morning."')
    return clean


def _undressed(letter: str) -> str:
    """A letter in fancy dress (full-width, bold, a ligature) as what it dresses up."""
    dressed = unicodedata.decomposition(letter).startswith(("<wide>", "<narrow>", "<font>", "<compat>"))
    return unicodedata.normalize("NFKC", letter) if dressed and letter != "µ" else letter


def join(parts: Sequence[Speech], pause: float = 0.0) -> Speech:
    """Speeches one after another.

    Args:
        parts: At least one, all of one sample rate.
        pause: Silence between them, seconds.

    Raises:
        ShapeError: if there is none, or their rates differ.
    """
    rates = {part.clip.sample_rate for part in parts}
    if len(rates) != 1:
        raise ShapeError(f"join: one sample rate is needed, got {sorted(rates) or 'no speech'}")
    rate = rates.pop()
    silence = torch.zeros(round(pause * rate))
    samples: list[torch.Tensor] = []
    phonemes: list[Phoneme] = []
    for part in parts:
        if samples and len(silence):
            at = sum(map(len, samples)) / rate
            phonemes.append(Phoneme("", at, at + len(silence) / rate))
            samples.append(silence)
        at = sum(map(len, samples)) / rate
        phonemes += [Phoneme(p.ipa, p.start + at, p.end + at) for p in part.phonemes]
        samples.append(part.clip.samples)
    return Speech(AudioClip(torch.cat(samples), rate), tuple(phonemes))
