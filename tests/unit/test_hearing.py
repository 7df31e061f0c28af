"""Sound to rows to frames: the same however it is cut, and exactly where it belongs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from realtalk_core.audio import resample
from realtalk_core.errors import ShapeError
from realtalk_core.hearing import RowEncoder, hear, open_stream
from realtalk_core.hearing.front import Front, Resampler
from realtalk_core.hearing.stream import CHUNK_SECONDS
from realtalk_core.stages import AudioEncoder, StreamingEncoder
from realtalk_core.testing.synthetic import synthetic_clip
from realtalk_core.types import AudioClip, AudioFeatures

RATES = (25.0, 24.0, 29.97, 30.0, 50.0, 60.0)
NTSC = (23.976, 29.97, 59.94, 30000 / 1001)
"""Frames that begin at no whole sample for a long time."""


class Levels(RowEncoder):
    """Mean square and mean of each kernel, and the loudest of all that is heard at a time."""

    block_seconds, margin_seconds = 1.0, 0.5
    longest = 0

    def rows(self, samples: torch.Tensor) -> torch.Tensor:
        self.longest = max(self.longest, len(samples))
        frames = samples.unfold(0, self.kernel, self.hop)
        return torch.stack([frames.square().mean(1), frames.mean(1), samples.abs().max().expand(len(frames))], 1)


def pieces(samples: torch.Tensor, sizes: list[int]) -> list[torch.Tensor]:
    out, at, k = [], 0, 0
    while at < len(samples):
        out.append(samples[at : at + sizes[k % len(sizes)]])
        at, k = at + sizes[k % len(sizes)], k + 1
    return out


def streamed(encoder: AudioEncoder, clip: AudioClip, fps: float, sizes: list[int]) -> torch.Tensor:
    stream = open_stream(encoder, clip.sample_rate, fps)
    parts = [stream.feed(p) for p in pieces(clip.samples, sizes)] + [stream.close()]
    return torch.cat([p for p in parts if len(p)])


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000, 16001])
def test_resampling_by_pieces_is_resampling(rate: int) -> None:
    clip = AudioClip(torch.from_numpy(np.random.default_rng(1).uniform(-1, 1, rate).astype(np.float32) * 0.3), rate)
    resampler = Resampler(rate, 16000)
    parts = [resampler.feed(p.numpy()) for p in pieces(clip.samples, [rate // 5, 17, 1, rate // 3])]
    got = np.concatenate([*parts, resampler.close()])
    assert np.abs(got - resample(clip, 16000).samples.numpy()).max() < 1e-6


def test_the_front_end_removes_dc_and_nan() -> None:
    clip = synthetic_clip(1.0, 16000, seed=2).samples.numpy() * 0.5
    plain, lifted = Front(16000, 16000).feed(clip), Front(16000, 16000).feed(clip + 0.3)
    assert np.abs(plain - lifted).max() < 1e-3
    hurt = clip.copy()
    hurt[100:200], hurt[300] = np.nan, np.inf
    assert np.isfinite(Front(16000, 16000).feed(hurt)).all()


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("rate", [16000, 44100])
def test_pieces_give_the_rows_of_the_whole(fps: float, rate: int) -> None:
    clip = synthetic_clip(3.37, rate, seed=4)
    encoder = Levels()
    whole = encoder.encode(clip, fps).values
    assert whole.shape == (clip.frames(fps), 2, 3)
    for sizes in ([rate // 5], [1, 7, 5000, 3], [10**7]):
        assert torch.equal(streamed(encoder, clip, fps, sizes), whole)


def test_memory_is_bounded_by_block_and_margins() -> None:
    encoder = Levels()
    encoder.encode(synthetic_clip(20.0, 16000, seed=3), 25.0)
    assert encoder.longest == (50 + 2 * 25 - 1) * 320 + 400


def test_a_longer_past_costs_no_lookahead() -> None:
    near, far = Levels(), Levels()
    far.past_seconds = 3.0
    assert far.stream(16000, 25.0).lookahead_seconds == near.stream(16000, 25.0).lookahead_seconds
    clip = synthetic_clip(4.0, 16000, seed=3)
    far.encode(clip, 25.0)
    assert far.longest > near.longest
    assert torch.equal(streamed(far, clip, 25.0, [3200]), far.encode(clip, 25.0).values)


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("window", [1, 2, 3, 16])
def test_an_impulse_in_a_frame_shows_in_its_row(fps: float, window: int) -> None:
    encoder = Levels()
    encoder.window = window
    for frame in (0, 7, 31, round(2 * fps) - 1):
        samples = torch.zeros(32000)
        middle = round((frame + 0.5) / fps * 16000)
        samples[middle - 20 : middle + 20] = 0.5
        power = encoder.encode(AudioClip(samples, 16000), fps).values[..., 0]
        if window > 2:  # the middle of the window, where the frame is
            power = power[:, (window - 1) // 2 : window // 2 + 1]
        per_frame = power.reshape(len(power), -1).sum(1)
        assert int(per_frame.argmax()) == frame


@pytest.mark.parametrize("fps", RATES)
def test_rows_are_given_out_within_the_lookahead(fps: float) -> None:
    clip = synthetic_clip(6.0, 22050, seed=1)
    for encoder in (Levels(), Plain()):
        stream = open_stream(encoder, clip.sample_rate, fps)
        out, fed = 0, 0
        for piece in pieces(clip.samples, [441]):
            fed += len(piece)
            out += len(stream.feed(piece))
            due = int((fed / clip.sample_rate - stream.lookahead_seconds) * fps)
            assert out >= due
        assert out < clip.frames(fps)
        assert out > 0 or stream.lookahead_seconds > 6


def test_tiny_sounds_have_a_row() -> None:
    for count in (0, 1, 320, 321):
        assert Levels().encode(AudioClip(torch.zeros(count), 16000), 25.0).values.shape == (1, 2, 3)


class Plain:
    """An encoder without a stream: the power of each frame and its neighbours'."""

    context_seconds = 0.2

    def encode(self, clip: AudioClip, fps: float) -> AudioFeatures:
        frames = clip.frames(fps)
        at = ((torch.arange(frames, dtype=torch.float64) + 0.5) * clip.sample_rate / fps + 1e-3).round().long()
        reach = round(0.15 * clip.sample_rate)
        padded = torch.nn.functional.pad(clip.samples, (reach, reach + clip.sample_rate))
        return AudioFeatures(torch.stack([padded[k : k + 2 * reach].square().mean()[None] for k in at]), fps)


