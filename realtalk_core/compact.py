"""A small copy of an avatar, for sending or shipping: less film, half-precision weights, no state to resume from.

Three things make an avatar large, and speaking needs little of each: film that is played back and forth anyway, tracked
faces of frames whose film is not kept, and weights in single precision. What is lost is bounded: half precision changes
a number by at most 1/2048 of itself, and landmarks, kept as differences from the neutral face, by less than 0.0005 cm
as long as they stay within 2 cm of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from realtalk_core import checkpoint
from realtalk_core.atomic import writing
from realtalk_core.avatar import HALVED, Avatar, known_weights, write_meta
from realtalk_core.encoders import WEIGHTS
from realtalk_core.errors import UserError
from realtalk_core.footage import store_film
from realtalk_core.person import Person
from realtalk_core.spec import PIPELINE_STAGES

SMALLEST_HALVED = 4096
"""Tensors with fewer numbers stay as they are: faces among them, and little would be gained."""
MAX_BANK = 300
MIN_SECONDS = 1.0


@dataclass(frozen=True)
class Stretch:
    """Which frames of the film are kept: `count` from `first` on."""

    first: int
    count: int


def compact(
    avatar: Avatar, folder: Path, *, seconds: float = 8.0, start: float | None = None, crf: float = 21.0,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> None:  # fmt: skip
    """Writes a small copy of an avatar into an empty or missing folder.

    Args:
        avatar: The opened avatar.
        folder: Where the copy goes.
        seconds: Length of the film to keep; it is played back and forth.
        start: Second at which that film begins; None takes the stretch in which the face moves least.
        crf: x264's quality of the film; lower is better and larger.
        progress: Called with (frames done, frames).

    Raises:
        UserError: if the folder is not empty, the stretch does not lie in the film, or the place cannot be written to.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not an empty folder", "Name a new folder for the copy (-o SMALL).")
    if not seconds >= MIN_SECONDS:
        raise UserError(f"--seconds {seconds:g} is below {MIN_SECONDS:g}", "Keep at least a second of film, such as 8.")
    person = avatar.person
    kept = stretch(person, seconds, start)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    store_film(avatar.footage, folder, range(kept.first, kept.first + kept.count), avatar.fps, crf, progress)
    header, _ = checkpoint.load(avatar.path / "person.safetensors")
    _save(folder / "person.safetensors", header, excerpt(person, kept).tensors(), {"landmarks": "neutral"})
    for stage in PIPELINE_STAGES:
        file = avatar.path / f"{stage}.safetensors"
        if file.is_file():
            header, tensors = checkpoint.load(file)
            if stage == "audio":  # what has learnt from it knows it by its weights as they were
                header = replace(header, metrics={**header.metrics, WEIGHTS: known_weights(*avatar.built(stage))})
            _save(folder / file.name, header, avatar.widened(header, tensors), {})
    meta = dict(avatar.meta)
    meta["config"] = replace(avatar.config, motion=avatar.config.motion.model_copy(update={"start": 0})).to_dict()
    meta["compact"] = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"), "first_frame": kept.first, "frames": kept.count,
        "crf": crf,
    }  # fmt: skip
    write_meta(folder, meta)  # last: without it the folder is no avatar


def stretch(person: Person, seconds: float, start: float | None) -> Stretch:
    """The frames to keep: from `start` on, or where the face moves least; never across a cut.

    Raises:
        UserError: if `start` lies outside the film.
    """
    wanted = max(2, round(seconds * person.fps))
    if start is not None:
        first = round(start * person.fps)
        inside = (person.spans[:, 0] <= first) & (person.spans[:, 1] > first)
        if not bool(inside.any()):
            raise UserError(
                f"--from {start:g}: no face at that second of the film", f"It lasts {len(person) / person.fps:.1f} s."
            )
        return Stretch(first, min(wanted, int(person.spans[inside][0, 1]) - first))
    moved = (person.landmarks - person.neutral).norm(dim=-1).mean(1)
    total = torch.cat([torch.zeros(1), moved.double().cumsum(0)])
    best: tuple[float, Stretch] | None = None
    for low, high in person.spans.tolist():
        count = min(wanted, high - low)
        share = (total[low + count : high + 1] - total[low : high + 1 - count]) / count
        # a stretch that is too short comes after all that are long enough
        score = (float(share.min()) + 1e3 * (wanted - count), Stretch(low + int(share.argmin()), count))
        best = score if best is None or score[0] < best[0] else best
    if best is None:
        raise UserError("the avatar's film shows no face in any frame", "Make the capture again, and train again.")
    return best[1]


def excerpt(person: Person, kept: Stretch) -> Person:
    """The person with the tracks of the kept frames, followed by a thinned bank of faces."""
    bank = person.bank[torch.linspace(0, len(person.bank) - 1, min(len(person.bank), MAX_BANK)).round().long()]
    rows = torch.cat([torch.arange(kept.first, kept.first + kept.count), bank])
    return replace(
        person,
        landmarks=person.landmarks[rows],
        bank=torch.arange(kept.count, len(rows)),
        poses=person.poses[rows],
        blendshapes=person.blendshapes[rows],
        spans=torch.tensor([[0, kept.count]]),
    )


def _save(file: Path, header: checkpoint.Header, tensors: Mapping[str, Tensor], relative: Mapping[str, str]) -> None:
    """Saves with large float32 tensors halved; the header says which, and relative to what."""
    out, halved = dict(tensors), {}
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or tensor.numel() < SMALLEST_HALVED:
            continue
        base = relative.get(name, "")
        value = tensor - tensors[base] if base else tensor
        if not bool(torch.isfinite(value.half()).all()):
            continue
        out[name], halved[name] = value.half(), base
    checkpoint.save(file, replace(header, metrics={**header.metrics, HALVED: halved}), out)
