"""The tri-plane renderer on a GPU, held by a pretended one: everything is moved, and the numbers stay the CPU's."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from realtalk_core import declare
from realtalk_core.capture import Capture
from realtalk_core.nn import cuda_planes
from realtalk_core.spec import ComponentSpec
from realtalk_core.stages import Movable
from realtalk_core.testing.synthetic import make_capture
from realtalk_core.training.data import TrainingData
from realtalk_core.training.loop import LoopOptions, StageFiles, StageTraining
from realtalk_core.types import AudioFeatures, Drive
from realtalk_triplane_nerf import training
from realtalk_triplane_nerf.config import TriplaneNerfConfig
from realtalk_triplane_nerf.renderer import TriplaneNerf

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))
import fake_tinycudann
from pretend_device import Pretended, pretending

TINY = TriplaneNerfConfig.tiny().model_copy(update={"steps": 30, "rays_per_chunk": 128})
SHORT = {"steps": 10, "patch_from": 0.4}
GPU = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def _gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: False)
    monkeypatch.setattr(training, "REFRESH", 4)
    yield
    cuda_planes._index.cache_clear()
    cuda_planes._grid.cache_clear()
    cuda_planes._tinycudann.cache_clear()


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return make_capture(tmp_path_factory.mktemp("nerf") / "capture", seconds=1.0, size=48, with_audio=False)


@pytest.fixture(scope="module")
def data(capture: Capture) -> TrainingData:
    frames = torch.arange(len(capture))
    return TrainingData(capture, AudioFeatures(torch.zeros(len(capture), 1), capture.fps), frames[:-5], frames[-5:])


def moved(batch: Any) -> Any:
    return {name: value.to(GPU) if isinstance(value, Tensor) else value for name, value in batch.items()}


def step(component: TriplaneNerf, data: TrainingData, number: int, on_gpu: bool) -> float:
    optimizers = component.optimizers()
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    batch = component.batch(data, number)
    loss = component.training_step(moved(batch) if on_gpu else batch, number)["loss"]
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
    component.after_step(number)
    return loss.item()


def train(component: TriplaneNerf, data: TrainingData, steps: range, on_gpu: bool) -> list[float]:
    return [step(component, data, k, on_gpu) for k in steps]


@pytest.fixture(scope="module")
def trained(data: TrainingData) -> TriplaneNerf:
    component = TriplaneNerf.for_training(TINY, data)
    train(component, data, range(30), on_gpu=False)
    return component


def pictures(component: TriplaneNerf, capture: Capture, region: Tensor | None = None) -> Tensor:
    drive = Drive(capture.landmarks[3:6], blendshapes=capture.blendshapes[3:6])
    cameras = capture.cameras[3:6].resized(32, 32)
    batches = list(component.render(drive, cameras, region))
    return torch.cat([torch.cat((b.rgb * b.alpha, b.alpha), -1) for b in batches if b.alpha is not None])


def test_it_says_that_it_can_move(trained: TriplaneNerf) -> None:
    assert isinstance(trained, Movable)
    assert "cuda" in trained.devices


@pytest.mark.parametrize("how", ["torch", "tinycudann"])
def test_one_checkpoint_gives_one_picture_on_either(
    how: Any, trained: TriplaneNerf, capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tinycudann", fake_tinycudann)
    exact = TINY.model_copy(update={"tolerance": 0.0})
    here, there = (TriplaneNerf.from_state(exact, trained.state()) for _ in range(2))
    wanted = pictures(here, capture)
    region = torch.zeros(3, 32, 32, dtype=torch.bool)
    region[:, 8:24, 4:28] = True
    with pretending(), cuda_planes.reading_with(how):
        assert there.to(GPU).device == GPU
        found, part = pictures(there, capture), pictures(there, capture, region)
        assert not isinstance(found, Pretended)
        state = there.state()
    assert wanted[..., 3].amax() > 0.5
    assert (found - wanted).abs().max() < 4e-3  # planes in half precision on the CPU, in single there
    assert torch.equal(part[region], found[region])
    assert not any(isinstance(value, Pretended) for value in state.values())
    for name, value in here.state().items():
        assert torch.equal(value, state[name]), name


def test_back_on_the_cpu_it_is_what_it_was(trained: TriplaneNerf, capture: Capture) -> None:
    component = TriplaneNerf.from_state(TINY, trained.state())
    before = pictures(component, capture)
    with pretending():
        component.to(GPU).to(torch.device("cpu"))
    assert torch.equal(pictures(component, capture), before)


@pytest.mark.parametrize(
    "change", [{}, {"condition": "window", "warp": False, "attention": False}, {"grid": "volume", "levels": 2}]
)
def test_training_there_is_training_here(change: dict[str, Any], data: TrainingData) -> None:
    config = TINY.model_copy(update=SHORT | change)
    here, there = (TriplaneNerf.for_training(config, data) for _ in range(2))
    steps = range(6)  # with patches, and renewals of the occupancy grid
    wanted = train(here, data, steps, on_gpu=False)
    with pretending():
        parameters = list(there.optimizers()[0].param_groups[1]["params"])
        there.to(GPU)
        assert all(a is b for a, b in zip(parameters, there.optimizers()[0].param_groups[1]["params"], strict=True))
        found = train(there, data, steps, on_gpu=True)
        assert all(isinstance(p, Pretended) for p in there.field.parameters())
    assert found[0] == pytest.approx(wanted[0], rel=1e-3)
    assert found == pytest.approx(wanted, rel=0.05)


def test_training_goes_on_from_either(data: TrainingData) -> None:
    first, second, third = (TriplaneNerf.for_training(TINY, data) for _ in range(3))
    train(first, data, range(5), on_gpu=False)
    saved = {name: value.clone() for name, value in first.training_state().items()}
    states = [copy.deepcopy(o.state_dict()) for o in first.optimizers()]
    wanted = train(first, data, range(5, 8), on_gpu=False)
    with pretending():
        second.to(GPU)
        second.load_training_state(saved)
        for optimizer, state in zip(second.optimizers(), states, strict=True):
            optimizer.load_state_dict(state)
        found = train(second, data, range(5, 8), on_gpu=True)
        state = {name: value.cpu() for name, value in second.training_state().items()}
    assert found == pytest.approx(wanted, rel=1e-2)
    third.load_training_state(state)
    assert third._training.done == 8


def test_the_training_loop_moves_component_and_batches(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real loop with everything but Fabric's own CUDA: what `--device cuda` runs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    from lightning_fabric import Fabric

    import realtalk_core.training.loop as loop

    class OnGpu(Fabric):
        def __init__(self, accelerator: str, devices: Any, precision: Any) -> None:
            assert accelerator == "cuda"
            assert devices == [0]
            super().__init__(accelerator="cpu", devices=1, precision=precision)

        @property
        def device(self) -> torch.device:
            return GPU

        def to_device(self, obj: Any) -> Any:
            return moved(obj)

    monkeypatch.setattr(loop, "Fabric", OnGpu)
    config = TINY.model_copy(update={"steps": 3})
    spec: ComponentSpec = declare.renderer(
        "triplane_nerf", summary="It.", api=1, config=TriplaneNerfConfig, load=lambda: TriplaneNerf
    )
    options = LoopOptions(previews=0, device="cuda")
    files = StageFiles(tmp_path, "renderer")
    shown = []
    training = StageTraining(
        spec, config, data, "digest", files, options, measure=lambda made: shown.append(made.device) or {}
    )
    with pretending():
        component = TriplaneNerf.for_training(config, data)
        header = training.run(component, resume=False)
    assert header.metrics["step"] == 3
    assert component.device == GPU
    assert shown == [GPU]
    assert files.checkpoint.is_file()


def test_a_tensor_left_behind_would_be_seen(trained: TriplaneNerf, capture: Capture) -> None:
    """These tests can fail: one forgotten tensor is an error."""
    component = TriplaneNerf.from_state(TINY, trained.state())
    with pretending():
        component.to(GPU)
        component.shell = component.shell.to(torch.device("cpu"))
        with pytest.raises((RuntimeError, TypeError)):
            pictures(component, capture)


def test_doctor_names_the_way_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    without = TriplaneNerf.fast_path(TriplaneNerfConfig())
    assert without.startswith("CPU: ")
    assert "kernel" in without
    assert "cuda" not in without
    assert "one numba kernel" not in TriplaneNerf.fast_path(TriplaneNerfConfig(grid="volume"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
    assert "planes read by torch (tinycudann is not installed)" in TriplaneNerf.fast_path(TriplaneNerfConfig())
    assert "torch in bfloat16" in TriplaneNerf.fast_path(TriplaneNerfConfig())
    cuda_planes._tinycudann.cache_clear()
    monkeypatch.setitem(sys.modules, "tinycudann", fake_tinycudann)
    assert TriplaneNerf.fast_path(TriplaneNerfConfig()).endswith("planes read by tinycudann")
