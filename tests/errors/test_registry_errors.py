"""What is said about a wrong registry: a golden text, one case for each kind of mistake, and files made to hurt."""

# ruff: noqa: E501 - messages are quoted whole

import os
import sys
import time
from pathlib import Path

import pytest

from realtalk_core import config as configuration
from realtalk_core.config import load_config
from realtalk_core.config.reader import MAX_BYTES, read_yaml
from realtalk_core.errors import ConfigError, UserError

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))
import fake_plugins

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(autouse=True)
def _shipped(monkeypatch):
    monkeypatch.delenv("REALTALK_CONFIG", raising=False)
    monkeypatch.setattr(configuration.resolve, "default_registry", lambda: GOLDEN / "shipped.yaml")


def complaints(file, **options):
    with pytest.raises(ConfigError) as caught:
        load_config(file, plugins=fake_plugins.plugins(), **options)
    return str(caught.value).replace(str(file), "FILE").splitlines()


@pytest.fixture
def complain(tmp_path):
    """What is said about a file with this text."""

    def about(text, **options):
        file = tmp_path / "registry.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return complaints(file, **options)

    return about


def test_a_file_full_of_mistakes_gives_the_golden_text():
    """To renew the text set RENEW_GOLDEN=1, then read the difference."""
    text = "\n".join(complaints(GOLDEN / "bad_registry.yaml")) + "\n"
    if os.environ.get("RENEW_GOLDEN"):
        (GOLDEN / "bad_registry.txt").write_text(text, "utf-8")
    assert text == (GOLDEN / "bad_registry.txt").read_text("utf-8")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "FILE: the file is empty; a registry needs at least: version: 1"),
        ("# only a comment\n", "FILE: the file is empty; a registry needs at least: version: 1"),
        ("- a\n", "FILE:1:1: a registry is a mapping; it starts with: version: 1"),
        ("fps: 25\n", "FILE:1:1: no version; write: version: 1"),
        ("version: two\n", "FILE:1:1: version: must be a whole number such as 1, got 'two'"),
        ("version: true\n", "FILE:1:1: version: must be a whole number such as 1, got True"),
        (
            "version: 7\nnew_key: 1\n",
            "FILE:1:1: version: 7 is newer than this realtalk reads (1); update realtalk",
        ),
        ("version: 1\n---\nversion: 1\n", "FILE:2:1: a registry is one YAML document; remove what follows ---"),
        (
            "version: 1\nmotion:\n\tstart: 1\n",
            "FILE:3:1: this is no valid YAML: found character '\\t' that cannot start any token"
            " - indent with spaces, not tabs",
        ),
        ("version: 1\n# café\n".encode("latin-1"), "FILE:2:1: this is not UTF-8 text (byte 16); save it as UTF-8"),
        ("version: 1\n".encode("utf-16"), "FILE:1:1: this is not UTF-8 text (byte 0); save it as UTF-8"),
        ("version: 1\0\n", "FILE: this is no valid YAML: unacceptable character #x0000: special characters are not allowed"),
        ("version: 1\nfps: .nan\n", "FILE:2:1: fps: must be a number from 1 to 240, got nan"),
        ("version: 1\nfps: yes\n", "FILE:2:1: fps: must be a number from 1 to 240, got True"),
        ("version: 1\nmotion: {start: !!int abc}\n", "FILE:2:17: motion.start: this is no !!int; write a plain value"),
        ("version: 1\nmotion: {start: 1:30}\n", "FILE:2:10: motion.start: must be a whole number, got '1:30'"),
        ("version: 1\nplugins: {required: [feet]}\n", "FILE:2:22: plugins.required[0]: the required plugin 'feet' is not available; install it (known: face, rival_a, rival_b, senses)"),
        (
            "version: 1\npipeline:\n  renderer: {use: double}\n",
            "FILE:3:14: pipeline.renderer.use: renderer 'double' is offered by 2 plugins"
            " - Name one of them in full: rival_a:double or rival_b:double.",
        ),
        (
            "version: 1\npipeline:\n  renderer: {use: brush, params: {steps: 5}}\n",
            "FILE:3:35: pipeline.renderer.params.steps: renderer 'brush': first must not exceed steps",
        ),
    ],
)  # fmt: skip
def test_one_mistake_one_line(complain, text, said):
    assert complain(text) == [said]


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["renderer"], "--set: 'renderer' is not of the form KEY=VALUE"),
        (["rendrer=brush"], "--set: rendrer: unknown key - did you mean 'renderer'? (known: audio, emotion, fps, landmarks, motion, renderer, tracker, voice)"),
        (["renderer=brusch"], "--set: renderer: unknown renderer 'brusch' - did you mean 'brush'? (known: brush, pencil, rival_a:double, rival_b:double)"),
        (["renderer=3"], "--set: renderer: must be the name of a component, got a number"),
        (["renderer.steps=0"], "--set: renderer.steps: must be at least 1, got 0"),
        (["renderer.stepz=5"], "--set: renderer.stepz: renderer 'brush' has no such parameter - did you mean 'steps'? (known: first, steps)"),
        (["renderer.a.b=5"], "--set: renderer.a.b: write STAGE=NAME, STAGE.PARAM=VALUE, motion.PARAM=VALUE or fps=NUMBER"),
        (["renderer.steps=[1"], "--set: renderer.steps: this is no valid YAML: expected ',' or ']', but got '<stream end>'"),
        (["fps=0"], "--set: fps: must be a number from 1 to 240, got 0"),
        (["motion.lle_percent=2"], "--set: motion.lle_percent: must be at most 1.0, got 2"),
    ],
)  # fmt: skip
def test_a_wrong_set_names_itself(sets, said):
    assert complaints(None, sets=sets) == [said]


