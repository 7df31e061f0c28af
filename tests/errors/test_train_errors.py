"""Bad input to `realtalk train`."""

import os
import shutil
import signal

import pytest
import torch
import yaml

from realtalk_core import checkpoint
from realtalk_core.audio import write_wav
from realtalk_core.cli import run
from realtalk_core.testing.avatar import make_avatar, tiny_config
from realtalk_core.testing.synthetic import make_capture
from realtalk_core.types import AudioClip


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """A capture, a tiny registry, and an avatar trained with both."""
    folder = tmp_path_factory.mktemp("train")
    config = tiny_config()
    make_avatar(folder, seconds=3.0, size=48, config=config)
    part = {k: v for k, v in config.to_dict().items() if k != "tracker"}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(part))
    return folder


@pytest.fixture
def refuse(capsys):
    def call(*arguments):
        code = run(["train", *map(str, arguments)])
        said = capsys.readouterr()
        assert code == 2, said.err
        assert "Traceback" not in said.err
        return said.err

    return call


def test_what_is_no_capture(refuse, ready, tmp_path):
    assert "does not exist" in refuse(tmp_path / "nowhere", "-o", tmp_path / "a")
    assert "is no capture" in refuse(ready / "avatar", "-o", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_capture_without_sound(refuse, ready, tmp_path):
    shutil.copytree(ready / "capture", tmp_path / "cap")
    write_wav(tmp_path / "cap/audio.wav", AudioClip(torch.zeros(48_000), 16_000))
    assert "its sound is silent" in refuse(tmp_path / "cap", "-o", tmp_path / "a")
    (tmp_path / "cap/audio.wav").unlink()
    said = refuse(tmp_path / "cap", "-o", tmp_path / "a")
    assert "has no sound" in said
    assert "realtalk capture" in said
    assert not (tmp_path / "a").exists()


def test_a_capture_too_short(refuse, tmp_path):
    make_capture(tmp_path / "cap", seconds=1.0, size=48)
    said = refuse(tmp_path / "cap", "-o", tmp_path / "a")
    assert "0.9 s of a face to learn from" in said
    assert "one to five minutes" in said
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stage", "render"], "did you mean 'renderer'?"),
        (["--split", "1.5"], "--split 1.5 is outside 0 to 1"),
        (["--preset", "quik"], "did you mean 'quick'?"),
        (["--set", "renderer.stepps=3"], "did you mean 'steps'?"),
        (["--set", "fps=30"], "has 25 frames per second, the configuration 30"),
        (["--resume", "--force"], "contradict each other"),
    ],
)
def test_options(refuse, ready, tmp_path, options, message):
    assert message in refuse(ready / "capture", "-o", tmp_path / "a", *options)
    assert not (tmp_path / "a").exists()


def test_nothing_is_overwritten_unasked(refuse, ready, tmp_path):
    said = refuse(ready / "capture", "-o", ready / "avatar")
    assert "exists already" in said
    assert "--resume" in said
    assert "--force" in said
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    assert "is not empty, and no avatar" in refuse(ready / "capture", "-o", tmp_path / "full", "--force")
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"
    assert "is a file" in refuse(ready / "capture", "-o", tmp_path / "full" / "thesis.txt")


def test_resuming_otherwise_than_it_began(refuse, ready, tmp_path):
    make_capture(tmp_path / "other", seconds=3.0, size=48, seed=9)
    assert "was trained on another capture" in refuse(tmp_path / "other", "-o", ready / "avatar", "--resume")
    said = refuse(ready / "capture", "-o", ready / "avatar", "--resume", "--set", "landmarks.steps=99")
    assert "landmarks began with other parameters" in said
    assert "--split 0.5" in refuse(ready / "capture", "-o", ready / "avatar", "--resume", "--split", "0.5")


def test_ctrl_c_saves_and_says_how_to_go_on(ready, tmp_path, capsys, monkeypatch):
    from realtalk_core.cli.progress import Bars

    shown = Bars.__call__

    def press(self, what, done, total, metrics=None):
        shown(self, what, done, total, metrics)
        if (what, done) == ("landmarks", 5):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Bars, "__call__", press)
    arguments = ["train", str(ready / "capture"), "-o", str(tmp_path / "a"), "-c", str(ready / "tiny.yaml")]
    assert run(arguments) == 130
    said = capsys.readouterr().err
    assert "landmarks: stopped after step 5 of 12; all of it is saved" in said
    assert f"realtalk train {ready / 'capture'} -o {tmp_path / 'a'} --resume" in said
    monkeypatch.undo()
    assert run(["train", str(ready / "capture"), "-o", str(tmp_path / "a"), "--resume"]) == 0
    metrics = checkpoint.read_header(tmp_path / "a" / "landmarks.safetensors").metrics
    assert metrics["step"] == metrics["total"] == 12
    assert (tmp_path / "a" / "renderer.safetensors").is_file()


def test_a_place_that_cannot_be_made(refuse, ready, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refuse(ready / "capture", "-o", tmp_path / "file" / "a")
