"""How good the demo's film is: sharpness, steadiness, lip sync and emotions, as outside judges see them.

    python benchmarks/demo_film.py FILM.mp4 [--avatar AVATAR] [--capture CAPTURE] [--sheet OUT.png]

The film must be that of the demo's own speech (`realtalk demo`). Against the capture the avatar was trained on:
sharpness is the variance of the Laplacian within the tracked face, the film's frames beside true ones of the same
emotion; flicker the mean absolute second difference over time in forehead and cheeks. Sync is the correlation of the
lip gap that MediaPipe sees with the loudness and with the landmarks that were rendered, at the best lag. Emotions are
changes of MediaPipe's readings against the neutral part. `--sheet` writes every eighth frame at full size.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import av
import cv2
import numpy as np
import torch

from realtalk_core.audio import read_audio
from realtalk_core.avatar import Avatar
from realtalk_core.capture import Capture
from realtalk_core.emotion import LABELS, parse_emotion
from realtalk_core.expression import lip_gap
from realtalk_core.landmarks import BLENDSHAPES, FACE_OVAL, INNER_LIP_CENTRES
from realtalk_core.pipeline import Pipeline
from realtalk_core.plugins import discover
from realtalk_demo import AVATAR
from realtalk_demo.recorded import demo_speech
from realtalk_mediapipe import MediaPipeConfig
from realtalk_mediapipe.tracker import MediaPipeTracker

STEADY = (10, 151, 50, 280, 116, 345)
"""Landmarks of forehead and cheeks."""
READINGS = (
    "browInnerUp",
    "browDownLeft",
    "mouthSmileLeft",
    "mouthFrownLeft",
    "eyeWideLeft",
    "eyeSquintLeft",
    "jawOpen",
)


def track(pictures):
    faces = [found[0] for found in MediaPipeTracker(MediaPipeConfig()).track(pictures, 25.0) if found]
    assert len(faces) == len(pictures), f"face found in {len(faces)} of {len(pictures)} frames"
    points = np.stack([f.points.numpy() for f in faces])
    return points, np.stack([f.blendshapes.numpy() for f in faces])


def sharpness(picture, points):
    hull = cv2.convexHull(points[list(FACE_OVAL), :2].astype(np.float32))
    mask = cv2.fillConvexPoly(np.zeros(picture.shape[:2], np.uint8), np.rint(hull).astype(np.int32), 1)
    side = round(0.04 * np.ptp(hull[:, 0, 1]))
    mask = cv2.erode(mask, np.ones((2 * side + 1,) * 2, np.uint8)) > 0
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(cv2.Laplacian(grey, cv2.CV_32F)[mask].var())


def flicker(pictures, points):
    """Mean absolute second difference of the mean grey of small squares that follow the skin."""
    values = []
    for picture, face in zip(pictures, points, strict=True):
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
        values.append([cv2.getRectSubPix(grey, (9, 9), tuple(map(float, face[k, :2]))).mean() for k in STEADY])
    return float(np.abs(np.diff(np.array(values), n=2, axis=0)).mean())


def best_lag(a, b, most=4):
    """Correlation of `a` with `b` at the best lag in frames; positive: `a` is late."""
    scores = {k: np.corrcoef(a[most + k : len(a) - most + k], b[most : len(b) - most])[0, 1]
              for k in range(-most, most + 1)}  # fmt: skip
    lag = max(scores, key=scores.get)
    return scores[lag], lag


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path)
    parser.add_argument("--avatar", type=Path, default=AVATAR)
    parser.add_argument("--capture", type=Path)
    parser.add_argument("--sheet", type=Path)
    given = parser.parse_args()
    pictures = [f.to_ndarray(format="rgb24") for f in av.open(str(given.film)).decode(video=0)]
    _, timeline = demo_speech()
    emotion = parse_emotion(timeline).track(len(pictures), 25.0).weights.numpy()
    points, scores = track(pictures)
    upper, lower = INNER_LIP_CENTRES
    size = np.linalg.norm(points[:, 33, :2] - points[:, 263, :2], axis=1)
    gap = np.linalg.norm(points[:, upper] - points[:, lower], axis=1) / size
    sound = read_audio(given.film, 16000)
    pipeline = Pipeline.from_avatar(Avatar.open(given.avatar, discover()))
    rendered = torch.cat([lip_gap(cut.kept_landmarks.points) for cut in pipeline.cuts(sound, timeline)]).numpy()[
        : len(gap)
    ]
    padded = np.pad(sound.samples.numpy(), (0, 640))
    loud = np.array([np.sqrt(np.square(padded[k * 640 : (k + 1) * 640]).mean()) for k in range(len(gap))])
    loud = np.log10(np.maximum(np.convolve(loud, np.ones(3) / 3, "same"), 1e-3))
    print(f"{len(pictures)} frames at {pictures[0].shape[1]} x {pictures[0].shape[0]}")
    for name, other in (("loudness", loud), ("rendered landmarks", rendered)):
        print("lip gap seen against {}: r {:.2f} at lag {:+d}".format(name, *best_lag(gap, other)))
    print(f"rendered landmarks against loudness: r {best_lag(rendered, loud)[0]:.2f}")
    sharp = np.array([sharpness(p, q) for p, q in zip(pictures, points, strict=True)])
    if given.capture:
        capture = Capture.open(given.capture)
        plan = parse_emotion(capture.meta["job"]["emotion"]).track(len(capture), 25.0).weights.numpy()
        side = pictures[0].shape[0]
        for label in np.flatnonzero(emotion.max(0) > 0.99):
            mine = sharp[emotion[:, label] > 0.99]
            rows = np.flatnonzero(plan[:, label] > 0.99)
            rows = rows[np.linspace(0, len(rows) - 1, 12).astype(int)]
            at = capture.tracks.image_points.numpy()[rows] * side / capture.size
            true = [sharpness(capture.frame(int(k), side), q) for k, q in zip(rows, at, strict=True)]
            made, real = mine.mean(), np.mean(true)
            print(f"sharpness {LABELS[label]:9} {made:7.1f}, true {real:7.1f}: {made / real:.2f}")
        rows = range(210, 330)
        shots = [capture.frame(k, side) for k in rows]
        true = flicker(shots, capture.tracks.image_points.numpy()[210:330] * side / capture.size)
        print(f"flicker, grey levels: {flicker(pictures, points):.2f}; true frames {true:.2f} (at exact landmarks), "
              f"{flicker(shots, track(shots)[0]):.2f} (at MediaPipe's)")  # fmt: skip
    base = scores[emotion[:, LABELS.index("neutral")] > 0.99].mean(0)
    for label in np.flatnonzero(emotion.max(0) > 0.99):
        change = scores[emotion[:, label] > 0.99].mean(0) - base
        print(f"{LABELS[label]:9}", "  ".join(f"{n} {change[BLENDSHAPES.index(n)]:+.2f}" for n in READINGS))
    if given.sheet:
        shown = pictures[::8]
        shown += [np.zeros_like(shown[0])] * (-len(shown) % 6)
        rows = [np.hstack(shown[k : k + 6]) for k in range(0, len(shown), 6)]
        cv2.imwrite(str(given.sheet), np.vstack(rows)[..., ::-1])


if __name__ == "__main__":
    main()
