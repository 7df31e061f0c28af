"""Voice activity: Silero VAD where its file is on this machine, else by energy; which of them is always said."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, percentile_filter

from realtalk_core.models import MODELS, find_model

Samples = NDArray[np.float32]

MODEL = "silero_vad.onnx"
RATE = 16_000
CHUNK, CONTEXT = 512, 64
"""Samples that Silero VAD v5 judges at a time, and of those before that it is shown again."""

LOUDNESS_SECONDS = 1.5
"""By energy: how far to each side the quietest tenth counts as background."""
ABOVE_BACKGROUND, ABOVE_NOTHING = 9.0, -38.0
"""By energy: decibels above the background, and on levelled sound, at which speech is as likely as not."""
SOFTNESS = 2.0
HANGOVER = 10
"""By energy: blocks of 10 ms to each side of speech that count as speech."""


def detector() -> str:
    """What judges voice activity here: `silero` or `energy`.

    Raises:
        UserError: if the model's file is here but damaged.
    """
    return "silero" if find_model(MODEL) is not None else "energy"


def remark(name: str) -> str:
    """A sentence for the user about a detector."""
    if name == "silero":
        return "voice activity is judged by Silero VAD"
    return (
        f"voice activity is judged by energy alone, which takes music and noise for speech more easily: {MODEL} is not "
        f"on this machine (it comes from {MODELS[MODEL].url}; put it into the folder named by REALTALK_MODELS)"
    )


class ActivityStream(Protocol):
    """Levelled sound and its loudness in, probabilities out, at `rate` rows per second from the clip's start.

    Silero misses most of a quiet recording (of one at -30 dB three quarters), so it too hears levelled sound.
    """

    rate: float
    lookahead_seconds: float

    def feed(self, samples: Samples, loudness: Samples) -> Samples:
        """Probabilities that are final by now."""
        ...

    def close(self) -> Samples:
        """The rest."""
        ...


def open_activity() -> ActivityStream:
    """The detector that `detector` names."""
    return SileroStream() if detector() == "silero" else EnergyStream()


class SileroStream:
    """Silero VAD v5: chunks of 32 ms, each seen with the end of the one before and a state that runs on."""

    rate = RATE / CHUNK
    lookahead_seconds = 0.5 / rate  # a row is given when its chunk, of which it is the middle, is complete

    def __init__(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        path = find_model(MODEL)
        self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._state = np.zeros((2, 1, 128), np.float32)
        self._held: Samples = np.zeros(CONTEXT, np.float32)
        self._chunks = 0

    def feed(self, samples: Samples, loudness: Samples) -> Samples:
        """See `ActivityStream`; loudness is not used."""
        self._held = np.concatenate([self._held, samples])
        found, at = [], 0
        while at + CONTEXT + CHUNK <= len(self._held):
            found.append(self._judged(self._held[at : at + CONTEXT + CHUNK]))
            at += CHUNK
        self._held = self._held[at:]
        return np.array(found, np.float32)

    def close(self) -> Samples:
        """See `ActivityStream`; the last chunk is filled up with silence."""
        rest = len(self._held) - CONTEXT
        if rest == 0 and self._chunks:
            return np.zeros(0, np.float32)
        return np.array([self._judged(np.pad(self._held, (0, CHUNK - rest)))], np.float32)

    def _judged(self, window: Samples) -> float:
        self._chunks += 1
        inputs = {"input": window[None], "state": self._state, "sr": np.array(RATE, np.int64)}
        found, self._state = self._session.run(None, inputs)
        return float(found[0, 0])


class EnergyStream:
    """Speech is what is well above the background of the seconds around it, and not next to silence."""

    rate = 100.0
    lookahead_seconds = LOUDNESS_SECONDS + (HANGOVER + 2) / 100

    def __init__(self) -> None:
        self._half = round(LOUDNESS_SECONDS * self.rate)
        self._held: Samples = np.zeros(0, np.float32)
        self._from = self._given = 0

    def feed(self, samples: Samples, loudness: Samples) -> Samples:
        """See `ActivityStream`; the samples themselves are not used."""
        self._held = np.concatenate([self._held, loudness])
        return self._take(self._from + len(self._held) - self._half - HANGOVER - 1)

    def close(self) -> Samples:
        """See `ActivityStream`."""
        return self._take(self._from + len(self._held))

    def _take(self, until: int) -> Samples:
        if until <= self._given:
            return np.zeros(0, np.float32)
        # At the clip's ends the first and last loudness are repeated; elsewhere windows are wide enough not to.
        smooth = maximum_filter1d(self._held, 3, mode="nearest")
        background = percentile_filter(smooth, 10, size=2 * self._half + 1, mode="nearest")
        threshold = np.maximum(background + ABOVE_BACKGROUND, ABOVE_NOTHING)
        peak = maximum_filter1d(smooth - threshold, 2 * HANGOVER + 1, mode="nearest")
        found: Samples = (1 / (1 + np.exp(-peak / SOFTNESS))).astype(np.float32)
        found = found[self._given - self._from : until - self._from]
        self._given = until
        keep = max(self._from, until - self._half - HANGOVER - 3)
        self._held, self._from = self._held[keep - self._from :], keep
        return found
