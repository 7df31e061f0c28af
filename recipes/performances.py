"""Speech of synthetic voices with what the microphone hears of it and what synthetic actors' faces do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import corpus
import numpy as np
import torch
from acoustics import recorded, slower
from torch import Tensor

from realtalk_actor.actor import Actor
from realtalk_actor.dataset import Style, acted_shapes, landmarks, spoken_shapes
from realtalk_core.emotion import LABELS, NEUTRAL
from realtalk_core.types import AudioClip
from realtalk_core.voice import Phoneme, Speech
from realtalk_espeak import EspeakConfig
from realtalk_espeak.voice import EspeakVoice
from realtalk_mel import MelConfig
from realtalk_mel.encoder import MelEncoder

ENCODER = MelConfig()
TRAIN_ACTORS = tuple(range(1000, 1040))
TEST_ACTORS = tuple(range(2000, 2012))
"""Seeds of actors. Nothing of a test actor, a held-out voice or a held-out sentence is in the training data."""
FPS = (25.0, 25.0, 25.0, 25.0, 24.0, 30.0)


@dataclass(frozen=True)
class Take:
    """One stretch of speech by one actor.

    Attributes:
        speech: Sound and phonemes.
        heard: Features of the sound as recorded: clean first, then through a random room and microphone; `V T W D`.
        shapes: Blendshapes of the mouth, `T 52`.
        points: Landmarks, `T 478 3`, cm.
        neutral: The actor at rest, `478 3`.
        closed: Frames at the middle of each p, b and m.
        fps: Frames per second.
        actor: Seed of the actor.
        style: How the actor articulates.
    """

    speech: Speech
    heard: Tensor
    shapes: np.ndarray
    points: Tensor
    neutral: Tensor
    closed: tuple[int, ...]
    fps: float
    actor: int
    style: Style


def spoken(rng: np.random.Generator, sentences: Sequence[tuple[str, str]], variants: Sequence[str]) -> Speech:
    """Sentences in one random voice, with pauses between."""
    variant, tract = str(rng.choice(variants)), float(rng.choice([1.0, rng.uniform(0.88, 1.14)]))
    pace, pitch, lively = int(rng.integers(115, 215)), int(rng.integers(15, 85)), int(rng.integers(10, 95))
    sounds, phonemes, now = [], [], 0.0
    rate = 22050

    def pause(seconds: float) -> None:
        nonlocal now
        sounds.append(np.zeros(round(seconds * rate), np.float32))
        after = now + len(sounds[-1]) / rate
        phonemes.append(Phoneme("", now, after))
        now = after

    for text, language in sentences:
        pause(rng.uniform(0.1, 0.9))
        settings = EspeakConfig(voice=language + variant, words_per_minute=pace, pitch=pitch, pitch_range=lively)
        said = EspeakVoice(settings).speak(text)
        rate = said.clip.sample_rate
        factor = round(tract * 100) / 100
        sounds.append(slower(said.clip.samples.numpy(), factor))
        length = len(sounds[-1]) / rate
        phonemes += [
            Phoneme(p.ipa, now + min(p.start * factor, length), now + min(p.end * factor, length))
            for p in said.phonemes
        ]
        now += length
    pause(rng.uniform(0.2, 0.7))
    return Speech(AudioClip(torch.from_numpy(np.concatenate(sounds)), rate), tuple(phonemes))


def takes(count: int, seed: int, *, held_out: bool = False, versions: int = 2) -> Iterator[Take]:
    """Random takes; the same seed gives the same ones. `versions` says how often each is heard; 0 leaves sound out."""
    encoder = MelEncoder(ENCODER)
    seeds = TEST_ACTORS if held_out else TRAIN_ACTORS
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        who = seeds[number % len(seeds)]
        actor = performer(who)
        neutral = landmarks(actor, np.zeros((1, 52)), 25.0).points[0]
        style = Style.drawn(np.random.default_rng([seed, 77, who]))
        if held_out:
            texts = [(str(t), str(rng.choice(corpus.ENGLISH_VOICES))) for t in rng.choice(corpus.HELD_OUT, 2, False)]
        else:
            texts = [corpus.sentence(rng) for _ in range(2)]
        speech = spoken(rng, texts, corpus.HELD_OUT_VARIANTS if held_out else corpus.VARIANTS)
        fps = 25.0 if held_out else float(rng.choice(FPS))
        frames = speech.clip.frames(fps)
        rate = speech.clip.sample_rate
        heard = [encoder.encode(speech.clip, fps).values for _ in range(min(1, versions))]
        for _ in range(versions - 1):
            rough = recorded(speech.clip.samples.numpy(), rate, rng)
            heard.append(encoder.encode(AudioClip(torch.from_numpy(rough), rate), fps).values)
        shapes = spoken_shapes(speech, frames, fps, style)
        lips = [p for p in speech.phonemes if p.ipa in ("p", "b", "m")]
        closed = tuple(min(frames - 1, int((p.start + p.end) / 2 * fps)) for p in lips)
        yield Take(
            speech,
            torch.stack(heard) if heard else torch.zeros(0),
            shapes,
            landmarks(actor, shapes, fps).points,
            neutral,
            closed,
            fps,
            who,
            style,
        )


@dataclass(frozen=True)
class Feelings:
    """Moments of speech performed neutrally and in an emotion.

    Attributes:
        neutral: The actor at rest, `478 3`, cm.
        plain: Neutral faces, `N 478 3`.
        felt: The same moments in the emotion, `N 478 3`.
        labels: Index of each moment's emotion, `N`.
        amount: Its intensity, `N`.
        actor: Seed of the actor.
    """

    neutral: Tensor
    plain: Tensor
    felt: Tensor
    labels: Tensor
    amount: Tensor
    actor: int


def feelings(take: Take, count: int, seed: int, least: float) -> Feelings:
    """Emotional pairs of a take: random moments, every label in turn, at intensities from `least` to 1."""
    others = [k for k in range(len(LABELS)) if k != NEUTRAL]
    rng = np.random.default_rng([seed, 5, take.actor])
    moments = rng.integers(0, len(take.shapes), count)
    labels = torch.tensor([others[k % len(others)] for k in range(count)])
    amount = torch.from_numpy(rng.uniform(least, 1.0, count)).float()
    weights = np.zeros((count, len(LABELS)))
    weights[np.arange(count), labels.numpy()] = amount.numpy()
    style = replace(take.style, sides=Style.drawn(rng).sides)
    shapes = acted_shapes(take.shapes[moments], weights, style)
    felt = landmarks(performer(take.actor), shapes, take.fps).points
    return Feelings(take.neutral, take.points[moments], felt, labels, amount, take.actor)


@cache
def performer(seed: int) -> Actor:
    """The actor of a seed, made once."""
    return Actor(seed)
