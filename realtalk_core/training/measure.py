"""Looking at a component under training: held-out measures, and preview pictures of truth beside result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from realtalk_core.atomic import atomic_file
from realtalk_core.drives import filmed
from realtalk_core.emotion import LABELS, NEUTRAL, EmotionPlan, Key
from realtalk_core.evaluation import correlation, landmark_box, mouth_opening, project, spread
from realtalk_core.footage import write_picture
from realtalk_core.spec import Stage
from realtalk_core.training.data import TrainingData
from realtalk_core.windows import context_frames

MEASURED_FRAMES = 12
PREVIEW_FRAMES = 4
PREVIEW_SIDE = 192

Picture = NDArray[Any]
Measure = Callable[[Any], Mapping[str, float]]
Preview = Callable[[Any, Path], None]


def tools(stage: Stage, data: TrainingData) -> tuple[Measure, Preview | None]:
    """What measures a stage's component on held-out frames, and what draws it; both take an inference copy."""
    if stage == "renderer":
        return lambda made: measure_renderer(made, data), lambda made, file: draw_renderer(made, data, file)
    if stage == "landmarks":
        return lambda made: measure_landmarks(made, data), lambda made, file: draw_landmarks(made, data, file)
    if stage == "emotion":
        return lambda made: measure_emotion(made, data), None
    if stage == "audio":
        return lambda made: measure_audio(made, data), None
    return lambda _: {}, None


def shown_frames(data: TrainingData, count: int) -> Tensor:
    """Held-out frames, evenly spread; training frames where none is held out."""
    return spread(data.held_out if data.held_out.numel() else data.train, count)


@torch.no_grad()
def render_frames(renderer: Any, data: TrainingData, frames: Tensor, side: int) -> tuple[Tensor, Tensor | None]:
    """The capture's own frames rendered from their tracks: `T side side 3` and alpha.

    Each frame is rendered with the neighbours the renderer looks at, as in synthesis.
    """
    capture, reach = data.capture, context_frames(renderer, data.capture.fps)
    cameras, drive = capture.cameras.resized(side, side), filmed(capture, data.features)
    rgb, alpha = [], []
    for frame in frames.tolist():
        low, high = max(0, frame - reach), min(len(capture), frame + reach + 1)
        span = slice(low, high)
        batches = list(renderer.render(drive[span], cameras[span]))
        rgb.append(torch.cat([b.rgb for b in batches])[frame - low])
        if batches[0].alpha is not None:
            alpha.append(torch.cat([b.alpha for b in batches if b.alpha is not None])[frame - low])
    return torch.stack(rgb), torch.stack(alpha) if alpha else None


def measure_renderer(renderer: Any, data: TrainingData) -> dict[str, float]:
    """Held-out PSNR in dB over the head's pixels within the box of the landmarks, at the renderer's own size."""
    frames = shown_frames(data, MEASURED_FRAMES)
    side = int(getattr(renderer, "render_size", None) or min(data.capture.size, 256))
    pictures = _over_plate(*render_frames(renderer, data, frames, side), data, side)
    errors = []
    for picture, frame in zip(pictures, frames.tolist(), strict=True):
        truth, head, (left, top, right, bottom) = _truth(data, frame, side)
        inside = np.zeros((side, side), bool)
        inside[top:bottom, left:right] = True
        inside &= head > 0.5
        errors.append(float(np.square(picture - truth)[inside].mean()) if inside.any() else 0.0)
    name = "held_out_psnr" if data.held_out.numel() else "training_psnr"
    return {name: round(float(np.mean(-10 * np.log10(np.maximum(errors, 1e-10)))), 3)}


def draw_renderer(renderer: Any, data: TrainingData, file: Path) -> None:
    """Truth above, rendered below."""
    side = min(PREVIEW_SIDE, int(getattr(renderer, "render_size", None) or PREVIEW_SIDE))
    frames = shown_frames(data, PREVIEW_FRAMES)
    pictures = _over_plate(*render_frames(renderer, data, frames, side), data, side)
    truth = np.concatenate([_truth(data, frame, side)[0] for frame in frames.tolist()], 1)
    sheet = np.concatenate([truth, np.concatenate(list(pictures), 1)])
    write_picture(file, (sheet.clip(0, 1) * 255).round().astype(np.uint8))


def _truth(data: TrainingData, frame: int, side: int) -> tuple[Picture, Picture, tuple[int, int, int, int]]:
    capture = data.capture
    cameras = capture.cameras[frame : frame + 1].resized(side, side)
    box = landmark_box(project(capture.landmarks[frame : frame + 1], cameras)[0], side)
    return _unit(capture.frame(frame, side)), _unit(capture.masks(frame, side)[..., 1]), box


