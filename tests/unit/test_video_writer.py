import errno
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from realtalk_core.errors import UserError
from realtalk_core.types import AudioClip
from realtalk_core.video_writer import open_video, write_video

FPS = 25


def flashes(frames, size=64, every=25):
    """Grey pictures; every `every`-th is white."""
    batch = torch.full((frames, size, size, 3), 60, dtype=torch.uint8)
    batch[::every] = 250
    return batch


def clicks(seconds, rate=48_000, every=1.0):
    """A short tone burst at the beginning of every second."""
    time = torch.arange(round(seconds * rate)) / rate
    return AudioClip(0.8 * torch.sin(time * 2 * torch.pi * 1000) * ((time % every) < 0.04), rate)


def pieces(clip, count):
    return [AudioClip(part, clip.sample_rate) for part in clip.samples.split(-(-clip.samples.numel() // count))]


def decode(path):
    with av.open(str(path)) as file:
        pictures = [(float(f.time), f.to_ndarray(format="rgb24")) for f in file.decode(video=0)]
        file.seek(0)
        blocks = [(float(f.time), f.to_ndarray()[0]) for f in file.decode(audio=0)]
        durations = [float(s.duration * s.time_base) for s in file.streams]
    return pictures, blocks, durations


@pytest.mark.parametrize("frames", [1, 7, 60])
@pytest.mark.parametrize("longer", [-0.5, 0.0, 3.0])
def test_picture_and_sound_last_equally_long(tmp_path, frames, longer):
    seconds = max(0.02, frames / FPS + longer)
    write_video(tmp_path / "x.mp4", flashes(frames).split(8), pieces(clicks(seconds), 3), FPS)
    pictures, blocks, durations = decode(tmp_path / "x.mp4")
    assert len(pictures) == frames
    assert durations[0] == pytest.approx(frames / FPS, abs=1e-3)
    assert abs(durations[1] - durations[0]) < 1 / FPS
    assert pictures[0][0] == 0
    heard = sum(block.size for _, block in blocks) / 48_000
    assert heard == pytest.approx(frames / FPS, abs=1 / FPS)


def test_flashes_and_clicks_stay_together(tmp_path):
    write_video(tmp_path / "x.mp4", flashes(100).split(13), pieces(clicks(4), 5), FPS)
    pictures, blocks, _ = decode(tmp_path / "x.mp4")
    flash = [time for time, picture in pictures if picture.mean() > 150]
    sound = np.concatenate([block for _, block in blocks])
    loud = np.flatnonzero(np.abs(sound) > 0.3) / 48_000 + blocks[0][0]
    click = [loud[0], *loud[1:][np.diff(loud) > 0.5]]
    assert flash == pytest.approx([0, 1, 2, 3], abs=1e-6)
    assert click == pytest.approx([0, 1, 2, 3], abs=0.005)


def test_every_browser_plays_it(tmp_path):
    write_video(tmp_path / "x.mp4", flashes(30).split(10), [clicks(1.2)], FPS)
    with av.open(str(tmp_path / "x.mp4")) as file:
        video, audio = file.streams.video[0], file.streams.audio[0]
        assert (video.codec_context.name, video.codec_context.profile, video.pix_fmt) == ("h264", "High", "yuv420p")
        assert (audio.codec_context.name, audio.rate) == ("aac", 48_000)
        assert video.average_rate == Fraction(25)
    raw = (tmp_path / "x.mp4").read_bytes()
    assert raw.index(b"moov") < raw.index(b"mdat")  # it starts to play before it has been read to its end


def test_colours_survive(tmp_path):
    batch = torch.zeros(4, 32, 32, 3, dtype=torch.uint8)
    for k, colour in enumerate([(200, 40, 40), (40, 200, 40), (40, 40, 200), (180, 140, 120)]):
        batch[k] = torch.tensor(colour)
    write_video(tmp_path / "x.mp4", [batch], [], FPS, crf=5)
    with av.open(str(tmp_path / "x.mp4")) as file:
        assert not file.streams.audio
        back = np.stack([f.to_ndarray(format="rgb24") for f in file.decode(video=0)])
    assert np.abs(back.mean((1, 2)) - batch.numpy().mean((1, 2))).max() < 5


def test_metadata_is_kept(tmp_path):
    said = {"title": "T", "comment": "Synthetic video made by RealTalk with avatar A: ä"}
    write_video(tmp_path / "x.mp4", [flashes(3)], [clicks(0.1)], FPS, metadata=said)
    with av.open(str(tmp_path / "x.mp4")) as file:
        assert {k: file.metadata[k] for k in said} == said


def breaking(error):
    yield flashes(5)
    raise error


def test_nothing_is_left_after_an_interruption(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "x.mp4", breaking(KeyboardInterrupt()), [clicks(1)], FPS)
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_survives_a_failure(tmp_path):
    (tmp_path / "x.mp4").write_text("old")
    with pytest.raises(RuntimeError):
        write_video(tmp_path / "x.mp4", breaking(RuntimeError()), [], FPS)
    assert (tmp_path / "x.mp4").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_is_said_and_nothing_left(tmp_path):
    full = av.error.OSError(errno.ENOSPC, "No space left on device", "x.mp4")
    with pytest.raises(UserError, match="disk is full"):
        write_video(tmp_path / "x.mp4", breaking(full), [], FPS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("x.avi", "does not end in .mp4"), ("none/x.mp4", "does not exist"), ("dir.mp4", "is a folder")],
)
def test_names_that_will_not_do(tmp_path, name, message):
    (tmp_path / "dir.mp4").mkdir()
    with pytest.raises(UserError, match=message), open_video(tmp_path / name, 64, 64, FPS):
        pass


def test_memory_does_not_grow_with_sound_that_runs_ahead(tmp_path):
    given = []

    def sound():
        for k in range(100):
            given.append(k)
            yield clicks(1.0)

    write_video(tmp_path / "x.mp4", flashes(50).split(5), sound(), FPS)
    assert len(given) <= 4
