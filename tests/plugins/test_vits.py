"""The VITS voice on tiny random weights, loaded the way a real model is; skipped where the extra is not installed."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

pytest.importorskip("transformers", reason="needs the extra realtalk[vits]")
sys.path.insert(0, str(Path(__file__).parent))

import tiny_vits

from realtalk_core.errors import MissingDependencyError, UserError
from realtalk_core.plugins import discover
from realtalk_core.testing import run_conformance
from realtalk_core.voice import ManyVoices, Voice, speak
from realtalk_vits import VitsConfig
from realtalk_vits.letters import sounds
from realtalk_vits.voice import PAUSE_SECONDS, VitsVoice

REVISION = "0123456789" * 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_vits.save(tmp_path_factory.mktemp("vits") / "tiny")


@pytest.fixture(scope="module")
def voice(folder):
    return VitsVoice(VitsConfig(folder=folder))


@pytest.fixture
def copy(tmp_path):
    return tiny_vits.save(tmp_path / "copy")


def said(speech):
    return [p.ipa for p in speech.phonemes if p.ipa]


def test_phonemes_last_as_long_as_the_model_predicts(voice):
    """The predictor is asked again here, letter by letter; a blank's time belongs half to each side."""
    assert isinstance(voice, Voice)
    speech = voice.speak("bad cat")
    assert said(speech) == ["b", "æ", "d", "k", "æ", "t"]
    model, ids = voice._model, voice._tokenizer("bad cat", return_tensors="pt")["input_ids"]
    heard = []
    hook = model.duration_predictor.register_forward_hook(lambda _, __, out: heard.append(out))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        wave = model(input_ids=ids).waveform[0]
    hook.remove()
    frames = torch.ceil(torch.exp(heard[0])).flatten().double() * 16 / 1600
    assert torch.equal(wave.clamp(-1, 1), speech.clip.samples)
    assert float(frames.sum()) == pytest.approx(speech.clip.seconds)
    starts = frames.cumsum(0) - frames
    edges = [float(starts[k] + frames[k] / 2) for k in (2, 4)]  # the blanks after b and after a
    assert [speech.phonemes[1].end, speech.phonemes[2].end] == pytest.approx(edges)
    assert speech.phonemes[0].ipa == ""
    assert speech.phonemes[0].end == pytest.approx(float(frames[0]))


@pytest.mark.parametrize("options", [{"stochastic": True}, {"speakers": 3}, {"add_blank": False}], ids=str)
def test_every_kind_of_model_speaks(tmp_path, options):
    voice = VitsVoice(VitsConfig(folder=tiny_vits.save(tmp_path / "m", **options)))
    speech = voice.speak("The knight came home.")
    assert said(speech) == ["θ", "ɛ", "k", "n", "aɪ", "t", "k", "æ", "m", "h", "ɒ", "m"]
    assert speech.phonemes[-1].end == pytest.approx(speech.clip.seconds)
    assert isinstance(voice, ManyVoices)
    assert len(voice.voices()) == options.get("speakers", 1)


def test_speakers_differ(tmp_path):
    folder = tiny_vits.save(tmp_path / "m", speakers=2)
    first, second = (VitsVoice(VitsConfig(folder=folder, voice=k)).speak("home").clip.samples for k in (0, 1))
    assert first.shape != second.shape or not torch.equal(first, second)
    with pytest.raises(UserError, match="2 is no speaker of the VITS model m"):
        VitsVoice(VitsConfig(folder=folder, voice=2))


def test_the_seed_decides_and_nothing_else(tmp_path):
    folder = tiny_vits.save(tmp_path / "m", stochastic=True)

    def wave(**more):
        return VitsVoice(VitsConfig(folder=folder, **more)).speak("home again").clip.samples

    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = wave()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    assert torch.equal(wave(), first)
    other = wave(seed=1)
    assert other.shape != first.shape or not torch.equal(other, first)
    still = wave(noise_scale=0.0, noise_scale_duration=0.0)
    assert torch.equal(wave(noise_scale=0.0, noise_scale_duration=0.0, seed=1), still)


def test_speaking_rate(folder, voice):
    fast = VitsVoice(VitsConfig(folder=folder, speaking_rate=4.0)).speak("a rather long sentence")
    assert fast.clip.seconds < 0.6 * voice.speak("a rather long sentence").clip.seconds
    assert said(fast) == said(voice.speak("a rather long sentence"))


