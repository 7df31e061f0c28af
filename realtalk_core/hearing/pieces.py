"""An encoder, and prosody where it is wanted, over sound of any length: rows as they become final."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from realtalk_core.errors import ShapeError
from realtalk_core.hearing.stream import CHUNK_SECONDS, frames_of, open_stream
from realtalk_core.stages import AudioEncoder
from realtalk_core.types import AudioClip, AudioFeatures, Prosody, concat_features, concat_prosody

if TYPE_CHECKING:
    from realtalk_core.hearing.prosody import ProsodyStream


def heard_rows(
    encoder: AudioEncoder,
    sound: AudioClip | Iterable[AudioClip],
    fps: float,
    prosody: Collection[str] = (),
    *,
    chunk_seconds: float = CHUNK_SECONDS,
) -> Iterator[AudioFeatures]:
    """Rows of a clip, piece by piece, in memory that does not grow with its length.

    Args:
        encoder: Any audio encoder; it hears the sound once.
        sound: A clip, or consecutive chunks of one; read only as far as needed.
        fps: Video frames per second.
        prosody: What else to hear (tokens of `realtalk_core.config.needs.PROSODY`); it comes along with the rows.
        chunk_seconds: How much is decided at a time where the encoder has no stream of its own.

    Yields:
        At least one row each; `clip.frames(fps)` in all, the same however the sound was cut.

    Raises:
        ShapeError: if the chunks differ in sample rate, there is none, or the encoder gives another number of rows.
    """
    chunks = iter([sound] if isinstance(sound, AudioClip) else sound)
    first = next(chunks, None)
    if first is None:
        raise ShapeError("heard_rows: no sound")
    rate, samples, given = first.sample_rate, 0, 0
    with torch.no_grad():
        stream = open_stream(encoder, rate, fps, chunk_seconds=chunk_seconds)
        said = _said(prosody, rate, fps)
    ready = _Ready(said is not None)
    chunk: AudioClip | None = first
    while chunk is not None:
        if chunk.sample_rate != rate:
            raise ShapeError(f"heard_rows: sample rates differ: {rate} and {chunk.sample_rate}")
        samples += chunk.samples.numel()
        with torch.no_grad():
            part = ready.take(stream.feed(chunk.samples), None if said is None else said.feed(chunk.samples), fps)
        if part is not None:
            given += len(part)
            yield part
        chunk = next(chunks, None)
    with torch.no_grad():
        values = stream.close()
        expected = frames_of(samples, rate, fps)
        if given + ready.waiting + len(values) != expected:
            raise ShapeError(
                f"{type(encoder).__name__}.encode: expected {expected} rows for {samples / rate:.3f} s at {fps:g} fps, "
                f"got {given + ready.waiting + len(values)}"
            )
        part = ready.take(values, None if said is None else said.close(), fps)
    if part is not None:
        yield part


def hear(encoder: AudioEncoder, sound: AudioClip | Iterable[AudioClip], fps: float) -> AudioFeatures:
    """All of `heard_rows` at once, in memory that grows by the features alone."""
    return concat_features(list(heard_rows(encoder, sound, fps)))


def _said(prosody: Collection[str], rate: int, fps: float) -> ProsodyStream | None:
    if not prosody:
        return None
    from realtalk_core.hearing.prosody import ProsodyStream

    return ProsodyStream(sample_rate=rate, fps=fps, asked=prosody)


class _Ready:
    """Rows and prosody that wait for one another: encoder and prosody look ahead by different lengths."""

    def __init__(self, with_prosody: bool) -> None:
        self._values: list[Tensor] = []
        self._prosody: list[Prosody] = []
        self._with_prosody = with_prosody

    @property
    def waiting(self) -> int:
        """Rows that wait for their prosody."""
        return sum(len(part) for part in self._values)

    def take(self, values: Tensor, prosody: Prosody | None, fps: float) -> AudioFeatures | None:
        """Adds what is new, and gives what both have by now."""
        if len(values):
            self._values.append(values)
        if prosody is not None and len(prosody):
            self._prosody.append(prosody)
        count = min(self.waiting, sum(len(part) for part in self._prosody)) if self._with_prosody else self.waiting
        if not count:
            return None
        rows = torch.cat(self._values)
        self._values = [rows[count:]] if len(rows) > count else []
        if not self._with_prosody:
            return AudioFeatures(rows, fps)
        said = concat_prosody(self._prosody)
        self._prosody = [said[count:]] if len(said) > count else []
        return AudioFeatures(rows[:count], fps, said[:count])
