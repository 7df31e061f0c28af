"""How outside judges see the synthetic actor: `python benchmarks/actor_table.py [--identities 12] [--parts readings]`.

Prints a table against the targets of docs/actor.md. A whole run (no `--seeds`, every part, 12 identities) also writes
`benchmarks/actor_table.json`. Needs MediaPipe's, MobileFaceNet's and NIQE's model files (`REALTALK_MODELS`), and for
something to compare NIQE with the real clips (`REALTALK_DATA`).

Parts:
  readings   correlations with the truth, landmark error, emotions' change, cosine between heads
  found      all eight emotions turned by 30 degrees to both sides
  clips      two performances of each head, in two emotions: is it still the same person
  closures   are lips closed on p, b and m in every emotion, by the truth and by MediaPipe
  niqe       naturalness of pictures at 512 beside real clips cropped alike
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import cv2
import mediapipe
import numpy as np
import onnxruntime
import torch
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import FaceLandmarker, FaceLandmarkerOptions, RunningMode

from realtalk_actor.actor import INDEX, Actor, Pose, gaze_shapes
from realtalk_actor.emotions import EMOTIONS, unit_shapes
from realtalk_actor.performance import perform
from realtalk_actor.picture import Camera, Studio
from realtalk_actor.record import image_points
from realtalk_core.emotion import parse_emotion
from realtalk_core.models import model_path
from realtalk_core.niqe import niqe
from realtalk_core.types import AudioClip
from realtalk_core.voice import Phoneme, Speech

PARTS = ("readings", "found", "clips", "closures", "niqe")
SIZE, NIQE_SIZE = 256, 512
FPS = 25.0
READ = {
    "jawOpen": ("jawOpen",), "smile": ("mouthSmileLeft", "mouthSmileRight"), "brow raise": ("browInnerUp",),
    "brow lower": ("browDownLeft", "browDownRight"), "blink": ("eyeBlinkLeft", "eyeBlinkRight"),
    "frown": ("mouthFrownLeft", "mouthFrownRight"), "eye wide": ("eyeWideLeft", "eyeWideRight"),
}  # fmt: skip
TARGET = {
    "jawOpen": 0.9, "smile": 0.9, "brow raise": 0.8, "brow lower": 0.8, "blink": 0.8, "frown": 0.6, "eye wide": 0.6,
    "lip gap": 0.95, "lid gap": 0.9,
}  # fmt: skip
# change against the same actor's neutral that real actors show (the two leading readings of each emotion)
REAL = {
    "angry": {"browOuterUpLeft": -0.427, "browInnerUp": -0.403}, "contempt": {"browInnerUp": 0.397,
    "mouthUpperUpLeft": 0.382},
    "disgust": {"browInnerUp": -0.371, "eyeSquintLeft": 0.362}, "fear": {"browInnerUp": 0.300, "mouthSmileLeft": 0.178},
    "happy": {"mouthSmileLeft": 0.473, "mouthUpperUpLeft": 0.372}, "sad": {"eyeSquintLeft": 0.474,
    "browOuterUpLeft": -0.424},
    "surprise": {"browInnerUp": 0.427, "browOuterUpLeft": 0.333},
}  # fmt: skip
NEUTRAL = ("browInnerUp", "browOuterUpLeft", "eyeSquintLeft", "mouthSmileLeft", "eyeBlinkLeft", "jawOpen")
ALIGNED = np.array([[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]], np.float32)
"""Where the recogniser wants eyes, nose and mouth corners in its 112 pixels."""
LIPS, LIDS = ((13, 14), (82, 87), (312, 317)), ((159, 145), (386, 374))
CLOSED = 0.03
"""Lips count as closed when the gap between their middles is below this share of the outer-eye distance."""
BABBLE = ["ɑ", "p", "i", "b", "ɛ", "m", "o", "b", "æ", "p", "u", "m", "ɑ", "b", "i", "p", "ɛ", "m"]
CLIPS = (("neutral", 1), ("happy:0.6@0 sad:0.6@1.2", 2))
"""Emotion and seed of the movements of the two performances that recognition is tested on."""
REAL_CLIPS = (
    "video/blue_woman_7s_30fps_quiet.mp4", "video/flag_woman_8s.mp4", "video/office_man_6s_vfr.mp4",
    "video/studio_man_71s.mp4", "video/talk_20s_wide_pose.mp4", "emotion/mead_M003_level_1_disgusted_015.mp4",
    "emotion/mead_M026_level_3_disgusted_018.mp4", "emotion/mead_M030_level_3_angry_016.mp4",
    "emotion/mead_M030_level_3_sad_001.mp4",
)  # fmt: skip
"""Clips large enough to be cropped like the actor's pictures without enlarging them much."""


