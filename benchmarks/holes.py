"""Floaters and holes of an avatar's head: every frame of a synthesis, or poses and mouths beyond the film's.

    python benchmarks/holes.py AVATAR [--audio SPEECH --emotion happy] [--sheet DIR]

Without --audio the head is turned by up to --yaw and --pitch degrees from its usual pose, with the mouth closed, as
wide as it was ever filmed, and half as wide again. Counts floaters (pieces beside the head), holes (pieces enclosed by
it that are less than half covered) and thin pixels (less than 90 % covered, within the landmarks' outline), lists the
worst frames, and writes them side by side: floaters red, holes blue, thin yellow. Exit code 1 if there is a floater or
a hole.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from realtalk_core.avatar import Avatar
from realtalk_core.defects import Defects, find_defects
from realtalk_core.drives import silence
from realtalk_core.errors import UserError
from realtalk_core.evaluation import project
from realtalk_core.expression import lip_gap
from realtalk_core.plugins import discover
from realtalk_core.types import Blendshapes, CameraTrack, Drive, FrameBatch, LandmarkTrack

COLOURS = np.array([[0, 0, 0], [255, 0, 0], [0, 80, 255], [255, 220, 0]], np.float32) / 255
BEYOND = 1.5
Shown = tuple[str, Tensor, Tensor, Tensor]
"""What it is, colour, opacity, landmarks in pixels."""


def turned(pose: Tensor, yaw: float, pitch: float) -> Tensor:
    """A camera-to-head pose, carried around the head's origin by degrees."""
    a, b = math.radians(yaw), math.radians(pitch)
    around_y = torch.tensor([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
    around_x = torch.tensor([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    out = pose.clone()
    out[:3] = (around_y @ around_x).to(pose) @ pose[:3]
    return out


def novel(avatar: Avatar, side: int, yaw: float, pitch: float) -> Iterator[tuple[str, Drive, CameraTrack]]:
    person, quiet = avatar.person, silence(avatar, 1)
    faces, shapes = person.landmarks[person.bank], person.blendshapes[person.bank]
    usual = person.poses[person.bank]
    middle = int((usual[:, :3, :3] - usual[:, :3, :3].mean(0)).square().sum((1, 2)).argmin())
    closed, wide = int(lip_gap(faces).argmin()), int(lip_gap(faces).argmax())
    mouths = {
        "closed": (faces[closed], shapes[closed]),
        "widest": (faces[wide], shapes[wide]),
        "beyond": (person.neutral + BEYOND * (faces[wide] - person.neutral), shapes[wide]),
    }
    for name, (points, scores) in mouths.items():
        for y in (-yaw, -yaw / 2, 0.0, yaw / 2, yaw):
            for p in (-pitch, 0.0, pitch):
                landmarks = LandmarkTrack(points[None], person.scheme, person.fps)
                drive = Drive(landmarks, quiet, blendshapes=Blendshapes(scores[None]))
                cameras = CameraTrack(turned(usual[middle], y, p)[None], person.intrinsics, person.size, person.size)
                yield f"{name} yaw {y:+.0f} pitch {p:+.0f}", drive, cameras.resized(side, side)


def posed(avatar: Avatar, side: int, yaw: float, pitch: float) -> Iterator[Shown]:
    renderer = avatar.component("renderer", "auto")
    for name, drive, cameras in novel(avatar, side, yaw, pitch):
        for batch in renderer.render(drive, cameras):
            yield name, batch.rgb[0], opacity(batch)[0], project(drive.landmarks, cameras)[0]


def opacity(batch: FrameBatch) -> Tensor:
    """`T H W`.

    Raises:
        UserError: if the renderer gives whole pictures.
    """
    if batch.alpha is None:
        raise UserError("this renderer gives whole pictures, not heads", "Choose a renderer with opacity.")
    return batch.alpha[..., 0]


def spoken(avatar: Avatar, side: int, audio: Path, emotion: str) -> Iterator[Shown]:
    from realtalk_core.audio import stream_audio
    from realtalk_core.cli.speech import SPEECH_RATE
    from realtalk_core.pipeline import Pipeline

    pipeline = Pipeline.from_avatar(avatar)
    for cut in pipeline.cuts(stream_audio(audio, SPEECH_RATE), emotion):
        cameras = cut.cameras.resized(side, side)
        flat = project(cut.drive.landmarks, cameras)
        for batch in pipeline.renderer.render(cut.drive, cameras):
            for k in range(len(batch)):
                at = batch.start + k
                if cut.first <= at < cut.last:
                    yield f"frame {cut.start + at}", batch.rgb[k], opacity(batch)[k], flat[at]


def picture(shown: Shown, found: Defects) -> np.ndarray:
    """The head over grey, its defects painted over."""
    name, rgb, alpha, _ = shown
    out = (rgb * alpha[..., None] + 0.75 * (1 - alpha[..., None])).numpy().clip(0, 1)
    wrong = found.marks > 0
    out[wrong] = 0.3 * out[wrong] + 0.7 * COLOURS[found.marks[wrong]]
    out = (cv2.resize(out, (256, 256), interpolation=cv2.INTER_NEAREST) * 255).astype(np.uint8)
    label = f"{name}: {found.floaters}/{found.holes}/{found.thin}"
    cv2.putText(out, label, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (0, 0, 0), 1, cv2.LINE_AA)
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("avatar", type=Path)
    parser.add_argument("--audio", type=Path)
    parser.add_argument("--emotion", default="neutral")
    parser.add_argument("--size", type=int, help="side in pixels; as trained if left out")
    parser.add_argument("--yaw", type=float, default=20.0)
    parser.add_argument("--pitch", type=float, default=12.0)
    parser.add_argument("--worst", type=int, default=15)
    parser.add_argument("--sheet", type=Path, help="folder for the sheet of the worst frames")
    options = parser.parse_args()
    if options.sheet and options.sheet.exists() and not options.sheet.is_dir():
        parser.error(f"--sheet {options.sheet} is a file: name a folder")
    avatar = Avatar.open(options.avatar, discover())
    side = options.size or min(avatar.size, 256)
    shown = (
        posed(avatar, side, options.yaw, options.pitch)
        if options.audio is None
        else spoken(avatar, side, options.audio, options.emotion)
    )
    worst: list[tuple[int, str, np.ndarray]] = []
    totals, frames = np.zeros(6, int), 0
    with torch.no_grad():
        for each in shown:
            found = find_defects(each[2].numpy(), each[3].numpy())
            frames += 1
            totals += [found.floaters, found.floating, found.holes, found.open, found.thin, found.score > 0]
            line = f"{each[0]}: {found.floaters} floaters ({found.floating} px), "
            line += f"{found.holes} holes ({found.open} px), {found.thin} thin px"
            worst.append((found.score, line, picture(each, found)))
            worst = sorted(worst, key=lambda row: -row[0])[: options.worst]  # memory does not grow with the clip
    print(f"{frames} pictures at {side} px: {totals[0]} floaters ({totals[1]} px), {totals[2]} holes ({totals[3]} px),")
    print(f"{totals[4]} thin px; {totals[5]} pictures with something")
    for score, line, _ in worst:
        if score:
            print(f"  {line}")
    if options.sheet:
        columns = 5
        rows = [np.hstack([p for _, _, p in worst[k : k + columns]]) for k in range(0, len(worst), columns)]
        rows = [
            np.pad(row, ((0, 0), (0, rows[0].shape[1] - row.shape[1]), (0, 0)), constant_values=255) for row in rows
        ]
        options.sheet.mkdir(parents=True, exist_ok=True)
        file = options.sheet / "holes.png"
        cv2.imwrite(str(file), np.vstack(rows)[..., ::-1])
        print(f"the worst, each with floaters/holes/thin: {file}")
    return int(totals[0] > 0 or totals[2] > 0)


if __name__ == "__main__":
    from script import run

    run(main)
