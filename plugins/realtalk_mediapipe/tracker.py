"""Runs the face landmarker over consecutive pictures (MediaPipe Tasks, VIDEO mode)."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import mediapipe
import numpy as np
import torch
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import FaceLandmarker, FaceLandmarkerOptions, RunningMode

from realtalk_core.models import model_path
from realtalk_core.types import Face

if TYPE_CHECKING:
    from realtalk_mediapipe import MediaPipeConfig

MODEL = "face_landmarker.task"
_OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


class MediaPipeTracker:
    """Finds every face of each picture, following each from one picture to the next.

    Depths are MediaPipe's relative ones in pixels. The transform assumes MediaPipe's own camera, whose vertical field
    of view is 63 degrees whatever the real camera was.
    """

    def __init__(self, config: MediaPipeConfig) -> None:
        self.config = config

    def track(self, pictures: Iterable[np.ndarray[Any, np.dtype[np.uint8]]], fps: float) -> Iterator[Sequence[Face]]:
        """Faces of each picture, lazily.

        Raises:
            UserError: if the model file can be found nowhere.
        """
        options = FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(model_path(MODEL))),
            running_mode=RunningMode.VIDEO,
            num_faces=self.config.max_faces,
            min_face_detection_confidence=self.config.min_confidence,
            min_face_presence_confidence=self.config.min_confidence,
            min_tracking_confidence=self.config.min_confidence,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        with _quiet():
            landmarker = FaceLandmarker.create_from_options(options)
        try:
            for index, picture in enumerate(pictures):
                image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture))
                milliseconds = round(index * 1000 / fps)
                if index == 0:
                    with _quiet():
                        found = landmarker.detect_for_video(image, milliseconds)
                else:
                    found = landmarker.detect_for_video(image, milliseconds)
                yield [_face(found, k, picture.shape[1], picture.shape[0]) for k in range(len(found.face_landmarks))]
        finally:
            landmarker.close()  # left to the interpreter's exit, it raises there


def _face(found: Any, index: int, width: int, height: int) -> Face:
    points = np.array([(p.x * width, p.y * height, p.z * width) for p in found.face_landmarks[index]], np.float32)
    scores = np.array([c.score for c in found.face_blendshapes[index]], np.float32)
    transform = (_OPENCV_FROM_OPENGL @ np.asarray(found.facial_transformation_matrixes[index])).astype(np.float32)
    return Face(torch.from_numpy(points), "mediapipe478", 1.0, torch.from_numpy(scores), torch.from_numpy(transform))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps MediaPipe's start-up log off the terminal; it is written to the file descriptor, past Python.

    If the block fails, what was kept back is shown.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            kept.seek(0)
            os.write(2, kept.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
