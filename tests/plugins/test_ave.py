"""SyncTalk's audio-visual encoder: what it hears where, what it learns, whose weights it takes."""

import hashlib
import pickle
from dataclasses import replace

import librosa
import numpy as np
import pytest
import torch

from realtalk_ave import AveConfig, realtalk_components
from realtalk_ave.encoder import AveEncoder, lessons_of
from realtalk_ave.lessons import disturbed
from realtalk_ave.networks import Listener
from realtalk_ave.published import convert
from realtalk_ave.sound import LOOKS, scaled, spectra
from realtalk_ave.stream import AveStream
from realtalk_core import checkpoint
from realtalk_core.capture import Tracks
from realtalk_core.cli import run
from realtalk_core.errors import UserError
from realtalk_core.landmarks import IBUG68_FROM_MEDIAPIPE478
from realtalk_core.testing import conformance, make_capture
from realtalk_core.testing.synthetic import synthetic_clip
from realtalk_core.training.data import TrainingData, encoder_name
from realtalk_core.training.measure import measure_audio
from realtalk_core.types import AudioClip, AudioFeatures

test_conformance = conformance("ave")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    capture = make_capture(tmp_path_factory.mktemp("ave") / "capture", seconds=16.0, size=64, seed=2)
    features = AudioFeatures(torch.zeros(len(capture), 1), capture.fps)
    return TrainingData(capture, features, torch.arange(300), torch.arange(300, 400), seed=1)


def random_encoder(width=4, size=16, seed=0, **config):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AveEncoder(AveConfig(**config), Listener(width, size))


def test_the_spectrum_is_wav2lips():
    sound = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    emphasized = np.append(sound[:1], sound[1:] - 0.97 * sound[:-1])
    stft = librosa.stft(emphasized, n_fft=800, hop_length=200, win_length=800, pad_mode="constant")
    bank = librosa.filters.mel(sr=16_000, n_fft=800, n_mels=80, fmin=55, fmax=7600)
    decibel = 20 * np.log10(np.maximum(1e-5, bank @ np.abs(stft))) - 20
    theirs = np.clip(8 * (decibel + 100) / 100 - 4, -4, 4)
    for first in (0, 16, 100, 145):
        ours = scaled(spectra(sound, np.array([(first + 7.5) * 200])))[0]
        assert np.abs(ours - theirs[:, first : first + LOOKS]).max() < 1e-4


@pytest.mark.parametrize("fps", [24, 25, 29.97, 30, 50, 60])
def test_a_click_in_frame_k_is_in_the_middle_of_row_ks_window(fps):
    """The network in the middle is one that says where in its window the sound lies."""

    def middle_of(windows):
        energy = (windows + 4).square().sum(1)
        return (energy * torch.arange(LOOKS)).sum(1, keepdim=True) / energy.sum(1, keepdim=True).clamp_min(1e-6)

    for frame in (3, 20, 37):
        samples = torch.zeros(32_000)
        at = round((frame + 0.5) / fps * 16_000)
        samples[at - 1 : at + 1] = torch.tensor([0.5, -0.5])  # without DC, so that nothing of it lingers
        stream = AveStream(middle_of, 16_000, fps, 3.0)
        where = torch.cat([p[:, 0] for p in (stream.feed(samples), stream.close()) if len(p)])
        assert len(where) == round(2 * fps)
        assert abs(float(where[frame]) - 7.5) < 0.05
        for row in (frame - 1, frame + 1):
            looks_away = (frame - row) / fps * 80
            assert abs(float(where[row]) - 7.5 - looks_away) < 0.1, row


