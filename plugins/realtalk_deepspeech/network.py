"""The network of Mozilla DeepSpeech 0.1.0 (after Hannun et al., Deep Speech, 2014, with an LSTM) in torch.

Three dense layers with ReLU clipped at 20, an LSTM in both directions, a dense layer with the same ReLU, and one logit
per character: 26 letters, space, apostrophe and CTC's blank.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

CONTEXT = 9
"""Frames heard to each side of a row."""
INPUTS = 26 * (2 * CONTEXT + 1)
CHARACTERS = 29
CLIP = 20.0
HIDDEN = 2048
"""Width of the published network."""


class DeepSpeech(nn.Module):
    """The network; widths follow from `hidden`, its third layer and what the LSTM gives are twice as wide."""

    def __init__(self, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.dense1 = nn.Linear(INPUTS, hidden)
        self.dense2 = nn.Linear(hidden, hidden)
        self.dense3 = nn.Linear(hidden, 2 * hidden)
        self.lstm = nn.LSTM(2 * hidden, hidden, bidirectional=True)
        self.dense5 = nn.Linear(2 * hidden, hidden)
        self.dense6 = nn.Linear(hidden, CHARACTERS)

    def forward(self, rows: Float[Tensor, "R 494"]) -> Float[Tensor, "R 29"]:
        """Logits of each row of whitened coefficients with their context."""
        for layer in (self.dense1, self.dense2, self.dense3):
            rows = layer(rows).clamp(0, CLIP)
        rows, _ = self.lstm(rows)
        logits: Tensor = self.dense6(self.dense5(rows).clamp(0, CLIP))
        return logits

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The network with these weights, which are used as they lie in memory.

        Raises:
            ValueError: if one is missing, superfluous, of another shape or type, or not finite.
        """
        bias = tensors.get("dense1.bias")
        if bias is None or bias.ndim != 1:
            raise ValueError("it lacks 'dense1.bias'")
        with torch.device("meta"):
            network = cls(len(bias))
        for name, expected in network.state_dict().items():
            found = tensors.get(name)
            if found is None:
                raise ValueError(f"it lacks {name!r}")
            if found.shape != expected.shape or found.dtype != torch.float32:
                raise ValueError(f"{name!r} is {tuple(found.shape)}, expected {tuple(expected.shape)} in float32")
            if not found.isfinite().all():
                raise ValueError(f"{name!r} holds numbers that are not finite")
        strange = sorted(tensors.keys() - network.state_dict().keys())
        if strange:
            raise ValueError(f"it holds the unknown {strange[0]!r}")
        network.load_state_dict(dict(tensors), assign=True)
        return network.eval().requires_grad_(False)

    @classmethod
    def random(cls, hidden: int, seed: int = 0) -> Self:
        """The network with weights drawn at random: for tests, and for measuring speed without the published ones.

        The first layer's fall off towards the ends of the context, so that a row listens most to its own middle, as a
        trained one does, and tests can see where it lies.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = cls(hidden).eval().requires_grad_(False)
        taper = torch.hann_window(2 * CONTEXT + 3, periodic=False)[1:-1]
        network.dense1.weight.mul_(2 * taper.repeat_interleave(INPUTS // len(taper)))
        return network
