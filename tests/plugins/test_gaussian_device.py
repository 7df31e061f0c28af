"""The Gaussian renderer on a GPU, held by a pretended one and a stand-in for gsplat: the numbers stay the CPU's."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from realtalk_core.capture import Capture
from realtalk_core.nn import cuda_splats
from realtalk_core.stages import Movable
from realtalk_core.testing.subject import Moods
from realtalk_core.testing.synthetic import make_capture
from realtalk_core.training.data import TrainingData
from realtalk_core.types import AudioFeatures, Drive
from realtalk_gaussian.config import GaussianConfig
from realtalk_gaussian.loss_table import complete
from realtalk_gaussian.renderer import GaussianRenderer
from realtalk_gaussian.schedule import spans

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))
import fake_gsplat
from pretend_device import Pretended, pretending

TINY = GaussianConfig.tiny().model_copy(
    update={"gaussians": 150, "max_gaussians": 250, "steps": 12, "frames_per_step": 1}
)
GPU = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def _gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    cuda_splats._gsplat.cache_clear()
    fake_gsplat.installed(monkeypatch)
    yield
    cuda_splats._gsplat.cache_clear()


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return make_capture(tmp_path_factory.mktemp("gaussian") / "capture", seconds=0.8, size=48, with_audio=False)


@pytest.fixture(scope="module")
def data(capture: Capture) -> TrainingData:
    frames, generator = torch.arange(len(capture)), torch.Generator().manual_seed(0)
    features = AudioFeatures(torch.randn(len(capture), 3, generator=generator), capture.fps)
    return TrainingData(capture, features, frames[:-4], frames[-4:], deformer=Moods())


def moved(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.to(GPU) for name, value in batch.items()}


def train(component: GaussianRenderer, data: TrainingData, steps: range, on_gpu: bool) -> list[float]:
    losses = []
    for step in steps:
        for optimizer in component.optimizers():
            optimizer.zero_grad(set_to_none=True)
        batch = component.batch(data, step)
        losses.append(component.training_step(moved(batch) if on_gpu else batch, step)["loss"].item())
        for optimizer in component.optimizers():
            optimizer.step()
        component.after_step(step)
    return losses


def pictures(component: GaussianRenderer, data: TrainingData, region: Tensor | None = None) -> Tensor:
    capture, span = data.capture, slice(3, 5)
    drive = Drive(capture.landmarks, data.features, blendshapes=capture.blendshapes)[span]
    cameras = capture.cameras[span].resized(32, 32)
    batches = list(component.render(drive, cameras, region))
    return torch.cat([torch.cat((b.rgb * b.alpha, b.alpha), -1) for b in batches if b.alpha is not None])


def test_one_checkpoint_gives_one_picture_on_either(data: TrainingData) -> None:
    trained = GaussianRenderer.for_training(TINY, data)
    assert isinstance(trained, Movable)
    assert "cuda" in trained.devices
    train(trained, data, range(3), on_gpu=False)
    here, there = (GaussianRenderer.from_state(TINY, trained.state()) for _ in range(2))
    wanted = pictures(here, data)
    region = torch.zeros(2, 32, 32, dtype=torch.bool)
    region[:, 16:, :16] = True
    with pretending():
        assert there.to(GPU).device == GPU
        found, part = pictures(there, data), pictures(there, data, region)
        maps = there.attention_maps(
            Drive(data.capture.landmarks[:1], blendshapes=data.capture.blendshapes[:1]),
            data.capture.cameras[:1].resized(32, 32),
        )
        state = there.state()
    assert not isinstance(found, Pretended)
    assert not any(isinstance(value, Pretended) for value in (*state.values(), *maps.values()))
    assert wanted[..., 3].amax() > 0.5
    assert (found - wanted).abs().max() < 4e-3  # planes are read in half precision on the CPU
    assert torch.equal(part[region], found[region])
    for name, value in here.state().items():
        assert torch.equal(value, state[name]), name
    with pretending():
        there.to(torch.device("cpu"))
    assert torch.equal(pictures(there, data), wanted)


@pytest.mark.parametrize(
    "change",
    [
        {"densify_every": 2, "densify_from": 0.0, "densify_until": 1.0},
        {"emotion": "branch", "share_emotion": 0.5, "condition_noise": 0.1},
        {"emotion": "branch", "share_emotion": 0.5, "warp": False, "condition": "both", "strategy": "mcmc"},
        {"attention": False, "losses": complete({"canonical": {"normals": 0.05, "normals_tv": 0.005}})},
    ],
    ids=["densified", "emotion", "no warp", "normals"],
)
def test_training_there_is_training_here(change: dict[str, Any], data: TrainingData) -> None:
    config = TINY.model_copy(update=change)
    here, there = (GaussianRenderer.for_training(config, data) for _ in range(2))
    steps = [phase[:2] for phase in spans(config).values()]
    wanted = [loss for some in steps for loss in train(here, data, some, on_gpu=False)]
    with pretending():
        parameters = [p for o in there.optimizers() for group in o.param_groups for p in group["params"]]
        there.to(GPU)
        kept = [p for o in there.optimizers() for group in o.param_groups for p in group["params"]]
        assert all(a is b for a, b in zip(parameters, kept, strict=True))
        found = [loss for some in steps for loss in train(there, data, some, on_gpu=True)]
        assert all(isinstance(p, Pretended) for p in there.head.parameters())
        count = len(there.head.face) + len(there.head.mouth)
    assert found[0] == pytest.approx(wanted[0], rel=1e-3)
    assert found == pytest.approx(wanted, rel=0.05)
    assert count == pytest.approx(len(here.head.face) + len(here.head.mouth), rel=0.05)


def test_training_goes_on_from_either(data: TrainingData) -> None:
    config = TINY.model_copy(update={"densify_every": 2, "densify_from": 0.0, "densify_until": 1.0, "torso": False})
    first, second, third = (GaussianRenderer.for_training(config, data) for _ in range(3))
    train(first, data, range(5), on_gpu=False)
    saved = {name: value.clone() for name, value in first.training_state().items()}
    states = [copy.deepcopy(o.state_dict()) for o in first.optimizers()]
    wanted = train(first, data, range(5, 7), on_gpu=False)
    with pretending():
        second.to(GPU)
        second.load_training_state(saved)
        for optimizer, state in zip(second.optimizers(), states, strict=True):
            optimizer.load_state_dict(state)
        found = train(second, data, range(5, 7), on_gpu=True)
        state = {name: value.cpu() for name, value in second.training_state().items()}
    assert found == pytest.approx(wanted, rel=1e-2)
    third.load_training_state(state)
    assert third._training.done == 7


def test_a_tensor_left_behind_would_be_seen(data: TrainingData) -> None:
    """These tests can fail: one forgotten tensor is an error."""
    component = GaussianRenderer.from_state(TINY, GaussianRenderer.for_training(TINY, data).state())
    with pretending():
        component.to(GPU)
        component.head.face.means = torch.nn.Parameter(component.head.face.means.detach().cpu())
        with pytest.raises((RuntimeError, TypeError)):
            pictures(component, data)
