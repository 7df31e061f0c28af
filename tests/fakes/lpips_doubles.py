"""A model store that holds LPIPS with a random backbone and random heads: the real ones cannot be had by tests."""

import hashlib

import torch

from realtalk_core import models
from realtalk_core.models import ModelFile
from realtalk_core.nn.lpips import BACKBONE, CONVOLUTIONS, HEADS


def random_weights():
    generator = torch.Generator().manual_seed(0)
    backbone = {"classifier.1.weight": torch.zeros(2, 2)}
    for name, (inputs, outputs, kernel, _, _) in CONVOLUTIONS.items():
        scale = (2 / (inputs * kernel**2)) ** 0.5
        backbone[f"features.{name}.weight"] = scale * torch.randn(outputs, inputs, kernel, kernel, generator=generator)
        backbone[f"features.{name}.bias"] = 0.1 * torch.randn(outputs, generator=generator)
    widths = [outputs for _, outputs, *_ in CONVOLUTIONS.values()]
    return backbone, {
        f"lin{k}.model.1.weight": torch.rand(1, w, 1, 1, generator=generator) for k, w in enumerate(widths)
    }


def pin(folder, monkeypatch):
    """Writes both files into a folder and makes them the model store's only ones."""
    monkeypatch.setenv("REALTALK_MODELS", str(folder))
    monkeypatch.setattr(models, "cache_folder", lambda: folder / "cache")
    known = {}
    for name, weights in zip((BACKBONE, HEADS), random_weights(), strict=True):
        torch.save(weights, folder / name)
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        known[name] = ModelFile(name, "a test", "none", (folder / "away" / name).as_uri(), digest)
    monkeypatch.setattr(models, "MODELS", known)
