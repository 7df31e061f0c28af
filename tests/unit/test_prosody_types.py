"""`Prosody`, and features that carry it."""

from __future__ import annotations

import pytest
import torch

from realtalk_core.errors import ShapeError
from realtalk_core.types import AudioFeatures, Drive, LandmarkTrack, Prosody, concat_prosody

F0 = torch.tensor([0.0, 110.0, 120.0, 0.0])
VOICED = torch.tensor([0.1, 0.9, 1.0, 0.0])
LOUD = torch.tensor([-60.0, -20.0, -22.0, -60.0])
SPOKEN = torch.tensor([0.0, 1.0, 1.0, 0.1])


def whole() -> Prosody:
    return Prosody(F0, VOICED, LOUD, SPOKEN, "silero")


def test_features_and_drives_cut_their_prosody_with_them() -> None:
    features = AudioFeatures(torch.randn(4, 2, 3), 25.0, whole())
    cut = features[1:3]
    assert cut.values.shape == (2, 2, 3)
    assert cut.fps == 25.0
    assert cut.prosody is not None
    assert cut.prosody.detector == "silero"
    assert torch.equal(cut.prosody.f0, F0[1:3])
    assert torch.equal(cut.prosody.activity, SPOKEN[1:3])
    drive = Drive(LandmarkTrack(torch.randn(4, 68, 3), "ibug68", 25.0), features)
    kept = drive[2:].audio
    assert kept is not None
    assert kept.prosody is not None
    assert torch.equal(kept.prosody.loudness, LOUD[2:])
    assert AudioFeatures(torch.zeros(4, 1), 25.0)[:2].prosody is None


def test_stretches_join() -> None:
    joined = concat_prosody([whole()[:1], whole()[1:1], whole()[1:]])
    assert torch.equal(joined.f0, F0)
    assert torch.equal(joined.voiced, VOICED)
    assert len(joined) == 4
    with pytest.raises(ShapeError, match="differ in their parts"):
        concat_prosody([whole(), Prosody(loudness=LOUD)])
    with pytest.raises(ShapeError, match="differ in their parts"):
        concat_prosody([Prosody(activity=SPOKEN, detector="silero"), Prosody(activity=SPOKEN, detector="energy")])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "has no part"),
        ({"f0": F0}, "come together"),
        ({"voiced": VOICED}, "come together"),
        ({"loudness": LOUD, "activity": SPOKEN[:3]}, "Prosody.activity: expected .T. with T=4, got .3,."),
        ({"loudness": LOUD.double()}, "expected dtype float32"),
        ({"loudness": LOUD * torch.nan}, "NaN"),
        ({"activity": SPOKEN + 0.5}, "activity: must lie in"),
        ({"f0": F0 - 1, "voiced": VOICED}, "f0: must not be negative"),
    ],
)
def test_a_wrong_part_is_named(parts: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        Prosody(**parts)


def test_prosody_of_another_length_is_refused() -> None:
    with pytest.raises(ShapeError, match="has 4 frames, values have 5"):
        AudioFeatures(torch.zeros(5, 1), 25.0, whole())
