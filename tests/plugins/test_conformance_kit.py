"""The conformance kit tested on itself: right components pass everything, each wrong one fails its own check only."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from realtalk_core.errors import MissingDependencyError, UserError
from realtalk_core.plugins import Plugins, discover_from
from realtalk_core.spec import ComponentConfig
from realtalk_core.testing import run_conformance
from realtalk_core.testing.checks import all_checks
from realtalk_core.testing.kit import cases

sys.path.insert(0, str(Path(__file__).parents[1] / "wrong_plugins"))
import right_components
from right_plugin import StrengthConfig


def discovered() -> Plugins:
    modules = {"right": "right_plugin", "wrong": "wrong_plugin", "heavy": "wrong_heavy_plugin"}
    found = discover_from([EntryPoint(name, module, "realtalk") for name, module in modules.items()])
    assert not found.failures
    return found


PLUGINS = discovered()


RIGHT = [
    "audio/right",
    "audio/right_rows",
    *(f"{s}/right" for s in ("landmarks", "emotion", "renderer", "tracker", "voice")),
]


@pytest.mark.parametrize("name", RIGHT)
def test_right_component_passes(name: str):
    report = run_conformance(name, PLUGINS)
    stage = name.partition("/")[0]
    assert report.ok, "\n".join(r.message for r in report.results if r.outcome == "failed")
    applicable = [check.id for check in all_checks() if stage in check.stages]
    assert [r.id for r in report.results] == applicable
    skipped = {r.id for r in report.results if r.outcome == "skipped"}
    learns = stage in ("landmarks", "renderer")
    expected = set() if learns else {i for i in applicable if i.startswith(("train/", "state/"))}
    assert skipped == expected | ({"chunks/agree"} if name == "audio/right_rows" else set())


@pytest.mark.parametrize("check", [check.id for check in all_checks()])
def test_wrong_component_fails_exactly_its_check(check: str):
    name = check.replace("/", "_").replace("-", "_")
    spec = next((s for s in PLUGINS.specs if s.name == name), None)
    assert spec is not None, f"no deliberately wrong component for {check}"
    report = run_conformance(f"{spec.stage}/{name}", PLUGINS)
    failed = [r for r in report.results if r.outcome == "failed"]
    assert [r.id for r in failed] == [check], "\n".join(r.message for r in failed)
    assert failed[0].rule in failed[0].message
    assert not report.ok


def test_every_wrong_component_is_named_after_a_check():
    known = {check.id.replace("/", "_").replace("-", "_") for check in all_checks()}
    assert {s.name for s in PLUGINS.specs if not s.name.startswith("right")} == known


def test_expected_failure_is_reported_and_strict():
    wrong = PLUGINS.find("emotion", "emotion_neutral_identity")
    excused = dataclasses.replace(wrong, expected_failures={"emotion/neutral-identity": "a slight bias"})
    report = run_conformance("emotion/emotion_neutral_identity", dataclasses.replace(PLUGINS, specs=(excused,)))
    assert report.ok
    assert report.count("expected") == 1
    assert "a slight bias" in next(r for r in report.results if r.outcome == "expected").detail
    right = dataclasses.replace(PLUGINS.find("emotion", "right"), expected_failures={"emotion/rows": "it used to"})
    report = run_conformance("emotion/right", dataclasses.replace(PLUGINS, specs=(right,)))
    assert [r.id for r in report.results if r.outcome == "failed"] == ["emotion/rows"]
    assert "remove that entry" in next(r for r in report.results if r.outcome == "failed").detail


def test_absent_package_is_skipped_with_the_install_line():
    spec = dataclasses.replace(PLUGINS.find("emotion", "right"), requires=("no_such_package",), extra="realtalk[moods]")
    report = run_conformance("emotion/right", dataclasses.replace(PLUGINS, specs=(spec,)))
    assert report.ok
    skipped = {r.id: r.detail for r in report.results if r.outcome == "skipped"}
    assert 'pip install "realtalk[moods]"' in skipped["build/succeeds"]
    assert "emotion/neutral-identity" in skipped
    assert "config/documented" not in skipped, "what needs no package is still checked"


class Weighted:
    """An emotion stage whose strength is a weight from outside."""

    def __init__(self, config):
        if config.folder is None:
            raise MissingDependencyError("no weights on this machine", "Get them: realtalk convert moods FILE")
        self.strength = float((config.folder / "strength.txt").read_text())
        self.inner = right_components.Emotion(StrengthConfig(strength=self.strength))

    def deform(self, landmarks, emotion):
        return self.inner.deform(landmarks, emotion)


class WithTiny(Weighted):
    @classmethod
    def tiny_weights(cls, config, folder):
        (folder / "strength.txt").write_text("0.2")
        return config.model_copy(update={"folder": folder})


class FolderConfig(ComponentConfig):
    folder: Path | None = None
    """Where the weights are."""


@pytest.mark.parametrize("cls", [Weighted, WithTiny])
def test_weights_from_outside_are_tiny_ones_or_the_checks_are_skipped(cls):
    spec = dataclasses.replace(PLUGINS.find("emotion", "right"), config=FolderConfig, load=lambda: cls)
    report = run_conformance("emotion/right", dataclasses.replace(PLUGINS, specs=(spec,)))
    assert report.ok, "\n".join(r.message for r in report.results if r.outcome == "failed")
    ran = next(r for r in report.results if r.id == "emotion/neutral-identity")
    assert ran.outcome == ("passed" if cls is WithTiny else "skipped")
    if cls is Weighted:
        assert "realtalk convert moods FILE" in ran.detail


def test_names_select_a_plugin_or_a_component():
    assert {case.component for case in cases("heavy", PLUGINS)} == {"emotion/import_light"}
    assert {case.component for case in cases("emotion/right", PLUGINS)} == {"emotion/right"}
    assert {case.component for case in cases("right_rows", PLUGINS)} == {"audio/right_rows"}
    for name, words in {"hevy": "did you mean 'heavy'", "emotions/right": "did you mean 'emotion'"}.items():
        with pytest.raises(UserError, match=words):
            list(cases(name, PLUGINS))


def test_results_are_told_one_by_one_and_as_json():
    seen = []
    report = run_conformance("emotion/right", PLUGINS, on_result=seen.append)
    assert seen == list(report.results)
    told = json.loads(json.dumps(report.to_dict()))
    assert told["ok"] is True
    assert told["results"][0]["component"] == "emotion/right"
    assert all(r["seconds"] >= 0 for r in told["results"])


def test_pytest_function_skips_fails_and_expects(pytester_free: Path):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", str(pytester_free)],
        capture_output=True,
        text=True,
        cwd=pytester_free.parent,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "wrong_plugins")},
    )
    assert "FAILED" in done.stdout, done.stdout + done.stderr
    assert "test_wrong[emotion/emotion_rows-emotion/rows]" in done.stdout
    assert "XFAIL" in done.stdout
    assert "SKIPPED" in done.stdout
    assert "test_absent" in done.stdout
    assert "no plugin is called 'absent'" in done.stdout
    assert "2 failed" in done.stdout, done.stdout[-3000:]


@pytest.fixture
def pytester_free(tmp_path: Path) -> Path:
    file = tmp_path / "test_theirs.py"
    file.write_text(
        "import dataclasses\n"
        "from importlib.metadata import EntryPoint\n"
        "from realtalk_core.plugins import discover_from\n"
        "from realtalk_core.testing import conformance\n"
        "found = discover_from([EntryPoint('wrong', 'wrong_plugin', 'realtalk')])\n"
        "rows, identity = found.find('emotion', 'emotion_rows'), found.find('emotion', 'emotion_neutral_identity')\n"
        "identity = dataclasses.replace(identity, expected_failures={'emotion/neutral-identity': 'known'})\n"
        "test_wrong = conformance('wrong', dataclasses.replace(found, specs=(rows, identity)))\n"
        "test_absent = conformance('absent', found)\n"
    )
    return file
