"""What a trainable component learns from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from realtalk_core.capture import Capture
from realtalk_core.encoders import encoder_name
from realtalk_core.stages import EmotionDeformer, FaceGenerator
from realtalk_core.types import AudioFeatures

__all__ = ["TrainingData", "encoder_name"]


@dataclass(frozen=True)
class TrainingData:
    """A capture, its sound as the pipeline's audio encoder hears it, and the frames that may be learnt from.

    Attributes:
        capture: The opened capture.
        features: One row per frame of the capture. Where nothing has been heard - for an audio encoder, which is only
            now trained, and for an emotion stage that needs neither `audio` nor prosody - `(T, 1)` zeros.
        train: Indices of frames to learn from (valid ones of the first part of the clip).
        held_out: Indices of valid frames after them, for measuring only.
        encoder: What encoded the sound (`encoder_name`); empty if unknown.
        seed: Seed of the run; components derive each step's randomness from it with `generator`.
        deformer: The avatar's trained emotion stage, for components that learn from it; see `training.teachers`.
        faces: A generator of emotional pictures, likewise.
    """

    capture: Capture
    features: AudioFeatures
    train: Tensor
    held_out: Tensor
    seed: int = 0
    encoder: str = ""
    deformer: EmotionDeformer | None = None
    faces: FaceGenerator | None = None

    def generator(self, step: int, salt: int = 0) -> torch.Generator:
        """A random generator that depends on nothing but seed, salt and step."""
        return torch.Generator().manual_seed((self.seed * 1_000_003 + salt) * 1_000_003 + step)
