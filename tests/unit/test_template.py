"""Faces that the volume is stored in."""

import pytest
import torch

from realtalk_core.landmarks import IBUG68_FROM_MEDIAPIPE478, LIPS_INNER
from realtalk_core.nn.mouth import heights
from realtalk_core.testing.face import neutral_face
from realtalk_core.training.bounds import TEMPLATES

INNER = {478: LIPS_INNER, 68: tuple(range(60, 68))}


def spoken_and_smiled():
    """Frames of a face: one half opens the mouth, the other smiles wide with the upper lip raised."""
    neutral = torch.tensor(neutral_face()).float()
    faces = neutral.repeat(80, 1, 1)
    near = torch.exp(-((neutral - neutral[[13, 14]].mean(0))[:, :2].square().sum(1)) / 9)
    amount = torch.linspace(0, 1, 40)[:, None]
    below = (neutral[:, 1] < neutral[[13, 14], 1].mean() - 1e-4).float()
    along = (1 - (neutral[:, 0] / neutral[LIPS_INNER[0], 0]).square()).clamp(min=0)
    faces[:40, :, 1] -= amount * near * along * below * 1.8
    faces[40:, :, 1] += amount * near * (1 - below) * 0.6
    faces[40:, :, 0] += amount * near * neutral[:, 0] * 0.35
    return faces, neutral


def inner_edges(face):
    inner = INNER[len(face)]
    half = len(inner) // 2
    return [*inner[: half + 1]], [*inner[half:], inner[0]]


@pytest.mark.parametrize("count", [478, 68])
def test_apart_covers_the_mouth_of_every_frame(count):
    faces, neutral = spoken_and_smiled()
    if count == 68:
        faces, neutral = faces[:, list(IBUG68_FROM_MEDIAPIPE478)], neutral[list(IBUG68_FROM_MEDIAPIPE478)]
    uncovered = {}
    for name in ("open", "apart"):
        face = TEMPLATES[name](faces, neutral)
        upper, lower = inner_edges(face)
        worst = 0.0
        for frame in faces:
            at = frame[upper[1:-1], 0]
            worst = max(worst, float((heights(frame, upper, at) - heights(face, upper, at)).max()))
            worst = max(worst, float((heights(face, lower, at) - heights(frame, lower, at)).max()))
        uncovered[name] = worst
    assert uncovered["apart"] < 0.15
    assert uncovered["apart"] < 0.4 * uncovered["open"]


def test_apart_leaves_what_is_far_from_the_mouth_and_keeps_its_rows_in_order():
    faces, neutral = spoken_and_smiled()
    wide, apart = TEMPLATES["open"](faces, neutral), TEMPLATES["apart"](faces, neutral)
    far = neutral[:, 1] > neutral[13, 1] + 4
    assert far.sum() > 100
    assert torch.allclose(wide[far], apart[far], atol=1e-3)
    assert (apart[[0, 37, 267], 1] > apart[[13, 82, 312], 1]).all()
    assert (apart[[17, 84, 314], 1] < apart[[14, 87, 317], 1]).all()
    assert torch.equal(TEMPLATES["neutral"](faces, neutral), neutral)