def _over_plate(rgb: Tensor, alpha: Tensor | None, data: TrainingData, side: int) -> Picture:
    if alpha is None:
        return rgb.numpy()
    plate = _unit(data.capture.background(side))
    cover = alpha.numpy()
    return np.asarray(rgb.numpy() * cover + plate * (1 - cover), np.float32)


def _unit(picture: NDArray[np.uint8]) -> Picture:
    return np.asarray(picture, np.float32) / np.float32(255)


RIDGE = 10.0
"""Penalty of the linear map that `measure_audio` fits, per frame and standardised number."""


@torch.no_grad()
def measure_audio(encoder: Any, data: TrainingData) -> dict[str, float]:
    """How much of the mouth's opening on held-out frames a linear map of the encoder's rows tells: a correlation.

    The map is fitted to the frames learnt from (ridge regression).
    """
    rows = encoder.encode(data.capture.audio, data.capture.fps).rows()
    frames = data.train[data.train < len(rows)]
    judged = data.held_out[data.held_out < len(rows)]
    if len(judged) < 2:
        return {}
    opening = mouth_opening(data.capture.landmarks)
    spread_of = rows[frames].std(0).clamp_min(1e-3 * float(rows[frames].std()) + 1e-9)
    known = ((rows - rows[frames].mean(0)) / spread_of).double()
    inner = known[frames].T @ known[frames] + RIDGE * len(frames) * torch.eye(known.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(inner, known[frames].T @ (opening[frames] - opening[frames].mean()).double())
    return {"linear_mouth_correlation": round(correlation(opening[judged], (known[judged] @ weights).float()), 4)}


@torch.no_grad()
def measure_landmarks(generator: Any, data: TrainingData) -> dict[str, float]:
    """How the generated mouth follows the filmed one on held-out frames.

    The correlation is of the mouth's opening; the amplitude is the ratio of its spreads; the error is of the lips.
    """
    frames = data.held_out if data.held_out.numel() else data.train
    truth, made = _mouths(generator, data)
    filmed = data.capture.landmarks
    generated = generator.generate(data.features)
    scheme = generated.scheme
    error = (generated.points - filmed.to_scheme(scheme).points)[frames].norm(dim=-1).mean()
    return {
        "mouth_correlation": round(correlation(truth[frames], made[frames]), 4),
        "mouth_amplitude": round(float(made[frames].std() / truth[frames].std().clamp_min(1e-6)), 4),
        "landmark_error_cm": round(float(error), 4),
    }


@torch.no_grad()
def draw_landmarks(generator: Any, data: TrainingData, file: Path) -> None:
    """The mouth's opening over time, filmed and generated, around the beginning of the held-out part."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    truth, made = _mouths(generator, data)
    begin = int(data.held_out[0]) if data.held_out.numel() else 0
    seconds = np.arange(len(truth)) / data.features.fps
    span = slice(max(0, begin - 100), begin + 200)
    figure = Figure(figsize=(9, 3), dpi=100, layout="tight")
    axes = figure.add_subplot()
    axes.plot(seconds[span], truth[span], label="filmed", color="black", linewidth=1)
    axes.plot(seconds[span], made[span], label="generated", color="tab:red", linewidth=1)
    if begin:
        axes.axvline(begin / data.features.fps, color="tab:blue", linewidth=1, label="held out from here")
    axes.set(xlabel="seconds", ylabel="mouth opening, cm")
    axes.legend(fontsize="small", loc="upper right")
    with atomic_file(file) as partial, partial.open("wb") as out:
        FigureCanvasAgg(figure).print_png(out)


def _mouths(generator: Any, data: TrainingData) -> tuple[Float[Tensor, "T"], Float[Tensor, "T"]]:
    return mouth_opening(data.capture.landmarks), mouth_opening(generator.generate(data.features))


@torch.no_grad()
def measure_emotion(deformer: Any, data: TrainingData) -> dict[str, float]:
    """How far each emotion at full intensity moves the landmarks on average, in cm."""
    frames = shown_frames(data, MEASURED_FRAMES)
    faces = data.capture.landmarks
    faces = type(faces)(faces.points[frames], faces.scheme, faces.fps)
    moved = {}
    for index, label in enumerate(LABELS):
        if index != NEUTRAL:
            track = EmotionPlan((Key(0.0, label, 1.0),)).track(len(faces), faces.fps)
            change = (deformer.deform(faces, track).points - faces.points).norm(dim=-1).mean()
            moved[f"{label}_cm"] = round(float(change), 4)
    return moved
