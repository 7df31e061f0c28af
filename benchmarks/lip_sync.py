"""How well generated lips follow sound on the held-out fifth of captures.

    python benchmarks/lip_sync.py CAPTURE... [--steps 250]

Trains `vae` from its shipped prior on the first 80 % and prints, for the rest: correlation of generated with tracked
lip gap, its lag in frames (positive: generated is late), spread against tracked, jitter (root mean square third
difference) of both, and the lip gap in digital silence.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from realtalk_core.capture import Capture
from realtalk_core.expression import lip_gap
from realtalk_core.training.data import TrainingData, encoder_name
from realtalk_core.types import AudioClip, AudioFeatures
from realtalk_mel import MelConfig
from realtalk_mel.encoder import MelEncoder
from realtalk_vae import VaeConfig
from realtalk_vae.generator import VaeGenerator


def train(capture: Capture, steps: int) -> tuple[VaeGenerator, AudioFeatures, int]:
    features = MelEncoder(MelConfig()).encode(capture.audio, capture.fps)
    first = round(0.8 * len(capture))
    frames = torch.nonzero(capture.tracks.valid).flatten()
    name = encoder_name("mel", MelConfig())
    data = TrainingData(capture, features, frames[frames < first], frames[frames >= first], encoder=name)
    generator = VaeGenerator.for_training(VaeConfig(steps=steps), data)
    (optimizer,) = generator.optimizers()
    for step in range(steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        generator.training_step(generator.batch(data, step), step)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(generator.net.parameters(), generator.gradient_clip)
        optimizer.step()
        generator.after_step(step)
    return generator, features, first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("captures", nargs="+")
    parser.add_argument("--steps", type=int, default=250)
    args = parser.parse_args()
    print(f"{'capture':24} {'r':>6} {'lag':>4} {'spread':>7} {'jitter':>7} {'tracked':>8} {'silence cm':>11} {'s':>5}")
    for path in args.captures:
        capture, began = Capture.open(path), time.monotonic()
        generator, features, first = train(capture, args.steps)
        seconds = time.monotonic() - began
        made = lip_gap(generator.generate(features).points)[: len(capture)]
        made, true = made[first:].numpy(), lip_gap(capture.tracks.landmarks)[first : first + len(made) - first].numpy()
        scores = {k: np.corrcoef(made[5 + k : len(made) - 5 + k], true[5:-5])[0, 1] for k in range(-5, 6)}
        quiet = MelEncoder(MelConfig()).encode(AudioClip(torch.zeros(48000), 16000), capture.fps)
        jitter = [float(np.sqrt(np.square(np.diff(x, n=3)).mean())) for x in (made, true)]
        rest = float(lip_gap(generator.generate(quiet).points)[10:-10].mean())
        print(
            f"{capture.path.name:24} {scores[0]:6.3f} {max(scores, key=scores.get):4d} {made.std() / true.std():7.2f} "
            f"{jitter[0]:7.4f} {jitter[1]:8.4f} {rest:11.3f} {seconds:5.0f}"
        )


if __name__ == "__main__":
    main()
