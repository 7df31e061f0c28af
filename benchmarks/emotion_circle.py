"""Emotion swept around the circle of valence and arousal: does the face move smoothly, speak on, and stay itself?

    python benchmarks/emotion_circle.py CAPTURE AVATAR [--frames 100] [--single 3] [--json FILE] [--sheet DIR]

Any renderer: held-out frames (the last part of the clip) speak on from their true landmarks, blendshapes, poses and
sound, and the avatar's emotion stage adds the emotion as in a synthesis; a renderer with an emotion branch is given
what was before. Exit code 1 if a bar is missed, 3 if none is but MediaPipe's are not measured (no model).

- *smooth*: one frame at a time, around the circle of radius 0.8 in 24 steps: root-mean-square change per step of the
  picture over white, and of the posed Gaussians of a renderer that has some; the largest step over the mean one. Out
  from neutral to radius 1 in eight directions: the same, and whether the first picture is that without emotion, bit
  for bit.
- *lips*: Pearson's correlation over time of the mouth's opening with that of the same speech without emotion, at the
  twelve points of the paper's protocol (eight at radius 0.8, four at 0.5); bar 0.9. On the posed Gaussians nearest to
  the lips' landmarks, and on landmarks that MediaPipe finds on the pictures, pasted into the film.
- *identity*: at the same points, on the same landmarks, the distance of the inner eye corners against that without
  emotion (means over time; bar 2 %), and the nose: its landmarks' root-mean-square deviation from the same frame's
  without emotion, after the best similarity, as a share of the distance of the inner eye corners (bar 2 %).
- *seen*: how MediaPipe's blendshapes change, for a reader who does not know what was asked for.
- *follows*: how much of the emotion stage's motion a renderer's own branch makes, over posed Gaussians (1 is all).

`drive` is the same of the landmarks that the emotion stage gives: what a renderer that follows them keeps at best.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from self_reconstruction import TRACKED_SIDE, heard
from torch import Tensor

from realtalk_core.avatar import Avatar
from realtalk_core.blink import OpenEyes
from realtalk_core.build import build
from realtalk_core.capture import Capture
from realtalk_core.drives import filmed
from realtalk_core.emotion import va_track
from realtalk_core.errors import UserError
from realtalk_core.evaluation import Picture, correlation, spread
from realtalk_core.landmarks import BLENDSHAPES, IBUG68_FROM_MEDIAPIPE478, INNER_LIP_CENTRES
from realtalk_core.models import model_path
from realtalk_core.plugins import discover
from realtalk_core.types import Blendshapes, CameraTrack, Drive, LandmarkTrack

CIRCLE, RADIUS, OUTWARDS = 24, 0.8, 8
LEAST_CORRELATION, MOST_CHANGE = 0.9, 0.02
NEAREST = 12
"""Gaussians that stand for a landmark."""
EYE_CORNERS = (133, 362)
NOSE = IBUG68_FROM_MEDIAPIPE478[27:36]
READ = ("mouthSmileLeft", "mouthFrownLeft", "browInnerUp", "browDownLeft", "eyeWideLeft", "eyeSquintLeft", "jawOpen")
Point = tuple[float, float]


def around(count: int, radius: float, first: float = 0.0) -> list[Point]:
    angles = (math.tau * k / count + first for k in range(count))
    return [(radius * math.cos(a), radius * math.sin(a)) for a in angles]


PROTOCOL = [*around(8, 0.8), *around(4, 0.5, math.tau / 8)]


class Speaker:
    """Speech that can be given an emotion.

    Args:
        avatar: Whose emotion stage and renderer.
        capture: Where the speech comes from.
        drive: All of it, as filmed.
        size: Side of the pictures; the renderer's own if None.
    """

    def __init__(self, avatar: Avatar, capture: Capture, drive: Drive, size: int | None = None) -> None:
        self.capture, self.drive, self.person = capture, drive, avatar.person
        self.deformer, self.renderer = avatar.component("emotion"), avatar.component("renderer", "auto")
        self.size = size or int(getattr(self.renderer, "render_size", None) or 256)
        self.eyes = OpenEyes.of(self.person.neutral, self.person.landmarks[self.person.bank])

    def emotional(self, span: slice, point: Point) -> Drive:
        """Frames with an emotion, as the pipeline would give them."""
        speech = self.drive[span]
        count, fps = len(speech), speech.landmarks.fps
        track = va_track(torch.tensor([point] * count), fps)
        points = speech.landmarks.points
        change = self.deformer.deform(speech.landmarks, track).points - points
        moved = LandmarkTrack(points + change * self.eyes.take(points), speech.landmarks.scheme, fps)
        assert speech.blendshapes is not None
        scores = speech.blendshapes.values + self.person.scores(moved.points) - self.person.scores(points)
        return replace(
            speech, landmarks=moved, emotion=track, blendshapes=Blendshapes(scores.clamp(0, 1)), neutral=speech
        )

    def cameras(self, span: slice) -> CameraTrack:
        return self.capture.cameras.resized(self.size, self.size)[span]

    @torch.no_grad()
    def heads(self, drive: Drive, span: slice) -> tuple[Tensor, Tensor]:
        """Colours `T H W 3` and opacities `T H W 1`."""
        batches = list(self.renderer.render(drive, self.cameras(span)))
        rgb = torch.cat([b.rgb for b in batches])
        return rgb, torch.cat([torch.ones_like(b.rgb[..., :1]) if b.alpha is None else b.alpha for b in batches])

    def pasted(self, drive: Drive, span: slice) -> list[Picture]:
        """Pictures over the film, float in [0, 1]."""
        frames = range(*span.indices(len(self.drive)))
        film = np.stack([self.capture.frame(k, self.size) for k in frames]).astype(np.float32) / 255
        rgb, alpha = (x.numpy() for x in self.heads(drive, span))
        return list(rgb * alpha + film * (1 - alpha))


class Places:
    """Landmarks of posed Gaussians: each the mean of those nearest to it on the template.

    Args:
        renderer: One that can pose its Gaussians (`posed(drive, frame)`).
    """

    def __init__(self, renderer: Any) -> None:
        self.renderer = renderer
        stored, template = renderer.stored()[0], renderer.head.template
        solid = (stored.opacities > 0.3).nonzero().flatten()
        near = torch.cdist(template, stored.means[solid]).topk(NEAREST, largest=False).indices
        self.index: Tensor = solid[near]
        self.weights: Tensor = stored.opacities

    def means(self, drive: Drive) -> Tensor:
        """`T N 3` of the face."""
        return torch.stack([self.renderer.posed(drive, k)[0].means for k in range(len(drive))])

    def landmarks(self, drive: Drive) -> np.ndarray:
        """`T K 3`, cm."""
        return np.asarray(self.means(drive)[:, self.index].mean(2).numpy(), np.float64)


class Reader:
    """MediaPipe on pictures."""

    def __init__(self) -> None:
        spec = discover().find("tracker", "mediapipe")
        model_path("face_landmarker.task")  # the tracker itself would only look for it at the first picture
        self.spec = spec

    def read(self, pictures: Sequence[Picture]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Landmarks `T 478 2` in pixels, scores `T 52`, and whether a face was found."""
        side = (TRACKED_SIDE, TRACKED_SIDE)
        images = (np.ascontiguousarray(cv2.resize((p * 255).clip(0, 255).astype(np.uint8), side)) for p in pictures)
        found = [faces[0] if faces else None for faces in build(self.spec, self.spec.config()).track(images, 25.0)]
        points = [np.zeros((478, 2)) if f is None else f.points[:478, :2].double().numpy() for f in found]
        scores = [np.zeros(52) if f is None or f.blendshapes is None else f.blendshapes.double().numpy() for f in found]
        return np.stack(points), np.stack(scores), np.array([f is not None for f in found])


