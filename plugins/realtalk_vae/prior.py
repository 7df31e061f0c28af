"""The prior: a generator trained on many synthetic actors and voices, and how it is fitted to one person's face.

It speaks in displacements of a closed resting face, on a face whose mouth is `MOUTH_CM` wide (recipes/priors.py makes
it; docs/priors.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from realtalk_core import checkpoint
from realtalk_core.expression import ExpressionBasis, lip_gap
from realtalk_core.landmarks import IBUG68_FROM_MEDIAPIPE478

if TYPE_CHECKING:
    from realtalk_vae import VaeConfig

SHIPPED = Path(__file__).with_name("prior.safetensors")
VERSION = 1
"""Version of the prior's tensors."""
MOUTH_CM = 5.0
SIZES = ("hidden", "latent", "decoder_layers", "encoder_layers", "condition", "flow_layers", "flow_hidden")
"""Parameters that must be the prior's own for its weights to fit."""
SHUT_SHARE = 0.1


@dataclass(frozen=True)
class VaePrior:
    """A prior's file.

    Attributes:
        tensors: Weights (`net.`), basis of the average actor (`basis.`), `features.mean`, `features.std`, `rest`.
        encoder: The audio encoder and parameters it was trained with (`realtalk_core.training.data.encoder_name`).
        sizes: Parameters of the network.
        digest: Names the file.
    """

    tensors: Mapping[str, Tensor]
    encoder: str
    sizes: Mapping[str, int]
    digest: str

    @classmethod
    def load(cls, path: Path) -> VaePrior:
        """Reads a prior.

        Raises:
            UserError: if the file is missing, damaged, newer than this version of RealTalk, or no prior of `vae`.
        """
        cure = "Install RealTalk again, name another file, or train without it: --set landmarks.prior=none"
        header, tensors = checkpoint.load_prior(path, "vae", VERSION, "landmarks.prior", cure)
        return cls(
            tensors,
            str(header.metrics["encoder"]),
            {name: int(header.config[name]) for name in SIZES},
            checkpoint.digest(path),
        )

    def unfit(self, config: VaeConfig, encoder: str) -> str:
        """Why this prior cannot be started from; empty if it can."""
        if encoder != self.encoder:
            return f"it was trained with the sound of {self.encoder}, not {encoder or 'an unnamed encoder'}"
        if config.pitch:
            return "it does not listen to pitch beside the features (pitch: true)"
        other = [name for name in SIZES if getattr(config, name) != self.sizes[name]]
        return f"its networks have other sizes ({', '.join(other)})" if other else ""


def chosen(config: VaeConfig, encoder: str) -> tuple[VaePrior | None, str]:
    """The prior that a training starts from, if any, and a sentence for the user saying so."""
    if config.prior == "none":
        return None, "vae: starts from random weights, as asked (prior: none)"
    prior = VaePrior.load(SHIPPED if config.prior == "shipped" else Path(config.prior))
    if reason := prior.unfit(config, encoder):
        return None, f"vae: starts from random weights; the prior does not fit: {reason}"
    return prior, f"vae: starts from the {'shipped ' if config.prior == 'shipped' else ''}prior"


def mouth_width(neutral: Float[Tensor, "K 3"]) -> float:
    """Distance between the corners of the mouth, cm."""
    right, left = (61, 291) if neutral.shape[0] == 478 else (48, 54)
    return float((neutral[right] - neutral[left]).norm())


def shut_face(points: Float[Tensor, "T K 3"]) -> Float[Tensor, "K 3"]:
    """Mean of the faces whose lips are nearest each other."""
    gap = lip_gap(points)
    return points[gap <= gap.quantile(SHUT_SHARE)].mean(0)


def fitted_basis(
    prior: VaePrior, points: Float[Tensor, "T K 3"], neutral: Float[Tensor, "K 3"], weight: Float[Tensor, "K"],
    own: int, amount: float,
) -> ExpressionBasis:  # fmt: skip
    """The prior's components on a person's face, and behind them components of what the person does beside them.

    Args:
        prior: The prior.
        points: The person's tracked faces, cm.
        neutral: The person's neutral face.
        weight: Importance of each landmark.
        own: How many components of the person's own to add.
        amount: How lively the person is relative to the prior.
    """
    average = ExpressionBasis.from_tensors(prior.tensors)
    pick = list(IBUG68_FROM_MEDIAPIPE478) if neutral.shape[0] == 68 else slice(None)
    moves = average.components[:, pick] * (amount * mouth_width(neutral) / MOUTH_CM)
    w = weight[:, None].expand_as(neutral)
    rest = torch.einsum("r,rkc->kc", prior.tensors["rest"] * average.scale, moves)
    mean = shut_face(points) - neutral - rest
    flat = (moves * w).flatten(1)
    readout = torch.linalg.pinv(flat).T.reshape(moves.shape) * w
    count = moves.shape[0]
    left = points - neutral - mean
    left = left - torch.einsum("tr,rkc->tkc", torch.einsum("tkc,rkc->tr", left, readout), moves)
    away = ((left - left.mean(0)) * w).flatten(1)
    _, sigma, rows = torch.linalg.svd(away, full_matrices=False)
    own = min(own, rows.shape[0])
    extra = rows[:own].reshape(own, *neutral.shape)
    scale = torch.cat([average.scale, (sigma[:own] / max(1, len(points) - 1) ** 0.5).clamp_min(1e-4)])
    assert scale.shape[0] == count + own
    return ExpressionBasis(
        neutral.float(),
        mean,
        torch.cat([moves, extra / w]).contiguous(),
        torch.cat([readout, extra * w]).contiguous(),
        scale,
    )


def widened(weights: Mapping[str, Tensor], outputs: int) -> dict[str, Tensor]:
    """The prior's network with further outputs, which are zero, and inputs, which count for nothing."""
    out = dict(weights)
    more = outputs - out["leave.weight"].shape[0]
    for name in ("leave", "direct"):
        out[f"{name}.weight"] = torch.cat(
            [out[f"{name}.weight"], out[f"{name}.weight"].new_zeros(more, *out[f"{name}.weight"].shape[1:])]
        )
        out[f"{name}.bias"] = torch.cat([out[f"{name}.bias"], out[f"{name}.bias"].new_zeros(more)])
    enter = out["enter.weight"]
    out["enter.weight"] = torch.cat([enter, enter.new_zeros(enter.shape[0], more, enter.shape[2])], 1)
    return out
