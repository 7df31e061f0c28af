"""Drives of faces that were filmed rather than generated: for measuring and looking at a renderer, whichever it is.

Whatever a renderer may listen to is in them, so that one that hears or looks at blendshapes is driven like one that
needs landmarks alone. There is no emotion in them: what was filmed is already as it is.
"""

from __future__ import annotations

import torch

from realtalk_core.avatar import Avatar
from realtalk_core.capture import Capture
from realtalk_core.config.needs import wanted_prosody
from realtalk_core.hearing.pieces import heard_rows
from realtalk_core.types import AudioClip, AudioFeatures, Blendshapes, Drive, LandmarkTrack, concat_features

RATE = 16_000
EDGE_SECONDS = 1.0
"""Silence to each side of what is asked for: encoders look around, and pad where a clip ends."""


def filmed(capture: Capture, features: AudioFeatures | None) -> Drive:
    """All frames of a capture, with their sound as the renderer's avatar hears it (one row per frame)."""
    return Drive(capture.landmarks, features, blendshapes=capture.blendshapes)


def tracked(avatar: Avatar, span: slice) -> Drive:
    """Some of an avatar's own frames, in silence: an avatar holds its person's faces, but not their voice."""
    person = avatar.person
    landmarks = LandmarkTrack(person.landmarks[span], person.scheme, person.fps)
    return Drive(landmarks, silence(avatar, len(landmarks)), blendshapes=Blendshapes(person.blendshapes[span]))


def silence(avatar: Avatar, frames: int) -> AudioFeatures:
    """What an avatar hears in silence, one row per frame."""
    edge = round(EDGE_SECONDS * avatar.fps)
    samples = round((frames + 2 * edge) / avatar.fps * RATE)
    quiet = AudioClip(torch.zeros(samples), RATE)
    prosody = wanted_prosody(avatar.config.stages)
    features = concat_features(list(heard_rows(avatar.component("audio"), quiet, avatar.fps, prosody)))
    return features[edge : edge + frames]
