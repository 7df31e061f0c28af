"""RealTalk plugin: MediaPipe's face landmarker as a tracker."""

from collections.abc import Iterable
from typing import Any

from realtalk_core import declare
from realtalk_core.hookspecs import hookimpl
from realtalk_core.spec import ComponentConfig, ComponentSpec


class MediaPipeConfig(ComponentConfig):
    """Parameters of the MediaPipe tracker."""

    max_faces: int = 4
    """How many faces to look for at once. With 1, MediaPipe smooths in time and the mouth lags; 2 or more do not."""
    min_confidence: float = 0.5
    """Faces that MediaPipe is less sure of than this (0 to 1) are not reported."""


def _load() -> type[Any]:
    from realtalk_mediapipe.tracker import MediaPipeTracker

    return MediaPipeTracker


@hookimpl
def realtalk_components() -> Iterable[ComponentSpec]:
    """Declares the tracker."""
    yield declare.tracker(
        "mediapipe",
        summary="MediaPipe face landmarker: 478 points, 52 blendshapes, head transform; any number of faces",
        api=1,
        config=MediaPipeConfig,
        load=_load,
        gives=frozenset({"landmarks:478", "landmarks:68", "blendshapes:52"}),
    )
