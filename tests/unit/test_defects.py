"""Floaters, holes and thin faces are found where they are and nowhere else; the GPU benchmark says if it cannot run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from realtalk_core.defects import find_defects

ROOT = Path(__file__).parents[2]
FACE = np.array([[40, 40], [88, 40], [88, 90], [40, 90]], float)


def head() -> np.ndarray:
    y, x = np.mgrid[:128, :128]
    return (np.hypot(x - 64, y - 64) < 45).astype(np.float32)


def test_a_whole_head_has_no_defect() -> None:
    found = find_defects(head(), FACE)
    assert (found.floaters, found.holes, found.thin, found.score) == (0, 0, 0, 0)
    assert not found.marks.any()


def test_a_piece_beside_the_head_floats() -> None:
    alpha = head()
    alpha[4:8, 100:103] = 0.3
    alpha[120:123, 5:9] = 0.05  # too faint to be seen
    found = find_defects(alpha, FACE)
    assert (found.floaters, found.floating, found.holes, found.thin) == (1, 12, 0, 0)
    assert (found.marks[4:8, 100:103] == 1).all()


def test_an_open_mouth_must_not_be_see_through() -> None:
    alpha = head()
    alpha[70:76, 55:75] = 0.05
    found = find_defects(alpha, FACE)
    assert (found.holes, found.open, found.thin) == (1, 120, 120)
    assert (found.marks[70:76, 55:75] == 2).all()


def test_a_thin_cheek_is_no_hole_but_told() -> None:
    alpha = head()
    alpha[60:63, 60:63] = 0.8
    found = find_defects(alpha, FACE)
    assert (found.holes, found.thin, found.score) == (0, 9, 9)


def test_a_notch_in_the_hair_is_neither() -> None:
    alpha = head()
    alpha[15:30, 62:66] = 0
    found = find_defects(alpha, FACE)
    assert (found.floaters, found.holes, found.thin) == (0, 0, 0)


def test_an_empty_picture_is_all_thin() -> None:
    found = find_defects(np.zeros((128, 128), np.float32), FACE)
    assert found.floaters == found.holes == 0
    assert found.thin > 1500


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_the_gpu_benchmark_says_that_there_is_none(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/gpu.py"), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--device cuda" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("script", "rest"),
    [("holes", []), ("learning_curve", ["work"]), ("ablations", ["work"]), ("self_reconstruction", ["avatar"])],
)
def test_a_benchmark_names_a_path_that_is_not_there(script: str, rest: list[str], tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / f"benchmarks/{script}.py"), "nothing", *rest]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "nothing does not exist" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