def test_sentences_are_spoken_one_by_one_with_a_pause(voice):
    parts = [voice.speak(text) for text in ("Come home.", "Do!")]
    both = voice.speak("Come home. Do!")
    assert both.clip.seconds == pytest.approx(sum(p.clip.seconds for p in parts) + PAUSE_SECONDS)
    assert said(both) == said(parts[0]) + said(parts[1])
    long = voice.speak("again and again, " * 60)
    assert said(long) == said(voice.speak("again and again")) * 60


def test_conformance(folder):
    class Tiny(VitsConfig):
        @classmethod
        def tiny(cls):
            return cls(folder=folder)

    plugins = discover()
    spec = dataclasses.replace(plugins.find("voice", "vits"), config=Tiny)
    report = run_conformance("voice/vits", dataclasses.replace(plugins, specs=(spec,)))
    assert report.ok, "\n".join(r.message for r in report.results if r.outcome == "failed")
    assert {r.id for r in report.results if r.outcome == "passed"} >= {"output/repeatable", "voice/any-text"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("...", "can speak nothing of '...'"),
        ("room 42", "cannot speak '4'\n  Write numbers"),
        ("up 5 %", "cannot speak '5'"),
        ("you & me", "cannot speak '&'\n  Write numbers and signs as words"),
        ("hello 😀", "cannot speak '😀'"),
        ("привет", "cannot speak 'п'\n  Choose a model of the text's language; this one knows abcdef"),
        ("你好", "cannot speak '你'"),
    ],
)
def test_what_it_cannot_speak_is_named_and_never_left_out(voice, text, words):
    with pytest.raises(UserError) as caught:
        speak(voice, text)
    assert words in str(caught.value)


def test_accents_quotes_and_dashes_are_no_obstacle(voice):
    assert said(speak(voice, "A naïve “café” — rock’n’roll")) == said(speak(voice, "a naive cafe rock'n'roll"))


@pytest.mark.parametrize(
    ("word", "language", "ipa"),
    [
        ("things", "eng", "θ ɪ ŋ s"), ("night", "eng", "n aɪ t"), ("home", "eng", "h ɒ m"), ("cent", "eng", "s ɛ n t"),
        ("yellow", "eng", "j ɛ l oʊ"), ("bee", "eng", "b i"), ("the", "eng", "θ ɛ"), ("schön", "deu", "ʃ ø n"),
        ("happy", "eng", "h æ p i"), ("ñandú", "spa", "ɲ a n d u"), ("мама", None, "m a m a"),
        ("μπορω", None, "b o r o"), ("가", None, "ɡa"), ("мёд", "rus", "m jo d"), ("नम", None, "na ma"),
        ("かむ", None, "ka mu"), ("שם", None, "ʃ m"), ("بم", None, "b m"), ("ɛŋ", None, "ɛ ŋ"),
    ],
)  # fmt: skip
def test_letters_to_rough_ipa(word, language, ipa):
    found = sounds(word, language)
    assert sum(count for _, count in found) == len(word)
    assert " ".join(sound for sound, _ in found if sound) == ipa


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": "a/b"}, "belong together"),
        ({"revision": REVISION}, "belong together"),
        ({"model": "a/b", "revision": "main"}, "no commit"),
        ({"model": "../evil", "revision": REVISION, "folder": "x"}, "both name a model"),
        ({"model": "just-a-name", "revision": REVISION}, "not of the form OWNER/NAME"),
        ({"speaking_rate": 0.0}, "greater than"),
        ({"voice": -1}, "greater than"),
    ],
)
def test_wrong_parameters(values, words):
    with pytest.raises(ValidationError, match=words):
        VitsConfig(**values)


def test_no_model_is_named():
    with pytest.raises(MissingDependencyError, match=r"none ships with RealTalk\n.*voice\.folder=FOLDER"):
        VitsVoice(VitsConfig())


