"""What changes over a training: which kind of pixels a step sees, the weights of some terms, learning rates."""

from __future__ import annotations

from typing import Literal

from realtalk_triplane_nerf.config import TriplaneNerfConfig

SMOOTH_EVERY = 16
"""Steps from one look at smoothness to the next."""


def pixels_of(config: TriplaneNerfConfig, step: int) -> Literal["scattered", "patches", "lips"]:
    """Which pixels a step looks at.

    At first scattered ones; after `patch_from` patches in every second step; after `lips_from` patches and rectangles
    around the lips in turn (the paper's fine-tuning, where `patch_from` equals `lips_from`).
    """
    share = step / config.steps
    if step % 2 and share >= min(config.patch_from, config.lips_from):
        return "patches"
    return "lips" if share >= config.lips_from else "scattered"


def ramp(config: TriplaneNerfConfig, step: int) -> float:
    """Share of their weights that ambient, uncertainty and smoothness have at a step."""
    return min(1.0, (step + 1) / (config.ramp * config.steps)) if config.ramp else 1.0


def gate_offset(config: TriplaneNerfConfig, step: int) -> float:
    """What is added to gates at a step."""
    if not config.attention or not config.gate_fade:
        return config.gate_offset if config.attention else 1.0
    return config.gate_offset * max(0.0, 1 - step / (config.gate_fade * config.steps))


def rate(config: TriplaneNerfConfig, done: int) -> float:
    """Share of the first learning rates after some steps: an exponential, a steeper one while lips are learnt."""
    share = min(1.0, done / config.steps)
    return float((config.lr_fall_lips if share >= config.lips_from else config.lr_fall) ** share)


def smooths(config: TriplaneNerfConfig, step: int) -> bool:
    """Whether a step looks at smoothness."""
    return config.smooth_weight > 0 and step % SMOOTH_EVERY == 0
