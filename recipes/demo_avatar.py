"""How the demo's avatar and its recorded speech were made; `make demo-train` goes the same way for another actor.

    python recipes/demo_avatar.py speech                      # the recorded speech; needs realtalk[espeak]
    python recipes/demo_avatar.py avatar --work out/shipped   # the shipped avatar; --ship puts it into the plugin
    python recipes/demo_avatar.py avatar --quick --seed 7 --work out/actor

Everything is a function of the seed and the options. Landmark generator and emotion deformer learn from the part in
which the actor speaks neutrally, beginning with the shipped priors; the renderer learns from everything, so that it has
seen smiles, teeth and shut lids.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

from realtalk_actor.actor import Actor
from realtalk_actor.command import FPS, SENTENCES
from realtalk_actor.performance import perform
from realtalk_actor.picture import Camera
from realtalk_actor.record import write_capture
from realtalk_core.atomic import atomic_file, write_text
from realtalk_core.audio import resample
from realtalk_core.capture import Capture
from realtalk_core.cli.progress import Bars
from realtalk_core.config import load_config
from realtalk_core.emotion import parse_emotion
from realtalk_core.training.session import Session
from realtalk_core.types import AudioClip
from realtalk_core.voice import Phoneme, Speech
from realtalk_demo import DATA
from realtalk_demo.recorded import RecordedVoice

SEED = 9
VOICE, WORDS_PER_MINUTE = "en-us+f3", 150
DEMO_LINES = (
    ("Hello!", "neutral"), ("I am so happy to see you.", "happy"), ("Oh! You can hear me?", "surprise"),
    ("I am sad when you go.", "sad"), ("Do not close this window!", "angry"),
)  # fmt: skip
IDLE_SECONDS = 8.0
"""Silent beginning: the film that the avatar keeps, and what stillness looks like."""
NEUTRAL = (0, 2, 4, 6)
"""Sentences spoken neutrally."""
EMOTIONAL = (
    (1, "happy"), (3, "surprise"), (5, "sad"), (7, "angry"), (2, "disgust"), (4, "fear"), (6, "contempt"),
    (3, "happy"), (0, "angry"), (7, "sad"),
)  # fmt: skip
QUICK_EMOTIONAL = EMOTIONAL[:7]
LEAST_PER_EMOTION = 2.0
OPUS_RATE, OPUS_BITS = 24_000, 32_000
GAP = 0.1


def record_speech() -> None:
    """Speaks every sentence with eSpeak NG and stores sound and phonemes."""
    from realtalk_espeak import EspeakConfig
    from realtalk_espeak.voice import EspeakVoice

    voice = EspeakVoice(EspeakConfig(voice=VOICE, words_per_minute=WORDS_PER_MINUTE))
    lines, samples, at = [], [], 0.0
    for text, emotion in (*DEMO_LINES, *((sentence, "") for sentence in SENTENCES)):
        speech = voice.speak(text)
        clip = resample(speech.clip, OPUS_RATE)
        phonemes = [[p.ipa, round(p.start, 4), round(p.end, 4)] for p in speech.phonemes]
        lines.append({"text": text, "emotion": emotion, "start": round(at, 4), "seconds": round(clip.seconds, 4),
                      "phonemes": phonemes})  # fmt: skip
        samples += [clip.samples, torch.zeros(round(GAP * OPUS_RATE))]
        at += clip.seconds + GAP
    DATA.mkdir(exist_ok=True)
    write_opus(DATA / "speech.opus", AudioClip(torch.cat(samples), OPUS_RATE))
    made = {"made_by": "eSpeak NG", "voice": VOICE, "words_per_minute": WORDS_PER_MINUTE, "lines": lines}
    write_text(DATA / "speech.json", json.dumps(made, ensure_ascii=False) + "\n")


def write_opus(path: Path, clip: AudioClip) -> None:
    """Writes mono Opus in Ogg."""
    with atomic_file(path) as partial, av.open(str(partial), "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=clip.sample_rate, layout="mono")
        stream.bit_rate = OPUS_BITS
        for start in range(0, len(clip.samples), 960):
            block = np.ascontiguousarray(clip.samples.numpy()[None, start : start + 960])
            frame = av.AudioFrame.from_ndarray(block, format="flt", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = clip.sample_rate, start, Fraction(1, clip.sample_rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def script(parts: tuple[tuple[int, str], ...]) -> tuple[Speech, str, float]:
    """What the actor says, in which emotions, and when the neutral part ends."""
    voice = RecordedVoice()
    rate = voice.speak(SENTENCES[0]).clip.sample_rate
    samples = [torch.zeros(round(IDLE_SECONDS * rate))]
    phonemes, timeline, at = [Phoneme("", 0.0, IDLE_SECONDS)], ["neutral@0"], IDLE_SECONDS
    neutral_until = 0.0
    for sentence, emotion in (*((k, "neutral") for k in NEUTRAL), *parts):
        speech = voice.speak(SENTENCES[sentence])
        if emotion != "neutral":
            neutral_until = neutral_until or at
            timeline.append(f"{emotion}@{at:.3f}")
        samples.append(speech.clip.samples)
        phonemes += [Phoneme(p.ipa, p.start + at, p.end + at) for p in speech.phonemes]
        at += speech.clip.seconds
    return Speech(AudioClip(torch.cat(samples), rate), tuple(phonemes)), " ".join(timeline), neutral_until


def record_actor(folder: Path, seed: int, size: int, quick: bool) -> float:
    """Lets the actor perform the script; returns the share of the capture that is neutral."""
    speech, timeline, neutral_until = script(QUICK_EMOTIONAL if quick else EMOTIONAL)
    frames = round(speech.clip.seconds * FPS)
    share = (neutral_until * FPS - 10) / frames  # the cross-fade of the first emotion begins before it
    job = {"actor": seed, "emotion": timeline, "size": size, "frames": frames}
    if (folder / "capture.yaml").is_file() and Capture.open(folder).meta.get("job") == job:
        return share
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    performance = perform(speech, parse_emotion(timeline).track(frames, FPS), seed, motion=MOTION)
    with Bars("frames") as bars:
        write_capture(folder, Actor(seed), Camera(size, view=VIEW, height=HEIGHT), performance, job,
                      with_normals=False, progress=lambda done, total: bars("frames", done, total))  # fmt: skip
    return share


MOTION, VIEW, HEIGHT = 0.6, 28.0, 0.0


def train(capture: Path, avatar: Path, size: int, steps: int, share: float) -> None:
    """Trains every stage: speech and emotion on the neutral part, the renderer on everything."""
    sets = [f"renderer.size={size}", f"renderer.steps={steps}"]
    opened = Capture.open(capture)
    for stages, split in ((("audio", "landmarks", "emotion"), share), (("renderer",), 1.0)):
        with Bars("steps") as bars:
            Session(opened, avatar, load_config(preset="quick", sets=sets), stages, split, 0, CONSENT,
                    progress=bars).run()  # fmt: skip


CONSENT = "a synthetic person, computed by realtalk actor; nobody's likeness"


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speech", "avatar"))
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--work", type=Path, default=Path("out/actor"))
    parser.add_argument("--size", type=int, default=None)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    if given.what == "speech":
        record_speech()
        return
    size = given.size or (256 if given.quick else 384)
    began = time.monotonic()
    share = record_actor(given.work / "capture", given.seed, size, given.quick)
    sys.stdout.write(f"recorded: {time.monotonic() - began:.0f} s\n")
    train(given.work / "capture", given.work / "avatar", size, given.steps or (1000 if given.quick else 2000), share)
    sys.stdout.write(f"trained: {time.monotonic() - began:.0f} s\n")


if __name__ == "__main__":
    main()
