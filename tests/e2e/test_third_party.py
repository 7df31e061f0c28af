"""A stranger's renderer, end to end: two wheels, a fresh environment, nothing from the repository.

The fresh environment (`tests/fresh.py`) has the two wheels and nothing else; what RealTalk itself provides comes from
its wheel, which a test makes sure of.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from fresh import Fresh, film, follow

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "third_party_renderer"

pytestmark = pytest.mark.slow

TRAIN = """
import sys
from pathlib import Path
from realtalk_core.config import load_config
from realtalk_core.plugins import discover
from realtalk_core.testing import make_capture
from realtalk_core.training.session import Session

folder = Path(sys.argv[1])
capture = make_capture(folder / "capture", seconds=4, size=96, seed=2)
sets = ["renderer=mesh_shader", "renderer.steps=120", "renderer.texture=96", "landmarks.steps=20", "emotion.steps=20"]
Session(capture, folder / "avatar", load_config(sets=sets, plugins=discover())).run()
"""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    environment = Fresh(tmp_path_factory.mktemp("third_party"))
    environment.install(ROOT)
    environment.install(EXAMPLE)
    environment.lend()
    return environment


@pytest.fixture(scope="module")
def avatar(fresh: Fresh) -> Path:
    fresh.run("python", "-c", TRAIN, fresh.work)
    return fresh.work / "avatar"


def test_realtalk_comes_from_the_wheel(fresh: Fresh):
    where = fresh.run(
        "python", "-c", "import realtalk_core, realtalk_mel; print(realtalk_core.__file__, realtalk_mel.__file__)"
    )
    for path in where.split():
        assert Path(path).is_relative_to(fresh.folder), path


def test_it_is_listed(fresh: Fresh):
    listed = json.loads(fresh.run("realtalk", "plugins", "--json"))
    ours = [c for c in listed["components"] if c["name"] == "mesh_shader"]
    assert [c["stage"] for c in ours] == ["renderer"]
    assert {"realtalk-mesh-shader 0.1.0"} == {
        p["distribution"] for p in listed["plugins"] if p["name"] == "mesh_shader"
    }
    assert "mesh_shader" in fresh.run("realtalk", "plugins")


def test_it_is_selected(fresh: Fresh):
    checked = json.loads(fresh.run("realtalk", "check", "--set", "renderer=mesh_shader", "--json"))
    assert checked["configuration"]["pipeline"]["renderer"]["use"].endswith("mesh_shader")
    assert "mesh_shader" in fresh.run("realtalk", "check", "--set", "renderer=mesh_shader")
    fresh.run("realtalk", "check", "--set", "renderer=mesh_shader", "--set", "renderer.textures=3", code=2)
    fresh.run("realtalk", "check", "-c", ROOT / "examples" / "mesh_shader.yaml")


def test_it_renders(fresh: Fresh, avatar: Path):
    script, speech = ROOT / "examples" / "assemble_pipeline.py", fresh.work / "capture" / "audio.wav"
    fresh.run("python", script, avatar, speech, "speaks.mp4", "happy:0.7")
    pictures = film(fresh.work / "speaks.mp4")
    assert len(pictures) == 100
    middle = pictures[50]
    height, width, _ = middle.shape
    face = middle[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3]
    assert face.std() > 10, "a face, not one colour"
    assert (middle[:6, :6] > 245).all(), "white where no head is"
    mouth = [frame[height // 2 :].astype(float) for frame in pictures]
    assert max(abs(a - b).mean() for a, b in zip(mouth, mouth[5:], strict=False)) > 1, "it moves"


def test_a_stage_of_ones_own(fresh: Fresh, avatar: Path):
    speech = fresh.work / "capture" / "audio.wav"
    fresh.run("python", ROOT / "examples" / "own_stage.py", avatar, speech, "brows.mp4")
    assert len(film(fresh.work / "brows.mp4")) == 100


def test_it_conforms(fresh: Fresh):
    tests = fresh.work / "tests"
    shutil.copytree(EXAMPLE / "tests", tests)
    told = fresh.run("python", "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", tests)
    assert "passed" in told
    assert "failed" not in told
    skipped = {line.split("renderer/")[-1] for line in told.splitlines() if line.startswith("SKIPPED")}
    assert skipped == {
        "render-size: it draws at any size alike",
        "region: it draws whole pictures",
        "torso: it has learnt no torso",
        "attention-maps: it has no attention maps",
    }, "only what a renderer may do without"


# ---- the tutorial ---------------------------------------------------------------------------------------------------


def test_the_tutorial_is_true(tmp_path_factory: pytest.TempPathFactory):
    fresh = Fresh(tmp_path_factory.mktemp("tutorial"), pip=True)
    fresh.install(ROOT)
    fresh.lend()
    assert follow(ROOT / "docs" / "plugin-tutorial.md", fresh) >= 10
    assert len(film(fresh.work / "dots.mp4")) == 100
    assert len(film(fresh.work / "speaks.mp4")) == 100
