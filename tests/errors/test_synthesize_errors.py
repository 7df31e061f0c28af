"""Bad input to `realtalk synthesize`: one message that names the cure, exit code 2, nothing half-written."""

import shutil

import numpy as np
import pytest
import torch
import yaml

from realtalk_core import checkpoint
from realtalk_core.audio import write_wav
from realtalk_core.cli import run
from realtalk_core.testing.avatar import make_avatar
from realtalk_core.testing.synthetic import synthetic_clip
from realtalk_core.types import AudioClip


@pytest.fixture(scope="module")
def avatar(tmp_path_factory):
    return make_avatar(tmp_path_factory.mktemp("avatar"), seconds=3.0, size=48)


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    file = tmp_path_factory.mktemp("speech") / "speech.wav"
    write_wav(file, synthetic_clip(0.3))
    return file


@pytest.fixture
def refuse(tmp_path, capsys):
    """Runs, and returns the message of the one error."""

    def call(*arguments, out="x.mp4"):
        before = sorted(tmp_path.rglob("*"))
        target = tmp_path / out
        code = run(["synthesize", *map(str, arguments), "-o", str(target)])
        said = capsys.readouterr()
        assert code == 2, said.err
        assert "Traceback" not in said.err
        assert said.out == ""
        assert sorted(tmp_path.rglob("*")) == before
        return said.err

    return call


@pytest.fixture
def copy(avatar, tmp_path):
    shutil.copytree(avatar, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize(
    ("options", "message", "cure"),
    [
        (["--emotion", "hapy"], "unknown emotion 'hapy'", "did you mean 'happy'?"),
        (["--emotion", "happy:1.4"], "intensity 1.4", "between 0"),
        (["--emotion", "happy@2 sad@1"], "does not come after", "rising order"),
        (["--emotion", "happy", "--valence", "0.5"], "contradict each other", "one or the other"),
        (["--valence", "3"], "--valence 3 is outside -1 to 1", "between -1 and 1"),
        (["--background", "nowhere.png"], "nowhere.png does not exist", "picture file"),
        (["--pose", "nowhere"], "nowhere does not exist", "realtalk capture"),
        (["--size", "5000"], "--size 5000", "such as 512"),
        (["--torso", "modle"], "--torso: unknown choice 'modle' - did you mean 'model'?", "film or model"),
        (["--set", "renderer.grid=volume"], "grid is volume, and it was trained with planes", "train it again"),
        (["--set", "motion.smothing=1"], "no such parameter", "did you mean 'smoothing'?"),
    ],
)
def test_options(refuse, avatar, speech, options, message, cure):
    said = refuse(avatar, "--audio", speech, *options)
    assert message in said
    assert cure in said


def test_a_torso_that_was_never_learnt(refuse, copy, speech):
    file = copy / "renderer.safetensors"
    header, tensors = checkpoint.load(file)
    checkpoint.save(file, header, {k: v for k, v in tensors.items() if not k.startswith("torso.")})
    said = refuse(copy, "--audio", speech, "--torso", "model")
    assert f"--torso model: {copy} has no torso" in said
    assert "Use --torso film, or train one with a torso" in said


def test_a_background_that_is_no_picture(refuse, avatar, speech, tmp_path):
    (tmp_path / "note.png").write_text("not a picture")
    assert "cannot be read as a picture" in refuse(avatar, "--audio", speech, "--background", tmp_path / "note.png")


@pytest.mark.parametrize(
    ("options", "message", "cure"),
    [
        ([], "give the speech as a sound file or as a text", "--text"),
        (["--text", "Hello", "--audio", "x.wav"], "not both", "--audio FILE, or --text"),
        (["--audio", "x.wav", "--voice", "de"], "spoken already", "give --text"),
        (["--audio", "x.wav", "--set", "voice=espeak"], "spoken already", "give --text"),
        (["--text", "Hello", "--set", "voice=espek"], "unknown voice 'espek'", "did you mean 'espeak'?"),
        (["--text", "Hello", "--set", "voice.vioce=de"], "no such parameter", "did you mean 'voice'?"),
        (["--text", "Hello", "--voice", "recorded"], "that is a kind of voice", "--set voice=recorded"),
        (["--text", "Hello", "--voice", "de", "--set", "voice=recorded"], "has one voice only", "espeak"),
    ],
)
def test_speech_that_is_none_two_or_nobodys(refuse, avatar, options, message, cure):
    said = refuse(avatar, *options)
    assert message in said
    assert cure in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the text to speak is empty"),
        (" \n\t", "the text to speak is empty"),
        ("one\x07two", "character 4 of the text is the control character U+0007"),
        ("word " * 5000, "has 25000 characters; at most 20000"),
    ],
)
def test_text_that_nobody_can_speak(refuse, avatar, text, message):
    assert message in refuse(avatar, "--text", text, "--set", "voice=recorded")


