"""An avatar hears the encoder it has learnt from, or says how to make it learn from another."""

import json
import os
import re
import shlex
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch
import yaml

from realtalk_core import checkpoint, plugins
from realtalk_core.audio import write_wav
from realtalk_core.avatar import Avatar, read_meta
from realtalk_core.cli import run
from realtalk_core.encoders import training_command
from realtalk_core.errors import UserError
from realtalk_core.pipeline import Pipeline
from realtalk_core.testing.avatar import tiny_config
from realtalk_core.testing.synthetic import make_capture, synthetic_clip

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))

import tiny_ears


@pytest.fixture(scope="module", autouse=True)
def _ears():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "entry_points", tiny_ears.installed_beside(plugins.entry_points))
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A capture, weights of an ear, speech, and an avatar trained on `mel`."""
    folder = tmp_path_factory.mktemp("made")
    make_capture(folder / "cap", seconds=3.0, size=48)
    (folder / "w").mkdir()
    (folder / "w" / "weights.bin").write_bytes(b"some weights")
    write_wav(folder / "speech.wav", synthetic_clip(0.2))
    part = {k: v for k, v in tiny_config(steps=4).to_dict().items() if k != "tracker"}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(part))
    assert run(["train", str(folder / "cap"), "-o", str(folder / "anna"), "-c", str(folder / "tiny.yaml")]) == 0
    return folder


@pytest.fixture
def at(made, tmp_path, monkeypatch):
    """A copy to work on, which is the working folder: commands in messages can be run as they are."""
    shutil.copytree(made, tmp_path / "at")
    monkeypatch.chdir(tmp_path / "at")
    return tmp_path / "at"


@pytest.fixture
def refuse(capsys):
    def call(*arguments):
        capsys.readouterr()
        assert run([str(a) for a in arguments]) == 2
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return said.err

    return call


def command(said, capture="cap"):
    """The command that a message recommends."""
    (found,) = re.findall(r"realtalk (train .*)$", said, re.MULTILINE)
    return found.replace("CAPTURE", capture).split()


def speak(*options):
    return ["synthesize", "anna", "--audio", "speech.wav", "-o", "x.mp4", *options]


def records(folder="anna"):
    """What each stage says it has learnt from, in `avatar.yaml` and in its checkpoint."""
    entries = {stage: entry.get("encoder") for stage, entry in read_meta(Path(folder))["stages"].items()}
    files = {f.stem: checkpoint.read_header(f).metrics.get("encoder") for f in Path(folder).glob("*.safetensors")}
    files.pop("person")
    return entries, files


EAR = ("--set", "audio=ear", "--set", "audio.folder=w")


def test_only_what_listens_records_its_encoder(made):
    entries, files = records(made / "anna")
    assert {stage for stage, name in entries.items() if name} == {"landmarks"}
    assert entries["landmarks"] == files.pop("landmarks") == "mel:5c2f1d95"
    assert set(files.values()) == {None}


def test_another_encoder_is_refused_until_what_listens_has_learnt_from_it(at, refuse, capsys):
    said = refuse(*speak(*EAR))
    assert "its landmarks learnt from the audio encoder mel:5c2f1d95, and would hear ear:" in said
    assert "Leave out --set audio=ear --set audio.folder=w" in said
    again = command(said)
    assert again == ["train", "cap", "-o", "anna", "--stage", "audio", "--stage", "landmarks", *EAR]
    assert not Path("x.mp4").exists()
    assert run(speak()) == 0
    before = checkpoint.digest("anna/renderer.safetensors")
    assert run(again) == 0
    assert checkpoint.digest("anna/renderer.safetensors") == before
    assert records()[0]["landmarks"].startswith("ear:")
    assert run(speak()) == 0

    capsys.readouterr()
    assert run(["inspect", "anna", "--json"]) == 0
    hears = json.loads(capsys.readouterr().out)["hears"]
    assert hears["learnt_from"] == {"landmarks": records()[0]["landmarks"]}
    assert hears["learnt_from"]["landmarks"].startswith(hears["encoder"])
    assert "its landmarks learnt from the audio encoder ear:" in refuse(*speak("--set", "audio=mel"))

    # the folder may move, and work may be cut otherwise
    Path("w").rename("elsewhere")
    assert "no weights.bin" in refuse(*speak())
    assert run(speak("--set", "audio.folder=elsewhere", "--set", "audio.block_seconds=1")) == 0
    # but other weights in it are another encoder
    Path("elsewhere/weights.bin").write_bytes(b"other weights")
    said = refuse(*speak("--set", "audio.folder=elsewhere"))
    assert "learnt from 'ear' with weights" in said
    assert "Put back the weights that it was trained with" in said
    assert run(["evaluate", "anna", "cap", "--frames", "1"]) == 2
    Path("elsewhere").rename("w")
    said = refuse(*speak())
    assert command(said) == ["train", "cap", "-o", "anna", "--stage", "landmarks"]
    assert run(command(said)) == 0
    assert run(speak()) == 0
    assert run(["evaluate", "anna", "cap", "--frames", "1"]) == 0


def test_other_parameters_are_another_encoder(at, refuse):
    said = refuse(*speak("--set", "audio.n_mels=16"))
    assert command(said)[-4:] == ["--stage", "landmarks", "--set", "audio.n_mels=16"]


@pytest.mark.parametrize("stages", [["audio"], ["landmarks"], ["renderer"]])
def test_training_half_of_it_is_refused_before_anything_changes(at, refuse, stages):
    files = {f: f.read_bytes() for f in Path("anna").iterdir() if f.is_file()}
    flags = [word for stage in stages for word in ("--stage", stage)]
    said = refuse("train", "cap", "-o", "anna", *flags, *EAR)
    expected = ["audio", "landmarks", *(["renderer"] if "renderer" in stages else [])]
    assert [word for word in command(said) if word in ("audio", "landmarks", "emotion", "renderer")] == expected
    assert command(said)[-4:] == list(EAR)
    assert {f: f.read_bytes() for f in Path("anna").iterdir() if f.is_file()} == files


def test_a_file_that_names_another_encoder_is_not_ignored(at, refuse):
    Path("ear.yaml").write_text("version: 1\npipeline: {audio: {use: ear, params: {folder: w}}}\n")
    said = refuse("train", "cap", "-o", "anna", "--stage", "landmarks", "-c", "ear.yaml")
    assert "the stage audio is not among those to be trained" in said
    assert command(said) == ["train", "cap", "-o", "anna", "--stage", "audio", "--stage", "landmarks", "-c", "ear.yaml"]


def test_a_preset_that_names_another_encoder_is_not_ignored(at, refuse):
    """Nor one that gives it other parameters; what it says of encoders that the avatar has not is no word about it."""
    Path("mine.yaml").write_text(
        "version: 1\npresets:\n"
        "  other: {pipeline: {audio: {use: ear, params: {folder: w}}}}\n"
        "  finer: {pipeline: {audio: {when: mel, params: {n_mels: 16}}}}\n"
        "  away: {pipeline: {audio: {when: ear, params: {bands: 3}}, emotion: {when: ldm, params: {steps: 2}}}}\n"
    )
    train = ("train", "cap", "-o", "anna", "--stage", "emotion", "-c", "mine.yaml", "--preset")
    assert "would be ear, not mel" in refuse(*train, "other")
    said = refuse(*train, "finer")
    assert "(mel) have other parameters" in said
    assert command(said)[4:] == [
        *("--stage", "audio", "--stage", "landmarks", "--stage", "emotion", "-c", "mine.yaml", "--preset", "finer")
    ]
    assert run([*train, "away"]) == 0


def test_a_stage_that_does_not_listen_is_trained_without_its_encoder(at, refuse):
    """Alone or with those that listen it learns the same, so that either goes on where the other stopped."""
    listeners = ("--stage", "audio", "--stage", "landmarks")
    assert run(["train", "cap", "-o", "anna", *listeners, "--stage", "emotion", *EAR]) == 0
    weights = checkpoint.load("anna/emotion.safetensors")[1]
    Path("w").rename("elsewhere")
    tiny_ears.Ear.heard = 0
    assert run(["train", "cap", "-o", "anna", "--stage", "emotion", "--resume"]) == 0
    assert run(["train", "cap", "-o", "anna", "--stage", "emotion"]) == 0
    assert tiny_ears.Ear.heard == 0
    again = checkpoint.load("anna/emotion.safetensors")[1]
    assert all(torch.equal(again[name], tensor) for name, tensor in weights.items())
    assert "no weights.bin" in refuse("train", "cap", "-o", "anna", "--stage", "landmarks")


def test_a_training_that_cannot_begin_leaves_the_avatar_as_it_was(at, refuse):
    text = Path("anna/avatar.yaml").read_text()
    both = ("--stage", "audio", "--stage", "landmarks")
    assert "no weights.bin" in refuse("train", "cap", "-o", "anna", *both, "--set", "audio=ear")
    prior = refuse("train", "cap", "-o", "anna", *both, *EAR, "--set", "landmarks.prior=nowhere.safetensors")
    assert "nowhere.safetensors" in prior
    assert Path("anna/avatar.yaml").read_text() == text
    assert run(speak()) == 0


def test_an_avatar_without_a_record_has_learnt_from_what_its_file_names(at, refuse):
    meta = read_meta(Path("anna"))
    meta["stages"] = {stage: {k: v for k, v in e.items() if k != "encoder"} for stage, e in meta["stages"].items()}
    header, tensors = checkpoint.load("anna/landmarks.safetensors")
    header.metrics.pop("encoder")
    checkpoint.save("anna/landmarks.safetensors", header, tensors)
    Path("anna/avatar.yaml").write_text(yaml.safe_dump(meta))
    assert run(speak()) == 0
    assert "its landmarks learnt from the audio encoder mel:5c2f1d95" in refuse(*speak(*EAR))


def test_parameters_that_an_encoder_gets_later_do_not_make_it_another(at):
    meta = read_meta(Path("anna"))
    del meta["config"]["pipeline"]["audio"]["params"]["pitch"]  # as if it had come since
    from realtalk_core.encoders import _written

    meta["stages"]["landmarks"]["encoder"] = _written(meta, plugins.discover())
    header, tensors = checkpoint.load("anna/landmarks.safetensors")
    header.metrics["encoder"] = meta["stages"]["landmarks"]["encoder"]
    assert header.metrics["encoder"] != "mel:5c2f1d95"
    checkpoint.save("anna/landmarks.safetensors", header, tensors)
    Path("anna/avatar.yaml").write_text(yaml.safe_dump(meta))
    assert run(speak()) == 0


def test_every_stage_that_listens_is_named(at, refuse):
    """A renderer that listens, too; and both before either."""
    sets = ["renderer=gaussian", "renderer.condition=both", "renderer.size=32", "renderer.steps=2"]
    flags = [word for text in sets for word in ("--set", text)]
    assert run(["train", "cap", "-o", "anna", "--stage", "renderer", *flags]) == 0
    assert records()[0]["renderer"] == "mel:5c2f1d95"
    said = refuse(*speak(*EAR))
    assert "its landmarks and renderer learnt from" in said
    both = ["--stage", "audio", "--stage", "landmarks", "--stage", "renderer"]
    assert command(said) == ["train", "cap", "-o", "anna", *both, *EAR]
    said = refuse("train", "cap", "-o", "anna", "--stage", "audio", "--stage", "landmarks", *EAR)
    assert "its renderer learnt from the audio encoder mel:5c2f1d95 and would be left to hear ear:" in said
    assert command(said) == ["train", "cap", "-o", "anna", *both, *EAR]
    assert records()[0]["landmarks"] == "mel:5c2f1d95"


def test_an_encoder_that_learns(at, refuse, capsys):
    """Its features are named with its weights; training it alone is refused, and a copy keeps the name."""
    learner = ("--set", "audio=learner")
    both = ("--stage", "audio", "--stage", "landmarks")
    assert run(["train", "cap", "-o", "anna", *both, *learner]) == 0
    name = records()[0]["landmarks"]
    assert re.fullmatch(r"learner:[0-9a-f]{8}:[0-9a-f]{8}", name)
    assert checkpoint.read_header("anna/audio.safetensors").metrics["step"] == 3
    assert run(speak()) == 0
    said = refuse("train", "cap", "-o", "anna", "--stage", "audio")
    assert "with new weights, whose features have another meaning" in said
    assert command(said) == ["train", "cap", "-o", "anna", *both]

    assert run(["compact", "anna", "-o", "small", "--seconds", "1"]) == 0
    assert run(["synthesize", "small", "--audio", "speech.wav", "-o", "y.mp4"]) == 0

    header, tensors = checkpoint.load("anna/audio.safetensors")  # as if it came from another avatar
    checkpoint.save("anna/audio.safetensors", header, {"scale": tensors["scale"] + 1})
    with pytest.raises(UserError, match="learnt from 'learner' with weights"):
        Pipeline.from_avatar(Avatar.open("anna", plugins.discover()), device="cpu")
    said = refuse(*speak())
    assert command(said) == ["train", "cap", "-o", "anna", "--stage", "landmarks"]
    assert run(command(said)) == 0
    assert run(speak()) == 0
    assert records()[0]["landmarks"] != name
    capsys.readouterr()
    assert run(["inspect", "cap", "--json"]) == 0
    kept = json.loads(capsys.readouterr().out)["features"]
    assert {facts["encoder"].split(":")[0] for facts in kept} >= {"mel", "learner"}


def test_a_stage_under_training_says_what_it_learns_from(at, refuse):
    """Interrupted: its checkpoint is of the new encoder, whatever `avatar.yaml` still says of it."""
    from realtalk_core.cli.progress import Bars

    shown = Bars.__call__

    def press(self, what, done, total, metrics=None):
        shown(self, what, done, total, metrics)
        if (what, done) == ("landmarks", 2):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bars, "__call__", press)
        assert run(["train", "cap", "-o", "anna", "--stage", "audio", "--stage", "landmarks", *EAR]) == 130
    entries, files = records()
    assert entries["landmarks"].startswith("mel:")
    assert files["landmarks"].startswith("ear:")
    assert "would hear mel:" in refuse(*speak("--set", "audio=mel"))
    assert run(["train", "cap", "-o", "anna", "--stage", "audio", "--stage", "landmarks", "--resume"]) == 0
    assert records()[0]["landmarks"] == files["landmarks"]
    assert run(speak()) == 0


def test_a_package_or_a_model_that_is_missing_is_named(at, refuse, monkeypatch):
    """The avatar came from a machine that has it."""
    assert run(["train", "cap", "-o", "anna", "--stage", "audio", "--stage", "landmarks", *EAR]) == 0
    shutil.rmtree("w")
    assert "audio.folder: no weights.bin there" in refuse(*speak())
    absent = tiny_ears.declare.audio_encoder(
        "ear", summary="An ear.", api=1, config=tiny_ears.EarConfig, load=lambda: tiny_ears.Ear,
        requires=("no_such_module",), extra="realtalk[ears]",
    )  # fmt: skip
    monkeypatch.setattr(tiny_ears, "SPECS", [absent, tiny_ears.SPECS[1]])
    said = refuse(*speak())
    assert "audio 'ear' needs no_such_module, which is not installed" in said
    assert 'pip install "realtalk[ears]"' in said


def test_the_command_can_be_run_where_paths_have_blanks():
    folder, capture = Path("my avatars/anna"), Path("my capture")
    command = training_command(folder, ("audio", "landmarks"), ("audio=mel",), capture)
    assert shlex.split(command) == [
        "realtalk", "train", str(capture), "-o", str(folder), "--stage", "audio", "--stage", "landmarks",
        "--set", "audio=mel",
    ]  # fmt: skip
