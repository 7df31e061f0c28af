import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from realtalk_core.errors import ShapeError
from realtalk_core.types import AudioFeatures, Prosody
from realtalk_core.windows import context_frames, windows


def rows(count, width=2):
    values = torch.arange(count * width, dtype=torch.float32).reshape(count, width)
    return AudioFeatures(values, 25.0, Prosody(loudness=torch.arange(count, dtype=torch.float32)))


def split(whole, size):
    return [whole[at : at + size] for at in range(0, len(whole), size)]


@settings(deadline=None, max_examples=150)
@given(
    total=st.integers(1, 400),
    chunk=st.integers(1, 40),
    context=st.integers(0, 30),
    stride=st.sampled_from([1, 3, 4]),
    size=st.integers(1, 120),
)
def test_windows_tile_the_clip(total, chunk, context, stride, size):
    whole, after, starts = rows(total), 0, []
    for window in windows(split(whole, size), chunk=chunk, context=context, stride=stride):
        assert window.start + window.first == after
        assert window.kept > 0
        assert window.start == 0 or window.first >= context
        assert window.start + window.count == total or window.count - window.last >= context
        assert window.start % stride == 0
        here = whole[window.start : window.start + window.count]
        assert torch.equal(window.features.values, here.values)
        assert torch.equal(window.features.prosody.loudness, here.prosody.loudness)
        after += window.kept
        starts.append(window.start)
    assert after == total
    assert starts == sorted(starts)


def test_an_endless_stream_is_read_only_as_far_as_needed():
    read = []

    def endless():
        for k in itertools.count():
            read.append(k)
            yield rows(25)

    first = list(itertools.islice(windows(endless(), chunk=100, context=25), 5))
    assert [w.start + w.first for w in first] == [0, 100, 200, 300, 400]
    assert len(read) == 21  # 500 rows, and 25 after them


def test_pieces_without_rows_are_passed_over():
    empty = rows(10)[:0]
    (only,) = windows([empty, rows(1), empty], chunk=4, context=2)
    assert (only.count, only.kept) == (1, 1)
    with pytest.raises(ShapeError, match="no rows"):
        list(windows([empty]))


def test_contexts_may_be_frames_or_seconds():
    class Frames:
        context_frames = 3

    class Seconds:
        context_seconds = 0.5

    assert [context_frames(part, 25) for part in (Frames(), Seconds(), object())] == [3, 13, 0]
