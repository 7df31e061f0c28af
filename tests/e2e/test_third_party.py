"""A stranger's renderer, end to end: two wheels, a fresh environment, nothing from the repository.

The fresh environment is an empty venv into which pip installs the two wheels and nothing else. Their dependencies are
lent by a `.pth` line that puts this environment's packages behind its own, so nothing is downloaded; what RealTalk
itself provides comes from the wheel, which a test makes sure of.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

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


class Fresh:
    """An environment of its own; commands run in an empty folder."""

    def __init__(self, folder: Path, *, pip: bool = False) -> None:
        self.folder, self.work = folder / "venv", folder / "work"
        self.work.mkdir(parents=True)
        options = [] if pip else ["--without-pip"]
        subprocess.run([sys.executable, "-m", "venv", *options, str(self.folder)], check=True)

    def install(self, source: Path) -> None:
        """Builds a wheel without fetching build tools, and installs it without dependencies."""
        wheels = self.folder.parent / "wheels" / source.name
        self._pip("wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(wheels), str(source))
        self._pip("--python", str(self.python), "install", "--no-deps", "--no-index", str(next(wheels.glob("*.whl"))))

    def lend(self) -> None:
        """Lends it this environment's packages, behind its own."""
        site = next(self.folder.glob("lib*/**/site-packages"))
        paths = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
        (site / "lent.pth").write_text("\n".join(paths) + "\n")

    def _pip(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    @property
    def python(self) -> Path:
        return self.folder / ("Scripts" if os.name == "nt" else "bin") / "python"

    def run(self, *command: str | Path, code: int = 0, cwd: Path | None = None) -> str:
        """Output of a command of the environment; asserts its exit code."""
        words = [str(self.python.parent / command[0]), *map(str, command[1:])]
        done = subprocess.run(
            words, capture_output=True, text=True, cwd=cwd or self.work, env=self._environment(), timeout=600
        )
        assert done.returncode == code, f"{words} gave {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def shell(self, command: str) -> str:
        """Output of a line typed into a shell; what the command says goes to one stream, as on a terminal."""
        done = subprocess.run(
            ["bash", "-c", f"{command} 2>&1"],
            capture_output=True,
            text=True,
            cwd=self.work,
            env=self._environment(),
            timeout=600,
        )
        return done.stdout

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "REALTALK_PLUGINS")}
        path = f"{self.python.parent}{os.pathsep}{kept['PATH']}"
        # pip must neither fetch build tools nor dependencies; its variables for negative options are inverted.
        offline = {"PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1", "COLUMNS": "160"}
        return {**kept, **offline, "PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


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
    film = _film(fresh.work / "speaks.mp4")
    assert len(film) == 100
    middle = film[50]
    height, width, _ = middle.shape
    face = middle[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3]
    assert face.std() > 10, "a face, not one colour"
    assert (middle[:6, :6] > 245).all(), "white where no head is"
    mouth = [frame[height // 2 :].astype(float) for frame in film]
    assert max(abs(a - b).mean() for a, b in zip(mouth, mouth[5:], strict=False)) > 1, "it moves"


def test_a_stage_of_ones_own(fresh: Fresh, avatar: Path):
    speech = fresh.work / "capture" / "audio.wav"
    fresh.run("python", ROOT / "examples" / "own_stage.py", avatar, speech, "brows.mp4")
    assert len(_film(fresh.work / "brows.mp4")) == 100


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

TUTORIAL = ROOT / "docs" / "plugin-tutorial.md"
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_tutorial_is_true(tmp_path_factory: pytest.TempPathFactory):
    """Every file of the page is written, every command run, every output compared; `...` stands for anything."""
    fresh = Fresh(tmp_path_factory.mktemp("tutorial"), pip=True)
    fresh.install(ROOT)
    fresh.lend()
    compared = 0
    for language, name, text in BLOCK.findall(TUTORIAL.read_text("utf-8")):
        if language in ("toml", "python"):
            file = fresh.work / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
            continue
        assert language == "console", f"what is to be done with a block of {language}?"
        for command, expected in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
            compared += 1
            told = fresh.shell(command)
            pattern = ".*".join(re.escape(part) for part in " ".join(expected.split()).split("..."))
            same = re.fullmatch(pattern, " ".join(told.split()))
            assert same, f"$ {command}\n{told}\n--- expected\n{expected}"
    assert compared >= 10
    assert len(_film(fresh.work / "dots.mp4")) == 100
    assert len(_film(fresh.work / "speaks.mp4")) == 100


def _film(file: Path) -> list:  # type: ignore[type-arg]
    import av

    with av.open(str(file)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
