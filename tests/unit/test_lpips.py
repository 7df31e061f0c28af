"""LPIPS against its formula, and its files against what may be wrong with them. The backbone here is a random one."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from realtalk_core.errors import UserError
from realtalk_core.evaluation import perceptual_distance
from realtalk_core.nn.lpips import BACKBONE, CONVOLUTIONS, Lpips

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))
from lpips_doubles import pin, random_weights


@pytest.fixture
def store(tmp_path, monkeypatch):
    pin(tmp_path, monkeypatch)
    return tmp_path


def by_the_formula(image, truth):
    """The distance written down layer by layer."""
    backbone, heads = random_weights()
    mean, spread = torch.tensor([[-0.030, -0.088, -0.188]]), torch.tensor([[0.458, 0.448, 0.450]])
    total = 0.0
    a, b = ((2 * x - 1 - mean[..., None, None]) / spread[..., None, None] for x in (image, truth))
    for k, (name, (*_, stride, padding)) in enumerate(CONVOLUTIONS.items()):
        weight, bias = backbone[f"features.{name}.weight"], backbone[f"features.{name}.bias"]
        if k in (1, 2):
            a, b = F.max_pool2d(a, 3, 2), F.max_pool2d(b, 3, 2)
        a, b = (F.relu(F.conv2d(x, weight, bias, stride, padding)) for x in (a, b))
        difference = (F.normalize(a, dim=1) - F.normalize(b, dim=1)) ** 2
        total = total + F.conv2d(difference, heads[f"lin{k}.model.1.weight"]).mean()
    return total


def test_it_is_the_formula_and_differentiable_in_the_image(store):
    lpips = Lpips.installed()
    image, truth = torch.rand(2, 3, 64, 48, requires_grad=True), torch.rand(2, 3, 64, 48, requires_grad=True)
    found = lpips(image, truth)
    torch.testing.assert_close(found, by_the_formula(image, truth), rtol=1e-3, atol=1e-4)
    (gradient,) = torch.autograd.grad(by_the_formula(image, truth), image)
    found.backward()
    torch.testing.assert_close(image.grad, gradient, rtol=1e-3, atol=1e-5)
    assert truth.grad is None
    assert lpips(truth, truth) == 0
    assert not any(weight.requires_grad for weight in lpips.parameters())


def test_it_grows_with_the_difference_and_takes_small_pictures(store):
    lpips, truth = Lpips.installed(), torch.rand(1, 3, 20, 25)
    noise = torch.randn(1, 3, 20, 25)
    distances = [lpips(truth + strength * noise, truth).item() for strength in (0.0, 0.05, 0.2, 0.8)]
    assert distances == sorted(distances)
    assert distances[1] > 0


def test_one_missing_file_is_no_lpips_and_asking_for_it_names_the_file(store):
    (store / BACKBONE).unlink()
    assert Lpips.installed() is None
    with pytest.raises(UserError, match=f"{BACKBONE}.* is not on this machine"):
        Lpips.fetched()


def test_a_damaged_file_is_never_passed_over(store):
    (store / BACKBONE).write_bytes(b"half a file")
    with pytest.raises(UserError, match="is damaged or another version"):
        Lpips.installed()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features.3.weight": torch.zeros(192, 64, 3, 3)}, r"features.3.weight is of shape \(192, 64, 3, 3\)"),
        ({"features.10.bias": None}, "features.10.bias is missing"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, change, message):
    backbone, heads = random_weights()
    torch.save({k: v for k, v in (backbone | change).items() if v is not None}, tmp_path / "net.pth")
    torch.save(heads, tmp_path / "heads.pth")
    with pytest.raises(UserError, match=message):
        Lpips.open(tmp_path / "net.pth", tmp_path / "heads.pth")


def test_files_that_hold_no_weights_are_refused(tmp_path):
    backbone, heads = random_weights()
    save_file(backbone, tmp_path / "net.safetensors")
    torch.save(heads, tmp_path / "heads.pth")
    assert isinstance(Lpips.open(tmp_path / "net.safetensors", tmp_path / "heads.pth"), Lpips)
    (tmp_path / "net.pth").write_text("<html>not found</html>")
    with pytest.raises(UserError, match="cannot be read as weights"):
        Lpips.open(tmp_path / "net.pth", tmp_path / "heads.pth")


def test_as_a_measure_it_takes_pictures_as_they_are_and_is_none_without_its_files(store):
    measure, generator = perceptual_distance(), np.random.default_rng(0)
    truth = generator.integers(0, 256, (40, 50, 3), np.uint8)
    other = generator.integers(0, 256, (40, 50, 3), np.uint8)
    assert measure(truth, truth) == 0
    tensors = (torch.from_numpy(x).permute(2, 0, 1)[None].float() / 255 for x in (other, truth))
    assert measure(other, truth) == pytest.approx(float(by_the_formula(*tensors)), rel=1e-3)
    assert measure(other / 255, truth) == pytest.approx(measure(other, truth), rel=1e-4)
    (store / BACKBONE).unlink()
    assert perceptual_distance() is None
