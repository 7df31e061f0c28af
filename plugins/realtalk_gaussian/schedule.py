"""What changes over a training: its phases, and learning rates."""

from __future__ import annotations

from typing import Literal

from realtalk_gaussian.config import GaussianConfig

Phase = Literal["canonical", "motion", "emotion", "finetune"]


def spans(config: GaussianConfig) -> dict[Phase, range]:
    """The steps of each phase, in order; what is left over by the shares goes to `motion`.

    >>> spans(GaussianConfig(steps=100, share_canonical=0.2, share_finetune=0.1))
    {'canonical': range(0, 20), 'motion': range(20, 90), 'emotion': range(90, 90), 'finetune': range(90, 100)}
    """
    steps = config.steps
    emotion = config.share_emotion if config.emotion == "branch" else 0.0
    canonical = round(config.share_canonical * steps)
    finetune = max(canonical, steps - round(config.share_finetune * steps))
    teaching = max(canonical, finetune - round(emotion * steps))
    return {
        "canonical": range(canonical),
        "motion": range(canonical, teaching),
        "emotion": range(teaching, finetune),
        "finetune": range(finetune, steps),
    }


def phase_of(config: GaussianConfig, step: int) -> Phase:
    """The phase that a step belongs to; the last one that has steps after the end."""
    found = spans(config)
    last = next(phase for phase in reversed(found) if len(found[phase]))
    return next((phase for phase, steps in found.items() if step in steps), last)


def rate(config: GaussianConfig, done: int, begin: int, end: int) -> float:
    """Share of a first learning rate after some steps: an exponential over the steps in which it is used."""
    return float(config.lr_fall ** min(1.0, max(0, done - begin) / max(1, end - begin)))
