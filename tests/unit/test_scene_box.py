"""Compositing the face's surroundings alone, on several threads: the same pictures as whole ones, one after another."""

import cv2
import numpy as np
import pytest
import torch

from realtalk_core.compositing import Backdrop, as_filmed, box_of, composite, face_region, whole
from realtalk_core.evaluation import project
from realtalk_core.footage import CaptureFootage
from realtalk_core.landmarks import FACE_OVAL
from realtalk_core.person import Person
from realtalk_core.reconstruction import Replay
from realtalk_core.scene import Scene
from realtalk_core.testing.synthetic import make_capture
from realtalk_core.types import FrameBatch

SIDE = 96


def oval(x, y, rx, ry):
    angles = np.linspace(0, 2 * np.pi, 478, endpoint=False)
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], 1)


def face_region_plainly(drawn, filmed, side):
    """`face_region` on whole pictures."""
    mask = np.zeros((side, side), np.uint8)
    tall = float(np.ptp(filmed[:, 1]))
    for points in (drawn[list(FACE_OVAL)], filmed[list(FACE_OVAL)]):
        low, high = points[:, 1].min(), points[:, 1].max()
        lower = np.clip(2 * (points[:, 1:] - low) / max(high - low, 1e-6) - 1, 0, 1)
        for shift in (0.0, 0.07 * tall):
            moved = (points + shift * lower * np.array([0.0, 1.0])).astype(np.float32)
            cv2.fillConvexPoly(mask, np.rint(cv2.convexHull(moved)).astype(np.int32), 255, cv2.LINE_AA)
    sigma = max(1.0, 0.02 * tall)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(sigma) + 1,) * 2)
    soft = cv2.GaussianBlur(cv2.dilate(mask.astype(np.float32) / 255, kernel), (0, 0), sigma)
    return np.where(soft < 1 / 512, 0, soft)[..., None]


@pytest.mark.parametrize(
    ("x", "y"), [(48, 50), (3, 50), (48, 92), (90, 5), (-60, 50), (400, 400)], ids=lambda value: str(value)
)
def test_a_faces_region_is_that_of_whole_pictures_wherever_the_face_is(x, y):
    drawn, filmed = oval(x, y, 20, 22), oval(x + 1.5, y + 2, 22, 27)
    region = face_region(drawn, filmed, SIDE)
    assert region.shape == (SIDE, SIDE, 1)
    np.testing.assert_allclose(region, face_region_plainly(drawn, filmed, SIDE), atol=1e-6)


def test_a_box_holds_what_is_not_zero():
    mask = np.zeros((20, 30, 1))
    assert mask[box_of(mask)].size == 0
    mask[4, 7], mask[9, 5] = 1, 0.1
    assert box_of(mask) == (slice(4, 10), slice(5, 8))


@pytest.fixture(scope="module")
def layers():
    rng = np.random.default_rng(0)
    smooth = lambda channels: cv2.GaussianBlur(rng.random((SIDE, SIDE, channels)), (0, 0), 3).reshape(SIDE, SIDE, -1)  # noqa: E731
    y, x = np.mgrid[:SIDE, :SIDE]
    head = (np.hypot((x - 48) / 26, (y - 44) / 32) < 1)[..., None] * (0.6 + 0.4 * smooth(1))
    person = np.maximum(head, (y[..., None] > 60) * 0.95)
    made = (smooth(3), 0.5 + smooth(1), smooth(3), person, head)
    return [layer.clip(0, 1).astype(np.float32) for layer in made]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_box_of_a_composite_is_that_of_the_whole(layers, replaced):
    face = face_region(oval(48, 46, 18, 20), oval(50, 48, 19, 24), SIDE)
    skin = face_region(oval(50, 48, 19, 24), oval(50, 48, 19, 24), SIDE)
    backdrop = Backdrop(layers[2][::-1].copy(), replaced)
    want = composite(*layers, face, skin, backdrop)
    for box in (box_of(face), (slice(0, 31), slice(20, SIDE)), (slice(40, 44), slice(50, 51)), whole(SIDE)):
        np.testing.assert_allclose(composite(*layers, face, skin, backdrop, box), want[box], atol=1e-6)
    beside = face[..., 0] == 0
    filmed = as_filmed(layers[2], layers[3], backdrop, whole(SIDE))
    assert np.array_equal(want[beside], filmed[beside])


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    return make_capture(tmp_path_factory.mktemp("box") / "capture", seconds=0.4, size=SIDE, with_audio=False)


def composed(capture, threads, background="original"):
    person = Person.from_capture(capture, torch.arange(len(capture)))
    scene = Scene(CaptureFootage(capture), Replay(person), SIDE, background)
    heads = torch.rand(7, SIDE, SIDE, 4, generator=torch.Generator().manual_seed(0))
    here, before = slice(1, 8), torch.get_num_threads()
    given = FrameBatch(heads[..., :3], heads[..., 3:], 0), 1, capture.landmarks[here], capture.cameras[here]
    torch.set_num_threads(threads)
    try:
        return scene, scene.compose(*given), heads, scene.region(1, *given[2:])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("background", ["original", "plate"])
def test_pictures_do_not_depend_on_threads(filmed, background):
    _, one, _, seen = composed(filmed, 1, background)
    for threads in (2, 3):
        _, several, _, also_seen = composed(filmed, threads, background)
        assert torch.equal(one, several)
        assert torch.equal(seen, also_seen)


def test_a_scenes_pictures_are_whole_composites_to_within_a_step(filmed):
    scene, pictures, heads, seen = composed(filmed, 2)
    for k in (0, 3, 6):
        frame, masks = (x.astype(np.float32) / 255 for x in (filmed.frame(k + 1), filmed.masks(k + 1)[..., :2]))
        person, head = masks[..., :1], np.minimum(masks[..., 1:], masks[..., :1])
        at = project(filmed.landmarks[k + 1 : k + 2], filmed.cameras[k + 1 : k + 2])[0].numpy()
        face = face_region_plainly(at, at, SIDE)
        rgb, alpha = heads[k, ..., :3].numpy(), heads[k, ..., 3:].numpy()
        want = composite(rgb, alpha, frame, person, head, face, face, scene._backdrop) * 255
        assert np.abs(pictures[k].numpy() - want).max() <= 0.51
        beside = face[..., 0] == 0
        assert 0.3 < beside.mean() < 0.95
        assert np.array_equal(pictures[k].numpy()[beside], filmed.frame(k + 1)[beside])
        assert bool(seen[k][torch.from_numpy(~beside)].all())
