"""What each audio encoder costs at its published size: speed, memory, look-ahead; long sound; blocks against one pass.

    python benchmarks/audio_encoders.py [--only NAME...] [--seconds 60] [--set KEY=VALUE...] [--json]
    python benchmarks/audio_encoders.py --long [--hours 2]
    python benchmarks/audio_encoders.py --whole [--only NAME...] [--seconds 60] [--set KEY=VALUE...]

Weights are random (`published_encoders.py`), written into a temporary folder as the published ones are and loaded the
same way; they change neither speed nor memory. Every encoder is measured in a process of its own, on all cores that
torch takes (`OMP_NUM_THREADS` bounds them); memory is the peak of that process, libraries included.

`--long` streams a drawn wav of that length through a tiny HuBERT: once from Python, 200 ms at a time, once through
`realtalk features`. `--whole` compares rows heard block by block with rows of one pass over everything (which Whisper
can do for 30 s at most), as root mean square of the difference over the spread of the features. Random attention hardly
prefers what is near, so what blocks cost there says little about a trained model in either direction.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from memory import peak_mb
from published_encoders import MAKERS, built, chosen, tiny_hubert

from realtalk_core.audio import stream_audio, write_wav
from realtalk_core.build import load_class
from realtalk_core.hearing import open_stream
from realtalk_core.testing.synthetic import synthetic_clip
from realtalk_core.types import AudioClip

FPS = 25.0
RATE = 16_000
PIECE_SECONDS = 0.2
WHISPER_SECONDS = 29.5
"""About what Whisper can hear in one pass."""


def sound(seconds: float) -> AudioClip:
    """Drawn speech with noise, so that no stretch of it is like another."""
    spoken = synthetic_clip(seconds)
    hiss = 0.01 * torch.randn(spoken.samples.shape, generator=torch.Generator().manual_seed(1))
    return AudioClip((spoken.samples + hiss).clamp(-1, 1), spoken.sample_rate)


def parameters(encoder: Any) -> int:
    """Numbers in the networks that an encoder holds."""
    nets = {id(v): v for v in vars(encoder).values() if isinstance(v, torch.nn.Module)}
    return sum(p.numel() for net in nets.values() for p in net.parameters())


def cost(sets: list[str], seconds: float) -> dict[str, Any]:
    """One encoder: seconds of sound per second, peak memory, look-ahead, shape of a row."""
    spec, config = chosen(sets)
    load_class(spec)
    clip = sound(seconds)
    libraries, began = peak_mb(), time.perf_counter()
    encoder = built(spec, config)
    loaded = time.perf_counter() - began
    encoder.encode(AudioClip(clip.samples[: clip.sample_rate], clip.sample_rate), FPS)
    began = time.perf_counter()
    values = encoder.encode(clip, FPS).values
    took = time.perf_counter() - began
    return {
        "parameters": parameters(encoder),
        "row": list(values.shape[1:]),
        "lookahead_s": round(float(open_stream(encoder, RATE, FPS).lookahead_seconds), 3),
        "seconds": seconds,
        "seconds_per_s": round(seconds / took, 2),
        "loading_s": round(loaded, 2),
        "peak_mb": round(peak_mb()),
        "libraries_mb": round(libraries),
        "threads": torch.get_num_threads(),
    }


def whole(sets: list[str], seconds: float) -> dict[str, Any]:
    """How far rows heard in blocks are from those of one pass, and rows of 200 ms pieces from those of the whole clip.

    Both relative to the spread of the features.
    """
    spec, config = chosen(sets)
    seconds = min(seconds, WHISPER_SECONDS) if spec.name == "whisper" else seconds
    clip = sound(seconds)
    encoder = built(spec, config)
    blocks = encoder.encode(clip, FPS).rows()
    stream = open_stream(encoder, clip.sample_rate, FPS)
    parts = [stream.feed(piece) for piece in clip.samples.split(round(PIECE_SECONDS * clip.sample_rate))]
    live = torch.cat([part for part in (*parts, stream.close()) if len(part)]).flatten(1)
    once = blocks
    if "block_seconds" in spec.config.model_fields:
        all_at_once = {"block_seconds": seconds, "margin_seconds": 0.0}
        once = built(spec, config.model_copy(update=all_at_once)).encode(clip, FPS).rows()
    spread = once.std(0).square().mean().sqrt()
    apart = (blocks - once).square().mean(1).sqrt() / spread
    pieces = (live - blocks).square().mean(1).sqrt() / spread
    return {
        "seconds": seconds,
        "rms": float(apart.square().mean().sqrt()),
        "most": float(apart.max()),
        "pieces": float(pieces.max()),
    }


def pieces(file: Path) -> Iterator[torch.Tensor]:
    for clip in stream_audio(file, RATE, PIECE_SECONDS):
        yield clip.samples


def streamed(sets: list[str], file: Path) -> dict[str, Any]:
    """A file fed 200 ms at a time; rows are counted and dropped."""
    spec, config = chosen(sets)
    load_class(spec)
    libraries = peak_mb()
    stream = open_stream(built(spec, config), RATE, FPS)
    began, rows = time.perf_counter(), 0
    for piece in pieces(file):
        rows += len(stream.feed(piece))
    rows += len(stream.close())
    return {
        "rows": rows,
        "seconds_per_s": round(rows / FPS / (time.perf_counter() - began), 1),
        "peak_mb": round(peak_mb()),
        "libraries_mb": round(libraries),
    }


def commanded(sets: list[str], file: Path) -> dict[str, Any]:
    """The same through `realtalk features`; the peak of that command's process."""
    out = file.with_name("features.safetensors")
    words = [sys.executable, "-m", "realtalk_core", "features", str(file), "-o", str(out)]
    words += [word for one in sets for word in ("--set", one)]
    began = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"realtalk features ended with {os.waitstatus_to_exitcode(status)}")
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "peak_mb": round(used.ru_maxrss * unit / 2**20),
        "seconds": round(time.perf_counter() - began, 1),
        "file_mb": round(out.stat().st_size / 2**20, 1),
    }


