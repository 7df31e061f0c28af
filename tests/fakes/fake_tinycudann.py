"""What `tinycudann.Encoding` computes of a dense linear grid of one level, in plain torch, as its documentation and the
appendix A of Instant-NGP have it. It is meant to be read beside them, not to be fast.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

MULTIPLE = 8
"""Parameters of a level are padded to multiples of this many."""


class Encoding(nn.Module):
    def __init__(self, n_input_dims: int, encoding_config: dict, seed: int = 1337, dtype: torch.dtype | None = None):
        super().__init__()
        wanted = {"otype": "Grid", "type": "Dense", "n_levels": 1, "interpolation": "Linear"}
        assert wanted.items() <= encoding_config.items()
        assert n_input_dims == 2
        assert dtype == torch.float32, "half precision unless asked otherwise"
        self.n_features = encoding_config["n_features_per_level"]
        assert self.n_features in (1, 2, 4, 8)
        self.scale = encoding_config["base_resolution"] - 1.0  # exp2(0) · base − 1
        self.resolution = int(-(-self.scale // 1)) + 1
        count = -(-(self.resolution**2) // MULTIPLE) * MULTIPLE
        self.params = nn.Parameter(torch.zeros(count * self.n_features))
        self.n_output_dims = self.n_features

    def forward(self, x: Tensor) -> Tensor:
        assert x.ndim == 2
        assert x.dtype == torch.float32
        place = x * self.scale + 0.5
        node = place.floor()
        share, node = place - node, node.long()
        # In the kernel an index outside wraps around; here that is an error, because it would read a wrong node.
        assert node.min() >= 0
        assert node.max() + 1 < self.resolution
        table, out = self.params.view(-1, self.n_features), 0
        for dx in (0, 1):
            for dy in (0, 1):
                weight = (share[:, 0] if dx else 1 - share[:, 0]) * (share[:, 1] if dy else 1 - share[:, 1])
                out = out + weight[:, None] * table[node[:, 0] + dx + (node[:, 1] + dy) * self.resolution]
        return out
