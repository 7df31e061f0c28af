"""Gathers the numbers of the report from everything a run found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from realtalk_core.audio import read_audio
from realtalk_core.capturing.box import Box
from realtalk_core.capturing.measure import (
    Curves,
    Measures,
    angle_range,
    count_blinks,
    eye_opening,
    head_angles,
    hear,
    longest_run,
    mouth_curves,
)
from realtalk_core.capturing.people import Chosen
from realtalk_core.capturing.pictures import Scene
from realtalk_core.capturing.poses import Posed
from realtalk_core.capturing.track import Sightings, extents
from realtalk_core.video import VideoReader

BLURRED_BELOW = 0.9
"""A frame is blurred if its log sharpness lies this far below the median (a factor of 2.5)."""


@dataclass(frozen=True)
class Work:
    """Everything a run found."""

    size: int
    reader: VideoReader
    seen: Sightings
    chosen: Chosen
    box: Box
    posed: Posed
    scene: Scene
    sound: Path | None
    fps: float


def summarise(work: Work) -> Measures:
    """The report's numbers."""
    posed, chosen, fps = work.posed, work.chosen, work.fps
    valid = chosen.rows >= 0
    rows = chosen.rows[valid]
    frames = len(valid)
    spans = extents(work.seen.points[rows])
    width = float(np.median(spans[:, 2] - spans[:, 0]))
    sharp = work.seen.sharpness[rows]
    angles = head_angles(posed.pose[valid])
    mouth = mouth_curves(posed.landmarks)[:, 0]
    hearing = hear(None if work.sound is None else read_audio(work.sound), posed.landmarks, fps, valid)
    sync = hearing.sync if hearing.sync is not None and hearing.sync.reliable else None
    low, high = np.percentile(mouth[valid], (5, 95))
    counts = work.reader.counts
    return Measures(
        frames=frames,
        seconds=frames / fps,
        source_fps=work.reader.info.fps,
        repeated=counts.repeated / max(1, counts.given),
        missing=int((~valid).sum()),
        longest_gap=longest_run(~valid) / fps,
        first_face=float(np.argmax(valid)) / fps,
        people=chosen.people,
        crowded=chosen.others,
        chosen=chosen.reason,
        cuts=tuple(cut / fps for cut in chosen.cuts),
        face_width=width,
        face_width_crop=width * work.size / work.box.side,
        outside=work.box.outside,
        sharpness=float(np.median(sharp)),
        blurred=float((sharp < np.median(sharp) - BLURRED_BELOW).mean()),
        yaw=angle_range(angles[:, 0]),
        pitch=angle_range(angles[:, 1]),
        roll=angle_range(angles[:, 2]),
        mouth=(float(low), float(high)),
        blinks=count_blinks(eye_opening(posed.landmarks), fps, valid),
        eyes_tracked=posed.landmarks.shape[1] == 478,
        reprojection=posed.smoothed.error[1],
        reprojection_median=posed.smoothed.median,
        jitter_deg=posed.jitter[0],
        jitter_cm=posed.jitter[1],
        raw_jitter_deg=posed.raw_jitter[0],
        raw_jitter_cm=posed.raw_jitter[1],
        focal=posed.focal,
        loudness_db=hearing.speech_db,
        clipped=hearing.clipped,
        silent=hearing.silent,
        lag_ms=None if sync is None else sync.lag_ms,
        sync=None if sync is None else sync.correlation,
        segmentation=work.scene.segmenter.name,
        plate_known=float(work.scene.plate.known.mean()),
        background_moves=work.scene.plate.moves,
        curves=Curves(mouth, hearing.loudness),
    )
