"""Wav files whose header says that they end before they do."""

from __future__ import annotations

import struct
from pathlib import Path

_PADDING = 4096
"""Bytes at the end that are not looked at."""


def ends_too_early(file: Path) -> bool:
    """Whether a wav file goes on with sound after the end that its header states.

    Programs that were stopped while recording, or wrote to a pipe, leave a size in the header that is not the real
    one. Too large, 0 or 0xFFFFFFFF is seen by every reader; too small is told from further chunks (titles, cue points)
    by looking at what follows: a chunk has a printable name and a length that fits, and padding is short.
    """
    size = file.stat().st_size
    with file.open("rb") as data:
        if data.read(4) != b"RIFF" or data.seek(8) != 8 or data.read(4) != b"WAVE":
            return False
        at, seen = 12, False
        while at + _PADDING <= size:
            data.seek(at)
            name, length = struct.unpack("<4sI", data.read(8))
            if not all(32 <= letter < 127 for letter in name) or at + 8 + length > size + 1:
                return seen
            seen = seen or (name == b"data" and length > 0)
            at += 8 + length + length % 2
    return False
