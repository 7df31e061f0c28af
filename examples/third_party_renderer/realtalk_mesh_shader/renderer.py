"""The component: an RGBA texture learnt from the capture, drawn on the mesh of each frame's landmarks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample, interpolate

from realtalk_core.training.data import TrainingData
from realtalk_core.types import CameraTrack, Drive, FrameBatch
from realtalk_mesh_shader.mesh import Mesh

if TYPE_CHECKING:
    from realtalk_mesh_shader import MeshShaderConfig

COARSER = (16, 4, 1)
"""The texture is a sum of layers, each this many times coarser: parts that few frames show take the coarse colour."""
BATCH = 8


class MeshShader:
    """The `mesh_shader` renderer."""

    def __init__(self, config: MeshShaderConfig, mesh: Mesh, layers: Sequence[Tensor]) -> None:
        self.config, self.mesh = config, mesh
        self.total_steps = config.steps
        self.layers = nn.ParameterList(layer.clone() for layer in layers)
        self.adam = torch.optim.Adam(self.layers.parameters(), config.learning_rate)

    # ---- learning ---------------------------------------------------------------------------------------------------

    @classmethod
    def for_training(cls, config: MeshShaderConfig, data: TrainingData) -> Self:
        """A grey texture on the mesh of this person."""
        tracks = data.capture.tracks
        mesh = Mesh.of(tracks.neutral, tracks.landmarks[data.train], config.halo)
        sides = [max(2, config.texture // coarser) for coarser in COARSER]
        return cls(config, mesh, [torch.zeros(4, side, side) for side in sides])

    def batch(self, data: TrainingData, step: int) -> dict[str, Tensor]:
        """Frames, their head alpha, and what each of their pixels sees of the texture."""
        chosen = torch.randint(len(data.train), (self.config.frames,), generator=data.generator(step))
        rows: dict[str, list[Tensor]] = {"rgb": [], "alpha": [], "places": [], "shown": []}
        capture = data.capture
        for frame in data.train[chosen].tolist():
            places, shown = self.mesh.look_up(capture.tracks.landmarks[frame], capture.cameras[frame : frame + 1])
            rows["rgb"].append(torch.from_numpy(capture.frame(frame)).float() / 255)
            rows["alpha"].append(torch.from_numpy(capture.masks(frame)[..., 1:2]).float() / 255)
            rows["places"].append(places)
            rows["shown"].append(shown[..., None].float())
        return {name: torch.stack(parts) for name, parts in rows.items()}

    def training_step(self, batch: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        """Colour where the head is, and the head's outline."""
        rgb, alpha = self._shade(batch["places"], batch["shown"])
        colour = ((rgb - batch["rgb"]).abs() * batch["alpha"] * batch["shown"]).mean()
        outline = (alpha - batch["alpha"]).square().mean()
        return {"loss": colour + outline, "colour": colour.detach(), "outline": outline.detach()}

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam over all layers."""
        return [self.adam]

    def after_step(self, step: int) -> None:
        """Cosine decay to a tenth."""
        done = torch.tensor(torch.pi * min(1.0, step / self.total_steps))
        for group in self.adam.param_groups:
            group["lr"] = self.config.learning_rate * float(0.55 + 0.45 * torch.cos(done))

    def training_state(self) -> dict[str, Tensor]:
        """The raw layers; mesh and sizes follow from the data and the configuration."""
        return {f"layer{k}": layer.detach().clone() for k, layer in enumerate(self.layers)}

    def load_training_state(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `training_state`."""
        with torch.no_grad():
            for k, layer in enumerate(self.layers):
                layer.copy_(tensors[f"layer{k}"])

    # ---- keeping ----------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        """Everything drawing needs."""
        mesh = {"halo": self.mesh.halo, "places": self.mesh.places, "triangles": self.mesh.triangles}
        return {**self.training_state(), **{name: tensor.clone() for name, tensor in mesh.items()}}

    @classmethod
    def from_state(cls, config: Any, tensors: Mapping[str, Tensor]) -> Self:
        """The renderer of a trained avatar."""
        mesh = Mesh(tensors["halo"], tensors["places"], tensors["triangles"])
        return cls(config, mesh, [tensors[f"layer{k}"] for k in range(len(COARSER))])

    # ---- drawing ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def render(self, drive: Drive, cameras: CameraTrack) -> Iterator[FrameBatch]:
        """Draws frame by frame, a few to a batch."""
        for start in range(0, len(drive), BATCH):
            stop = min(start + BATCH, len(drive))
            looks = [self.mesh.look_up(drive.landmarks.points[k], cameras[k : k + 1]) for k in range(start, stop)]
            places = torch.stack([place for place, _ in looks])
            shown = torch.stack([seen[..., None].float() for _, seen in looks])
            rgb, alpha = self._shade(places, shown)
            yield FrameBatch(rgb, alpha, start)

    def _shade(self, places: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
        side = self.layers[-1].shape[-1]
        texture = sum(
            interpolate(layer[None], size=(side, side), mode="bilinear", align_corners=False) for layer in self.layers
        )
        spread = texture.expand(len(places), -1, -1, -1)
        texels = grid_sample(spread, places, align_corners=False, padding_mode="border")
        rgba = torch.sigmoid(texels).permute(0, 2, 3, 1)
        return rgba[..., :3], rgba[..., 3:] * shown
