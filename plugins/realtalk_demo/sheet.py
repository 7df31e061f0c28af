"""The demo's contact sheet: frames of the film above the emotions, the sound, and how far the mouth opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from realtalk_core.atomic import atomic_file
from realtalk_core.emotion import LABELS, NEUTRAL
from realtalk_core.expression import lip_gap
from realtalk_core.types import EmotionTrack, LandmarkTrack

COLUMNS, ROWS, THUMB = 8, 3, 224
COLOURS = {
    "angry": "#c0392b", "contempt": "#7d6608", "disgust": "#1e8449", "fear": "#6c3483", "happy": "#f39c12",
    "neutral": "#95a5a6", "sad": "#2471a3", "surprise": "#d35400",
}  # fmt: skip


class Sheet:
    """Collects what the sheet shows while the film is made; holds a few small pictures whatever the film's length.

    Args:
        frames: Frames of the film.
        fps: Frames per second.
        emotion: One row per frame.
    """

    def __init__(self, frames: int, fps: float, emotion: EmotionTrack) -> None:
        self.frames, self.fps = frames, fps
        self.weights = emotion.weights.numpy()
        count = min(frames, COLUMNS * ROWS)
        self.wanted = [round((k + 0.5) * frames / count - 0.5) for k in range(count)]
        self.pictures: dict[int, NDArray[Any]] = {}
        self.gaps: list[NDArray[Any]] = []

    def moves(self, landmarks: LandmarkTrack) -> None:
        """Takes the next frames' landmarks."""
        self.gaps.append(lip_gap(landmarks.points).numpy())

    def shows(self, batch: Tensor, start: int) -> None:
        """Takes the next frames' pictures `T H W 3`, the first of them number `start`."""
        for frame in self.wanted:
            if start <= frame < start + len(batch):
                picture = cv2.resize(batch[frame - start].numpy(), (THUMB, THUMB), interpolation=cv2.INTER_AREA)
                self.pictures[frame] = picture

    def draw(self, samples: Tensor, rate: int, target: Path) -> None:
        """Writes the sheet.

        Args:
            samples: The sound `N`.
            rate: Its sample rate.
            target: The PNG.

        Raises:
            UserError: if it cannot be written.
        """
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(18, 11), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        rows = -(-len(self.wanted) // COLUMNS)
        parts: Any = figure.subfigures(2, 1, height_ratios=[2.45 * rows, 3.6])
        above, below = parts
        grid = above.add_gridspec(rows, COLUMNS, wspace=0.02, hspace=0.02)
        for k, frame in enumerate(self.wanted):
            axis = above.add_subplot(grid[k // COLUMNS, k % COLUMNS])
            axis.imshow(self.pictures[frame])
            axis.set_axis_off()
            axis.set_title(f"{frame / self.fps:.2f} s  {self._said(frame)}", fontsize=9)
        emotion, sound = below.subplots(2, 1, sharex=True)
        self._draw_emotion(emotion)
        self._draw_sound(sound, samples.numpy(), rate)
        with atomic_file(target) as partial:
            figure.savefig(partial, format="png")

    def _said(self, frame: int) -> str:
        row = self.weights[frame].copy()
        row[NEUTRAL] *= 0.999  # halfway, name the emotion
        best = int(row.argmax())
        return LABELS[best] if best == NEUTRAL or row[best] > 0.995 else f"{LABELS[best]} {row[best]:.2g}"

    def _draw_emotion(self, axis: Any) -> None:
        times = (np.arange(self.frames) + 0.5) / self.fps
        for k, label in enumerate(LABELS):
            if self.weights[:, k].max() > 0:
                axis.plot(times, self.weights[:, k], color=COLOURS[label], linewidth=2, label=label)
        axis.set_ylim(-0.05, 1.05)
        axis.set_ylabel("emotion")
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)

    def _draw_sound(self, axis: Any, samples: NDArray[Any], rate: int) -> None:
        seconds = self.frames / self.fps
        shown = samples[: round(seconds * rate)]
        block = max(1, len(shown) // 3000)
        peaks = np.abs(shown[: len(shown) // block * block].reshape(-1, block)).max(1)
        loudest = max(float(peaks.max(initial=0)), 1e-6)
        times = (np.arange(len(peaks)) + 0.5) * block / rate
        axis.fill_between(times, -peaks / loudest, peaks / loudest, color="#aab7c4", linewidth=0)
        axis.set_ylabel("sound")
        axis.set_yticks([])
        axis.set_xlim(0, seconds)
        axis.set_xlabel("seconds")
        other = axis.twinx()
        gap = 10 * np.concatenate(self.gaps)[: self.frames]
        other.plot((np.arange(len(gap)) + 0.5) / self.fps, gap, color="#c0392b", linewidth=1.6)
        other.set_ylabel("mouth opening, mm", color="#c0392b")
