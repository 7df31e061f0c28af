"""Reading sound from any container and codec PyAV reads, and writing WAV; in constant memory where asked for.

All sound is mono here (`realtalk_core.mono`), and what files hold that is no sound (NaN, samples beyond full scale) is
gone: damage costs the moment it hits, and what cannot be read at all is one message.
"""

from __future__ import annotations

import math
import os
import wave
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import torch

from realtalk_core.errors import UserError
from realtalk_core.mono import Mixer, Peaks, Samples
from realtalk_core.types import AudioClip
from realtalk_core.wav_header import ends_too_early

_GAP_SECONDS = 0.02  # timestamps of lossy codecs wander by less than this
_LONGEST_OVERLAP, _LONGEST_GAP = 0.5, 600.0  # seconds; the gap where the file states no length
_RATES = range(1_000, 768_001)
"""Samples per second that a file may claim."""
_LISTEN = "Check that the file plays in a media player, or convert it to WAV."


@contextmanager
def open_media(path: str | Path) -> Iterator[Any]:
    """Opens a container for reading.

    Raises:
        UserError: if the file is missing, empty, unreadable, or no sound or video.
    """
    file = Path(path)
    if not file.exists():
        raise UserError(f"{file} does not exist", "Check the path.")
    if file.is_dir():
        raise UserError(f"{file} is a folder, not a sound or video file", "Name the file itself.")
    if file.stat().st_size == 0:
        raise UserError(f"{file} is empty (0 bytes)", "Copy or export it again.")
    try:
        options = {"ignore_length": "1"} if ends_too_early(file) else {}
        container = av.open(str(file), metadata_errors="replace", options=options)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise UserError(
            f"{file} cannot be read as sound or video: {_reason(error)}",
            "It may be cut off, damaged or another kind of file; copy or export it again.",
        ) from error
    with container:
        if container.format.name == "tty":  # FFmpeg renders plain text as video
            raise UserError(f"{file} is a text file, not sound or video", "Name a sound or video file.")
        yield container


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).strip() or type(error).__name__


def has_audio(path: str | Path) -> bool:
    """Whether the file has a sound stream.

    Raises:
        UserError: if it cannot be opened.
    """
    with open_media(path) as container:
        return bool(container.streams.audio)


def stream_audio(
    path: str | Path, sample_rate: int | None = None, seconds: float = 10.0, *, start: float | None = None
) -> Iterator[AudioClip]:
    """Reads sound chunk by chunk, mixed to mono, in memory that does not grow with its length.

    Gaps in the timestamps become silence, so the sound keeps time.

    Args:
        path: Any file PyAV reads that has sound.
        sample_rate: Rate of the result; the file's own if None.
        seconds: Length of each chunk (the last one is shorter).
        start: Time on the container's clock at which the first sample shall lie: earlier sound is dropped, a later
            beginning is filled with silence. None: the first sample is where the sound begins.

    Raises:
        UserError: if the file cannot be read, has no sound, or none of it can be decoded.
    """
    with open_media(path) as container:
        if not container.streams.audio:
            raise UserError(f"{path} has no sound", "Name a file with a sound track.")
        own = container.streams.audio[0].rate
        if own not in _RATES:
            raise UserError(
                f"{path}: its header claims {own} samples per second", "Its header is damaged; export it again."
            )
        rate = sample_rate or own
        size = max(1, round(seconds * rate))
        held: list[Samples] = []
        count = 0
        for block in _blocks(container, rate, start, Path(path)):
            held.append(block)
            count += block.size
            while count >= size:
                joined = np.concatenate(held)
                yield _clip(joined[:size], rate)
                held, count = [joined[size:]], joined.size - size
        if count:
            yield _clip(np.concatenate(held), rate)


def _clip(samples: Samples, rate: int) -> AudioClip:
    clean = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)
    return AudioClip(torch.from_numpy(np.clip(clean, -1.0, 1.0)), rate)


def _blocks(container: Any, rate: int, start: float | None, path: Path) -> Iterator[Samples]:
    """Mono blocks in time order: early sound dropped, gaps filled, overlaps cut.

    Time that jumps back by more than an overlap, or beyond the end of the file, is damage or the next of several sounds
    in one file: it goes on from there.
    """
    origin = start  # time of sample 0; set by the first block if not given
    position = 0  # samples given out or dropped since `origin`
    longest = (container.duration or 0) / av.time_base or _LONGEST_GAP
    decoded = False
    for block, seconds in _resampled(container, rate, path):
        if seconds is not None:
            if origin is None:
                origin = seconds
            gap = seconds - origin - position / rate
            if position and not -_LONGEST_OVERLAP < gap <= longest:
                origin, gap = seconds - position / rate, 0.0
            offset = round(gap * rate)
            if offset > _GAP_SECONDS * rate:
                for filled in range(0, offset, rate):  # a gap can be long: fill it in pieces
                    yield np.zeros(min(rate, offset - filled), np.float32)
                position += offset
            elif offset < -_GAP_SECONDS * rate:
                block = block[min(-offset, block.size) :]
        decoded = True
        position += block.size
        if block.size:
            yield block
    if not decoded:
        raise UserError(f"{path} has a sound track but no sound: it is empty, cut off or damaged", _LISTEN)


