"""The type checker refuses a component that breaks its stage's protocol."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GOOD = """
    from collections.abc import Iterator

    from realtalk_core import declare
    from realtalk_core.spec import NoConfig
    from realtalk_core.types import AudioClip, AudioFeatures, CameraTrack, Drive, FrameBatch
    from realtalk_core.voice import Speech

    class Ear:
        def __init__(self, config: NoConfig) -> None: ...
        def encode(self, clip: AudioClip, fps: float) -> AudioFeatures: raise NotImplementedError

    class Brush:
        def __init__(self, config: NoConfig) -> None: ...
        def render(self, drive: Drive, cameras: CameraTrack) -> Iterator[FrameBatch]: raise NotImplementedError

    class Larynx:
        def __init__(self, config: NoConfig) -> None: ...
        def speak(self, text: str) -> Speech: raise NotImplementedError

    def load_larynx() -> type[Larynx]: return Larynx
    def load_ear() -> type[Ear]: return Ear
    def load_brush() -> type[Brush]: return Brush

    declare.audio_encoder("ear", summary="An ear.", api=1, config=NoConfig, load=load_ear)
    declare.renderer("brush", summary="A brush.", api=1, config=NoConfig, load=load_brush, version=2)
    declare.voice("larynx", summary="A larynx.", api=1, config=NoConfig, load=load_larynx)
"""
BAD = {
    "another return type": ("-> AudioFeatures: raise", "-> AudioClip: raise", "audio_encoder"),
    "an argument too many": ("clip: AudioClip, fps: float)", "clip: AudioClip, fps: float, how: str)", "audio_encoder"),
    "another stage's part": ("config=NoConfig, load=load_ear", "config=NoConfig, load=load_brush", "audio_encoder"),
    "a voice without times": ("text: str) -> Speech: raise", "text: str) -> AudioClip: raise", "voice"),
    "no iterator": ("-> Iterator[FrameBatch]: raise", "-> FrameBatch: raise", "renderer"),
    "a config that is none": ("config=NoConfig, load=load_brush", "config=dict, load=load_brush", "renderer"),
    "no api version": ('summary="A brush.", api=1, ', 'summary="A brush.", ', "renderer"),
    "an unknown option": ("version=2", "verson=2", "renderer"),
}  # fmt: skip


def _module(name):
    return name.replace(" ", "_").replace("'", "")


@pytest.mark.slow
def test_mypy_accepts_good_components_and_refuses_bad_ones(tmp_path):
    """One run of mypy over all snippets: starting it costs more than the snippets."""
    pytest.importorskip("mypy", reason="mypy comes with the development group")
    snippets = {"good": GOOD}
    for name, (old, new, _) in BAD.items():
        assert GOOD.count(old) == 1, name
        snippets[_module(name)] = GOOD.replace(old, new)
    for name, text in snippets.items():
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--no-error-summary"]
    done = subprocess.run(
        [*command, *sorted(map(str, tmp_path.glob("*.py")))], capture_output=True, text=True, cwd=ROOT
    )
    lines = done.stdout.splitlines()
    assert done.stderr == ""
    assert not [line for line in lines if "good.py" in line]
    for name, (_, _, helper) in BAD.items():
        found = [
            line for line in lines if name.replace(" ", "_").replace("'", "") + ".py" in line and ": error: " in line
        ]
        assert found, f"{name}: mypy found nothing wrong"
        assert any(helper in line for line in found), found
    assert not [line for line in lines if "realtalk_core/" in line.partition(": ")[0]]
