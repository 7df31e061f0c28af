"""The dissimilarity in closed form against the definition in torch."""

from __future__ import annotations

import pytest
import torch

from realtalk_core.nn.losses import dissimilarity, ssim


def test_value_and_slope_are_those_of_ssim() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(40, 33, 3, generator=generator)
    image = (0.7 * truth + 0.3 * torch.rand(40, 33, 3, generator=generator)).requires_grad_()
    expected = 1 - ssim(image.permute(2, 0, 1)[None], truth.permute(2, 0, 1)[None])
    (slope,) = torch.autograd.grad(3 * expected, image)
    found = dissimilarity(image, truth)
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(torch.autograd.grad(3 * found, image)[0], slope, atol=1e-7, rtol=1e-3)


def test_equal_pictures_do_not_differ() -> None:
    picture = torch.rand(16, 16, 3, generator=torch.Generator().manual_seed(1))
    assert float(dissimilarity(picture, picture)) == pytest.approx(0, abs=1e-6)


def test_pictures_smaller_than_the_window_are_refused() -> None:
    with pytest.raises(ValueError, match="smaller than the window of 11"):
        dissimilarity(torch.zeros(10, 40, 3), torch.zeros(10, 40, 3))
