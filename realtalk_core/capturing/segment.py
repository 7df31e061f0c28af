"""Person against background: a segmentation network, or graph cuts where its model file is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from realtalk_core.errors import UserError
from realtalk_core.landmarks import FACE_OVAL
from realtalk_core.models import find_model, model_path
from realtalk_core.video import Picture

MODEL = "portrait_segmentation_256.onnx"
Alpha = NDArray[np.float32]


class Segmenter(Protocol):
    """Tells the person from the background."""

    name: str

    def __call__(self, picture: Picture, points: NDArray[np.float32] | None) -> Alpha:
        """Soft mask `H W` in [0, 1] of an `H W 3` picture; `points` are the face's landmarks in its pixels."""
        ...


@dataclass
class NetworkSegmenter:
    """The portrait segmentation network on the whole crop at 256 x 256. Safe to call from several threads."""

    name: str = "network portrait_segmentation_256"

    def __post_init__(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # frames run side by side instead
        options.log_severity_level = 3
        self._session: Any = onnxruntime.InferenceSession(
            str(model_path(MODEL)), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def __call__(self, picture: Picture, points: NDArray[np.float32] | None) -> Alpha:
        """See `Segmenter`."""
        small = cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0
        found = self._session.run(None, {self._input: small.transpose(2, 0, 1)[None]})[0].reshape(256, 256)
        return np.asarray(cv2.resize(found, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)


@dataclass
class GraphCutSegmenter:
    """GrabCut (Rother et al. 2004) seeded by the face and a bust below it, at 160 x 160."""

    name: str = "graph cut"

    def __call__(self, picture: Picture, points: NDArray[np.float32] | None) -> Alpha:
        """See `Segmenter`; without a face everything is background."""
        side = 160
        if points is None:
            return np.zeros(picture.shape[:2], np.float32)
        small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        seeds = _seeds(points[:, :2] * (side / picture.shape[0]), side)
        cv2.setRNGSeed(0)
        cv2.grabCut(small, seeds, None, np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_MASK)
        person = ((seeds == cv2.GC_FGD) | (seeds == cv2.GC_PR_FGD)).astype(np.float32)
        person = cv2.GaussianBlur(person, (0, 0), 1.0)
        return np.asarray(cv2.resize(person, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _seeds(points: NDArray[np.float32], side: int) -> NDArray[np.uint8]:
    outline = points[list(FACE_OVAL)] if len(points) == 478 else points
    left, top = outline.min(0)
    right, bottom = outline.max(0)
    wide, tall, middle = right - left, bottom - top, 0.5 * (left + right)
    seeds = np.full((side, side), cv2.GC_PR_BGD, np.uint8)
    cv2.ellipse(
        seeds, (round(middle), round(top + 0.4 * tall)), (round(0.85 * wide), round(0.9 * tall)), 0, 0, 360,
        cv2.GC_PR_FGD, -1,
    )  # fmt: skip
    shoulder, low = bottom + 0.8 * tall, 2.0 * side
    right_half = np.array([(0.5 * wide, bottom), (1.6 * wide, shoulder), (1.8 * wide, low)])
    left_half = right_half[::-1] * (-1, 1)
    bust = np.concatenate([right_half, left_half]) + np.array([middle, 0.0])
    cv2.fillPoly(seeds, [bust.round().astype(np.int32)], cv2.GC_PR_FGD)
    hull = cv2.convexHull(outline.round().astype(np.int32))
    cv2.fillConvexPoly(seeds, hull, cv2.GC_FGD)
    seeds[: max(1, round(top - 0.8 * tall))] = cv2.GC_BGD
    return seeds


def make_segmenter() -> Segmenter:
    """The network where its model file is on this machine or can be fetched, else graph cuts."""
    try:
        if find_model(MODEL) is None:
            model_path(MODEL)
        return NetworkSegmenter()
    except UserError:
        return GraphCutSegmenter()
