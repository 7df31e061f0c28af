"""`realtalk actor`: what it writes, and how it refuses."""

import json
from pathlib import Path

import pytest
import torch

from realtalk_core.audio import read_audio, write_wav
from realtalk_core.capture import Capture
from realtalk_core.cli import run
from realtalk_core.types import AudioClip

QUICK = ("--seed", 3, "--size", 64, "--no-normals")
GOOD = [{"ipa": "h", "start": 0.0, "end": 0.1}, {"ipa": "ɑ", "start": 0.1, "end": 0.3}]


@pytest.fixture
def actor(tmp_path, capsys):
    """Runs the command, and returns its exit code, what it said and what it complained about."""

    def call(*words, out="out"):
        capsys.readouterr()
        code = run(["actor", "-o", str(tmp_path / out), *map(str, words)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def refuse(actor, tmp_path):
    """Runs what must be refused, and returns the one message."""

    def call(*words, out="out"):
        before = sorted(tmp_path.rglob("*"))
        code, said, complaint = actor(*words, out=out)
        assert code == 2, complaint
        assert said == ""
        assert "Traceback" not in complaint
        assert sorted(tmp_path.rglob("*")) == before
        return complaint

    return call


@pytest.fixture
def recording(tmp_path):
    """A sound of 0.4 s and the phonemes that are said in it."""
    write_wav(tmp_path / "speech.wav", AudioClip(0.2 * torch.sin(torch.arange(6400) * 0.05), 16000))
    (tmp_path / "phonemes.json").write_text(json.dumps(GOOD), "utf-8")
    return "--audio", tmp_path / "speech.wav", "--phonemes", tmp_path / "phonemes.json"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--seconds", "-1"), "--seconds -1 is outside"),
        (("--seconds", "0"), "--seconds 0 is outside"),
        (("--seconds", "nan"), "--seconds nan is outside"),
        (("--seconds", "soon"), "--seconds"),
        (("--seed", "-4"), "--seed"),
        (("--size", "8"), "--size"),
        (("--motion", "9"), "--motion"),
        (("--emotion", "hapy"), "did you mean 'happy'"),
        (("--emotion", "sad:2"), "outside 0 to 1"),
        (("--emotion", "sad:-0.1"), "outside 0 to 1"),
        (("--emotion", "happy@2 sad@1"), "does not come after"),
        (("--text", "  "), "the text to speak is empty"),
        (("--silent", "--text", "hello"), "--silent and --text contradict each other"),
        (("--silent", "--voice", "en-gb"), "--voice chooses a voice, but with --silent none speaks"),
        (("--set", "voice=espeek"), "espeek"),
        (("--voice", "xx-yy"), "xx-yy"),
        (("--audio", "speech.wav"), "--audio was given without --phonemes"),
        (("--phonemes", "p.json"), "--phonemes was given without --audio"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(refuse, words, message):
    assert message in refuse(*words)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("{}", "holds no list of phonemes"),
        ("[]", "holds no list of phonemes"),
        ("[3]", "phoneme 1 is 3"),
        ([*GOOD, {"ipa": "b", "start": 0.3}], "phoneme 3: end is null, not a time"),
        ([{"ipa": "b", "start": "0", "end": 1}], 'start is "0", not a time'),
        ([{"ipa": "b", "start": 0.2, "end": 0.1}], "ends at 0.1 s, before it starts"),
        ([*GOOD, {"ipa": "b", "start": 0.1, "end": 0.2}], "phoneme 3 starts at 0.1 s, before the one before it ends"),
        ([*GOOD, {"ipa": "b", "start": 0.3, "end": 2.0}], "phoneme 3 ends at 2 s, but"),
        ([{"ipa": "HH", "start": 0.0, "end": 0.1}], "'HH' has no sound that is known"),
    ],
)
def test_bad_phonemes_are_refused_by_number(refuse, recording, tmp_path, content, message):
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "phonemes.json").write_text(text, "utf-8")
    assert message in refuse(*recording)


def test_missing_recordings_are_refused(refuse, recording, tmp_path):
    assert "nowhere.json does not exist" in refuse(*recording[:3], tmp_path / "nowhere.json")
    assert "nowhere.wav" in refuse("--audio", tmp_path / "nowhere.wav", *recording[2:])
    assert "--set chooses a voice, but with --audio none speaks" in refuse(*recording, "--set", "voice=espeak")


def test_recorded_speech_is_performed_and_its_pauses_are_filled(actor, recording, tmp_path):
    code, said, complaint = actor(*QUICK, *recording)
    assert code == 0, complaint
    assert "realtalk train" in said
    capture = Capture.open(tmp_path / "out")
    assert len(capture) == 10
    assert torch.allclose(capture.audio.samples, read_audio(tmp_path / "speech.wav").samples, atol=1e-3)
    heard = json.loads((tmp_path / "out" / "phonemes.json").read_text("utf-8"))
    assert [p["ipa"] for p in heard] == ["h", "ɑ", ""]
    assert heard[-1]["end"] == pytest.approx(0.4)
    jaw = capture.tracks.blendshapes[:, 25]
    assert jaw[3:7].max() > jaw[9] + 0.1
    own = ("--audio", tmp_path / "out" / "audio.wav", "--phonemes", tmp_path / "out" / "phonemes.json")
    assert actor(*QUICK, *own, out="again")[0] == 0
    again = Capture.open(tmp_path / "again")
    assert torch.allclose(again.tracks.landmarks, capture.tracks.landmarks, atol=1e-3)


def test_silent_performance_becomes_a_capture_and_is_not_made_twice(actor, tmp_path):
    words = ("--silent", "--seconds", 0.12, *QUICK)
    assert actor(*words)[0] == 0
    capture = Capture.open(tmp_path / "out")
    assert len(capture) == 3
    assert capture.meta["job"]["actor"] == 3
    assert "done already" in actor(*words)[1]
    code, _, complaint = actor(*words, "--emotion", "happy")
    assert code == 2
    assert "made differently (emotion)" in complaint
    assert actor(*words, "--emotion", "happy", "--force")[0] == 0
    assert Capture.open(tmp_path / "out").meta["job"]["emotion"] == "happy"


def test_foreign_folders_and_files_are_left_alone_even_when_forced(refuse, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear", "utf-8")
    words = ("--silent", "--seconds", 0.1, *QUICK)
    for more in ((), ("--force",)):
        assert "is not empty and is no capture" in refuse(*words, *more, out="mine")
    assert "is a file, not a folder" in refuse(*words, out="mine/letter.txt")
    assert (tmp_path / "mine" / "letter.txt").read_text("utf-8") == "dear"


def test_nothing_is_left_when_the_disk_fills_up(actor, tmp_path, monkeypatch):
    write = Path.write_bytes

    def fail(self, data):
        if self.name == "000001.jpg":
            raise OSError(28, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", fail)
    code, _, complaint = actor("--silent", "--seconds", 0.2, *QUICK)
    assert code == 2
    assert "the disk is full" in complaint
    assert not list(tmp_path.iterdir())
