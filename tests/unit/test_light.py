"""The command line starts fast because nothing heavy is imported before it is needed."""

import json
import os
import statistics
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from realtalk_core.cli import COMMANDS

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "numpy", "scipy", "cv2", "av", "numba", "librosa", "mediapipe", "onnxruntime", "matplotlib", "rich")

SCRIPT = """
import json, sys
from realtalk_core.cli import run
code = run(json.loads(sys.argv[1]))
sys.stderr.write("\\n" + json.dumps({"code": code, "modules": sorted(sys.modules)}))
"""


def loaded_after(*arguments):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(arguments)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stderr.splitlines()[-1])


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["check", "--preset", "quick", "--set", "renderer.steps=5"],
        ["--help"],
        ["plugins"],
        ["plugins", "--json"],
        ["explain", "audio", "mel"],
        ["schema"],
        ["chekc"],
    ],
    ids=" ".join,
)
def test_nothing_heavy_is_imported(arguments):
    result = loaded_after(*arguments)
    assert result["code"] == (2 if arguments == ["chekc"] else 0)
    assert [name for name in HEAVY if name in result["modules"]] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_imports_nothing_heavy(command):
    result = loaded_after(command, "--help")
    assert result["code"] == 0
    assert [name for name in HEAVY if name in result["modules"]] == []


def test_check_takes_less_than_half_a_second():
    """The CPU time of the fastest of a few runs: elapsed time would measure what else this machine is doing."""
    seconds = []
    for _ in range(3):
        before = os.times()
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "realtalk_core", "check"], capture_output=True, check=True)
        after = os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        seconds.append(used or time.perf_counter() - began)
    assert min(seconds) < 0.5, statistics.mean(seconds)


def test_every_plugin_folder_is_packaged_declared_and_held_to_the_contracts():
    folders = {path.parent.name for path in (ROOT / "plugins").glob("*/__init__.py")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    declared = {value.partition(":")[0] for value in project["project"]["entry-points"]["realtalk"].values()}
    packaged = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    contracts = project["tool"]["importlinter"]["contracts"]
    independent = next(c for c in contracts if c["type"] == "independence")["modules"]
    assert declared == folders
    assert {path.partition("/")[2] for path in packaged} - {""} == folders
    assert set(independent) == folders
