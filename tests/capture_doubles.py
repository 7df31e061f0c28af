"""Doubles for the capture tests: a drawn video whose truth is known, and a tracker that sees what it is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from realtalk_core.capture import Capture
from realtalk_core.testing import make_capture
from realtalk_core.testing.face import neutral_face
from realtalk_core.types import Face


class TruthTracker:
    """Reports the drawn faces' true points with a little noise; frames named in `lost` have none."""

    def __init__(self, truth: Capture, lost: Iterable[int] = (), noise: float = 0.3, extra: bool = False) -> None:
        self.truth, self.lost, self.noise, self.extra = truth, set(lost), noise, extra
        self.tracked = 0

    def track(self, pictures: Iterable[np.ndarray], fps: float) -> Iterator[Sequence[Face]]:
        rng = np.random.default_rng(0)
        for index, _ in enumerate(pictures):
            self.tracked += 1
            if index in self.lost or index >= len(self.truth):
                yield []
                continue
            points = self.truth.tracks.image_points[index].numpy()
            noisy = (points + self.noise * rng.standard_normal(points.shape)).astype(np.float32)
            faces = [Face(torch.from_numpy(noisy), "mediapipe478", 1.0, self.truth.tracks.blendshapes[index])]
            if self.extra:  # somebody small in a corner
                small = (0.2 * points + (5.0, 5.0, 0.0)).astype(np.float32)
                faces.insert(0, Face(torch.from_numpy(small), "mediapipe478", 1.0))
            yield faces


class OvalSegmenter:
    """Takes the person for an oval about the face: quick, and good enough where masks are not the matter."""

    name = "oval"

    def __call__(self, picture: np.ndarray, points: np.ndarray | None) -> np.ndarray:
        assert points is not None
        (x, y), (wide, tall) = points[:, :2].mean(0), np.ptp(points[:, :2], axis=0)
        rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
        far = ((columns - x) / (0.8 * wide)) ** 2 + ((rows - y) / (0.9 * tall)) ** 2
        return np.clip(3 - 2 * far, 0, 1).astype(np.float32)


def quick(patch: Any, segmenter: type = OvalSegmenter, overview: bool = False) -> None:
    """Needs no model file, and leaves out what takes time and is tested elsewhere."""
    patch.setattr("realtalk_core.capturing.poses.canonical_face", neutral_face)
    patch.setattr("realtalk_core.capturing.passes.make_segmenter", segmenter)
    patch.setattr("realtalk_core.capturing.solve.DISTANCES_CM", (35.0, 60.0, 100.0))
    patch.setattr("realtalk_core.capturing.pictures.SURVEY_FRAMES", 12)
    if not overview:
        patch.setattr("realtalk_core.capturing.passes.write_overview", lambda c, m, file: file.write_bytes(b"drawn"))


def drawn_video(folder: Path, seconds: float = 2.0, size: int = 128, sound: bool = True) -> tuple[Path, Capture]:
    """A synthetic capture, and the same as a video file."""
    truth = make_capture(folder / "truth", seconds=seconds, size=size)
    file = folder / "video.mkv"
    with av.open(str(file), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width = stream.height = size
        stream.bit_rate = 4_000_000
        voice = out.add_stream("pcm_s16le", rate=truth.audio.sample_rate, layout="mono") if sound else None
        for k in range(len(truth)):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(truth.frame(k), "rgb24")))
        out.mux(stream.encode(None))
        if voice is not None:
            samples = (truth.audio.samples.numpy() * 32767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(samples, "s16", "mono")
            frame.sample_rate, frame.pts = truth.audio.sample_rate, 0
            frame.time_base = Fraction(1, truth.audio.sample_rate)
            out.mux(voice.encode(frame))
    return file, truth
