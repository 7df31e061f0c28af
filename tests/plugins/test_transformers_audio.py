"""The encoders hubert, wav2vec2 and whisper on tiny random weights, loaded the way real models are.

`test_conformance_builtin.py` runs the whole conformance kit on each.
"""

import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

pytest.importorskip("transformers", reason="needs the extra realtalk[transformers]")
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))

import tiny_audio
import transformers
from pretend_device import Pretended, pretending

from realtalk_core.errors import MissingDependencyError, UserError
from realtalk_core.hearing import open_stream
from realtalk_core.stages import Movable
from realtalk_core.testing.speech import synthetic_clip
from realtalk_core.types import AudioClip
from realtalk_transformers import PINNED, HubertConfig, Wav2Vec2Config, WhisperConfig
from realtalk_transformers.waveform import HubertEncoder, Wav2Vec2Encoder, span
from realtalk_transformers.whisper import WhisperEncoder

FPS = 25.0
REVISION = "0123456789" * 4
ENCODERS = {
    "hubert": (HubertEncoder, HubertConfig),
    "wav2vec2": (Wav2Vec2Encoder, Wav2Vec2Config),
    "whisper": (WhisperEncoder, WhisperConfig),
}
SAVE = {
    "hubert": lambda folder: tiny_audio.waveform(folder, **tiny_audio.LARGE),
    "wav2vec2": lambda folder: tiny_audio.waveform(folder, "Wav2Vec2", **tiny_audio.LARGE),
    "whisper": lambda folder: tiny_audio.whisper(folder, positions=1500),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("audio")
    for name, save in SAVE.items():
        save(place / name)
    return place


@pytest.fixture(scope="module")
def speech():
    return synthetic_clip(9.3, 16_000, seed=2)


def encoder(name, folder, **options):
    kind, config = ENCODERS[name]
    return kind(config(folder=folder, **options))


def stretch(speech, rows=60):
    return speech.samples[: (rows - 1) * 320 + 400]


@pytest.mark.parametrize("family", ["Hubert", "Wav2Vec2"])
@pytest.mark.parametrize("shape", [{}, tiny_audio.LARGE], ids=["base", "large"])
@pytest.mark.parametrize("head", ["Model", "ForCTC"])
def test_any_checkpoint_gives_the_hidden_states_that_transformers_gives(tmp_path, speech, family, shape, head):
    whole = tiny_audio.waveform(tmp_path / "m", family, head, **shape)
    model = getattr(whole, family.lower()) if head == "ForCTC" else whole
    prepared = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)(
        stretch(speech).numpy(), sampling_rate=16_000, return_tensors="pt"
    )
    with torch.no_grad():
        theirs = model(prepared.input_values, output_hidden_states=True)
    for layer in (-1, 0, 1, 2, 3):
        ours = encoder(family.lower(), tmp_path / "m", layer=layer).rows(stretch(speech))
        wanted = theirs.last_hidden_state if layer in (-1, 3) else theirs.hidden_states[layer]
        torch.testing.assert_close(ours, wanted[0], atol=2e-3, rtol=0)  # the floor under the level moves it this much


@pytest.mark.parametrize("head", ["ForConditionalGeneration", "Model"])
def test_whisper_of_any_head_gives_the_hidden_states_that_transformers_gives(tmp_path, speech, head):
    whole = tiny_audio.whisper(tmp_path / "m", head, bands=128, positions=256)
    theirs = (whole if head == "Model" else whole.model).encoder
    for layer in (-1, 0, 2, 3):
        ours = encoder("whisper", tmp_path / "m", layer=layer, block_seconds=3.0, margin_seconds=1.0)
        spectrum = ours._spectrum(stretch(speech, 100), 512)
        with torch.no_grad():
            found = theirs(spectrum[None], output_hidden_states=True)
        wanted = found.last_hidden_state if layer in (-1, 3) else found.hidden_states[layer]
        torch.testing.assert_close(ours.rows(stretch(speech, 100)), wanted[0, :100], atol=1e-6, rtol=0)


def test_whispers_spectrum_is_the_published_one(folders, speech):
    """Theirs has its first frame around the first sample, half a window before ours."""
    ours = encoder("whisper", folders / "whisper")._spectrum(stretch(speech, 200), 3000)
    extractor = transformers.WhisperFeatureExtractor(feature_size=80)
    later = torch.cat([torch.zeros(120), stretch(speech, 200)])  # now their frame 2 is our frame 0, to the sample
    theirs = extractor(later.numpy(), sampling_rate=16_000, return_tensors="pt").input_features[0]
    real = 2 * 200 - 1
    difference = (ours[:, :real] - theirs[:, 2 : real + 2]).abs()
    assert difference.max() < 2e-3


