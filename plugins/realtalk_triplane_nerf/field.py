"""The radiance field: planes, region attention, density and colour (RealTalk §3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from realtalk_core.nn.attention import RegionAttention
from realtalk_core.nn.conditioning import LANDMARK_CODE, ComponentCode, score_columns
from realtalk_core.nn.hashgrid import PlaneGrids, PlaneLayout, add_nodes_gradient, encode_planes
from realtalk_core.nn.hashvolume import VolumeLayout, encode_volume
from realtalk_triplane_nerf import fused_training
from realtalk_triplane_nerf.condition import WindowCode
from realtalk_triplane_nerf.config import TriplaneNerfConfig
from realtalk_triplane_nerf.schedule import gate_offset

ROWS = 2048
"""Matrices are padded to multiples of this many rows: a new size each time makes bfloat16 products far slower."""
DENSITY_LIMIT = 8.0
FIRST_DENSITY = -1.0
GEOMETRY = 32
HARMONICS = 16


@dataclass(frozen=True, slots=True)
class FrameCondition:
    """What is the same for all samples of one frame.

    Attributes:
        landmarks: Landmark features.
        scores: Upper-face blendshapes.
        frame: Row of the individual codes.
    """

    landmarks: Float[Tensor, "F"]
    scores: Float[Tensor, "S"]
    frame: int = 0


def compute_type(config: TriplaneNerfConfig, device: torch.device) -> torch.dtype:
    """The networks' arithmetic on this machine."""
    if config.precision != "auto":
        return torch.float32 if config.precision == "float32" else torch.bfloat16
    native = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if native else torch.float32


