"""What is kept of a capture, and driving one person with another's head."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from realtalk_core.capture import Capture
from realtalk_core.config.motion import MotionConfig
from realtalk_core.errors import UserError
from realtalk_core.expression import ExpressionBasis, lip_gap
from realtalk_core.landmarks import BLENDSHAPES
from realtalk_core.lle import project
from realtalk_core.motion import Motion
from realtalk_core.person import Person, retarget, stretches
from realtalk_core.testing.synthetic import make_capture


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return make_capture(tmp_path_factory.mktemp("person"), seconds=5.0, size=32, with_audio=False)


@pytest.fixture(scope="module")
def person(capture: Capture) -> Person:
    return Person.from_capture(capture, torch.arange(100))


def test_round_trip(person):
    again = Person.from_tensors(person.tensors())
    assert all(torch.equal(a, b) for a, b in zip(person.tensors().values(), again.tensors().values(), strict=True))
    assert (again.fps, again.size, again.scheme) == (25.0, 32, "mediapipe478")
    broken = {k: v for k, v in person.tensors().items() if k != "bank"}
    with pytest.raises(UserError, match="lacks bank"):
        Person.from_tensors(broken)


def test_ranges_come_from_training_frames_only(capture, person):
    low, high = person.quantiles(0.0)
    assert torch.equal(low, capture.tracks.landmarks[:100].amin(0))
    assert torch.equal(high, capture.tracks.landmarks[:100].amax(0))
    assert int(person.bank.max()) < 100


def test_scores_follow_landmarks_on_frames_not_learnt_from(capture, person):
    got, true = person.scores(capture.tracks.landmarks[100:]), capture.tracks.blendshapes[100:]
    for name in ("jawOpen", "eyeBlinkRight"):
        k = BLENDSHAPES.index(name)
        assert float(torch.corrcoef(torch.stack([got[:, k], true[:, k]]))[0, 1]) > 0.95, name


def test_no_frame_with_a_face(capture):
    blind = Capture(capture.path, capture.meta, replace(capture.tracks, valid=torch.zeros(len(capture)).bool()))
    with pytest.raises(UserError, match="no frame to learn"):
        Person.from_capture(blind, torch.arange(10))


def test_stretches_end_at_cuts_and_lost_faces():
    pose = torch.eye(4).repeat(10, 1, 1)
    pose[6:, 0, 3] = 8.0
    valid = torch.ones(10).bool()
    valid[2] = False
    assert stretches(pose, valid).tolist() == [[0, 2], [3, 6], [6, 10]]


def test_retarget_keeps_this_heads_place(capture):
    mine = capture.tracks.pose
    theirs = mine.clone()
    theirs[:, :3, 3] *= 1.5
    moved = retarget(mine, theirs)
    near, far = (torch.linalg.inv(p)[:, 2, 3].median() for p in (moved, theirs))
    assert float(near) == pytest.approx(float(torch.linalg.inv(mine)[:, 2, 3].median()), rel=0.02)
    assert float(far) > 1.3 * float(near)
    assert torch.allclose(retarget(mine, mine), mine, atol=1e-3)


def test_driven_by_another(capture, person, tmp_path):
    other = Person.from_capture(
        make_capture(tmp_path, seconds=3.0, size=32, seed=5, with_audio=False), torch.arange(75)
    )
    driven = person.driven_by(other)
    motion = Motion(driven, MotionConfig())
    assert int(motion.frames(0, 500).max()) == 74
    assert torch.equal(driven.quantiles(0.1)[0], person.quantiles(0.1)[0])
    track = capture.landmarks[:50]
    assert float(lip_gap(motion.finish(track, track, 0).points).std()) > 0.5 * float(lip_gap(track.points).std())


def test_basis_restores_what_it_has_seen(capture):
    points, neutral = capture.tracks.landmarks, capture.tracks.neutral
    basis = ExpressionBasis.fit(points, neutral, torch.ones(478), 8)
    assert float((basis.decode(basis.encode(points)) - points).norm(dim=-1).mean()) < 0.02
    assert torch.allclose(basis.encode(points).std(0), torch.ones(8), atol=0.05)
    again = ExpressionBasis.from_tensors(basis.tensors())
    assert torch.allclose(again.decode(torch.ones(1, 8)), basis.decode(torch.ones(1, 8)), atol=1e-5)


def test_lle_rebuilds_mixtures_and_ignores_time():
    random = torch.Generator().manual_seed(0)
    bank = torch.randn(40, 6, generator=random)
    mixture = (0.3 * bank[0] + 0.7 * bank[1])[None]
    near = torch.cat([bank[:2], 100 + bank])
    assert torch.allclose(project(mixture, near, 2), mixture, atol=1e-3)
    assert torch.allclose(project(bank, bank, 1), bank)
    faces = torch.randn(300, 6, generator=random)
    assert torch.allclose(project(faces, bank, 5)[123:124], project(faces[123:124], bank, 5), atol=1e-4)
