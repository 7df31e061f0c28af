"""Motion: eyes, poses and scores of one person, the same however the clip is cut."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from realtalk_core.blink import closure
from realtalk_core.capture import Capture
from realtalk_core.config.motion import MotionConfig
from realtalk_core.errors import UserError
from realtalk_core.expression import eye_opening, lip_gap, upper_face
from realtalk_core.landmarks import BLENDSHAPES
from realtalk_core.motion import Motion
from realtalk_core.person import Person
from realtalk_core.testing.synthetic import make_capture
from realtalk_core.types import LandmarkTrack

SECONDS = 6.0
BLINK = BLENDSHAPES.index("eyeBlinkLeft")


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return make_capture(tmp_path_factory.mktemp("person"), seconds=SECONDS, size=32, with_audio=False)


@pytest.fixture(scope="module")
def person(capture: Capture) -> Person:
    return Person.from_capture(capture, torch.arange(len(capture)))


def speech(capture: Capture, frames: int = 400) -> LandmarkTrack:
    """The capture's own faces in another order, far longer than the capture."""
    order = (torch.arange(frames) * 7) % len(capture)
    return LandmarkTrack(capture.tracks.landmarks[order], "mediapipe478", 25.0)


@pytest.mark.parametrize("blink", ["capture", "period", "natural", "none"])
def test_a_frame_does_not_depend_on_how_the_clip_was_cut(capture, person, blink):
    motion = Motion(person, MotionConfig(blink=blink, smoothing=1.2))
    track = speech(capture)
    change = LandmarkTrack(track.points + 0.1 * torch.sin(track.points), track.scheme, track.fps)
    whole = motion.finish(track, change, 0)
    scores = motion.blendshapes(whole, 0).values
    for first, last in ((0, 30), (111, 112), (250, 400)):
        low, high = max(0, first - motion.context_frames), min(len(track), last + motion.context_frames)
        part = motion.finish(track[low:high], change[low:high], low)[first - low : last - low]
        assert torch.allclose(part.points, whole.points[first:last], atol=1e-5)
        assert torch.allclose(motion.blendshapes(part, first).values, scores[first:last], atol=1e-4)


def test_frames_go_back_and_forth_without_a_jump(capture, person):
    frames = Motion(person, MotionConfig(start=20)).frames(0, 1000)
    assert frames[0] == 20
    assert int(frames.diff().abs().max()) == 1
    assert set(frames.tolist()) == set(range(len(capture)))
    assert torch.equal(Motion(person, MotionConfig(start=20)).frames(300, 50), frames[300:350])


def test_frames_stay_between_cuts(person):
    cut = replace(person, spans=torch.tensor([[0, 10], [12, 60], [61, 150]]))
    for start, low, high in ((0, 61, 149), (13, 12, 59), (100, 61, 149)):
        frames = Motion(cut, MotionConfig(start=start)).frames(0, 500)
        assert (int(frames.min()), int(frames.max())) == (low, high)


def test_start_beyond_the_end_is_refused(person):
    with pytest.raises(UserError, match=r"motion\.start: frame 5000"):
        Motion(person, MotionConfig(start=5000))


def test_replayed_eyes_and_scores_agree(capture, person):
    motion = Motion(person, MotionConfig(lle_percent=0, clamp_quantile=0, smoothing=0))
    done = motion.finish(speech(capture, 150), speech(capture, 150), 0)
    frames = motion.frames(0, 150)
    assert torch.allclose(eye_opening(done.points), eye_opening(capture.tracks.landmarks[frames]), atol=1e-5)
    apart = motion.blendshapes(done, 0).values[:, BLINK] - capture.tracks.blendshapes[frames, BLINK]
    assert float(apart.abs().max()) < 0.05
    assert torch.allclose(lip_gap(done.points), lip_gap(speech(capture, 150).points), atol=1e-5)


@pytest.mark.parametrize("blink", ["period", "natural"])
def test_made_blinks_shut_the_eyes_in_landmarks_and_scores_alike(capture, person, blink):
    motion = Motion(person, MotionConfig(blink=blink, blink_seconds=3.0))
    done = motion.finish(speech(capture), speech(capture), 0)
    shut = closure(motion.config, 0, 400, 25.0)
    opening, score = eye_opening(done.points)[:, 0], motion.blendshapes(done, 0).values[:, BLINK]
    assert int((shut > 0.99).sum()) >= 3
    assert float(opening[shut > 0.99].max()) < 0.15 * float(opening[shut == 0].median())
    assert float(torch.corrcoef(torch.stack([opening, score]))[0, 1]) < -0.8
    assert float(opening[shut == 0].min()) > 0.5 * float(opening.median())


def test_natural_blinks_are_random_but_seeded():
    def starts(seed: int) -> list[int]:
        shut = closure(MotionConfig(blink="natural", blink_seed=seed), 0, 3000, 25.0) > 0.5
        return torch.nonzero(shut[1:] & ~shut[:-1]).flatten().tolist()

    assert starts(0) == starts(0) != starts(1)
    gaps = torch.tensor(starts(0)).diff().float()
    assert gaps.std() > 10
    assert 50 < float(gaps.mean()) < 160


def test_clamp_holds_speech_but_not_emotion(capture, person):
    motion = Motion(person, MotionConfig(lle_percent=0, smoothing=0, clamp_quantile=0.01))
    mouth = upper_face(person.neutral) == 0
    wild = speech(capture, 50)
    wild = LandmarkTrack(wild.points + 5.0 * mouth[:, None], wild.scheme, wild.fps)
    high = person.quantiles(0.01)[1]
    held = motion.finish(wild, wild, 0).points
    assert bool((held[:, mouth] <= high[mouth] + 1e-4).all())
    lifted = LandmarkTrack(wild.points + 0.4 * mouth[:, None], wild.scheme, wild.fps)
    assert torch.allclose((motion.finish(wild, lifted, 0).points - held)[:, mouth], torch.tensor(0.4), atol=1e-4)


def test_wide_eyes_still_blink(capture, person):
    motion = Motion(person, MotionConfig(blink="period", blink_seconds=2.0))
    calm = speech(capture, 100)
    wide = calm.points.clone()
    wide[:, [159, 386, 158, 385, 160, 387]] += torch.tensor([0.0, 0.2, 0.0])
    done = motion.finish(calm, LandmarkTrack(wide, calm.scheme, calm.fps), 0).points
    usual = motion.finish(calm, calm, 0).points
    shut = closure(motion.config, 0, 100, 25.0)
    grown = (eye_opening(done) - eye_opening(usual)).mean(1)
    assert float(grown[shut == 0].min()) > 0.03
    assert float(grown[shut > 0.99].max()) < 0.01


def test_another_scheme_is_refused(capture, person):
    sparse = speech(capture, 5).to_scheme("ibug68")
    with pytest.raises(UserError, match="gives ibug68"):
        Motion(person, MotionConfig()).finish(sparse, sparse, 0)
