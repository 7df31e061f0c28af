"""How well lips follow speech that they were not trained on, by audio encoder: the held-out fifth of captures.

    python benchmarks/encoders_sync.py CAPTURE... [--steps 250] [--only NAME...]

For each encoder `vae` is trained on the first 80 % of a capture, and so is the encoder itself where it learns (`ave`).
Printed for the rest, as markdown: correlation of generated with tracked lip gap, the lag at which it is greatest in
frames (positive: generated is late), and the spread against tracked. Encoders whose published weights are missing stand
there with small random ones: no result of theirs, but the floor that any encoder reaches, as loudness comes through.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from memory import take_step
from priors import scores

from realtalk_core.build import build
from realtalk_core.capture import Capture
from realtalk_core.cli.common import configuration
from realtalk_core.config.needs import wanted_prosody
from realtalk_core.expression import lip_gap
from realtalk_core.hearing.prosody import prosody
from realtalk_core.spec import ComponentConfig
from realtalk_core.testing.tiny import tiny_config_of
from realtalk_core.training.data import TrainingData, encoder_name
from realtalk_core.training.state import seed_step
from realtalk_core.types import AudioFeatures


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        component: Name of the audio encoder.
        sets: Words of `--set` beside it.
        random: Whether small random weights stand for published ones.
    """

    component: str
    sets: tuple[str, ...] = ()
    random: bool = False


ROWS = {
    "mel, prior": Row("mel"),
    "mel": Row("mel", ("landmarks.prior=none",)),
    "ave": Row("ave", ("landmarks.prior=none",)),
    "hubert (random)": Row("hubert", ("landmarks.prior=none",), random=True),
    "deepspeech (random)": Row("deepspeech", ("landmarks.prior=none",), random=True),
}


def learnt(component: Any, data: TrainingData) -> Any:
    """A component trained on data, in the order of the training loop."""
    for step in range(component.total_steps):
        seed_step(data.seed, step)
        take_step(component, data, step)
    return component


def measured(capture: Capture, row: Row, steps: int, folder: Path) -> tuple[float, int, float, float]:
    """Correlation, lag, spread and seconds of one encoder on the held-out fifth of one capture."""
    began = time.monotonic()
    sets = [f"audio={row.component}", f"landmarks.steps={steps}", *row.sets]
    stages = configuration(None, None, sets).stages
    spec, config = stages["audio"].spec, stages["audio"].config
    if row.random:
        config = tiny_config_of(spec, folder)
    first = round(0.8 * len(capture))
    frames = torch.nonzero(capture.tracks.valid).flatten()
    train, test = frames[frames < first], frames[frames >= first]
    encoder = _encoder(spec, config, capture, train)
    asked = wanted_prosody(stages)
    beside = prosody(capture.audio, capture.fps, asked) if asked else None
    heard = AudioFeatures(encoder.encode(capture.audio, capture.fps).values, capture.fps, beside)[: len(capture)]
    name = encoder_name(spec.name, config, getattr(encoder, "weights_digest", ""))
    data = TrainingData(capture, heard, train, test, encoder=name)
    generator = learnt(build(stages["landmarks"].spec, stages["landmarks"].config, data=data), data)
    made, true = lip_gap(generator.generate(heard).points), lip_gap(capture.landmarks.points)
    test = test[test < len(made)]
    r, lag = scores(made[test].numpy(), true[test].numpy())
    return r, lag, float(made[test].std() / true[test].std()), time.monotonic() - began


def _encoder(spec: Any, config: ComponentConfig, capture: Capture, train: torch.Tensor) -> Any:
    """The encoder, trained on the same frames if it learns."""
    if not hasattr(spec.load(), "for_training"):
        return build(spec, config)
    silent = AudioFeatures(torch.zeros(len(capture), 1), capture.fps)
    data = TrainingData(capture, silent, train, train[:0])
    trained = learnt(build(spec, config, data=data), data)
    return build(spec, config, tensors=trained.state())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captures", nargs="+", type=Path)
    parser.add_argument("--steps", type=int, default=250, help="of the landmark generator")
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="NAME")
    options = parser.parse_args()
    captures = [Capture.open(path) for path in options.captures]
    print("| encoder | " + " | ".join(c.path.name for c in captures) + " |\n|---|" + "---|" * len(captures))
    for name in options.only:
        cells = []
        for capture in captures:
            with tempfile.TemporaryDirectory() as folder:
                r, lag, spread, seconds = measured(capture, ROWS[name], options.steps, Path(folder))
            cells.append(f"{r:.3f}, lag {lag}, spread {spread:.2f}")
            print(f"{name} on {capture.path.name}: {seconds:.0f} s", file=sys.stderr)
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    from script import run

    run(main)
