"""Parameters of what happens between the emotion stage and the renderer (paper §3.3; reference notes §1.6)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from realtalk_core.spec import ComponentConfig

BlinkMode = Literal["capture", "period", "natural", "none"]


class MotionConfig(ComponentConfig):
    """How generated landmarks are brought back to the person, and where eyes and poses come from."""

    lle_neighbours: int = Field(10, ge=1, le=100)
    """How many of the person's own faces a generated face is rebuilt from (locally linear embedding, K)."""

    lle_percent: float = Field(0.2, ge=0.0, le=1.0)
    """Share of the rebuilt face in the result; 0 keeps the generated one, 1 takes only the rebuilt one."""

    clamp_quantile: float = Field(0.01, ge=0.0, lt=0.5)
    """Neutral speech is kept between this quantile and its opposite of the person's own range; 0 switches it off."""

    smoothing: float = Field(0.5, ge=0.0, le=4.0)
    """Standard deviation, in frames, of the zero-phase smoothing of generated landmarks; 0 switches it off."""

    blink: BlinkMode = "capture"
    """Eyes and brows: replayed with the head pose, or synthesised blinks: regular, at natural random times, or none."""

    blink_seconds: float = Field(4.0, gt=0.5, le=60.0)
    """Time from blink to blink: exact for `period`, on average for `natural`."""

    blink_seed: int = Field(0, ge=0)
    """Seed of the natural blinks."""

    start: int = Field(0, ge=0)
    """Frame of the capture at which the replayed poses begin."""