@pytest.mark.parametrize("fps", sorted({*RATES, *NTSC}))
@pytest.mark.parametrize("rate", [16000, 44100])
def test_an_encoder_without_a_stream_runs_on_windows(fps: float, rate: int) -> None:
    clip = synthetic_clip(7.7, rate, seed=4)
    encoder = Plain()
    assert isinstance(encoder, AudioEncoder)
    assert not isinstance(encoder, StreamingEncoder)
    assert open_stream(encoder, rate, fps).lookahead_seconds < CHUNK_SECONDS + encoder.context_seconds + 0.5
    whole = encoder.encode(clip, fps).values
    for sizes in ([rate // 5], [11, 40000]):
        got = streamed(encoder, clip, fps, sizes)
        assert got.shape == whole.shape
        assert float((got - whole).abs().max()) < (1e-4 if fps in NTSC else 1e-6)


@pytest.mark.parametrize("fps", NTSC)
def test_windows_begin_within_half_a_sample_of_their_frames(fps: float) -> None:
    """Each row's middle, as the encoder tells it from the window's first sample, against the clip's."""

    class Clock:
        context_seconds = 0.2

        def encode(self, clip: AudioClip, fps: float) -> AudioFeatures:
            # Of sound that counts seconds: when it is, at each frame's middle.
            at = (torch.arange(clip.frames(fps), dtype=torch.float64) + 0.5) / fps
            return AudioFeatures((float(clip.samples[0]) + at)[:, None], fps)

    rate = 16000
    for count in (200_001, 200_267, 200_534):  # ends about half a frame apart
        clip = AudioClip((torch.arange(count, dtype=torch.float64) / rate).float(), rate)
        got = streamed(Clock(), clip, fps, [3200])[:, 0]
        assert len(got) == clip.frames(fps)
        assert float((got - (torch.arange(len(got), dtype=torch.float64) + 0.5) / fps).abs().max()) < 0.5 / rate


@pytest.mark.parametrize("fps", [25.0, 24.0, *NTSC])
def test_a_window_lasts_as_many_frames_as_the_clip_wherever_it_ends(fps: float) -> None:
    """Between two numbers of frames too, where a sample decides."""
    for frame in range(round(3.3 * fps), round(3.3 * fps) + 12):
        for more in (-1, 0, 1):
            clip = AudioClip(torch.zeros(round((frame + 0.5) * 16000 / fps) + more), 16000)
            assert len(streamed(Plain(), clip, fps, [20_000])) == clip.frames(fps)


def test_hear_takes_chunks_and_refuses_none() -> None:
    clip = synthetic_clip(2.0, 16000, seed=5)
    chunks = [AudioClip(p, 16000) for p in pieces(clip.samples, [5000])]
    assert torch.equal(hear(Levels(), chunks, 25.0).values, Levels().encode(clip, 25.0).values)
    with pytest.raises(ShapeError, match="no sound"):
        hear(Levels(), [], 25.0)
    with pytest.raises(ShapeError, match="rates differ"):
        hear(Levels(), [clip, AudioClip(clip.samples, 8000)], 25.0)


def test_an_encoder_with_other_rows_than_promised_is_told_so() -> None:
    class Short(Levels):
        def rows(self, samples: torch.Tensor) -> torch.Tensor:
            return super().rows(samples)[:-1]

    with pytest.raises(ValueError, match=r"Short\.rows: expected \(50, D\) for 16080 samples"):
        Short().encode(synthetic_clip(1.0, 16000, seed=1), 25.0)
