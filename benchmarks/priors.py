"""How good the shipped priors are: on actors, voices and sentences they never saw, and on real captures.

    python benchmarks/priors.py [--takes 36] [--steps 250] [CAPTURE...]

Synthetic part (needs the extra `espeak`): each held-out actor's neutral video is one take; landmarks are then generated
from other takes of held-out voices and sentences, without a training step. Real part: correlation of generated with
tracked lip gap on the last 20 % of each capture, with its best lag in frames (positive: generated is late), for the
prior alone, the prior trained on the first 80 %, training from random weights, and a ridge regression.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from realtalk_core.capture import Capture
from realtalk_core.emotion import LABELS, NEUTRAL, EmotionPlan, Key
from realtalk_core.expression import lip_gap
from realtalk_core.landmarks import IBUG68_FROM_MEDIAPIPE478
from realtalk_core.training.data import TrainingData, encoder_name
from realtalk_core.types import AudioClip, AudioFeatures, LandmarkTrack
from realtalk_ldm import LdmConfig
from realtalk_ldm.deformer import LdmDeformer
from realtalk_mel import MelConfig
from realtalk_mel.encoder import MelEncoder
from realtalk_vae import VaeConfig
from realtalk_vae.generator import VaeGenerator

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "recipes"))

SHUT = 0.12
"""Lips count as closed within this share of the speaker's own range of openings above rest."""
ENCODER = encoder_name("mel", MelConfig())


def scores(made: np.ndarray, true: np.ndarray, reach: int = 5) -> tuple[float, int]:
    """Correlation at no lag, and the lag at which it is greatest."""
    all_lags = {
        k: float(np.corrcoef(made[reach + k : len(made) - reach + k], true[reach:-reach])[0, 1])
        for k in range(-reach, reach + 1)
    }
    return all_lags[0], max(all_lags, key=all_lags.__getitem__)


def filmed(points: Tensor, neutral: Tensor, heard: Tensor, fps: float, frames: Tensor | None = None) -> TrainingData:
    """What training knows of a capture, of landmarks and sound alone."""
    capture: Any = SimpleNamespace(
        landmarks=LandmarkTrack(points, "mediapipe478", fps), tracks=SimpleNamespace(neutral=neutral, landmarks=points)
    )
    train = torch.arange(len(points)) if frames is None else frames
    return TrainingData(capture, AudioFeatures(heard, fps), train, train[:0], 0, ENCODER)


