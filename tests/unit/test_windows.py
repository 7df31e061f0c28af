import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from realtalk_core.errors import ShapeError
from realtalk_core.types import AudioClip
from realtalk_core.windows import context_frames, windows


def clip(samples, rate):
    return AudioClip(torch.arange(samples, dtype=torch.float32), rate)


def split(whole, size):
    return [AudioClip(part, whole.sample_rate) for part in whole.samples.split(size)]


@settings(deadline=None, max_examples=150)
@given(
    samples=st.integers(1, 60_000),
    rate=st.sampled_from([8000, 16_000, 22_050, 44_100]),
    fps=st.sampled_from([25.0, 30.0, 24.0, 29.97]),
    chunk=st.integers(1, 40),
    context=st.integers(0, 30),
    stride=st.sampled_from([1, 3, 4]),
    size=st.integers(500, 20_000),
)
def test_windows_tile_the_clip(samples, rate, fps, chunk, context, stride, size):
    whole = clip(samples, rate)
    total, after, starts = whole.frames(fps), 0, []
    for window in windows(split(whole, size), fps, chunk=chunk, context=context, stride=stride):
        assert window.start + window.first == after
        assert window.first == min(after, window.first)
        assert window.start == 0 or window.first >= context
        assert window.start + window.count == total or window.count - window.last >= context
        assert window.clip.frames(fps) == window.count
        assert window.start % stride == 0
        begin = round(window.start * rate / fps)
        here = window.clip.samples[: max(0, samples - begin)]
        if fps != 29.97:
            assert torch.equal(here, whole.samples[begin : begin + here.numel()])
        assert (window.clip.samples[max(0, samples - begin) :] == 0).all()
        after += window.kept
        starts.append(window.start)
    assert after == total
    assert starts == sorted(starts)


def test_an_endless_stream_is_read_only_as_far_as_needed():
    read = []

    def endless():
        for k in itertools.count():
            read.append(k)
            yield AudioClip(torch.zeros(16_000), 16_000)

    first = list(itertools.islice(windows(endless(), 25, chunk=100, context=25), 5))
    assert [w.start + w.first for w in first] == [0, 100, 200, 300, 400]
    assert len(read) <= 22


def test_a_tenth_of_a_frame_is_padded_to_a_frame():
    (only,) = windows([AudioClip(torch.ones(64), 16_000)], 25)
    assert (only.count, only.kept, only.clip.samples.numel()) == (1, 1, 640)
    assert only.clip.samples.sum() == 64


def test_chunks_of_different_rates_are_refused():
    with pytest.raises(ShapeError, match="sample rates differ"):
        list(windows([clip(10, 8000), clip(10, 16_000)], 25))
    with pytest.raises(ShapeError, match="no sound"):
        list(windows([], 25))


def test_contexts_may_be_frames_or_seconds():
    class Frames:
        context_frames = 3

    class Seconds:
        context_seconds = 0.5

    assert [context_frames(part, 25) for part in (Frames(), Seconds(), object())] == [3, 13, 0]