def opening(points: np.ndarray) -> np.ndarray:
    upper, lower = INNER_LIP_CENTRES
    return np.asarray(points[:, lower, 1] - points[:, upper, 1])


def eye_distance(points: np.ndarray) -> np.ndarray:
    a, b = EYE_CORNERS
    return np.asarray(np.linalg.norm(points[:, a] - points[:, b], axis=1))


def nose_deviation(points: np.ndarray, neutral: np.ndarray) -> np.ndarray:
    """Of each frame, as a share of the distance of the inner eye corners."""
    found = []
    for face, same, unit in zip(points[:, NOSE], neutral[:, NOSE], eye_distance(neutral), strict=True):
        a, b = face - face.mean(0), same - same.mean(0)
        u, sigma, vt = np.linalg.svd(a.T @ b)
        flip = np.ones(len(sigma))
        flip[-1] = np.sign(np.linalg.det(u @ vt))
        turned = a @ (u * flip @ vt) * (sigma @ flip) / np.square(a).sum()
        found.append(np.sqrt(np.square(turned - b).sum(1).mean()) / unit)
    return np.asarray(found)


def kept(emotional: np.ndarray, neutral: np.ndarray) -> dict[str, float]:
    """Measures of speech and identity of one emotion over time."""
    a, b = torch.from_numpy(opening(emotional)), torch.from_numpy(opening(neutral))
    return {
        "correlation": correlation(a, b),
        "opening": float(a.abs().mean() / b.abs().mean()),
        "eye_corners": float(np.abs(eye_distance(emotional).mean() / eye_distance(neutral).mean() - 1)),
        "nose": float(nose_deviation(emotional, neutral).mean()),
    }


