"""A picture of what an encoder hears, beside loudness, pitch and voice activity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from realtalk_core.types import AudioFeatures, concat_features

SECONDS = 60.0
"""How much of a sound is shown, from its beginning."""
MOST_FEATURES = 512


def plot_features(parts: Sequence[AudioFeatures], target: Path, title: str) -> None:
    """Draws rows as a picture: time to the right, each feature standardised; prosody below where it is known.

    Of windows the middle row is shown.

    Args:
        parts: Consecutive rows.
        target: A `.png` file, written as it is named.
        title: Heading.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    features = concat_features(list(parts))
    values = features.values if features.values.ndim == 2 else features.values[:, features.values.shape[1] // 2]
    rows = values.numpy()
    rows = rows[:, :: -(-rows.shape[1] // MOST_FEATURES)]
    shown = (rows - rows.mean(0)) / np.maximum(rows.std(0), 1e-3 * max(float(rows.std()), 1e-9))
    end = len(rows) / features.fps
    said = features.prosody
    lines = [] if said is None else [name for name in ("loudness", "f0", "activity") if getattr(said, name) is not None]
    figure = Figure(figsize=(12, 4 + 1.3 * len(lines)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1 + len(lines), 1, sharex=True, squeeze=False, height_ratios=[4] + [1.3] * len(lines))[:, 0]
    axes[0].imshow(shown.T, aspect="auto", origin="lower", extent=(0, end, 0, rows.shape[1]), vmin=-2.5, vmax=2.5)
    axes[0].set(ylabel="feature", title=title)
    times = (np.arange(len(rows)) + 0.5) / features.fps
    units = {"loudness": "loudness, dB", "f0": "pitch, Hz", "activity": "voice"}
    for axis, name in zip(axes[1:], lines, strict=True):
        line = getattr(said, name).numpy()
        axis.plot(times, np.where(line > 0, line, np.nan) if name == "f0" else line, linewidth=0.8)
        axis.set_ylabel(units[name])
    axes[-1].set_xlabel("seconds")
    figure.savefig(target, dpi=90, format="png")
