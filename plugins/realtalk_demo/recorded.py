"""Speech that ships with RealTalk: one recording of some sentences, with the time of every phoneme.

`data/speech.opus` holds them one after another, `data/speech.json` says where each is and what is said when. Both were
made by `recipes/demo_avatar.py speech` with eSpeak NG; neither holds any of its code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any

from realtalk_core.audio import read_audio
from realtalk_core.errors import UserError
from realtalk_core.types import AudioClip
from realtalk_core.voice import Phoneme, Speech, join
from realtalk_demo import DATA

FILE = DATA / "speech.opus"


@dataclass(frozen=True)
class Line:
    """One recorded sentence.

    Attributes:
        text: What is said.
        emotion: How it is meant in the demo's own speech, as `--emotion` writes it; empty for the other sentences.
        start: Where it begins in the recording, seconds.
        seconds: How long it lasts.
        phonemes: What is said when, counted from `start`.
    """

    text: str
    emotion: str
    start: float
    seconds: float
    phonemes: tuple[Phoneme, ...]


@cache
def lines() -> tuple[Line, ...]:
    """Every recorded sentence."""
    found = json.loads((DATA / "speech.json").read_text("utf-8"))["lines"]
    return tuple(Line(**{**line, "phonemes": tuple(Phoneme(*p) for p in line["phonemes"])}) for line in found)


@cache
def recording() -> AudioClip:
    """The whole recording."""
    return read_audio(FILE)


class RecordedVoice:
    """Says what was recorded, and nothing else."""

    def __init__(self, config: Any = None) -> None:
        self.config = config

    @property
    def sample_texts(self) -> tuple[str, str]:
        """A short and a long text that it can say, for the conformance kit."""
        texts = sorted((line.text for line in lines()), key=len)
        return texts[0], texts[-1]

    def speak(self, text: str) -> Speech:
        """The recording of a sentence.

        Raises:
            UserError: if the text is empty, or was not recorded.
        """
        if not text.strip():
            raise UserError("the text to speak is empty", 'Write a sentence, such as --text "Hello!"')
        wanted = " ".join(text.split()).casefold()
        line = next((line for line in lines() if line.text.casefold() == wanted), None)
        if line is None:
            raise UserError(
                f"the voice 'recorded' has no recording of {' '.join(text.split())[:60]!r}",
                'Choose a voice that speaks any text, such as espeak: pip install "realtalk[espeak]"',
            )
        return spoken(line)


def spoken(line: Line) -> Speech:
    """The sound and phonemes of a recorded sentence."""
    whole = recording()
    first = round(line.start * whole.sample_rate)
    samples = whole.samples[first : first + round(line.seconds * whole.sample_rate)]
    return Speech(AudioClip(samples.contiguous(), whole.sample_rate), line.phonemes)


def demo_speech() -> tuple[Speech, str]:
    """What the demo says by default, and its emotions as a timeline."""
    said = [line for line in lines() if line.emotion]
    starts = accumulate((line.seconds for line in said), initial=0.0)
    timeline = " ".join(f"{line.emotion}@{at:.2f}" for line, at in zip(said, starts, strict=False))
    return join([spoken(line) for line in said]), timeline
