"""The landmark deformation model (paper §3.2; reference notes §1.5), with real tokens for its attention.

[204 landmark numbers ∥ label embedding] → linear → batch norm → ReLU → residual blocks → attention block → linear.
The published model attends over a single token, which makes attention a linear layer. Here each region of the face is
a token: the shared face code plus that region's own landmarks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from realtalk_core.emotion import LABELS
from realtalk_core.landmarks import REGIONS68

if TYPE_CHECKING:
    from realtalk_ldm import LdmConfig

HEADS = 4
INPUTS = 204


class ResBlock(nn.Module):
    """Linear, batch norm, ReLU, linear, batch norm; skip; ReLU."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(hidden, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.BatchNorm1d(hidden),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`N H` to `N H`."""
        return torch.relu(x + self.body(x))


class AttentionBlock(nn.Module):
    """Multi-head attention and a feed-forward part, each with skip and layer norm; the tokens' mean comes out."""

    def __init__(self, hidden: int, feed_forward: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(hidden, HEADS, batch_first=True)
        self.norm = nn.LayerNorm(hidden)
        self.wide = nn.Sequential(nn.Linear(hidden, feed_forward), nn.ReLU(), nn.Linear(feed_forward, hidden))
        self.wide_norm = nn.LayerNorm(hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        """`N R H` to `N H`."""
        tokens = self.norm(tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0])
        return self.wide_norm(tokens + self.wide(tokens)).mean(1)


class DeformationNetwork(nn.Module):
    """68 landmarks and a label to the coefficients of that label's displacement at intensity 1."""

    def __init__(self, config: LdmConfig, outputs: int) -> None:
        super().__init__()
        hidden = config.hidden
        self.label = nn.Embedding(len(LABELS), config.embedding)
        self.enter = nn.Linear(INPUTS + config.embedding, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.blocks = nn.Sequential(*(ResBlock(hidden) for _ in range(config.res_blocks)))
        self.regions = nn.ModuleList(nn.Linear(3 * len(points), hidden) for points in REGIONS68.values())
        self.attend = AttentionBlock(hidden, config.feed_forward)
        self.leave = nn.Linear(hidden, outputs)

    def forward(self, faces: Tensor, labels: Tensor) -> Tensor:
        """Normalised faces `N 68 3` and labels `N` to coefficients `N C`."""
        x = torch.cat([faces.flatten(1), self.label(labels)], 1)
        x = self.blocks(torch.relu(self.norm(self.enter(x))))
        own = [
            region(faces[:, list(points)].flatten(1))
            for region, points in zip(self.regions, REGIONS68.values(), strict=True)
        ]
        return self.leave(self.attend(torch.stack([x + part for part in own], 1)))
