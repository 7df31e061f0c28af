"""Checks of every component that the kit can run, whatever its stage."""

from __future__ import annotations

import copy
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from realtalk_core.stages import Stateful, StreamingEncoder
from realtalk_core.testing.checks import RUNNABLE, CheckSkipped, check, require
from realtalk_core.testing.subject import FPS, LONG_SECONDS, Subject, accepts_start, seed_globally
from realtalk_core.testing.synthetic import motion, synthetic_clip
from realtalk_core.types import AudioClip, LandmarkTrack

EXACT = 1e-5
"""Largest difference that counts as none: threads may add in another order."""
CHUNKED = 1e-3
"""Largest difference between chunked and whole, as a share of the output's spread."""


def difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """The largest difference between two outputs; infinite if their shapes differ; NaN equals NaN."""
    if {k: v.shape for k, v in first.items()} != {k: v.shape for k, v in second.items()}:
        return float("inf")
    return max((_apart(first[name], second[name]) for name in first), default=0.0)


def _apart(a: Tensor, b: Tensor) -> float:
    return float((a.detach().float().nan_to_num() - b.detach().float().nan_to_num()).abs().max()) if a.numel() else 0.0


@check("build/succeeds")
def build_succeeds(subject: Subject) -> None:
    """It is built from its tiny configuration, and from a capture and a few steps if it learns."""
    subject.built()


@check("run/succeeds", RUNNABLE)
def run_succeeds(subject: Subject) -> None:
    """It takes the standard input of its stage."""
    subject.component  # noqa: B018  # skips if it could not be built
    if isinstance(subject._output, Exception):
        raise subject._output


@check("output/finite", RUNNABLE)
def output_finite(subject: Subject) -> None:
    """No output is NaN or infinite."""
    for name, tensor in subject.output.items():
        bad = int((~torch.isfinite(tensor)).sum())
        require(not bad, f"{bad} of {tensor.numel()} numbers of {name} are NaN or infinite")


@check("output/detached", RUNNABLE)
def output_detached(subject: Subject) -> None:
    """Outputs carry no gradient: a long video must not hold every frame's history."""
    for name, tensor in subject.output.items():
        require(not tensor.requires_grad, f"{name} requires a gradient")


@check("output/repeatable", RUNNABLE)
def output_repeatable(subject: Subject) -> None:
    """The same component gives the same output for the same input, again and again."""
    first = subject.output
    for _ in range(2):
        apart = difference(first, subject.run(subject.component))
        require(apart <= EXACT, f"a further call differs by {apart:.3g}")


@check("input/unmodified", RUNNABLE)
def input_unmodified(subject: Subject) -> None:
    """The input is left as it was."""
    subject.needs_output()
    before = copy.deepcopy(list(_arrays(subject.input())))
    subject.run(subject.component)
    for place, (was, now) in enumerate(zip(before, _arrays(subject.input()), strict=True)):
        require(np.array_equal(was, now), f"input array {place} of shape {was.shape} was changed")


def _arrays(value: Any) -> Iterator[np.ndarray[Any, Any]]:
    if isinstance(value, Tensor):
        yield value.numpy()
    elif isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _arrays(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _arrays(getattr(value, field.name))


@check("state/round-trip", RUNNABLE)
def state_round_trip(subject: Subject) -> None:
    """State -> file -> from_state gives the same output."""
    component = subject.component
    if not isinstance(component, Stateful):
        raise CheckSkipped("it has no state")
    expected = subject.output
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.safetensors"
        state = component.state()
        wrong = [name for name, value in state.items() if not isinstance(value, Tensor)]
        require(not wrong, f"state() holds what is no tensor: {', '.join(wrong)}")
        # safetensors refuses tensors that share memory; the checkpoint writer copies them as well.
        save_file({name: tensor.detach().clone().contiguous() for name, tensor in state.items()}, file)
        config = type(subject.config).model_validate_json(subject.config.model_dump_json())
        rebuilt = subject.rebuilt(config, load_file(file))
    seed_globally(99)
    apart = difference(expected, subject.run(rebuilt))
    require(apart <= EXACT, f"the rebuilt component's output differs by {apart:.3g}")


@check("chunks/agree", ("audio", "landmarks", "emotion"))
def chunks_agree(subject: Subject) -> None:
    """Run in windows with `context_frames` (or `context_seconds`) to each side, it gives what it gives on the whole."""
    subject.needs_output()
    component = subject.component
    if subject.spec.stage == "audio" and isinstance(component, StreamingEncoder):
        raise CheckSkipped("it streams by itself (see audio/streaming)")
    frames = round(LONG_SECONDS * FPS)
    context = int(getattr(component, "context_frames", 0))
    context = max(context, int(np.ceil(getattr(component, "context_seconds", 0.0) * FPS)))
    stride = int(getattr(component, "stride", 1))
    run = _by_frames(subject, component, frames)
    whole = run(0, frames)
    spread = float(whole.std(0).mean()) + 1e-6
    for first, last in ((0, 70), (100, 140), (frames - 60, frames)):
        low = max(0, first - context) // stride * stride
        high = min(frames, last + context)
        part = run(low, high)[first - low : last - low]
        apart = float((part - whole[first:last]).abs().max()) / spread
        require(
            apart <= CHUNKED,
            f"frames {first} to {last} with a context of {context} differ by {apart:.2%} of the output's spread",
        )


def _by_frames(subject: Subject, component: Any, frames: int) -> Any:
    """The component as a function of a span of frames of one long input."""
    clip = synthetic_clip(LONG_SECONDS, 16000, seed=6)

    def start(method: Any, low: int) -> dict[str, int]:
        return {"start": low} if accepts_start(method) else {}

    if subject.spec.stage == "audio":
        per_frame = round(clip.sample_rate / FPS)
        return lambda low, high: component.encode(
            AudioClip(clip.samples[low * per_frame : high * per_frame], clip.sample_rate), FPS
        ).rows()
    if subject.spec.stage == "landmarks":
        heard = subject.listen(clip, FPS)
        return lambda low, high: component.generate(heard[low:high], **start(component.generate, low)).points
    dense = torch.from_numpy(motion(frames, 6).landmarks.astype(np.float32))
    track = LandmarkTrack(dense, "mediapipe478", FPS).to_scheme(subject.landmarks.scheme)
    emotion = subject.emotion("neutral@0 happy:0.8@2 sad@6", frames)
    return lambda low, high: component.deform(track[low:high], emotion[low:high], **start(component.deform, low)).points
