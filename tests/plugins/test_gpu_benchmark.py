"""`benchmarks/gpu.py` is run where nobody has tried it; so all of it but the clock is tried on a pretended GPU."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from realtalk_core.capture import Capture
from realtalk_core.errors import UserError
from realtalk_core.nn import cuda_planes, cuda_splats
from realtalk_core.testing.synthetic import make_capture
from realtalk_gaussian.config import GaussianConfig
from realtalk_triplane_nerf.config import TriplaneNerfConfig

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))
import fake_gsplat
import fake_tinycudann
from pretend_device import pretending

CACHES = (cuda_planes._index, cuda_planes._grid, cuda_planes._tinycudann, cuda_splats._gsplat)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    module = importlib.import_module("gpu")
    monkeypatch.setattr(module, "resolve", lambda _: torch.device("cuda", 0))
    monkeypatch.setattr(module, "WARM_UP", 1)
    monkeypatch.setattr(module, "FRAMES", 2)
    monkeypatch.setattr(module, "COUNT", 200)
    monkeypatch.setattr(module, "DRAWN", 1)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a pretended GPU")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: False)
    for cache in CACHES:
        cache.cache_clear()
    yield module
    for cache in CACHES:
        cache.cache_clear()


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return make_capture(tmp_path_factory.mktemp("gpu") / "capture", seconds=1.0, size=48)


def run(gpu: Any, monkeypatch: pytest.MonkeyPatch, capture: Capture, renderer: str, tiny: Any) -> None:
    sets = [f"--set=renderer.{k}={v}" for k, v in tiny.model_dump(exclude_defaults=True).items() if k != "size"]
    monkeypatch.setattr(
        sys, "argv", ["gpu.py", str(capture.path), "--renderer", renderer, "--steps", "1", "--size", "32", *sets]
    )
    with pretending():
        gpu.main()


def test_the_nerf_with_planes_read_either_way(
    gpu: Any, capture: Capture, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tinycudann", fake_tinycudann)
    run(gpu, monkeypatch, capture, "triplane_nerf", TriplaneNerfConfig.tiny())
    said = capsys.readouterr().out
    assert "planes by torch" in said
    assert "planes by tinycudann" in said
    assert said.count("frames/s") == 2


def test_gaussians_and_gsplat_against_the_cpu(
    gpu: Any, capture: Capture, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_gsplat.installed(monkeypatch)
    run(gpu, monkeypatch, capture, "gaussian", GaussianConfig.tiny())
    said = capsys.readouterr().out
    differs = said.split("values differ by ")[1].split()[0].rstrip(",")
    assert float(differs) < 1e-3
    gradients = said.split("relative to the largest, by ")[1].split("\n")[0].split(", ")
    assert [part.split()[0] for part in gradients] == list(gpu.NAMES)
    assert all(float(part.split()[1]) < 1e-2 for part in gradients)
    assert said.count("frames/s") == 1


def test_without_gsplat_it_says_so(gpu: Any, capture: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gsplat", None)
    with pytest.raises(UserError, match="gsplat"):
        run(gpu, monkeypatch, capture, "gaussian", GaussianConfig.tiny())
