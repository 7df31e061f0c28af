"""Sound files as people have them: which are read, that sound stays where it was, and what the others are told."""

import struct
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from realtalk_core.audio import PEAK, level, loudness, read_audio, stream_audio
from realtalk_core.errors import UserError
from realtalk_core.types import AudioClip

sys.path.insert(0, str(Path(__file__).parents[1]))
from odd_sounds import EXACT, LIES, LOSSY, RATE, delay, encode, odd_files, pcm16, speech, wav

HALF_FRAME = 0.02
UNCOMPENSATED = {"aac": 0.025, "aac in ts": 0.025, "wma": 0.05}
"""Seconds by which an encoder's own delay may show: these files do not say how long it is."""
UNLIKE = {
    "20 ms",
    "one sample",
    "silence",
    "nothing but nan",
    "nan",
    "clipped",
    "offset",
    "cut off",
    "says half its bytes",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return odd_files(tmp_path_factory.mktemp("odd"))


def put(file: Path, data: bytes) -> Path:
    file.write_bytes(data)
    return file


def test_every_kind_is_read_as_numbers_within_full_scale(files):
    for name, file in files.items():
        clip = read_audio(file, RATE)
        assert torch.isfinite(clip.samples).all(), name
        assert clip.samples.abs().max() <= 1, name
        pieces = torch.cat([c.samples for c in stream_audio(file, RATE, 0.13)])
        assert torch.equal(pieces, clip.samples), name


def test_sound_stays_where_it_was(files):
    for name, file in files.items():
        if name in UNLIKE:
            continue
        found = read_audio(file, RATE).samples.numpy()
        late, alike = delay(found, speech())
        assert abs(late) / RATE <= UNCOMPENSATED.get(name, HALF_FRAME / 10), f"{name}: {late / RATE:.3f} s late"
        assert alike > 0.94, f"{name}: {alike:.3f}"
        assert abs(len(found) / RATE - 2.0) < 0.05, name


@pytest.mark.parametrize("name", [*EXACT, "stereo", "inverted", *LIES])
def test_lossless_kinds_keep_the_level(files, name):
    assert loudness(read_audio(files[name])) == pytest.approx(
        loudness(AudioClip(torch.tensor(speech()), RATE)), abs=0.7
    )


def test_a_size_too_small_loses_nothing_and_chunks_behind_the_sound_are_no_sound(tmp_path, files):
    assert read_audio(files["says half its bytes"]).seconds == 2.0
    notes = b"".join(struct.pack("<4sI", b"LIST", 3000) + bytes(3000) for _ in range(3))
    clip = read_audio(put(tmp_path / "notes.wav", wav(pcm16(speech()), RATE) + notes))
    assert clip.seconds == pytest.approx(2.0, abs=1e-3) or clip.samples[2 * RATE :].abs().max() == 0
    assert clip.seconds == 2.0


def test_inverted_channels_are_heard_and_equal_ones_afterwards_as_well(tmp_path):
    here = speech()
    upright = read_audio(encode(tmp_path / "a.wav", np.stack([here, here]), RATE, "pcm_s16le", "stereo"))
    turned = np.stack([here, np.where(np.arange(len(here)) < RATE, -here, here)])
    found = read_audio(encode(tmp_path / "b.wav", turned, RATE, "pcm_s16le", "stereo"))
    for part in (slice(0, RATE - 2000), slice(RATE + 8000, None)):
        assert torch.allclose(found.samples[part].abs(), upright.samples[part].abs(), atol=2e-4)


def test_ordinary_stereo_is_mixed_in_equal_parts_throughout(tmp_path):
    rng = np.random.default_rng(0)
    left, right = rng.uniform(-0.5, 0.5, (2, RATE)).astype(np.float32)
    found = read_audio(encode(tmp_path / "a.wav", np.stack([left, right]), RATE, "pcm_s16le", "stereo"))
    assert found.samples.numpy() == pytest.approx((left + right) / 2, abs=1e-4)


def test_nan_costs_its_moment_alone(files):
    found, wanted = read_audio(files["nan"]).samples.numpy(), speech()
    assert found[8000:8400] == pytest.approx(0)
    assert (found[20_000], found[21_000]) == (1, -1)
    same = np.r_[0:8000, 8400:20_000, 21_001 : len(wanted)]
    assert found[same] == pytest.approx(wanted[same], abs=1e-6)


def test_one_spike_does_not_hush_a_file_of_floats(tmp_path):
    here = speech().astype("<f4")
    here[100], here[200], here[300] = 1e38, 3000.0, 1e12
    found = read_audio(put(tmp_path / "a.wav", wav(here.tobytes(), RATE, kind=3, bits=32))).samples.numpy()
    assert found[400:] == pytest.approx(speech()[400:], abs=1e-6)


def test_joined_files_are_heard_to_their_end(tmp_path):
    here = speech(48_000)
    parts = [encode(tmp_path / f"{k}.opus", here[None, k * 48_000 :][:, :48_000], 48_000, "libopus") for k in (0, 1)]
    joined = read_audio(put(tmp_path / "ab.opus", b"".join(p.read_bytes() for p in parts)), RATE)
    assert delay(joined.samples.numpy(), speech())[1] > 0.94
    mono = encode(tmp_path / "a.mp3", speech()[None, :RATE], RATE, "libmp3lame")
    other = encode(tmp_path / "b.mp3", np.stack([speech(44_100)[44_100:]] * 2), 44_100, "libmp3lame", "stereo")
    joined = read_audio(put(tmp_path / "ab.mp3", mono.read_bytes() + other.read_bytes()), RATE)
    assert joined.seconds == pytest.approx(2.0, abs=0.15)
    assert joined.samples[-RATE:].square().mean() > 0.3 * np.square(speech()[RATE:]).mean()


def test_a_file_cut_off_gives_what_is_there(tmp_path):
    for name, (file, codec, rate) in LOSSY.items():
        whole = encode(tmp_path / file, speech(rate)[None], rate, codec)
        whole.write_bytes(whole.read_bytes()[: int(0.7 * whole.stat().st_size)])
        if name in ("mp3 in mp4", "m4a"):  # their index lies at the end
            with pytest.raises(UserError, match="cannot be read"):
                read_audio(whole)
        else:
            assert 0.9 < read_audio(whole, RATE).seconds < 1.7, name


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.wav", wav(b"", RATE), "has a sound track but no sound"),
        ("a.wav", wav(pcm16(speech()), RATE)[:30], "cannot be read as sound or video"),
        ("a.wav", wav(pcm16(speech()), RATE, rate=0), "cannot be read as sound or video"),
        ("a.wav", wav(pcm16(speech()), RATE, rate=1), "claims 1 samples per second"),
        ("a.wav", wav(pcm16(speech()), RATE, rate=800_000), "claims 800000 samples per second"),
        ("a.wav", wav(pcm16(speech()), RATE, channels=0), "no sound"),
        ("a.mp3", b"<!DOCTYPE html><html><body>404</body></html>" * 30, "cannot be read as sound or video"),
        ("a.flac", bytes(5000), "claims 0 samples per second"),
        ("a.txt", b"what was said, but written down\n" * 40, "text file"),
    ],
)
def test_what_is_no_sound_is_told_so(tmp_path, name, data, says):
    file = put(tmp_path / name, data)
    with pytest.raises(UserError, match=says) as caught:
        read_audio(file, RATE)
    assert str(file) in caught.value.message
    assert caught.value.cure


