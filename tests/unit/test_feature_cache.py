"""What is kept of hearing a capture: found again, made again where anything differs, never in the way."""

import errno
import importlib
import shutil
import sys
from pathlib import Path

import pytest
import torch

from realtalk_core import checkpoint
from realtalk_core.audio import write_wav
from realtalk_core.capture import Capture
from realtalk_core.config import Selected
from realtalk_core.encoders import encoder_name
from realtalk_core.hearing import cache
from realtalk_core.hearing.cache import heard, kept_features, weights_of
from realtalk_core.hearing.prosody import prosody
from realtalk_core.testing.synthetic import make_capture, synthetic_clip
from realtalk_core.types import AudioFeatures

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))

from tiny_ears import SPECS, Ear, EarConfig, Learner, LearnerConfig


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return make_capture(tmp_path_factory.mktemp("capture") / "c", seconds=3.0, size=32).path


@pytest.fixture
def capture(drawn, tmp_path):
    shutil.copytree(drawn, tmp_path / "c")
    return Capture.open(tmp_path / "c")


@pytest.fixture
def listen(tmp_path):
    """Hears a capture with an ear; counts how often that took listening."""
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "weights.bin").write_bytes(b"some weights")

    def call(capture, prosody=(), remark=lambda _: None, **options):
        chosen = Selected(SPECS[0], EarConfig(folder=options.pop("folder", tmp_path / "w"), **options))
        Ear.heard = 0
        rows = heard(capture, chosen, Ear(chosen.config), prosody, remark=remark)
        return rows, Ear.heard > 0

    return call


def files(capture):
    return sorted(file.name for file in (capture.path / "features").iterdir())


def test_what_was_heard_is_found_again(capture, listen):
    first, fresh = listen(capture)
    again, anew = listen(capture)
    assert (fresh, anew) == (True, False)
    assert torch.equal(first.values, again.values)
    assert first.values.shape == (75, 2, 6)
    assert torch.equal(
        first.values, Ear(EarConfig(folder=capture.path.parent / "w")).encode(capture.audio, 25.0).values
    )
    header = checkpoint.read_header(capture.path / "features" / files(capture)[0])
    assert header.metrics["encoder"].startswith("ear:")
    assert header.metrics["fps"] == 25.0


def test_anything_that_numbers_depend_on_is_heard_anew(capture, listen, tmp_path):
    listen(capture)
    assert listen(capture, bands=7)[1]
    assert listen(capture, block_seconds=1.0)[1]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "weights.bin").write_bytes(b"other weights")
    assert listen(capture, folder=tmp_path / "other")[1]
    write_wav(capture.path / "audio.wav", synthetic_clip(3.0, seed=9))
    changed = Capture.open(capture.path)
    assert listen(changed)[1]
    assert len(files(capture)) == 5  # the earlier ones are left alone
    assert not listen(changed)[1]


def test_a_damaged_file_is_made_again(capture, listen):
    first, _ = listen(capture)
    (name,) = files(capture)
    file, said = capture.path / "features" / name, []
    for damage in (b"", b"nonsense", file.read_bytes()[:-7], file.read_bytes()[:-1] + b"\xff"):
        file.write_bytes(damage)
        again, fresh = listen(capture, remark=said.append)
        assert fresh
        assert torch.equal(first.values, again.values)
        assert not listen(capture)[1]
    assert len(said) == 4
    assert all("hearing the sound again" in sentence for sentence in said)
    assert files(capture) == [name]


