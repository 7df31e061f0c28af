"""`realtalk demo`: film and contact sheet from the shipped avatar, recorded speech, and how it refuses."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch

from realtalk_core.audio import write_wav
from realtalk_core.avatar import read_meta
from realtalk_core.build import build
from realtalk_core.cli import run
from realtalk_core.emotion import LABELS, parse_emotion
from realtalk_core.errors import UserError
from realtalk_core.plugins import discover
from realtalk_core.types import AudioClip
from realtalk_demo import AVATAR, DATA
from realtalk_demo.recorded import demo_speech, lines

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def voice():
    spec = discover().find("voice", "recorded")
    return build(spec, spec.config())


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """0.4 s out of the demo's own speech."""
    file = tmp_path_factory.mktemp("speech") / "speech.wav"
    clip = demo_speech()[0].clip
    write_wav(file, AudioClip(clip.samples[: round(0.4 * clip.sample_rate)].contiguous(), clip.sample_rate))
    return file


@pytest.fixture
def refuse(tmp_path, capsys):
    """Runs, and returns the message of the one error."""

    def call(*arguments, out="film"):
        before = sorted(tmp_path.rglob("*"))
        code = run(["demo", *map(str, arguments), "-o", str(tmp_path / out)])
        said = capsys.readouterr()
        assert code == 2, said.err
        assert "Traceback" not in said.err
        assert said.out == ""
        assert sorted(tmp_path.rglob("*")) == before
        return said.err

    return call


