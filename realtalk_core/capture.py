"""The capture folder: one person's prepared video, and the reader every training stage uses.

capture.yaml         format version, source, size, fps, frame count, tracker, report in numbers and words
audio.wav            mono PCM16 at the source's rate, starting with frame 0; absent if the video had no sound
frames/000000.jpg    square crops, `size` x `size`, quality 95, no chroma subsampling
masks/000000.png     three channels, RGB order: soft person alpha, soft head alpha, part label (see PARTS)
tracks.safetensors   see `Tracks`
background.png       the plate: what lies behind the person
overview.png         for a person to judge at a glance
report.md            the quality report in words
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from jaxtyping import Bool, Float
from safetensors.torch import load_file
from torch import Tensor

from realtalk_core.errors import UserError
from realtalk_core.shapes import check_shapes
from realtalk_core.types import AudioClip, Blendshapes, CameraTrack, LandmarkTrack, Scheme

FORMAT = 1
PARTS: dict[str, int] = {
    "background": 0, "torso": 1, "hair_ears": 2, "skin": 3, "brows": 4, "eyes": 5, "nose": 6, "lips": 7,
    "inside_mouth": 8,
}  # fmt: skip
"""Labels of the masks' third channel. Head is every label from 2 on."""


@dataclass(frozen=True, slots=True)
class Tracks:
    """What the tracker and the joint solve found, one row per frame.

    Attributes:
        landmarks: Expression landmarks in head space, cm, pose removed.
        image_points: The tracker's own points in pixels of the crop (x, y) and depth on the scale of x.
        blendshapes: ARKit scores; zero where the tracker gives none.
        pose: Camera-to-head.
        intrinsics: One focal length for the clip; principal point where the crop put it.
        neutral: The person's neutral face in head space, cm.
        valid: False where no face was seen; such rows are filled by interpolation.
    """

    landmarks: Float[Tensor, "T K 3"]
    image_points: Float[Tensor, "T K 3"]
    blendshapes: Float[Tensor, "T 52"]
    pose: Float[Tensor, "T 4 4"]
    intrinsics: Float[Tensor, "3 3"]
    neutral: Float[Tensor, "K 3"]
    valid: Bool[Tensor, "T"]

    def __post_init__(self) -> None:
        check_shapes(self)

    def tensors(self) -> dict[str, Tensor]:
        """Named tensors for the file."""
        return {name: getattr(self, name).contiguous() for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class Capture:
    """An opened capture folder. Frames are read when asked for; nothing holds the clip.

    Attributes:
        path: The folder.
        meta: The content of `capture.yaml`.
        tracks: All tracks, in memory (about 20 KB a frame at 478 points).
    """

    path: Path
    meta: Mapping[str, Any]
    tracks: Tracks

    @classmethod
    def open(cls, path: str | Path) -> Capture:
        """Opens a capture folder.

        Raises:
            UserError: if it is not one, is incomplete, or comes from a newer RealTalk.
        """
        folder = Path(path)
        file = folder / "capture.yaml"
        if not file.is_file():
            what = "is no capture" if folder.is_dir() else "does not exist"
            raise UserError(f"{folder} {what}: no capture.yaml there", "Make one with: realtalk capture VIDEO -o DIR")
        try:
            meta = yaml.safe_load(file.read_text("utf-8"))
            version = meta["format"]
        except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError) as error:
            raise UserError(f"{file} is damaged: {error}", "Make the capture again.") from error
        if version > FORMAT:
            raise UserError(
                f"{file}: capture format {version} is newer than this RealTalk reads ({FORMAT})", "Update realtalk."
            )
        try:
            tracks = Tracks(**load_file(folder / "tracks.safetensors"))
        except Exception as error:  # safetensors raises its own family, OSError and TypeError
            raise UserError(
                f"{folder / 'tracks.safetensors'} cannot be read: {error}", "Make the capture again."
            ) from error
        return cls(folder, meta, tracks)

    def __len__(self) -> int:
        return int(self.meta["frames"])

    @property
    def fps(self) -> float:
        """Frames per second."""
        return float(self.meta["fps"])

    @property
    def size(self) -> int:
        """Side of the square frames in pixels."""
        return int(self.meta["size"])

    @property
    def scheme(self) -> Scheme:
        """Landmark scheme of the tracks."""
        return "mediapipe478" if self.tracks.landmarks.shape[1] == 478 else "ibug68"

    @property
    def has_audio(self) -> bool:
        """Whether there is sound."""
        return (self.path / "audio.wav").is_file()

    @cached_property
    def audio(self) -> AudioClip:
        """The clip's sound.

        Raises:
            UserError: if the video had none.
        """
        from realtalk_core.audio import read_audio

        if not self.has_audio:
            raise UserError(
                f"{self.path} has no sound: its video had none, so a mouth cannot learn to follow speech from it",
                "Make a capture from a video with the person's voice.",
            )
        return read_audio(self.path / "audio.wav")

    @property
    def landmarks(self) -> LandmarkTrack:
        """All expression landmarks."""
        return LandmarkTrack(self.tracks.landmarks, self.scheme, self.fps)

    @property
    def cameras(self) -> CameraTrack:
        """All cameras at the capture's size."""
        return CameraTrack(self.tracks.pose, self.tracks.intrinsics, self.size, self.size)

    @property
    def blendshapes(self) -> Blendshapes:
        """All blendshape scores."""
        return Blendshapes(self.tracks.blendshapes)

    def frame(self, index: int, size: int | None = None) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Frame `H W 3` RGB uint8, area-resampled to `size` if given."""
        return self._picture(self.path / "frames" / f"{index:06d}.jpg", size)

    def masks(self, index: int, size: int | None = None) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Masks `H W 3` uint8: person alpha, head alpha (0-255), part label."""
        mask = self._picture(self.path / "masks" / f"{index:06d}.png", None)
        if size is None or size == mask.shape[0]:
            return mask
        out = cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA)
        out[..., 2] = cv2.resize(mask[..., 2], (size, size), interpolation=cv2.INTER_NEAREST)
        return np.asarray(out, np.uint8)

    def background(self, size: int | None = None) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The background plate `H W 3` RGB uint8."""
        return self._picture(self.path / "background.png", size)

    def _picture(self, file: Path, size: int | None) -> np.ndarray[Any, np.dtype[np.uint8]]:
        picture = cv2.imread(str(file), cv2.IMREAD_COLOR_RGB)
        if picture is None:
            raise UserError(f"{file} is missing or damaged", "Make the capture again: realtalk capture VIDEO -o DIR")
        if size is not None and size != picture.shape[0]:
            picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
        return np.asarray(picture, np.uint8)

    def training_frames(self, fraction: float = 1.0) -> Tensor:
        """Indices of valid frames within the first `fraction` of the clip."""
        end = max(1, round(len(self) * fraction))
        return torch.nonzero(self.tracks.valid[:end]).flatten()
