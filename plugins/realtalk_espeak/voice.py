"""Text to speech with the time of every phoneme, by eSpeak NG's synthesis callback."""

from __future__ import annotations

import ctypes
import unicodedata
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from realtalk_core.errors import UserError, did_you_mean
from realtalk_core.types import AudioClip
from realtalk_core.voice import Phoneme, Speech
from realtalk_espeak.library import LOCK, PHONEME, PITCH, RANGE, RATE, TERMINATED, library

if TYPE_CHECKING:
    from realtalk_espeak import EspeakConfig

_MARKS = "ˈˌ'ːˑ.|‿͡"
"""Stress, length and tie marks: they are no sounds of their own."""


SCRIPTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("ru", "uk", "be", "bg", "mk", "kk", "ky", "tt", "ba", "cv", "sr", "uz", "nog"), ("CYRILLIC",)),
    **dict.fromkeys(("el", "grc"), ("GREEK",)), **dict.fromkeys(("ar", "fa", "ur", "sd", "ug"), ("ARABIC",)),
    **dict.fromkeys(("hi", "mr", "ne", "kok"), ("DEVANAGARI",)), **dict.fromkeys(("cmn", "yue", "hak"), ("CJK",
        "BOPOMOFO")),
    "ja": ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"), "ko": ("HANGUL", "CJK"), "he": ("HEBREW",),
    "hy": ("ARMENIAN",), "hyw": ("ARMENIAN",), "ka": ("GEORGIAN",), "bn": ("BENGALI",), "as": ("BENGALI",),
    "bpy": ("BENGALI",), "gu": ("GUJARATI",), "pa": ("GURMUKHI",), "ta": ("TAMIL",), "te": ("TELUGU",),
    "kn": ("KANNADA",), "ml": ("MALAYALAM",), "or": ("ORIYA",), "si": ("SINHALA",), "my": ("MYANMAR",),
    "th": ("THAI",), "am": ("ETHIOPIC",), "shn": ("MYANMAR",), "chr": ("CHEROKEE",),
}  # fmt: skip
"""Scripts, beside Latin, that a language's voice reads (first word of the letters' Unicode names)."""


class EspeakVoice:
    """One voice of eSpeak NG."""

    def __init__(self, config: EspeakConfig) -> None:
        self.config = config
        with LOCK:
            if not library().set_voice(config.voice):
                languages = library().languages()
                base = config.voice.partition("+")[0]
                raise UserError(
                    f"eSpeak NG has no voice {config.voice!r}{did_you_mean(base, languages)}",
                    "Choose a language, optionally with a variant: en-us, de, en-gb+f3.",
                )

    def speak(self, text: str) -> Speech:
        """Speaks a text.

        Raises:
            UserError: if the text is empty, or holds nothing that this voice can speak.
        """
        if not text.strip():
            raise UserError("the text to speak is empty", 'Write a sentence, such as --text "Good morning."')
        self._check_script(text)
        chunks: list[np.ndarray[Any, np.dtype[np.int16]]] = []
        events: list[tuple[float, str]] = []

        def hear(samples: Any, count: int, found: Any) -> None:
            if count > 0 and samples:
                chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
            k = 0
            while found and found[k].type != TERMINATED:
                if found[k].type == PHONEME:
                    raw = ctypes.string_at(ctypes.addressof(found[k].id), 8).split(b"\0")[0]
                    events.append((found[k].audio_position / 1000, raw.decode("utf-8", "ignore")))
                k += 1

        with LOCK:
            voice = library()
            voice.set_voice(self.config.voice)
            for parameter, value in (
                (RATE, self.config.words_per_minute), (PITCH, self.config.pitch), (RANGE, self.config.pitch_range)
            ):  # fmt: skip
                voice.set_parameter(parameter, value)
            voice.synthesize(text, hear)
            rate = voice.sample_rate
        sound = np.concatenate(chunks) if chunks else np.zeros(0, np.int16)
        if not any(_sound(name) for _, name in events) or not np.any(sound):
            raise UserError(
                f"the voice {self.config.voice!r} can speak nothing of {text.strip()[:40]!r}",
                "Write words in the script of the voice's language, or choose a voice of the text's language.",
            )
        samples = torch.from_numpy(sound.astype(np.float32) / 32768)
        return Speech(AudioClip(samples, rate), _phonemes(events, len(sound) / rate))

    def _check_script(self, text: str) -> None:
        """Refuses letters that the language is not written in: eSpeak NG would spell out their names instead."""
        language = self.config.voice.partition("+")[0].partition("-")[0]
        known = {"LATIN", *SCRIPTS.get(language, ())}
        for letter in text:
            script = unicodedata.name(letter, "LATIN").split()[0] if letter.isalpha() else "LATIN"
            if script not in known:
                raise UserError(
                    f"the voice {self.config.voice!r} cannot speak {letter!r} ({script.capitalize()} script)",
                    "Choose a voice of the text's language, such as cmn, ru or el, or write the text in Latin letters.",
                )


def _sound(name: str) -> str:
    return "".join(c for c in name if c not in _MARKS and not c.isspace() and c not in "_:;,!?-")


def _phonemes(events: list[tuple[float, str]], seconds: float) -> tuple[Phoneme, ...]:
    """Events, each the moment a phoneme begins, to phonemes without gaps."""
    out: list[Phoneme] = []
    events = sorted(((min(t, seconds), name) for t, name in events), key=lambda e: e[0])
    if not events or events[0][0] > 0:
        events.insert(0, (0.0, ""))
    for (start, name), (end, _) in zip(events, [*events[1:], (seconds, "")], strict=True):
        ipa = _sound(name)
        if out and ipa == "" and out[-1].ipa == "":
            out[-1] = Phoneme("", out[-1].start, end)
        elif end > start or not out:
            out.append(Phoneme(ipa, start, end))
    return tuple(out)
