"""How the demo's avatar and its recorded speech were made; `make demo-train` goes the same way with another actor.

    python recipes/demo_avatar.py speech    # the recorded speech: plugins/realtalk_demo/data/speech.*; needs realtalk[espeak]
    python recipes/demo_avatar.py ship      # the shipped avatar: plugins/realtalk_demo/data/avatar
    python recipes/demo_avatar.py train --seed 7 --work out/actor-7    # another one, in a quarter of an hour

Everything is a function of the options. The actor is silent first, then speaks neutrally, then in every emotion. The
sound-driven stages learn from the neutral part, beginning with the shipped priors; the renderer learns from all of it,
so that it has seen smiles, teeth and shut lids. The silent part is the film that the avatar keeps.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from realtalk_actor.actor import Actor
from realtalk_actor.command import FPS, SENTENCES
from realtalk_actor.performance import perform
from realtalk_actor.picture import Camera
from realtalk_actor.record import write_capture
from realtalk_core.atomic import atomic_file, write_text
from realtalk_core.avatar import Avatar, read_meta, write_meta
from realtalk_core.capture import Capture
from realtalk_core.capturing.workplace import finished, workplace
from realtalk_core.cli.progress import Bars, spoken
from realtalk_core.compact import compact
from realtalk_core.config import load_config
from realtalk_core.emotion import parse_emotion
from realtalk_core.errors import UserError
from realtalk_core.plugins import discover
from realtalk_core.training.loop import TrainingStopped
from realtalk_core.training.session import Session
from realtalk_core.types import AudioClip
from realtalk_core.voice import Phoneme, Speech, join, speak
from realtalk_demo import AVATAR, DATA
from realtalk_demo.recorded import RecordedVoice

CONSENT = "a synthetic person, computed by `realtalk actor`: nobody's likeness"

# ---- what is recorded ------------------------------------------------------------------------------------------------
VOICE, WORDS_PER_MINUTE = "en-us", 150
DEMO_LINES = (
    ("Hello!", "neutral"), ("I am so happy to see you.", "happy:0.85"), ("Oh! You can hear me?", "surprise"),
    ("I am sad when you go.", "sad"), ("Do not close this window!", "angry"),
)  # fmt: skip
OPUS_RATE, OPUS_BITS, OPUS_FRAME = 24_000, 32_000, 480
GAP_SECONDS = 0.1

# ---- what the actor does ---------------------------------------------------------------------------------------------
IDLE_SECONDS = 8.0
NEUTRAL = (0, 2, 4, 6)
EMOTIONAL = (
    (1, "happy"), (3, "surprise"), (5, "sad"), (7, "angry"), (2, "disgust"), (4, "fear"), (6, "contempt"),
)  # fmt: skip
HALF = 0.5
"""Intensity in the first part of each emotional sentence; the rest is acted in full."""
HALF_SECONDS = 1.2
MOTION = 0.6
VIEW_CM, CAMERA_HEIGHT_CM = 30.5, -0.6


@dataclass(frozen=True)
class Plan:
    """What a run makes.

    Attributes:
        seed: Which actor.
        size: Side of the pictures in pixels.
        steps: Training steps of the renderer.
        work: Where everything goes.
    """

    seed: int
    size: int
    steps: int
    work: Path


def record_speech() -> None:
    """Speaks every sentence with eSpeak NG and stores sound and phonemes."""
    from realtalk_espeak import EspeakConfig
    from realtalk_espeak.voice import EspeakVoice

    voice = EspeakVoice(EspeakConfig(voice=VOICE, words_per_minute=WORDS_PER_MINUTE))
    lines, samples, at = [], [], 0.0
    for text, emotion in (*DEMO_LINES, *((sentence, "") for sentence in SENTENCES)):
        speech = speak(voice, text, OPUS_RATE)
        phonemes = [[p.ipa, round(p.start, 4), round(p.end, 4)] for p in speech.phonemes]
        lines.append({"text": text, "emotion": emotion, "start": round(at, 4),
                      "seconds": round(speech.clip.seconds, 4), "phonemes": phonemes})  # fmt: skip
        samples += [speech.clip.samples, torch.zeros(round(GAP_SECONDS * OPUS_RATE))]
        at += speech.clip.seconds + GAP_SECONDS
    DATA.mkdir(exist_ok=True)
    write_opus(DATA / "speech.opus", AudioClip(torch.cat(samples), OPUS_RATE))
    made = {"made_by": "eSpeak NG", "voice": VOICE, "words_per_minute": WORDS_PER_MINUTE, "lines": lines}
    write_text(DATA / "speech.json", json.dumps(made, ensure_ascii=False) + "\n")


def write_opus(path: Path, clip: AudioClip) -> None:
    """Writes mono Opus in Ogg; the same sound gives the same file."""
    exact = {"fflags": "+bitexact"}
    with atomic_file(path) as partial, av.open(str(partial), "w", format="ogg", options=exact) as container:
        stream = container.add_stream("libopus", rate=clip.sample_rate, layout="mono")
        stream.bit_rate = OPUS_BITS
        for start in range(0, len(clip.samples), OPUS_FRAME):
            block = np.ascontiguousarray(clip.samples.numpy()[None, start : start + OPUS_FRAME])
            frame = av.AudioFrame.from_ndarray(block, format="flt", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = clip.sample_rate, start, Fraction(1, clip.sample_rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def script() -> tuple[Speech, str, float]:
    """What the actor says, in which emotions, and when the neutral part ends."""
    voice = RecordedVoice()
    rate = voice.speak(SENTENCES[0]).clip.sample_rate
    silence = Speech(AudioClip(torch.zeros(round(IDLE_SECONDS * rate)), rate), (Phoneme("", 0.0, IDLE_SECONDS),))
    neutral = join([silence, *(voice.speak(SENTENCES[k]) for k in NEUTRAL)])
    parts, timeline, at = [neutral], ["neutral@0"], neutral.clip.seconds
    for sentence, emotion in EMOTIONAL:
        parts.append(voice.speak(SENTENCES[sentence]))
        timeline += [f"{emotion}:{HALF}@{at:.3f}", f"{emotion}@{at + HALF_SECONDS:.3f}"]
        at += parts[-1].clip.seconds
    return join(parts), " ".join(timeline), neutral.clip.seconds


def record_actor(plan: Plan) -> float:
    """Lets the actor perform the script, unless that is done; returns the share of the capture that is neutral."""
    speech, timeline, neutral_until = script()
    frames = round(speech.clip.seconds * FPS)
    fade = 10  # frames by which the first emotion's cross-fade may begin earlier
    share = (neutral_until * FPS - fade) / frames
    job = {"actor": plan.seed, "emotion": timeline, "size": plan.size, "frames": frames, "motion": MOTION,
           "camera": [VIEW_CM, CAMERA_HEIGHT_CM]}  # fmt: skip
    folder = plan.work / "capture"
    if finished(folder, job):
        return share
    performance = perform(speech, parse_emotion(timeline).track(frames, FPS), plan.seed, motion=MOTION)
    camera = Camera(plan.size, view=VIEW_CM, height=CAMERA_HEIGHT_CM)
    with workplace(folder, job) as place, Bars("frames") as bars:
        write_capture(place.folder, Actor(plan.seed), camera, performance, job, with_normals=False,
                      progress=lambda done, total: bars("recording", done, total))  # fmt: skip
        place.finish()
    return share


def train(plan: Plan, share: float) -> None:
    """Trains the sound-driven stages on the neutral part, then the renderer on everything; goes on where it stopped."""
    capture = Capture.open(plan.work / "capture")
    # The shipped copy stays under 10 MB, and its first film, kernels compiled on the way, under a minute.
    small = {"log2_entries": 14, "torso": False, "static_tolerance": 0.0}
    sets = {"size": plan.size, "steps": plan.steps, "warp_side": plan.size // 2, "template": "apart", **small}
    config = load_config(preset="quick", sets=[f"renderer.{name}={value}" for name, value in sets.items()])
    for stages, split in ((("audio", "landmarks", "emotion"), share), (("renderer",), 1.0)):
        with Bars("steps") as bars:
            Session(capture, plan.work / "avatar", config, stages, split, consent=CONSENT, resume=True,
                    progress=bars).run()  # fmt: skip


def make_small(plan: Plan, folder: Path) -> None:
    """Puts a small copy of the trained avatar in place of the one that is there."""
    fresh = plan.work / "small"
    shutil.rmtree(fresh, ignore_errors=True)
    compact(Avatar.open(plan.work / "avatar", discover()), fresh, seconds=IDLE_SECONDS - 0.4, start=0.0, crf=20)
    write_meta(fresh, {**read_meta(fresh), "name": "demo"})
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(fresh, folder)


def show(plan: Plan) -> None:
    """Lets the new avatar speak."""
    command = [sys.executable, "-m", "realtalk_core", "demo", "--avatar", str(plan.work / "avatar")]
    subprocess.run([*command, "-o", str(plan.work)], check=True)


def timed(steps: Sequence[tuple[str, Callable[[], Any]]]) -> None:
    """Does one thing after another and says how long each took."""
    began = time.monotonic()
    for what, do in steps:
        sys.stdout.write(f"{what} …\n")
        sys.stdout.flush()
        at = time.monotonic()
        do()
        sys.stdout.write(f"{what}: {spoken(time.monotonic() - at)} ({spoken(time.monotonic() - began)} in all)\n")
        sys.stdout.flush()


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speech", "ship", "train"))
    parser.add_argument("--seed", type=int, default=5, help="which actor")
    parser.add_argument("--work", type=Path, default=Path("out/actor"), help="where capture and avatar go")
    parser.add_argument("--size", type=int, help="side of the pictures: 384 to ship, 256 to train")
    parser.add_argument("--steps", type=int, help="training steps of the renderer: 1900 to ship, 1300 to train")
    given = parser.parse_args()
    if given.what == "speech":
        record_speech()
        return 0
    ship = given.what == "ship"
    plan = Plan(given.seed, given.size or (384 if ship else 256), given.steps or (1900 if ship else 1300), given.work)
    share = 0.0

    def record() -> None:
        nonlocal share
        share = record_actor(plan)

    last = ("Copying", lambda: make_small(plan, AVATAR)) if ship else ("Speaking", lambda: show(plan))
    try:
        timed([("Recording the actor", record), ("Training", lambda: train(plan, share)), last])
    except (KeyboardInterrupt, TrainingStopped):
        sys.stderr.write("\nStopped; the same command goes on from here.\n")
        return 130
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