def test_a_folder_that_may_not_be_written_to_costs_a_remark(capture, listen, monkeypatch):
    """Simulated, because the tests may run as root, who may write anywhere."""

    def denied(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    said = []
    rows, _ = listen(capture, remark=said.append)
    assert len(rows) == 75
    assert len(said) == 1
    assert "is not kept for the next time" in said[0]
    assert "Permission denied" in said[0]


def test_a_file_in_the_folders_place_costs_a_remark(capture, listen):
    (capture.path / "features").write_text("mine")
    said = []
    assert len(listen(capture, remark=said.append)[0]) == 75
    assert len(said) == 1
    assert (capture.path / "features").read_text() == "mine"


def test_prosody_is_kept_apart(capture, listen):
    asked = ("prosody:loudness",)
    first, _ = listen(capture, asked)
    plain, fresh = listen(capture)
    assert not fresh
    assert plain.prosody is None
    assert len(files(capture)) == 2
    again, _ = listen(capture, asked)
    assert torch.equal(first.prosody.loudness, prosody(capture.audio, 25.0, asked).loudness)
    assert torch.equal(first.prosody.loudness, again.prosody.loudness)
    assert again.prosody.f0 is None


def test_the_folder_stays_small(capture, listen, monkeypatch):
    monkeypatch.setattr(cache, "KEPT", 3)
    for bands in (2, 3, 4):
        listen(capture, bands=bands)
    listen(capture, bands=2)  # used last
    listen(capture, bands=5)
    assert [listen(capture, bands=bands)[1] for bands in (2, 5, 4)] == [False, False, False]
    assert listen(capture, bands=3)[1]


def test_what_is_kept_can_be_listed(capture, listen):
    assert kept_features(capture.path) == []
    listen(capture)
    (capture.path / "features" / "ear-0.safetensors").write_bytes(b"broken")
    kept = {facts["file"]: facts for facts in kept_features(capture.path)}
    assert kept.pop("ear-0.safetensors")["damaged"]
    (facts,) = kept.values()
    assert facts["encoder"].startswith("ear:")
    assert facts["megabytes"] > 0


class Windowed:
    """Without a stream; row k hears half a second to each side."""

    context_seconds = 0.5

    def __init__(self):
        self.longest = 0.0

    def encode(self, clip, fps):
        self.longest = max(self.longest, clip.seconds)
        step = round(clip.sample_rate / fps)
        level = torch.nn.functional.pad(clip.samples.square(), (12 * step, 13 * step)).unfold(0, 25 * step, step).sum(1)
        return AudioFeatures(level[: clip.frames(fps), None], fps)


def test_long_sound_is_heard_in_windows(drawn, tmp_path, monkeypatch):
    """By an encoder without a stream: the same rows as of the whole, which is never in memory."""
    shutil.copytree(drawn, tmp_path / "c")
    shutil.rmtree(tmp_path / "c" / "features", ignore_errors=True)
    capture, encoder, chosen = Capture.open(tmp_path / "c"), Windowed(), Selected(SPECS[0], EarConfig())
    whole = Windowed().encode(Capture.open(capture.path).audio, 25.0).values
    monkeypatch.setattr(cache, "LONG_SECONDS", 1.0)
    monkeypatch.setattr(cache, "WINDOW_SECONDS", 1.0)
    rows = heard(capture, chosen, encoder)
    assert torch.allclose(rows.values, whole, rtol=1e-5)
    assert encoder.longest <= 2.1
    assert "audio" not in vars(capture)


def test_an_encoder_whose_code_was_edited_hears_anew(capture, tmp_path, monkeypatch):
    """Its own module, or one beside it in its package; its package's version need not change."""
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("FACTOR = 2\n")
    code = "import torch\nfrom mine.helper import FACTOR\nfrom realtalk_core.types import AudioFeatures\n\n\n"
    code += "class Mine:\n    def encode(self, clip, fps):\n"
    code += "        return AudioFeatures(torch.full((clip.frames(fps), 1), 1.0 * FACTOR), fps)\n"
    (package / "ear.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    chosen = Selected(SPECS[0], EarConfig())

    def rows():
        for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        return heard(capture, chosen, importlib.import_module("mine.ear").Mine()).values[0].item()

    assert rows() == rows() == 2.0
    assert len(files(capture)) == 1
    (package / "helper.py").write_text("FACTOR = 3\n")
    assert rows() == 3.0
    (package / "ear.py").write_text(code.replace("1.0 *", "10.0 *"))
    assert rows() == 30.0
    assert len(files(capture)) == 3


def test_names_hold_what_changes_the_numbers(tmp_path):
    plain = encoder_name("ear", EarConfig())
    assert encoder_name("ear", EarConfig(folder=tmp_path, block_seconds=1.0)) == plain
    assert encoder_name("ear", EarConfig(bands=7)) != plain
    assert encoder_name("ear", EarConfig(), "ab" * 32) == plain + ":abababab"


def test_learnt_weights_are_known_by_their_numbers():
    one, same, other = (Learner(LearnerConfig(), torch.tensor(scale)) for scale in (0.5, 0.5, 0.6))
    assert weights_of(one) == weights_of(same) != weights_of(other)
    assert weights_of(object()) == ""
