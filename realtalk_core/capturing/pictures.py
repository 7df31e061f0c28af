"""Second pass: crops every frame, makes its masks, writes both; several frames at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from realtalk_core.capturing.box import Box
from realtalk_core.capturing.hair import HairModel
from realtalk_core.capturing.matte import keep_person, refine
from realtalk_core.capturing.parts import frame_masks
from realtalk_core.capturing.plate import Plate, make_plate
from realtalk_core.capturing.segment import Segmenter
from realtalk_core.video import Picture, VideoReader

SURVEY_FRAMES = 60
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]


@dataclass(frozen=True)
class Scene:
    """What is needed to make the masks of any frame of a clip.

    Attributes:
        box: The crop.
        size: Its side in pixels of the capture.
        points: `T 478 3` landmarks in crop pixels.
        valid: `T` frames that show the person; the others get empty masks.
        segmenter: Person against background.
        plate: The background.
        hair: The person's hair colours.
    """

    box: Box
    size: int
    points: NDArray[np.float32]
    valid: NDArray[np.bool_]
    segmenter: Segmenter
    plate: Plate
    hair: HairModel

    def masks(self, frame: Picture, index: int) -> NDArray[np.uint8]:
        """The mask file's content for one cropped frame."""
        if not self.valid[index]:
            return np.zeros((self.size, self.size, 3), np.uint8)
        points = self.points[index]
        return frame_masks(self.person(frame, points), points, self.hair(frame))

    def person(self, frame: Picture, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """The person's soft mask in one cropped frame."""
        coarse = self.hair.extend(keep_person(self.segmenter(frame, points), points), frame, points)
        return refine(coarse, frame, self.plate)


def survey(
    reader: VideoReader,
    valid: NDArray[np.bool_],
    box: Box,
    size: int,
    points: NDArray[np.float32],
    segmenter: Segmenter,
) -> Scene:
    """Looks at frames spread over the clip for what all frames share: background plate and hair colours.

    Frames without the person may show anything, and are left out.
    """
    step = max(1, int(valid.sum()) // SURVEY_FRAMES)
    first = int(np.argmax(valid))
    crops, faces = [], []
    for index, picture in zip(range(first, len(valid), step), reader.pick(first, step), strict=False):
        if valid[index]:
            crops.append(box.crop(picture, size))
            faces.append(points[index])

    def rough(crop: Picture, face: NDArray[np.float32]) -> NDArray[np.float32]:
        return keep_person(segmenter(crop, face), face)

    def clean(crop: Picture, face: NDArray[np.float32], mask: NDArray[np.float32]) -> NDArray[np.uint8]:
        return np.asarray(refine(hair.extend(mask, crop, face), crop, plate) * 255, np.uint8)

    with _workers() as pool:
        masks = list(pool.map(rough, crops, faces))
        people = [np.asarray(mask * 255, np.uint8) for mask in masks]
        hair = HairModel.fit(crops, people, faces)
        plate = make_plate(crops, people)
        # cleaner masks uncover more of the background, right beside the head where it counts
        people = list(pool.map(clean, crops, faces, masks))
    return Scene(box, size, points, valid, segmenter, make_plate(crops, people), hair)


@contextmanager
def _workers() -> Iterator[ThreadPoolExecutor]:
    """One thread a core, OpenCV's own threads off: frames side by side beat threads inside one frame."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    pool = ThreadPoolExecutor(max(1, os.cpu_count() or 1), thread_name_prefix="capture")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        cv2.setNumThreads(threads)


def write_frames(reader: VideoReader, scene: Scene, folder: Path) -> Iterator[int]:
    """Writes `frames/` and `masks/`, leaving out frames that are whole already.

    At most a few frames are in memory at any time.

    Yields:
        Frames done.

    Raises:
        OSError: if a file cannot be written.
    """
    count = len(scene.points)
    (folder / "frames").mkdir(exist_ok=True)
    (folder / "masks").mkdir(exist_ok=True)

    def work(index: int, picture: Picture) -> None:
        crop = scene.box.crop(picture, scene.size)
        mask = scene.masks(crop, index)
        _write(folder / "frames" / f"{index:06d}.jpg", cv2.imencode(".jpg", crop[..., ::-1], JPEG)[1])
        # the mask comes last and whole: its presence says that the frame is done
        final = folder / "masks" / f"{index:06d}.png"
        partial = final.with_suffix(".partial")
        _write(partial, cv2.imencode(".png", mask[..., ::-1], PNG)[1])
        os.replace(partial, final)

    with _workers() as pool:
        pending: deque[Future[None]] = deque()
        done = 0
        for index, picture in enumerate(islice(reader, count)):
            if (folder / "masks" / f"{index:06d}.png").exists():
                done += 1
                continue
            pending.append(pool.submit(work, index, picture))
            while len(pending) > 3 * (os.cpu_count() or 1):
                pending.popleft().result()
                done += 1
                yield done
        while pending:
            pending.popleft().result()
            done += 1
            yield done


def _write(file: Path, data: NDArray[np.uint8]) -> None:
    file.write_bytes(data.tobytes())
