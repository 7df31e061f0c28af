"""A disc of known opacity over a known plate, and a matte that is off."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from realtalk_core.matting import unmix

SIDE = 128


def disc(radius: float) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5 - SIDE / 2
    return np.clip(radius - np.hypot(x, y) + 0.5, 0, 1).astype(np.float32)[..., None]


def scene(hair: tuple[float, float, float], wall: tuple[float, float, float]) -> tuple[np.ndarray, ...]:
    truth = cv2.GaussianBlur(disc(40), (0, 0), 0.8)[..., None]
    rng = np.random.default_rng(0)
    person = np.clip(np.array(hair, np.float32) + rng.normal(0, 0.02, (SIDE, SIDE, 1)).astype(np.float32), 0, 1)
    plate = np.broadcast_to(np.array(wall, np.float32), (SIDE, SIDE, 3)).copy()
    return truth, person, plate, person * truth + plate * (1 - truth)


@pytest.mark.parametrize("radius", [38.6, 40.0, 41.4])
def test_a_matte_that_is_off_is_put_right(radius: float) -> None:
    truth, person, plate, frame = scene((0.25, 0.18, 0.15), (0.0, 0.5, 1.0))
    colour, alpha = unmix(frame, plate, disc(radius))
    assert np.abs(alpha - truth).mean() < 0.4 * np.abs(disc(41.4) - truth).mean()
    assert np.abs(alpha - truth).max() < 0.2
    over_black = np.abs(colour * alpha - person * truth)
    assert over_black.max() < 0.2, "the old wall glows"


def test_without_contrast_the_matte_stays() -> None:
    _, _, plate, frame = scene((0.3, 0.3, 0.3), (0.33, 0.3, 0.3))
    matte = disc(41.4)
    assert np.abs(unmix(frame, plate, matte)[1] - matte).max() < 1e-6


def test_what_moves_elsewhere_is_no_person() -> None:
    _, _, plate, frame = scene((0.25, 0.18, 0.15), (0.0, 0.5, 1.0))
    frame[:12, :12] = (0.25, 0.18, 0.15)
    alpha = unmix(frame, plate, disc(40))[1]
    assert alpha[:12, :12].max() == 0


def test_nobody() -> None:
    _, _, plate, _ = scene((0.2, 0.2, 0.2), (0.0, 0.5, 1.0))
    colour, alpha = unmix(plate, plate, np.zeros((SIDE, SIDE, 1), np.float32))
    assert alpha.max() == 0
    assert np.isfinite(colour).all()
