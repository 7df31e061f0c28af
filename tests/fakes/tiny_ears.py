"""Audio encoders with weights in a few lines: `ear` has them in a folder, `learner` learns them from a capture."""

from __future__ import annotations

import hashlib
import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import Field

from realtalk_core import declare
from realtalk_core.errors import UserError
from realtalk_core.hearing import RowEncoder
from realtalk_core.hookspecs import hookimpl
from realtalk_core.spec import ComponentConfig


class EarConfig(ComponentConfig):
    PLACES: ClassVar[tuple[str, ...]] = ("folder", "block_seconds")

    folder: Path | None = None
    """Where weights.bin lies."""
    bands: int = Field(6, ge=1)
    """How many bands are kept."""
    block_seconds: float = Field(2.0, gt=0)
    """How much is decided at a time."""


class Ear(RowEncoder):
    """Sums of absolute spectrum, weighted by a seed in a file."""

    margin_seconds = 0.5
    heard = 0

    def __init__(self, config):
        if config.folder is None or not (config.folder / "weights.bin").is_file():
            raise UserError("audio.folder: no weights.bin there", "Name the folder: --set audio.folder=FOLDER")
        data = (config.folder / "weights.bin").read_bytes()
        self.block_seconds = config.block_seconds
        self.weights_digest = hashlib.sha256(data).hexdigest()
        seeded = torch.Generator().manual_seed(len(data))
        self.mix = torch.rand(201, config.bands, generator=seeded)

    def rows(self, samples):
        Ear.heard += 1
        spectrum = torch.fft.rfft(samples.unfold(0, self.kernel, self.hop)).abs()
        return torch.log1p(spectrum @ self.mix)


class LearnerConfig(ComponentConfig):
    steps: int = Field(3, ge=1)
    """Training steps."""
    goal: float = 0.5
    """What it learns."""


class Learner(RowEncoder):
    """Loudness times a learnt number, and that number."""

    window = 1

    def __init__(self, config, scale):
        self.config, self.scale, self.total_steps = config, torch.nn.Parameter(scale), config.steps
        self.optimizer = torch.optim.SGD([self.scale], 0.1)

    def rows(self, samples):
        level = samples.unfold(0, self.kernel, self.hop).square().mean(1).sqrt()
        return torch.stack([level * self.scale, level, self.scale.expand(len(level))], 1).detach()

    @classmethod
    def for_training(cls, config, data):
        return cls(config, torch.zeros(()))

    @classmethod
    def from_state(cls, config, tensors):
        return cls(config, tensors["scale"].clone())

    def state(self):
        return {"scale": self.scale.detach().clone()}

    def batch(self, data, step):
        return {"goal": torch.tensor(self.config.goal)}

    def training_step(self, batch, step):
        return {"loss": (self.scale - batch["goal"]).square()}

    def optimizers(self):
        return [self.optimizer]

    def after_step(self, step):
        pass

    def training_state(self):
        return {"scale": self.scale.detach()}

    def load_training_state(self, tensors):
        self.scale.data.copy_(tensors["scale"])


SPECS = [
    declare.audio_encoder("ear", summary="An ear.", api=1, config=EarConfig, load=lambda: Ear),
    declare.audio_encoder("learner", summary="It learns.", api=1, config=LearnerConfig, load=lambda: Learner),
]


def installed_beside(real):
    """A stand-in for `importlib.metadata.entry_points` that finds this plugin too."""
    module = types.ModuleType("tiny_ears_plugin")
    module.realtalk_components = hookimpl(lambda: SPECS)
    sys.modules[module.__name__] = module
    return lambda group: [*real(group=group), EntryPoint("tiny_ears", module.__name__, group)]
