"""How well a renderer reproduces frames it has never seen, against copying the nearest training frame.

    python benchmarks/self_reconstruction.py CAPTURE AVATAR_OR_CHECKPOINT [--sheet DIR] [--every N] [--size S]

Any renderer: held-out frames (the last part of the clip) are rendered from their true landmarks, blendshapes, poses and
sound (heard as the avatar hears it; for a checkpoint alone, as the shipped registry does). The baseline
takes, for each, the training frame with the nearest landmarks, aligned to the truth by the similarity transform between
the two frames' projected landmarks. Two protocols:

- *pasted*: head over the true frame, as a synthesis shows it; PSNR, SSIM and sharpness (variance of the Laplacian,
  truth = 1) in the whole frame, the face's landmark box, the mouth's, and the boxes of each eye with its brow;
- *over white*: head alone over white, against the true head cut out by its mask over white; PSNR. Errors of the head's
  outline count here.

LMD is the mean distance of MediaPipe's landmarks on the rendered (pasted) faces to those on the truth, in pixels, both
mean-centred as the field does. On the same landmarks: how far mouth and lids move (`articulation.py`), and how far the
landmarks that drive the render do, which is the most it can honestly reach. Where the true lids are closed, `iris
darkening` says how much darker than the truth the irises' places are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from articulation import Points, articulation, closed_frames, iris_darkening, lid_height, mouth_height

from realtalk_core import checkpoint
from realtalk_core.avatar import Avatar
from realtalk_core.build import build
from realtalk_core.capture import Capture
from realtalk_core.cli.common import configuration
from realtalk_core.drives import filmed
from realtalk_core.errors import UserError
from realtalk_core.evaluation import Box, Picture, crop, landmark_box, project, psnr, ssim
from realtalk_core.landmarks import LEFT_BROW, LEFT_EYE, LIPS_OUTER, REGIONS68, RIGHT_BROW, RIGHT_EYE
from realtalk_core.models import model_path
from realtalk_core.plugins import Plugins, discover
from realtalk_core.stages import Renderer
from realtalk_core.training.frame_bank import FrameBank
from realtalk_core.training.session import fitted
from realtalk_core.types import AudioFeatures, CameraTrack, Drive
from realtalk_core.windows import context_frames

Maker = Callable[[int], tuple[Picture, Picture]]
"""Colour (not premultiplied) and opacity of a frame."""
TRACKED_SIDE = 512


@dataclass(frozen=True)
class HeldOut:
    """What is measured on.

    Attributes:
        capture: The capture.
        train: Frames that were learnt from.
        frames: Held-out frames to look at.
        size: Side of the pictures in pixels.
        features: The sound, one row per frame.
    """

    capture: Capture
    train: torch.Tensor
    frames: list[int]
    size: int
    features: AudioFeatures

    @classmethod
    def of(
        cls, capture: Capture, features: AudioFeatures, share: float = 0.8, every: int = 2, size: int = 256
    ) -> HeldOut:
        train, valid = capture.training_frames(share), capture.training_frames()
        frames = valid[valid >= round(len(capture) * share)][::every].tolist()
        return cls(capture, train, frames, size, features)

    @property
    def drive(self) -> Drive:
        return filmed(self.capture, self.features)

    @cached_property
    def cameras(self) -> CameraTrack:
        return self.capture.cameras.resized(self.size, self.size)

    @cached_property
    def flat(self) -> torch.Tensor:
        """All landmarks in pixels."""
        return project(self.capture.landmarks, self.cameras)

    @cached_property
    def points(self) -> list[Points | None]:
        """The tracker's landmarks on the true pictures."""
        return tracked([self.truth(frame) for frame in self.frames])

    def truth(self, frame: int) -> Picture:
        return self.capture.frame(frame, self.size).astype(np.float32) / 255

    def cut_out(self, frame: int) -> tuple[Picture, Picture]:
        """The true head's colour times its opacity, and its opacity, as the renderer learns them."""
        bank = FrameBank.load(self.capture, torch.tensor([frame]), self.size)
        return bank.head[0].numpy().astype(np.float32) / 255, bank.alpha[0, ..., None].numpy().astype(np.float32) / 255

    def boxes(self, frame: int) -> dict[str, list[Box]]:
        flat, dense = self.flat[frame], self.flat.shape[1] == 478
        parts = REGIONS68
        lips = list(LIPS_OUTER if dense else parts["outer_lips"])
        right = list(RIGHT_EYE + RIGHT_BROW if dense else parts["right_eye"] + parts["right_brow"])
        left = list(LEFT_EYE + LEFT_BROW if dense else parts["left_eye"] + parts["left_brow"])
        return {
            "frame": [(0, 0, self.size, self.size)],
            "face": [landmark_box(flat, self.size)],
            "mouth": [landmark_box(flat[lips], self.size, 0.15)],
            "eyes": [landmark_box(flat[ids], self.size, 0.1) for ids in (right, left)],
        }


