"""The actor's pictures and captures. The first frame compiles the rasteriser, which takes most of the time here."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from realtalk_actor.actor import INDEX, Actor, Pose
from realtalk_actor.performance import perform
from realtalk_actor.picture import Camera, Studio
from realtalk_actor.record import image_points, write_capture
from realtalk_core.capture import PARTS, Capture
from realtalk_core.emotion import parse_emotion
from realtalk_core.types import AudioClip
from realtalk_core.voice import Phoneme, Speech

SIZE = 96


@pytest.fixture(scope="module")
def studio():
    return Studio(Actor(6), Camera(SIZE))


def shapes(**values):
    out = np.zeros(52)
    for name, value in values.items():
        for full in (name,) if name in INDEX else (name + "Left", name + "Right"):
            out[INDEX[full]] = value
    return out


def place(studio, shot):
    return image_points(studio.camera, shot.transform[None], shot.landmarks[None])[0]


def label_at(shot, point):
    x, y = np.clip(point[:2].astype(int), 0, SIZE - 1)
    return int(shot.masks[y, x, 2])


def test_landmarks_lie_on_what_they_name(studio):
    shot = studio.shoot(Pose(turn=(0.05, 0.3, 0.05)))
    points = place(studio, shot)
    assert label_at(shot, points[4]) == PARTS["nose"]
    assert label_at(shot, points[468]) == PARTS["eyes"]
    assert label_at(shot, points[50]) == PARTS["skin"]
    assert label_at(shot, (points[0] + points[13]) / 2) == PARTS["lips"]
    head = shot.masks[..., 1] > 127
    assert head[shot.masks[..., 2] == PARTS["eyes"]].any()
    assert (shot.masks[..., 0] >= shot.masks[..., 1]).all()


def test_open_mouth_shows_its_inside_and_a_blink_hides_the_eyes(studio):
    rest = studio.shoot(Pose())
    wide = studio.shoot(Pose(shapes(jawOpen=0.9)))
    shut = studio.shoot(Pose(shapes(eyeBlink=1.0)))
    count = lambda shot, part: int((shot.masks[..., 2] == PARTS[part]).sum())  # noqa: E731
    assert count(wide, "inside_mouth") > 5 * max(1, count(rest, "inside_mouth"))
    assert count(shut, "eyes") < 0.75 * count(rest, "eyes")
    gap = lambda shot: np.linalg.norm(shot.landmarks[13] - shot.landmarks[14])  # noqa: E731
    assert gap(wide) > 1.5
    assert gap(rest) < 0.05
    lids = np.linalg.norm(shut.landmarks[159] - shut.landmarks[145])
    assert lids < 0.2


def test_normals_face_the_camera_and_are_unit(studio):
    shot = studio.shoot(Pose())
    length = np.linalg.norm(shot.normals, axis=-1)
    person = shot.masks[..., 0] == 255
    assert np.allclose(length[person], 1, atol=0.02)
    assert (shot.normals[..., 2][shot.masks[..., 2] == PARTS["nose"]] < 0).mean() > 0.95


def test_same_pose_same_picture(studio):
    assert np.array_equal(studio.shoot(Pose()).rgb, studio.shoot(Pose()).rgb)


def test_emotions_are_aligned_frame_by_frame():
    speech = Speech(AudioClip(torch.rand(8000) - 0.5, 16000), (Phoneme("m", 0, 0.1), Phoneme("ɑ", 0.1, 0.5)))
    neutral, happy = (perform(speech, parse_emotion(e).track(12, 25.0), 3) for e in ("neutral", "happy"))
    for a, b in zip(neutral.poses, happy.poses, strict=True):
        assert a.tongue == b.tongue
        assert a.breath == b.breath
    assert happy.poses[8].shapes[INDEX["mouthSmileLeft"]] > neutral.poses[8].shapes[INDEX["mouthSmileLeft"]] + 0.4


def test_capture_is_whole_and_exact(tmp_path, studio):
    speech = Speech(AudioClip(torch.rand(3200) - 0.5, 16000), (Phoneme("b", 0, 0.08), Phoneme("a", 0.08, 0.2)))
    performance = perform(speech, parse_emotion("sad:0.5").track(4, 25.0), 6)
    write_capture(tmp_path, studio.actor, studio.camera, performance, {"actor": 6})
    capture = Capture.open(tmp_path)
    assert len(capture) == 4
    assert capture.size == SIZE
    assert abs(capture.audio.seconds - 4 / 25) < 1e-6
    seen = torch.linalg.inv(capture.tracks.pose[2]) @ torch.cat([capture.tracks.landmarks[2], torch.ones(478, 1)], 1).T
    pixels = capture.tracks.intrinsics @ seen[:3]
    assert torch.allclose((pixels[:2] / pixels[2]).T, capture.tracks.image_points[2, :, :2], atol=0.01)
    truth = load_file(tmp_path / "truth.safetensors")
    assert torch.allclose(truth["emotion"].sum(1), torch.ones(4))
    assert truth["landmarks68"].shape == (4, 68, 3)
    assert json.loads((tmp_path / "phonemes.json").read_text("utf-8"))[0]["ipa"] == "b"
    assert capture.masks(0).shape == (SIZE, SIZE, 3)
    assert (tmp_path / "overview.png").stat().st_size > 1000