def _resampled(container: Any, rate: int, path: Path) -> Iterator[tuple[Samples, float | None]]:
    """Decoded blocks, each with the container time of its first sample where the file states one.

    Damaged packets are skipped; the time of the next good one keeps the sound in place. Rate and channels may change
    on the way, as in files that were joined.
    """
    stream = container.streams.audio[0]
    scale = _scale(path) if stream.codec_context.name.startswith("pcm_f") else 1.0
    mixer, resampler, kind = Mixer(), None, None

    def mixed(frames: Iterable[Any]) -> Iterator[Samples]:
        for frame in frames:
            yield mixer.mix(_channels(frame) * np.float32(scale), [c.name for c in frame.layout.channels])

    for frame in decode(container, stream):
        seconds = None if frame.time is None else float(frame.time)
        frame.pts = None
        if resampler is None or kind != (frame.format.name, frame.layout.name, frame.sample_rate):
            if resampler is not None:
                for block in mixed(resampler.resample(None)):
                    yield block, None
            kind = (frame.format.name, frame.layout.name, frame.sample_rate)
            resampler = av.AudioResampler(format="flt", rate=rate)
        for block in mixed(resampler.resample(frame)):
            yield block, seconds
            seconds = None
    if resampler is not None:
        for block in mixed(resampler.resample(None)):
            yield block, None


def _channels(frame: Any) -> Samples:
    """`C N` from a packed frame; planar ones hold at most eight channels."""
    packed: Samples = frame.to_ndarray()
    return packed.reshape(-1, len(frame.layout.channels)).T


def _scale(path: Path) -> float:
    """What brings a file of floating-point numbers to full scale if it is beyond it; reads the whole file."""
    peaks = Peaks()
    with open_media(path) as container:
        for frame in decode(container, container.streams.audio[0]):
            peaks.add(frame.to_ndarray())
    return peaks.scale


def decode(container: Any, stream: Any) -> Iterator[Any]:
    """Decodes a stream to its end, skipping what is damaged."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError:
            return  # the container breaks off here
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            continue


def read_audio(path: str | Path, sample_rate: int | None = None, *, start: float | None = None) -> AudioClip:
    """Reads a whole file's sound as mono.

    Args:
        path: Any file PyAV reads that has sound.
        sample_rate: Rate of the result; the file's own if None.
        start: See `stream_audio`.

    Raises:
        UserError: if the file cannot be read, has no sound, or none of it can be decoded.
    """
    chunks = list(stream_audio(path, sample_rate, start=start))
    if not chunks:
        raise UserError(f"{path}: its sound track is empty", _LISTEN)
    return AudioClip(torch.cat([c.samples for c in chunks]), chunks[0].sample_rate)


def resample(clip: AudioClip, rate: int) -> AudioClip:
    """The same sound at another rate (polyphase, Kaiser window; nothing above half the lower rate remains)."""
    if rate == clip.sample_rate:
        return clip
    from scipy.signal import resample_poly

    shared = math.gcd(rate, clip.sample_rate)
    out = resample_poly(clip.samples.numpy(), rate // shared, clip.sample_rate // shared, window=("kaiser", 8.0))
    return AudioClip(torch.from_numpy(np.clip(out, -1.0, 1.0).astype(np.float32)), rate)


_SHELF = ((1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585))
_HIGH_PASS = ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621))
"""The two filters of K-weighting at 48 kHz, numerator and denominator (ITU-R BS.1770-5, annex 1, tables 1 and 2)."""
_BLOCK, _STEP = 19_200, 4_800  # 400 ms at 48 kHz, each a quarter of its length after the one before
_OFFSET = -0.691
PEAK = 10 ** (-1 / 20)
"""Highest sample that `level` makes: 1 dB below full scale."""


def loudness(clip: AudioClip) -> float:
    """Integrated loudness in LUFS (ITU-R BS.1770-5 with its two gates); minus infinity for silence.

    A sound shorter than a block of 400 ms is one block.
    """
    from scipy.signal import lfilter

    samples = resample(clip, 48_000).samples.numpy().astype(np.float64)
    if not samples.size:
        return -math.inf
    heard = lfilter(*_HIGH_PASS, lfilter(*_SHELF, samples))
    count = max(1, (len(heard) - _BLOCK) // _STEP + 1)
    energy = np.array([np.mean(heard[k * _STEP : k * _STEP + _BLOCK] ** 2) for k in range(count)])
    loud = energy[_lufs(energy) > -70.0]
    if not loud.size:
        return -math.inf
    return float(_lufs(loud[_lufs(loud) > _lufs(loud.mean()) - 10.0].mean()))


def _lufs(energy: Any) -> Any:
    with np.errstate(divide="ignore"):
        return _OFFSET + 10 * np.log10(energy)


def level(clip: AudioClip, lufs: float) -> AudioClip:
    """The same sound at another loudness, as far as its peaks allow (`PEAK`); silence stays silence.

    Args:
        clip: Any sound.
        lufs: The integrated loudness it shall have.
    """
    now, peak = loudness(clip), float(clip.samples.abs().max()) if clip.samples.numel() else 0.0
    if not math.isfinite(now):
        return clip
    gain = min(10 ** ((lufs - now) / 20), PEAK / peak)
    return AudioClip(clip.samples * gain, clip.sample_rate)


def write_wav(path: str | Path, sound: AudioClip | Iterable[AudioClip]) -> None:
    """Writes mono PCM16, atomically; an iterable of chunks is written as it comes.

    Raises:
        OSError: if the file cannot be written.
        ValueError: if there is no chunk, or their rates differ.
    """
    chunks = iter([sound] if isinstance(sound, AudioClip) else sound)
    first = next(chunks, None)
    if first is None:
        raise ValueError("write_wav: no sound to write")
    target = Path(path)
    partial = target.with_name(f".{target.name}.partial")
    try:
        with wave.open(str(partial), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(first.sample_rate)
            chunk: AudioClip | None = first
            while chunk is not None:
                if chunk.sample_rate != first.sample_rate:
                    raise ValueError(f"write_wav: rates differ: {first.sample_rate} and {chunk.sample_rate}")
                file.writeframes((chunk.samples.numpy() * 32767.0).round().astype("<i2").tobytes())
                chunk = next(chunks, None)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