class TriplaneField(nn.Module):
    """Density and colour of template points under one frame's condition.

    Args:
        config: Sizes.
        features: Length of the landmark features.
        frames: Rows of individual codes.
    """

    def __init__(self, config: TriplaneNerfConfig, features: int, frames: int) -> None:
        super().__init__()
        sizes = (config.coarsest, config.finest, config.log2_entries)
        self.layout: PlaneLayout | VolumeLayout = (
            PlaneLayout.geometric(config.levels, config.channels, *sizes)
            if config.grid == "planes"
            else VolumeLayout.geometric(config.levels, 3 * config.channels, *sizes)
        )
        columns, width, scores = self.layout.columns, config.width, len(score_columns(config.blendshapes))
        self.tables = nn.Parameter(self.layout.empty_tables())
        self.code = WindowCode() if config.condition == "window" else ComponentCode(features)
        gated = config.attention
        self.mouth = RegionAttention(columns, width, LANDMARK_CODE) if gated else None
        self.eyes = RegionAttention(columns, max(16, width // 4), scores) if gated and scores else None
        self.first = nn.Linear(columns + LANDMARK_CODE + scores, width)
        self.second = nn.Linear(width, width)
        self.third = nn.Linear(width, GEOMETRY)
        self.colour_in = nn.Linear(GEOMETRY + HARMONICS + config.individual, width)
        self.colour_out = nn.Linear(width, 3)
        self.individual = nn.Parameter(torch.zeros(frames, config.individual)) if config.individual else None
        self.doubt: nn.Sequential | None = None
        if config.uncertainty_weight:
            bare = nn.Linear(columns, 32, bias=False), nn.ReLU(), nn.Linear(32, 1, bias=False)
            self.doubt = nn.Sequential(*bare)
        self.gate_offset = gate_offset(config, 0)
        self.config = config
        self.compute = compute_type(config, torch.device("cpu"))
        with torch.no_grad():
            self.third.bias[0] = FIRST_DENSITY

    def place(self, device: torch.device) -> TriplaneField:
        """Moves it, and takes the arithmetic of that device."""
        self.compute = compute_type(self.config, device)
        return self.to(device)

    def forward(
        self,
        points: Float[Tensor, "3 N"],
        condition: FrameCondition,
        harmonics: Float[Tensor, "R 16"] | None = None,
        rays: Tensor | None = None,
        sink: Tensor | None = None,
        grids: PlaneGrids | None = None,
    ) -> tuple[Float[Tensor, "P"], Float[Tensor, "P 3"] | None]:
        """Evaluates points of one frame.

        Args:
            points: Template positions in [0, 1]³.
            condition: Of the frame.
            harmonics: View directions' harmonics of each ray; None to skip colour.
            rays: `N` ray of each point.
            sink: Where the tables' gradient goes; see `encode_planes`.
            grids: Of the tables as they are; see `encode_planes`.

        Returns:
            Density per centimetre and colour in [0, 1], for the points padded to P rows.
        """
        if fused_training.available(self):
            return self._fused(points, condition, harmonics, rays, sink, grids)
        count = points.shape[1]
        rows = max(1, -(-count // ROWS)) * ROWS
        geometry = self.geometry(F.pad(points, (0, rows - count)), sink, grids).to(self.compute)
        hidden, weight, bias = (x.to(self.compute) for x in self.folded(condition))
        inner = torch.relu(F.linear(geometry, hidden))
        x = torch.relu(F.linear(torch.cat((geometry, inner), 1), weight, bias))
        x = torch.relu(self._linear(self.second, x))
        x = self._linear(self.third, x)
        sigma = torch.exp(x[:, 0].float().clamp(max=DENSITY_LIMIT))
        if harmonics is None or rays is None:
            return sigma, None
        view = harmonics.to(self.compute).index_select(0, F.pad(rays, (0, rows - count)))
        seen, bias = (x.to(self.compute) for x in self._seen(condition))
        y = torch.relu(F.linear(torch.cat((x, view), 1), seen, bias))
        return sigma, torch.sigmoid(self._linear(self.colour_out, y).float()) * 1.002 - 0.001

    def _seen(self, condition: FrameCondition) -> tuple[Tensor, Tensor]:
        """Weight and bias of the colour layer on (its geometry, harmonics), the individual code folded in."""
        weight, bias = self.colour_in.weight, self.colour_in.bias
        if self.individual is not None:
            bias = bias + weight[:, GEOMETRY + HARMONICS :] @ self.individual[condition.frame]
        return weight[:, : GEOMETRY + HARMONICS], bias

    def _fused(
        self,
        points: Tensor,
        condition: FrameCondition,
        harmonics: Tensor | None,
        rays: Tensor | None,
        sink: Tensor | None,
        grids: PlaneGrids | None,
    ) -> tuple[Tensor, Tensor | None]:
        """`forward` by the kernel; into a sink of nodes goes the gradient of only those samples that have any."""
        scatter: fused_training.Scatter | None = None
        layout = self.layout
        if isinstance(layout, PlaneLayout) and sink is not None and sink.dim() == 1:
            nodes = sink
            scatter = lambda kept, pull: add_nodes_gradient(points[:, kept], pull, layout, nodes)  # noqa: E731
        with torch.set_grad_enabled(torch.is_grad_enabled() and scatter is None):
            geometry = self.geometry(F.pad(points, (0, -points.shape[1] % fused_training.BLOCK)), sink, grids).T
        layers = [(layer.weight, layer.bias) for layer in (self.second, self.third, self.colour_out)]
        layers.insert(2, self._seen(condition))
        views, spare = None if rays is None else harmonics, fused_training.SPARE * (self.compute == torch.bfloat16)
        return fused_training.evaluate(
            geometry, self.folded(condition), layers, views, rays, self.compute, DENSITY_LIMIT, spare, scatter
        )

    def geometry(
        self, points: Float[Tensor, "3 N"], sink: Tensor | None = None, grids: PlaneGrids | None = None
    ) -> Float[Tensor, "N F"]:
        """What the planes hold at points in [0, 1]³; `sink` and `grids` as in `encode_planes`."""
        if isinstance(self.layout, VolumeLayout):
            return encode_volume(points, self.tables, self.layout, sink).T
        return encode_planes(points, self.tables, self.layout, sink, grids).T

    def grids(self) -> PlaneGrids | None:
        """The planes as they are now, for fast reading; None where they cannot be read so."""
        if isinstance(self.layout, VolumeLayout) or not PlaneGrids.readable(self.tables):
            return None
        return PlaneGrids.of(self.tables, self.layout)

    def _linear(self, layer: nn.Linear, x: Tensor) -> Tensor:
        return F.linear(x, layer.weight.to(self.compute), layer.bias.to(self.compute))

    def inner_weight(self) -> Float[Tensor, "H F"]:
        """The gates' inner layers, one below the other; a row of zeros without attention."""
        parts = [gates.inner.weight for gates in (self.mouth, self.eyes) if gates is not None]
        return torch.cat(parts) if parts else self.first.weight.new_zeros(1, self.layout.columns)

    def folded(self, condition: FrameCondition) -> tuple[Tensor, Tensor, Tensor]:
        """First layers with the frame's condition folded into them; see `RegionAttention.folded`.

        Returns:
            The gates' inner layers, and weight and bias of the layer on (geometry, ReLU of those), in float32.
        """
        code, inner = self.code(condition.landmarks), self.inner_weight()
        split = (self.layout.columns, LANDMARK_CODE, len(condition.scores))
        plain, on_code, on_scores = self.first.weight.split(split, 1)
        gated = [
            gates.folded(weight, values)
            for gates, weight, values in ((self.mouth, on_code, code), (self.eyes, on_scores, condition.scores))
            if gates is not None
        ]
        bias = self.first.bias + self.gate_offset * (on_code @ code + on_scores @ condition.scores)
        return inner, torch.cat((plain, *(gated or [plain.new_zeros(len(plain), 1)])), 1), bias
