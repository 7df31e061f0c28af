"""The actor's pictures and captures. The first frame compiles the rasteriser, which takes most of the time here."""

import json

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from realtalk_actor.actor import INDEX, Actor, Pose
from realtalk_actor.performance import perform
from realtalk_actor.picture import Camera, Studio, in_order
from realtalk_actor.record import image_points, write_capture
from realtalk_core.capture import PARTS, Capture
from realtalk_core.emotion import LABELS, parse_emotion
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


def test_landmarks_need_no_mesh_and_are_the_meshes_own(studio):
    rng = np.random.default_rng(0)
    for _ in range(5):
        pose = Pose(np.clip(rng.normal(size=52) * 0.5, 0, 1))
        head = studio.actor.head(pose)
        assert np.allclose(studio.actor.landmarks(pose)[:468], head[:468], atol=1e-5)
        assert np.array_equal(studio.actor.landmarks(pose, head)[:468], head[:468])


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


def test_off_the_person_the_picture_is_the_plate_and_on_it_it_is_not(studio):
    """Masks and picture speak of the same pixels."""
    shot, plate = studio.shoot(Pose(turn=(0.0, 0.25, 0.1))), studio.plate()
    off, on = shot.masks[..., 0] == 0, shot.masks[..., 0] == 255
    assert np.array_equal(shot.rgb[off], plate[off])
    differs = np.abs(shot.rgb.astype(int) - plate).max(-1) > 4
    assert differs[on].mean() > 0.98
    edge = ~off & ~on
    assert 0.001 < edge.mean() < 0.1


def test_masks_move_with_the_landmarks(studio):
    """A part's middle shifts as far as its landmarks do, to a pixel of 0.14 cm."""
    large = Studio(studio.actor, Camera(256), with_normals=False)
    rest, moved = (large.shoot(Pose(shift=(x, 0, 0))) for x in (0.0, 2.5))

    def middle(shot, part):
        return float(np.nonzero(shot.masks[..., 2] == PARTS[part])[1].mean())

    for part, landmarks in (("nose", [1, 4, 5, 195]), ("eyes", [33, 133, 263, 362]), ("lips", [0, 17, 61, 291])):
        step = (place(large, moved) - place(large, rest))[landmarks, 0].mean()
        assert step > 12
        assert abs(middle(moved, part) - middle(rest, part) - step) < 1, part


def test_many_poses_come_in_order_and_equal_to_one_by_one(studio):
    poses = [Pose(turn=(0.0, 0.05 * k, 0.0)) for k in range(7)]
    for pose, shot in zip(poses, studio.shoots(poses), strict=True):
        assert np.array_equal(shot.rgb, studio.shoot(pose).rgb)


def test_an_error_in_one_frame_ends_the_others_and_reaches_the_caller():
    started = []

    def work(k):
        started.append(k)
        if k == 3:
            raise ValueError("frame 3")
        return k

    results = in_order(work, range(1000))
    assert [next(results), next(results), next(results)] == [0, 1, 2]
    with pytest.raises(ValueError, match="frame 3"):
        next(results)
    assert len(started) < 50


SAID = ["m", "ɑ", "b", "i", "p", "æ", "m", "o", "b", "ɛ"]


def spoken():
    phonemes = tuple(Phoneme(sound, 0.12 * k, 0.12 * (k + 1)) for k, sound in enumerate(SAID))
    return Speech(AudioClip(0.3 * torch.sin(torch.arange(19200) * 0.05), 16000), phonemes)


def gaps(actor, performance):
    """Distance between the inner lips over that between the outer eye corners, at each frame."""
    shapes = [actor.landmarks(pose) for pose in performance.poses]
    return np.array([np.linalg.norm(s[13] - s[14]) / np.linalg.norm(s[33] - s[263]) for s in shapes])


@pytest.fixture(scope="module")
def acted(studio):
    """The same words in every emotion, and their lip gaps."""
    performances = {e: perform(spoken(), parse_emotion(e).track(30, 25.0), 6) for e in LABELS}
    return performances, {e: gaps(studio.actor, p) for e, p in performances.items()}


@pytest.mark.parametrize("emotion", [e for e in LABELS if e != "neutral"])
def test_the_same_words_in_two_emotions_are_aligned_frame_by_frame(acted, emotion):
    performances, lips = acted
    mine, neutral = performances[emotion], performances["neutral"]
    for a, b in zip(mine.poses, neutral.poses, strict=True):
        assert (a.tongue, a.breath) == (b.tongue, b.breath)
    assert mine.speech.phonemes == neutral.speech.phonemes
    change = np.abs(np.array([a.shapes for a in mine.poses]) - [b.shapes for b in neutral.poses]).max(1)
    assert change.min() > 0.05
    lags = [np.corrcoef(lips[emotion][3:-3], np.roll(lips["neutral"], k)[3:-3])[0, 1] for k in range(-3, 4)]
    assert lags[3] == max(lags)
    assert lags[3] > 0.9


@pytest.mark.parametrize("emotion", LABELS)
def test_lips_close_on_p_b_and_m_and_open_between(acted, emotion):
    """In the geometry itself, not only in the controls."""
    _, lips = acted
    at = {True: [], False: []}
    for k, sound in enumerate(SAID):
        at[sound in "pbm"].append(lips[emotion][round((k + 0.5) * 0.12 * 25 - 0.5)])
    assert max(at[True]) < 0.03
    assert np.mean(at[False]) > 0.08


@pytest.mark.parametrize("seed", [2, 11])
def test_lips_of_other_heads_close_too(seed):
    performance = perform(spoken(), parse_emotion("surprise").track(30, 25.0), seed)
    lips = gaps(Actor(seed), performance)
    closed = [lips[round((k + 0.5) * 3 - 0.5)] for k, sound in enumerate(SAID) if sound in "pbm"]
    assert max(closed) < 0.03


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
    for k, pose in enumerate(performance.poses):
        shot = studio.shoot(pose)
        assert np.array_equal(np.asarray(capture.masks(k)), shot.masks)
        frame = cv2.imread(str(tmp_path / "frames" / f"{k:06d}.jpg"))[..., ::-1]
        assert np.abs(frame.astype(float) - shot.rgb).mean() < 2
        normals = cv2.imread(str(tmp_path / "normals" / f"{k:06d}.png"))[..., ::-1]
        assert np.abs((normals.astype(float) - 128) / 127 - shot.normals).max() < 0.01
        assert np.allclose(truth["landmarks478"][k], shot.landmarks, atol=1e-4)
        assert np.allclose(capture.tracks.image_points[k, :, :2], place(studio, shot)[:, :2], atol=0.01)
    assert (tmp_path / "overview.png").stat().st_size > 1000
