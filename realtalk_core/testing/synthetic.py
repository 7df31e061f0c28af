"""A capture made of nothing: a drawn face that speaks, with exact poses, landmarks, blendshapes and masks.

For tests and demonstrations. What real captures only estimate is known here, so a test can measure against the truth.
"""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from safetensors.torch import save_file

from realtalk_core.capture import FORMAT, Capture, Tracks
from realtalk_core.landmarks import BLENDSHAPES, LEFT_IRIS, RIGHT_IRIS
from realtalk_core.testing.drawing import Looks, Painter, plate
from realtalk_core.testing.face import expression_basis, neutral_face
from realtalk_core.testing.speech import mouth_controls, synthetic_clip

__all__ = ["Motion", "make_capture", "motion", "synthetic_clip"]

Array = np.ndarray[Any, np.dtype[np.floating[Any]]]
FPS = 25.0
FOCAL = 1.5
"""Focal length in picture sides."""
DISTANCE = 46.0
"""From camera to head origin, cm: the head with hair fills about two thirds of the picture."""


@dataclass(frozen=True)
class Motion:
    """The truth behind a synthetic capture, one row per frame.

    Attributes:
        strength: Strength of each expression in `face.EXPRESSIONS`.
        gaze: `T 2` in [-1, 1]: to the picture's right, up.
        landmarks: `T 478 3` in head space, cm.
        to_camera: `T 4 4` head-to-camera.
    """

    strength: dict[str, Array]
    gaze: Array
    landmarks: Array
    to_camera: Array

    def blendshapes(self) -> Array:
        """ARKit scores `T 52` that agree with the strengths."""
        scores = np.zeros((len(self.gaze), len(BLENDSHAPES)))
        of = self.strength
        given = {
            "jawOpen": 0.75 * of["jaw_open"],
            "mouthPucker": of["pucker"],
            "mouthFunnel": 0.5 * of["pucker"] * of["jaw_open"],
            "mouthStretchLeft": 0.5 * of["wide"],
            "mouthStretchRight": 0.5 * of["wide"],
            "mouthSmileLeft": of["smile"],
            "mouthSmileRight": of["smile"],
            "mouthUpperUpLeft": of["upper_lip"],
            "mouthUpperUpRight": of["upper_lip"],
            "eyeBlinkLeft": of["blink"],
            "eyeBlinkRight": of["blink"],
            "browInnerUp": of["brow_inner_up"],
            "browOuterUpLeft": of["brow_up"],
            "browOuterUpRight": of["brow_up"],
            "eyeLookUpLeft": np.clip(self.gaze[:, 1], 0, 1),
            "eyeLookUpRight": np.clip(self.gaze[:, 1], 0, 1),
            "eyeLookDownLeft": np.clip(-self.gaze[:, 1], 0, 1),
            "eyeLookDownRight": np.clip(-self.gaze[:, 1], 0, 1),
            "eyeLookOutLeft": np.clip(self.gaze[:, 0], 0, 1),
            "eyeLookInRight": np.clip(self.gaze[:, 0], 0, 1),
            "eyeLookInLeft": np.clip(-self.gaze[:, 0], 0, 1),
            "eyeLookOutRight": np.clip(-self.gaze[:, 0], 0, 1),
        }
        for name, values in given.items():
            scores[:, BLENDSHAPES.index(name)] = np.clip(values, 0, 1)
        return scores


def _wander(times: Array, rng: np.random.Generator, slowest: float, fastest: float) -> Array:
    """A smooth curve of about unit size: four sines of random phase."""
    rates = np.geomspace(slowest, fastest, 4) * rng.uniform(0.85, 1.15, 4)
    return np.asarray(np.sin(2 * np.pi * (times[:, None] * rates + rng.uniform(0, 1, 4))).sum(1) / 2)


def motion(frames: int, seed: int = 0) -> Motion:
    """How the face of a seed moves over frames at 25 fps; its mouth is that of `synthetic_clip` with this seed."""
    times = (np.arange(frames) + 0.5) / FPS
    at, jaw, width = mouth_controls(frames / FPS, seed)
    rng = np.random.default_rng([seed, 4])
    jaw, width = np.interp(times, at, jaw), np.interp(times, at, width)
    blink = np.zeros(frames)
    now = rng.uniform(0.4, 1.0)
    while now < times[-1] + 0.2:
        blink = np.maximum(blink, np.exp(-(((times - now) / 0.075) ** 2)))
        now += rng.uniform(1.2, 3.5)
    brow = 0.25 * _wander(times, rng, 0.1, 0.5)
    strength = {
        "jaw_open": 0.75 * jaw,
        "wide": np.clip(width, 0, 1),
        "pucker": np.clip(-width, 0, 1),
        "smile": np.clip(0.1 + 0.1 * _wander(times, rng, 0.05, 0.2), 0, 1),
        "blink": blink,
        "brow_up": np.clip(brow, 0, 1),
        "brow_inner_up": np.clip(brow + 0.15 * _wander(times, rng, 0.2, 0.8), 0, 1),
        "upper_lip": 0.25 * jaw,
    }
    gaze = np.stack([0.35 * _wander(times, rng, 0.1, 0.6), 0.2 * _wander(times, rng, 0.1, 0.6)], 1).clip(-1, 1)
    basis = expression_basis()
    landmarks = np.repeat(neutral_face()[None], frames, 0)
    for name, values in strength.items():
        landmarks += values[:, None, None] * basis[name]
    look = np.stack([0.55 * gaze[:, 0], 0.3 * gaze[:, 1]], 1)[:, None]
    landmarks[:, [*RIGHT_IRIS, *LEFT_IRIS], :2] += look
    to_camera = np.tile(np.eye(4), (frames, 1, 1))
    turns = [np.deg2rad(size * _wander(times, rng, 0.08, 0.45)) for size in (4.0, 9.0, 3.0)]
    for k, (pitch, yaw, roll) in enumerate(zip(*turns, strict=True)):
        to_camera[k, :3, :3] = np.diag([1.0, -1.0, -1.0]) @ _rotation(pitch, yaw, roll)
    for axis, (size, middle) in enumerate(((0.7, 0.0), (0.5, 0.0), (1.2, DISTANCE))):
        to_camera[:, axis, 3] = middle + size * _wander(times, rng, 0.06, 0.3)
    return Motion(strength, gaze, landmarks, to_camera)