def long_wav(file: Path, hours: float) -> None:
    """A wav of that length, written as it is drawn."""
    minute = sound(60.0)
    write_wav(file, (minute for _ in range(max(1, round(hours * 60)))))


MEASURES = {"cost": cost, "whole": whole, "streamed": streamed, "commanded": commanded}


def apart(measure: str, sets: list[str], argument: object) -> dict[str, Any]:
    """A measure in a process of its own."""
    command = [sys.executable, __file__, "--child", json.dumps([measure, sets, argument])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def saved(name: str, folder: Path) -> list[str]:
    """Writes a model in a process of its own, whose memory goes with it; gives the words that choose it."""
    command = [sys.executable, __file__, "--child", json.dumps(["save", name, str(folder)])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    words: list[str] = json.loads(done.stdout.splitlines()[-1])
    return words


def child(measure: str, first: Any, second: Any) -> Any:
    if measure == "save":
        return MAKERS[first](Path(second))
    return MEASURES[measure](first, Path(second) if isinstance(second, str) else second)


HEADS = {
    "cost": ("encoder", "parameters", "row", "sound per second", "peak memory", "of it libraries", "look-ahead"),
    "whole": (
        "encoder",
        "of sound",
        "blocks from one pass, rms",
        "worst row",
        "200 ms pieces from the whole clip, worst row",
    ),
}


def line(kind: str, name: str, row: dict[str, Any]) -> list[str]:
    """The cells of one encoder."""
    if kind == "whole":
        return [name, f"{row['seconds']:g} s", *(f"{row[part]:.1e}" for part in ("rms", "most", "pieces"))]
    shape = " × ".join(map(str, row["row"]))
    size = f"{row['parameters'] / 1e6:.1f} M" if row["parameters"] else "none"
    speed = f"{row['seconds_per_s']:.3g} s"
    return [name, size, shape, speed, f"{row['peak_mb']} MB", f"{row['libraries_mb']} MB", f"{row['lookahead_s']:g} s"]


def each(kind: str, names: list[str], seconds: float, words: list[str], as_json: bool) -> None:
    if not as_json:
        head = HEADS[kind]
        print("| " + " | ".join(head) + " |\n|" + "---|" * len(head), flush=True)
    results = {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            results[name] = apart(kind, [*saved(name, Path(folder)), *words], seconds)
        if not as_json:
            print("| " + " | ".join(line(kind, name, results[name])) + " |", flush=True)
    if as_json:
        print(json.dumps(results, indent=2))


def long(hours: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sets, file = tiny_hubert(Path(folder) / "model"), Path(folder) / "long.wav"
        long_wav(file, hours)
        print(f"{hours:g} h of sound, {file.stat().st_size / 2**20:.0f} MB, through a tiny HuBERT")
        print(f"fed 200 ms at a time: {json.dumps(apart('streamed', sets, str(file)))}", flush=True)
        print(f"realtalk features: {json.dumps(commanded(sets, file))}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(MAKERS), default=list(MAKERS), metavar="NAME")
    parser.add_argument("--seconds", type=float, default=60.0, help="of sound")
    parser.add_argument("--set", action="append", default=[], help="as on every command: audio.PARAM=VALUE")
    parser.add_argument("--json", action="store_true", help="numbers for a script instead of a table")
    parser.add_argument("--long", action="store_true", help="long sound in constant memory")
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--whole", action="store_true", help="blocks against one pass")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(*options.child)))
        return
    seconds = options.seconds
    if seconds < 2 or options.hours <= 0:
        parser.error("--seconds must be at least 2 and --hours above 0")
    if options.long:
        long(options.hours)
    else:
        each("whole" if options.whole else "cost", options.only, seconds, options.set, options.json)


if __name__ == "__main__":
    from script import run

    run(main)
