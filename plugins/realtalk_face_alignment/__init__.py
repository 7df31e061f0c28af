"""RealTalk plugin: FAN (face_alignment) as a tracker of 68 points."""

from collections.abc import Iterable
from typing import Any, Literal

from realtalk_core import declare
from realtalk_core.hookspecs import hookimpl
from realtalk_core.spec import ComponentConfig, ComponentSpec


class FaceAlignmentConfig(ComponentConfig):
    """Parameters of the face_alignment tracker."""

    detector: Literal["sfd", "blazeface"] = "sfd"
    """Face detector: sfd finds more and is slow without a GPU, blazeface is fast."""
    device: str = "auto"
    """Where the networks run: auto, cpu, cuda, mps."""
    min_confidence: float = 0.5
    """Faces that the detector is less sure of than this (0 to 1) are not reported."""


def _load() -> type[Any]:
    from realtalk_face_alignment.tracker import FaceAlignmentTracker

    return FaceAlignmentTracker


@hookimpl
def realtalk_components() -> Iterable[ComponentSpec]:
    """Declares the tracker."""
    yield declare.tracker(
        "face_alignment",
        summary="FAN face alignment: 68 points in the picture, no depth, no blendshapes; any number of faces",
        api=1,
        config=FaceAlignmentConfig,
        load=_load,
        requires=("face_alignment",),
        extra="realtalk[face-alignment]",
        gives=frozenset({"landmarks:68"}),
    )
