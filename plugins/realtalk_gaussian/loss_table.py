"""Which losses count how much in which part of the training; torch-free, for the configuration reads it.

The terms are those of EmoTalkingGaussian §3 (reference, part 2.3) and a few of ours; `losses.py` computes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from realtalk_core.errors import did_you_mean

PHASES = ("canonical", "motion", "emotion", "finetune")
"""Parts of a training, in order: the still head, its branches, the emotion branch, colours and opacities alone."""

TERMS: dict[str, str] = {
    "l1": "absolute difference of colours over a random backdrop",
    "dssim": "structural dissimilarity over the same backdrop",
    "lpips": "perceptual difference of a patch: LPIPS, or its substitute (parameter `perceptual`)",
    "normals": "absolute difference of normals from the estimator's",
    "normals_tv": "total variation of the normals",
    "normals_residual": "length of the learnt residuals of normals",
    "alpha": "absolute difference of opacity from the head's matte",
    "opening": "opacity of the face where its openings show what lies behind lips and lids",
    "opacities": "mean opacity of the Gaussians (3DGS-MCMC: 0.01 with `strategy: mcmc`)",
    "scales": "their mean scale as a share of half the head's size (3DGS-MCMC: 0.01 with `strategy: mcmc`)",
    "means": "distance of the emotional face's centres from the teacher's",
    "covariances": "relative difference of its covariances from the teacher's",
}
"""What may be weighed. `means` and `covariances` belong to `emotion`, where they and the picture terms are the
distillation's."""

PENDING: dict[str, str] = {"sync": "it needs a lip-sync expert, which this version does not have"}
"""Terms with a place in the table that cannot be weighed yet, and why."""

NEEDED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("canonical", "motion", "finetune"), ("l1", "dssim", "lpips", "alpha", "opening")),
    "emotion": ("means", "covariances", "l1", "dssim", "lpips"),
}
"""Terms of which a phase needs one with a weight, or it would learn nothing."""

_PICTURE = {"l1": 1.0, "dssim": 0.2}
DEFAULT: dict[str, dict[str, float]] = {
    "canonical": {**_PICTURE, "alpha": 0.1, "opening": 1.0},
    "motion": {**_PICTURE, "lpips": 0.02, "alpha": 0.1, "opening": 1.0},
    "emotion": {**_PICTURE, "means": 1.0, "covariances": 0.1},
    "finetune": {**_PICTURE, "lpips": 0.02, "alpha": 0.1, "opening": 1.0},
}  # fmt: skip
"""What RealTalk learns with; the papers' weights are in their presets."""


def complete(given: Any) -> dict[str, dict[str, float]]:
    """The whole table: the default's, with the given weights in place of its own.

    Args:
        given: `{phase: {term: weight}}`; phases and terms that are not named keep their weights, 0 leaves a term out.

    Raises:
        ValueError: for an unknown phase or term, a weight that is no number of at least 0, or a term of `PENDING`,
            or a phase that nothing is left of.

    >>> complete({"motion": {"dssim": 0}})["motion"]["dssim"]
    0.0
    """
    table = {phase: dict(weights) for phase, weights in DEFAULT.items()}
    if not isinstance(given, Mapping):
        raise ValueError("must map phases to weights, such as {motion: {dssim: 0.2}}")
    for phase, weights in given.items():
        if phase not in table:
            raise ValueError(f"unknown phase {phase!r}{did_you_mean(str(phase), PHASES)}")
        if not isinstance(weights, Mapping):
            raise ValueError(f"{phase}: must map terms to weights, such as {{dssim: 0.2}}")
        for term, weight in weights.items():
            if term not in TERMS and term not in PENDING:
                raise ValueError(f"{phase}: unknown term {term!r}{did_you_mean(str(term), (*TERMS, *PENDING))}")
            if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < float("inf"):
                raise ValueError(f"{phase}.{term}: the weight must be a number of at least 0, got {weight!r}")
            if term in PENDING and weight > 0:
                raise ValueError(
                    f"{phase}.{term}: the term {term} cannot be learnt from yet: {PENDING[term]}; leave it out"
                )
            table[phase][term] = float(weight)
    for phase, row in table.items():
        if not any(row.get(term) for term in NEEDED[phase]):
            raise ValueError(f"{phase}: nothing would be learnt; give a weight to one of {', '.join(NEEDED[phase])}")
    return table
