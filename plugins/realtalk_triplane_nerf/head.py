"""One person's head as rays see it: template, warp and condition basis, and rendering a chunk of rays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from realtalk_core.expression import ExpressionBasis
from realtalk_core.nn.compositing import composite
from realtalk_core.nn.hashgrid import PlaneGrids
from realtalk_core.nn.marching import Samples, Shell, march
from realtalk_core.nn.spherical import spherical_harmonics
from realtalk_core.nn.warp import Warper, WarpField
from realtalk_triplane_nerf.config import TriplaneNerfConfig
from realtalk_triplane_nerf.field import FrameCondition, TriplaneField


@dataclass(frozen=True, slots=True)
class Head:
    """What a trained or training head knows besides its networks.

    Attributes:
        basis: Principal components of the landmarks.
        warper: Makes the warp of a frame; None if switched off.
        nose_y: Height in the template, as a share of the box, below which the mouth's condition belongs.
    """

    basis: ExpressionBasis
    warper: Warper | None
    nose_y: float

    def tensors(self) -> dict[str, Tensor]:
        """Named tensors for a checkpoint."""
        out = self.basis.tensors() | {"nose_y": torch.tensor(self.nose_y)}
        if self.warper is not None:
            out["template"] = self.warper.template
            out["still_mouth"] = torch.tensor(self.warper.still_mouth, dtype=torch.uint8)
        return out

    @classmethod
    def from_tensors(cls, config: TriplaneNerfConfig, tensors: Mapping[str, Tensor]) -> Head:
        """The head of a checkpoint."""
        still = "still_mouth" in tensors and bool(tensors["still_mouth"])  # heads of earlier versions have none
        warper = None
        if "template" in tensors:
            warper = Warper.around(tensors["template"], config.warp_side, still_mouth=still)
        return cls(ExpressionBasis.from_tensors(tensors), warper, float(tensors["nose_y"]))


@dataclass(frozen=True, slots=True)
class Rendered:
    """A chunk of rays.

    Attributes:
        colour: `R 3` premultiplied by opacity.
        alpha: `R`.
        weights: Each sample's weight.
        samples: Where they lie.
    """

    colour: Float[Tensor, "R 3"]
    alpha: Float[Tensor, "R"]
    weights: Float[Tensor, "P"]
    samples: Samples


def render_rays(
    field: TriplaneField,
    shell: Shell,
    warp: WarpField | None,
    condition: FrameCondition,
    origin: Float[Tensor, "3"],
    directions: Float[Tensor, "R 3"],
    shift: Float[Tensor, "R"],
    config: TriplaneNerfConfig,
    sink: Tensor | None = None,
    grids: PlaneGrids | None = None,
) -> Rendered:
    """Marches, evaluates and composites rays of one frame; `sink` and `grids` as in `encode_planes`."""
    samples = march(origin, directions, shift, config.step_cm, shell, warp, config.samples_per_ray)
    rays = torch.repeat_interleave(torch.arange(len(directions), device=directions.device), samples.offsets.diff())
    sigma, colour = field(samples.points, condition, spherical_harmonics(directions), rays, sink, grids)
    out, alpha, weights = composite(sigma, colour, samples.offsets, config.step_cm)
    return Rendered(out, alpha, weights, samples)