def test_a_voice_whose_extra_is_missing_names_the_install_line(refuse, avatar, monkeypatch):
    from realtalk_core import build

    real = build._importable
    monkeypatch.setattr(build, "_importable", lambda module: module != "espeakng_loader" and real(module))
    said = refuse(avatar, "--text", "Hello")
    assert "voice 'espeak' needs espeakng_loader, which is not installed" in said
    assert 'pip install "realtalk[espeak]"' in said


def test_a_spoken_text_becomes_a_video(avatar, tmp_path, capsys):
    pytest.importorskip("espeakng_loader", reason="needs the extra realtalk[espeak]")
    words = ["--text", "Good day.", "--voice", "en-gb+f3", "-o", str(tmp_path / "x.mp4")]
    assert run(["synthesize", str(avatar), *words, "--set", "voice.words_per_minute=300"]) == 0
    frames = int(capsys.readouterr().out.split(": ")[1].split()[0])
    assert 5 < frames < 40
    assert [file.name for file in tmp_path.iterdir()] == ["x.mp4"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b"I am a letter, not a sound.\n" * 50, "cannot be read|text file|no sound"),
    ],
)
def test_audio_that_is_none(refuse, avatar, tmp_path, content, message):
    import re

    file = tmp_path / "speech.wav"
    if content is not None:
        file.write_bytes(content)
    said = refuse(avatar, "--audio", file)
    assert re.search(message, said)
    assert "speech.wav" in said


def test_a_sound_file_without_samples(refuse, avatar, tmp_path):
    write_wav(tmp_path / "speech.wav", AudioClip(torch.zeros(0), 16_000))
    assert "speech.wav" in refuse(avatar, "--audio", tmp_path / "speech.wav")


@pytest.mark.parametrize("seconds", [0.01, 0.1])
def test_very_short_sound_works(avatar, tmp_path, capsys, seconds):
    write_wav(tmp_path / "short.wav", synthetic_clip(seconds))
    assert run(["synthesize", str(avatar), "--audio", str(tmp_path / "short.wav"), "-o", str(tmp_path / "x.mp4")]) == 0
    assert f"{max(1, round(seconds * 25))} frames" in capsys.readouterr().out


def test_silence_and_nan_go_on_and_say_so(avatar, tmp_path, capsys):
    import wave

    write_wav(tmp_path / "silent.wav", AudioClip(torch.zeros(4000), 16_000))
    assert run(["synthesize", str(avatar), "--audio", str(tmp_path / "silent.wav"), "-o", str(tmp_path / "x.mp4")]) == 0
    assert "is silent" in capsys.readouterr().err
    samples = np.full(4000, np.nan, "<f4")
    with wave.open(str(tmp_path / "nan.wav"), "wb") as file:  # then marked as 32-bit float, which wave cannot write
        file.setnchannels(1)
        file.setsampwidth(4)
        file.setframerate(16_000)
        file.writeframes(samples.tobytes())
    raw = bytearray((tmp_path / "nan.wav").read_bytes())
    raw[20:22] = (3).to_bytes(2, "little")
    (tmp_path / "nan.wav").write_bytes(raw)
    assert run(["synthesize", str(avatar), "--audio", str(tmp_path / "nan.wav"), "-o", str(tmp_path / "y.mp4")]) == 0


def test_sound_that_never_pauses_is_remarked(tmp_path, capsys):
    from realtalk_core.cli.speech import listen

    speech = synthetic_clip(5.0)
    write_wav(tmp_path / "plain.wav", speech)
    assert listen(tmp_path / "plain.wav", 25.0) == 125
    assert capsys.readouterr().err == ""
    noise = 0.3 * torch.randn(speech.samples.shape, generator=torch.Generator().manual_seed(0))
    write_wav(tmp_path / "noisy.wav", AudioClip((speech.samples + noise).clamp(-1, 1), speech.sample_rate))
    listen(tmp_path / "noisy.wav", 25.0)
    assert "noisy.wav never pauses" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("out", "message"),
    [("x.avi", "does not end in .mp4"), ("none/x.mp4", "does not exist"), ("x", "does not end in .mp4")],
)
def test_output_names(refuse, avatar, speech, out, message):
    assert message in refuse(avatar, "--audio", speech, out=out)


