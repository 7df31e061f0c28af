"""From a video to a capture, in two passes over the video that hold no more than a few frames."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from safetensors.torch import save_file

from realtalk_core.atomic import atomic_file, write_text
from realtalk_core.audio import stream_audio, write_wav
from realtalk_core.capture import FORMAT, Capture, Tracks
from realtalk_core.capturing.box import Box, choose_box
from realtalk_core.capturing.measure import Measures
from realtalk_core.capturing.overview import write_overview
from realtalk_core.capturing.people import Chosen, choose_person
from realtalk_core.capturing.pictures import Scene, survey, write_frames
from realtalk_core.capturing.poses import Posed, pose_head
from realtalk_core.capturing.report import Finding, findings, report_markdown
from realtalk_core.capturing.segment import make_segmenter
from realtalk_core.capturing.smooth import fill
from realtalk_core.capturing.summary import Work, summarise
from realtalk_core.capturing.track import Sightings, extents, watch
from realtalk_core.capturing.workplace import Workplace, finished, workplace
from realtalk_core.errors import UserError
from realtalk_core.stages import Tracker
from realtalk_core.video import VideoReader

FPS = 25.0
TRACK_SIDE = 1280
"""Longest side of the pictures shown to the tracker."""
LEAST_FRAMES = 5


class Progress(Protocol):
    """Told how far each step has come."""

    def __call__(self, step: str, done: int, total: int) -> None:
        """`total` is an estimate, and 0 if nothing is known."""
        ...


@dataclass(frozen=True)
class Options:
    """What a capture is made from.

    Attributes:
        video: The file.
        tracker_name: For the record.
        tracker_config: For the record.
        size: Side of the frames in pixels.
        start: Second at which to begin.
        end: Second at which to stop; None for the end.
    """

    video: Path
    tracker_name: str = "mediapipe"
    tracker_config: dict[str, Any] | None = None
    size: int = 512
    start: float = 0.0
    end: float | None = None

    def job(self) -> dict[str, Any]:
        """What must be the same for an earlier result to be used."""
        stat = self.video.stat()
        return {
            "video": self.video.name, "bytes": stat.st_size, "tracker": self.tracker_name,
            "tracker_config": self.tracker_config or {}, "size": self.size, "start": self.start, "end": self.end,
            "format": FORMAT,
        }  # fmt: skip


@dataclass(frozen=True)
class Result:
    """Outcome of a run.

    Attributes:
        path: The capture.
        findings: What will hurt.
        fresh: False if it was there already.
    """

    path: Path
    findings: tuple[Finding, ...]
    fresh: bool = True


def _silent(step: str, done: int, total: int) -> None:
    pass


def run(
    options: Options, out: str | Path, tracker: Tracker, *, force: bool = False, progress: Progress = _silent
) -> Result:
    """Makes a capture.

    Args:
        options: The video and how to read it.
        out: Folder of the capture; it appears when it is whole.
        tracker: Finds the faces.
        force: Replace a capture that is there.
        progress: Told how far each step has come.

    Raises:
        UserError: if the video cannot be used or the place not be written. Nothing half-made is left.
        KeyboardInterrupt: passed on; running again goes on where it stopped.
    """
    out = Path(out).absolute()
    if not 64 <= options.size <= 2048:
        raise UserError(f"--size {options.size} is not between 64 and 2048", "512 is a good size; 256 trains faster.")
    reader = VideoReader(options.video, FPS, start=options.start, end=options.end)
    job = options.job()
    if finished(out, job, force):
        return Result(out, (), fresh=False)
    with workplace(out, job) as place:
        seen = _sightings(place, reader, tracker, progress)
        return _build(place, options, reader, seen, progress)


def _sightings(place: Workplace, reader: VideoReader, tracker: Tracker, progress: Progress) -> Sightings:
    """The first pass, or its result from an interrupted run."""
    file = place.folder / "sightings.npz"
    if file.exists():
        return Sightings.load(file)
    small = replace(reader, max_side=TRACK_SIDE)
    seen: Sightings | None = None
    for item in watch(small, tracker, FPS, small.scale):
        if isinstance(item, Sightings):
            seen = item
        else:
            progress("tracking", item, max(item, small.expected))
    assert seen is not None
    with atomic_file(file) as partial:
        seen.save(partial)
    return seen


def _build(place: Workplace, options: Options, reader: VideoReader, seen: Sightings, progress: Progress) -> Result:
    info, size = reader.info, options.size
    if len(seen.change) < LEAST_FRAMES:
        raise UserError(
            f"{options.video}: only {len(seen.change)} frames ({len(seen.change) / FPS:.2f} s)",
            "Use footage of 1 to 5 minutes; a few seconds at the very least.",
        )
    chosen = choose_person(seen, info.width, info.height, FPS)
    if chosen is None or int((chosen.rows >= 0).sum()) < LEAST_FRAMES:
        raise UserError(
            f"{options.video}: no face was found in {len(seen.change)} frames",
            "Use a video that shows one person's face, large, lit and turned to the camera.",
        )
    progress("solving poses", 0, 1)
    valid = chosen.rows >= 0
    box = choose_box(extents(seen.points[chosen.rows[valid]]), info.width, info.height)
    image = _points(seen, chosen, box, size)
    centre = np.array([info.width / 2 - box.left, info.height / 2 - box.top]) * size / box.side
    posed = pose_head(image, valid, centre, chosen.cuts, size)
    progress("solving poses", 1, 1)
    tracks = _tracks(seen, chosen, image, posed)
    with atomic_file(place.folder / "tracks.safetensors") as partial:
        save_file(tracks.tensors(), partial)
    sound = _sound(place, options, reader)
    progress("surveying the background", 0, 1)
    scene = survey(reader, valid, box, size, posed.outline, make_segmenter())
    progress("surveying the background", 1, 1)
    for done in write_frames(reader, scene, place.folder):
        progress("writing frames and masks", done, len(valid))
    progress("reporting", 0, 1)
    measures = summarise(Work(options.size, reader, seen, chosen, box, posed, scene, sound, FPS))
    _write_report(place, options, reader, scene, measures)
    progress("reporting", 1, 1)
    (place.folder / "sightings.npz").unlink(missing_ok=True)
    place.finish()
    return Result(place.target, tuple(findings(measures)))


def _points(seen: Sightings, chosen: Chosen, box: Box, size: int) -> NDArray[np.float64]:
    valid = chosen.rows >= 0
    image = np.zeros((len(valid), *seen.points.shape[1:]))
    image[valid] = box.points(seen.points[chosen.rows[valid]], size)
    return fill(image, valid)


def _tracks(seen: Sightings, chosen: Chosen, image: NDArray[np.float64], posed: Posed) -> Tracks:
    valid = chosen.rows >= 0
    scores = np.zeros((len(valid), 52))
    scores[valid] = np.nan_to_num(seen.blendshapes[chosen.rows[valid]])

    def single(values: NDArray[np.float64]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, np.float32))

    return Tracks(
        landmarks=single(posed.landmarks),
        image_points=single(image),
        blendshapes=single(fill(scores, valid)),
        pose=single(posed.pose),
        intrinsics=single(posed.intrinsics),
        neutral=single(posed.neutral),
        valid=torch.from_numpy(valid),
    )


def _sound(place: Workplace, options: Options, reader: VideoReader) -> Path | None:
    """Writes the sound, beginning with frame 0; None if there is none that can be heard."""
    if not reader.info.has_audio:
        return None
    file = place.folder / "audio.wav"
    try:
        write_wav(file, stream_audio(options.video, start=reader.info.start + options.start))
    except (UserError, ValueError):  # a sound track that cannot be decoded or is empty counts as none
        return None
    return file


def _write_report(place: Workplace, options: Options, reader: VideoReader, scene: Scene, measures: Measures) -> None:
    import cv2

    plate = cv2.imencode(".png", scene.plate.picture[..., ::-1])[1]
    (place.folder / "background.png").write_bytes(plate.tobytes())
    info, box = reader.info, scene.box
    found = findings(measures)
    meta = {
        "format": FORMAT,
        "source": options.video.name,
        "size": options.size,
        "fps": FPS,
        "frames": measures.frames,
        "tracker": options.tracker_name,
        "audio": measures.loudness_db is not None,
        "video": {"width": info.width, "height": info.height, "fps": round(info.fps, 3), "codec": info.codec,
                  "rotation": info.rotation},
        "box": {"left": box.left, "top": box.top, "side": box.side},
        "report": measures.to_dict(),
        "warnings": [{"name": w.name, "text": w.text, "cure": w.cure} for w in found],
        "job": place.job,
    }  # fmt: skip
    write_text(place.folder / "report.md", report_markdown(measures, options.video.name, options.size))
    write_text(place.folder / "capture.yaml", yaml.safe_dump(meta, sort_keys=False, allow_unicode=True))
    write_overview(Capture.open(place.folder), measures.curves, place.folder / "overview.png")
