"""The synthetic capture is what it says: exact, repeatable, a face, and a mouth that its sound predicts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from realtalk_core.capture import PARTS, Capture
from realtalk_core.landmarks import (
    BLENDSHAPES,
    FACE_OVAL,
    INNER_LIP_CENTRES,
    LIPS_INNER,
    OUTER_EYE_CORNERS,
    RIGHT_EYE,
)
from realtalk_core.testing.face import EXPRESSIONS, expression_basis, neutral_face, triangles
from realtalk_core.testing.synthetic import make_capture, motion, synthetic_clip


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return make_capture(tmp_path_factory.mktemp("synthetic") / "capture", seconds=2, size=96, seed=1)


def test_neutral_face_has_human_proportions():
    face = neutral_face()
    assert face.shape == (478, 3)
    assert np.unique(face[:, :2].round(3), axis=0).shape[0] == 478
    width, height = np.ptp(face[list(FACE_OVAL), 0]), np.ptp(face[list(FACE_OVAL), 1])
    assert 13 < width < 15
    assert 16 < height < 19
    assert 8.3 < np.linalg.norm(face[OUTER_EYE_CORNERS[0]] - face[OUTER_EYE_CORNERS[1]]) < 9.5
    assert face[:, 2].argmax() in (1, 4), "the nose tip stands out furthest"
    assert abs(face[13, 1] - face[14, 1]) < 0.15, "mouth closed"
    mirrored = np.abs(face[33] * [-1, 1, 1] - face[263])
    assert mirrored.max() < 1e-6


def test_mesh_leaves_mouth_and_eyes_open():
    mesh = triangles()
    for outline in (LIPS_INNER, RIGHT_EYE):
        assert not any(set(map(int, t)) <= set(outline) for t in mesh)
    assert set(range(468)) == set(np.unique(mesh).tolist())


def test_expressions_move_what_they_name():
    basis = expression_basis()
    assert set(basis) == set(EXPRESSIONS)
    upper, lower = INNER_LIP_CENTRES
    assert basis["jaw_open"][lower, 1] < -1.5
    assert abs(basis["jaw_open"][upper, 1]) < 0.1
    assert abs(basis["jaw_open"][33]).max() < 1e-9
    closed = (neutral_face() + basis["blink"])[[159, 145], 1]
    assert closed[0] - closed[1] < 0.1
    assert np.linalg.norm(basis["pucker"], axis=1).max() == pytest.approx(
        np.linalg.norm(basis["pucker"][[61, 291]], axis=1).max()
    )


def test_reprojection_is_exact(capture: Capture):
    tracks = capture.tracks
    to_camera = torch.linalg.inv(tracks.pose.double()).float()
    seen = torch.einsum("tij,tkj->tki", to_camera[:, :3, :3], tracks.landmarks) + to_camera[:, None, :3, 3]
    pixels = torch.einsum("ij,tkj->tki", tracks.intrinsics, seen)
    pixels = pixels[..., :2] / pixels[..., 2:]
    assert (pixels - tracks.image_points[..., :2]).abs().max() < 1e-2
    assert (pixels >= 0).all()
    assert (pixels < capture.size).all()


def test_pictures_agree_with_landmarks_and_masks(capture: Capture):
    frame = int(motion(50, 1).strength["jaw_open"].argmax())
    masks, points = capture.masks(frame), capture.tracks.image_points[frame, :, :2].numpy()
    middle = points[list(INNER_LIP_CENTRES)].mean(0)
    assert masks[int(middle[1]), int(middle[0]), 2] == PARTS["inside_mouth"]
    assert set(np.unique(masks[..., 2])) == set(PARTS.values())
    oval = np.zeros(masks.shape[:2], np.uint8)
    cv2.fillPoly(oval, [points[list(FACE_OVAL)].astype(np.int32)], 1)
    assert masks[..., 1][oval > 0].mean() > 250, "the oval lies in the head"
    assert ((masks[..., 0] > 0) & (masks[..., 0] < 255)).any(), "soft edges"
    assert (masks[..., 0] >= masks[..., 1]).all(), "the head is part of the person"
    outside = masks[..., 0] == 0
    difference = np.abs(capture.frame(frame).astype(int) - capture.background().astype(int)).mean(-1)
    assert np.median(difference[outside]) < 6
    assert np.median(difference[masks[..., 0] == 255]) > 20


def test_same_seed_same_capture_other_seed_another(tmp_path):
    first, again, other = (
        make_capture(tmp_path / name, seconds=0.2, size=32, seed=seed) for name, seed in (("a", 4), ("b", 4), ("c", 5))
    )
    files = sorted(p.relative_to(first.path) for p in first.path.rglob("*") if p.is_file())
    for file in files:
        assert (first.path / file).read_bytes() == (again.path / file).read_bytes(), file
    assert (first.frame(0) != other.frame(0)).any()


def test_sound_predicts_the_mouth():
    truth, clip = motion(200, seed=7), synthetic_clip(8.0, 16000, seed=7)
    assert clip.samples.shape == (128000,)
    loudness = clip.samples.reshape(200, -1).square().mean(1).sqrt().numpy()
    assert np.corrcoef(loudness, truth.strength["jaw_open"])[0, 1] > 0.85
    lagged = np.corrcoef(np.roll(loudness, 3), truth.strength["jaw_open"])[0, 1]
    assert lagged < 0.7, "and it does so in time"


def test_blendshapes_follow_the_landmarks(capture: Capture):
    points, scores = capture.tracks.landmarks, capture.tracks.blendshapes
    gap = (points[:, 13, 1] - points[:, 14, 1]).numpy()
    lids = (points[:, 159, 1] - points[:, 145, 1]).numpy()
    assert np.corrcoef(gap, scores[:, BLENDSHAPES.index("jawOpen")])[0, 1] > 0.98
    assert np.corrcoef(lids, scores[:, BLENDSHAPES.index("eyeBlinkLeft")])[0, 1] < -0.98
    assert scores[:, BLENDSHAPES.index("eyeBlinkLeft")].max() > 0.7


def test_without_sound_there_is_no_audio_file(tmp_path):
    capture = make_capture(tmp_path / "mute", seconds=0.1, size=32, with_audio=False)
    assert not (capture.path / "audio.wav").exists()
    assert len(capture) == 2