class Judges:
    """MediaPipe's face landmarker and MobileFaceNet."""

    def __init__(self) -> None:
        options = FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(model_path("face_landmarker.task"))),
            running_mode=RunningMode.IMAGE, num_faces=1, output_face_blendshapes=True,
        )  # fmt: skip
        self._landmarker = FaceLandmarker.create_from_options(options)
        self._face = onnxruntime.InferenceSession(
            str(model_path("MobileFaceNet.onnx")), providers=["CPUExecutionProvider"]
        )

    def read(self, picture):
        found = self._landmarker.detect(mediapipe.Image(mediapipe.ImageFormat.SRGB, np.ascontiguousarray(picture)))
        if not found.face_landmarks:
            return None, None
        size = [picture.shape[1], picture.shape[0]]
        points = np.array([(p.x, p.y) for p in found.face_landmarks[0]]) * size
        return points, np.array([c.score for c in found.face_blendshapes[0]])

    def embed(self, picture, points):
        places = [points[[33, 133]].mean(0), points[[362, 263]].mean(0), points[4], points[61], points[291]]
        warp, _ = cv2.estimateAffinePartial2D(np.array(places, np.float32), ALIGNED, method=cv2.LMEDS)
        face = cv2.warpAffine(picture, warp, (112, 112)).astype(np.float32) / 255
        face = ((face - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).astype(np.float32)
        code = self._face.run(None, {self._face.get_inputs()[0].name: face.transpose(2, 0, 1)[None]})[0].ravel()
        return code / np.linalg.norm(code)

    def close(self) -> None:
        self._landmarker.close()


def poses(rng, moving):
    """One pose per emotion and head turn, then `moving` random ones in which everything moves."""
    out = []
    for name, units in EMOTIONS.items():
        for yaw in (0.0, rng.choice([-1, 1]) * rng.uniform(0.2, 0.52)):
            out.append((name if yaw == 0 else "turned", Pose(unit_shapes(units), turn=(rng.normal() * 0.06, yaw, 0))))
    names = ["jawOpen", "mouthSmile", "mouthFrown", "browDown", "browInnerUp", "eyeBlink", "eyeWide", "mouthPucker"]
    for _ in range(moving):
        s = np.zeros(52)
        for name in names:
            value = rng.random() ** 1.3 * (rng.random() < 0.45)
            for full in (name,) if name in INDEX else (name + "Left", name + "Right"):
                s[INDEX[full]] = value
        if s[INDEX["mouthSmileLeft"]] > 0.2:
            s[[INDEX["mouthFrownLeft"], INDEX["mouthFrownRight"]]] = 0
        if s[INDEX["eyeBlinkLeft"]] > 0.2:
            s[[INDEX["eyeWideLeft"], INDEX["eyeWideRight"]]] = 0
        look = tuple(rng.normal(size=2) * 0.1)
        out.append(("moving", Pose(gaze_shapes(s, look), look, tuple(rng.normal(size=3) * [0.08, 0.15, 0.05]))))
    return out


def correlation(a, b):
    a, b = np.asarray(a, float), np.asarray(b, float)
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 1e-9 and b.std() > 1e-9 else 0.0


def gap(points, pairs):
    return float(np.mean([np.linalg.norm(points[a] - points[b]) for a, b in pairs]))


def eyes_apart(points):
    return float(np.linalg.norm(points[33] - points[263]))


def speech_of(sounds, each=0.12):
    """Sounds of equal length over a hum, as a voice would give them."""
    phonemes = tuple(Phoneme(s, each * k, each * (k + 1)) for k, s in enumerate(sounds))
    seconds = each * len(sounds)
    return Speech(AudioClip(0.3 * torch.sin(torch.arange(round(seconds * 16000)) * 0.06), 16000), phonemes)


def acted(emotion, seed, sounds=BABBLE):
    speech = speech_of(sounds)
    return perform(speech, parse_emotion(emotion).track(round(speech.clip.seconds * FPS), FPS), seed)


class Tally:
    """What is found, summed over identities."""

    def __init__(self) -> None:
        self.frames = self.missed = 0
        self.errors, self.offset = [], []
        self.codes, self.within = [], []
        self.tracks = {name: [] for name in TARGET}
        self.change = {name: [] for name in REAL}
        self.neutral = []
        self.pressed = {"truth": [], "mediapipe": []}
        self.by_emotion = {name: {"truth": [], "mediapipe": []} for name in EMOTIONS}
        self.gaps = {"p b m": [], "vowels": []}
        self.niqe = []


def readings(studio, judges, tally, seed, moving):
    rows, reads, codes, offsets = [], {}, [], []
    kinds, wanted = zip(*poses(np.random.default_rng([seed, 8]), moving), strict=True)
    for kind, pose, shot in zip(kinds, wanted, studio.shoots(wanted), strict=True):
        points, scores = judges.read(shot.rgb)
        tally.frames += 1
        if points is None:
            tally.missed += 1
            continue
        truth = image_points(studio.camera, shot.transform[None], shot.landmarks[None])[0, :, :2]
        offsets.append((points - truth) / eyes_apart(truth) * 100)
        codes.append(judges.embed(shot.rgb, points))
        if kind in EMOTIONS:
            reads[kind] = scores
        rows.append((pose.shapes, scores, gap(truth, LIPS), gap(points, LIPS), gap(truth, LIDS), gap(points, LIDS)))
    tally.errors.append(float(np.linalg.norm(offsets, axis=-1).mean()))
    tally.offset.append(float(np.linalg.norm(np.array(offsets) - np.mean(offsets, 0), axis=-1).mean()))
    tally.codes.append(codes[0])
    tally.neutral.append(reads["neutral"])
    for name in REAL:
        tally.change[name].append(reads[name] - reads["neutral"])
    for name, shapes in READ.items():
        k = [INDEX[s] for s in shapes]
        tally.tracks[name].append(correlation([r[0][k].mean() for r in rows], [r[1][k].mean() for r in rows]))
    tally.tracks["lip gap"].append(correlation([r[2] for r in rows], [r[3] for r in rows]))
    tally.tracks["lid gap"].append(correlation([r[4] for r in rows], [r[5] for r in rows]))


def found(studio, judges, tally):
    turned = [Pose(unit_shapes(units), turn=(0, y, 0)) for units in EMOTIONS.values() for y in np.deg2rad([-30, 30])]
    for shot in studio.shoots(turned):
        tally.frames += 1
        tally.missed += judges.read(shot.rgb)[0] is None


def clips(studio, judges, tally, seed):
    """Every eighth frame of one performance against every eighth of the other."""
    codes = []
    for emotion, movements in CLIPS:
        chosen = acted(emotion, 100 * seed + movements).poses[::8]
        reads = [(shot.rgb, judges.read(shot.rgb)[0]) for shot in studio.shoots(chosen)]
        codes.append(np.array([judges.embed(rgb, points) for rgb, points in reads if points is not None]))
    tally.within.append(float((codes[0] @ codes[1].T).mean()))


def closures(studio, judges, tally, seed):
    """The frame nearest to the middle of each p, b and m; MediaPipe sees two of them, and a vowel, in each emotion."""
    middle = {k: round((k + 0.5) * 0.12 * FPS - 0.5) for k in range(len(BABBLE))}
    pressed = [middle[k] for k, sound in enumerate(BABBLE) if sound in "pbm"]
    vowels = [middle[k] for k, sound in enumerate(BABBLE) if sound in "ɑɛæ"]
    for n, label in enumerate(EMOTIONS):
        done = acted(label, seed).poses
        truth = [studio.actor.landmarks(done[k]) for k in pressed]
        values = {"truth": [gap(p, LIPS) / eyes_apart(p) < CLOSED for p in truth], "mediapipe": []}
        seen = [*(pressed[(n + seed + j * 4) % len(pressed)] for j in range(2)), vowels[(n + seed) % len(vowels)]]
        for k, shot in zip(seen, studio.shoots([done[k] for k in seen]), strict=True):
            points, _ = judges.read(shot.rgb)
            if points is None:
                continue
            opening = gap(points, LIPS) / eyes_apart(points)
            tally.gaps["p b m" if k in pressed else "vowels"].append(opening)
            if k in pressed:
                values["mediapipe"].append(opening < CLOSED)
        for who, closed in values.items():
            tally.pressed[who] += closed
            tally.by_emotion[label][who] += closed


def naturalness(actor, tally):
    studio = Studio(actor, Camera(NIQE_SIZE), with_normals=False)
    for name, yaw in (("neutral", 0.0), ("happy", 0.25)):
        tally.niqe.append(niqe(studio.shoot(Pose(unit_shapes(EMOTIONS[name]), turn=(0, yaw, 0))).rgb))


def real_naturalness(judges, apart):
    """NIQE of three frames of each real clip, cropped so that the eyes are as far apart as the actor's."""
    root = os.environ.get("REALTALK_DATA")
    if not root:
        return {}
    out = {}
    for name in REAL_CLIPS:
        film = cv2.VideoCapture(str(Path(root) / name))
        length, values = int(film.get(cv2.CAP_PROP_FRAME_COUNT)), []
        for share in (0.2, 0.5, 0.8):
            film.set(cv2.CAP_PROP_POS_FRAMES, int(length * share))
            good, frame = film.read()
            points = judges.read(frame[..., ::-1])[0] if good else None
            if points is None:
                continue
            side = int(min(eyes_apart(points) / apart, *frame.shape[:2]))
            x, y = points[[33, 263]].mean(0)
            left = int(np.clip(x - side / 2, 0, frame.shape[1] - side))
            top = int(np.clip(y - side * 0.42, 0, frame.shape[0] - side))
            cut = np.ascontiguousarray(frame[top : top + side, left : left + side, ::-1])
            if side >= 0.75 * NIQE_SIZE:
                how = cv2.INTER_AREA if side > NIQE_SIZE else cv2.INTER_CUBIC
                values.append(niqe(cv2.resize(cut, (NIQE_SIZE, NIQE_SIZE), interpolation=how)))
        film.release()
        if values:
            out[Path(name).stem] = round(float(np.mean(values)), 2)
    return out


def judge(seeds, moving, parts, progress=print) -> dict:
    judges, camera, tally = Judges(), Camera(SIZE), Tally()
    for seed in seeds:
        start = time.perf_counter()
        actor = Actor(seed)
        studio = Studio(actor, camera, with_normals=False)
        if "readings" in parts:
            readings(studio, judges, tally, seed, moving)
        if "found" in parts:
            found(studio, judges, tally)
        if "clips" in parts:
            clips(studio, judges, tally, seed)
        if "closures" in parts:
            closures(studio, judges, tally, seed)
        if "niqe" in parts:
            naturalness(actor, tally)
        progress(f"seed {seed}: {time.perf_counter() - start:.1f} s", flush=True)
    out = {"seeds": list(seeds), "parts": list(parts), "frames": tally.frames}
    if tally.frames:
        out["found_percent"] = 100 * (tally.frames - tally.missed) / tally.frames
    if "readings" in parts:
        between = (np.array(tally.codes) @ np.array(tally.codes).T)[np.triu_indices(len(seeds), 1)]
        out |= {
            "landmark_error_percent": float(np.mean(tally.errors)),
            "landmark_error_less_constant_percent": float(np.mean(tally.offset)),
            "landmark_error_by_identity": [round(e, 2) for e in tally.errors],
            "correlation": {name: float(np.mean(values)) for name, values in tally.tracks.items()},
            "correlation_by_identity": {name: [round(v, 3) for v in vs] for name, vs in tally.tracks.items()},
            "emotion_change": {name: {r: [real, float(np.mean([c[INDEX[r]] for c in tally.change[name]]))]
                                      for r, real in wanted.items()} for name, wanted in REAL.items()},
            "neutral": {name: float(np.mean([r[INDEX[name]] for r in tally.neutral])) for name in NEUTRAL},
        }  # fmt: skip
        if len(between):
            out |= {"identity_between": float(between.mean()), "identity_between_max": float(between.max())}
    if "clips" in parts:
        out |= {"identity_within": float(np.mean(tally.within)), "identity_within_min": float(min(tally.within)),
                "identity_within_by_identity": [round(w, 3) for w in tally.within]}  # fmt: skip
    if "closures" in parts:
        out["closed_percent"] = {who: 100 * float(np.mean(values)) for who, values in tally.pressed.items()}
        out["lip_gap_read_percent"] = {sound: 100 * float(np.mean(values)) for sound, values in tally.gaps.items()}
        out["closed_by_emotion"] = {label: {who: round(100 * float(np.mean(values))) for who, values in both.items()}
                                    for label, both in tally.by_emotion.items()}  # fmt: skip
    if "niqe" in parts:
        rest = image_points(camera, np.eye(4)[None], actor.landmarks(Pose())[None])[0, :, :2]
        real = real_naturalness(judges, eyes_apart(rest) / SIZE)
        out["niqe"] = {"actor": float(np.mean(tally.niqe)), "actor_range": [min(tally.niqe), max(tally.niqe)],
                       "real": float(np.mean(list(real.values()))) if real else None, "real_clips": real}  # fmt: skip
    judges.close()
    return out


def rows(result):
    """What was measured, the value, and what is asked: a comparison and a number, or None."""
    if "found_percent" in result:
        yield "face found, % of frames (yaw to 30°, eight emotions)", result["found_percent"], (">=", 100)
    if "correlation" in result:
        yield "landmark error, % of outer-eye distance", result["landmark_error_percent"], ("<=", 4)
        yield "  less each landmark's mean offset", result["landmark_error_less_constant_percent"], None
        for name, value in result["correlation"].items():
            yield f"correlation: {name}", value, (">=", TARGET[name])
    if "identity_within" in result:
        yield "same head in two clips, mean cosine", result["identity_within"], (">=", 0.8)
    if "identity_between" in result:
        yield "different heads, mean cosine", result["identity_between"], ("<=", 0.4)
    if "closed_percent" in result:
        yield "lips closed on p, b, m: truth, %", result["closed_percent"]["truth"], (">=", 100)
        yield "lips closed on p, b, m: as MediaPipe reads, %", result["closed_percent"]["mediapipe"], None
        for sound, value in result["lip_gap_read_percent"].items():
            yield f"  lip gap that it reads on {sound}, % of eye distance", value, None
    if "niqe" in result:
        yield "NIQE at 512² (lower is better)", result["niqe"]["actor"], None
        if result["niqe"]["real"] is not None:
            yield "NIQE of the real clips, cropped alike", result["niqe"]["real"], None
    for emotion, changes in result.get("emotion_change", {}).items():
        for name, (real, mine) in changes.items():
            yield f"{emotion}: {name} (real {real:+.2f})", mine, ("<=" if real < 0 else ">=", round(real / 2, 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--identities", type=int, default=12, help="the seeds from 0 on")
    parser.add_argument("--seeds", type=int, nargs="+", help="these seeds instead")
    parser.add_argument("--moving", type=int, default=24, help="random poses of each identity")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    seeds = options.seeds or range(options.identities)
    result = judge(list(seeds), options.moving, options.parts)
    for what, value, asked in rows(result):
        verdict = ""
        if asked:
            fine = value >= asked[1] if asked[0] == ">=" else value <= asked[1]
            verdict = f"{asked[0]} {asked[1]:<6g}{'' if fine else '  SHORT'}"
        print(f"{what:54}{value:9.3f}   {verdict}")
    for name in ("correlation_by_identity", "neutral", "closed_by_emotion"):
        for key, value in result.get(name, {}).items():
            print(f"  {name:24}{key:18}", value if not isinstance(value, float) else round(value, 2))
    whole = options.seeds is None and len(seeds) == 12 and set(options.parts) == set(PARTS)
    output = options.output or (Path(__file__).with_suffix(".json") if whole else None)
    if output:
        output.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
