"""Self-reconstruction: an avatar made to repeat what its person was filmed doing, measured against the film."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from realtalk_core.avatar import Avatar
from realtalk_core.capture import Capture
from realtalk_core.config.needs import wanted_prosody
from realtalk_core.evaluation import crop, landmark_box, perceptual_distance, project, psnr, spread, ssim
from realtalk_core.footage import CaptureFootage
from realtalk_core.hearing.cache import heard
from realtalk_core.person import Person
from realtalk_core.scene import Scene
from realtalk_core.training.data import TrainingData
from realtalk_core.training.measure import measure_landmarks, measure_renderer, render_frames
from realtalk_core.training.session import fitted, split_frames
from realtalk_core.types import CameraTrack, FrameBatch

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Replay:
    """The film's own poses, frame by frame, in place of `Motion`."""

    person: Person

    def frames(self, start: int, count: int) -> Int[Tensor, "T"]:
        """Frame k shows frame k."""
        return torch.arange(start, start + count)

    def cameras(self, start: int, count: int) -> CameraTrack:
        """The tracked cameras."""
        return self.person.cameras[start : start + count]


def reconstruct(
    avatar: Avatar, capture: Capture, *, split: float, count: int = 24, progress: Progress = lambda *_: None
) -> dict[str, float]:
    """Measures an avatar on the part of its capture that it has not learnt from.

    Args:
        avatar: The avatar.
        capture: The capture it was trained on, or another of the same person.
        split: Share of the capture to pass over; 0 measures all of it.
        count: Frames to render, evenly spread.
        progress: Called with (what, done, total).

    Returns:
        `frame_psnr`, `frame_ssim`, `face_psnr`, `face_ssim` of finished pictures (rendered from the tracked landmarks)
        within the whole picture and the landmarks' box, and `frame_lpips`, `face_lpips` where LPIPS is on this machine;
        `head_psnr`, of the rendered head alone; and of the landmarks generated from the sound `mouth_correlation`,
        `mouth_amplitude`, `landmark_error_cm`.
    """
    _, held_out = split_frames(capture, split) if split > 0 else (None, capture.training_frames())
    train = capture.training_frames(split) if split > 0 else held_out
    encoder, renderer = avatar.component("audio"), avatar.component("renderer")
    chosen = avatar.config.stages
    features = fitted(heard(capture, chosen["audio"], encoder, wanted_prosody(chosen)), len(capture))
    data = TrainingData(capture, features, train, held_out)
    person, size = Person.from_capture(capture, train), capture.size
    scene = Scene(CaptureFootage(capture), Replay(person), size)
    side = min(size, int(getattr(renderer, "render_size", None) or size))
    rows: dict[str, list[float]] = {}
    lpips = perceptual_distance()
    frames = spread(held_out if held_out.numel() else train, count)
    for done, frame in enumerate(frames.tolist()):
        rgb, alpha = render_frames(renderer, data, torch.tensor([frame]), side)
        here = slice(frame, frame + 1)
        cameras = capture.cameras[here]
        made = scene.compose(FrameBatch(rgb, alpha, 0), frame, capture.landmarks[here], cameras)[0].numpy()
        truth = capture.frame(frame)
        box = landmark_box(project(capture.landmarks[here], cameras)[0], size)
        for name, area in (("frame", (0, 0, size, size)), ("face", box)):
            rows.setdefault(f"{name}_psnr", []).append(psnr(crop(made, area), crop(truth, area)))
            rows.setdefault(f"{name}_ssim", []).append(ssim(crop(made, area), crop(truth, area)))
            if lpips is not None:
                rows.setdefault(f"{name}_lpips", []).append(lpips(crop(made, area), crop(truth, area)))
        progress("evaluate", done + 1, len(frames))
    result = {name: round(float(np.mean(values)), 4) for name, values in rows.items()}
    result["head_psnr"] = next(iter(measure_renderer(renderer, data).values()))
    return {**result, **measure_landmarks(avatar.component("landmarks"), data)}
