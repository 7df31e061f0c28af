"""Runs face_alignment (Bulat & Tzimiropoulos 2017) over pictures, each on its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import face_alignment
import numpy as np
import torch

from realtalk_core.errors import MissingDependencyError, UserError
from realtalk_core.models import offline
from realtalk_core.types import Face

if TYPE_CHECKING:
    from realtalk_face_alignment import FaceAlignmentConfig


class FaceAlignmentTracker:
    """Finds every face of each picture, without memory of the picture before."""

    def __init__(self, config: FaceAlignmentConfig) -> None:
        self.config = config

    def track(self, pictures: Iterable[np.ndarray[Any, np.dtype[np.uint8]]], fps: float) -> Iterator[Sequence[Face]]:
        """Faces of each picture, lazily.

        Raises:
            UserError: if the networks' weights cannot be had.
        """
        aligner = self._aligner()
        for picture in pictures:
            found = aligner.get_landmarks_from_image(picture, return_bboxes=True, return_landmark_score=True)
            yield list(_faces(found, self.config.min_confidence))

    def _aligner(self) -> Any:
        device = self.config.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            with _offline():
                return face_alignment.FaceAlignment(
                    face_alignment.LandmarksType.TWO_D, device=device, face_detector=self.config.detector
                )
        except (OSError, RuntimeError) as error:  # its weights are fetched by torch.hub on first use
            raise UserError(
                f"face_alignment cannot start: {error}",
                "Its weights are downloaded on first use: connect once, or fill ~/.cache/torch/hub/checkpoints.",
            ) from error


@contextmanager
def _offline() -> Iterator[None]:
    """Where the network is switched off, keeps torch.hub from it: what it has already fetched is loaded all the same.

    Raises:
        MissingDependencyError: if weights are not there.
    """
    if not offline():
        yield
        return

    def refuse(request: Any, *_: Any, **__: Any) -> Any:
        address = str(getattr(request, "full_url", request))
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise MissingDependencyError(
            f"{address.rpartition('/')[2]}, weights of face_alignment, is not on this machine and cannot be "
            "downloaded: the network is switched off (REALTALK_OFFLINE)",
            f"Put it into {folder}; it comes from {address}",
        )

    theirs = torch.hub.urlopen  # the one door through which every download of torch.hub goes
    torch.hub.urlopen = refuse
    try:
        yield
    finally:
        torch.hub.urlopen = theirs


def _faces(found: Any, least: float) -> Iterator[Face]:
    """One `Face` for each that is sure enough; the depth that FAN does not know is zero."""
    if found is None or found[0] is None:
        return
    landmarks, scores, boxes = found
    for k, points in enumerate(landmarks):
        sure = float(boxes[k][4]) if boxes is not None and len(boxes[k]) > 4 else float(np.mean(scores[k]))
        if sure < least:
            continue
        flat = np.asarray(points, np.float32).reshape(68, -1)[:, :2]
        yield Face(torch.from_numpy(np.pad(flat, ((0, 0), (0, 1)))), "ibug68", min(1.0, max(0.0, sure)))
