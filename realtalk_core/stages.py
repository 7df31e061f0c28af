"""The protocol of each stage, and the capabilities a component may have beside it.

A component without weights is built as `cls(config)`. One with weights is `Stateful` and is built by
`cls.from_state(config, tensors)`; one that learns is also `Trainable` and starts from `cls.for_training(config, data)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from realtalk_core.types import (
    AudioClip,
    AudioFeatures,
    CameraTrack,
    Drive,
    EmotionTrack,
    Face,
    FrameBatch,
    LandmarkTrack,
)

if TYPE_CHECKING:
    from realtalk_core.training.data import TrainingData


@runtime_checkable
class AudioEncoder(Protocol):
    """Sound to features."""

    def encode(self, clip: AudioClip, fps: float) -> AudioFeatures:
        """Encodes a clip of any sample rate.

        Returns:
            `clip.frames(fps)` rows; row k describes the sound around time (k + 0.5) / fps.
        """
        ...


class AudioStream(Protocol):
    """One run of an audio encoder over sound that arrives piece by piece.

    Attributes:
        lookahead_seconds: Row k has been given out once the sound up to (k + 1) / fps + this has been fed.
    """

    lookahead_seconds: float

    def feed(self, samples: Float32[Tensor, "N"]) -> Float[Tensor, "T ..."]:
        """Takes the next samples and gives the rows that are final by now, in order; perhaps none (of any width)."""
        ...

    def close(self) -> Float[Tensor, "T ..."]:
        """The rest: all rows together are those that `encode` gives for the whole clip, however it was cut."""
        ...


@runtime_checkable
class StreamingEncoder(AudioEncoder, Protocol):
    """An audio encoder with a stream of its own.

    One without is run on overlapping windows (`realtalk_core.hearing.open_stream`) and states in `context_seconds` how
    far its rows hear to each side. `realtalk_core.hearing.RowEncoder` is a base class that has a stream already.
    """

    def stream(self, sample_rate: int, fps: float) -> AudioStream:
        """Begins a run on samples of this rate."""
        ...


@runtime_checkable
class LandmarkGenerator(Protocol):
    """Features to the landmarks of neutral speech. Random choices come from a seed in its configuration."""

    def generate(self, audio: AudioFeatures) -> LandmarkTrack:
        """One face per row of features."""
        ...


@runtime_checkable
class EmotionDeformer(Protocol):
    """Adds emotion to landmarks; at neutral it is the identity."""

    def deform(self, landmarks: LandmarkTrack, emotion: EmotionTrack) -> LandmarkTrack:
        """Landmarks of the same length and scheme."""
        ...


@runtime_checkable
class Renderer(Protocol):
    """Landmarks to pictures.

    What it may count on in a drive: landmarks, the sound's features and blendshapes, in every use. In a synthesis also
    `emotion` and, where landmarks carry one, `neutral`; with filmed faces (`realtalk_core.drives`) neither.
    """

    def render(self, drive: Drive, cameras: CameraTrack) -> Iterator[FrameBatch]:
        """Yields the frames in order, in batches of the renderer's choice; a frame never depends on its batch."""
        ...


@runtime_checkable
class TorsoLayer(Protocol):
    """What is below the head, as far as a renderer knows it.

    A `Renderer` that knows it has an attribute `torso`: one of these, or None where it was not learnt. A renderer
    without the attribute renders heads alone, and bodies come from the film.
    """

    def render(self, cameras: CameraTrack) -> FrameBatch:
        """Torsos of the heads' poses: `rgb`, and in `alpha` what they cover; the neck goes on behind the head.

        A frame never depends on those beside it.
        """
        ...


@runtime_checkable
class FaceGenerator(Protocol):
    """Makes emotional pictures of a face to learn from: the same person and head, the lips of the same speech."""

    def edit(
        self, pictures: Float[Tensor, "T H W 3"], landmarks: Float[Tensor, "T K 2"], emotion: EmotionTrack
    ) -> tuple[Float[Tensor, "T H W 3"], Float[Tensor, "T H W"]]:
        """Gives each picture an emotion (`emotion.va`).

        Args:
            pictures: Filmed faces, in [0, 1].
            landmarks: Where the face is in them, in pixels.
            emotion: One row per picture.

        Returns:
            The pictures, and from 0 to 1 how far each pixel is to be learnt from.
        """
        ...


@runtime_checkable
class Tracker(Protocol):
    """Pictures to faces."""

    def track(self, pictures: Iterable[np.ndarray[Any, np.dtype[np.uint8]]], fps: float) -> Iterator[Sequence[Face]]:
        """Every face of each picture (`H W 3` RGB, consecutive frames), one item per picture, lazily."""
        ...


Batch = Mapping[str, Any]


@runtime_checkable
class Stateful(Protocol):
    """Has weights: everything `from_state` needs to give the same output again."""

    def state(self) -> dict[str, Tensor]:
        """Tensors for inference."""
        ...

    @classmethod
    def from_state(cls, config: Any, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuilds the component; sizes are read from the tensors."""
        ...


@runtime_checkable
class Movable(Protocol):
    """Can work on a GPU. What it is handed and what it gives stay on the CPU (but for training batches)."""

    devices: tuple[str, ...]
    """Kinds of device it can work on, such as `("cpu", "cuda")`; a component without this works on the CPU."""

    def to(self, device: torch.device) -> Self:
        """Moves itself, in place: parameters stay the same objects. The training loop then moves each batch there."""
        ...


@runtime_checkable
class AttentionMaps(Protocol):
    """A renderer that can show which region listens to which part of the drive."""

    def attention_maps(self, drive: Drive, cameras: CameraTrack) -> dict[str, Tensor]:
        """Maps `T H W`, each at least 0, by name: `GROUP`, or `GROUP/PART` for what belongs to a group."""
        ...


@runtime_checkable
class Trainable(Protocol):
    """Learns from a capture, in the core's one training loop.

    The trajectory is a function of (data, config, step): `batch` must not draw from any global random state, so that
    training can stop at any step and resume exactly.

    Parameters may change their size in `after_step`, and with them the moments in their optimizer's state: the same
    object, with other `.data` (Gaussians that are split and pruned). A component that leaves gradients in its
    parameters by itself has `manual_backward = True`; the loop then only steps the optimizers.
    """

    total_steps: int

    @classmethod
    def for_training(cls, config: Any, data: TrainingData) -> Self:
        """A fresh component fitted to this data's sizes, ranges and neutral face."""
        ...

    def batch(self, data: TrainingData, step: int) -> Batch:
        """The batch of a step: a pure function of data, configuration and step."""
        ...

    def training_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Scalars of this step; `loss` is minimised, the others are logged."""
        ...

    def optimizers(self) -> Sequence[torch.optim.Optimizer]:
        """The optimizers, always the same objects in the same order, holding the same parameters."""
        ...

    def after_step(self, step: int) -> None:
        """Called after the optimizers have stepped: schedules, grids, moving averages."""
        ...

    def training_state(self) -> dict[str, Tensor]:
        """All tensors needed to go on training (raw weights, averages, grids), beside the optimizers' own state."""
        ...

    def load_training_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts `training_state` back into a component made by `for_training` with the same config and data.

        Parameters take the sizes they had; the optimizers' states, of these sizes, are loaded afterwards.
        """
        ...