@pytest.mark.parametrize(("rate", "fps"), [(16_000, 25.0), (44_100, 29.97), (48_000, 60.0)])
def test_pieces_give_what_the_whole_gives_no_later_than_said(rate, fps):
    encoder = random_encoder(level_seconds=0.4)
    whole = synthetic_clip(3.3, rate, seed=3)
    expected = encoder.encode(whole, fps).values
    stream, rows, fed = encoder.stream(rate, fps), [], 0
    for piece in whole.samples.split(rate // 5):
        rows.append(stream.feed(piece))
        fed += len(piece)
        assert sum(map(len, rows)) >= int((fed / rate - stream.lookahead_seconds) * fps)
    rows.append(stream.close())
    assert torch.allclose(torch.cat([r for r in rows if len(r)]), expected, atol=1e-6)
    assert stream.lookahead_seconds < 0.5


def test_quiet_recordings_are_heard_as_loud_ones():
    clip, encoder = synthetic_clip(3.0, 16_000, seed=4), random_encoder()
    loud = encoder.encode(clip, 25).values
    quiet = encoder.encode(AudioClip(clip.samples * 0.1, 16_000), 25).values
    silent = encoder.encode(AudioClip(torch.zeros(48_000), 16_000), 25).values
    assert (loud - quiet).norm() < 0.2 * (loud - silent).norm()


def trained(data, **config):
    encoder = AveEncoder.for_training(AveConfig(**{"width": 8, "size": 64, "batch": 32, "steps": 120} | config), data)
    losses = []
    for step in range(encoder.total_steps):
        torch.manual_seed(step)
        found = encoder.training_step(encoder.batch(data, step), step)
        for optimizer in encoder.optimizers():
            optimizer.zero_grad()
            found["loss"].backward()
            torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], 1.0)
            optimizer.step()
        encoder.after_step(step)
        losses.append({name: float(value.detach()) for name, value in found.items()})
    return encoder, losses


def test_it_learns_which_mouth_belongs_to_a_sound(data):
    encoder, losses = trained(data, steps=40, batch=32, learning_rate=3e-3)
    for name in ("sync", "drawn", "lips"):
        begin, end = (np.mean([loss[name] for loss in part]) for part in (losses[:20], losses[-20:]))
        assert end < begin, name
    lessons = lessons_of(encoder.config, data, data.held_out)
    alike = encoder.likeness(lessons, lessons.moments)
    own = alike.diagonal()
    near = torch.stack([alike.diagonal(shift).mean() for shift in range(-12, 13)])
    assert abs(int(near.argmax()) - 12) <= 1, near
    right = [own[k] > alike[k, k + s] for k in range(len(own)) for s in (-12, -8, 8, 12) if 0 <= k + s < len(own)]
    assert np.mean(right) > 0.75, np.mean(right)
    untaught = AveEncoder.for_training(encoder.config, data)
    told, guessed = (measure_audio(e, data)["linear_mouth_correlation"] for e in (encoder, untaught))
    assert told > max(0.6, guessed)
    assert measure_audio(encoder, replace(data, held_out=torch.arange(0))) == {}


def test_nothing_of_the_held_out_part_is_looked_at(data):
    encoder = AveEncoder.for_training(AveConfig.tiny(), data)
    lessons = encoder._lessons
    assert int(lessons.moments.max()) + 2 == 299
    assert len(lessons.pictures) == 300
    moments = lessons.draw(64, data.generator(0))
    assert set(moments.tolist()) <= set(lessons.moments.tolist())


@pytest.mark.parametrize(
    ("fps", "expected"), [(25.0, [-2, -1, 0, 1, 2]), (50.0, [-4, -2, 0, 2, 4]), (60.0, [-5, -2, 0, 2, 5])]
)
def test_pictures_span_the_same_time_at_any_rate(data, fps, expected):
    capture = replace(data.capture, meta={**data.capture.meta, "fps": fps})
    lessons = lessons_of(AveConfig(), replace(data, capture=capture), data.train)
    assert lessons.offsets.tolist() == expected


def test_a_capture_of_68_landmarks_teaches_as_well(data):
    keep = list(IBUG68_FROM_MEDIAPIPE478)
    tracks = data.capture.tracks
    sparse = Tracks(
        tracks.landmarks[:, keep], tracks.image_points[:, keep], tracks.blendshapes, tracks.pose, tracks.intrinsics,
        tracks.neutral[keep], tracks.valid,
    )  # fmt: skip
    encoder = AveEncoder.for_training(AveConfig.tiny(), replace(data, capture=replace(data.capture, tracks=tracks)))
    other = AveEncoder.for_training(AveConfig.tiny(), replace(data, capture=replace(data.capture, tracks=sparse)))
    ours, theirs = (e._lessons.pictures.float() for e in (encoder, other))
    assert (ours - theirs).abs().mean() < 12  # a little shifted: other points of the lips have another middle
    assert torch.isfinite(other._lessons.lips).all()


def test_a_capture_that_shows_too_little_is_refused(data):
    with pytest.raises(UserError, match="needs 40 moments") as error:
        AveEncoder.for_training(AveConfig.tiny(), replace(data, train=torch.arange(30)))
    assert "--set audio=mel" in error.value.cure
    with pytest.raises(UserError, match="here are 0"):
        AveEncoder.for_training(AveConfig.tiny(), replace(data, train=torch.arange(0, 300, 2)))


