"""Checks of trackers, on drawn pictures where the truth is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from realtalk_core.landmarks import IBUG68_FROM_MEDIAPIPE478
from realtalk_core.testing.checks import CheckSkipped, check, require
from realtalk_core.testing.subject import FPS, Pictures, Subject, tiny_capture

AHEAD = 16
INNER_FACE = slice(17, 68)
"""Of the 68 points, those on features; trackers disagree about where a jaw line runs."""


@check("tracker/rows", ("tracker",))
def tracker_rows(subject: Subject) -> None:
    """One answer per picture, in order, and none for no pictures."""
    count = len(subject.output["counts"])
    require(count == len(subject.pictures), f"{len(subject.pictures)} pictures give {count} answers")
    require(not list(subject.component.track(iter(()), FPS)), "no pictures give an answer")


@check("tracker/lazy", ("tracker",))
def tracker_lazy(subject: Subject) -> None:
    """Answers come while pictures are still being read, at most 16 pictures behind."""
    subject.needs_output()
    read = 0

    def pictures() -> Iterator[np.ndarray[Any, np.dtype[np.uint8]]]:
        nonlocal read
        for _ in range(8 * AHEAD):
            read += 1
            yield subject.pictures[0]

    answers = iter(subject.component.track(pictures(), FPS))
    next(answers)
    close = getattr(answers, "close", None)
    if close is not None:
        close()
    require(read <= AHEAD, f"{read} pictures were read before the first answer")


@check("tracker/empty-picture", ("tracker",))
def tracker_empty(subject: Subject) -> None:
    """A picture without a face gives no face, and no error."""
    subject.needs_output()
    plain: Pictures = [np.full((96, 128, 3), 110, np.uint8)] * 2
    counts = [len(faces) for faces in subject.component.track(iter(plain), FPS)]
    require(not any(counts), f"two plain grey pictures give {counts} faces")


@check("tracker/finds-the-face", ("tracker",))
def tracker_finds(subject: Subject) -> None:
    """The drawn face is found, its features within a sixth of the eyes' distance."""
    subject.needs_output()
    truth = tiny_capture(256, 0.4).tracks.image_points[:, list(IBUG68_FROM_MEDIAPIPE478), :2]
    found = list(subject.component.track(iter(subject.pictures), FPS))
    if len(found) != len(subject.pictures):
        raise CheckSkipped("it does not answer once per picture (see tracker/rows)")
    require(sum(len(faces) == 1 for faces in found) >= 0.8 * len(found), f"faces per picture: {[*map(len, found)]}")
    errors = []
    for faces, points in zip(found, truth, strict=True):
        for face in faces[:1]:
            sparse = face.points if len(face.points) == 68 else face.points[list(IBUG68_FROM_MEDIAPIPE478)]
            eyes = (points[36] - points[45]).norm()
            errors.append((sparse[INNER_FACE, :2] - points[INNER_FACE]).norm(dim=1).mean() / eyes)
    error = float(torch.stack(errors).mean())
    require(error < 1 / 6, f"features are off by {error:.0%} of the distance between the eyes' outer corners")