def test_a_film_and_a_sheet_appear_and_are_named(speech, tmp_path, capsys):
    out = tmp_path / "new" / "out"
    assert run(["demo", "--audio", str(speech), "--emotion", "happy:0.8", "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert sorted(f.name for f in out.iterdir()) == ["demo.mp4", "demo.png"]
    assert str(out / "demo.mp4") in said
    assert str(out / "demo.png") in said
    assert "Try next" in said
    with av.open(str(out / "demo.mp4")) as film:
        pictures = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
        assert "Synthetic" in film.metadata["comment"]
        assert film.streams.audio[0].duration * film.streams.audio[0].time_base == pytest.approx(0.4, abs=0.05)
    assert len(pictures) == 10
    assert min(pictures[0].shape[:2]) >= 256
    assert np.mean([p.std() for p in pictures]) > 20  # a picture, not a flat field
    sheet = cv2.imread(str(out / "demo.png"))
    assert min(sheet.shape[:2]) > 600
    assert sheet.std() > 20


def test_the_shipped_avatar_is_of_nobody_small_and_complete():
    meta = read_meta(AVATAR)
    assert "synthetic" in meta["consent"]
    assert meta["size"] >= 256
    assert set(meta["stages"]) == {"audio", "landmarks", "emotion", "renderer"}
    assert sum(f.stat().st_size for f in DATA.rglob("*") if f.is_file()) < 10e6
    assert not (AVATAR / "training").exists()


def test_the_default_speech_lasts_long_enough_and_changes_its_emotion():
    speech, timeline = demo_speech()
    assert speech.clip.seconds >= 6
    plan = parse_emotion(timeline)
    assert len({key.label for key in plan.keys}) >= 4
    assert plan.keys[-1].seconds < speech.clip.seconds - 1
    loud = speech.clip.samples.abs().max()
    assert 0.3 < float(loud) <= 1.0


def test_every_recording_lies_within_the_file_and_pauses_are_silent(voice):
    for line in lines():
        speech = voice.speak(line.text)
        assert speech.clip.seconds == pytest.approx(line.seconds, abs=1e-3)
        assert speech.phonemes[-1].end == pytest.approx(line.seconds, abs=0.02)
        samples, rate = speech.clip.samples, speech.clip.sample_rate
        level = {True: [], False: []}
        for p in speech.phonemes:
            part = samples[round(p.start * rate) : round(p.end * rate)]
            if p.ipa or p.end - p.start > 0.1:
                level[p.ipa == ""].append(part[len(part) // 4 : -len(part) // 4 or None])
        quiet, loud = (torch.cat(level[k]).square().mean().sqrt() for k in (True, False))
        assert quiet < 0.03 * loud, line.text


def test_the_recorded_voice_says_nothing_else(voice):
    assert voice.speak("  HELLO! ").phonemes == lines()[0].phonemes
    with pytest.raises(UserError, match="has no recording of 'Good morning'"):
        voice.speak("Good morning")
    with pytest.raises(UserError, match="empty"):
        voice.speak("  ")


def test_the_actors_sentences_are_recorded(voice):
    command = pytest.importorskip("realtalk_actor.command")
    for sentence in command.SENTENCES:
        assert voice.speak(sentence).clip.seconds > 2


@pytest.mark.parametrize(
    ("options", "message", "cure"),
    [
        (["--text", "  "], "--text is empty", "Write a sentence"),
        (["--text", "Hi", "--audio", "a.wav"], "not both", "--audio FILE"),
        (["--emotion", "hapy"], "unknown emotion 'hapy'", "did you mean 'happy'?"),
        (["--emotion", "happy:1.4"], "intensity 1.4", "between 0"),
        (["--emotion", "happy@2 sad@1"], "does not come after", "rising order"),
        (["--emotion", ""], "--emotion is empty", "happy:0.7"),
        (["--audio", "nowhere.wav"], "nowhere.wav does not exist", "Check the path"),
        (["--audio", __file__], "test_demo.py", "sound or video"),
        (["--voice", "de"], "give the speech as a sound file or as a text", "--text"),
        (["--voice", "de", "--audio", "a.wav"], "spoken already", "Leave the voice out"),
        (["--text", "Hello", "--set", "voice=espeek"], "espeek", "did you mean 'espeak'?"),
        (["--text", "Good morning", "--set", "voice=recorded"], "has no recording", "espeak"),
        (["--text", "Hello!", "--set", "voice=recorded", "--voice", "de"], "one voice only", "Leave --voice out"),
        (["--set", "motion.smothing=1"], "no such parameter", "did you mean 'smoothing'?"),
        (["--avatar", "nowhere"], "nowhere does not exist", "realtalk train"),
        (["--size", "5000"], "--size", "2160"),
    ],
)
def test_bad_input(refuse, options, message, cure):
    said = refuse(*options)
    assert message in said
    assert cure in said


def test_an_output_that_is_a_file(refuse, tmp_path):
    (tmp_path / "film").write_text("mine")
    assert "is a file" in refuse()
    assert "is a file" in refuse(out="film/below")
    assert (tmp_path / "film").read_text() == "mine"


def test_a_missing_voice_is_named_with_the_command_that_installs_it(refuse, monkeypatch):
    monkeypatch.setattr("realtalk_core.build._importable", lambda module: module != "espeakng_loader")
    said = refuse("--text", "Good morning")
    assert "espeakng_loader, which is not installed" in said
    assert f'{Path(sys.executable).name} -m pip install "realtalk[espeak]"' in said


def test_make_knows_the_targets():
    for target, command in (("demo", "realtalk demo"), ("demo-train", "demo_avatar.py")):
        dry = subprocess.run(["make", "-n", "-C", str(ROOT), target], capture_output=True, text=True)
        assert dry.returncode == 0, dry.stderr
        assert command in dry.stdout


def test_the_recipe_lets_the_actor_be_silent_then_neutral_then_everything():
    spec = importlib.util.spec_from_file_location("demo_avatar", ROOT / "recipes" / "demo_avatar.py")
    recipe = importlib.util.module_from_spec(spec)
    sys.modules["demo_avatar"] = recipe  # dataclasses look there
    spec.loader.exec_module(recipe)
    speech, timeline, neutral_until = recipe.script()
    assert 40 < speech.clip.seconds < 75
    assert speech.phonemes[-1].end == pytest.approx(speech.clip.seconds, abs=0.05)
    assert float(speech.clip.samples[: round(recipe.IDLE_SECONDS * speech.clip.sample_rate)].abs().max()) == 0
    plan = parse_emotion(timeline)
    assert {key.label for key in plan.keys} == set(LABELS)
    assert min(key.seconds for key in plan.keys[1:]) == pytest.approx(neutral_until, abs=1e-3)