def test_disturbing_leaves_its_input_and_stays_finite():
    sound = synthetic_clip(1.0, 16_000, seed=1).samples.numpy()
    amplitudes = spectra(sound, np.array([4000.0, 8000.0, 12_000.0]))
    before = amplitudes.copy()
    changed = disturbed(amplitudes, torch.Generator().manual_seed(0))
    assert np.array_equal(before, amplitudes)
    assert np.isfinite(changed).all()
    assert not np.allclose(scaled(changed), scaled(before), atol=0.2)


# ---- weights -------------------------------------------------------------------------------------------------------


def published(prefix=""):
    """Random weights under the names and in the shapes of SyncTalk's file."""
    torch.manual_seed(5)
    sizes = [
        (1, 32, 3), (32, 32, 3), (32, 32, 3), (32, 64, 3), (64, 64, 3), (64, 64, 3), (64, 128, 3), (128, 128, 3),
        (128, 128, 3), (128, 256, 3), (256, 256, 3), (256, 512, 3), (512, 512, 1),
    ]  # fmt: skip
    found = {}
    for k, (inputs, outputs, kernel) in enumerate(sizes):
        conv, norm = f"{prefix}{k}.conv_block.0.", f"{prefix}{k}.conv_block.1."
        found[conv + "weight"] = torch.randn(outputs, inputs, kernel, kernel) / (inputs * kernel**2) ** 0.5
        found[conv + "bias"] = torch.randn(outputs) * 0.1
        found |= {norm + "weight": torch.rand(outputs) + 0.5, norm + "bias": torch.randn(outputs) * 0.1}
        found |= {norm + "running_mean": torch.randn(outputs) * 0.1, norm + "running_var": torch.rand(outputs) + 0.5}
        found[norm + "num_batches_tracked"] = torch.tensor(100)
    return found


@pytest.mark.parametrize("prefix", ["", "audio_encoder."])
def test_published_weights_are_taken_over(tmp_path, data, prefix, capsys):
    source, target = tmp_path / "audio_visual_encoder.pth", tmp_path / "ave.safetensors"
    torch.save(published(prefix), source)
    assert run(["convert", "ave", str(source), "-o", str(target)]) == 0
    config = AveConfig(weights=target, steps=0)
    encoder = AveEncoder.for_training(config, data)
    assert encoder.total_steps == 0
    assert "as they are" in encoder.remarks[0]
    for name, value in published().items():
        assert torch.equal(encoder.state()[f"listener.{name}"], value), name
    rows = encoder.encode(synthetic_clip(0.5, 16_000, seed=1), 25).values
    assert rows.shape == (12, 512)
    assert rows.min() >= 0
    again = AveEncoder.from_state(config, encoder.state())
    assert torch.equal(again.encode(synthetic_clip(0.5, 16_000, seed=1), 25).values, rows)


def test_training_goes_on_from_another_avatars_encoder(tmp_path, data):
    first = random_encoder(8, 64)
    checkpoint.save(tmp_path / "audio.safetensors", checkpoint.Header("audio", "ave"), first.state())
    encoder, _ = trained(data, weights=tmp_path / "audio.safetensors", steps=2, width=32, size=512)
    assert encoder.listener.size == 64
    moved = max(float((encoder.state()[n] - v).abs().max()) for n, v in first.state().items() if n.endswith("0.weight"))
    assert 0 < moved < 0.01


class Danger:
    def __reduce__(self):
        return print, ("this must never run",)


