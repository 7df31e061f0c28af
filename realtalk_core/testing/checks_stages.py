"""Checks of what landmarks and emotion promise; other stages have a module each."""

from __future__ import annotations

from itertools import combinations, pairwise

import torch

from realtalk_core.emotion import LABELS
from realtalk_core.testing.checks import check, require
from realtalk_core.testing.checks_output import EXACT, difference
from realtalk_core.testing.subject import FPS, Subject, seed_globally
from realtalk_core.types import AudioClip

IDENTITY_CM = 1e-3


@check("landmarks/rows", ("landmarks",))
def landmarks_rows(subject: Subject) -> None:
    """One face per row of features, at their frame rate."""
    subject.needs_output()
    for rows in (1, 7, len(subject.features)):
        track = subject.component.generate(subject.features[:rows])
        require(len(track) == rows, f"{rows} rows of features give {len(track)} faces")
        require(track.fps == FPS, f"the track claims {track.fps} fps, not {FPS}")


@check("landmarks/obeys-seed", ("landmarks",))
def landmarks_obeys_seed(subject: Subject) -> None:
    """Random choices come from the configuration's seed and from nothing else."""
    subject.needs_output()
    seed_globally(1)
    first = subject.run(subject.again())
    seed_globally(2)
    apart = difference(first, subject.run(subject.again()))
    require(apart <= EXACT, f"with the same seed, two components differ by {apart:.3g} cm")
    if "seed" in type(subject.config).model_fields:
        other = subject.again(seed=int(subject.config.seed) + 1)  # type: ignore[attr-defined]
        require(difference(first, subject.run(other)) > 0, "another seed gives the same landmarks")


@check("landmarks/hears", ("landmarks",))
def landmarks_hears(subject: Subject) -> None:
    """Silence and speech give different faces."""
    subject.needs_output()
    silence = subject.listen(AudioClip(torch.zeros_like(subject.clip.samples), 16000), FPS)
    apart = difference(subject.output, {"points": subject.component.generate(silence).points})
    require(apart > 1e-4, f"they differ by {apart:.3g} cm")


@check("emotion/rows", ("emotion",))
def emotion_rows(subject: Subject) -> None:
    """Landmarks keep their number, scheme and frame rate."""
    subject.needs_output()
    for rows in (1, 7, len(subject.landmarks)):
        given = subject.landmarks[:rows]
        track = subject.component.deform(given, subject.emotion("sad", rows))
        found, wanted = (len(track), track.scheme, track.fps), (rows, given.scheme, given.fps)
        require(found == wanted, f"{wanted} come back as {found}")


@check("emotion/neutral-identity", ("emotion",))
def emotion_neutral_identity(subject: Subject) -> None:
    """Neutral emotion leaves the landmarks as they are."""
    subject.needs_output()
    given = subject.landmarks
    track = subject.component.deform(given, subject.emotion("neutral", len(given)))
    apart = difference({"p": given.points}, {"p": track.points})
    require(apart <= IDENTITY_CM, f"neutral moves a landmark by {apart:.3g} cm")


@check("emotion/grows-with-intensity", ("emotion",))
def emotion_grows(subject: Subject) -> None:
    """Each emotion moves the face, and more so the more intense it is."""
    subject.needs_output()
    given = subject.landmarks
    for label in LABELS:
        if label == "neutral":
            continue
        sizes = []
        for intensity in (0.25, 0.5, 0.75, 1.0):
            emotion = subject.emotion(f"{label}:{intensity}", len(given))
            moved = subject.component.deform(given, emotion).points - given.points
            sizes.append(float(moved.norm(dim=-1).mean()))
        grows = all(a < b for a, b in pairwise(sizes)) and sizes[0] > 1e-5
        shown = ", ".join(f"{s:.4f}" for s in sizes)
        require(grows, f"{label} at 0.25, 0.5, 0.75, 1 moves landmarks by {shown} cm on average")


@check("emotion/tells-apart", ("emotion",))
def emotion_tells_apart(subject: Subject) -> None:
    """No two emotions move the face alike."""
    subject.needs_output()
    given = subject.landmarks[:20]
    moves = {}
    for label in LABELS:
        if label != "neutral":
            moved = subject.component.deform(given, subject.emotion(label, len(given))).points - given.points
            moves[label] = moved / (moved.norm() + 1e-9)
    for first, second in combinations(moves, 2):
        apart = float((moves[first] - moves[second]).norm())
        require(apart > 0.05, f"{first} and {second} differ by {apart:.1%} of their size")
