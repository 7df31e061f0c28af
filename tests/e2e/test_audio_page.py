"""docs/audio.md: its plugin is the example's, its commands do what they say, what it states of encoders is true."""

import re
import runpy
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from fresh import BLOCK, Fresh, follow

from realtalk_core.audio import write_wav
from realtalk_core.plugins import discover
from realtalk_core.testing.speech import synthetic_clip

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "audio.md"
EXAMPLE = ROOT / "examples" / "third_party_encoder"


def test_the_plugin_on_the_page_is_the_example():
    blocks = {name: text for _, name, text in BLOCK.findall(PAGE.read_text("utf-8")) if name.startswith("realtalk-")}
    files = {f"realtalk-ears/{f.relative_to(EXAMPLE)}": f for f in EXAMPLE.glob("realtalk_ears/*.py")}
    files["realtalk-ears/pyproject.toml"] = EXAMPLE / "pyproject.toml"
    assert blocks == {name: file.read_text("utf-8") for name, file in files.items()}


def test_every_encoder_is_on_the_page_with_parameters_that_exist():
    page, encoders = PAGE.read_text("utf-8"), {spec.name: spec for spec in discover().of("audio")}
    for name in encoders:
        assert f"\n| `{name}`" in page, f"a row for {name}"
    assert set(re.findall(r"--set audio=(\w+)", page)) <= {*encoders, "bands", "wavlm"}
    known = {field for spec in encoders.values() for field in spec.config.model_fields} | {"bands", "band"}
    assert set(re.findall(r"audio\.(\w+)=", page)) <= known


def test_the_commit_on_the_page_is_the_one_that_is_used():
    model, commit = re.search(r"hf download (\S+) --revision ([0-9a-f]{40})", PAGE.read_text("utf-8")).groups()
    default = discover().find("audio", "hubert").config()
    assert (default.model, default.commit) == (model, commit)


def test_an_encoder_fed_200_ms_at_a_time(tmp_path, monkeypatch, capsys):
    write_wav(tmp_path / "speech.wav", synthetic_clip(2.5, 22_050))
    arguments = [str(tmp_path / "speech.wav"), "audio=mel", "audio.level_seconds=0.5"]
    monkeypatch.setattr(sys, "argv", ["streaming_encoder.py", *arguments])
    runpy.run_path(str(ROOT / "examples" / "streaming_encoder.py"))
    first, *steps, last = capsys.readouterr().out.splitlines()
    ahead = float(re.search(r"at most ([\d.]+) s", first)[1])
    behind = [float(re.search(r"([\d.]+) s behind", step)[1]) for step in steps]
    assert len(steps) == 13
    assert max(behind) <= ahead + 1 / 25
    assert behind[-1] < 2.5, "rows came before the end"
    assert last == "62 rows in all"


@pytest.mark.slow
def test_the_page_is_true(tmp_path_factory):
    pytest.importorskip("transformers", reason="needs the extra realtalk[transformers]")
    fresh = Fresh(tmp_path_factory.mktemp("audio_page"), pip=True)
    fresh.install(ROOT)
    fresh.lend()
    assert follow(PAGE, fresh) >= 10
