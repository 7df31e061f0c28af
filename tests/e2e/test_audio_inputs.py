"""Every audio encoder on sound as people have it: odd files, real recordings, pieces of 200 ms, and hours."""

import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from realtalk_core.audio import read_audio, stream_audio
from realtalk_core.cli import run
from realtalk_core.hearing import open_stream
from realtalk_core.plugins import discover
from realtalk_core.testing.avatar import make_avatar
from realtalk_core.testing.subject import Subject
from realtalk_core.types import AudioClip

sys.path.insert(0, str(Path(__file__).parents[1]))
from odd_sounds import RATE, odd_files, speech, wav

ENCODERS = ("mel", "ave", "hubert", "wav2vec2", "whisper", "deepspeech")
FPS = 25.0
HEARD = 0.8
"""Seconds of each odd file; its first sound may lie behind a blank."""
LONGER = 4.2
"""Seconds of real recordings: more than any of these encoders looks ahead, so rows come before the end."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return odd_files(tmp_path_factory.mktemp("odd"))


def beginning(file, seconds=HEARD):
    """Of a sound file, in chunks of 200 ms."""
    chunks = []
    for chunk in stream_audio(file, seconds=0.2):
        chunks.append(chunk)
        if len(chunks) * 0.2 >= seconds:
            break
    return chunks


@pytest.fixture(scope="module")
def sounds(files):
    """What the files hold, each sound once: many of them differ in how they are stored alone."""
    found = {name: beginning(file) for name, file in files.items()}
    held = {(c[0].sample_rate, *(x.samples.numpy().tobytes() for x in c)): name for name, c in found.items()}
    assert len(held) > 25
    return {name: found[name] for name in held.values()}


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request):
    """At its tiny size: with random weights, or learnt from a drawn face for some steps."""
    plugins = discover()
    return Subject(plugins.find("audio", request.param), plugins).component


def check(encoder, name, chunks):
    """A sound has its rows, and its pieces give the same ones."""
    clip = AudioClip(torch.cat([c.samples for c in chunks]), chunks[0].sample_rate)
    rows = encoder.encode(clip, FPS).rows()
    assert len(rows) == clip.frames(FPS), name
    assert torch.isfinite(rows).all(), name
    stream = open_stream(encoder, clip.sample_rate, FPS)
    early = [part for part in (stream.feed(c.samples) for c in chunks) if len(part)]
    if clip.seconds > stream.lookahead_seconds + 2 / FPS:
        assert early, name
    pieces = torch.cat([part for part in (*early, stream.close()) if len(part)]).flatten(1)
    spread = rows.std(0).mean() if len(rows) > 1 else 1.0
    assert (pieces - rows).abs().max() <= 1e-3 * spread + 1e-5, name


def test_odd_files(encoder, sounds):
    for name, chunks in sounds.items():
        check(encoder, name, chunks)


@pytest.mark.data
def test_real_recordings(encoder):
    recordings = sorted(p for p in (Path(os.environ["REALTALK_DATA"]) / "audio").iterdir() if p.is_file())
    assert recordings
    assert open_stream(encoder, RATE, FPS).lookahead_seconds < LONGER - 0.5
    for file in recordings:
        check(encoder, file.name, beginning(file, LONGER))


def test_kinds_of_one_sound_sound_alike(files):
    """However it was stored."""
    plugins = discover()
    mel = Subject(plugins.find("audio", "mel"), plugins).component
    wanted = mel.encode(read_audio(files["double"], RATE), FPS).rows()
    for name, file in files.items():
        if name in ("20 ms", "one sample", "silence", "nothing but nan", "clipped", "nan", "cut off"):
            continue
        rows = mel.encode(read_audio(file, RATE), FPS).rows()[: len(wanted)]
        alike = torch.corrcoef(torch.stack([(rows - wanted.mean(0)).flatten(), (wanted - wanted.mean(0)).flatten()]))
        assert alike[0, 1] > 0.7, f"{name}: {alike[0, 1]:.2f}"


def test_an_odd_file_is_spoken_and_a_text_is_not(tmp_path, capsys):
    """Floats as loud as 16-bit numbers, some of them NaN, of 96 kHz, six channels, and a header that knows no end."""
    avatar = make_avatar(tmp_path, seconds=3.0, size=48)
    centre = 32768.0 * speech(96_000, 1.2)
    centre[40_000:41_000] = np.nan
    channels = np.zeros((len(centre), 6), "<f4")
    channels[:, 2] = centre
    odd, film = tmp_path / "odd.wav", tmp_path / "film.mp4"
    odd.write_bytes(wav(channels.tobytes(), 96_000, channels=6, kind=3, bits=32, size=0xFFFFFFFF, riff=0))
    assert run(["synthesize", str(avatar), "--audio", str(odd), "-o", str(film)]) == 0
    with av.open(str(film)) as made:
        assert sum(1 for _ in made.decode(video=0)) == 30
    heard = read_audio(film, RATE)
    assert heard.seconds == pytest.approx(1.2, abs=0.06)
    assert heard.samples.square().mean() > 1e-4
    capsys.readouterr()
    words, nothing = tmp_path / "words.txt", tmp_path / "no.mp4"
    words.write_text("What was said, but written down.\n" * 30)
    assert run(["synthesize", str(avatar), "--audio", str(words), "-o", str(nothing)]) == 2
    told = capsys.readouterr().err
    assert str(words) in told
    assert "text file" in told
    assert "Traceback" not in told
    assert not nothing.exists()


_LONG = """
import resource, sys, torch
from realtalk_core.hearing import RowEncoder, open_stream

class Small(RowEncoder):
    window = 2

    def __init__(self):
        torch.manual_seed(0)
        self.net = torch.nn.Conv1d(1, 8, self.kernel, self.hop)

    def rows(self, samples):
        return self.net(samples[None]).T

stream, noise, rows, seen = open_stream(Small(), 44_100, 25.0), torch.Generator().manual_seed(0), 0, []
for minute in range(int(sys.argv[1])):
    for _ in range(60):
        rows += len(stream.feed(0.1 * torch.randn(44_100, generator=noise)))
    seen.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
rows += len(stream.close())
assert rows == 1500 * len(seen), rows
print(seen[1], seen[-1])
"""


def test_memory_does_not_grow_with_the_sound():
    """Six minutes take what two do: four more of sound alone, held, would be 40 MB."""
    done = subprocess.run([sys.executable, "-c", _LONG, "6"], capture_output=True, text=True, check=True)
    soon, late = map(int, done.stdout.split())
    assert late - soon < 12, f"{soon} MB after two minutes, {late} MB after six"
