"""The learnt prior: a deformer trained on many synthetic actors, and how it is fitted to one person's face.

It speaks in displacements of a face whose outer eye corners are `units.EYE_CORNERS_CM` apart, and hears faces as
displacements from rest on the average actor (recipes/priors.py makes it; docs/priors.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from realtalk_core import checkpoint
from realtalk_core.landmarks import IBUG68_FROM_MEDIAPIPE478

if TYPE_CHECKING:
    from realtalk_ldm import LdmConfig

SHIPPED = Path(__file__).with_name("prior.safetensors")
VERSION = 1
"""Version of the prior's tensors."""
SIZES = ("hidden", "embedding", "res_blocks", "feed_forward", "components")
"""Parameters that must be the prior's own for its weights to fit."""


@dataclass(frozen=True)
class LdmPrior:
    """A prior's file.

    Attributes:
        tensors: Weights (`net.`), `components`, `centre`, `neutral` (68 points of the average actor at rest),
            `faces.mean`, `faces.std`.
        sizes: Parameters of the network.
    """

    tensors: Mapping[str, Tensor]
    sizes: Mapping[str, int]

    @classmethod
    def load(cls, path: Path) -> LdmPrior:
        """Reads a prior.

        Raises:
            UserError: if the file is missing, damaged, newer than this version of RealTalk, or no prior of `ldm`.
        """
        cure = "Install RealTalk again, name another file, or learn from action units: --set emotion.prior=units"
        header, tensors = checkpoint.load_prior(path, "ldm", VERSION, "emotion.prior", cure)
        return cls(tensors, {name: int(header.config[name]) for name in SIZES})

    def unfit(self, config: LdmConfig) -> str:
        """Why this prior cannot be taken; empty if it can."""
        other = [name for name in SIZES if getattr(config, name) != self.sizes[name]]
        return f"its network has other sizes ({', '.join(other)})" if other else ""

    def fitted(self, neutral: Float[Tensor, "K 3"], scale: float) -> dict[str, Tensor]:
        """Tensors of a deformer of a person.

        Args:
            neutral: The person's neutral face.
            scale: Size of the face relative to the one the prior speaks of.
        """
        pick = list(IBUG68_FROM_MEDIAPIPE478)
        dense = neutral.shape[0] == 478
        own = neutral[pick] if dense else neutral
        fields = {name: self.tensors[name] * scale for name in ("components", "centre")}
        return {
            **{name: t for name, t in self.tensors.items() if name.startswith("net.")},
            **{name: (t if dense else t[:, pick]).contiguous() for name, t in fields.items()},
            "faces.mean": own - scale * (self.tensors["neutral"] - self.tensors["faces.mean"]),
            "faces.std": self.tensors["faces.std"] * scale,
        }


def chosen(config: LdmConfig) -> tuple[LdmPrior | None, str]:
    """The prior that a deformer is taken from, if any, and a sentence for the user saying so."""
    if config.prior == "units":
        return None, "ldm: learns from facial action units, as asked (prior: units)"
    prior = LdmPrior.load(SHIPPED if config.prior == "shipped" else Path(config.prior))
    if reason := prior.unfit(config):
        return None, f"ldm: learns from facial action units; the learnt prior does not fit: {reason}"
    return prior, f"ldm: takes the {'shipped ' if config.prior == 'shipped' else ''}prior, fitted to the face"
