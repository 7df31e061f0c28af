"""What is measured on a capture before a generator learns: basis, silence, liveliness, lead of the mouth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from realtalk_core.expression import ExpressionBasis, inner_lip_pairs, lip_gap, upper_face
from realtalk_core.types import AudioFeatures, Prosody
from realtalk_vae import augment
from realtalk_vae.hush import Hush
from realtalk_vae.prior import shut_face

if TYPE_CHECKING:
    from realtalk_vae import VaeConfig

UPPER_WEIGHT = 0.15
MOST_LEAD, PLAINLY = 2, 0.02
"""Largest lead of the mouth over the sound, in frames, that is learnt from a clip; gain of correlation it takes."""


def learnt_basis(config: VaeConfig, points: Tensor, neutral: Tensor) -> dict[str, Tensor]:
    """Expression basis of the person alone, and the resting face in it."""
    weight = 1 - (1 - UPPER_WEIGHT) * upper_face(neutral)
    basis = ExpressionBasis.fit(points, neutral, weight, min(config.components, max(1, len(points) - 1)))
    return {**basis.tensors(), "rest": basis.encode(shut_face(points)[None])[0]}


def of_frames(features: AudioFeatures, frames: Tensor) -> AudioFeatures:
    """The rows of some frames; where the sound ends before the pictures its last row stays."""
    at = frames.clamp_max(len(features) - 1)
    said = features.prosody
    if said is not None:
        parts = {name: getattr(said, name) for name in ("f0", "voiced", "loudness", "activity")}
        said = Prosody(**{name: None if x is None else x[at] for name, x in parts.items()}, detector=said.detector)
    return AudioFeatures(features.values[at], features.fps, said)


def silence_gate(heard: AudioFeatures) -> tuple[Hush, tuple[str, ...]]:
    """How silence will be told, and what the user should know of it.

    A spectrum tells it best, whose bands weigh alike: hum in one of them is not loud. Other features do not.
    """
    looks = heard.values if heard.values.ndim == 3 else heard.values[:, None]
    if heard.prosody is None or heard.prosody.loudness is None:
        remark = "vae: silence is told from the features, right for a spectrum alone: they came without loudness"
        return Hush.by_spectrum(augment.Voice.of(looks), heard.rows()), (remark,)
    voice = augment.Voice.of(looks, heard.prosody.loudness)
    if voice.loud.any():
        return Hush.by_spectrum(voice, heard.rows()), ()
    return Hush.by_loudness(heard.prosody.loudness), ()


def measured_lead(generated: Tensor, tracked: Tensor) -> int:
    """By how many frames this clip's mouth is ahead of the sound, as far as that is plain from the lips' gap."""
    inside = slice(MOST_LEAD, len(tracked) - MOST_LEAD)
    if len(tracked) < 100:
        return 0
    lags = range(-MOST_LEAD, MOST_LEAD + 1)
    fit = {k: float(torch.stack([generated.roll(-k)[inside], tracked[inside]]).corrcoef()[0, 1]) for k in lags}
    best = max(fit, key=fit.__getitem__)
    return best if fit[best] > fit[0] + PLAINLY else 0


def ahead(rows: Tensor, frames: int) -> Tensor:
    """Rows heard `frames` earlier than they sound; the ends are repeated."""
    at = (torch.arange(len(rows)) + frames).clamp(0, len(rows) - 1)
    return rows[at]


def liveliness(points: Tensor) -> float:
    """How far the lips' gap ranges, cm: from its 10 % quantile to its 90 %."""
    gap = lip_gap(points)
    return float(gap.quantile(0.9) - gap.quantile(0.1))


def closed_not_crossed(points: Tensor) -> Tensor:
    """Lips that have moved through each other meet in the middle instead."""
    upper, lower = (list(side) for side in inner_lip_pairs(points.shape[1]))
    cross = (points[:, lower, 1] - points[:, upper, 1]).clamp_min(0) / 2
    points = points.clone()
    points[:, upper, 1] += cross
    points[:, lower, 1] -= cross
    return points