@torch.no_grad()
def heard(capture: Capture, plugins: Plugins, path: Path | None = None) -> AudioFeatures:
    """A capture's sound as an avatar hears it; as the shipped registry does, for a checkpoint or nothing."""
    if path is not None and path.is_dir():
        encoder = Avatar.open(path, plugins).component("audio")
    else:
        chosen = configuration(None, None, (), plugins).stages["audio"]
        encoder = build(chosen.spec, chosen.config)
    return fitted(encoder.encode(capture.audio, capture.fps), len(capture))


def load_renderer(path: Path, plugins: Plugins) -> Renderer:
    if path.is_dir():
        component: Renderer = Avatar.open(path, plugins).component("renderer")
        return component
    header, tensors = checkpoint.load(path)
    spec = plugins.find("renderer", header.component)
    made: Renderer = build(spec, spec.config.model_validate(dict(header.config)), tensors=tensors)
    return made


def sharpness(picture: Picture) -> float:
    grey = cv2.cvtColor((picture * 255).clip(0, 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey.astype(np.float32), cv2.CV_32F).var())


def nearest_frame(held: HeldOut) -> Maker:
    capture, size, points = held.capture, held.size, held.capture.tracks.landmarks

    def make(frame: int) -> tuple[Picture, Picture]:
        near = int(held.train[(points[held.train] - points[frame]).square().sum((1, 2)).argmin()])
        matrix, _ = cv2.estimateAffinePartial2D(held.flat[near].numpy(), held.flat[frame].numpy(), method=cv2.LMEDS)
        picture = cv2.warpAffine(capture.frame(near, size), matrix, (size, size), flags=cv2.INTER_CUBIC)
        mask = cv2.warpAffine(capture.masks(near, size)[..., 1], matrix, (size, size))
        return picture.astype(np.float32) / 255, mask[..., None].astype(np.float32) / 255

    return make


def rendered(renderer: Renderer, held: HeldOut) -> Maker:
    context, drive = context_frames(renderer, held.capture.fps), held.drive

    def make(frame: int) -> tuple[Picture, Picture]:
        first, last = max(0, frame - context), min(len(drive), frame + context + 1)
        frames = []
        for batch in renderer.render(drive[first:last], held.cameras[first:last]):
            alpha = torch.ones_like(batch.rgb[..., :1]) if batch.alpha is None else batch.alpha
            frames += list(zip(batch.rgb, alpha, strict=True))
        rgb, alpha = frames[frame - first]
        return rgb.numpy(), alpha.numpy()

    return make


def tracked(pictures: list[Picture]) -> list[Points | None]:
    """MediaPipe's landmarks `478 2` in pixels of consecutive pictures; None where it sees no face, or is not there."""
    plugins = discover()
    try:
        spec = plugins.find("tracker", "mediapipe")
        model_path("face_landmarker.task")  # the tracker itself would only look for it at the first picture
        tracker = build(spec, spec.config())
    except UserError as error:
        print(f"no landmarks on pictures: {error.message}")
        return [None] * len(pictures)
    side = (TRACKED_SIDE, TRACKED_SIDE)
    images = (np.ascontiguousarray(cv2.resize((p * 255).clip(0, 255).astype(np.uint8), side)) for p in pictures)
    scale = pictures[0].shape[0] / TRACKED_SIDE
    return [faces[0].points[:, :2].numpy() * scale if faces else None for faces in tracker.track(images, 25.0)]


