"""Stopped at any step and resumed, a training of any form ends in the same bits: counts, averages, moments and all."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from realtalk_core import checkpoint
from realtalk_core.testing.subject import Moods
from realtalk_core.testing.synthetic import make_capture
from realtalk_core.training.data import TrainingData
from realtalk_core.training.loop import LoopOptions, StageFiles, StageTraining, TrainingStopped
from realtalk_core.types import AudioFeatures
from realtalk_gaussian import realtalk_components
from realtalk_gaussian.config import GaussianConfig
from realtalk_gaussian.loss_table import complete
from realtalk_gaussian.renderer import GaussianRenderer
from realtalk_gaussian.schedule import phase_of

SHORT = {
    "gaussians": 200, "max_gaussians": 320, "steps": 12, "densify_every": 2, "share_canonical": 0.25,
    "densify_from": 0.0, "densify_until": 1.0,
}  # fmt: skip
FORMS: dict[str, dict[str, Any]] = {
    "emotion": {"emotion": "branch", "share_emotion": 0.34, "share_finetune": 0.17},
    "mcmc": {
        "strategy": "mcmc", "condition": "both", "condition_noise": 0.2,
        "losses": complete({"canonical": {"normals": 0.05}, "motion": {"normals": 0.05, "normals_residual": 0.001}}),
    },
    "reset": {"opacity_reset_every": 3, "grow_radius": 0.05},
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    capture = make_capture(tmp_path_factory.mktemp("resume") / "capture", seconds=0.8, size=48, with_audio=False)
    frames, generator = torch.arange(len(capture)), torch.Generator().manual_seed(0)
    features = AudioFeatures(torch.randn(len(capture), 3, generator=generator), capture.fps)
    return TrainingData(capture, features, frames[:-4], frames[-4:], deformer=Moods())


def fitted(
    folder: Path, config: GaussianConfig, data: TrainingData, stop: int | None = None, resume: bool = False
) -> tuple[dict[str, Tensor], list[int]]:
    """All that `realtalk train` leaves of the component, and how many Gaussians each step had."""
    spec, counts = next(iter(realtalk_components())), []

    def progress(step: int, _: int, metrics: Any) -> None:
        counts.append(int(metrics["gaussians"]))
        if step == stop:
            os.kill(os.getpid(), signal.SIGINT)

    files = StageFiles(folder, "renderer")
    training = StageTraining(spec, config, data, "digest", files, LoopOptions(previews=0), progress=progress)
    training.run(GaussianRenderer.for_training(config, data), resume=resume)
    found = {
        f"{file.stem}/{k}": v for file in (files.checkpoint, files.state) for k, v in checkpoint.load(file)[1].items()
    }
    return found, counts


@pytest.mark.parametrize("form", FORMS)
def test_resumed_it_is_the_training_that_was_not_stopped(form: str, data: TrainingData, tmp_path: Path) -> None:
    config = GaussianConfig.tiny().model_copy(update=SHORT | FORMS[form])
    wanted, counts = fitted(tmp_path / "straight", config, data)
    assert len(set(counts)) > 2, "the number of Gaussians never changed"
    if form == "emotion":
        assert [phase_of(config, step) for step in (2, 3, 7, 10)] == ["canonical", "motion", "emotion", "finetune"]
    for stop in (5, 8):
        folder = tmp_path / str(stop)
        with pytest.raises(TrainingStopped):
            fitted(folder, config, data, stop=stop)
        torch.rand(100)
        found, later = fitted(folder, config, data, resume=True)
        assert later == counts[stop:]
        assert found.keys() == wanted.keys()
        assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []
