"""libespeak-ng through ctypes: what of its C interface the voice needs (espeak-ng/speak_lib.h)."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import espeakng_loader

from realtalk_core.errors import RealTalkError

SYNCHRONOUS = 2
PHONEME_EVENTS, PHONEMES_IN_IPA, DONT_EXIT = 0x0001, 0x0002, 0x8000
UTF8, END_PAUSE = 1, 0x1000
RATE, PITCH, RANGE = 1, 3, 4
TERMINATED, PHONEME, SAMPLE_RATE = 0, 7, 8
BUFFER_MILLISECONDS = 60
LOCK = threading.RLock()
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
        ("name", ctypes.c_char_p), ("languages", ctypes.c_char_p), ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte), ("age", ctypes.c_ubyte), ("variant", ctypes.c_ubyte), ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int), ("spare", ctypes.c_void_p),
    ]  # fmt: skip


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))


class Library:
    """The loaded library; one per process."""

    def __init__(self) -> None:
        self._c = ctypes.CDLL(str(espeakng_loader.get_library_path()))
        self._c.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        rate = self._c.espeak_Initialize(
            SYNCHRONOUS, BUFFER_MILLISECONDS, str(espeakng_loader.get_data_path()).encode(),
            PHONEME_EVENTS | PHONEMES_IN_IPA | DONT_EXIT,
        )  # fmt: skip
        if rate <= 0:
            raise RealTalkError(f"eSpeak NG did not start (code {rate}); data in {espeakng_loader.get_data_path()}")
        self.sample_rate = int(rate)

    def languages(self) -> tuple[str, ...]:
        """Every language it has, such as `en-gb` and `de`."""
        found, voices = [], self._c.espeak_ListVoices(None)
        k = 0
        while voices[k]:
            raw = voices[k].contents.languages or b""
            found.append(raw[1:].split(b"\0")[0].decode("utf-8", "replace"))
            k += 1
        return tuple(sorted(set(found)))

    def set_voice(self, name: str) -> bool:
        """Chooses a voice; False if there is none of that name."""
        return int(self._c.espeak_SetVoiceByName(name.encode())) == 0

    def set_parameter(self, parameter: int, value: int) -> None:
        """Sets rate, pitch or range."""
        self._c.espeak_SetParameter(parameter, value, 0)

    def synthesize(self, text: str, hear: Callable[[Any, int, Any], None]) -> None:
        """Speaks; `hear` gets a pointer to samples, their count, and a pointer to events ended by `TERMINATED`."""

        def callback(samples: Any, count: int, events: Any) -> int:
            hear(samples, count, events)
            return 0

        keep = CALLBACK(callback)
        self._c.espeak_SetSynthCallback(keep)
        data = text.encode() + b"\0"
        code = self._c.espeak_Synth(data, len(data), 0, 0, 0, UTF8 | END_PAUSE, None, None)
        self._c.espeak_Synchronize()
        if code != 0:
            raise RealTalkError(f"eSpeak NG could not speak (code {code})")


@cache
def library() -> Library:
    """The library, loaded on first use."""
    return Library()
