"""A scene of rendered bodies: head over torso over what stands behind; nothing is read from the film."""

import numpy as np
import pytest
import torch

from realtalk_core.compositing import Backdrop, composite, face_region
from realtalk_core.config import load_config
from realtalk_core.errors import UserError
from realtalk_core.pipeline import _torso
from realtalk_core.scene import Scene
from realtalk_core.types import CameraTrack, FrameBatch, LandmarkTrack

SIDE = 48


class Plate:
    """Footage whose frames nobody may read."""

    size = SIDE

    def frame(self, index):
        raise AssertionError("a frame of the film was read")

    matte = frame

    def plate(self):
        return np.full((SIDE, SIDE, 3), 51, np.uint8)


def layer(colour, alpha, count=2, side=SIDE):
    rgb = torch.tensor(colour).expand(count, side, side, 3)
    return FrameBatch(rgb, torch.full((count, side, side, 1), alpha), 0)


def given(count=2):
    landmarks = LandmarkTrack(torch.zeros(count, 478, 3), "mediapipe478", 25.0)
    return landmarks, CameraTrack(torch.eye(4).repeat(count, 1, 1), torch.eye(3), SIDE, SIDE)


def test_the_head_is_above_the_torso_and_the_torso_above_the_plate():
    scene = Scene(Plate(), None, SIDE, torso=True)
    landmarks, cameras = given()
    out = scene.compose(layer([1.0, 0, 0], 0.5), 0, landmarks, cameras, layer([0, 1.0, 0], 0.25))
    assert out.shape == (2, SIDE, SIDE, 3)
    assert out[1, 20, 20].tolist() == [
        round(255 * (0.5 + 0.375 * 0.2)),
        round(255 * (0.125 + 0.075)),
        round(255 * 0.075),
    ]
    assert scene.region(0, landmarks, cameras) is None


def test_layers_of_another_size_are_fitted_without_their_hidden_colour():
    scene = Scene(Plate(), None, SIDE, torso=True)
    plain = layer([0.0, 0, 0], 0.0, side=24)
    head = FrameBatch(plain.rgb.clone(), plain.alpha.clone(), 0)
    head.rgb[:, :12], head.alpha[:, :12] = 1.0, 1.0  # white above, and black that nobody should see below
    out = scene.compose(head, 0, *given(), layer([1.0, 1.0, 1.0], 1.0, side=16))
    assert int(out.min()) >= 250


def test_a_picture_stands_behind_the_torso():
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[..., 2] = 200
    scene = Scene(Plate(), None, SIDE, picture, moved=True, torso=True)
    out = scene.compose(layer([1.0, 0, 0], 0.0), 0, *given(), layer([0, 1.0, 0], 0.0))
    assert out[0, 5, 5].tolist() == [0, 0, 200]


class Avatar:
    path = "avatars/me"
    config = load_config()


class Bodied:
    torso = object()


@pytest.mark.parametrize(
    ("renderer", "wanted", "moved", "model"),
    [
        (Bodied(), None, False, False),
        (Bodied(), None, True, True),
        (Bodied(), "film", True, False),
        (Bodied(), "model", False, True),
        (object(), None, True, False),
        (object(), "film", False, False),
    ],
)
def test_which_torso_is_taken(renderer, wanted, moved, model):
    assert (_torso(renderer, Avatar, wanted, moved) is not None) == model


def test_a_torso_that_is_not_there_or_unknown_is_refused():
    with pytest.raises(UserError, match="avatars/me has no torso; its renderer triplane_nerf") as refused:
        _torso(object(), Avatar, "model", True)
    assert "--torso film" in refused.value.cure
    with pytest.raises(UserError, match="unknown choice 'modle' - did you mean 'model'"):
        _torso(Bodied(), Avatar, "modle", False)


def test_beside_the_jaw_no_neck_is_invented():
    """Head and torso meet at the chin alone; what a narrower face uncovers beside it is background."""
    y, x = np.mgrid[:128, :128].astype(np.float32)
    disc = lambda cx, cy, r: (np.hypot(x - cx, y - cy) < r).astype(np.float32)[..., None]  # noqa: E731
    head, body = disc(64, 50, 30), (y > 84).astype(np.float32)[..., None] * disc(64, 128, 52)
    person = np.maximum(head, body)
    skin, sky = np.float32([0.8, 0.6, 0.5]), np.float32([0.1, 0.3, 0.9])
    frame = np.where(head > 0, skin, np.where(body > 0, np.float32([0.2, 0.2, 0.2]), sky)).astype(np.float32)
    angles = np.linspace(0, 2 * np.pi, 478, endpoint=False)
    filmed, drawn = (np.stack([64 + r * np.cos(angles), 50 + r * np.sin(angles)], 1) for r in (29, 22))
    plate = np.broadcast_to(sky, frame.shape)
    narrow, regions = disc(64, 50, 23), (face_region(drawn, filmed, 128), face_region(filmed, filmed, 128))
    out = composite(np.broadcast_to(skin, frame.shape), narrow, frame, person, head, *regions, Backdrop(plate))
    assert np.abs(out[50, [37, 91]] - sky).max() < 0.1
