"""Sound files as people have them, made from one known sound: every container, codec, layout and defect."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np

from realtalk_core.testing import synthetic_clip

RATE = 16_000
SECONDS = 2.0
LOSSY = {
    "mp3": ("a.mp3", "libmp3lame", 44_100),
    "mp3 in mp4": ("a.mp4", "libmp3lame", 44_100),
    "aac": ("a.aac", "aac", 44_100),
    "m4a": ("a.m4a", "aac", 44_100),
    "aac in mkv": ("a.mkv", "aac", 48_000),
    "aac in ts": ("a.ts", "aac", 48_000),
    "opus": ("a.opus", "libopus", 48_000),
    "webm": ("a.webm", "libopus", 48_000),
    "vorbis": ("a.ogg", "vorbis", 44_100),
    "wma": ("a.wma", "wmav2", 44_100),
    "a-law": ("a.wav", "pcm_alaw", 8000),
    "mu-law": ("a.au", "pcm_mulaw", 8000),
    "adpcm": ("a.wav", "adpcm_ima_wav", 44_100),
}
EXACT = {
    "8 kHz": ("a.wav", "pcm_s16le", 8000),
    "96 kHz": ("a.wav", "pcm_s16le", 96_000),
    "11.025 kHz": ("a.wav", "pcm_s16le", 11_025),
    "44.1 kHz": ("a.wav", "pcm_s16le", 44_100),
    "8 bit": ("a.wav", "pcm_u8", 16_000),
    "24 bit": ("a.wav", "pcm_s24le", 48_000),
    "32 bit": ("a.wav", "pcm_s32le", 48_000),
    "float": ("a.wav", "pcm_f32le", 48_000),
    "double": ("a.wav", "pcm_f64le", 48_000),
    "flac": ("a.flac", "flac", 44_100),
    "alac": ("a.m4a", "alac", 44_100),
    "aiff": ("a.aiff", "pcm_s16be", 44_100),
    "caf": ("a.caf", "pcm_s16le", 44_100),
    "w64": ("a.w64", "pcm_s16le", 44_100),
}


def speech(rate: int = RATE, seconds: float = SECONDS) -> np.ndarray:
    """The known sound, `N`."""
    return synthetic_clip(seconds, rate, seed=11).samples.numpy()


def encode(file: Path, channels: np.ndarray, rate: int, codec: str, layout: str = "mono", start: float = 0.0) -> Path:
    """Samples `C N` in any container, beginning `start` seconds into it."""
    if codec == "vorbis":  # FFmpeg's own encoder knows nothing but stereo
        channels, layout = np.repeat(channels[:1], 2, 0), "stereo"
    with av.open(str(file), "w") as out:
        stream = out.add_stream(codec, rate=rate, layout=layout, options={"strict": "experimental"})
        if codec == "wmav2":
            stream.bit_rate = 128_000
        for k in range(0, channels.shape[1], 1024):
            part = np.ascontiguousarray(channels[:, k : k + 1024].T.reshape(1, -1), np.float32)
            frame = av.AudioFrame.from_ndarray(part, "flt", layout)
            frame.sample_rate, frame.pts = rate, round(start * rate) + k
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file


def wav(data: bytes, true_rate: int, *, channels: int = 1, kind: int = 1, bits: int = 16, **lies: int) -> bytes:
    """A wav file byte by byte; `lies` replace what its header says: riff, size, byte_rate, align, rate."""
    align = channels * bits // 8
    told = {"riff": 36 + len(data), "size": len(data), "byte_rate": true_rate * align, "align": align}
    told = told | {"rate": true_rate} | lies
    return (
        struct.pack("<4sI4s", b"RIFF", told["riff"], b"WAVE")
        + struct.pack("<4sIHHIIHH", b"fmt ", 16, kind, channels, told["rate"], told["byte_rate"], told["align"], bits)
        + struct.pack("<4sI", b"data", told["size"])
        + data
    )


def pcm16(samples: np.ndarray) -> bytes:
    """Samples `N` or `N C` in [-1, 1] as 16-bit."""
    return (np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes()


def delay(found: np.ndarray, wanted: np.ndarray) -> tuple[float, float]:
    """How many samples `found` lags behind `wanted`, and how well they correlate there."""
    size = 2 * max(len(found), len(wanted))
    cross = np.fft.irfft(np.fft.rfft(found, size) * np.fft.rfft(wanted, size).conj(), size)
    best = int(cross.argmax())
    alike = cross[best] / np.sqrt(np.square(found).sum() * np.square(wanted).sum() + 1e-12)
    return best - size * (best > size // 2), float(alike)


LIES = {
    "says 0 bytes": {"size": 0, "riff": 0},
    "says too many bytes": {"size": 10_000_000, "riff": 10_000_036},
    "says 4 GB": {"size": 0xFFFFFFFF, "riff": 0xFFFFFFFF},
    "says half its bytes": {"size": 32_000},
    "says 1 byte a second": {"byte_rate": 1},
    "says 0 bytes a second": {"byte_rate": 0},
    "says blocks of 3 bytes": {"align": 3},
    "says blocks of 0 bytes": {"align": 0},
}


def odd_files(folder: Path) -> dict[str, Path]:
    """One file of each kind, all of the same two seconds of speech as far as they can be."""
    made: dict[str, Path] = {}

    def place(name: str, file: str) -> Path:
        made[name] = folder / f"{len(made):02}" / file
        made[name].parent.mkdir(parents=True)
        return made[name]

    for name, (file, codec, rate) in {**EXACT, **LOSSY}.items():
        encode(place(name, file), speech(rate)[None], rate, codec)
    for name, lies in LIES.items():
        place(name, "a.wav").write_bytes(wav(pcm16(speech()), RATE, **lies))
    here, none = speech(), np.zeros_like(speech())
    for name, layout, channels in (
        ("stereo", "stereo", [here, here]),
        ("left only", "stereo", [here, none]),
        ("inverted", "stereo", [here, -here]),
        ("5.1", "5.1", [none, none, here, none, none, none]),
        ("7.1 side only", "7.1", [none] * 6 + [here, none]),
    ):
        encode(place(name, "a.wav"), np.stack(channels), RATE, "pcm_s16le", layout)
    place("24 channels", "a.wav").write_bytes(wav(pcm16(np.stack([here] + [none] * 23, 1)), RATE, channels=24))
    hot = {"beyond full scale": 10.0, "as if 16 bit": 32768.0}
    for name, gain in hot.items():
        place(name, "a.wav").write_bytes(wav((gain * here).astype("<f4").tobytes(), RATE, kind=3, bits=32))
    damaged = here.astype("<f4")
    damaged[8000:8400], damaged[20_000], damaged[21_000] = np.nan, np.inf, -np.inf
    place("nan", "a.wav").write_bytes(wav(damaged.tobytes(), RATE, kind=3, bits=32))
    place("clipped", "a.wav").write_bytes(wav(pcm16(50 * here), RATE))
    place("offset", "a.wav").write_bytes(wav(pcm16(0.5 * here + 0.6), RATE))
    place("cut off", "a.wav").write_bytes(wav(pcm16(here), RATE)[:40_001])
    place("20 ms", "a.wav").write_bytes(wav(pcm16(here[8000:8320]), RATE))
    place("one sample", "a.wav").write_bytes(wav(pcm16(here[8000:8001]), RATE))
    place("silence", "a.wav").write_bytes(wav(pcm16(none), RATE))
    place("nothing but nan", "a.wav").write_bytes(wav(np.full(RATE, np.nan, "<f4").tobytes(), RATE, kind=3, bits=32))
    long = "声 " + "é" * 80 + "'\"$ .wav"
    place("long name", long).write_bytes(wav(pcm16(here), RATE))
    return made
