"""`realtalk features`: rows of any length on disk, a picture, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from realtalk_core.audio import write_wav
from realtalk_core.checkpoint import Header
from realtalk_core.cli import run
from realtalk_core.errors import ShapeError, UserError
from realtalk_core.hearing import load_features
from realtalk_core.hearing.file import STAGE, writing_features
from realtalk_core.testing.synthetic import make_capture, synthetic_clip
from realtalk_core.types import AudioFeatures
from realtalk_mel import MelConfig
from realtalk_mel.encoder import MelEncoder


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    write_wav(tmp_path / "speech.wav", synthetic_clip(3.1, 22050, seed=2))
    return tmp_path / "speech.wav"


def test_rows_are_those_of_the_encoder(wav: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, plot = tmp_path / "f.safetensors", tmp_path / "f.png"
    assert run(["features", str(wav), "-o", str(out), "--prosody", "--plot", str(plot), "--fps", "30", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    found, about = load_features(out)
    from realtalk_core.audio import read_audio

    clip = read_audio(wav)
    assert torch.allclose(found.values, MelEncoder(MelConfig()).encode(clip, 30.0).values, atol=1e-5)
    assert found.fps == 30.0
    assert found.prosody is not None
    assert found.prosody.f0 is not None
    assert len(found.prosody) == len(found) == facts["rows"] == clip.frames(30.0)
    assert facts["encoder"] == about["encoder"]
    assert about["encoder"].startswith("mel:")
    assert facts["lookahead_seconds"] < 3.2
    assert about["detector"] in ("silero", "energy")
    assert plot.read_bytes()[:4] == b"\x89PNG"
    assert run(["inspect", str(out)]) == 0
    assert "features" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.png", "f.safetensors", "speech.wav"]


def test_a_capture_s_sound_and_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = make_capture(tmp_path / "capture", seconds=1.0)
    out = tmp_path / "f.safetensors"
    assert run(["features", str(capture.path), "-o", str(out), "--set", "audio.n_mels=16"]) == 0
    assert "25 rows of 4 x 20" in capsys.readouterr().out
    assert load_features(out)[0].prosody is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.wav", "-o", "OUT"], "missing.wav does not exist"),
        (["WAV", "-o", "out.npy"], "does not end in .safetensors"),
        (["WAV", "-o", "nowhere/f.safetensors"], "the folder nowhere does not exist"),
        (["WAV", "-o", "OUT", "--plot", "p.jpg"], "does not end in .png"),
        (["WAV", "-o", "OUT", "--fps", "0"], "--fps 0 is outside 1 to 240"),
        (["WAV", "-o", "OUT", "--set", "audio=mell"], "did you mean 'mel'?"),
        (["WAV", "-o", "OUT", "--set", "audio=ave"], "--avatar AVATAR"),
        (["WAV", "-o", "OUT", "--avatar", "nobody"], "nobody does not exist"),
        (["WAV", "-o", "OUT", "--avatar", "nobody", "--preset", "quick"], "a configuration of its own"),
        ([".", "-o", "OUT"], "is a folder, and no capture"),
    ],
)
def test_refusals(
    wav: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: list[str], said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    names = {"WAV": wav.name, "OUT": "f.safetensors"}
    assert run(["features", *(names.get(word, word) for word in arguments)]) == 2
    assert said in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["speech.wav"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def write() -> None:
        with writing_features(tmp_path / "f.safetensors") as (writer, _):
            writer.add(AudioFeatures(torch.zeros(3, 2), 25.0))
            writer.add(AudioFeatures(torch.zeros(3, 3), 25.0))

    with pytest.raises(ShapeError, match=r"rows of \(3,\) after rows of \(2,\)"):
        write()
    assert not list(tmp_path.iterdir())


def test_a_damaged_or_other_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "f.safetensors"
    with writing_features(file) as (writer, partial):
        writer.add(AudioFeatures(torch.rand(5, 2), 25.0))
        writer.join(partial, Header(STAGE, "mel", metrics={"fps": 25.0}))
    assert load_features(file)[0].values.shape == (5, 2)
    whole = bytearray(file.read_bytes())
    whole[-1] ^= 1
    file.write_bytes(bytes(whole))
    with pytest.raises(UserError, match="damaged"):
        load_features(file)
    from realtalk_core import checkpoint

    checkpoint.save(file, Header("renderer", "dots"), {"x": torch.zeros(1)})
    with pytest.raises(UserError, match="not features"):
        load_features(file)


# What must not be held: 45000 rows of 2 x 256 floats, 92 MB.
LONG = """
import resource, sys, torch
from pathlib import Path
from realtalk_core.checkpoint import Header
from realtalk_core.hearing import RowEncoder
from realtalk_core.hearing.file import STAGE, writing_features
from realtalk_core.hearing.pieces import heard_rows
from realtalk_core.types import AudioClip

class Means(RowEncoder):
    def rows(self, samples):
        return samples.unfold(0, self.kernel, self.hop).mean(1)[:, None].expand(-1, 256)

def sound(minutes):
    for k in range(minutes * 6):
        yield AudioClip(torch.rand(160_000) * 0.2 - 0.1, 16000)

def peak(minutes, name):
    with writing_features(Path(sys.argv[1]) / name) as (writer, partial):
        for rows in heard_rows(Means(), sound(minutes), 25.0):
            writer.add(rows)
        writer.join(partial, Header(STAGE, "means", metrics={"fps": 25.0}))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

short, long = peak(1, "a"), peak(30, "b")
print(short, long)
assert long - short < 60, (short, long)
"""


def test_memory_does_not_grow_with_the_sound(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", LONG, str(tmp_path)], check=True, timeout=300)
