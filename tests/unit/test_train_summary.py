"""What `realtalk train` says to do next."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from realtalk_core.cli.common import configuration
from realtalk_core.cli.train import _summary


@pytest.mark.parametrize(
    ("there", "missing"), [(("renderer",), ("landmarks", "emotion")), (("landmarks", "emotion", "renderer"), ())]
)
def test_an_avatar_that_lacks_stages_is_not_sent_to_speak(
    there: tuple[str, ...], missing: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for stage in there:
        (tmp_path / f"{stage}.safetensors").touch()
    capture = type("Capture7", (), {"path": Path("cap"), "__len__": lambda _: 7})()
    session = SimpleNamespace(folder=tmp_path, capture=capture, stages=(), seconds={}, config=configuration(None))
    _summary(session, lambda seconds: f"{seconds} s")
    said = capsys.readouterr().out
    assert ("Next: realtalk synthesize" in said) == (not missing)
    flags = "".join(f" --stage {stage}" for stage in missing)
    assert [line for line in said.splitlines() if "--stage" in line] == (
        [f"  realtalk train cap -o {tmp_path}{flags}"] if missing else []
    )
