"""NIQE against what it must do: natural pictures read low, and damage of any kind reads worse."""

import cv2
import numpy as np
import pytest

from realtalk_core import niqe as module
from realtalk_core.errors import ShapeError
from realtalk_core.niqe import BLOCK, _halved, features, niqe


def natural(size=384, seed=0):
    """Clouds whose amplitudes fall with frequency as those of natural pictures do (Field 1987), here as f^-1.2."""
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    f[0, 0] = 1
    clouds = np.fft.ifft2(np.fft.fft2(np.random.default_rng(seed).normal(size=(size, size))) / f**1.2).real
    return np.repeat(np.clip(128 + 45 * clouds / clouds.std(), 0, 255).astype(np.uint8)[..., None], 3, 2)


@pytest.mark.models
def test_damage_reads_worse():
    picture = natural()
    clean = niqe(picture)
    rng = np.random.default_rng(1)
    noisy = np.clip(picture + rng.normal(size=picture.shape) * 25, 0, 255).astype(np.uint8)
    noisier = np.clip(picture + rng.normal(size=picture.shape) * 50, 0, 255).astype(np.uint8)
    blurred = cv2.GaussianBlur(picture, (0, 0), 3)
    blocky = cv2.resize(cv2.resize(picture, (48, 48)), (384, 384), interpolation=cv2.INTER_NEAREST)
    assert niqe(noisy) > clean + 1
    assert niqe(noisier) > niqe(noisy)
    assert niqe(blurred) > clean + 1
    assert niqe(blocky) > clean + 1


def test_score_is_zero_where_the_model_is_the_picture_itself_and_grows_with_distance(monkeypatch):
    picture = natural()
    found = features(np.round(picture @ np.array([0.2989, 0.5870, 0.1140])))
    assert found.shape == ((384 // BLOCK) ** 2, 36)
    model = found.mean(0), np.cov(found.T) + np.eye(36)
    monkeypatch.setattr(module, "_pristine", lambda: model)
    assert niqe(picture) < 1e-6
    assert niqe(cv2.GaussianBlur(picture, (0, 0), 2)) > 0.1


def test_features_of_known_noise():
    """Evened white noise is about Gaussian (shape 2) and its neighbours differ; smoothed noise's are alike."""
    noise = np.random.default_rng(0).normal(size=(BLOCK * 2, BLOCK * 2))
    white = features(128 + 30 * noise).mean(0)
    smooth = features(128 + 90 * cv2.GaussianBlur(noise, (0, 0), 1.5)).mean(0)
    assert 2.0 < white[0] < 3.5  # evening out sharpens the shoulders a little
    assert white[3] < 0 < smooth[3]


def test_halving_keeps_slopes_and_means():
    slope = np.tile(np.arange(64.0), (64, 1))
    half = _halved(slope)
    assert half.shape == (32, 32)
    assert np.allclose(half[:, 4:-4], np.arange(32)[None, 4:-4] * 2 + 0.5)
    assert np.allclose(_halved(np.full((32, 32), 7.0)), 7)


def test_small_and_grey_pictures_are_refused():
    with pytest.raises(ShapeError, match="at least 192"):
        niqe(np.zeros((100, 300, 3), np.uint8))
    with pytest.raises(ShapeError, match="H W 3"):
        niqe(np.zeros((300, 300), np.uint8))
