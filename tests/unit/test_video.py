"""Reading pictures: frame rates, rotation, alignment with sound, files that are no video."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from realtalk_core.audio import read_audio
from realtalk_core.errors import UserError
from realtalk_core.video import VideoReader

WHITE = 230


def flat(value: int, width: int = 96, height: int = 64) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def encode(file: Path, pictures, times=None, fps: int = 25, codec: str = "mpeg4", sound=None) -> Path:
    """Pictures at the given times in milliseconds (or a steady rate), with optional (samples, rate, start seconds)."""
    with av.open(str(file), "w") as out:
        stream = out.add_stream(codec, rate=fps)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.options = {"g": "1"}
        stream.bit_rate = 4_000_000
        voice = out.add_stream("pcm_s16le", rate=sound[1], layout="mono") if sound else None
        for k, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts = round(k * 1000 / fps) if times is None else times[k]
            frame.time_base = Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if sound:
            samples, rate, start = sound
            frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, round(start * rate), Fraction(1, rate)
            out.mux(voice.encode(frame))
    return file


def levels(reader: VideoReader) -> list[int]:
    return [round(float(p.mean())) for p in reader]


def ramp(count: int) -> list[np.ndarray]:
    return [flat(20 + 4 * k) for k in range(count)]


def test_a_steady_25_is_left_as_it_is(tmp_path):
    reader = VideoReader(encode(tmp_path / "a.mkv", ramp(10)))
    assert levels(reader) == pytest.approx([20 + 4 * k for k in range(10)], abs=2)
    assert (reader.counts.repeated, reader.counts.skipped) == (0, 0)
    assert reader.size == (96, 64)


@pytest.mark.parametrize("fps", [10, 24, 30, 50])
def test_other_rates_keep_time(tmp_path, fps):
    """Frame k shows what the source shows at (k + 0.5) / 25 s."""
    count = round(1.6 * fps)
    pictures = [flat(round(20 + 120 * k / fps)) for k in range(count)]
    found = levels(VideoReader(encode(tmp_path / "a.mkv", pictures, fps=fps)))
    assert len(found) == pytest.approx(40, abs=1)
    wanted = [20 + 120 * int((k + 0.5) / 25 * fps + 1e-6) / fps for k in range(len(found))]
    assert found == pytest.approx(wanted, abs=3)


def test_variable_rate_and_repeated_stamps(tmp_path):
    times = [0, 40, 80, 300, 340, 600]
    found = levels(VideoReader(encode(tmp_path / "a.mkv", ramp(6), times)))
    shown = [np.searchsorted(times, (k + 0.5) * 40, side="right") - 1 for k in range(len(found))]
    assert found == pytest.approx([20 + 4 * s for s in shown], abs=2)


def test_start_and_end(tmp_path):
    file = encode(tmp_path / "a.mkv", ramp(25))
    whole = levels(VideoReader(file))
    assert levels(VideoReader(file, start=0.2, end=0.6)) == whole[5:15]
    assert VideoReader(file, start=0.2, end=0.6).expected == 10


def test_pick_gives_every_nth(tmp_path):
    reader = VideoReader(encode(tmp_path / "a.mkv", ramp(20)))
    whole = levels(reader)
    assert [round(float(p.mean())) for p in reader.pick(2, 5)] == whole[2::5]


def test_max_side_scales_down_only(tmp_path):
    file = encode(tmp_path / "a.mkv", [flat(99, 256, 128)])
    assert next(iter(VideoReader(file, max_side=100))).shape == (50, 100, 3)
    assert next(iter(VideoReader(file, max_side=1000))).shape == (128, 256, 3)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotation_flag(tmp_path, turns):
    """The picture stands as a player shows it."""
    upright = flat(40, 96, 64)
    upright[:20, :30] = WHITE  # upper left corner
    stored = np.ascontiguousarray(np.rot90(upright, turns))
    file = encode(tmp_path / "a.mp4", [stored] * 3)
    set_rotation(file, turns)
    reader = VideoReader(file)
    picture = next(iter(reader))
    assert picture.shape == upright.shape
    assert reader.size == (96, 64)
    assert picture[5:15, 5:25].mean() > 180
    assert picture[40:, 50:].mean() < 60


def set_rotation(file: Path, turns: int) -> None:
    """Writes a display matrix into the track header: show the stored picture turned clockwise."""
    data = bytearray(file.read_bytes())
    at = data.find(b"tkhd") + 4 + 40
    one, minus = 0x00010000, 0xFFFF0000
    a, b, c, d = {1: (0, one, minus, 0), 2: (minus, 0, 0, minus), 3: (0, minus, one, 0)}[turns]
    for k, value in enumerate((a, b, 0, c, d, 0, 0, 0, 0x40000000)):
        data[at + 4 * k : at + 4 * k + 4] = value.to_bytes(4, "big")
    file.write_bytes(data)


def test_sound_starts_with_frame_zero(tmp_path):
    """Streams that begin at different times stay in step: the click lies where the white frame is."""
    pictures = [flat(WHITE if k == 10 else 20) for k in range(20)]
    samples = np.zeros(16000, np.float32)
    samples[8000:8200] = 0.9  # 0.5 s into the sound, which begins at 0.2 s: at 0.7 s
    times = [300 + 40 * k for k in range(20)]  # frame 10 is at 0.7 s
    file = encode(tmp_path / "a.mkv", pictures, times, sound=(samples, 16000, 0.2))
    reader = VideoReader(file)
    assert int(np.argmax(levels(reader))) == 10
    clip = read_audio(file, start=reader.info.start)
    click = int(np.argmax(clip.samples.numpy() > 0.5)) / 16000
    assert click == pytest.approx(10 / 25, abs=0.005)


def test_damaged_frames_are_passed_over(tmp_path):
    file = encode(
        tmp_path / "a.mkv", [np.random.default_rng(k).integers(0, 255, (64, 96, 3), np.uint8) for k in range(20)]
    )
    data = bytearray(file.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = bytes(400)
    file.write_bytes(data)
    assert 10 <= len(levels(VideoReader(file))) <= 21


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_picture_is_no_video(tmp_path, name):
    cv2.imwrite(str(tmp_path / name), flat(100))
    with pytest.raises(UserError, match="is a picture, not a video"):
        VideoReader(tmp_path / name)


def test_sound_is_no_video_and_tiny_pictures_are_refused(tmp_path):
    from realtalk_core.audio import write_wav
    from realtalk_core.testing import synthetic_clip

    write_wav(tmp_path / "a.wav", synthetic_clip(0.5))
    with pytest.raises(UserError, match="no picture, only sound"):
        VideoReader(tmp_path / "a.wav")
    with pytest.raises(UserError, match="16x16 pixels, too small"):
        VideoReader(encode(tmp_path / "a.mkv", [flat(9, 16, 16)] * 3))