def test_an_unknown_preset():
    assert complaints(None, preset="quik") == ["--preset: unknown preset 'quik' - did you mean 'quick'? (known: quick)"]


def test_needs_that_nothing_meets_point_at_the_component(complain):
    text = "version: 1\ntracker: {use: squint}\npipeline: {renderer: {use: pencil}}\n"
    lines = complain(text)
    assert [line.partition(" (given")[0] for line in lines] == [
        "FILE:3:23: pipeline.renderer.use: 'pencil' needs blendshapes:52, which nothing before it gives",
        "FILE:3:23: pipeline.renderer.use: 'pencil' needs landmarks:478, which nothing before it gives",
    ]
    assert lines[1].endswith("; the tracker 'squint' does not track it")


def test_needs_are_checked_beside_other_mistakes(complain):
    text = "version: 1\nfsp: 25\npipeline:\n  landmarks: {use: mouth, params: {scheme: sparse}}\n  renderer: {use: pencil}\n"
    first, second = complain(text)
    assert "fsp: unknown key" in first
    assert "needs landmarks:478" in second


def test_presets_that_were_not_asked_for_are_checked_on_demand(complain):
    text = (
        "version: 1\npresets:\n  slow:\n    pipeline:\n      renderer: {params: {steps: 0}}\n      audio: {use: eer}\n"
        "      emotion: {when: mode, params: {x: 1}}\n"
    )
    assert [line.partition(" (known")[0] for line in complain(text, every_preset=True)] == [
        "FILE:5:27: presets.slow.pipeline.renderer.params.steps: must be at least 1, got 0",
        "FILE:6:15: presets.slow.pipeline.audio.use: unknown audio 'eer' - did you mean 'ear'?",
        "FILE:7:17: presets.slow.pipeline.emotion.when: no emotion is called 'mode' - did you mean 'mood'?",
    ]
    file = GOLDEN / "shipped.yaml"
    load_config(file, plugins=fake_plugins.plugins())


@pytest.mark.parametrize(
    "text",
    [
        "[" * 60_000,
        "version: 1\nmotion: &a {x: *a, y: *a}\n",
        "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
            f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12)
        ),
        "a: &a [" + "x," * 10_000 + "]\nb: [" + "*a," * 30_000 + "]\n",
        "#" * (MAX_BYTES + 1),
        "k: " + "9" * 200_000,
        "? {a: 1}\n: 2\n" * 1000,
    ],
    ids=["deep", "recursive", "billion laughs", "wide laughs", "big", "long number", "keys"],
)  # fmt: skip
def test_files_made_to_hurt_end_soon(text):
    began = time.perf_counter()
    document = read_yaml(text.encode(), "FILE")
    assert document.problems
    assert time.perf_counter() - began < 10  # the slowest takes 2 s alone; without bounds some never end


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        load_config(tmp_path / "none.yaml", plugins=fake_plugins.plugins())
    with pytest.raises(UserError, match="is a folder"):
        load_config(tmp_path, plugins=fake_plugins.plugins())