@pytest.mark.parametrize(
    ("kernels", "strides"),
    [([10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2]), ([10, 3, 2], [5, 4, 2]), ([7, 4], [3, 5])],
)
def test_each_row_spans_what_the_convolutions_say(tmp_path, kernels, strides):
    """The gradient of a row is zero outside its span, and not at both its ends."""
    layers = {"conv_dim": (16,) * len(kernels), "conv_kernel": kernels, "conv_stride": strides, **tiny_audio.LARGE}
    model = tiny_audio.waveform(tmp_path / "m", **layers, normalise=False)
    made = encoder("hubert", tmp_path / "m")
    assert (made.hop, made.kernel) == span(kernels, strides)
    samples = torch.randn(6 * made.hop + made.kernel, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = model.feature_extractor(samples[None])[0]
    assert found.shape[1] == 7 == len(made.rows(samples.detach()))
    found[:, 3].square().sum().backward()
    heard = samples.grad.nonzero()[:, 0]
    assert (int(heard[0]), int(heard[-1])) == (3 * made.hop, 3 * made.hop + made.kernel - 1)


@pytest.mark.parametrize("name", ENCODERS)
def test_blocks_against_one_pass_over_the_file(folders, speech, name):
    """What cutting costs, relative to how much features vary; random attention is nearly even over all that is heard.

    Whisper's features also tell where in its 30 s they lie, which differs by nature: its places are silenced here. And
    how much of the 30 s is silence differs.
    """

    def heard(**options):
        made = encoder(name, folders / name, **options)
        if name == "whisper":
            made._positions = torch.zeros_like(made._positions)
        return made.encode(speech, FPS).values

    whole = heard(block_seconds=20.0)
    pieces = heard(block_seconds=2.0, margin_seconds=2.5)
    assert pieces.shape == whole.shape == (speech.frames(FPS), 2, 32)
    error = (pieces - whole).square().mean().sqrt() / (whole - whole.mean((0, 1))).square().mean().sqrt()
    assert 0 < error < (0.3 if name == "whisper" else 0.1)


@pytest.mark.parametrize("name", ENCODERS)
def test_pieces_of_200_ms_give_the_same_rows(folders, speech, name):
    made = encoder(name, folders / name, block_seconds=1.0, margin_seconds=0.5)
    whole = made.encode(speech, 29.97).values
    stream = open_stream(made, 16_000, 29.97)
    parts = [stream.feed(piece) for piece in speech.samples.split(3200)]
    parts = [part for part in (*parts, stream.close()) if len(part)]
    assert torch.equal(torch.cat(parts), whole)
    assert len(parts) > 5
    assert 1.5 < stream.lookahead_seconds < 1.7


@pytest.mark.parametrize("name", ENCODERS)
def test_silence_and_quiet_noise_are_not_lifted_to_speech(folders, speech, name, monkeypatch):
    made = encoder(name, folders / name)
    heard = []
    kind = type(made._model)
    forward = kind.forward

    def listen(model, values, *rest, **more):
        heard.append(values)
        return forward(model, values, *rest, **more)

    monkeypatch.setattr(kind, "forward", listen)
    noise = torch.randn(48_000, generator=torch.Generator().manual_seed(1))
    levels = {}
    for sound, samples in {"silence": 0 * noise, "noise": 1e-5 * noise, "speech": speech.samples[:48_000]}.items():
        values = made.encode(AudioClip(samples, 16_000), FPS).values
        assert torch.isfinite(values).all()
        levels[sound] = float(heard[-1].max() if name == "whisper" else heard[-1].std())
    if name == "whisper":  # normalised decades of power: speech reaches above 0.5
        assert levels["silence"] <= levels["noise"] < -0.3 < 0.5 < levels["speech"]
    else:
        assert levels["silence"] == 0
        assert levels["noise"] < 0.02
        assert 0.9 < levels["speech"] <= 1.001


@pytest.mark.parametrize("name", ENCODERS)
def test_a_model_that_is_not_there_names_command_and_folder(name, monkeypatch, tmp_path):
    kind, config = ENCODERS[name]
    monkeypatch.setenv("REALTALK_OFFLINE", "1")
    monkeypatch.setenv("REALTALK_MODELS", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    model = config().model
    with pytest.raises(MissingDependencyError) as caught:
        kind(config())
    folder = tmp_path / model.replace("/", "--")
    assert f"hf download {model} --revision {PINNED[model]} --local-dir {folder}\n" in str(caught.value)
    SAVE[name](folder)
    assert kind(config()).encode(AudioClip(torch.zeros(8000), 16_000), FPS).values.shape == (12, 2, 32)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_model_of_another_kind_names_the_encoder_that_takes_it(folders, name):
    for other in ENCODERS:
        if other != name:
            with pytest.raises(UserError, match=f"type '{other}', not '{name}'\n.* or choose --set audio={other}"):
                encoder(name, folders / other)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_layer_that_the_model_does_not_have(folders, name):
    with pytest.raises(UserError, match=r"audio.layer: 4 is beyond the last layer of .*, which has 3\n  Choose 0 to 3"):
        encoder(name, folders / name, layer=4)


@pytest.mark.parametrize("name", ENCODERS)
def test_weights_of_nan_are_named(tmp_path, name):
    from safetensors.torch import load_file, save_file

    SAVE[name](tmp_path / "m")
    file = tmp_path / "m" / "model.safetensors"
    tensors = {key: value * float("nan") for key, value in load_file(file).items()}
    save_file(tensors, file.with_name("new"), {"format": "pt"})
    file.with_name("new").replace(file)
    with pytest.raises(UserError, match="gives no features but NaN"):
        encoder(name, tmp_path / "m").encode(AudioClip(torch.ones(8000), 16_000), FPS)


@pytest.mark.parametrize("name", ENCODERS)
def test_bfloat16_hears_nearly_the_same(folders, speech, name):
    exact, rounded = (
        encoder(name, folders / name, precision=precision).encode(speech, FPS).values
        for precision in ("float32", "bfloat16")
    )
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    assert (exact - rounded).square().mean() < 0.01 * exact.var()


@pytest.mark.parametrize("name", ENCODERS)
def test_on_a_gpu_the_same_rows_come_back_to_the_cpu(folders, speech, name):
    made = encoder(name, folders / name)
    assert isinstance(made, Movable)
    wanted = made.rows(stretch(speech))
    with pretending():
        assert made.to(torch.device("cuda", 0)) is made
        found = made.rows(stretch(speech))
    assert not isinstance(found, Pretended)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_the_digest_tells_models_apart(folders, tmp_path):
    tiny_audio.waveform(tmp_path / "same", **tiny_audio.LARGE)
    tiny_audio.waveform(tmp_path / "other", **tiny_audio.LARGE, seed=1)
    digests = [encoder("hubert", folder).weights_digest for folder in (folders / "hubert", tmp_path / "same")]
    assert digests[0] == digests[1] != encoder("hubert", tmp_path / "other").weights_digest


def test_whisper_without_padding_hears_the_same_places(folders, speech):
    """Only what is heard is calculated; with random weights padding is hardly told from sound."""
    short = encoder("whisper", folders / "whisper", padded=False, block_seconds=1.0, margin_seconds=1.0)
    full = encoder("whisper", folders / "whisper", block_seconds=1.0, margin_seconds=1.0)
    ours, theirs = (each.encode(speech, FPS).values for each in (short, full))
    assert not torch.equal(ours, theirs)
    assert (ours - theirs).square().mean() < 0.5 * theirs.var()


def test_whisper_that_hears_shorter_than_the_blocks(tmp_path):
    tiny_audio.whisper(tmp_path / "m", positions=128)
    with pytest.raises(UserError, match=r"has 1500 rows, the model's longest input 128\n  Make block_seconds"):
        encoder("whisper", tmp_path / "m")


@pytest.mark.parametrize(
    ("config", "values", "words"),
    [
        (HubertConfig, {"model": "just-a-name"}, "not of the form OWNER/NAME"),
        (HubertConfig, {"model": "a/../b"}, "not of the form OWNER/NAME"),
        (HubertConfig, {"revision": "main"}, "no commit"),
        (HubertConfig, {"model": "someone/other"}, "pins no commit of someone/other; name one"),
        (HubertConfig, {"layer": -2}, "greater than"),
        (Wav2Vec2Config, {"block_seconds": 0.0}, "greater than"),
        (Wav2Vec2Config, {"precision": "float8"}, "float32"),
        (WhisperConfig, {"margin_seconds": 5.0}, "35 s; Whisper hears 30 s at most"),
        (WhisperConfig, {"past_seconds": 3.5}, "31 s; Whisper hears 30 s at most"),
    ],
)
def test_wrong_parameters(config, values, words):
    with pytest.raises(ValidationError, match=words):
        config(**values)


def test_every_default_is_pinned():
    for _, config in ENCODERS.values():
        assert config().commit == PINNED[config().model]
        assert config(model="someone/other", revision=REVISION).commit == REVISION
        assert {"model", "revision", "folder", "block_seconds", "margin_seconds"} <= set(config.PLACES)
