"""From `mel` to HuBERT by one word, and what one command makes of it; with a tiny HuBERT of random weights."""

import re
import sys
from pathlib import Path

import pytest
import yaml

from realtalk_core.audio import write_wav
from realtalk_core.avatar import read_meta
from realtalk_core.cli import run
from realtalk_core.testing.avatar import tiny_config
from realtalk_core.testing.synthetic import make_capture, synthetic_clip

pytest.importorskip("transformers", reason="needs the extra realtalk[transformers]")
sys.path.insert(0, str(Path(__file__).parents[1] / "plugins"))

from tiny_audio import waveform


def test_hubert_in_place_of_mel(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_capture(tmp_path / "cap", seconds=3.0, size=48)
    write_wav("speech.wav", synthetic_clip(0.2, 22_050))
    Path("tiny.yaml").write_text(
        yaml.safe_dump({k: v for k, v in tiny_config(steps=4).to_dict().items() if k != "tracker"})
    )
    waveform(tmp_path / "hubert")
    waveform(tmp_path / "other", seed=1)
    speak = ["synthesize", "anna", "--audio", "speech.wav", "-o", "x.mp4"]
    hubert = ["--set", "audio=hubert", "--set", "audio.folder=hubert"]
    assert run(["train", "cap", "-o", "anna", "-c", "tiny.yaml"]) == 0
    assert run(speak) == 0

    capsys.readouterr()
    assert run([*speak, *hubert]) == 2
    said = capsys.readouterr().err
    (again,) = re.findall(r"realtalk (train .*)$", said, re.MULTILINE)
    assert again == f"train CAPTURE -o anna --stage audio --stage landmarks {' '.join(hubert)}"
    assert run(again.replace("CAPTURE", "cap").split()) == 0
    assert re.fullmatch(r"hubert:\w{8}:\w{8}", read_meta(Path("anna"))["stages"]["landmarks"]["encoder"])
    assert run(speak) == 0

    capsys.readouterr()
    for other in ("audio.layer=1", "audio.folder=other"):
        assert run([*speak, "--set", other]) == 2
        assert "train what listens to it again: realtalk train CAPTURE -o anna" in capsys.readouterr().err
    assert run(["inspect", "cap"]) == 0
    assert "encoder hubert:" in capsys.readouterr().out
