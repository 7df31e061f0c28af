"""The networks: one listens, one watches lips, one draws a mouth from what was heard.

`Listener` is the audio encoder of SyncTalk (Peng et al. 2024, arXiv 2311.17590, section 3.2), which is that of
Wav2Lip's lip-sync discriminator with one block less; its weights have the published names.
The other two exist for training.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu

from realtalk_ave.sound import BANDS, LOOKS

PICTURES = 5
"""Pictures that the watcher sees at a time: as long as the listener hears."""
SIDE = 48
"""Pixels of their sides."""


class Block(nn.Module):
    """Convolution, batch normalisation, ReLU; the input added before it where `residual`."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int | tuple[int, int],
        padding: int,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.BatchNorm2d(outputs))
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """`B C H W`."""
        out = self.conv_block(x)
        return relu(out + x if self.residual else out)


def _lay_out(network: nn.Module) -> None:
    """Channels last: it learns half as fast again on CPUs."""
    for weight in network.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)


class Listener(nn.Sequential):
    """A window of sound to its embedding, no number of which is negative.

    Args:
        width: Channels of the first blocks; they double three times (published: 32).
        size: Length of the embedding (published: 512).
    """

    def __init__(self, width: int, size: int) -> None:
        a, b, c, d = width, 2 * width, 4 * width, 8 * width
        super().__init__(
            Block(1, a, 3, 1, 1), Block(a, a, 3, 1, 1, True), Block(a, a, 3, 1, 1, True),
            Block(a, b, 3, (3, 1), 1), Block(b, b, 3, 1, 1, True), Block(b, b, 3, 1, 1, True),
            Block(b, c, 3, 3, 1), Block(c, c, 3, 1, 1, True), Block(c, c, 3, 1, 1, True),
            Block(c, d, 3, (3, 2), 1), Block(d, d, 3, 1, 1, True),
            Block(d, size, 3, 1, 0), Block(size, size, 1, 1, 0),
        )  # fmt: skip
        self.size = size
        _lay_out(self)

    def forward(self, windows: Float[Tensor, "B 80 16"]) -> Float[Tensor, "B D"]:
        """See the class."""
        x = windows[:, None]
        for block in self:
            x = block(x)
        return x.flatten(1)

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> Listener:
        """The listener with these weights; its sizes are theirs.

        Raises:
            ValueError: if they are not a listener's; the message names the first that is missing, unknown or of another
                shape.
        """
        first, last = weights.get("0.conv_block.0.weight"), weights.get("12.conv_block.0.weight")
        if first is None or last is None or first.ndim != 4 or last.ndim != 4:
            name = "12.conv_block.0.weight" if first is not None and first.ndim == 4 else "0.conv_block.0.weight"
            raise ValueError(f"there is no {name}")
        with torch.device("meta"):
            made = cls(first.shape[0], last.shape[0])
        expected = made.state_dict()
        for name in sorted(expected.keys() | weights.keys()):
            found, wanted = weights.get(name), expected.get(name)
            if found is None or wanted is None:
                raise ValueError(f"there is {'no' if found is None else 'an unknown'} {name}")
            if found.shape != wanted.shape:
                raise ValueError(f"{name} is of shape {tuple(found.shape)}, not {tuple(wanted.shape)}")
        made = made.to_empty(device="cpu")
        made.load_state_dict(dict(weights))
        _lay_out(made)
        return made


class Watcher(nn.Sequential):
    """Five pictures of a mouth to an embedding beside the listener's."""

    def __init__(self, width: int, size: int) -> None:
        a, b, c, d = width, 2 * width, 4 * width, 8 * width
        super().__init__(
            Block(3 * PICTURES, a, 5, 2, 2), Block(a, a, 3, 1, 1, True),
            Block(a, b, 3, 2, 1), Block(b, b, 3, 1, 1, True),
            Block(b, c, 3, 2, 1), Block(c, c, 3, 1, 1, True),
            Block(c, d, 3, 2, 1), Block(d, d, 3, 1, 1, True),
            Block(d, size, 3, 1, 0), Block(size, size, 1, 1, 0),
        )  # fmt: skip

    def forward(self, pictures: Float[Tensor, "B P S S 3"]) -> Float[Tensor, "B D"]:
        """Of pictures in [0, 1]."""
        stacked = pictures.permute(0, 1, 4, 2, 3).flatten(1, 2)
        x = 2 * stacked - 1
        for block in self:
            x = block(x)
        return x.flatten(1)


class Painter(nn.Module):
    """A mouth that says what was heard, in the looks and pose of a reference picture of another moment."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        a, b, c, d = width, 2 * width, 4 * width, 8 * width
        self.look = nn.Sequential(
            Block(3, a, 5, 2, 2), Block(a, b, 3, 2, 1), Block(b, c, 3, 2, 1), Block(c, c, 3, 1, 1, True)
        )
        self.hear = nn.Linear(size, c * 36)
        self.draw = nn.Sequential(
            Block(2 * c, d, 3, 1, 1), nn.Upsample(scale_factor=2), Block(d, c, 3, 1, 1), nn.Upsample(scale_factor=2),
            Block(c, b, 3, 1, 1), nn.Conv2d(b, 12, 3, 1, 1), nn.PixelShuffle(2),
        )  # fmt: skip

    def forward(self, heard: Float[Tensor, "B D"], looks: Float[Tensor, "B S S 3"]) -> Float[Tensor, "B S S 3"]:
        """The mouth, in about [0, 1]."""
        seen = self.look(2 * looks.permute(0, 3, 1, 2) - 1)
        spread = self.hear(heard).view(len(heard), -1, *seen.shape[2:])
        change: Tensor = self.draw(torch.cat([seen, relu(spread)], 1))
        return looks + change.permute(0, 2, 3, 1)


assert (BANDS, LOOKS, SIDE) == (80, 16, 48), "the strides above are made for these"
