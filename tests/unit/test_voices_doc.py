"""docs/voices.md: its code is the example's, which keeps the contract, and its numbers are true."""

import importlib
import re
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from realtalk_core.plugins import discover_from
from realtalk_core.testing import run_conformance

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "voices.md").read_text("utf-8")
EXAMPLE = ROOT / "examples" / "third_party_voice"


def test_the_plugin_on_the_page_is_the_example():
    blocks = dict(re.findall(r"```python (\S+\.py)\n(.*?)```", DOC, re.DOTALL))
    assert blocks == {f"realtalk_vowels/{f.name}": f.read_text("utf-8") for f in EXAMPLE.glob("realtalk_vowels/*.py")}


def test_the_example_keeps_the_contract(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(EXAMPLE), *sys.path])
    points = tomllib.loads((EXAMPLE / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]["realtalk"]
    found = discover_from([EntryPoint(name, module, "realtalk") for name, module in points.items()])
    report = run_conformance("vowels", found)
    assert report.ok, "\n".join(r.message for r in report.results if r.outcome == "failed")
    assert report.count("passed") >= 17
    for name in [name for name in sys.modules if name.partition(".")[0] == "realtalk_vowels"]:
        monkeypatch.delitem(sys.modules, name)


def test_speaking_from_python_works_as_written(capsys):
    pytest.importorskip("espeakng_loader", reason="needs the extra realtalk[espeak]")
    exec(re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)[-1], {})
    assert "Phoneme(ipa='ɡ'" in capsys.readouterr().out


def test_how_many_voices_espeak_has():
    pytest.importorskip("espeakng_loader", reason="needs the extra realtalk[espeak]")
    catalogue = importlib.import_module("realtalk_espeak.library").catalogue
    voices, variants = catalogue()
    assert f"{len(voices)} languages and accents, {len(variants)} variants" in DOC