def _rotation(pitch: float, yaw: float, roll: float) -> Array:
    (a, b, c), (x, y, z) = np.cos([pitch, yaw, roll]), np.sin([pitch, yaw, roll])
    around_x = np.array([[1, 0, 0], [0, a, -x], [0, x, a]])
    around_y = np.array([[b, 0, y], [0, 1, 0], [-y, 0, b]])
    around_z = np.array([[c, -z, 0], [z, c, 0], [0, 0, 1]])
    return np.asarray(around_z @ around_y @ around_x)


def make_capture(
    path: str | Path, *, seconds: float = 2.0, size: int = 64, seed: int = 0, with_audio: bool = True
) -> Capture:
    """Writes a synthetic capture folder and opens it.

    Args:
        path: Folder to make; files already there are overwritten.
        seconds: Duration at 25 fps; at least one frame.
        size: Side of the frames in pixels.
        seed: Decides looks, speech and motion; the same seed writes the same capture.
        with_audio: Whether to write `audio.wav`.
    """
    folder = Path(path)
    for name in ("frames", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    frames = max(1, round(seconds * FPS))
    truth, looks = motion(frames, seed), Looks.of(seed)
    painter = Painter(looks, size)
    image_points = np.zeros((frames, 478, 3))
    for k in range(frames):
        rotation, shift = truth.to_camera[k, :3, :3], truth.to_camera[k, :3, 3]

        def project(points: Array, rotation: Array = rotation, shift: Array = shift) -> Array:
            seen = points @ rotation.T + shift
            return np.asarray(FOCAL * size * seen[:, :2] / seen[:, 2:] + size / 2)

        seen = truth.landmarks[k] @ rotation.T + shift
        pixels = project(truth.landmarks[k])
        image_points[k] = np.concatenate([pixels, (seen[:, 2:] - shift[2]) * FOCAL * size / shift[2]], 1)
        picture, masks = painter.draw(truth.landmarks[k], pixels, seen, project)
        quality = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
        cv2.imwrite(str(folder / "frames" / f"{k:06d}.jpg"), picture[..., ::-1], quality)
        cv2.imwrite(str(folder / "masks" / f"{k:06d}.png"), masks[..., ::-1])
    cv2.imwrite(str(folder / "background.png"), plate(looks, size)[..., ::-1])
    _write_tracks(folder, truth, image_points, size)
    if with_audio:
        _write_wav(folder / "audio.wav", frames / FPS, seed)
    meta = {
        "format": FORMAT, "source": f"synthetic, seed {seed}", "size": size, "fps": FPS, "frames": frames,
        "tracker": "synthetic", "report": {"reprojection_error_px": 0.0, "warnings": []},
    }  # fmt: skip
    (folder / "report.md").write_text("# Capture report\n\nDrawn, not filmed: every track is exact.\n", "utf-8")
    _write_overview(folder, frames, image_points)
    (folder / "capture.yaml").write_text(yaml.safe_dump(meta, sort_keys=False), "utf-8")
    return Capture.open(folder)


def _write_tracks(folder: Path, truth: Motion, image_points: Array, size: int) -> None:
    def tensor(values: Array) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, np.float32))

    frames = len(image_points)
    intrinsics = np.array([[FOCAL * size, 0, size / 2], [0, FOCAL * size, size / 2], [0, 0, 1.0]])
    tracks = Tracks(
        landmarks=tensor(truth.landmarks),
        image_points=tensor(image_points),
        blendshapes=tensor(truth.blendshapes()),
        pose=tensor(np.linalg.inv(truth.to_camera)),
        intrinsics=tensor(intrinsics),
        neutral=tensor(neutral_face()),
        valid=torch.ones(frames, dtype=torch.bool),
    )
    save_file(tracks.tensors(), folder / "tracks.safetensors")


def _write_wav(file: Path, seconds: float, seed: int) -> None:
    clip = synthetic_clip(seconds, 16000, seed)
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(clip.sample_rate)
        out.writeframes((clip.samples.numpy() * 32767).round().astype("<i2").tobytes())


def _write_overview(folder: Path, frames: int, image_points: Array) -> None:
    tiles = []
    for k in np.linspace(0, frames - 1, min(6, frames)).round().astype(int):
        picture = np.asarray(cv2.imread(str(folder / "frames" / f"{k:06d}.jpg")))
        for x, y in image_points[k, :, :2]:
            cv2.circle(picture, (int(x), int(y)), 0, (0, 255, 0))
        tiles.append(picture)
    cv2.imwrite(str(folder / "overview.png"), np.concatenate(tiles, axis=1))
