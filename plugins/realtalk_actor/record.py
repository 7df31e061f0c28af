"""Writes a performance as a capture: a normal capture folder whose tracks are exact, with the truth beside it.

Beside a capture's own files (`realtalk_core.capture`) it holds `truth.safetensors` (`landmarks478`, `landmarks68`,
`blendshapes`, `emotion` weights, `va`, `gaze`), `phonemes.json`, and `normals/000000.png` (surface normals in camera
space, OpenCV axes, as 128 + 127 n in RGB order).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from safetensors.torch import save_file

from realtalk_actor.actor import Actor, Pose
from realtalk_actor.performance import Performance
from realtalk_actor.picture import Camera, Studio, in_order
from realtalk_actor.speech import loudness
from realtalk_core.atomic import write_text
from realtalk_core.audio import write_wav
from realtalk_core.capture import FORMAT, Capture, Tracks
from realtalk_core.capturing.measure import Curves
from realtalk_core.capturing.overview import write_overview
from realtalk_core.landmarks import IBUG68_FROM_MEDIAPIPE478, INNER_LIP_CENTRES
from realtalk_core.types import AudioClip

Array = NDArray[np.float64]
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]


def write_capture(
    folder: Path, actor: Actor, camera: Camera, performance: Performance, job: dict[str, Any], *,
    with_normals: bool = True, progress: Callable[[int, int], None] = lambda done, total: None,
) -> Capture:  # fmt: skip
    """Renders a performance into an existing folder, several frames at a time.

    Args:
        folder: Where the capture goes.
        actor: Who acts.
        camera: Who looks.
        performance: What is done.
        job: What the capture was made from, for `capture.yaml`.
        with_normals: Whether to write the surface normals.
        progress: Told after each frame how many are done, and how many there are.
    """
    for name in ("frames", "masks", *(("normals",) if with_normals else ())):
        (folder / name).mkdir(exist_ok=True)
    studio = Studio(actor, camera, with_normals=with_normals)
    frames = len(performance.poses)
    landmarks, transforms = np.zeros((frames, 478, 3)), np.zeros((frames, 4, 4))

    def draw(k: int) -> tuple[Array, Array]:
        shot = studio.shoot(performance.poses[k])
        _write_picture(folder / "frames" / f"{k:06d}.jpg", shot.rgb)
        _write_picture(folder / "masks" / f"{k:06d}.png", shot.masks)
        if with_normals:
            _write_picture(
                folder / "normals" / f"{k:06d}.png", np.round(128 + 127 * shot.normals).astype(np.uint8)
            )  # fmt: skip
        return shot.landmarks, shot.transform

    for k, (shape, transform) in enumerate(in_order(draw, range(frames))):
        landmarks[k], transforms[k] = shape, transform
        progress(k + 1, frames)
    _write_picture(folder / "background.png", studio.plate())
    _write_tracks(folder, actor, camera, performance, landmarks, transforms)
    clip = _fitted(performance.speech.clip, frames / performance.fps)
    write_wav(folder / "audio.wav", clip)
    phonemes = [{"ipa": p.ipa, "start": round(p.start, 4), "end": round(p.end, 4)} for p in performance.speech.phonemes]
    write_text(folder / "phonemes.json", json.dumps(phonemes, ensure_ascii=False, indent=1))
    meta = {
        "format": FORMAT, "source": f"synthetic actor, seed {actor.scene.who.seed}", "size": camera.size,
        "fps": performance.fps, "frames": frames, "tracker": "actor", "audio": True,
        "report": {"reprojection_error_px": 0.0}, "warnings": [], "job": job,
    }  # fmt: skip
    write_text(folder / "report.md", "# Capture report\n\nRendered, not filmed: every track is the exact truth.\n")
    write_text(folder / "capture.yaml", yaml.safe_dump(meta, sort_keys=False, allow_unicode=True))
    capture = Capture.open(folder)
    upper, lower = INNER_LIP_CENTRES
    times = (np.arange(frames) + 0.5) / performance.fps
    level = 20 * np.log10(np.maximum(loudness(clip, times), 1e-3))
    gap = np.linalg.norm(landmarks[:, upper] - landmarks[:, lower], axis=1)
    write_overview(capture, Curves(gap, level), folder / "overview.png")
    return capture


def image_points(camera: Camera, transforms: Array, landmarks: Array) -> Array:
    """Landmarks `T K 3` in pixels (x, y) and depth on the scale of x, zero at the head's origin."""
    to_camera = camera.world_to_camera() @ transforms
    seen = np.einsum("tij,tkj->tki", to_camera[:, :3, :3], landmarks) + to_camera[:, None, :3, 3]
    half = camera.size / 2
    pixels = camera.focal * seen[..., :2] / seen[..., 2:] + half
    depth = (seen[..., 2:] - to_camera[:, None, 2:3, 3]) * camera.focal / to_camera[:, None, 2:3, 3]
    return np.concatenate([pixels, depth], -1)


def _write_picture(file: Path, picture: NDArray[np.uint8]) -> None:
    """Writes an RGB picture; OpenCV's own writer would keep a full disk to itself."""
    _, data = cv2.imencode(file.suffix, picture[..., ::-1], JPEG if file.suffix == ".jpg" else [])
    file.write_bytes(data.tobytes())


def _write_tracks(
    folder: Path, actor: Actor, camera: Camera, performance: Performance, landmarks: Array, transforms: Array
) -> None:
    def tensor(values: Any) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, np.float32))

    blendshapes = np.stack([p.shapes for p in performance.poses])
    tracks = Tracks(
        landmarks=tensor(landmarks),
        image_points=tensor(image_points(camera, transforms, landmarks)),
        blendshapes=tensor(blendshapes),
        pose=tensor(np.linalg.inv(camera.world_to_camera() @ transforms)),
        intrinsics=tensor(camera.intrinsics()),
        neutral=tensor(actor.landmarks(Pose())),
        valid=torch.ones(len(landmarks), dtype=torch.bool),
    )
    save_file(tracks.tensors(), folder / "tracks.safetensors")
    truth = {
        "landmarks478": tracks.landmarks, "landmarks68": tracks.landmarks[:,
        list(IBUG68_FROM_MEDIAPIPE478)].contiguous(),
        "blendshapes": tracks.blendshapes, "emotion": performance.emotion.weights.contiguous(),
        "va": performance.emotion.va.contiguous(), "gaze": tensor([p.gaze for p in performance.poses]),
    }  # fmt: skip
    save_file(truth, folder / "truth.safetensors")


def _fitted(clip: AudioClip, seconds: float) -> AudioClip:
    """The clip cut or filled with silence to a duration."""
    wanted = round(seconds * clip.sample_rate)
    samples = torch.zeros(wanted)
    kept = min(wanted, len(clip.samples))
    samples[:kept] = clip.samples[:kept]
    return AudioClip(samples, clip.sample_rate)
