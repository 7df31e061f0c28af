"""Checks of voices: what is said when, and what is refused."""

from __future__ import annotations

import unicodedata

from realtalk_core.errors import UserError
from realtalk_core.testing.checks import CheckFailure, check, require
from realtalk_core.testing.subject import Subject
from realtalk_core.voice import Speech, readable

END_SECONDS = 0.02
NOTHING = ("...", "?!", "-", "…")
ANY = (
    "42", "3.5 %", "😀", "你好", "привет", "مرحبا", "naïve façade", "a" * 1500, "<pad> <unk> &amp; </speak>",
    "\\n %s {0} $HOME", "\u200d\u200bzero width", "e\u0301\u0302\u0303\u0304 stacked", "rock'n'roll — “quoted” (aside)",
)  # fmt: skip


@check("voice/covers-the-clip", ("voice",))
def voice_covers(subject: Subject) -> None:
    """Phonemes begin at 0 and end with the sound, to 20 ms."""
    for text in subject.texts:
        speech = _said(subject, text)
        require(speech.phonemes, "there are no phonemes")
        off = abs(speech.phonemes[-1].end - speech.clip.seconds)
        require(off <= END_SECONDS, f"the last phoneme ends {off:.3f} s from the end of {text!r}")


@check("voice/says-the-text", ("voice",))
def voice_says(subject: Subject) -> None:
    """A text gives a sound in [-1, 1] that is not silent, and sounds of the IPA: letters, with marks on them."""
    text = subject.texts[0]
    speech = _said(subject, text)
    peak = float(speech.clip.samples.abs().max()) if speech.clip.samples.numel() else 0.0
    require(1e-3 < peak <= 1.0, f"the highest sample is {peak:.3g}")
    sounds = [p.ipa for p in speech.phonemes if p.ipa]
    letters = sum(c.isalpha() for c in text)
    require(len(sounds) >= letters / 4, f"{text!r} has {letters} letters and {len(sounds)} sounds")
    strange = sorted({c for ipa in sounds for c in ipa if unicodedata.category(c) not in ("Ll", "Lo", "Lm", "Mn")})
    require(not strange, f"these are no letters of the IPA: {' '.join(strange)}")


@check("voice/longer-text", ("voice",))
def voice_longer(subject: Subject) -> None:
    """A longer text takes longer and has more sounds."""
    short, long = (_said(subject, text) for text in subject.texts)
    require(long.clip.seconds > short.clip.seconds, f"{long.clip.seconds:.2f} s after {short.clip.seconds:.2f} s")
    counts = [sum(bool(p.ipa) for p in speech.phonemes) for speech in (short, long)]
    require(counts[1] > counts[0], f"{counts[1]} sounds after {counts[0]}")


@check("voice/refuses-nothing", ("voice",))
def voice_refuses(subject: Subject) -> None:
    """A text without anything to speak, such as `...`, is refused with a UserError."""
    subject.needs_output()
    for text in NOTHING:
        try:
            speech = subject.component.speak(text)
        except UserError:
            continue
        raise CheckFailure(f"{text!r} gives {speech.clip.seconds:.2f} s of sound")


@check("voice/any-text", ("voice",))
def voice_any(subject: Subject) -> None:
    """Whatever the text, it is spoken or refused with a UserError."""
    subject.needs_output()
    for text in ANY:
        try:
            subject.component.speak(readable(text))
        except UserError:
            continue
        except Exception as error:
            raise CheckFailure(f"{text[:40]!r} raises {type(error).__name__}: {error}") from error


def _said(subject: Subject, text: str) -> Speech:
    subject.needs_output()
    speech = subject.component.speak(readable(text))
    require(isinstance(speech, Speech), f"speak() returns {type(speech).__name__}, not Speech")
    assert isinstance(speech, Speech)
    return speech
