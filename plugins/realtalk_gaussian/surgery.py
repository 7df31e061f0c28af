"""A cloud's rows taken, copied and rewritten while an optimizer holds its parameters.

A cloud is any module whose direct parameters and buffers all have one row per Gaussian. Its `Parameter` objects stay
the same: their `.data` changes size, and the optimizer's moments follow.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a cloud's rows.

    Attributes:
        source: `N'`, the former row that each row was made of.
        fresh: `N'`, whether its values are new; the others are the source's.
    """

    source: Tensor
    fresh: Tensor

    def follow(self, average: nn.Module, cloud: nn.Module) -> None:
        """Makes a moving average of the cloud follow it: rows kept keep their average, fresh ones begin at the cloud's.

        Args:
            average: A module with the parameters and buffers that the cloud had before.
            cloud: The cloud as it is now.
        """
        for (_, mean), (_, now) in zip(rows_of(average), rows_of(cloud), strict=True):
            followed = mean.data[self.source]
            followed[self.fresh] = now.data[self.fresh]
            mean.data = followed


class Rows:
    """A cloud's rows while they are refined; written back at once."""

    def __init__(self, cloud: nn.Module) -> None:
        self.cloud = cloud
        self.values = {name: value.data.clone() for name, value in rows_of(cloud)}
        self.device = self.values["means"].device
        self.source = torch.arange(len(self.values["means"]), device=self.device)
        self.fresh = torch.zeros_like(self.source, dtype=torch.bool)

    def __getitem__(self, name: str) -> Tensor:
        return self.values[name]

    def take(self, index: Tensor, fresh: Tensor | None = None) -> None:
        """Makes row k of what was row `index[k]`; `fresh` says which are new Gaussians."""
        self.values = {name: value[index] for name, value in self.values.items()}
        self.source, self.fresh = self.source[index], self.fresh[index]
        if fresh is not None:
            self.fresh |= fresh

    def write(self, optimizer: torch.optim.Optimizer) -> Change | None:
        """Puts the rows into the cloud, with the optimizer's moments; None if they are what they were."""
        if not self.fresh.any() and len(self.source) == len(self.cloud.get_parameter("means")):
            return None
        for name, value in rows_of(self.cloud):
            if isinstance(value, nn.Parameter):
                state = moments(optimizer, value)
                for key, moment in state.items():
                    moment = moment[self.source]
                    moment[self.fresh] = 0
                    optimizer.state[value][key] = moment
                value.grad = None
            value.data = self.values[name]
        return Change(self.source, self.fresh)


def rows_of(cloud: nn.Module) -> list[tuple[str, Tensor]]:
    """Everything that has one row per Gaussian, by name."""
    return [*cloud.named_parameters(recurse=False), *cloud.named_buffers(recurse=False)]


def moments(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    """The optimizer's tensors that have one row per Gaussian: all but its step counter."""
    held = optimizer.state.get(parameter, {})
    return {key: value for key, value in held.items() if isinstance(value, Tensor) and value.shape == parameter.shape}