def test_a_folder_that_may_not_be_written_to(refuse, avatar, speech, monkeypatch):
    """Simulated, because the tests may run as root, who may write anywhere."""
    import errno
    from pathlib import Path

    def denied(self, *_args, **_kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "touch", denied)
    assert "cannot be written: Permission denied" in refuse(avatar, "--audio", speech)


def test_a_full_disk(refuse, avatar, speech, monkeypatch):
    import errno

    import av

    from realtalk_core.video_writer import VideoWriter

    def full(self):
        raise av.error.OSError(errno.ENOSPC, "No space left on device", "x.mp4")

    monkeypatch.setattr(VideoWriter, "finish", full)
    said = refuse(avatar, "--audio", speech)
    assert "disk is full" in said
    assert "Free some space" in said


def test_ctrl_c_leaves_nothing(avatar, speech, tmp_path, monkeypatch):
    from realtalk_core.video_writer import VideoWriter

    def pressed(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(VideoWriter, "finish", pressed)
    assert run(["synthesize", str(avatar), "--audio", str(speech), "-o", str(tmp_path / "x.mp4")]) == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "message"), [("nowhere", "does not exist"), ("empty", "is no avatar")])
def test_an_avatar_that_is_none(refuse, speech, tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    said = refuse(tmp_path / name, "--audio", speech)
    assert message in said
    assert "realtalk train" in said


def test_a_capture_in_place_of_an_avatar(refuse, avatar, speech):
    said = refuse(avatar.parent / "capture", "--audio", speech)
    assert "is a capture, not an avatar" in said
    assert "realtalk train" in said


@pytest.mark.parametrize("name", ["renderer", "landmarks", "emotion", "person"])
def test_one_byte_changed(refuse, copy, speech, name):
    file = copy / f"{name}.safetensors"
    data = bytearray(file.read_bytes())
    data[len(data) * 3 // 4] ^= 4
    file.write_bytes(data)
    said = refuse(copy, "--audio", speech)
    assert f"{name}.safetensors is damaged" in said
    assert "Copy it again" in said


@pytest.mark.parametrize(
    "name", ["base.mp4", "matte.mp4", "background.png", "renderer.safetensors", "person.safetensors"]
)
def test_a_file_missing(refuse, copy, speech, name):
    (copy / name).unlink()
    said = refuse(copy, "--audio", speech)
    assert name in said
    assert "rain" in said.replace("Copy the avatar again", "train")


def change(avatar, **values):
    file = avatar / "avatar.yaml"
    meta = yaml.safe_load(file.read_text())
    meta.update(values)
    file.write_text(yaml.safe_dump(meta))
    return meta


def test_an_avatar_from_a_newer_version(refuse, copy, speech):
    change(copy, format=99)
    said = refuse(copy, "--audio", speech)
    assert "avatar format 99 is newer than this RealTalk reads (1)" in said
    assert "pip install --upgrade realtalk" in said


def test_a_damaged_avatar_yaml(refuse, copy, speech):
    (copy / "avatar.yaml").write_text("format: [1\n")
    assert "avatar.yaml is damaged" in refuse(copy, "--audio", speech)
    (copy / "avatar.yaml").write_text("format: 1\n")
    assert "lacks config, fps, name, size, stages" in refuse(copy, "--audio", speech)


def test_a_component_that_is_not_installed_names_its_plugin(refuse, copy, speech):
    meta = yaml.safe_load((copy / "avatar.yaml").read_text())
    meta["config"]["pipeline"]["renderer"] = {"use": "splats", "params": {}}
    meta["stages"]["renderer"] = {"component": "splats", "plugin": "realtalk-splats", "version": 1}
    change(copy, **meta)
    said = refuse(copy, "--audio", speech)
    assert "its renderer is 'splats' of the plugin 'realtalk-splats', which is not installed" in said


def test_a_stage_never_trained(refuse, copy, speech):
    (copy / "emotion.safetensors").unlink()
    said = refuse(copy, "--audio", speech)
    assert "the stage emotion has not been trained" in said
    assert "--stage emotion" in said


def test_an_avatar_half_trained_goes_on_and_says_so(copy, speech, tmp_path, capsys):
    from dataclasses import replace

    from realtalk_core import checkpoint

    header, tensors = checkpoint.load(copy / "renderer.safetensors")
    checkpoint.save(copy / "renderer.safetensors", replace(header, metrics={"step": 3, "total": 12}), tensors)
    assert run(["synthesize", str(copy), "--audio", str(speech), "-o", str(tmp_path / "x.mp4")]) == 0
    assert "not trained to its end (step 3 of 12)" in capsys.readouterr().err
