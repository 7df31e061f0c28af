"""Tests marked `models` or `data` are skipped, with the reason, where their folder is absent."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

NEEDS = {"models": ("REALTALK_MODELS", "the model files"), "data": ("REALTALK_DATA", "the real clips")}


def pytest_collection_modifyitems(items):
    for marker, (variable, what) in NEEDS.items():
        folder = os.environ.get(variable)
        if folder and Path(folder).is_dir():
            continue
        skip = pytest.mark.skip(reason=f"needs {what}: set {variable} to their folder")
        for item in items:
            if item.get_closest_marker(marker):
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def _seeded():
    """A test that draws from the global generators draws the same whatever ran before it."""
    np.random.seed(0)
    torch.manual_seed(0)
