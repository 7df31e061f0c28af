"""libespeak-ng through ctypes: what of its C interface the voice needs (espeak-ng/speak_lib.h)."""

from __future__ import annotations

import _ctypes
import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import espeakng_loader

from realtalk_core.errors import RealTalkError

SYNCHRONOUS = 2
PHONEME_EVENTS, DONT_EXIT = 0x0001, 0x8000
OWN_NAMES, IPA = 0, 0x0002
"""How it names phonemes: in the IPA, pauses and glides have none; in its own, a pause begins with `_`."""
UTF8, END_PAUSE = 1, 0x1000
RATE, PITCH, RANGE = 1, 3, 4
TERMINATED, PHONEME, SAMPLE_RATE = 0, 7, 8
BUFFER_MILLISECONDS = 60
_LOCK = threading.RLock()
"""eSpeak NG keeps one voice and one callback for the whole process."""


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class Event(ctypes.Structure):
    """`espeak_EVENT`."""

    _fields_ = [
        ("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("id", _Id),
    ]  # fmt: skip


class _Voice(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p), ("languages", ctypes.c_void_p), ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte), ("age", ctypes.c_ubyte), ("variant", ctypes.c_ubyte), ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int), ("spare", ctypes.c_void_p),
    ]  # fmt: skip


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))


@dataclass(frozen=True, slots=True)
class Listed:
    """A voice that eSpeak NG lists.

    Attributes:
        name: In English, such as `English (Great Britain)`.
        languages: `(language tag, priority)`; the lower the number, the rather the voice is meant by the tag.
        identifier: What eSpeak NG finds it by, such as `gmw/en`.
    """

    name: str
    languages: tuple[tuple[str, int], ...]
    identifier: str


class Library:
    """One started library. Use `started`."""

    def __init__(self, names: int) -> None:
        self._c = ctypes.CDLL(str(espeakng_loader.get_library_path()))
        self._c.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        self._c.espeak_GetCurrentVoice.restype = ctypes.POINTER(_Voice)
        rate = self._c.espeak_Initialize(
            SYNCHRONOUS, BUFFER_MILLISECONDS, str(espeakng_loader.get_data_path()).encode(),
            PHONEME_EVENTS | names | DONT_EXIT,
        )  # fmt: skip
        if rate <= 0:
            raise RealTalkError(f"eSpeak NG did not start (code {rate}); data in {espeakng_loader.get_data_path()}")
        self.sample_rate = int(rate)
        # Breath is noise: most variants take eSpeak NG's own, which starts from the time of day, some the C library's.
        self._c.espeak_ng_SetRandSeed(ctypes.c_long(0))
        ctypes.CDLL("ucrtbase" if os.name == "nt" else None).srand(1)

    def close(self) -> None:
        """Ends it and unloads it, so that the next one starts anew."""
        self._c.espeak_Terminate()
        unload = getattr(_ctypes, "dlclose", None) or _ctypes.FreeLibrary  # type: ignore[attr-defined]
        unload(self._c._handle)

    def listed(self, kind: bytes | None = None) -> tuple[Listed, ...]:
        """Every voice; of kind `variant` those that change another voice's sound."""
        wanted = _Voice(languages=ctypes.cast(ctypes.c_char_p(kind), ctypes.c_void_p)) if kind else None
        voices = self._c.espeak_ListVoices(ctypes.byref(wanted) if wanted else None)
        found, k = [], 0
        while voices[k]:
            voice = voices[k].contents
            found.append(Listed(voice.name.decode().strip(), _languages(voice.languages), voice.identifier.decode()))
            k += 1
        return tuple(found)

    def set_voice(self, identifier: str) -> None:
        """Chooses a voice by its identifier, with or without `+variant`.

        Raises:
            RealTalkError: if eSpeak NG takes another one.
        """
        self._c.espeak_SetVoiceByName(identifier.encode())  # what it cannot find it leaves out, and says all is well
        chosen = self._c.espeak_GetCurrentVoice().contents.identifier.decode()
        if chosen != identifier:
            raise RealTalkError(f"eSpeak NG chose {chosen!r} when asked for {identifier!r}")

    def set_parameter(self, parameter: int, value: int) -> None:
        """Sets rate, pitch or range."""
        self._c.espeak_SetParameter(parameter, value, 0)

    def synthesize(self, text: str, hear: Callable[[Any, int, Any], None]) -> None:
        """Speaks; `hear` gets a pointer to samples, their count, and a pointer to events ended by `TERMINATED`."""
        failed: list[BaseException] = []

        def callback(samples: Any, count: int, events: Any) -> int:
            try:
                hear(samples, count, events)
            except BaseException as error:  # ctypes would print it and go on
                failed.append(error)
            return int(bool(failed))

        keep = CALLBACK(callback)
        self._c.espeak_SetSynthCallback(keep)
        data = text.encode() + b"\0"
        code = self._c.espeak_Synth(data, len(data), 0, 0, 0, UTF8 | END_PAUSE, None, None)
        self._c.espeak_Synchronize()
        if failed:
            raise failed[0]
        if code != 0:
            raise RealTalkError(f"eSpeak NG could not speak (code {code})")


def _languages(address: int) -> tuple[tuple[str, int], ...]:
    """A priority and a zero-ended tag, again and again, until a priority is zero."""
    found = []
    while priority := ctypes.string_at(address, 1)[0]:
        tag = ctypes.string_at(address + 1)
        found.append((tag.decode(), priority))
        address += len(tag) + 2
    return tuple(found)


@contextmanager
def started(names: int = IPA) -> Iterator[Library]:
    """A library of one's own, newly loaded: 15 ms.

    Args:
        names: `IPA` or `OWN_NAMES`.

    eSpeak NG goes on from the state that the speech before left in it, so that the same text would sound otherwise each
    time; only loading it anew resets all of that.
    """
    with _LOCK:
        library = Library(names)
        try:
            yield library
        finally:
            library.close()


@cache
def catalogue() -> tuple[tuple[Listed, ...], tuple[Listed, ...]]:
    """Every voice that can speak, and every variant."""
    with started() as library:
        return tuple(filter(_readable, library.listed())), library.listed(b"variant")


def _readable(voice: Listed) -> bool:
    """Whether the dictionary that a voice reads with was shipped: some are listed without one, and stay silent."""
    data = Path(str(espeakng_loader.get_data_path()))
    words = (data / "lang" / voice.identifier).read_text("utf-8").split("\n")
    named = next((line.split()[1] for line in words if line.startswith("dictionary ")), None)
    return (data / f"{named or voice.languages[0][0].partition('-')[0]}_dict").is_file()
