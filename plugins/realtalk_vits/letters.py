"""Letters to rough IPA: what the mouth needs to know of a text whose model speaks letters, not phonemes.

It is no pronunciation: the sound is the model's, and only the lips follow these. Digraphs and silent letters are read
as English does where the model says that it is English, and as most languages in Latin letters do otherwise. Cyrillic
and Greek have their tables; letters of other scripts are read by their Unicode names (HANGUL SYLLABLE GAN).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_LATIN = {
    "a": "a", "b": "b", "c": "k", "d": "d", "e": "e", "f": "f", "g": "ɡ", "h": "h", "i": "i", "j": "j", "k": "k",
    "l": "l", "m": "m", "n": "n", "o": "o", "p": "p", "q": "k", "r": "r", "s": "s", "t": "t", "u": "u", "v": "v",
    "w": "w", "x": "ks", "y": "i", "z": "z",
    "ä": "ɛ", "ö": "ø", "ü": "y", "ß": "s", "ñ": "ɲ", "ç": "s", "š": "ʃ", "ş": "ʃ", "ș": "ʃ", "ž": "ʒ", "č": "tʃ",
    "ć": "tʃ", "ł": "w", "ø": "ø", "å": "o", "æ": "æ", "œ": "œ", "þ": "θ", "ı": "ɯ", "ő": "ø", "ű": "y", "ţ": "ts",
    "ț": "ts", "ả": "a", "đ": "d", "ħ": "h",
    "sch": "ʃ", "tsch": "tʃ", "tch": "tʃ", "ch": "tʃ", "sh": "ʃ", "th": "t", "ph": "f", "ng": "ŋ", "nk": "ŋk",
    "gn": "ɲ", "ny": "ɲ", "qu": "kw", "ck": "k", "eau": "o", "ou": "u", "au": "aʊ", "ai": "aɪ", "ei": "aɪ",
    "eu": "ɔʏ", "oi": "wa", "ie": "i",
}  # fmt: skip
_ENGLISH = _LATIN | {
    "a": "æ", "e": "ɛ", "i": "ɪ", "o": "ɒ", "u": "ʌ", "j": "dʒ", "r": "ɹ",
    "th": "θ", "wh": "w", "gh": "", "igh": "aɪ", "ough": "ɔ", "augh": "ɔ", "dge": "dʒ", "tion": "ʃən", "wr": "ɹ",
    "ee": "i", "ea": "i", "oo": "u", "ou": "aʊ", "ow": "oʊ", "oa": "oʊ", "ai": "eɪ", "ay": "eɪ", "ey": "eɪ",
    "ei": "eɪ", "au": "ɔ", "aw": "ɔ", "oi": "ɔɪ", "oy": "ɔɪ", "ew": "u", "ue": "u", "eu": "u", "er": "ɚ", "ir": "ɚ",
    "ur": "ɚ", "ar": "ɑɹ", "or": "ɔɹ", "eau": "oʊ", "gn": "n", "ny": "ni", "sch": "sk", "all": "ɔl",
}  # fmt: skip
_CYRILLIC = dict(zip("абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґўәөүұқғңһҗ", (
    "a", "b", "v", "ɡ", "d", "e", "ʒ", "z", "i", "j", "k", "l", "m", "n", "o", "p", "r", "s", "t", "u", "f", "x", "ts",
    "tʃ", "ʃ", "ʃ", "", "ɨ", "", "e", "ju", "ja", "jo", "i", "ji", "je", "ɡ", "w", "æ", "ø", "y", "u", "q", "ɣ", "ŋ",
    "h", "dʒ",
), strict=True))  # fmt: skip
_GREEK = dict(zip("αβγδεζηθικλμνξοπρσςτυφχψω", (
    "a", "v", "ɣ", "ð", "e", "z", "i", "θ", "i", "k", "l", "m", "n", "ks", "o", "p", "r", "s", "s", "t", "i", "f", "x",
    "ps", "o",
), strict=True)) | {"ου": "u", "μπ": "b", "ντ": "d", "αι": "e", "ει": "i", "οι": "i"}  # fmt: skip
_OTHERS = _CYRILLIC | _GREEK
_LONGEST = 4
_SPELT = re.compile(r"(?:LETTER|SYLLABLE|VOWEL SIGN|SIGN) (?:SMALL |FINAL )?([A-Z]+)")
_NAMED = ("HEBREW", "ARABIC", "SYRIAC", "ARMENIAN", "GEORGIAN", "MONGOLIAN", "THAANA", "NKO")
"""Scripts whose letters have names that begin with their sound (BEH, SHIN); elsewhere the name is the syllable (KA)."""
_MUTE = ("VIRAMA", "SUKUN", "NUKTA", "TSHEG", "ASAT")


def sounds(letters: Sequence[str], language: str | None = None) -> list[tuple[str, int]]:
    """What a word's letters sound like.

    Args:
        letters: One word, letter by letter.
        language: The model's language as ISO 639-3, such as `eng`.

    Returns:
        `(IPA, number of letters)`, the numbers adding up to all of them; a silent letter has no IPA.

    >>> sounds("things", "eng")
    [('θ', 2), ('ɪ', 1), ('ŋ', 2), ('s', 1)]
    >>> sounds("мир")
    [('m', 1), ('i', 1), ('r', 1)]
    """
    word = [letter.lower() for letter in letters]
    table = (_ENGLISH if language == "eng" else _LATIN) | _OTHERS
    found: list[tuple[str, int]] = []
    at = 0
    while at < len(word):
        for length in range(min(_LONGEST, len(word) - at), 0, -1):
            if (ipa := table.get("".join(word[at : at + length]))) is not None:
                break
        else:
            length, ipa = 1, _strange(word[at], table)
        ipa = _in_place(word, at, length, ipa, language)
        found.append((ipa, length))
        at += length
    return found


def _in_place(word: Sequence[str], at: int, length: int, ipa: str, language: str | None) -> str:
    """What depends on the letters round a single one."""
    letter, after = word[at] if length == 1 else "", word[at + 1] if at + 1 < len(word) else ""
    if letter and at and letter == word[at - 1] and ipa not in tuple("aeiouæɛɪɒʌ"):
        return ""  # a doubled consonant is spoken once
    if letter == "c" and after in tuple("eiyéèê"):
        return "s"
    if letter == "y" and at == 0:
        return "j"
    vowels = set("aeiouy") & set(word[:at])
    if letter == "e" and language == "eng" and not after and vowels and word[at - 1] not in "aeiou":
        return ""
    return ipa


def _strange(letter: str, table: dict[str, str]) -> str:
    """A letter that no table has: its base, itself if the IPA has it, or what its Unicode name says."""
    base = unicodedata.normalize("NFD", letter)[0]
    if base in table:
        return table[base]
    if "ɐ" <= letter <= "ʯ" or letter in "ŋðæøœβθχ":
        return letter
    name = unicodedata.name(letter, "")
    spelt = _SPELT.search(name)
    if spelt is None or any(word in name for word in _MUTE):
        return ""
    read = [ipa for ipa, _ in sounds(spelt.group(1).lower())]
    return read[0] if name.startswith(_NAMED) else "".join(read)
