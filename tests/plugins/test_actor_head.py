"""The actor's head: topology, landmarks, blendshapes, identities. No picture is drawn here."""

import numpy as np
import pytest
import torch

from realtalk_actor.actor import Actor, Pose
from realtalk_actor.chart import landmark_chart, resting_landmarks, to_chart
from realtalk_actor.emotions import EMOTIONS, emotion_shapes, unit_shapes, with_speech
from realtalk_actor.head import average_head
from realtalk_actor.identity import identity, shaped_head
from realtalk_actor.picture import Camera, Studio
from realtalk_actor.shapes import fields, jaw_weight
from realtalk_actor.speech import INDEX, closures, speech_shapes
from realtalk_actor.topology import topology
from realtalk_core.capture import PARTS
from realtalk_core.emotion import LABELS
from realtalk_core.landmarks import BLENDSHAPES
from realtalk_core.types import AudioClip
from realtalk_core.voice import Phoneme


def test_landmarks_are_vertices_at_known_places():
    shape = topology()
    assert np.allclose(shape.chart[:468], landmark_chart())
    assert shape.triangles.max() < len(shape.chart)
    used = np.unique(shape.triangles)
    assert np.isin(np.arange(468), used).all()


def test_every_hole_is_closed_by_its_rims_and_open_elsewhere():
    shape = topology()
    edges = np.sort(np.concatenate([shape.triangles[:, p] for p in ([0, 1], [1, 2], [2, 0])]), 1)
    pairs, count = np.unique(edges, axis=0, return_counts=True)
    assert count.max() <= 2
    border = np.unique(pairs[count == 1])
    inner = {int(v) for hole in (shape.right_eye, shape.left_eye, shape.mouth) for v in hole.rims[-1]}
    outer = {int(v) for v in border} - inner
    reach = np.hypot(*shape.chart[sorted(outer)].T)
    assert reach.min() > 3.0


def test_face_is_a_mirror_image_of_itself_and_lips_meet():
    face = resting_landmarks()
    assert np.allclose(face[33] * [-1, 1, 1], face[263])
    head = average_head()
    assert abs(head[13, 1] - head[14, 1]) < 0.05
    assert head[159, 1] - head[145, 1] > 0.6


def test_chart_goes_back_and_forth():
    points = average_head()[:468]
    assert np.abs(to_chart(points) - landmark_chart()).max() < 0.25


def test_fields_move_what_they_are_named_after():
    moved = {name: fields()[k] for k, name in enumerate(BLENDSHAPES)}
    assert moved["jawOpen"][14, 1] < -2.0
    assert abs(moved["jawOpen"][0, 1]) < 0.25
    assert moved["mouthSmileLeft"][291, 1] > 0.4
    assert abs(moved["mouthSmileLeft"][61, 1]) < 0.05
    assert moved["browInnerUp"][107, 1] > 0.4
    assert moved["browDownRight"][105, 1] < -0.2
    assert moved["mouthPucker"][61, 0] > 0.5
    still = [name for name, field in moved.items() if not np.abs(field).max() > 0]
    assert 52 - len(still) >= 40


def test_jaw_takes_chin_and_leaves_nose():
    w = jaw_weight()
    assert w[152] > 0.95
    assert w[4] < 0.02
    assert w[14] > 0.9
    assert w[13] < 0.15


def test_identities_differ_and_repeat():
    a, b = shaped_head(identity(1))[:468], shaped_head(identity(2))[:468]
    assert np.linalg.norm(a - b, axis=1).mean() > 0.2
    assert np.array_equal(a, shaped_head(identity(1))[:468])
    assert identity(1).style == identity(1).style


@pytest.mark.parametrize("label", LABELS)
def test_emotions_grow_with_intensity(label):
    weights = np.zeros((2, 8))
    weights[0, LABELS.index(label)], weights[1, LABELS.index(label)] = 0.5, 1.0
    half, full = emotion_shapes(weights)
    assert np.allclose(full, unit_shapes(EMOTIONS[label]))
    assert (full >= half).all()
    assert (full.sum() > 1) == (label != "neutral")


def test_lips_close_on_every_p_b_m_in_every_emotion():
    phonemes = [Phoneme(s, 0.1 * k, 0.1 * (k + 1)) for k, s in enumerate("mɑbipæ")]
    times = (np.arange(15) + 0.5) / 25
    clip = AudioClip(torch.ones(9600) * 0.1, 16000)
    mouth, _ = speech_shapes(phonemes, clip, times)
    for label in LABELS:
        weights = np.zeros((len(times), 8))
        weights[:, LABELS.index(label)] = 1
        shapes = with_speech(emotion_shapes(weights), mouth)
        pressed = closures(phonemes, times) > 0.9
        assert pressed.sum() >= 3
        assert shapes[pressed, INDEX["jawOpen"]].max() < 0.12
    assert mouth[:, INDEX["jawOpen"]].max() > 0.4


@pytest.mark.parametrize("seed", [1, 7, 12])
def test_an_open_mouth_shows_mouth_and_never_neck(seed: int) -> None:
    shapes = np.zeros(len(BLENDSHAPES))
    shapes[BLENDSHAPES.index("jawOpen")] = 0.8
    masks = Studio(Actor(seed), Camera(192)).shoot(Pose(shapes=shapes)).masks
    lips = np.argwhere(masks[..., 2] == PARTS["lips"])
    (top, left), (bottom, right) = lips.min(0), lips.max(0)
    assert masks[top : bottom + 1, left : right + 1, 1].min() == 255
    assert (masks[top : bottom + 1, left : right + 1, 2] == PARTS["inside_mouth"]).sum() > 50
