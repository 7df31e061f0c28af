"""Planes read away from the CPU hold the reference's values and gradients, and the user can know who reads them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from realtalk_core.nn import cuda_planes
from realtalk_core.nn.hashgrid import PlaneLayout, encode_planes_reference

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))
import fake_tinycudann
from pretend_device import Pretended, pretending

LAYOUTS = [PlaneLayout.geometric(5, 1, 4, 90, 10), PlaneLayout.geometric(2, 2, 8, 31, 10), PlaneLayout((1,), 6)]


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    cuda_planes._tinycudann.cache_clear()
    cuda_planes._grid.cache_clear()
    yield
    cuda_planes._tinycudann.cache_clear()
    cuda_planes._grid.cache_clear()
    cuda_planes._index.cache_clear()


@pytest.fixture
def tinycudann(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tinycudann", fake_tinycudann)


def some(layout: PlaneLayout) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    points = torch.rand(3, 700, generator=generator) * 1.04 - 0.02  # some of them outside, which are clamped
    points[:, :4] = torch.tensor([[0.0, 1.0, 0.5, 1 - 1e-7]]).expand(3, 4)
    tables = torch.randn(layout.columns, 2**layout.log2_entries, generator=generator)
    return points, tables, torch.randn(layout.columns, 700, generator=generator)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("how", ["torch", "tinycudann"])
def test_values_and_gradients_are_the_references(how: str, layout: PlaneLayout, tinycudann: None) -> None:
    points, tables, weight = some(layout)
    found = []
    for read in (encode_planes_reference, cuda_planes.encode):
        leaf = tables.clone().requires_grad_()
        with cuda_planes.reading_with(how):
            out = read(points, leaf, layout)
        (grad,) = torch.autograd.grad((out * weight).sum(), leaf)
        found.append((out.detach(), grad))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[0][1], found[1][1], atol=3e-4, rtol=1e-4)


def test_a_wrong_node_would_be_seen() -> None:
    """The comparison above is sharp: reading half a node beside gives other numbers."""
    layout = LAYOUTS[0]
    points, tables, _ = some(layout)
    beside = encode_planes_reference(points + 0.5 / layout.resolutions[-1], tables, layout)
    assert (beside - cuda_planes.with_torch(points, tables, layout)).abs().max() > 0.5


@pytest.mark.parametrize("how", ["torch", "tinycudann"])
def test_everything_is_on_the_device_of_the_tables(how: str, tinycudann: None) -> None:
    layout = LAYOUTS[0]
    points, tables, _ = some(layout)
    with pretending(), cuda_planes.reading_with(how):
        leaf = tables.to("cuda").requires_grad_()
        out = cuda_planes.encode(points.to("cuda"), leaf, layout)
        out.sum().backward()
        assert isinstance(out, Pretended)
        torch.testing.assert_close(out.cpu(), encode_planes_reference(points, tables, layout), atol=1e-4, rtol=1e-4)
        assert float(leaf.grad.abs().sum()) > 0


def test_tinycudann_is_taken_where_it_works(tinycudann: None) -> None:
    assert cuda_planes.reader() == "tinycudann"
    assert cuda_planes.why_not() == ""


def test_without_tinycudann_torch_reads() -> None:
    if importlib.util.find_spec("tinycudann"):
        pytest.skip("it is installed here")
    assert cuda_planes.reader() == "torch"
    assert cuda_planes.why_not() == "tinycudann is not installed"


@pytest.mark.parametrize(
    "error", [OSError("Unknown compute capability."), RuntimeError("no kernel\nimage"), ImportError("_C")]
)
def test_a_broken_tinycudann_is_left_out_with_its_reason(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_name: str) -> object:
        raise error

    monkeypatch.setattr(cuda_planes.importlib, "import_module", broken)
    assert cuda_planes.reader() == "torch"
    assert cuda_planes.why_not() == f"tinycudann does not work: {' '.join(str(error).split())}"
