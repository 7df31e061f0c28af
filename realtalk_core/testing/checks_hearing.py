"""Checks of audio encoders: how many rows, where they lie, and the same ones however the sound arrives."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from scipy.signal import resample_poly
from torch import Tensor

from realtalk_core.hearing import open_stream
from realtalk_core.hearing.stream import WindowStream
from realtalk_core.stages import AudioStream
from realtalk_core.testing.checks import CheckFailure, check, require
from realtalk_core.testing.checks_output import CHUNKED
from realtalk_core.testing.subject import FPS, Subject
from realtalk_core.testing.synthetic import synthetic_clip
from realtalk_core.types import AudioClip

RATE = 16_000
LONGEST_LOOKAHEAD = 40.0
"""Seconds that a tiny component may look ahead and still be tried."""
HALF_A_SAMPLE = 0.01
"""What an encoder without a stream may differ by in windows at a frame rate whose frames begin at no whole sample."""
CLICK_SECONDS = 2.0
CLICK_RATES = (24.0, 25.0, 29.97, 30.0, 50.0, 60.0)
CLICK = 64
"""Samples, 4 ms."""
SHOWN = 0.25
NEAR_SECONDS = 0.5
"""A click's own change is looked for this far to each side; what changes farther away changes everywhere."""


@check("audio/rows", ("audio",))
def audio_rows(subject: Subject) -> None:
    """A clip gives seconds x fps rows, rounded to the nearest frame and at least one."""
    subject.needs_output()
    for seconds, fps in ((1.0, 25.0), (1.0, 30.0), (0.02, 25.0), (1.33, 25.0), (2.018, 29.97)):
        clip = synthetic_clip(seconds, RATE, seed=2)
        features = subject.component.encode(clip, fps)
        expected = clip.frames(fps)
        require(len(features) == expected, f"{seconds} s at {fps} fps give {len(features)} rows, not {expected}")
        require(features.fps == fps, f"the features claim {features.fps} fps, not {fps}")


@check("audio/silence-finite", ("audio",))
def audio_silence_finite(subject: Subject) -> None:
    """Digital silence is encoded, to finite numbers."""
    subject.needs_output()
    values = subject.component.encode(AudioClip(torch.zeros(RATE), RATE), FPS).values
    require(len(values) == 25, f"1 s of silence gives {len(values)} rows, not 25")


@check("audio/any-rate", ("audio",))
def audio_any_rate(subject: Subject) -> None:
    """The same sound at another sample rate gives about the same features."""
    subject.needs_output()
    clip = synthetic_clip(2.0, RATE, seed=5)
    expected = subject.component.encode(clip, FPS).rows()
    for rate in (22050, 44100, 48000):
        found = subject.component.encode(_at(clip, rate), FPS).rows()
        require(found.shape == expected.shape, f"{rate} Hz give {tuple(found.shape)}, 16000 {tuple(expected.shape)}")
        pair = torch.stack([expected.flatten(), found.flatten()])
        alike = float(torch.corrcoef(pair)[0, 1])
        require(alike > 0.8, f"features at {rate} Hz correlate only {alike:.2f} with those at 16000 Hz")


@check("audio/impulse-alignment", ("audio",))
def audio_impulse_alignment(subject: Subject) -> None:
    """A click in frame k shows in row k, within a frame."""
    subject.needs_output()
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 1e-3, 32000).astype(np.float32))
    quiet = subject.component.encode(AudioClip(noise, RATE), FPS).rows()
    for frame in (10, 25, 41):
        samples = noise.clone()
        middle = round((frame + 0.5) * 640)
        samples[middle - 80 : middle + 80] += 0.8 * torch.sin(torch.arange(160.0))
        change = (subject.component.encode(AudioClip(samples, RATE), FPS).rows() - quiet).square().sum(1)
        require(change.sum() > 0, f"a click in frame {frame} changes nothing")
        near = change[frame - 8 : frame + 9]
        centre = float((near * torch.arange(frame - 8, frame + 9)).sum() / near.sum())
        require(abs(centre - frame) <= 1.0, f"a click in frame {frame} shows around row {centre:.1f}")


