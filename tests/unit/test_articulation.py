"""The benchmark's measures of how far mouths and lids move."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from realtalk_core.expression import eyelid_pairs
from realtalk_core.landmarks import INNER_LIP_CENTRES, LEFT_IRIS, RIGHT_IRIS

FILE = Path(__file__).parents[2] / "benchmarks" / "articulation.py"
SPEC = importlib.util.spec_from_file_location("articulation", FILE)
measures = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(measures)


def face(mouth, lids):
    points = np.zeros((478, 2), np.float32)
    points[INNER_LIP_CENTRES[1], 1] = mouth
    points[list(eyelid_pairs(478)[1]), 1] = lids
    return points


def test_half_the_opening_is_half_the_slope():
    mouths, lids = [0, 1, 5, 10, 3, 8], [4, 5, 5, 0.5, 5, 4.5]
    true = [face(m, e) for m, e in zip(mouths, lids, strict=True)]
    made = [face(0.5 * m + 1, 0.8 * e + 1) for m, e in zip(mouths, lids, strict=True)]
    found = measures.articulation(true, made)
    assert found["mouth slope"] == pytest.approx(0.5, abs=1e-5)
    assert found["mouth r"] == pytest.approx(1, abs=1e-5)
    assert found["mouth peak"] == pytest.approx(6 / 10, abs=1e-5)
    assert found["lids slope"] == pytest.approx(0.8, abs=1e-5)
    assert found["lids closed, truth"] == pytest.approx(0.5 / 4.75, abs=1e-5)
    assert found["lids closed"] == pytest.approx(1.4 / 4.75, abs=1e-5)
    assert measures.closed_frames(true) == [3]


def test_a_still_render_has_no_slope_and_lost_faces_are_said():
    true = [face(m, 5) for m in range(6)]
    found = measures.articulation(true, [face(3, 5)] * 6)
    assert (found["mouth slope"], found["mouth r"]) == (0, 0)
    assert measures.articulation(true, [None, *true[1:]])["found"] == pytest.approx(5 / 6)
    assert measures.articulation(true, [None] * 6) == {"found": 0}


def test_an_iris_through_a_lid_darkens_its_disc_only():
    points = np.zeros((478, 2), np.float32)
    for ring, x in ((RIGHT_IRIS, 10), (LEFT_IRIS, 30)):
        points[list(ring)] = np.add([x, 20], [[0, 0], [3, 0], [0, 3], [-3, 0], [0, -3]])
    truth = np.full((40, 40, 3), 0.8, np.float32)
    ghost = truth.copy()
    ghost[18:22, 8:12] -= 0.4
    ghost[18:22, 28:32] -= 0.4
    assert 0.15 < measures.iris_darkening(ghost, truth, points) < 0.4
    elsewhere = truth.copy()
    elsewhere[:10] = 0
    assert measures.iris_darkening(elsewhere, truth, points) == 0
