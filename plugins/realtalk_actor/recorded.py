"""Recorded speech whose phonemes are known: what a voice would give, from two files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from realtalk_core.audio import read_audio
from realtalk_core.errors import UserError
from realtalk_core.voice import Phoneme, Speech

SLACK_SECONDS = 0.05
"""By how much phonemes may overlap, or outlast the sound: as much as rounded times do."""
_CURE = 'It holds a list such as [{"ipa": "h", "start": 0.0, "end": 0.08}, ...], times in seconds.'


def recorded_speech(audio: Path, phonemes: Path) -> Speech:
    """Speech from a sound file and the JSON of a capture's `phonemes.json`; gaps between phonemes become pauses.

    Args:
        audio: Any file with sound.
        phonemes: List of objects with `ipa`, `start` and `end` (seconds), in order of time; an empty `ipa` is a pause.

    Raises:
        UserError: if a file cannot be read, or phonemes are malformed, out of order, unknown or beyond the sound's end.
    """
    clip = read_audio(audio)
    out: list[Phoneme] = []
    at = 0.0
    for number, entry in enumerate(_entries(phonemes)):
        one = _phoneme(entry, f"{phonemes}: phoneme {number + 1}")
        if one.end > clip.seconds + SLACK_SECONDS:
            raise UserError(
                f"{phonemes}: phoneme {number + 1} ends at {one.end:g} s, but {audio} lasts {clip.seconds:.2f} s",
                "Check that the two belong together, and that times are in seconds.",
            )
        if one.start < at - SLACK_SECONDS:
            raise UserError(
                f"{phonemes}: phoneme {number + 1} starts at {one.start:g} s, before the one before it ends ({at:g} s)",
                "Put them in order of time.",
            )
        start, end = max(one.start, at), min(one.end, clip.seconds)
        if start - at > 1e-3:
            out.append(Phoneme("", at, start))
        out.append(Phoneme(one.ipa, out[-1].end if out else 0.0, max(end, start)))
        at = out[-1].end
    if clip.seconds > at:
        out.append(Phoneme("", at, clip.seconds))
    return Speech(clip, tuple(out))


def _entries(file: Path) -> list[Any]:
    try:
        read = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file} does not exist", "Name the JSON file with the phonemes.") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is no JSON: {error}", _CURE) from error
    if not isinstance(read, list) or not read:
        raise UserError(f"{file} holds no list of phonemes", _CURE)
    return read


def _phoneme(entry: Any, where: str) -> Phoneme:
    from realtalk_actor.speech import unknown_sounds

    if not isinstance(entry, dict) or not isinstance(entry.get("ipa"), str):
        raise UserError(f"{where} is {json.dumps(entry, ensure_ascii=False)[:80]}", _CURE)
    for name in ("start", "end"):
        value = entry.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
            raise UserError(f"{where}: {name} is {json.dumps(value)[:40]}, not a time in seconds", _CURE)
    if entry["end"] < entry["start"]:
        raise UserError(f"{where} ends at {entry['end']:g} s, before it starts ({entry['start']:g} s)", _CURE)
    if strange := unknown_sounds(entry["ipa"]):
        raise UserError(
            f"{where}: {entry['ipa']!r} has no sound that is known ({strange})",
            "Write sounds in the International Phonetic Alphabet, such as 'ɛ' or 'aɪ', and pauses as ''.",
        )
    return Phoneme(entry["ipa"], float(entry["start"]), float(entry["end"]))