def measure(make: Maker, held: HeldOut) -> dict[str, float]:
    """All measures of one maker, means over the held-out frames."""
    rows: dict[str, list[float]] = {}
    pictures = []
    for frame in held.frames:
        truth = held.truth(frame)
        rgb, alpha = make(frame)
        picture = (rgb * alpha + truth * (1 - alpha)).astype(np.float32)
        pictures.append(picture)
        boxes = held.boxes(frame)
        for name, places in boxes.items():
            pairs = [(crop(picture, box), crop(truth, box)) for box in places]
            values = {
                "PSNR": -10 * np.log10(max(np.mean([10 ** (-psnr(a, b) / 10) for a, b in pairs]), 1e-10)),
                "SSIM": np.mean([ssim(a, b) for a, b in pairs]),
                "sharpness": np.mean([sharpness(a) / max(sharpness(b), 1e-6) for a, b in pairs]),
            }
            for key, value in values.items():
                rows.setdefault(f"{name} {key}", []).append(float(value))
        head, mask = held.cut_out(frame)
        alone, wanted = rgb * alpha + 1 - alpha, head + 1 - mask
        ys, xs = np.nonzero(mask[..., 0] > 0.5)
        around: Box = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
        for name, box in (("head", around), ("face", boxes["face"][0]), ("mouth", boxes["mouth"][0])):
            rows.setdefault(f"{name} PSNR over white", []).append(psnr(crop(alone, box), crop(wanted, box)))
    found = tracked(pictures)
    for a, b in zip(found, held.points, strict=True):
        if a is not None and b is not None:
            for name, ids in (("face LMD px", list(range(468))), ("mouth LMD px", list(LIPS_OUTER))):
                difference = (a[ids] - a[ids].mean(0)) - (b[ids] - b[ids].mean(0))
                rows.setdefault(name, []).append(float(np.linalg.norm(difference, axis=1).mean()))
    out = {name: float(np.mean(values)) for name, values in rows.items()}
    if any(p is not None for p in held.points):
        out |= articulation(held.points, found)
        if held.flat.shape[1] == 478:
            driven = articulation(held.points, [held.flat[frame].numpy() for frame in held.frames])
            out |= {f"drive's {name}": driven[name] for name in ("mouth slope", "lids slope") if name in driven}
        closed = closed_frames(held.points)
        if closed:
            dark = [
                iris_darkening(pictures[k], held.truth(held.frames[k]), held.points[k])  # type: ignore[arg-type]
                for k in closed
            ]
            out["iris darkening"] = float(np.mean(dark))
    return {name: round(value, 3) for name, value in out.items()}


def telling(held: HeldOut, count: int = 3) -> dict[str, list[int]]:
    """Frames worth looking at: widest mouths, closed eyes, most turned heads, and some from everywhere."""
    pose = held.capture.tracks.pose[held.frames, :3, 2]
    turned = (pose - pose.mean(0)).norm(dim=1).argsort(descending=True)
    seen = [k for k, p in enumerate(held.points) if p is not None]
    by_mouth = sorted(seen, key=lambda k: -mouth_height(held.points[k]))  # type: ignore[arg-type]
    by_lids = sorted(seen, key=lambda k: lid_height(held.points[k]))  # type: ignore[arg-type]
    everywhere = np.linspace(0, len(held.frames) - 1, count + 2)[1:-1].round().astype(int).tolist()
    chosen = {"mouth": by_mouth, "lids": by_lids, "turned": turned.tolist(), "some": everywhere}
    return {name: [held.frames[k] for k in places[:count]] for name, places in chosen.items()}


def sheet(make: Maker, held: HeldOut, frames: list[int], file: Path) -> None:
    """Rows of truth, pasted render, four times the difference, render over white and over dark blue."""
    rows = []
    for frame in frames:
        truth, (rgb, alpha) = held.truth(frame), make(frame)
        picture = rgb * alpha + truth * (1 - alpha)
        shown = [truth, picture, 0.5 + 4 * (picture - truth)]
        shown += [rgb * alpha + np.float32(back) * (1 - alpha) for back in ((1, 1, 1), (0.05, 0.05, 0.2))]
        rows.append(np.hstack([x.clip(0, 1) for x in shown]))
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), (np.vstack(rows)[..., ::-1] * 255).clip(0, 255).astype(np.uint8))
    print(f"{file}: truth / pasted / 4 x difference / over white / over dark, frames {frames}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capture", type=Path)
    parser.add_argument("renderer", type=Path, help="an avatar folder or a renderer's checkpoint")
    parser.add_argument("--sheet", type=Path, help="folder for comparison sheets")
    parser.add_argument("--every", type=int, default=2, help="look at every N-th held-out frame")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--train", type=float, default=0.8, help="share of the clip that was trained on")
    parser.add_argument("--no-baseline", action="store_true", help="leave out the nearest training frame")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    capture, plugins = Capture.open(options.capture), discover()
    features = heard(capture, plugins, options.renderer)
    held = HeldOut.of(capture, features, options.train, options.every, options.size)
    makers = {} if options.no_baseline else {"nearest training frame": nearest_frame(held)}
    makers["rendered"] = rendered(load_renderer(options.renderer, plugins), held)
    results = {name: measure(make, held) for name, make in makers.items()}
    if options.json:
        print(json.dumps(results))
    else:
        print(f"{len(held.frames)} held-out frames at {options.size} px")
        print(f"{'':24}" + "".join(f"{name:>26}" for name in results))
        for name in results["rendered"]:
            print(f"{name:24}" + "".join(f"{result.get(name, float('nan')):26.3f}" for result in results.values()))
    if options.sheet:
        for name, frames in telling(held).items():
            sheet(makers["rendered"], held, frames, options.sheet / f"{name}.png")


if __name__ == "__main__":
    from script import run

    run(main)
