"""The wheel is complete: away from the repository, the shipped registry and every plugin are there."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel, built and unpacked as an installation would."""
    builder = pytest.importorskip("hatchling.builders.wheel", reason="hatchling builds the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    wheel = next(builder.WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"]))
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def ran(installed, *arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("REALTALK_")}
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        capture_output=True, text=True, cwd=installed.parent, env={**environment, "PYTHONPATH": str(installed)},
    )  # fmt: skip


def test_the_wheel_brings_the_registry_as_it_stands_at_the_root(installed):
    assert (installed / "realtalk_core" / "registry.yaml").read_bytes() == (ROOT / "registry.yaml").read_bytes()


def test_check_works_away_from_the_repository(installed):
    done = ran(installed, "-m", "realtalk_core", "check", "--preset", "quick", "--json")
    assert done.returncode == 0, done.stderr
    assert Path(json.loads(done.stdout)["source"]).is_relative_to(installed)


def test_every_plugin_comes_from_the_wheel(installed):
    code = (
        "from realtalk_core.plugins import discover; import sys; found = discover();"
        "assert not found.failures, found.failures;"
        "print(*(sys.modules[info.module].__file__ for info in found.loaded), sep='\\n')"
    )
    done = ran(installed, "-c", code)
    assert done.returncode == 0, done.stderr
    folders = {path.parent.name for path in (ROOT / "plugins").glob("*/__init__.py")}
    places = [Path(line) for line in done.stdout.splitlines()]
    assert {place.parent.name for place in places} == folders
    assert all(place.is_relative_to(installed) for place in places)


def test_the_demo_finds_its_avatar_and_speech_in_the_wheel(installed):
    here, there = ROOT / "plugins" / "realtalk_demo" / "data", installed / "realtalk_demo" / "data"
    names = {f.relative_to(here) for f in here.rglob("*") if f.is_file()}
    assert {f.relative_to(there) for f in there.rglob("*") if f.is_file()} == names
    assert Path("avatar/renderer.safetensors") in names
    assert all((here / name).read_bytes() == (there / name).read_bytes() for name in names)
    done = ran(installed, "-m", "realtalk_core", "inspect", str(there / "avatar"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["megabytes"] < 10
