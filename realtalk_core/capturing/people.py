"""Who is in the clip, where it cuts, and which person the capture is of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from realtalk_core.capturing.track import Sightings, extents

CUT_CHANGE = 0.30
"""A frame that differs this much from the last begins a new shot, if it also stands out from its neighbours."""
LINK_DISTANCE = 0.6
"""A face continues a track if it moved less than this many face heights."""
LINK_GAP_SECONDS = 1.0
"""A track survives this long without being seen."""


@dataclass(frozen=True)
class Chosen:
    """The person of the capture.

    Attributes:
        rows: `T` index into the sightings, -1 where the person is not seen.
        people: How many people were seen for a second or more.
        others: Share of frames with more than one face.
        cuts: Frames at which a new shot begins.
        reason: Why this person, in words; empty if there was only one.
    """

    rows: NDArray[np.int64]
    people: int
    others: float
    cuts: tuple[int, ...]
    reason: str


def find_cuts(change: NDArray[np.float32]) -> tuple[int, ...]:
    """Frames at which a new shot begins.

    A cut is a single large change: fast motion is large too, but its neighbours are as well.
    """
    cuts = []
    for k in range(1, len(change)):
        near = np.concatenate([change[max(1, k - 4) : k], change[k + 1 : k + 5]])
        usual = float(np.median(near)) if near.size else 0.0
        if change[k] > CUT_CHANGE and change[k] > 3 * usual + 0.1:
            cuts.append(k)
    return tuple(cuts)


def choose_person(seen: Sightings, width: int, height: int, fps: float) -> Chosen | None:
    """Follows each person through the clip and takes the one that is largest, most central and longest seen.

    Returns:
        None if there is no face at all.
    """
    if not len(seen.frame):
        return None
    cuts = find_cuts(seen.change)
    boxes = extents(seen.points)
    middle = 0.5 * (boxes[:, :2] + boxes[:, 2:])
    tall = np.maximum(boxes[:, 3] - boxes[:, 1], 1.0)
    tracks = _link(seen.frame, middle, tall, cuts, round(LINK_GAP_SECONDS * fps))
    off_centre = np.abs(middle - np.array([width / 2, height / 2])).max(1) / max(width, height)
    weight = tall * (1.0 - off_centre)
    people = _merge(tracks, middle, tall)
    scores = [float(weight[rows].sum()) for rows in people]
    best = int(np.argmax(scores))
    frames = len(seen.change)
    chosen = np.full(frames, -1, np.int64)
    for row in people[best]:
        at = seen.frame[row]
        if chosen[at] < 0 or weight[row] > weight[chosen[at]]:
            chosen[at] = row
    lasting = [k for k, rows in enumerate(people) if len(set(seen.frame[rows])) >= min(fps, frames / 4)]
    counts = np.bincount(seen.frame, minlength=frames)
    return Chosen(
        chosen,
        max(1, len(lasting)),
        float((counts > 1).mean()),
        cuts,
        _reason(people, best, lasting, tall, middle, width),
    )


def _link(
    frame: NDArray[np.int64], middle: NDArray[np.float64], tall: NDArray[np.float64], cuts: tuple[int, ...], gap: int
) -> list[list[int]]:
    """Joins faces of consecutive frames of one shot into tracks, nearest first."""
    shot = np.searchsorted(np.array(cuts, np.int64), frame, side="right")
    tracks: list[list[int]] = []
    starts = np.searchsorted(frame, np.arange(int(frame.max()) + 2))
    for at in range(len(starts) - 1):
        rows = list(range(starts[at], starts[at + 1]))
        if not rows:
            continue
        open_tracks = [t for t in tracks if frame[t[-1]] >= at - gap and shot[t[-1]] == shot[rows[0]]]
        pairs = sorted(
            (float(np.linalg.norm(middle[r] - middle[t[-1]])) / max(tall[r], tall[t[-1]]), r, k)
            for r in rows
            for k, t in enumerate(open_tracks)
        )
        used_rows: set[int] = set()
        used_tracks: set[int] = set()
        for distance, r, k in pairs:
            if distance < LINK_DISTANCE and r not in used_rows and k not in used_tracks:
                open_tracks[k].append(r)
                used_rows.add(r)
                used_tracks.add(k)
        tracks += [[r] for r in rows if r not in used_rows]
    return tracks


def _merge(tracks: list[list[int]], middle: NDArray[np.float64], tall: NDArray[np.float64]) -> list[list[int]]:
    """Joins tracks that are likely one person: same place and same size, before and after a cut or a gap."""
    order = sorted(tracks, key=len, reverse=True)
    people: list[list[int]] = []
    for track in order:
        where, size = np.median(middle[track], axis=0), float(np.median(tall[track]))
        for rows in people:
            there, other = np.median(middle[rows], axis=0), float(np.median(tall[rows]))
            near = float(np.linalg.norm(where - there)) < LINK_DISTANCE * max(size, other)
            if near and 0.7 < size / other < 1.43:
                rows += track
                break
        else:
            people.append(list(track))
    return people


def _reason(
    people: list[list[int]], best: int, lasting: list[int], tall: NDArray[np.float64], middle: NDArray[np.float64],
    width: int,
) -> str:  # fmt: skip
    if len(lasting) < 2:
        return ""
    rivals = [k for k in lasting if k != best]
    rival = max(rivals, key=lambda k: len(people[k]))
    x = float(np.median(middle[people[best]][:, 0])) / width
    side = "left" if x < 0.4 else "right" if x > 0.6 else "middle"
    larger = float(np.median(tall[people[best]])) > 1.1 * float(np.median(tall[people[rival]]))
    longer = len(people[best]) > 1.1 * len(people[rival])
    why = " and ".join(w for w, ok in (("largest", larger), ("longest in view", longer)) if ok) or "most prominent"
    return f"the one in the {side} of the picture, {why}"
