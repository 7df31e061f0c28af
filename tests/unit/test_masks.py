"""Box, plate, matte, hair, parts and graph cuts on pictures whose truth is known."""

import cv2
import numpy as np
import pytest

from realtalk_core.capture import PARTS
from realtalk_core.capturing.box import Box, choose_box
from realtalk_core.capturing.hair import HairModel
from realtalk_core.capturing.matte import keep_person, refine
from realtalk_core.capturing.parts import frame_masks, head_zones
from realtalk_core.capturing.plate import inpaint, make_plate
from realtalk_core.capturing.segment import GraphCutSegmenter
from realtalk_core.testing import make_capture

SIDE = 192


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A drawn clip with true masks: frames, true person alphas, landmarks in pixels."""
    capture = make_capture(tmp_path_factory.mktemp("drawn"), seconds=0.8, size=SIDE)
    frames = [capture.frame(k) for k in range(len(capture))]
    people = [capture.masks(k)[..., 0] for k in range(len(capture))]
    return capture, frames, people, capture.tracks.image_points.numpy()


def test_box_holds_the_head_and_stays_in_the_picture():
    faces = np.array([[400.0 + k / 4, 200, 600 + k / 4, 450] for k in range(200)])
    box = choose_box(faces, 1920, 1080)
    assert box.left < 350
    assert box.left + box.side > 700
    assert box.top < 120
    assert 250 * 1.7 < box.side < 250 * 2.4
    assert box.outside == 0
    faces[7] = (1500, 800, 1700, 1050)  # one wild frame
    assert choose_box(faces, 1920, 1080).side <= box.side + 8


def test_box_takes_the_whole_of_a_tight_square_and_leaves_only_a_too_tight_one():
    assert choose_box(np.array([[140.0, 100, 374, 368]] * 9), 512, 512) == Box(0, 0, 512, 512, 512)
    assert choose_box(np.array([[50.0, 50, 195, 211]] * 9), 256, 256) == Box(0, 0, 256, 256, 256)
    tight = choose_box(np.array([[5.0, 0, 195, 199]] * 9), 200, 200)
    assert tight.side > 200
    assert tight.outside > 0


def test_crop_repeats_the_edge_and_moves_points_with_it():
    picture = np.zeros((50, 80, 3), np.uint8)
    picture[0] = 200
    box = Box(10, -20, 60, 80, 50)
    crop = box.crop(picture, 60)
    assert crop.shape == (60, 60, 3)
    assert (crop[:21] == 200).all()
    assert (crop[21:] == 0).all()
    assert box.points(np.array([[10.0, 0.0, 6.0]], np.float32), 30).tolist() == [[0.0, 10.0, 3.0]]


def test_plate_finds_what_was_uncovered():
    rng = np.random.default_rng(0)
    scene = cv2.resize(rng.integers(0, 255, (8, 8, 3), np.uint8), (64, 64), interpolation=cv2.INTER_CUBIC)
    frames, people = [], []
    for k in range(20):
        mask = np.zeros((64, 64), np.uint8)
        mask[10:60, 5 + k : 30 + k] = 255
        frames.append(np.where(mask[..., None] > 0, np.uint8(7), scene))
        people.append(mask)
    plate = make_plate(frames, people)
    assert plate.known[30, 2]
    assert plate.known[30, 10]  # uncovered later
    assert np.abs(plate.picture[plate.known].astype(int) - scene[plate.known]).max() <= 1
    assert not plate.moves
    never = make_plate(frames[:1] * 5, people[:1] * 5)
    assert not never.known[30, 15]
    assert np.abs(never.picture[30, 15].astype(int) - 7).min() > 3  # inpainted, not the person


def test_a_background_that_moves_is_noticed():
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (64, 64, 3), np.uint8) for _ in range(12)]
    assert make_plate(frames, [np.zeros((64, 64), np.uint8)] * 12).moves


def test_inpainting_continues_smoothly():
    ramp = np.repeat(np.linspace(50, 200, 64).astype(np.uint8)[None, :, None], 64, 0).repeat(3, 2)
    known = np.ones((64, 64), bool)
    known[20:44, 20:44] = False
    filled = inpaint(np.where(known[..., None], ramp, 0).astype(np.uint8), known)
    assert np.abs(filled.astype(int) - ramp).max() < 40
    assert (filled[known] == ramp[known]).all()
    assert (inpaint(ramp, np.zeros((64, 64), bool)) == 128).all()


def test_matte_finds_the_true_edge(drawn):
    _, frames, people, _ = drawn
    plate = make_plate(frames, people)
    truth = people[5].astype(np.float32) / 255
    coarse = cv2.GaussianBlur(cv2.dilate(truth, np.ones((9, 9))), (0, 0), 3)  # as a small network leaves it
    fine = refine(coarse, frames[5], plate)
    guided = refine(coarse, frames[5], None)
    errors = [float(np.abs(a - truth).mean()) for a in (coarse, guided, fine)]
    assert errors[2] < 0.5 * errors[0]
    assert errors[2] < errors[1]
    assert fine.min() >= 0
    assert fine.max() <= 1


def test_other_people_are_dropped(drawn):
    _, _, people, points = drawn
    alpha = people[0].astype(np.float32) / 255
    alpha[:20, :20] = 1.0
    kept = keep_person(alpha, points[0])
    assert kept[5:15, 5:15].max() == 0
    x, y = points[0, :, :2].mean(0).astype(int)
    assert kept[y, x] == alpha[y, x]


def test_parts_lie_where_the_face_has_them(drawn):
    capture, _, people, points = drawn
    masks = frame_masks(people[3].astype(np.float32) / 255, points[3])
    labels, true = masks[..., 2], capture.masks(3)[..., 2]
    for name in ("skin", "eyes", "lips"):
        mine, theirs = labels == PARTS[name], true == PARTS[name]
        assert (mine & theirs).sum() / (mine | theirs).sum() > 0.6, name
    chin, nose, brow = (points[3, k, :2].round().astype(int) for k in (152, 4, 105))
    assert labels[nose[1], nose[0]] == PARTS["nose"]
    assert labels[brow[1], brow[0]] == PARTS["brows"]
    assert labels[min(SIDE - 1, chin[1] + 8), chin[0]] == PARTS["torso"]
    assert masks[min(SIDE - 1, chin[1] + 8), chin[0], 1] == 0


def test_an_open_mouth_has_an_inside(drawn):
    *_, points = drawn
    face = points[0].copy()
    face[[14, 87, 88, 95, 178, 317, 402, 318, 324, 17, 84, 181, 314, 405], 1] += 12
    labels = frame_masks(np.ones((SIDE, SIDE), np.float32), face)[..., 2]
    assert (labels == PARTS["inside_mouth"]).sum() > 60


def test_hair_beside_the_neck_belongs_to_the_head(drawn):
    """Hair that hangs from the head counts as head down to the chin; a dark coat does not."""
    face = drawn[3][0]
    upper, beside = head_zones(face[:, :2], SIDE)
    person = np.ones((SIDE, SIDE), np.float32)
    left = face[172, 0] - 10
    strand = np.zeros((SIDE, SIDE), np.float32)
    strand[:, int(left) - 9 : int(left) + 9] = 1.0
    y = int(face[172, 1]) + 4
    assert upper[y, int(left)] < 0.5 < beside[y, int(left)]
    assert frame_masks(person, face, strand)[y, int(left), 1] > 127
    assert frame_masks(person, face, np.zeros_like(strand))[y, int(left), 1] < 127
    loose = strand.copy()
    loose[: int(face[58, 1]) + 6] = 0.0  # the same colour, but not hanging from the head
    assert frame_masks(person, face, loose)[y + 6, int(left), 1] < 127


def test_hair_model_tells_hair_from_skin(drawn):
    capture, frames, people, points = drawn
    model = HairModel.fit(frames, people, list(points))
    probability = model(frames[0])
    labels = capture.masks(0)[..., 2]
    inner = cv2.erode((labels == PARTS["skin"]).astype(np.uint8), np.ones((5, 5))) > 0
    hair = cv2.erode((labels == PARTS["hair_ears"]).astype(np.uint8), np.ones((5, 5))) > 0
    assert np.median(probability[inner]) < 0.3
    assert np.median(probability[hair]) > 0.6


def test_graph_cut_finds_the_person(drawn):
    _, frames, people, points = drawn
    alpha = GraphCutSegmenter()(frames[0], points[0])
    mine, theirs = alpha > 0.5, people[0] > 127
    assert (mine & theirs).sum() / (mine | theirs).sum() > 0.7
    assert GraphCutSegmenter()(frames[0], None).max() == 0
