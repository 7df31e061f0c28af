"""Text to speech with the time of every phoneme, by eSpeak NG's synthesis callback."""

from __future__ import annotations

import ctypes
import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from realtalk_core.errors import RealTalkError, UserError
from realtalk_core.types import AudioClip
from realtalk_core.voice import Phoneme, Speech, VoiceName
from realtalk_espeak.library import IPA, OWN_NAMES, PHONEME, PITCH, RANGE, RATE, TERMINATED, catalogue, started

if TYPE_CHECKING:
    from realtalk_espeak import EspeakConfig

_LIST = "See every voice and variant: realtalk voices"
_LATIN = ("LATIN", "MODIFIER", "FEMININE", "MASCULINE")
"""Latin letters, letters raised beside them, and the two of ordinals."""
_SWITCH = "("
"""How a phoneme's name begins that only says in which language it goes on, such as `(en)`."""
_PAUSE = "_"
"""How eSpeak NG's own name of a pause begins."""
_ASCII = str.maketrans(dict(zip("SZANXDTεʦ", ("ʃ", "ʒ", "ɑ", "ŋ", "χ", "ð", "θ", "ɛ", "ts"), strict=True)))
"""Letters that some of its languages write in other ways than the IPA's."""
_MARKS = frozenset("ˈˌːˑ")

SCRIPTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("ru", "uk", "be", "bg", "mk", "kk", "ky", "tt", "ba", "cv", "sr", "bs", "hr", "uz", "nog", "lfn"),
                    ("CYRILLIC",)),
    **dict.fromkeys(("el", "grc"), ("GREEK",)), **dict.fromkeys(("ar", "fa", "ur", "sd", "ug"), ("ARABIC",)),
    **dict.fromkeys(("hi", "mr", "ne", "kok"), ("DEVANAGARI",)), **dict.fromkeys(("cmn", "yue"), ("CJK", "BOPOMOFO")),
    "ja": ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"), "ko": ("HANGUL",), "he": ("HEBREW",), "en": ("SHAVIAN",),
    "hy": ("ARMENIAN",), "hyw": ("ARMENIAN",), "ka": ("GEORGIAN",), "bn": ("BENGALI",), "as": ("BENGALI",),
    "bpy": ("BENGALI",), "gu": ("GUJARATI",), "pa": ("GURMUKHI",), "ta": ("TAMIL",), "te": ("TELUGU",),
    "kn": ("KANNADA",), "ml": ("MALAYALAM",), "or": ("ORIYA",), "si": ("SINHALA",), "my": ("MYANMAR",),
    "th": ("THAI",), "am": ("ETHIOPIC",), "ti": ("ETHIOPIC",), "shn": ("MYANMAR",),
}  # fmt: skip
"""Scripts, beside Latin, that a language's voice reads (first word of the letters' Unicode names); tried one by one."""


_Sound = np.ndarray[Any, np.dtype[np.int16]]


@dataclass(frozen=True, slots=True)
class _Event:
    """A phoneme begins: when, under which name, its letters of the IPA, and eSpeak NG's own name for it."""

    at: float
    name: str
    ipa: str
    own_name: str


class EspeakVoice:
    """One voice of eSpeak NG."""

    def __init__(self, config: EspeakConfig) -> None:
        self.config = config
        self._identifier, self._language = _found(config.voice)

    def voices(self) -> Sequence[VoiceName]:
        """Every language, then every variant."""
        about = {voice.identifier: voice.name for voice in catalogue()[0]}
        voices = [VoiceName(name, about[identifier]) for name, (identifier, _) in _names().items()]
        variants = [VoiceName(f"+{variant.replace(' ', '-')}", "variant") for variant in _variants()]
        return [*sorted(voices, key=lambda v: v.name), *variants]

    def speak(self, text: str) -> Speech:
        """Speaks a text.

        Raises:
            UserError: if the text holds letters that the language is not written in, or nothing to speak.
        """
        self._check_script(text)
        sound, rate, events = self._synthesized(text, IPA)
        own = self._synthesized(text, OWN_NAMES)[2]
        if [at for at, _ in events] != [at for at, _ in own]:
            raise RealTalkError(f"eSpeak NG speaks {text[:40]!r} differently each time")
        named = [_Event(at, name, _ipa(name), there) for (at, name), (_, there) in zip(events, own, strict=True)]
        if not any(event.ipa for event in named) or not np.any(sound):
            raise UserError(
                f"the voice {self.config.voice!r} can speak nothing of {text[:40]!r}",
                "Write words in the script of the voice's language, or choose a voice of the text's language.",
            )
        samples = torch.from_numpy(sound.astype(np.float32) / 32768)
        return Speech(AudioClip(samples, rate), _phonemes(named, len(sound) / rate))

    def _synthesized(self, text: str, names: int) -> tuple[_Sound, int, list[tuple[float, str]]]:
        """Samples, their rate, and the second at which each phoneme begins, with its name."""
        chunks: list[_Sound] = []
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

        with started(names) as library:
            library.set_voice(self._identifier)
            for parameter, value in (
                (RATE, self.config.words_per_minute), (PITCH, self.config.pitch), (RANGE, self.config.pitch_range)
            ):  # fmt: skip
                library.set_parameter(parameter, value)
            library.synthesize(text, hear)
            return np.concatenate(chunks) if chunks else np.zeros(0, np.int16), library.sample_rate, events

    def _check_script(self, text: str) -> None:
        """Refuses words in a script that the language is not written in: eSpeak NG would spell out their letters.

        A Greek letter that stands alone is a symbol, and is read by its name.
        """
        known = {*_LATIN, *SCRIPTS.get(self._language, ())}
        for word in re.findall(r"[^\W\d_]+", text):
            for letter in word:
                script = unicodedata.name(letter, "unnamed").split()[0]
                if script in known or (script in ("GREEK", "MICRO") and len(word) == 1):
                    continue
                raise UserError(
                    f"the voice {self.config.voice!r} cannot speak {letter!r} ({script.capitalize()} script)",
                    "Choose a voice of the text's language (realtalk voices lists them), or write Latin letters.",
                )