def worst(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Over the points of the protocol."""
    return {
        "correlation_min": min(row["correlation"] for row in rows),
        "correlation_mean": float(np.mean([row["correlation"] for row in rows])),
        "opening_mean": float(np.mean([row["opening"] for row in rows])),
        "eye_corners_max": max(row["eye_corners"] for row in rows),
        "nose_max": max(row["nose"] for row in rows),
    }


def steps(states: Sequence[Tensor], closed: bool) -> dict[str, float]:
    """Changes from each state to the next (and to the first again): their mean, and the largest over the mean."""
    after = [*states[1:], states[0]] if closed else states[1:]
    change = [float((b - a).square().mean().sqrt()) for a, b in zip(states, after, strict=False)]
    mean = float(np.mean(change))
    return {"mean": mean, "largest": max(change) / max(mean, 1e-12)}


def smoothness(speaker: Speaker, places: Places | None, frames: Sequence[int]) -> dict[str, Any]:
    """Of single frames around the circle and outwards."""

    def states(frame: int, points: Sequence[Point]) -> tuple[list[Tensor], list[Tensor]]:
        span, shown, posed = slice(frame, frame + 1), [], []
        for point in points:
            drive = speaker.emotional(span, point)
            rgb, alpha = speaker.heads(drive, span)
            shown.append(rgb * alpha + 1 - alpha)
            posed.append(places.means(drive) if places is not None else drive.landmarks.points)
        return shown, posed

    circle: dict[str, list[dict[str, float]]] = {"pictures": [], "places": []}
    out: dict[str, list[dict[str, float]]] = {"pictures": [], "places": []}
    exact = True
    for frame in frames:
        for name, found in zip(circle, states(frame, around(CIRCLE, RADIUS)), strict=True):
            circle[name].append(steps(found, closed=True))
        span = slice(frame, frame + 1)
        plain = speaker.heads(speaker.drive[span], span)
        for way in around(OUTWARDS, 1.0):
            points = [(way[0] * k / OUTWARDS, way[1] * k / OUTWARDS) for k in range(OUTWARDS + 1)]
            shown, posed = states(frame, points)
            exact &= torch.equal(shown[0], plain[0] * plain[1] + 1 - plain[1])
            for name, found in zip(out, (shown, posed), strict=True):
                out[name].append(steps(found, closed=False))

    def over(rows: list[dict[str, float]]) -> dict[str, float]:
        return {"mean": float(np.mean([r["mean"] for r in rows])), "largest": max(r["largest"] for r in rows)}

    return {
        "circle": {name: over(rows) for name, rows in circle.items()},
        "outwards": {name: over(rows) for name, rows in out.items()},
        "exactly_neutral": exact,
    }


def follows(speaker: Speaker, places: Places, span: slice) -> float:
    """How much of the emotion stage's motion of the Gaussians the branch makes; the warp says what that is."""
    head, stored, speech = speaker.renderer.head, speaker.renderer.stored()[0].means, speaker.drive[span]

    def warped(drive: Drive) -> Tensor:
        scheme = "mediapipe478" if len(head.template) == 478 else "ibug68"
        return torch.stack([head.motion(p).skin.read(stored)[0] for p in drive.landmarks.to_scheme(scheme).points])

    still, before = places.means(speech), warped(speech)
    error = whole = 0.0
    for point in PROTOCOL:
        drive = speaker.emotional(span, point)
        wanted, made = warped(drive) - before, places.means(drive) - still
        error += float((places.weights[:, None] * (made - wanted).square()).sum())
        whole += float((places.weights[:, None] * wanted.square()).sum())
    return 1 - error / whole


def sheet(speaker: Speaker, frame: int, file: Path) -> None:
    """A row for each direction, from neutral outwards, and the circle."""
    span, rows = slice(frame, frame + 1), []

    def shown(point: Point) -> Picture:
        picture = (speaker.pasted(speaker.emotional(span, point), span)[0] * 255).clip(0, 255).astype(np.uint8)
        label = f"{point[0]:+.2f} {point[1]:+.2f}"
        return np.asarray(cv2.putText(picture, label, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1))

    for way in around(8, 1.0):
        rows.append(np.hstack([shown((way[0] * r, way[1] * r)) for r in (0, 0.25, 0.5, 0.75, 1.0)]))
    write(file.with_name(f"outwards_{frame}.png"), np.vstack(rows))
    circle = [shown(point) for point in around(CIRCLE, RADIUS)]
    write(file.with_name(f"circle_{frame}.png"), np.vstack([np.hstack(circle[k : k + 6]) for k in range(0, CIRCLE, 6)]))


def write(file: Path, picture: Picture) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


@torch.no_grad()
def measure(speaker: Speaker, spoken: slice, single: Sequence[int], say: Callable[[str], None]) -> dict[str, Any]:
    """Everything; pictures are read by MediaPipe where its model is."""
    places = Places(speaker.renderer) if hasattr(speaker.renderer, "posed") else None
    found: dict[str, Any] = {"smooth": smoothness(speaker, places, single)}
    say(f"smooth {found['smooth']}")
    tables: dict[str, list[dict[str, float]]] = {}
    try:
        reader = Reader()
    except UserError as error:
        say(f"no landmarks on pictures: {error.message}")
        reader, found["not_measured"] = None, f"pictures: {error.message}"
    plain = speaker.drive[spoken]
    still = reader.read(speaker.pasted(plain, spoken)) if reader is not None else None
    posed = places.landmarks(plain) if places is not None else None
    seen = []
    for point in PROTOCOL:
        drive = speaker.emotional(spoken, point)
        driven = kept(-drive.landmarks.points.double().numpy(), -plain.landmarks.points.double().numpy())
        tables.setdefault("drive", []).append(driven)
        if places is not None and posed is not None:
            tables.setdefault("places", []).append(kept(-places.landmarks(drive), -posed))
        if reader is not None and still is not None:
            points, scores, there = reader.read(speaker.pasted(drive, spoken))
            both = there & still[2]
            row = kept(points[both], still[0][both]) | {"found": float(both.sum() / max(1, still[2].sum()))}
            tables.setdefault("pictures", []).append(row)
            change = (scores[both] - still[1][both]).mean(0)
            seen.append({name: round(float(change[BLENDSHAPES.index(name)]), 3) for name in READ})
        say(f"{point[0]:+.2f} {point[1]:+.2f} " + "  ".join(f"{n} {t[-1]}" for n, t in tables.items()))
    found |= {name: worst(rows) for name, rows in tables.items()}
    named = [f"{v:+.2f} {a:+.2f}" for v, a in PROTOCOL]
    found["points"] = {name: dict(zip(named, rows, strict=True)) for name, rows in tables.items()}
    found["seen"] = dict(zip(named, seen, strict=False))
    if places is not None and getattr(speaker.renderer.config, "emotion", "") == "branch":
        found["follows"] = follows(speaker, places, slice(spoken.start, spoken.start + 8))
    return found


def missed(found: dict[str, Any]) -> list[str]:
    """Bars that are missed."""
    out = [] if found["smooth"]["exactly_neutral"] else ["at neutral the picture is not that of no emotion"]
    for name in ("places", "pictures"):
        row = found.get(name)
        if row is None:
            continue
        if row["correlation_min"] < LEAST_CORRELATION:
            out.append(f"{name}: lips {row['correlation_min']:.3f} < {LEAST_CORRELATION}")
        for part in ("eye_corners", "nose"):
            if row[f"{part}_max"] > MOST_CHANGE:
                out.append(f"{name}: {part} {row[f'{part}_max']:.4f} > {MOST_CHANGE}")
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("capture", type=Path)
    parser.add_argument("avatar", type=Path)
    parser.add_argument("--split", type=float, default=0.8, help="share of the clip that was learnt from")
    parser.add_argument("--frames", type=int, default=100, help="consecutive held-out frames that speak")
    parser.add_argument("--single", type=int, default=3, help="frames that the circle is swept for")
    parser.add_argument("--size", type=int, help="side of the pictures; the renderer's own by default")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--sheet", type=Path, metavar="DIR")
    args = parser.parse_args()
    plugins = discover()
    capture, avatar = Capture.open(args.capture), Avatar.open(args.avatar, plugins)
    speaker = Speaker(avatar, capture, filmed(capture, heard(capture, plugins, args.avatar)), args.size)
    valid = capture.training_frames()
    held = valid[valid >= round(len(capture) * args.split)]
    start = int(held[0])
    spoken = slice(start, min(start + args.frames, len(capture)))
    single = spread(held, args.single).tolist()
    found = measure(speaker, spoken, single, print)
    if args.sheet:
        for frame in single:
            sheet(speaker, frame, args.sheet / "sheet.png")
    problems = missed(found)
    found["missed"] = problems
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({k: v for k, v in found.items() if k not in ("points", "seen")}, indent=1))
    return 1 if problems else 3 if "not_measured" in found else 0


if __name__ == "__main__":
    raise SystemExit(main())
