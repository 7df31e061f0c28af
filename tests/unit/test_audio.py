"""Reading, resampling and writing sound."""

import wave
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from realtalk_core.audio import has_audio, read_audio, resample, stream_audio, write_wav
from realtalk_core.errors import UserError
from realtalk_core.types import AudioClip


def tone(seconds: float, rate: int, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write(file: Path, channels: np.ndarray, rate: int) -> Path:
    with wave.open(str(file), "wb") as out:
        out.setnchannels(channels.shape[0])
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((channels.T * 32767).astype("<i2").tobytes())
    return file


def encode(file: Path, samples: np.ndarray, rate: int, codec: str, layout: str, start: float = 0.0) -> Path:
    """Samples `C N` in any container, beginning `start` seconds into it."""
    with av.open(str(file), "w") as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        for k in range(0, samples.shape[1], 1024):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[:, k : k + 1024]), "fltp", layout)
            frame.sample_rate = rate
            frame.pts = round(start * rate) + k
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file


def test_channels_are_mixed(tmp_path):
    left, right = tone(0.5, 8000), np.zeros(4000, np.float32)
    clip = read_audio(write(tmp_path / "a.wav", np.stack([left, right]), 8000))
    assert clip.sample_rate == 8000
    assert clip.samples.numpy() == pytest.approx(left / 2, abs=2e-4)


def test_equal_channels_are_not_overdriven(tmp_path):
    loud = tone(0.5, 8000) * 1.9
    clip = read_audio(write(tmp_path / "a.wav", np.stack([loud, loud]), 8000))
    assert clip.samples.numpy() == pytest.approx(loud, abs=2e-4)


def test_surround_is_mixed_to_mono(tmp_path):
    parts = np.zeros((6, 24000), np.float32)
    parts[2] = tone(0.5, 48000)  # the centre channel carries speech
    clip = read_audio(encode(tmp_path / "a.mka", parts, 48000, "aac", "5.1"))
    assert clip.samples.ndim == 1
    assert clip.samples[6000:18000].square().mean() > 0.005


@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.mp3", "libmp3lame"), ("a.ogg", "libopus")])
def test_lossy_codecs_keep_time(tmp_path, name, codec):
    rate = 48000
    samples = np.zeros((1, rate), np.float32)
    samples[0, rate // 2 : rate // 2 + 2000] = tone(2000 / rate, rate)
    clip = read_audio(encode(tmp_path / name, samples, rate, codec, "mono"), start=0.0)
    heard = np.flatnonzero(np.abs(clip.samples.numpy()) > 0.1)
    assert abs(heard[0] - rate / 2) < 0.03 * rate
    assert abs(clip.seconds - 1) < 0.06


def test_start_drops_early_sound_and_fills_a_late_beginning(tmp_path):
    file = write(tmp_path / "a.wav", tone(1.0, 16000)[None], 16000)
    whole = read_audio(file).samples
    assert torch.equal(read_audio(file, start=0.25).samples, whole[4000:])
    late = read_audio(file, start=-0.5).samples
    assert late[:8000].abs().max() == 0
    assert torch.equal(late[8000:], whole)


def test_a_gap_becomes_silence(tmp_path):
    file = tmp_path / "a.mka"
    with av.open(str(file), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        for at in (0, 8000):
            frame = av.AudioFrame.from_ndarray((tone(0.5, 8000) * 32767).astype(np.int16)[None], "s16", "mono")
            frame.sample_rate, frame.pts = 8000, at
            out.mux(stream.encode(frame))
    clip = read_audio(file)
    assert clip.seconds == pytest.approx(1.5, abs=0.01)
    assert clip.samples[4100:7900].abs().max() == 0
    assert clip.samples[8000:].square().mean() > 0.05


def test_streaming_gives_the_same_sound(tmp_path):
    file = write(tmp_path / "a.wav", tone(2.3, 22050)[None], 22050)
    chunks = list(stream_audio(file, 16000, 0.5))
    assert [c.samples.numel() for c in chunks[:-1]] == [8000] * (len(chunks) - 1)
    assert torch.equal(torch.cat([c.samples for c in chunks]), read_audio(file, 16000).samples)


@pytest.mark.parametrize(("before", "after"), [(48000, 16000), (16000, 44100), (16000, 16000)])
def test_resampling_keeps_pitch_and_length(before, after):
    clip = resample(AudioClip(torch.from_numpy(tone(1.0, before)), before), after)
    assert clip.samples.numel() == after
    wanted = tone(1.0, after)
    assert clip.samples.numpy()[500:-500] == pytest.approx(wanted[500:-500], abs=5e-3)


def test_resampling_removes_what_the_lower_rate_cannot_hold():
    clip = resample(AudioClip(torch.from_numpy(tone(1.0, 48000, 12000.0)), 48000), 16000)
    assert clip.samples[200:-200].abs().max() < 1e-3


def test_wav_round_trip_and_chunks(tmp_path):
    clip = AudioClip(torch.from_numpy(tone(1.0, 16000)), 16000)
    write_wav(tmp_path / "a.wav", clip)
    write_wav(tmp_path / "b.wav", iter([AudioClip(part, 16000) for part in clip.samples.split(700)]))
    again = read_audio(tmp_path / "a.wav")
    assert again.samples == pytest.approx(clip.samples, abs=1e-4)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_a_failed_write_leaves_nothing(tmp_path):
    def chunks():
        yield AudioClip(torch.zeros(100), 8000)
        raise RuntimeError("source broke")

    with pytest.raises(RuntimeError):
        write_wav(tmp_path / "a.wav", chunks())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.wav", b"", "is empty"),
        ("text.wav", b"these are words, not sound\n" * 40, "cannot be read"),
        ("words.txt", b"these are words, not sound\n" * 40, "cannot be read|text file"),
    ],
)
def test_files_that_are_no_sound(tmp_path, name, content, says):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(UserError, match=says) as caught:
        read_audio(file)
    assert str(file) in caught.value.message
    assert caught.value.cure


def test_missing_file_folder_and_silent_video(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_audio(tmp_path / "none.wav")
    with pytest.raises(UserError, match="is a folder"):
        read_audio(tmp_path)


def test_video_without_sound(tmp_path):
    file = tmp_path / "a.mp4"
    with av.open(str(file), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        out.mux(stream.encode(None))
    assert not has_audio(file)
    with pytest.raises(UserError, match="has no sound"):
        read_audio(file)
