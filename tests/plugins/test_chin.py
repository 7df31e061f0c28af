"""No second chin: a face put over a film in which the jaw hung lower or higher, measured against an actor's truth."""

import numpy as np
import pytest

from realtalk_actor.actor import INDEX, Actor, Pose
from realtalk_actor.picture import Camera, Studio
from realtalk_actor.record import image_points
from realtalk_core.compositing import Backdrop, composite, face_region

SIDE, CHIN = 160, 152


@pytest.fixture(scope="module")
def studio():
    return Studio(Actor(3), Camera(SIDE), with_normals=False)


def shoot(studio, jaw):
    shapes = np.zeros(52)
    shapes[INDEX["jawOpen"]] = jaw
    shot = studio.shoot(Pose(shapes, turn=(0.0, 0.1, 0.0)))
    masks = shot.masks.astype(np.float32) / 255
    points = image_points(studio.camera, shot.transform[None], shot.landmarks[None])[0][:, :2]
    return shot.rgb.astype(np.float32) / 255, masks[..., :1], masks[..., 1:2], points


def psnr(a, b):
    return -10 * np.log10(np.square(a - b).mean())


@pytest.mark.parametrize(
    ("filmed", "drawn", "least", "gain"), [(0.0, 0.9, 30, 7), (0.0, 0.4, 31, 4), (0.9, 0.0, 25, 3)]
)
def test_around_the_chin_the_picture_is_the_truth_and_not_the_film(studio, filmed, drawn, least, gain):
    """The head is rendered perfectly, so whatever is wrong is the compositing's."""
    film, person, head, old = shoot(studio, filmed)
    truth, _, alpha, new = shoot(studio, drawn)
    plate = studio.plate().astype(np.float32) / 255
    regions = (face_region(new, old, SIDE), face_region(old, old, SIDE))
    out = composite(truth, alpha, film, person, head, *regions, Backdrop(plate))
    top, bottom = sorted((int(old[CHIN, 1]), int(new[CHIN, 1])))
    x = int(old[CHIN, 0])
    around = np.s_[top - 4 : bottom + 9, x - 20 : x + 20]
    assert bottom - top >= 3
    assert psnr(out[around], truth[around]) > least
    assert psnr(out[around], truth[around]) > psnr(film[around], truth[around]) + gain


def test_a_raised_jaw_leaves_no_beard_on_the_neck():
    """The fill is the neck's colour where a neck is seen, not that of the chin that is taken away."""
    studio = Studio(Actor(6), Camera(SIDE), with_normals=False)  # bearded
    film, person, head, old = shoot(studio, 0.9)
    truth, _, alpha, new = shoot(studio, 0.0)
    plate = studio.plate().astype(np.float32) / 255
    regions = (face_region(new, old, SIDE), face_region(old, old, SIDE))
    out = composite(truth, alpha, film, person, head, *regions, Backdrop(plate))
    x, chin, filmed_chin = int(new[CHIN, 0]), int(new[CHIN, 1]), int(old[CHIN, 1])
    between = np.s_[chin + 4 : filmed_chin + 1, x - 4 : x + 5]
    assert film[between].mean() < 0.6 * truth[between].mean()  # beard where neck should be
    assert out[between].mean() > 0.75 * truth[between].mean()
