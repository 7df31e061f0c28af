"""`realtalk actor`: what it writes, and how it refuses."""

import pytest
import typer
from typer.testing import CliRunner

from realtalk_actor.command import register
from realtalk_core.capture import Capture
from realtalk_core.errors import UserError


@pytest.fixture
def run():
    app = typer.Typer()
    register(app)
    app.callback()(lambda: None)
    return lambda *words: CliRunner().invoke(app, ["actor", *map(str, words)])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--seconds", "-1"), "--seconds -1 is outside"),
        (("--seconds", "nan"), "--seconds nan is outside"),
        (("--emotion", "hapy"), "did you mean 'happy'"),
        (("--emotion", "sad:2"), "outside 0 to 1"),
        (("--text", "  "), "--text is empty"),
        (("--speaker", "none", "--text", "hello"), "says nothing"),
        (("--speaker", "espeek"), "unknown voice 'espeek'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(run, tmp_path, words, text):
    result = run("-o", tmp_path / "out", *words)
    assert isinstance(result.exception, UserError)
    assert text in str(result.exception)
    assert not any(tmp_path.iterdir())


def test_silent_performance_becomes_a_capture_and_is_not_made_twice(run, tmp_path):
    words = ("-o", tmp_path / "out", "--seed", 3, "--speaker", "none", "--seconds", 0.12, "--size", 64)
    assert run(*words).exit_code == 0
    capture = Capture.open(tmp_path / "out")
    assert len(capture) == 3
    assert capture.meta["job"]["actor"] == 3
    assert "done already" in run(*words).output
    other = run(*words, "--emotion", "happy")
    assert "made differently (emotion)" in str(other.exception)


def test_a_foreign_folder_is_left_alone(run, tmp_path):
    (tmp_path / "letter.txt").write_text("dear", "utf-8")
    result = run("-o", tmp_path, "--speaker", "none", "--seconds", 0.1, "--size", 64)
    assert "is not empty and is no capture" in str(result.exception)
    assert (tmp_path / "letter.txt").read_text("utf-8") == "dear"