def test_a_model_that_cannot_be_downloaded_names_command_and_folder(monkeypatch, tmp_path):
    import huggingface_hub

    def offline(*_, **__):
        raise ConnectionError("Name or service not known")

    monkeypatch.setenv("REALTALK_MODELS", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda **_: (_ for _ in ()).throw(FileNotFoundError()))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", offline)
    with pytest.raises(MissingDependencyError) as caught:
        VitsVoice(VitsConfig(model="someone/some-model", revision=REVISION))
    said = str(caught.value)
    assert "someone/some-model (revision 012345678901)" in said
    assert "Name or service not known" in said
    folder = tmp_path / "someone--some-model"
    assert f"hf download someone/some-model --revision {REVISION} --local-dir {folder}\n" in said
    assert "--set voice.folder=" in said
    tiny_vits.save(folder)
    assert VitsVoice(VitsConfig(model="someone/some-model", revision=REVISION)).voices()


def test_a_model_from_the_hub_is_fetched_pinned_and_without_code(monkeypatch, folder):
    import huggingface_hub

    asked = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda **wanted: asked.append(wanted) or str(folder))
    voice = VitsVoice(VitsConfig(model="someone/some-model", revision=REVISION))
    assert said(voice.speak("home"))
    assert asked[0]["revision"] == REVISION
    assert not [name for name in asked[0]["allow_patterns"] if not name.endswith((".json", ".safetensors"))]


def change(folder, name, **values):
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | values), "utf-8")


def test_folders_that_hold_no_vits_model(copy, tmp_path):
    def complaint(folder=copy):
        with pytest.raises(UserError) as caught:
            VitsVoice(VitsConfig(folder=folder))
        return str(caught.value)

    assert "nowhere does not exist" in complaint(tmp_path / "nowhere")
    assert "config.json is a file" in complaint(copy / "config.json")
    change(copy, "config.json", model_type="bert")
    assert "holds a model of type 'bert', not 'vits'" in complaint()
    change(copy, "config.json", model_type="vits")
    weights = copy / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[: len(data) // 2])
    assert "cannot be loaded" in complaint()
    weights.rename(copy / "pytorch_model.bin")
    assert "weights in pickle files are not read" in complaint()
    (copy / "vocab.json").unlink()
    assert "it lacks vocab.json" in complaint()


def test_weights_that_are_missing_or_of_another_shape(copy):
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy / "model.safetensors")
    name = next(n for n in tensors if n.startswith("decoder."))
    save_file({k: v for k, v in tensors.items() if k != name}, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 of the model's weights, such as decoder\."):
        VitsVoice(VitsConfig(folder=copy))
    kept = {k: v for k, v in tensors.items() if not k.startswith("posterior_encoder.")}
    save_file(kept, copy / "model.safetensors", {"format": "pt"})
    assert said(VitsVoice(VitsConfig(folder=copy)).speak("home"))  # speaking does not use it
    save_file({**tensors, name: torch.zeros(2)}, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="cannot be loaded"):
        VitsVoice(VitsConfig(folder=copy))


def test_weights_of_nan_are_named(copy):
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy / "model.safetensors")
    broken = {k: v * float("nan") if k.startswith("decoder.") else v for k, v in tensors.items()}
    save_file(broken, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="gives no sound but NaN"):
        VitsVoice(VitsConfig(folder=copy)).speak("home")


def test_a_model_of_phonemes_without_its_converter_names_the_install_line(tmp_path, monkeypatch):
    voice = VitsVoice(VitsConfig(folder=tiny_vits.save(tmp_path / "m", phonemize=True)))

    def absent(*_, **__):
        raise ImportError("VitsTokenizer requires the phonemizer library")

    monkeypatch.setattr(voice._tokenizer, "prepare_for_tokenization", absent)
    with pytest.raises(MissingDependencyError, match=r"phonemizer library.*\n.*pip install phonemizer espeakng-loader"):
        voice.speak("home")


def test_a_model_of_phonemes_gives_them_as_they_are(tmp_path, monkeypatch):
    voice = VitsVoice(VitsConfig(folder=tiny_vits.save(tmp_path / "m", "_ ˈːhəlowdɹ", phonemize=True)))
    monkeypatch.setattr(voice._tokenizer, "prepare_for_tokenization", lambda *_, **__: ("həlˈoː wˈəɹld", {}))
    speech = voice.speak("hello world")
    assert said(speech) == list("həlowəɹld")
    assert speech.phonemes[-1].end == pytest.approx(speech.clip.seconds)