def test_pictures_and_archives_are_told_so(tmp_path):
    for name in ("a.png", "a.jpg"):
        cv2.imwrite(str(tmp_path / name), np.zeros((64, 64, 3), np.uint8))
        with pytest.raises(UserError, match="has no sound"):
            read_audio(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "a.wav", "w") as archive:
        archive.writestr("b.wav", wav(pcm16(speech()), RATE))
    with pytest.raises(UserError, match="cannot be read"):
        read_audio(tmp_path / "a.wav")


def test_level_is_right_on_short_sounds():
    for seconds in (0.02, 0.1, 0.39, 0.4, 0.41, 2.0):
        clip = AudioClip(torch.from_numpy(speech()[8000 : 8000 + round(seconds * RATE)]), RATE)
        made = level(clip, -30.0)
        assert loudness(made) == pytest.approx(-30.0, abs=0.05), seconds
        assert level(clip, 20.0).samples.abs().max() == pytest.approx(PEAK, abs=1e-4)


def test_level_of_next_to_nothing():
    for samples in (torch.zeros(0), torch.zeros(1), torch.zeros(RATE)):
        assert torch.equal(level(AudioClip(samples, RATE), -20.0).samples, samples)
    one = level(AudioClip(torch.tensor([0.5]), RATE), -20.0).samples
    assert one.shape == (1,)
    assert 0 < one.abs().max() <= PEAK + 1e-6
