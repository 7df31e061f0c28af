"""Bad videos and bad places: one message with a cure, exit code 2, nothing half-made."""

import errno
import os
import sys
import wave
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from realtalk_core.capturing import Options, run, workplace
from realtalk_core.cli import run as command
from realtalk_core.errors import UserError

sys.path.insert(0, str(Path(__file__).parents[1]))
from capture_doubles import TruthTracker, drawn_video, quick


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return drawn_video(tmp_path_factory.mktemp("drawn"), seconds=1.0, size=96)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    quick(monkeypatch, overview=True)


def video(file: Path, width: int = 96, height: int = 96, frames: int = 10) -> Path:
    with av.open(str(file), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height = width, height
        for k in range(frames):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((height, width, 3), 20 + k, np.uint8), "rgb24")))
        out.mux(stream.encode(None))
    return file


def make_bad(name: str, folder: Path) -> Path:
    file = folder / name
    if name == "empty.mp4":
        file.write_bytes(b"")
    elif name == "words.mp4":
        file.write_text("This is a letter, not a film.\n" * 50)
    elif name == "noise.mp4":
        file.write_bytes(np.random.default_rng(0).bytes(5000))
    elif name == "cut_off.mp4":
        whole = video(folder / "whole.mp4", frames=50).read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
    elif name == "picture.png":
        cv2.imwrite(str(file), np.zeros((200, 200, 3), np.uint8))
    elif name == "sound.wav":
        with wave.open(str(file), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(8000)
            out.writeframes(bytes(16000))
    elif name == "tiny.mkv":
        video(file, 16, 16)
    elif name == "folder.mp4":
        file.mkdir()
    return file


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing.mp4", "does not exist"),
        ("empty.mp4", "is empty (0 bytes)"),
        ("words.mp4", "cannot be read as sound or video"),
        ("noise.mp4", "cannot be read as sound or video"),
        ("cut_off.mp4", "cannot be read as sound or video"),
        ("picture.png", "is a picture, not a video"),
        ("sound.wav", "has no picture, only sound"),
        ("tiny.mkv", "16x16 pixels, too small"),
        ("folder.mp4", "is a folder"),
    ],
)
def test_what_is_no_usable_video(tmp_path, capfd, name, says):
    file = make_bad(name, tmp_path)
    before = sorted(tmp_path.iterdir())
    assert command(["capture", str(file), "-o", str(tmp_path / "out")]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert says in err
    assert str(file) in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 2  # what is wrong, and the cure
    assert sorted(tmp_path.iterdir()) == before


def test_times_that_make_no_sense(tmp_path, capfd):
    assert command(["capture", "a.mp4", "-o", str(tmp_path / "out"), "--start", "5", "--end", "2"]) == 2
    assert "--end 2 does not come after --start 5" in capfd.readouterr().err


@pytest.mark.parametrize("lost", [range(25), range(3, 25)])
def test_no_face(tmp_path, drawn, lost):
    file, truth = drawn
    with pytest.raises(UserError, match="no face was found in 25 frames"):
        run(Options(file, size=96), tmp_path / "out", TruthTracker(truth, lost))
    assert list(tmp_path.iterdir()) == []


def test_too_short(tmp_path, drawn):
    file, truth = drawn
    with pytest.raises(UserError, match=r"only 2 frames \(0.08 s\)"):
        run(Options(file, size=96, end=0.1), tmp_path / "out", TruthTracker(truth))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [10, 5000])
def test_sizes_out_of_reach(tmp_path, drawn, size):
    with pytest.raises(UserError, match="is not between 64 and 2048"):
        run(Options(drawn[0], size=size), tmp_path / "out", TruthTracker(drawn[1]))


def test_something_else_is_in_the_place(tmp_path, drawn):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is not empty and is no capture"):
        run(Options(drawn[0], size=96), out, TruthTracker(drawn[1]))
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file, not a folder"):
        run(Options(drawn[0], size=96), tmp_path / "file", TruthTracker(drawn[1]))
    assert (out / "thesis.txt").read_text() == "years of work"


def test_force_does_not_overwrite_what_is_no_capture(tmp_path, drawn):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is no capture"):
        run(Options(drawn[0], size=96), out, TruthTracker(drawn[1]), force=True)
    assert (out / "thesis.txt").read_text() == "years of work"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_place(tmp_path, drawn):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot be written"):
        run(Options(drawn[0], size=96), closed / "out", TruthTracker(drawn[1]))


@pytest.mark.parametrize(("code", "says"), [(errno.EROFS, "cannot be written"), (errno.EACCES, "cannot be written")])
def test_a_place_that_refuses(tmp_path, drawn, monkeypatch, code, says):
    def refuse(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match=says):
        run(Options(drawn[0], size=96), tmp_path / "out", TruthTracker(drawn[1]))


@pytest.mark.parametrize("step", ["frames", "tracks", "sightings", "overview"])
def test_a_full_disk(tmp_path, drawn, monkeypatch, step):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target = {
        "frames": "realtalk_core.capturing.pictures._write",
        "tracks": "realtalk_core.capturing.passes.save_file",
        "sightings": "realtalk_core.capturing.track.np.savez",
        "overview": "matplotlib.figure.Figure.savefig",
    }[step]
    monkeypatch.setattr(target, full)
    with pytest.raises(UserError, match="the disk is full") as caught:
        run(Options(drawn[0], size=96), tmp_path / "out", TruthTracker(drawn[1]))
    assert "Free some space" in caught.value.cure
    assert list(tmp_path.iterdir()) == []


def test_a_missing_model_file_names_file_and_folder(tmp_path, drawn, monkeypatch, capfd):
    import urllib.error

    from realtalk_core import models

    def offline(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(models.urllib.request, "urlopen", offline)
    monkeypatch.setattr(models, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setenv("REALTALK_MODELS", str(tmp_path / "models"))
    assert command(["capture", str(drawn[0]), "-o", str(tmp_path / "out")]) == 2
    err = capfd.readouterr().err
    assert "face_landmarker.task" in err
    assert f"Put face_landmarker.task into {tmp_path / 'models'}" in err
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))


def test_an_unknown_tracker_is_suggested(tmp_path, capfd):
    assert command(["capture", "a.mp4", "-o", str(tmp_path / "out"), "--tracker", "mediapip"]) == 2
    assert "did you mean 'mediapipe'" in capfd.readouterr().err


def test_a_bug_leaves_nothing_either(tmp_path, drawn, monkeypatch):
    monkeypatch.setattr("realtalk_core.capturing.passes.summarise", lambda work: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(Options(drawn[0], size=96), tmp_path / "out", TruthTracker(drawn[1]))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_capture_in_the_place(tmp_path):
    (tmp_path / "capture.yaml").write_text("::: no")
    with pytest.raises(UserError, match="damaged"):
        workplace.finished(tmp_path, {"video": "a"})