def trained(data: TrainingData, steps: int, **config: Any) -> VaeGenerator:
    made = VaeGenerator.for_training(VaeConfig(steps=steps, **config), data)
    (optimizer,) = made.optimizers()
    for step in range(steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        made.training_step(made.batch(data, step), step)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(made.net.parameters(), made.gradient_clip)
        optimizer.step()
        made.after_step(step)
    return made


def held_out(count: int, prior: str) -> None:
    """Speech nobody was trained on."""
    from performances import TEST_ACTORS, takes

    films: dict[int, VaeGenerator] = {}
    rows, quiet = [], MelEncoder(MelConfig()).encode(AudioClip(torch.zeros(64000), 16000), 25.0)
    for take in takes(count + len(TEST_ACTORS), 99, held_out=True):
        if take.actor not in films:
            films[take.actor] = trained(filmed(take.points, take.neutral, take.heard[0], take.fps), 0, prior=prior)
            continue
        maker, true = films[take.actor], lip_gap(take.points).numpy()
        rest = float(lip_gap(take.neutral[None]))
        span = float(np.quantile(true, 0.95)) - rest
        for version, heard in enumerate(take.heard):
            made = lip_gap(maker.generate(AudioFeatures(heard, take.fps)).points).numpy()
            r, lag = scores(made, true)
            shut = [made[max(0, k - 1) : k + 2].min() - rest < SHUT * span for k in take.closed]
            times = (np.arange(len(true)) + 0.5) / take.fps
            pauses = [p for p in take.speech.phonemes if p.ipa == "" and p.end - p.start > 0.3]
            still = np.zeros(len(true), bool)
            for p in pauses:
                still |= (times > p.start + 0.16) & (times < p.end - 0.16)
            rows.append(
                (version, r, lag, np.mean(shut) if shut else np.nan, (made[still] - rest).mean() / span,
                 made[still].std() / span, made.std() / true.std())
            )  # fmt: skip
        digital = lip_gap(maker.generate(quiet).points)[5:-5].numpy()
        rows[-1] += ((digital - rest).mean() / span,)
        rows[-2] += (np.nan,)
    table = np.array(rows, float)
    print(f"held-out actors, voices, sentences: {len(rows) // 2} takes")
    print(
        f"{'sound':8} {'r':>6} {'r least':>8} {'lag':>5} {'|lag|<2':>8} {'closed':>7}"
        f" {'pause':>7} {'moves':>7} {'spread':>7}"
    )
    for version, name in enumerate(("clean", "rough")):
        t = table[table[:, 0] == version]
        print(
            f"{name:8} {t[:, 1].mean():6.3f} {t[:, 1].min():8.3f} {t[:, 2].mean():5.2f} "
            f"{(abs(t[:, 2]) < 2).mean():8.0%} {np.nanmean(t[:, 3]):7.1%} {np.nanmean(t[:, 4]):7.3f} "
            f"{np.nanmean(t[:, 5]):7.3f} {t[:, 6].mean():7.2f}"
        )
    print(f"digital silence: gap above rest {np.nanmean(table[:, 7]):.3f} of the range")


def ridge(rows: Tensor, target: Tensor, train: Tensor, reach: int = 2, strength: float = 30.0) -> Tensor:
    """Lip gap of every frame by ridge regression on features of neighbouring frames."""
    x = torch.cat([torch.roll(rows, k, 0) for k in range(-reach, reach + 1)], 1)
    x = (x - x[train].mean(0)) / x[train].std(0).clamp_min(1e-3)
    gram = x[train].T @ x[train] + strength * reach * torch.eye(x.shape[1])
    mean = target[train].mean()
    return x @ torch.linalg.solve(gram, x[train].T @ (target[train] - mean)) + mean


def real(paths: Sequence[str], steps: int, prior: str) -> None:
    names = ("prior", "prior+clip", "clip", "ridge")
    print(f"{'capture':28} {'frames':>6}" + "".join(f" {n:>10} {'lag':>4} {'spread':>6}" for n in names))
    for path in paths:
        capture = Capture.open(path)
        heard = MelEncoder(MelConfig()).encode(capture.audio, capture.fps).values[: len(capture)]
        points = capture.tracks.landmarks[: len(heard)].float()
        frames = torch.nonzero(capture.tracks.valid[: len(heard)]).flatten()
        first = round(0.8 * len(points))
        train, test = frames[frames < first], frames[frames >= first]
        data = filmed(points, capture.tracks.neutral.float(), heard, capture.fps, train)
        true = lip_gap(points)
        results = []
        for count, settings in ((0, {"prior": prior}), (steps, {"prior": prior}), (steps, {"prior": "none"})):
            results.append(lip_gap(trained(data, count, **settings).generate(AudioFeatures(heard, capture.fps)).points))
        results.append(ridge(heard.flatten(1), true, train))
        line = f"{capture.path.name:28} {len(points):6d}"
        for made in results:
            r, lag = scores(made[test].numpy(), true[test].numpy())
            line += f" {r:10.3f} {lag:4d} {float(made[test].std() / true[test].std()):6.2f}"
        print(line, flush=True)


def emotions(count: int, prior: str) -> None:
    """Emotions of held-out actors as a classifier sees them that knows other actors' true faces only."""
    from performances import TRAIN_ACTORS, feelings, takes
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    pick = list(IBUG68_FROM_MEDIAPIPE478)[17:]

    def features(points: Tensor, neutral: Tensor) -> np.ndarray:
        size = float((neutral[263] - neutral[33]).norm())
        return ((points - neutral)[:, pick].flatten(1) / size).numpy()

    x, y = [], []
    for number, take in enumerate(takes(2 * len(TRAIN_ACTORS), 1234, versions=0)):
        f = feelings(take, 70, 4321 + number, 0.5)
        x += [features(f.felt, f.neutral), features(f.plain[::7], f.neutral)]
        y += [f.labels.numpy(), np.full(len(f.plain[::7]), NEUTRAL)]
    scaler = StandardScaler().fit(np.concatenate(x))
    judge = LogisticRegression(max_iter=300, C=0.3).fit(scaler.transform(np.concatenate(x)), np.concatenate(y))
    right: dict[str, list[float]] = {label: [] for label in LABELS}
    true, close = [], []
    for number, take in enumerate(takes(count, 77, held_out=True, versions=0)):
        f = feelings(take, 70, 55 + number, 1.0)
        true.append((judge.predict(scaler.transform(features(f.felt, f.neutral))) == f.labels.numpy()).mean())
        made = LdmDeformer.for_training(
            LdmConfig(prior=prior), filmed(take.points, take.neutral, torch.zeros(1, 1), 25.0)
        )
        speech = LandmarkTrack(take.points[::2], "mediapipe478", take.fps)
        before = lip_gap(speech.points)
        for index, label in enumerate(LABELS):
            track = EmotionPlan((Key(0.0, label, 1.0),)).track(len(speech), take.fps)
            moved = made.deform(speech, track).points
            right[label].append((judge.predict(scaler.transform(features(moved, take.neutral))) == index).mean())
            shut = before < 0.03
            if index != NEUTRAL and shut.any():
                close.append(float((lip_gap(moved)[shut] < 0.08).float().mean()))
    print(f"emotion of held-out actors' faces, recognised frame by frame (true faces: {np.mean(true):.1%})")
    print("  " + "  ".join(f"{label} {np.mean(values):.1%}" for label, values in right.items()))
    print(f"  all {np.mean([np.mean(v) for v in right.values()]):.1%}; shut lips stay shut in {np.mean(close):.1%}")


ACTED = {"angry": "angry", "contempt": "contempt", "disgust": "disgusted", "fear": "fear", "happy": "happy",
         "sad": "sad", "surprise": "surprised"}  # fmt: skip
STABLE = (10, 151, 9, 8, 168, 6, 197, 195, 33, 133, 362, 263, 103, 332, 67, 297)
"""Forehead, nose bridge, eye corners: what faces are laid over each other by."""
MEASURES = {"inner brow up": ((55, 285), 1), "outer brow up": ((46, 276), 1), "lower lid up": ((145, 374), 1),
            "corner out": ((61, 291), 0), "corner up": ((61, 291), 1), "upper lip up": ((0,), 1)}  # fmt: skip


def acted(folder: Path, prior: str) -> None:
    """What each prior makes of an actor's neutral clip beside that actor's own acted emotions.

    The folder holds captures whose names end in `_ACTOR_LABEL`.
    """
    pick = list(IBUG68_FROM_MEDIAPIPE478)[17:]
    found: dict[str, dict[str, dict[str, Tensor]]] = {}
    for path in sorted(folder.glob("*_neutral")):
        who = path.name.removesuffix("neutral")
        neutral = Capture.open(path)
        faces = neutral.tracks.landmarks[neutral.tracks.valid].float()
        data = filmed(faces, neutral.tracks.neutral.float(), torch.zeros(1, 1), neutral.fps)
        shipped = LdmDeformer.for_training(LdmConfig(prior=prior), data)
        makers = {"shipped": shipped, "units": trained_deformer(data)}
        base = faces.mean(0)
        size = float((base[263] - base[33]).norm()) / 8.9
        speech = LandmarkTrack(faces, "mediapipe478", neutral.fps)
        for label, name in ACTED.items():
            clip = Capture.open(folder / f"{who}{name}")
            other = clip.tracks.landmarks[clip.tracks.valid].float().mean(0)
            moves = {"actor": (laid_over(other, base) - base) / size}
            track = EmotionPlan((Key(0.0, label, 1.0),)).track(len(speech), neutral.fps)
            for p, made in makers.items():
                moves[p] = (made.deform(speech, track).points.mean(0) - base) / size
            found.setdefault(label, {})[who] = moves
    print("acted emotions: cosine with the actor's own displacement, and its size relative to that")
    total: dict[str, list[float]] = {"shipped": [], "units": []}
    for label, by_actor in found.items():
        mean = {p: torch.stack([m[p] for m in by_actor.values()]).mean(0) for p in ("actor", "shipped", "units")}
        line = f"  {label:9}"
        for p in ("shipped", "units"):
            per = [_cosine(m[p][pick], m["actor"][pick]) for m in by_actor.values()]
            total[p] += per
            line += f"  {p}: {np.mean(per):5.2f} (mean actor {_cosine(mean[p][pick], mean['actor'][pick]):5.2f})"
            line += f" x{float(mean[p][pick].norm() / mean['actor'][pick].norm()):4.2f}"
        print(line)
        for p in ("actor", "shipped", "units"):
            cells = []
            for name, (points, axis) in MEASURES.items():
                value = mean[p][list(points), axis]
                value = (value[1] - value[0]) / 2 if axis == 0 else value.mean()
                cells.append(f"{name} {float(value):+5.2f}")
            print(f"      {p:8} " + "  ".join(cells))
    print("  mean cosine: " + "  ".join(f"{p} {np.mean(v):.3f}" for p, v in total.items()))


def trained_deformer(data: TrainingData) -> LdmDeformer:
    made = LdmDeformer.for_training(LdmConfig(prior="units", steps=400), data)
    (optimizer,) = made.optimizers()
    for step in range(400):
        torch.manual_seed(step)
        optimizer.zero_grad()
        made.training_step(made.batch(data, step), step)["loss"].backward()
        optimizer.step()
        made.after_step(step)
    return made


def _cosine(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / (a.norm() * b.norm()))


def laid_over(points: Tensor, onto: Tensor) -> Tensor:
    """Points moved, turned and scaled so that the face's stable points lie best over those of another (Umeyama)."""
    a, b = points[list(STABLE)], onto[list(STABLE)]
    ca, cb = a.mean(0), b.mean(0)
    u, s, vh = torch.linalg.svd((b - cb).T @ (a - ca))
    flip = torch.diag(torch.tensor([1.0, 1.0, float(torch.sign(torch.det(u @ vh)))]))
    turn = u @ flip @ vh
    scale = float((s * flip.diagonal()).sum() / (a - ca).square().sum())
    return scale * (points - ca) @ turn.T + cb


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captures", nargs="*")
    parser.add_argument("--takes", type=int, default=36)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--only", choices=("speech", "emotion"), help="one half of the synthetic part")
    parser.add_argument("--acted", type=Path, metavar="DIR", help="captures named ..._ACTOR_LABEL")
    parser.add_argument("--vae", default="shipped", help="another prior of vae")
    parser.add_argument("--ldm", default="shipped", help="another prior of ldm")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.takes and args.only != "emotion":
        held_out(args.takes, args.vae)
    if args.takes and args.only != "speech":
        emotions(args.takes, args.ldm)
    if args.acted:
        acted(args.acted, args.ldm)
    if args.captures:
        real(args.captures, args.steps, args.vae)


if __name__ == "__main__":
    main()
