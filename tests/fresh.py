"""Environments that have never seen this repository, and pages of documentation followed in them word by word.

A fresh environment is an empty venv into which pip installs wheels. Their dependencies are lent by a `.pth` line that
puts this environment's packages behind its own, so nothing is downloaded; what RealTalk itself provides comes from its
wheel.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


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


def follow(page: Path, fresh: Fresh) -> int:
    """Writes every file of a page, runs every command, compares every output; `...` stands for anything.

    Blocks are `toml NAME`, `python NAME` and `console`; those of `sh` are only to be read.

    Returns:
        How many commands were run.
    """
    compared = 0
    for language, name, text in BLOCK.findall(page.read_text("utf-8")):
        if language in ("toml", "python"):
            assert name, f"which file is this block of {language}?\n{text}"
            file = fresh.work / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
        elif language != "sh":
            assert language == "console", f"what is to be done with a block of {language}?"
            for command, expected in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
                compared += 1
                told = fresh.shell(command)
                pattern = ".*".join(re.escape(part) for part in " ".join(expected.split()).split("..."))
                same = re.fullmatch(pattern, " ".join(told.split()))
                assert same, f"$ {command}\n{told}\n--- expected\n{expected}"
    return compared


def film(file: Path) -> list:  # type: ignore[type-arg]
    """The pictures of a video."""
    import av

    with av.open(str(file)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
