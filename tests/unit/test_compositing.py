import numpy as np
import pytest

from realtalk_core.compositing import Backdrop, behind_head, composite, face_region, pull_push
from realtalk_core.matting import unmix

SIDE = 128
SKIN, SHIRT, SKY, HAIR = ([0.8, 0.6, 0.5], [0.9, 0.9, 0.95], [0.1, 0.3, 0.9], [0.2, 0.1, 0.1])
Y, X = np.mgrid[:SIDE, :SIDE].astype(np.float32)


def disc(x, y, rx, ry):
    inside = 1 - np.clip((np.hypot((X - x) / rx, (Y - y) / ry) - 1) * 30 + 0.5, 0, 1)
    return inside[..., None].astype(np.float32)


def paint(layers):
    picture = np.full((SIDE, SIDE, 3), SKY, np.float32)
    for mask, colour in layers:
        picture = picture * (1 - mask) + mask * np.float32(colour)
    return picture


HEAD = disc(64, 50, 28, 36)
NECK = (disc(64, 96, 14, 26) * (Y[..., None] > 60)).astype(np.float32)
BODY = disc(64, 128, 60, 32)
PERSON = np.maximum(np.maximum(HEAD, NECK), BODY)
FRAME = paint([(BODY, SHIRT), (NECK, np.multiply(SKIN, 0.75)), (HEAD, SKIN)])
PLATE = paint([])


def oval(x, y, rx, ry):
    angles = np.linspace(0, 2 * np.pi, 478, endpoint=False)
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], 1)


FILMED = oval(64, 56, 24, 29)
REGION = face_region(FILMED, FILMED, SIDE)


def test_a_raised_jaw_uncovers_neck_and_no_second_chin():
    """The filmed chin is at y = 86; the rendered one ends at y = 74."""
    raised = disc(64, 44, 28, 30)
    rgb = np.broadcast_to(np.float32(SKIN), FRAME.shape)
    face = face_region(oval(64, 50, 24, 23), FILMED, SIDE)
    out = composite(rgb, raised, FRAME, PERSON, HEAD, face, REGION, Backdrop(PLATE))
    gap = out[77:84, 62:67].reshape(-1, 3)
    assert np.abs(gap - np.multiply(SKIN, 0.75)).max() < 0.1
    assert gap.mean(1).max() < np.mean(SKIN) - 0.05
    column = out[70:100, 64].mean(-1)
    assert np.diff(column).max() < 0.05  # it gets darker once, at the rendered chin, and never brighter again


def test_away_from_the_face_the_film_stays():
    rgb = np.zeros_like(FRAME)
    face = face_region(FILMED, FILMED, SIDE)
    out = composite(rgb, HEAD, FRAME, PERSON, HEAD, face, REGION, Backdrop(PLATE))
    untouched = face[..., 0] == 0
    assert untouched.mean() > 0.5
    assert np.array_equal(out[untouched], FRAME[untouched])
    assert out[50, 64].max() < 0.05


def test_a_perfect_render_gives_the_film_back():
    face = face_region(FILMED, FILMED, SIDE)
    out = composite(FRAME, HEAD, FRAME, PERSON, HEAD, face, REGION, Backdrop(PLATE))
    assert np.abs(out - FRAME).mean() < 0.01


def test_a_new_background_has_no_halo_of_the_old():
    red = np.zeros_like(FRAME)
    red[..., 0] = 1
    soft = np.clip(disc(64, 50, 34, 42) * 0.5 + HEAD * 0.5, 0, 1)  # a matte that is too wide
    person = np.maximum(soft, BODY)
    out = composite(FRAME, HEAD, *unmix(FRAME, PLATE, person), HEAD, REGION, REGION, Backdrop(red, replaced=True))
    assert np.abs(out[:10, :10] - [1, 0, 0]).max() < 1e-3
    assert out[..., 2].max() < 0.97
    ring = (soft[..., 0] > 0.2) & (HEAD[..., 0] < 0.05) & (Y < 60)
    assert ring.sum() > 100
    assert (out[ring][:, 2] < 0.3).all()  # the sky's blue is 0.9


def test_the_fill_is_neck_coloured_and_not_shirt_coloured():
    colour, cover = behind_head(FRAME, PERSON, HEAD, REGION)
    fill = colour[80, 64] / cover[80, 64]
    assert cover[80, 64] > 0.9
    assert np.linalg.norm(fill - np.multiply(SKIN, 0.75)) < np.linalg.norm(fill - SHIRT) / 3
    assert cover[20, 64] < 0.2  # behind the forehead is no neck


def test_known_values_stay_and_unknown_ones_lie_between():
    rng = np.random.default_rng(0)
    weight = (rng.random((33, 40, 1)) > 0.7).astype(np.float32)
    values = rng.random((33, 40, 2)).astype(np.float32)
    out = pull_push(values * weight, weight)
    known = weight[..., 0] == 1
    assert np.array_equal(out[known], values[known])
    assert out.min() >= -1e-5
    assert out.max() <= 1 + 1e-5
    flat = pull_push(np.full((33, 40, 1), 0.3, np.float32) * weight, weight)
    assert flat == pytest.approx(np.full_like(flat, 0.3), abs=1e-4)


def test_pull_push_of_nothing_is_finite():
    assert np.isfinite(pull_push(np.zeros((17, 9, 3), np.float32), np.zeros((17, 9, 1), np.float32))).all()
