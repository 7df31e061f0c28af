"""What the network hears of an encoder's rows, whichever encoder it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from realtalk_core.types import AudioFeatures

TUNE = 2
"""Numbers per frame that pitch adds."""
MIDDLE_HZ = 150.0
WIDE = 160
"""Features of more numbers a frame are heard by their principal components: a minute is too little for more weights."""
FRAMES_EACH = 10
"""Frames that a principal component must at least be learnt from."""
LEAST_SPREAD = 0.1
"""No feature counts as varying less than this share of what is usual among them."""


@dataclass(frozen=True)
class Ear:
    """Ranges of features, and of many features the directions in which they vary most.

    Attributes:
        mean: Mean of each number of a row, `F`.
        std: Spread of each, `F`.
        project: `F K` from standardised rows to K components of about unit spread; None for rows as they are.
        pitch: Whether pitch and voicing are heard beside them.
    """

    mean: Tensor
    std: Tensor
    project: Tensor | None = None
    pitch: bool = False

    @classmethod
    def learnt(cls, rows: Tensor, components: int, pitch: bool) -> Self:
        """Of training rows `T F`; more than `WIDE` numbers are heard by that many principal components."""
        std = rows.std(0, correction=0)
        std = std.clamp_min(max(LEAST_SPREAD * float(std.median()), 1e-6))
        mean = rows.mean(0)
        if rows.shape[1] <= WIDE:
            return cls(mean, std, None, pitch)
        x = ((rows - mean) / std).double()
        values, directions = torch.linalg.eigh(x.T @ x / len(x))
        count = min(components, max(1, len(x) // FRAMES_EACH))
        values, directions = values.flip(0)[:count].clamp_min(1e-9), directions.flip(1)[:, :count]
        # The sign of a direction means nothing; fixed, so that it is the same on every machine.
        directions = directions * directions.gather(0, directions.abs().argmax(0)[None]).sign()
        return cls(mean, std, (directions / (values + values.mean()).sqrt()).float(), pitch)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], pitch: bool) -> Self:
        """As `tensors` gave it."""
        return cls(tensors["features.mean"], tensors["features.std"], tensors.get("features.project"), pitch)

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        project = {} if self.project is None else {"features.project": self.project}
        return {"features.mean": self.mean, "features.std": self.std, **project}

    @property
    def size(self) -> int:
        """Numbers per frame that the network gets."""
        return (self.mean.numel() if self.project is None else self.project.shape[1]) + TUNE * self.pitch

    def looks(self, audio: AudioFeatures) -> Tensor:
        """`T W D`: the encoder's own, or one look of components.

        Raises:
            ValueError: if the features have another size than those trained on.
        """
        rows = audio.rows()
        if rows.shape[1] != self.mean.numel():
            raise ValueError(
                f"vae: trained on features of {self.mean.numel()} numbers a frame, got {rows.shape[1]}; "
                "the audio encoder or its parameters have changed"
            )
        if self.project is None:
            return audio.values if audio.values.ndim == 3 else audio.values[:, None]
        return (((rows - self.mean) / self.std) @ self.project)[:, None]

    def tune(self, audio: AudioFeatures) -> Tensor:
        """`T 2` octaves above a middling voice where voiced, and voicing; `T 0` where pitch is not heard.

        Raises:
            ValueError: if the features come without the pitch that is to be heard.
        """
        if not self.pitch:
            return torch.zeros(len(audio), 0)
        if audio.prosody is None or audio.prosody.f0 is None or audio.prosody.voiced is None:
            raise ValueError("vae: landmarks.pitch is true, but the features come without prosody:f0")
        octaves = (audio.prosody.f0.clamp_min(1.0) / MIDDLE_HZ).log2() * (audio.prosody.f0 > 0)
        return torch.stack([2 * octaves, audio.prosody.voiced], 1)

    def heard(self, looks: Tensor, tune: Tensor) -> Tensor:
        """What the network gets, `... F`, of looks `... W D` and tune `... 2`."""
        rows = looks.flatten(-2)
        rows = (rows - self.mean) / self.std if self.project is None else rows
        return torch.cat([rows, tune], -1)
