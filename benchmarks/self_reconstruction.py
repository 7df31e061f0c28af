"""How well a renderer reproduces frames it has never seen, against copying the nearest training frame.

    python benchmarks/self_reconstruction.py CAPTURE AVATAR_OR_CHECKPOINT [--sheet DIR] [--frames N] [--size S]

Held-out frames (the last part of the clip) are rendered from their true landmarks, blendshapes and poses, and
composited over the true frame. The baseline takes, for each, the training frame with the nearest landmarks, aligned to
the truth by the similarity transform between the two frames' projected landmarks. Both are composited with the head's
mask of what they show over the true frame, so that only the head is compared. Prints PSNR, SSIM and sharpness (variance
of the Laplacian, truth = 1) for the whole frame, the face's landmark box and the mouth's; LMD is measured by
MediaPipe's landmarks on the rendered faces against those on the truth, in pixels (mean-centred, as the field does),
where it finds a face in both.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from realtalk_core import checkpoint
from realtalk_core.build import build
from realtalk_core.capture import Capture
from realtalk_core.evaluation import Box, Picture, crop, landmark_box, project, psnr, spread, ssim
from realtalk_core.expression import eye_opening, lip_gap
from realtalk_core.landmarks import LIPS_OUTER
from realtalk_core.models import model_path
from realtalk_core.plugins import Plugins, discover
from realtalk_core.stages import Renderer
from realtalk_core.types import CameraTrack, Drive

Maker = Callable[[int], tuple[Picture, Picture]]


def load_renderer(path: Path, plugins: Plugins) -> Renderer:
    if path.is_dir():
        from realtalk_core.avatar import Avatar

        component: Renderer = Avatar.open(path, plugins).component("renderer")
        return component
    header, tensors = checkpoint.load(path)
    spec = plugins.find("renderer", header.component)
    made: Renderer = build(spec, spec.config.model_validate(dict(header.config)), tensors=tensors)
    return made


def sharpness(picture: Picture) -> float:
    grey = cv2.cvtColor((picture * 255).clip(0, 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey.astype(np.float32), cv2.CV_32F).var())


def nearest_frame(capture: Capture, train: torch.Tensor, cameras: CameraTrack, size: int) -> Maker:
    points = capture.tracks.landmarks
    flat = project(capture.landmarks, cameras)

    def make(frame: int) -> tuple[Picture, Picture]:
        near = int(train[(points[train] - points[frame]).square().sum((1, 2)).argmin()])
        matrix, _ = cv2.estimateAffinePartial2D(flat[near].numpy(), flat[frame].numpy(), method=cv2.LMEDS)
        picture = cv2.warpAffine(capture.frame(near, size), matrix, (size, size), flags=cv2.INTER_CUBIC)
        mask = cv2.warpAffine(capture.masks(near, size)[..., 1], matrix, (size, size))
        return picture.astype(np.float32) / 255, mask[..., None].astype(np.float32) / 255

    return make


def rendered(renderer: Renderer, drive: Drive, cameras: CameraTrack) -> Maker:
    context = int(getattr(renderer, "context_frames", 0))

    def make(frame: int) -> tuple[Picture, Picture]:
        first, last = max(0, frame - context), min(len(drive), frame + context + 1)
        frames = []
        for batch in renderer.render(drive[first:last], cameras[first:last]):
            alpha = torch.ones_like(batch.rgb[..., :1]) if batch.alpha is None else batch.alpha
            frames += list(zip(batch.rgb, alpha, strict=True))
        rgb, alpha = frames[frame - first]
        return rgb.numpy(), alpha.numpy()

    return make


def interesting(capture: Capture, held_out: torch.Tensor) -> list[int]:
    points, pose = capture.tracks.landmarks[held_out], capture.tracks.pose[held_out, :3, 2]
    gap, eyes = lip_gap(points), eye_opening(points).mean(1)
    turned = (pose - pose.mean(0)).norm(dim=1)
    chosen = [gap.argmin(), gap.argmax(), eyes.argmin(), turned.argmax(), torch.tensor(len(held_out) // 2)]
    return [int(held_out[k]) for k in chosen]


class Landmarker:
    """MediaPipe on one picture, if tracker and model file are there."""

    def __init__(self, plugins: Plugins) -> None:
        from realtalk_core.errors import UserError

        try:
            spec = plugins.find("tracker", "mediapipe")
            model_path("face_landmarker.task")  # the tracker itself would only look for it at the first picture
            self.tracker = build(spec, spec.config())
        except UserError as error:
            print(f"no LMD: {error.message}")
            self.tracker = None

    def __call__(self, picture: Picture) -> np.ndarray | None:
        if self.tracker is None:
            return None
        image = np.ascontiguousarray((picture * 255).clip(0, 255).astype(np.uint8))
        faces = next(iter(self.tracker.track([cv2.resize(image, (512, 512))], 25.0)))
        return faces[0].points[:, :2].numpy() * (picture.shape[0] / 512) if faces else None


def measure(
    make: Maker, capture: Capture, frames: list[int], cameras: CameraTrack, find: Landmarker
) -> dict[str, float]:
    rows: dict[str, list[float]] = {}
    for frame in frames:
        truth = capture.frame(frame, cameras.width).astype(np.float32) / 255
        picture, alpha = make(frame)
        picture = picture * alpha + truth * (1 - alpha)
        flat = project(capture.landmarks[frame : frame + 1], cameras[frame : frame + 1])[0]
        lips = list(LIPS_OUTER) if len(flat) == 478 else list(range(48, 60))
        boxes: dict[str, Box] = {
            "frame": (0, 0, cameras.width, cameras.height),
            "face": landmark_box(flat, cameras.width),
            "mouth": landmark_box(flat[lips], cameras.width, 0.15),
        }
        for name, box in boxes.items():
            a, b = crop(picture, box), crop(truth, box)
            rows.setdefault(f"{name} PSNR", []).append(psnr(a, b))
            rows.setdefault(f"{name} SSIM", []).append(ssim(a, b))
            rows.setdefault(f"{name} sharpness", []).append(sharpness(a) / max(sharpness(b), 1e-6))
        found, wanted = find(picture), find(truth)
        if found is not None and wanted is not None:
            for name, ids in (("face LMD px", list(range(468))), ("mouth LMD px", list(LIPS_OUTER))):
                a, b = found[ids] - found[ids].mean(0), wanted[ids] - wanted[ids].mean(0)
                rows.setdefault(name, []).append(float(np.linalg.norm(a - b, axis=1).mean()))
    return {name: round(float(np.mean(values)), 3) for name, values in rows.items()}


def sheet(makers: list[Maker], capture: Capture, frames: list[int], size: int, file: Path) -> None:
    columns = []
    for frame in frames:
        truth = capture.frame(frame, size).astype(np.float32) / 255
        shown = [truth]
        for make in makers:
            picture, alpha = make(frame)
            shown.append(picture * alpha + truth * (1 - alpha))
        shown.append(picture * alpha + 1 - alpha)
        columns.append(np.vstack(shown))
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), (np.hstack(columns)[..., ::-1] * 255).clip(0, 255).astype(np.uint8))
    print(f"truth / nearest training frame / rendered / rendered over white: {file}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capture", type=Path)
    parser.add_argument("renderer", type=Path, help="an avatar folder or a renderer's checkpoint")
    parser.add_argument("--sheet", type=Path, help="folder for the comparison sheet")
    parser.add_argument("--frames", type=int, default=36)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--train", type=float, default=0.8, help="share of the clip that was trained on")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    plugins = discover()
    capture = Capture.open(options.capture)
    train = capture.training_frames(options.train)
    valid = capture.training_frames()
    held_out = valid[valid > train[-1]]
    cameras = capture.cameras.resized(options.size, options.size)
    drive = Drive(capture.landmarks, blendshapes=capture.blendshapes)
    makers = {
        "nearest training frame": nearest_frame(capture, train, cameras, options.size),
        "rendered": rendered(load_renderer(options.renderer, plugins), drive, cameras),
    }
    frames, find = spread(held_out, options.frames).tolist(), Landmarker(plugins)
    results = {name: measure(make, capture, frames, cameras, find) for name, make in makers.items()}
    if options.json:
        print(json.dumps(results))
    else:
        print(f"{len(frames)} of {len(held_out)} held-out frames at {options.size} px")
        print(f"{'':18}" + "".join(f"{name:>26}" for name in results))
        for name in next(iter(results.values())):
            print(f"{name:18}" + "".join(f"{result.get(name, float('nan')):26.3f}" for result in results.values()))
    if options.sheet:
        sheet(
            list(makers.values()),
            capture,
            interesting(capture, held_out),
            options.size,
            options.sheet / "self_reconstruction.png",
        )


if __name__ == "__main__":
    main()