@cache
def _names() -> dict[str, tuple[str, str]]:
    """Every voice by one name of its own: its identifier and the tag of its language's dictionary, such as `en`."""
    found: dict[str, tuple[str, str]] = {}
    for voice in catalogue()[0]:
        tag = voice.languages[0][0].lower()
        name = tag if tag not in found else voice.identifier.rpartition("/")[2].lower()
        found[name] = (voice.identifier, tag.partition("-")[0])
    return found


@cache
def _aliases() -> dict[str, str]:
    """Every other way of naming a voice to its name: shorter tags (`en`), file names (`en-gb`)."""
    names = {identifier: name for name, (identifier, _) in _names().items()}
    found: dict[str, tuple[int, str]] = {}
    for voice in catalogue()[0]:
        for tag, priority in (*voice.languages, (voice.identifier.rpartition("/")[2], 99)):
            offered = (priority, names[voice.identifier])
            if tag.lower() not in found or offered[0] < found[tag.lower()][0]:
                found[tag.lower()] = offered
    return {alias: name for alias, (_, name) in found.items()}


def _variants() -> list[str]:
    """Variants by the names that eSpeak NG wants to hear."""
    return sorted((v.identifier.rpartition("/")[2] for v in catalogue()[1]), key=str.lower)


def _found(asked: str) -> tuple[str, str]:
    """Identifier of a voice, variant included, and its language.

    Raises:
        UserError: if there is no such language, or no such variant.
    """
    base, plus, variant = asked.strip().replace("_", "-").partition("+")
    base = base.strip().lower()
    name = base if base in _names() else _aliases().get(base)
    if name is None:
        raise UserError(f"eSpeak NG has no voice {asked!r}{_near_voice(base)}", _LIST)
    identifier, language = _names()[name]
    if not plus:
        return identifier, language
    wanted = {v.lower().replace(" ", "-"): v for v in _variants()}
    key = variant.strip().lower().replace(" ", "-")
    if key not in wanted:
        near = difflib.get_close_matches(key, wanted, n=3, cutoff=0.5)
        hint = f" - did you mean {_or([f'{name}+{wanted[n]}' for n in near])}?" if near else ""
        raise UserError(f"eSpeak NG has no variant {variant!r} (voice {asked!r}){hint}", _LIST)
    return f"{identifier}+{wanted[key]}", language


def _near_voice(asked: str) -> str:
    """The tail of an error: the nearest tags, or the tags of languages that are called so in English."""
    names = {identifier: name for name, (identifier, _) in _names().items()}
    called = [names[v.identifier] for v in catalogue()[0] if asked and asked in v.name.lower().split(" (")[0].split()]
    near = called or difflib.get_close_matches(asked, [*_names(), *_aliases()], n=3, cutoff=0.6)
    return f" - did you mean {_or(list(dict.fromkeys(near))[:4])}?" if near else ""


def _or(words: Sequence[str]) -> str:
    quoted = [repr(word) for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _ipa(name: str) -> str:
    """A phoneme's name in eSpeak NG to letters of the IPA: stress, length, ties and its own marks are dropped."""
    if name.startswith(_SWITCH):
        return ""
    letters = unicodedata.normalize("NFD", name.translate(_ASCII))
    return "".join(c for c in letters if unicodedata.category(c) in ("Ll", "Lo") and c not in _MARKS)


def _phonemes(events: Sequence[_Event], seconds: float) -> tuple[Phoneme, ...]:
    """Events to phonemes without gaps; a glide, which has no name in the IPA, belongs to the sound beside it."""
    found: list[tuple[float, str]] = [(0.0, "")]
    glide: float | None = None
    for event in sorted(events, key=lambda e: e.at):
        if event.name.startswith(_SWITCH):
            continue
        if not event.ipa and not event.own_name.startswith(_PAUSE):
            glide = event.at if glide is None and not found[-1][1] else glide
            continue
        found.append((min(glide if glide is not None and event.ipa else event.at, seconds), event.ipa))
        glide = None
    out: list[Phoneme] = []
    for (start, ipa), (end, _) in zip(found, [*found[1:], (seconds, "")], strict=True):
        if out and ipa == "" and out[-1].ipa == "":
            out[-1] = Phoneme("", out[-1].start, end)
        elif end > start:
            out.append(Phoneme(ipa, start, end))
    return tuple(out)
