"""Whether each stage gets what it needs from those before it; known from the declarations, before anything loads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from realtalk_core.config.layers import Value
from realtalk_core.errors import Problem
from realtalk_core.spec import PIPELINE_STAGES, ComponentConfig, ComponentSpec, Stage

PROSODY = frozenset({"prosody:f0", "prosody:loudness", "prosody:activity"})
"""Heard by the core itself whatever the encoder, where a stage needs it; `prosody:f0` brings voicing with it."""
ALWAYS = frozenset({"emotion:8", "emotion:va", "audio"}) | PROSODY
"""Given to every chain: by the user weights over the eight labels, and valence and arousal; by the audio encoder its
rows (`audio`), for whose sake a stage depends on which encoder it is; by the core prosody."""


@dataclass(frozen=True, slots=True)
class Selected:
    """The component that fills a stage, and its checked parameters."""

    spec: ComponentSpec
    config: ComponentConfig


def wanted_prosody(stages: Mapping[Stage, Selected]) -> frozenset[str]:
    """What the stages of a pipeline need of `PROSODY`."""
    asked = [stages[stage] for stage in PIPELINE_STAGES if stage in stages]
    return PROSODY & frozenset().union(*(chosen.spec.tokens_needed(chosen.config) for chosen in asked))


def unmet_needs(stages: Mapping[Stage, Selected], places: Mapping[Stage, Value]) -> list[Problem]:
    """A problem for each token that a stage needs and nothing before it gives.

    Tokens accumulate along the chain. What a tracker gives counts twice: a landmark generator learns from the tracked
    landmarks, so it needs them and can give no scheme that the tracker does not; and a person's blendshapes are
    replayed from their capture, so they reach every stage.

    Args:
        stages: What fills each stage; a chain with a gap is checked up to the gap.
        places: Where each component was named.
    """
    found: list[Problem] = []
    if "tracker" not in stages:
        return found
    tracked = stages["tracker"].spec.tokens_given(stages["tracker"].config)
    tracked_landmarks = frozenset(token for token in tracked if token.startswith("landmarks:"))
    pool = ALWAYS | (tracked - tracked_landmarks)
    for stage in PIPELINE_STAGES:
        if stage not in stages:
            break
        chosen = stages[stage]
        at_hand = pool | tracked if stage == "landmarks" else pool
        for token in sorted(chosen.spec.tokens_needed(chosen.config) - at_hand):
            message = (
                f"{chosen.spec.name!r} needs {token}, which nothing before it gives "
                f"(given: {', '.join(sorted(at_hand))}); choose another {stage} or another stage before it"
            )
            if token.startswith("landmarks:") and token not in tracked:
                message += f"; the tracker {stages['tracker'].spec.name!r} does not track it"
            place = places.get(stage)
            found.append(place.problem(message) if place else Problem(message, f"pipeline.{stage}"))
        given = chosen.spec.tokens_given(chosen.config)
        if stage == "landmarks":
            given = frozenset(token for token in given if not token.startswith("landmarks:") or token in tracked)
        pool |= given
    return found