BAD = {
    "no file of PyTorch": (lambda file: file.write_bytes(b"nonsense"), "cannot be read as weights"),
    "code in a pickle": (lambda file: torch.save(Danger(), file), "cannot be read as weights"),
    "a bare pickle": (lambda file: file.write_bytes(pickle.dumps({"a": 1}, protocol=2)), "cannot be read as weights"),
    "a list": (lambda file: torch.save([1, 2], file), "holds no weights by name"),
    "another network": (lambda file: torch.save({"a": torch.zeros(2)}, file), "there is no 0.conv_block.0.weight"),
    "a missing layer": (
        lambda file: torch.save({k: v for k, v in published().items() if "5.conv_block.0.bias" not in k}, file),
        "there is no 5.conv_block.0.bias",
    ),
    "one layer too many": (
        lambda file: torch.save(published() | {"13.conv_block.0.weight": torch.zeros(1)}, file),
        "there is an unknown 13.conv_block.0.weight",
    ),
    "another shape": (
        lambda file: torch.save(published() | {"4.conv_block.0.weight": torch.zeros(64, 64, 5, 5)}, file),
        r"4.conv_block.0.weight is of shape \(64, 64, 5, 5\), not \(64, 64, 3, 3\)",
    ),
    "NaN": (
        lambda file: torch.save(published() | {"0.conv_block.0.bias": torch.full((32,), torch.nan)}, file),
        "0.conv_block.0.bias holds NaN",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_their_encoder_is_not_converted(tmp_path, name, capsys):
    make, message = BAD[name]
    source, target = tmp_path / "found.pth", tmp_path / "ave.safetensors"
    make(source)
    with pytest.raises(UserError, match=message):
        convert(source, target)
    assert not target.exists()
    assert "this must never run" not in capsys.readouterr().out


def test_weights_that_are_not_there_or_not_an_encoder_are_named(tmp_path, data):
    from safetensors.torch import save_file

    with pytest.raises(UserError, match=r"gone\.safetensors does not exist") as error:
        AveEncoder.for_training(AveConfig(weights=tmp_path / "gone.safetensors"), data)
    assert "realtalk convert ave" in error.value.cure
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(UserError, match="is no safetensors file"):
        AveEncoder.for_training(AveConfig(weights=tmp_path / "text"), data)
    other, tensors = tmp_path / "vae.safetensors", {"net.weight": torch.zeros(3)}
    save_file(tensors, other)
    with pytest.raises(UserError, match="no RealTalk checkpoint"):
        AveEncoder.for_training(AveConfig(weights=other), data)
    checkpoint.save(other, checkpoint.Header("landmarks", "vae"), tensors)
    with pytest.raises(UserError, match="holds landmarks 'vae', not an ave encoder"):
        AveEncoder.for_training(AveConfig(weights=other), data)
    checkpoint.save(other, checkpoint.Header("audio", "ave"), tensors)
    with pytest.raises(UserError, match="is not an ave encoder"):
        AveEncoder.for_training(AveConfig(weights=other), data)


def test_a_converted_file_is_a_checkpoint_that_says_what_it_is_and_notices_damage(tmp_path, data, capsys):
    source, target = tmp_path / "audio_visual_encoder.pth", tmp_path / "ave.safetensors"
    torch.save(published(), source)
    convert(source, target)
    header = checkpoint.read_header(target)
    assert (header.stage, header.component, header.plugin) == ("audio", "ave", "ave")
    assert header.parents == (f"{source.name}:{hashlib.sha256(source.read_bytes()).hexdigest()}",)
    assert run(["inspect", str(target)]) == 0
    assert "ave" in capsys.readouterr().out
    damaged = bytearray(target.read_bytes())
    damaged[-5] ^= 1
    target.write_bytes(damaged)
    with pytest.raises(UserError, match=r"audio.weights: .* is damaged"):
        AveEncoder.for_training(AveConfig(weights=target, steps=0), data)


def test_an_error_without_words_is_named_by_its_kind(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise EOFError

    (tmp_path / "empty.pth").touch()
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(UserError, match=r"cannot be read as weights saved by PyTorch: EOFError"):
        convert(tmp_path / "empty.pth", tmp_path / "out.safetensors")


def test_a_damaged_state_is_refused():
    state = random_encoder().state()
    del state["listener.3.conv_block.0.bias"]
    with pytest.raises(UserError, match=r"no 3\.conv_block\.0\.bias"):
        AveEncoder.from_state(AveConfig(), state)


def test_features_are_named_by_the_weights_and_not_by_how_they_were_learnt():
    one, same, other = random_encoder(seed=0), random_encoder(seed=0, steps=7, lips=1.0), random_encoder(seed=1)
    names = [encoder_name("ave", e.config, e.weights_digest) for e in (one, same, other)]
    assert names[0] == names[1] != names[2]
    assert encoder_name("ave", AveConfig(level_seconds=1.0), one.weights_digest) != names[0]


def test_what_a_checkpoint_holds_is_said():
    (spec,) = realtalk_components()
    shapes = {name: tuple(value.shape) for name, value in random_encoder(8, 64).state().items()}
    assert spec.about(AveConfig(), shapes, {}) == {"channels": 8, "numbers per frame": 64}