@check("audio/lands-on-frames", ("audio",))
def audio_lands_on_frames(subject: Subject) -> None:
    """A click in frame k shows at row k, and as far to one side as to the other within a row, at any frame rate."""
    subject.needs_output()
    rng = np.random.default_rng(4)
    # Over noise, and soft enough: where a network levels what it hears, a click in silence changes everything.
    noise = rng.normal(0, 0.1, round(CLICK_SECONDS * RATE)).astype(np.float32)
    click = (0.5 * np.hanning(CLICK) * np.sign(rng.normal(size=CLICK))).astype(np.float32)

    def change(frame: int, fps: float, quiet: Tensor) -> Tensor:
        """How much each row changes by a click in the middle of a frame, beside what changes everywhere."""
        samples = noise.copy()
        first = min(max(0, round((frame + 0.5) / fps * RATE) - CLICK // 2), len(samples) - CLICK)
        samples[first : first + CLICK] += click
        heard = _middle(subject.component.encode(AudioClip(torch.from_numpy(samples), RATE), fps).values)
        apart = (heard - quiet).flatten(1).square().sum(1).sqrt()
        far = apart[(torch.arange(len(apart)) - frame).abs() > NEAR_SECONDS * fps]
        return (apart - far.max()).clamp(min=0)

    for fps in CLICK_RATES:
        quiet = _middle(subject.component.encode(AudioClip(torch.from_numpy(noise), RATE), fps).values)
        last, reach = len(quiet) - 1, math.ceil(NEAR_SECONDS * fps)
        for frame in (0, 1, last - 1, last) if fps in (FPS, 60.0) else ():
            shown = _shown(change(frame, fps, quiet), f"a click in frame {frame} of {last + 1}", fps)
            require(frame in shown, f"at {fps:g} fps, a click in frame {frame} of {last + 1} shows in {shown}")
        # Of several clicks together, so that what a random network makes of one moment's noise evens out.
        frames = np.linspace(reach, last - reach, 4).round().astype(int).tolist()
        around = torch.stack([change(k, fps, quiet)[k - reach : k + reach + 1] for k in frames]).sum(0)
        shown = [row - reach for row in _shown(around, "a click", fps)]
        where = f"at {fps:g} fps, a click in frame k shows in rows k{shown[0]:+d} to k{shown[-1]:+d}"
        uneven = max(1, (shown[-1] - shown[0]) // 8)
        require(0 in shown and abs(shown[0] + shown[-1]) <= uneven, where)


def _middle(values: Tensor) -> Tensor:
    """The one or two middle places of each window: those at the middle of its frame."""
    if values.ndim == 2:
        return values[:, None]
    places = values.shape[1]
    return values[:, (places - 1) // 2 : places // 2 + 1]


def _shown(change: Tensor, what: str, fps: float) -> list[int]:
    """The rows that change at least a quarter as much as the one that changes most."""
    require(change.max() > 0, f"at {fps:g} fps, {what} changes no row near it more than those far away")
    rows: list[int] = (change >= SHOWN * change.max()).nonzero()[:, 0].tolist()
    return rows


@check("audio/any-sound", ("audio",))
def audio_any_sound(subject: Subject) -> None:
    """Sounds as they come, down to one sample, clipped, offset, faint, at 8 or 96 kHz, give finite rows."""
    subject.needs_output()
    for name, clip in _odd_sounds():
        for fps in (FPS, 29.97):
            try:
                values = subject.component.encode(clip, fps).values
            except Exception as error:
                raise CheckFailure(f"{name}: {type(error).__name__}: {error}") from error
            require(len(values) == clip.frames(fps), f"{name}: {len(values)} rows instead of {clip.frames(fps)}")
            require(bool(torch.isfinite(values).all()), f"{name}: not every number is finite")


def _odd_sounds() -> Iterator[tuple[str, AudioClip]]:
    speech = synthetic_clip(1.0, RATE, seed=8)
    loud = np.random.default_rng(9).normal(0, 1, RATE).clip(-1, 1).astype(np.float32)
    yield "20 ms", AudioClip(speech.samples[4000:4320], RATE)
    yield "one sample", AudioClip(torch.tensor([0.5]), RATE)
    yield "one sample at 96 kHz", AudioClip(torch.tensor([0.5]), 96_000)
    yield "an offset of 0.8", AudioClip((0.2 * speech.samples + 0.8).clamp(-1, 1), RATE)
    yield "nothing but an offset", AudioClip(torch.ones(RATE), RATE)
    yield "clipped hard", AudioClip((100 * speech.samples).clamp(-1, 1), RATE)
    yield "at 1e-6 of full scale", AudioClip(1e-6 * speech.samples, RATE)
    yield "at 1e-30 of full scale", AudioClip(1e-30 * speech.samples, RATE)
    yield "noise at full scale", AudioClip(torch.from_numpy(loud), RATE)
    yield "8 kHz", _at(speech, 8000)
    yield "96 kHz", _at(speech, 96_000)


@check("audio/input-nan", ("audio",))
def audio_input_nan(subject: Subject) -> None:
    """NaN samples are heard as silence and infinite ones as full scale: no row is lost by them."""
    subject.needs_output()
    samples = synthetic_clip(2.0, RATE, seed=5).samples.clone()
    samples[8000:8400], samples[20000], samples[21000] = torch.nan, torch.inf, -torch.inf
    try:
        found = subject.component.encode(AudioClip(samples, RATE), FPS).rows()
    except Exception as error:
        raise CheckFailure(f"{type(error).__name__}: {error}") from error
    mended = samples.nan_to_num(nan=0.0, posinf=1.0, neginf=-1.0)
    wanted = subject.component.encode(AudioClip(mended, RATE), FPS).rows()
    _same("with such samples", found, wanted)


@check("audio/streaming", ("audio",))
def audio_streaming(subject: Subject) -> None:
    """Fed piece by piece through `hearing.open_stream`, sound gives the rows of `encode`, whatever the pieces."""
    subject.needs_output()
    for rate, fps in ((RATE, 29.97), (44_100, FPS)):
        clip = _at(synthetic_clip(_enough(subject, fps), RATE, seed=7), rate)
        whole = subject.component.encode(clip, fps).rows()
        for name, sizes in {"200 ms": (0.2,), "uneven ones": (0.0, 0.031, 0.7, 1 / rate, 0.2, 1.3)}.items():
            stream = open_stream(subject.component, rate, fps)
            parts = [stream.feed(piece) for piece in _pieces(clip, sizes)]
            rows = torch.cat([part.flatten(1) for part in (*parts, stream.close()) if len(part)])
            within = HALF_A_SAMPLE if isinstance(stream, WindowStream) and fps != FPS else CHUNKED
            _same(f"at {rate} Hz and {fps} fps, fed pieces of {name}", rows, whole, within)


@check("audio/look-ahead", ("audio",))
def audio_look_ahead(subject: Subject) -> None:
    """A stream states its `lookahead_seconds`: row k is out once the sound up to (k + 1) / fps + that was fed."""
    subject.needs_output()
    for rate, fps in ((RATE, FPS), (44_100, 30.0), (RATE, 23.976), (44_100, 29.97), (RATE, 59.94)):
        clip = _at(synthetic_clip(_enough(subject, fps), RATE, seed=7), rate)
        stream = open_stream(subject.component, rate, fps)
        ahead = _lookahead(stream)
        require(ahead <= LONGEST_LOOKAHEAD, f"{ahead:.1f} s at {fps:g} fps; make tiny() decide sooner")
        fed = out = 0
        for piece in _pieces(clip, (0.04,)):
            out += len(stream.feed(piece))
            fed += piece.numel()
            due = math.floor((fed / rate - ahead) * fps + 1e-6)
            require(
                out >= due, f"{fed / rate:.2f} s fed at {fps:g} fps, {ahead:.2f} s ahead: {out} rows are out, not {due}"
            )
            require(out <= clip.frames(fps), f"{out} rows are out, of a clip of {clip.frames(fps)}")


def _lookahead(stream: AudioStream) -> float:
    ahead = stream.lookahead_seconds
    require(isinstance(ahead, (int, float)), f"lookahead_seconds is {ahead!r}, no number")
    require(math.isfinite(ahead) and ahead >= 0, f"lookahead_seconds is {ahead}")
    return float(ahead)


def _enough(subject: Subject, fps: float) -> float:
    """How much sound makes a stream give rows before it is closed, where that can be tried: its look-ahead and more."""
    ahead = _lookahead(open_stream(subject.component, RATE, fps))
    return 2.53 + (ahead if ahead <= LONGEST_LOOKAHEAD else 2.0)


def _pieces(clip: AudioClip, seconds: tuple[float, ...]) -> Iterator[Tensor]:
    """The clip in pieces of these lengths, again and again."""
    at = turn = 0
    while at < clip.samples.numel():
        size = round(seconds[turn % len(seconds)] * clip.sample_rate)
        yield clip.samples[at : at + size]
        at, turn = at + size, turn + 1


def _same(how: str, found: Tensor, wanted: Tensor, within: float = CHUNKED) -> None:
    require(found.shape == wanted.shape, f"{how}: {tuple(found.shape)} instead of {tuple(wanted.shape)}")
    spread = float(wanted.std(0).mean()) + 1e-6
    apart = (found - wanted).abs().amax(1) / spread
    worst = int(apart.argmax())
    require(apart[worst] <= within, f"{how}: row {worst} differs by {apart[worst]:.2%} of the output's spread")


def _at(clip: AudioClip, rate: int) -> AudioClip:
    shared = math.gcd(rate, clip.sample_rate)
    samples = resample_poly(clip.samples.numpy(), rate // shared, clip.sample_rate // shared)
    return AudioClip(torch.from_numpy(samples.astype(np.float32).clip(-1, 1)), rate)
