"""Listening to a sound file once, before any work: is it there, how long is it, is there anything to speak?"""

from __future__ import annotations

from pathlib import Path

from realtalk_core.cli.common import note

SPEECH_RATE = 16_000
SILENCE = 10 ** (-60 / 20)
"""-60 dB of full scale."""
LEVEL_SAMPLES = SPEECH_RATE // 20
NEVER_PAUSES_SECONDS = 3.0
NEVER_PAUSES = 10 ** (-16 / 20)
"""Even the quietest twentieth lies within 16 dB of the loud parts: so with noise at 0 dB, not with plain speech."""


def listen(audio: Path, fps: float) -> int:
    """The number of video frames a sound spans; says what about it will show.

    Raises:
        UserError: if it is missing, empty, unreadable or has no sound.
    """
    import numpy as np

    from realtalk_core.audio import stream_audio
    from realtalk_core.errors import UserError

    samples, loudest, levels = 0, 0.0, []
    for chunk in stream_audio(audio, SPEECH_RATE):
        values = chunk.samples.numpy()
        samples += values.size
        loudest = max(loudest, float(np.abs(values).max(initial=0)))
        whole = values[: values.size // LEVEL_SAMPLES * LEVEL_SAMPLES].reshape(-1, LEVEL_SAMPLES)
        levels.append(np.sqrt(np.square(whole).mean(1)))
    if samples == 0:
        raise UserError(f"{audio}: its sound track is empty", "Check that the file plays, or record it again.")
    seconds = samples / SPEECH_RATE
    if loudest < SILENCE:
        note(f"{audio} is silent: the mouth will stay at rest")
    elif seconds > NEVER_PAUSES_SECONDS:
        quiet, loud = np.percentile(np.concatenate(levels), (5, 90))
        if quiet > NEVER_PAUSES * loud:
            note(f"{audio} never pauses: noise or music beneath a voice moves the mouth too; going on")
    if seconds < 1 / fps:
        note(f"{audio} is shorter than a frame: it is filled with silence to one")
    return max(1, round(seconds * fps))
