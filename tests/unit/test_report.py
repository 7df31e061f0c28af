"""People, cuts, sync and the report's words."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from realtalk_core.capturing.measure import Curves, Measures, count_blinks, hear, loudness
from realtalk_core.capturing.people import choose_person, find_cuts
from realtalk_core.capturing.report import findings, report_markdown
from realtalk_core.capturing.sync import measure_sync
from realtalk_core.capturing.track import Sightings
from realtalk_core.testing import synthetic_clip
from realtalk_core.testing.speech import mouth_controls
from realtalk_core.types import AudioClip

GOOD = Measures(
    frames=1500, seconds=60.0, source_fps=25.0, repeated=0.0, missing=0, longest_gap=0.0, first_face=0.0, people=1,
    crowded=0.0, chosen="", cuts=(), face_width=240.0, face_width_crop=240.0, outside=0.0, sharpness=5.5, blurred=0.0,
    yaw=(-8.0, 9.0), pitch=(-5.0, 4.0), roll=(-3.0, 3.0), mouth=(0.0, 1.2), blinks=20, eyes_tracked=True,
    reprojection=0.8, reprojection_median=0.5, jitter_deg=0.2, jitter_cm=0.1, raw_jitter_deg=1.0, raw_jitter_cm=0.5,
    focal=900.0, loudness_db=-20.0, clipped=0.0, silent=0.2, lag_ms=20.0, sync=0.6, segmentation="network x",
    plate_known=0.6, background_moves=False, curves=Curves(np.zeros(1500), np.zeros(1500)),
)  # fmt: skip


def test_good_footage_gives_no_warning():
    assert findings(GOOD) == []
    assert "Nothing stands in the way" in report_markdown(GOOD, "a.mp4", 512)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"missing": 40, "longest_gap": 1.6}, "face_missing"),
        ({"people": 2, "crowded": 0.8, "chosen": "the one on the left"}, "several_people"),
        ({"cuts": (3.2, 9.0)}, "cuts"),
        ({"face_width": 120.0}, "small_face"),
        ({"outside": 0.1}, "tight_crop"),
        ({"sharpness": 1.0}, "blur"),
        ({"blurred": 0.3}, "motion_blur"),
        ({"background_moves": True}, "background_moves"),
        ({"segmentation": "graph cut"}, "graph_cut"),
        ({"loudness_db": None, "lag_ms": None}, "no_sound"),
        ({"loudness_db": -90.0, "lag_ms": None}, "silent"),
        ({"silent": 0.8}, "little_speech"),
        ({"loudness_db": -45.0}, "quiet"),
        ({"clipped": 0.01}, "clipped"),
        ({"lag_ms": -200.0}, "sound_late"),
        ({"lag_ms": 160.0}, "sound_early"),
        ({"lag_ms": None, "sync": None}, "sync_unknown"),
        ({"seconds": 20.0}, "short"),
        ({"seconds": 4.0}, "too_short"),
        ({"blinks": 0}, "no_blink"),
        ({"mouth": (0.0, 0.1)}, "still_mouth"),
        ({"yaw": (-1.0, 2.0)}, "narrow_pose"),
        ({"yaw": (-45.0, 40.0)}, "wide_pose"),
        ({"repeated": 0.4, "source_fps": 15.0}, "low_frame_rate"),
    ],
)
def test_each_warning_alone(change, name):
    found = findings(replace(GOOD, **change))
    assert [f.name for f in found] == [name]
    assert found[0].cure
    assert f"**{name}**" in report_markdown(replace(GOOD, **change), "a.mp4", 512)


def test_numbers_are_plain():
    import yaml

    written = yaml.safe_load(yaml.safe_dump(GOOD.to_dict()))
    assert set(written) == {f.name for f in fields(Measures)} - {"curves"}
    assert written["yaw"] == [-8.0, 9.0]


def test_late_sound_says_how_to_shift_it():
    late = findings(replace(GOOD, lag_ms=-200.0, sync=0.54))[0]
    assert "200 ms after the mouth" in late.text
    assert "-itsoffset -0.20" in late.cure


def mouth_of(seconds: float, seed: int = 0) -> np.ndarray:
    times = (np.arange(round(seconds * 25)) + 0.5) / 25
    at, jaw, width = mouth_controls(seconds, seed)
    return np.stack([np.interp(times, at, jaw), np.interp(times, at, width)], 1)


@pytest.mark.parametrize("late", [-200, -80, 0, 120, 240])
def test_lag_is_found(late):
    """A synthetic voice whose mouth is known, its sound shifted by so many ms."""
    seconds = 20.0
    clip, mouth = synthetic_clip(seconds), mouth_of(seconds)
    shift = round(late / 1000 * clip.sample_rate)
    samples = torch.roll(clip.samples, shift)
    there = measure_sync(AudioClip(samples, clip.sample_rate), mouth, 25.0, np.ones(len(mouth), bool))
    straight = measure_sync(clip, mouth, 25.0, np.ones(len(mouth), bool))
    assert there.reliable
    # the sound comes later, so the mouth moves earlier against it
    assert there.lag_ms - straight.lag_ms == pytest.approx(-late, abs=25)


def test_a_stranger_voice_is_not_believed():
    sync = measure_sync(synthetic_clip(20.0, seed=5), mouth_of(20.0, seed=1), 25.0, np.ones(500, bool))
    assert not sync.reliable


def test_nothing_to_tell_sync_from():
    valid = np.ones(500, bool)
    assert measure_sync(synthetic_clip(20.0), np.zeros((500, 2)), 25.0, valid) is None
    assert measure_sync(AudioClip(torch.zeros(320000), 16000), mouth_of(20.0), 25.0, valid) is None
    assert measure_sync(synthetic_clip(2.0), mouth_of(2.0), 25.0, np.ones(50, bool)) is None


def test_loudness_and_silence():
    samples = torch.cat([torch.zeros(16000), 0.1 * torch.sin(torch.arange(16000) * 0.3)])
    level = loudness(AudioClip(samples, 16000), 50, 25.0)
    assert level[:24].max() == -100
    assert level[30] == pytest.approx(-23, abs=0.5)
    found = hear(AudioClip(samples, 16000), np.zeros((50, 478, 3)), 25.0, np.ones(50, bool))
    assert found.silent == pytest.approx(0.5, abs=0.05)
    assert found.speech_db == pytest.approx(-23, abs=0.5)
    assert hear(None, np.zeros((50, 478, 3)), 25.0, np.ones(50, bool)).speech_db is None


def test_blinks_are_short_dips():
    opening = np.full(250, 0.3)
    for at in (50, 120, 200):
        opening[at : at + 4] = 0.05
    opening[140:170] = 0.05  # eyes kept closed are no blink
    valid = np.ones(250, bool)
    assert count_blinks(opening, 25.0, valid) == 3
    valid[118:126] = False
    assert count_blinks(opening, 25.0, valid) == 2


def test_cuts_stand_out_from_motion():
    change = np.full(100, 0.05, np.float32)
    change[40] = 0.7
    assert find_cuts(change) == (40,)
    change[60:70] = 0.5  # fast motion, no cut
    assert find_cuts(change) == (40,)


def seen(boxes: dict[int, list[tuple[float, float, float]]], frames: int) -> Sightings:
    """Faces as (x, y, height) of each frame."""
    rows = [(t, face) for t in sorted(boxes) for face in boxes[t]]
    points = np.zeros((len(rows), 68, 3), np.float32)
    for k, (_, (x, y, tall)) in enumerate(rows):
        points[k, :, 0] = x + np.linspace(-0.4, 0.4, 68) * tall
        points[k, :, 1] = y + np.linspace(-0.5, 0.5, 68) * tall
    nothing = np.full((len(rows), 52), np.nan, np.float32)
    return Sightings(
        np.array([t for t, _ in rows]), points, nothing, np.full((len(rows), 4, 4), np.nan, np.float32),
        np.zeros(len(rows), np.float32), np.zeros(frames, np.float32),
    )  # fmt: skip


def test_the_large_central_person_is_chosen_and_followed():
    boxes = {t: [(300.0 + t, 200.0, 150.0), (600.0, 200.0, 60.0)][:: 1 if t % 2 else -1] for t in range(100)}
    chosen = choose_person(seen(boxes, 100), 640, 360, 25.0)
    found = seen(boxes, 100).points[chosen.rows][:, :, 0].mean(1)
    assert found == pytest.approx(300.0 + np.arange(100), abs=1)
    assert chosen.people == 2
    assert chosen.others == 1.0
    assert "largest" in chosen.reason


def test_a_face_that_is_lost_and_comes_back_is_the_same_person():
    boxes = {t: [(300.0, 200.0, 150.0)] for t in range(100) if not 30 <= t < 70}
    chosen = choose_person(seen(boxes, 100), 640, 360, 25.0)
    assert (chosen.rows >= 0).sum() == 60
    assert (chosen.rows[30:70] < 0).all()
    assert chosen.people == 1
    assert chosen.reason == ""


def test_no_face_at_all():
    assert choose_person(seen({}, 10), 640, 360, 25.0) is None
