"""overview.png: what a person needs to see to judge a capture at a glance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from realtalk_core.atomic import atomic_file
from realtalk_core.capture import PARTS, Capture
from realtalk_core.capturing.expression import project
from realtalk_core.capturing.measure import Curves
from realtalk_core.video import Picture

COLOURS: dict[str, tuple[int, int, int]] = {
    "background": (40, 60, 160), "torso": (230, 150, 40), "hair_ears": (40, 170, 80), "skin": (240, 200, 170),
    "brows": (110, 60, 20), "eyes": (255, 255, 255), "nose": (220, 80, 200), "lips": (230, 40, 60),
    "inside_mouth": (70, 10, 60),
}  # fmt: skip
FRAMES = 10
THUMB = 320


def draw_frame(capture: Capture, index: int, size: int = THUMB) -> tuple[Picture, Picture]:
    """One frame with head-space landmarks and axes projected into it, and the same with its masks tinted."""
    scale = 2 if capture.size < 2 * size else 1
    frame = cv2.resize(capture.frame(index), (size * scale, size * scale), interpolation=cv2.INTER_AREA)
    masks = capture.masks(index, size * scale)
    palette = np.array([COLOURS[name] for name in PARTS], np.uint8)
    tint = palette[masks[..., 2]].astype(np.float32)
    person = masks[..., :1].astype(np.float32) / 255
    tinted = np.where(person > 0.02, 0.55 * frame + 0.45 * tint, 0.25 * frame + 0.75 * tint * (1 - person))
    tinted = np.clip(tinted, 0, 255).astype(np.uint8)
    head = masks[..., 1] > 127
    edges, _ = cv2.findContours(head.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(tinted, edges, -1, (255, 255, 0), 1, cv2.LINE_AA)
    _draw_head(frame, capture, index)
    shrink = [cv2.resize(p, (size, size), interpolation=cv2.INTER_AREA) for p in (frame, tinted)]
    return np.asarray(shrink[0], np.uint8), np.asarray(shrink[1], np.uint8)


def _draw_head(picture: Picture, capture: Capture, index: int) -> None:
    tracks = capture.tracks
    pose = tracks.pose[index : index + 1].double().numpy()
    intrinsics = tracks.intrinsics.double().numpy() * np.array([[picture.shape[0] / capture.size]] * 2 + [[1.0]])
    seen = bool(tracks.valid[index])
    points, _ = project(tracks.landmarks[index].double().numpy(), pose, intrinsics)
    for x, y in points[0]:
        cv2.circle(
            picture, (round(x * 8), round(y * 8)), 10, (90, 255, 90) if seen else (255, 60, 60), -1, cv2.LINE_AA, 3
        )
    origin = tracks.neutral.double().numpy()[[1 if len(tracks.neutral) == 478 else 30]]
    ends = np.concatenate([origin, origin + 5.0 * np.eye(3)])
    where, _ = project(ends, pose, intrinsics)
    start = tuple(int(v) for v in where[0, 0].round())
    for end, colour in zip(where[0, 1:], ((255, 60, 60), (60, 255, 60), (80, 120, 255)), strict=True):
        cv2.line(picture, start, tuple(int(v) for v in end.round()), colour, 3, cv2.LINE_AA)


def write_overview(capture: Capture, curves: Curves, target: Path) -> None:
    """Draws frames spread over the clip, the plate, and mouth opening against loudness.

    Raises:
        UserError: if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    picked = np.unique(np.linspace(0, len(capture) - 1, FRAMES).round().astype(int))
    figure = Figure(figsize=(16, 13.4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(2, 1, height_ratios=[5.6, 1.0])
    pictures, below = parts
    grid = pictures.add_gridspec(4, 5)
    for k, index in enumerate(picked):
        row, column = divmod(k, 5)
        for part, picture in enumerate(draw_frame(capture, int(index))):
            axis = pictures.add_subplot(grid[2 * row + part, column])
            axis.imshow(picture)
            axis.set_axis_off()
            if not part:
                note = "" if bool(capture.tracks.valid[index]) else "  (no face)"
                axis.set_title(f"{index / capture.fps:.1f} s{note}", fontsize=9)
    curve, axis = below.subplots(1, 2, width_ratios=[5, 1])
    _draw_curves(curve, capture, curves)
    axis.imshow(capture.background(THUMB))
    axis.set_title("background plate", fontsize=9)
    axis.set_axis_off()
    with atomic_file(target) as partial:
        figure.savefig(partial, format="png")


def _draw_curves(axis: Any, capture: Capture, curves: Curves) -> None:
    """The liveliest fifteen seconds, so that single syllables can be told."""
    window = min(len(curves.mouth), round(15 * capture.fps))
    moves = np.abs(np.diff(curves.mouth, prepend=curves.mouth[:1]))
    sums = np.convolve(moves, np.ones(window), mode="valid")
    start = int(np.argmax(sums))
    span: NDArray[np.int64] = np.arange(start, start + window)
    axis.plot(span / capture.fps, 10 * curves.mouth[span], color="tab:red", linewidth=1.2)
    axis.set_ylabel("mouth opening, mm", color="tab:red", fontsize=9)
    axis.set_xlabel("seconds", fontsize=9)
    axis.set_xlim(span[0] / capture.fps, (span[-1] + 1) / capture.fps)
    axis.set_title("mouth opening against loudness, where the mouth moves most", fontsize=9)
    if len(curves.loudness):
        other = axis.twinx()
        other.plot(span / capture.fps, np.maximum(curves.loudness[span], -60), color="tab:blue", linewidth=0.9)
        other.set_ylabel("loudness, dB", color="tab:blue", fontsize=9)
