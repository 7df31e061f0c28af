"""The component under test: built as the pipeline builds it, trained for a few steps, run on a standard input.

The input is a synthetic capture (`realtalk_core.testing.synthetic`), so checks need neither people nor downloads.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from realtalk_core.capture import Capture
from realtalk_core.config.needs import PROSODY
from realtalk_core.emotion import parse_emotion
from realtalk_core.errors import MissingDependencyError
from realtalk_core.hearing.prosody import prosody
from realtalk_core.landmarks import LEFT_BROW, REGIONS68, RIGHT_BROW
from realtalk_core.plugins import Plugins
from realtalk_core.spec import ComponentConfig, ComponentSpec
from realtalk_core.stages import Stateful, Trainable
from realtalk_core.testing.checks import CheckSkipped
from realtalk_core.testing.synthetic import make_capture, synthetic_clip
from realtalk_core.testing.tiny import scratch, tiny_config_of
from realtalk_core.training.data import TrainingData
from realtalk_core.types import AudioClip, AudioFeatures, CameraTrack, Drive, EmotionTrack, Face, LandmarkTrack
from realtalk_core.voice import Speech

FPS = 25.0
TRAIN_STEPS = 4
"""Steps before outputs are looked at; the rules hold at every step of training."""
LONG_SECONDS = 10.0
"""Long enough that a window with its context is shorter than the whole."""
FRAMES = 4
"""Frames that a renderer draws per check."""

LIFT_CM = 0.4
"""How far the kit's own emotions lift a landmark at full valence or arousal."""

TEXTS = ("Maybe.", "Maybe Bob will move the big piano before the people come in.")

Pictures = list[np.ndarray[Any, np.dtype[np.uint8]]]


@cache
def tiny_capture(size: int = 64, seconds: float = 3.0) -> Capture:
    """The synthetic capture that components learn from, made once per process."""
    return make_capture(scratch("capture") / "capture", seconds=seconds, size=size, seed=1)


def band_energies(clip: AudioClip, fps: float, bands: int = 16) -> AudioFeatures:
    """The kit's own hearing, for when no audio encoder fits: log energies of `bands` bands around each frame."""
    frames, width = clip.frames(fps), round(clip.sample_rate / fps)
    samples = torch.nn.functional.pad(clip.samples, (0, max(0, frames * width - clip.samples.numel())))
    power = torch.fft.rfft(samples[: frames * width].reshape(frames, width) * torch.hann_window(width)).abs().square()
    edges = torch.linspace(0, power.shape[1], bands + 1).round().int().tolist()
    energy = torch.stack([power[:, a:b].mean(1) for a, b in pairwise(edges)], 1)
    return AudioFeatures(torch.log10(energy + 1e-6), fps)


class Moods:
    """The kit's own emotion stage: valence lifts the corners of the mouth, arousal the brows."""

    def deform(self, landmarks: LandmarkTrack, emotion: EmotionTrack) -> LandmarkTrack:
        """See `EmotionDeformer`."""
        dense = landmarks.points.shape[1] == 478
        brows = RIGHT_BROW + LEFT_BROW if dense else REGIONS68["right_brow"] + REGIONS68["left_brow"]
        corners = (61, 291) if dense else (48, 54)
        points = landmarks.points.clone()
        for column, places in ((0, corners), (1, brows)):
            points[:, list(places), 1] += LIFT_CM * emotion.va[:, column, None]
        return LandmarkTrack(points, landmarks.scheme, landmarks.fps)


def seed_globally(seed: int) -> None:
    """Seeds the global generators, as the training loop does before each step."""
    np.random.seed(seed)  # components may use the legacy generator
    torch.manual_seed(seed)


@dataclass(frozen=True)
class StepsTaken:
    """What happened while training: the loss of each step, and which parameters ever had a gradient."""

    losses: list[float]
    reached: set[int]


class Subject:
    """One component with everything a check may ask of it. Costly parts are made once, when first asked for.

    Attributes:
        spec: Its declaration.
        plugins: What was discovered; other stages' components are taken from it where one is needed.
        config: `spec.config.tiny()`, with tiny random weights in place of any from outside (`tiny.tiny_config_of`).
    """

    def __init__(self, spec: ComponentSpec, plugins: Plugins) -> None:
        self.spec, self.plugins = spec, plugins

    @cached_property
    def config(self) -> ComponentConfig:
        """The small configuration everything is built with; skips where an optional package is absent."""
        with _absent_is_skipped():
            return tiny_config_of(self.spec, scratch(self.spec.name))

    @cached_property
    def cls(self) -> type[Any]:
        """The class; skips where an optional package or model file is absent."""
        from realtalk_core.build import load_class

        with _absent_is_skipped():
            return load_class(self.spec)

    # ---- what it learns from ----------------------------------------------------------------------------------------

    @property
    def capture(self) -> Capture:
        """The synthetic capture."""
        return tiny_capture()

    @cached_property
    def listen(self) -> Callable[[AudioClip, float], AudioFeatures]:
        """How sound is heard: by an installed encoder that gives what the component needs, else by the kit itself.

        With the prosody that it asks for.
        """
        encode, asked = self._encode, PROSODY & self.spec.tokens_needed(self.config)
        if not asked:
            return encode
        return lambda clip, fps: replace(encode(clip, fps), prosody=prosody(clip, fps, asked))

    @property
    def _encode(self) -> Callable[[AudioClip, float], AudioFeatures]:
        if self.spec.stage == "audio":
            return band_energies
        needed = {t for t in self.spec.tokens_needed(self.config) if t.startswith("audio:")}
        for spec in sorted(self.plugins.of("audio"), key=lambda s: s.name != "mel"):
            if needed <= spec.tokens_given(spec.config.tiny()):
                subject = Subject(spec, self.plugins)
                encode: Callable[[AudioClip, float], AudioFeatures] = subject.cls(subject.config).encode
                return encode
        if needed:
            raise CheckSkipped(f"no installed audio encoder gives {', '.join(sorted(needed))}")
        return band_energies

    @cached_property
    def data(self) -> TrainingData:
        """The capture as a training run sees it: the first 60 frames to learn from, the rest held out.

        A component that learns from an emotion stage gets the kit's own, one that learns from a generator of faces the
        installed one that it names.
        """
        features = self.listen(self.capture.audio, FPS)
        data = TrainingData(self.capture, features, torch.arange(60), torch.arange(60, len(self.capture)), seed=3)
        for teacher in getattr(self.cls, "learns_from", lambda _: ())(self.config):
            kind, _, name = teacher.partition(":")
            if kind == "emotion":
                data = replace(data, deformer=Moods())
            else:
                spec = next((s for s in self.plugins.of("face_generator") if s.name == name), None)
                if spec is None:
                    raise CheckSkipped(f"it learns from the generator of faces {name!r}, which is not installed")
                data = replace(data, faces=Subject(spec, self.plugins).cls(spec.config.tiny()))
        return data

    # ---- building and training --------------------------------------------------------------------------------------

    def fresh(self) -> Any:
        """A new component, not yet trained."""
        from realtalk_core.build import build

        with _absent_is_skipped():
            data = self.data if hasattr(self.cls, "for_training") else None
            return build(self.spec, self.config, data=data)

    def rebuilt(self, config: ComponentConfig, state: Mapping[str, Tensor]) -> Any:
        """The component from its state, as a trained avatar builds it."""
        from realtalk_core.build import build

        return build(self.spec, config, tensors=state)

    def train(self, component: Any, first: int, count: int, batch: Any = None) -> StepsTaken:
        """Takes steps as the training loop does.

        Args:
            component: Changed in place.
            first: The step to begin at.
            count: How many.
            batch: Learn from this one batch at every step instead of asking for each step's own.
        """
        optimizers, losses, reached = component.optimizers(), [], set()
        parameters = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
        for step in range(first, first + count):
            seed_globally(step)
            given = component.batch(self.data, step) if batch is None else batch
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss = component.training_step(given, step)["loss"]
            if not getattr(component, "manual_backward", False):
                loss.backward()
            losses.append(float(loss.detach()))
            reached |= {id(p) for p in parameters if p.grad is not None and bool(p.grad.count_nonzero())}
            if clip := getattr(component, "gradient_clip", 0.0):
                torch.nn.utils.clip_grad_norm_(parameters, clip)
            for optimizer in optimizers:
                optimizer.step()
            component.after_step(step)
        return StepsTaken(losses, reached)

    @cached_property
    def _built(self) -> Any:
        component = self.fresh()
        if isinstance(component, Trainable):
            self.train(component, 0, TRAIN_STEPS)
        return component

    @cached_property
    def _build_error(self) -> Exception | None:
        try:
            self._built  # noqa: B018
        except CheckSkipped:
            raise
        except Exception as error:
            return error
        return None

    def built(self) -> Any:
        """The component after a few steps, whatever goes wrong."""
        if self._build_error is not None:
            raise self._build_error
        return self._built

    @property
    def component(self) -> Any:
        """The component as it is used: after a few training steps, from its state if it has one."""
        if self._build_error is not None:
            raise CheckSkipped("it could not be built (see build/succeeds)")
        return self._built

    def again(self, **changes: Any) -> Any:
        """A second, independent component of the same weights, with parameters changed if asked."""
        config = type(self.config).model_validate({**self.config.model_dump(), **changes})
        component = self.component
        if isinstance(component, Stateful):
            return self.rebuilt(config, {name: tensor.clone() for name, tensor in component.state().items()})
        return self.cls(config)

    # ---- running ----------------------------------------------------------------------------------------------------

    @property
    def scheme(self) -> str:
        """The landmark scheme the component takes: 68 points where it asks for them alone, else dense."""
        needs = self.spec.tokens_needed(self.config)
        return "ibug68" if "landmarks:68" in needs and "landmarks:478" not in needs else "mediapipe478"

    @cached_property
    def clip(self) -> AudioClip:
        """Two seconds of synthetic speech."""
        return synthetic_clip(2.0, 16000, seed=5)

    @cached_property
    def features(self) -> AudioFeatures:
        """The clip as the component hears it."""
        return self.listen(self.clip, FPS)

    @cached_property
    def landmarks(self) -> LandmarkTrack:
        """The capture's landmarks in the component's scheme."""
        return self.capture.landmarks.to_scheme(self.scheme)  # type: ignore[arg-type]

    def emotion(self, text: str, frames: int) -> EmotionTrack:
        """An emotion as `--emotion` writes it."""
        return parse_emotion(text).track(frames, FPS)

    @cached_property
    def drive(self) -> Drive:
        """A few frames in which every kind of input is present: emotional landmarks, and the speech beneath them."""
        span = slice(10, 10 + FRAMES)
        features = self.data.features[span]
        emotion = self.emotion("happy:0.5", FRAMES)
        speech = Drive(self.landmarks[span], features, blendshapes=self.capture.blendshapes[span])
        emotional = Moods().deform(speech.landmarks, emotion)
        return Drive(emotional, features, emotion, speech.blendshapes, neutral=speech)

    @cached_property
    def cameras(self) -> CameraTrack:
        """The cameras of the drive's frames."""
        return self.capture.cameras[10 : 10 + FRAMES]

    @cached_property
    def pictures(self) -> Pictures:
        """Pictures with one face each, for trackers."""
        capture = tiny_capture(256, 0.4)
        return [capture.frame(k) for k in range(len(capture))]

    @property
    def texts(self) -> tuple[str, str]:
        """A short text and a longer one that a voice can speak: its attribute `sample_texts`, else English ones."""
        short, long = getattr(self.component, "sample_texts", TEXTS)
        return str(short), str(long)

    def input(self) -> tuple[Any, ...]:
        """The standard input of the component's stage, always the same objects."""
        if self.spec.stage == "audio":
            return self.clip, FPS
        if self.spec.stage == "landmarks":
            return (self.features,)
        if self.spec.stage == "emotion":
            return self.landmarks, self.emotion("neutral@0 happy:0.8@1 sad@2", len(self.landmarks))
        if self.spec.stage == "renderer":
            return self.drive, self.cameras
        if self.spec.stage == "tracker":
            return self.pictures, FPS
        if self.spec.stage == "voice":
            return (self.texts[1],)
        raise CheckSkipped(f"the kit runs no {self.spec.stage} components yet")

    def run(self, component: Any) -> dict[str, Tensor]:
        """The component's output on the standard input, as named tensors."""
        given = self.input()
        if self.spec.stage == "audio":
            return {"values": component.encode(*given).values}
        if self.spec.stage == "landmarks":
            return {"points": component.generate(*given).points}
        if self.spec.stage == "emotion":
            return {"points": component.deform(*given).points}
        if self.spec.stage == "renderer":
            return self.render(component, *given)
        if self.spec.stage == "voice":
            return speech_as_tensors(component.speak(*given))
        return faces_as_tensors(component.track(iter(given[0]), given[1]))

    def render(self, component: Any, drive: Drive, cameras: CameraTrack) -> dict[str, Tensor]:
        """All frames of a renderer joined."""
        batches = list(component.render(drive, cameras))
        joined = {"rgb": torch.cat([b.rgb for b in batches])}
        if batches[0].alpha is not None:
            joined["alpha"] = torch.cat([b.alpha for b in batches])
        return joined

    @cached_property
    def _output(self) -> dict[str, Tensor] | Exception:
        try:
            return self.run(self.component)
        except (CheckSkipped, MissingDependencyError) as error:
            raise CheckSkipped(str(error)) from error
        except Exception as error:
            return error

    @property
    def output(self) -> dict[str, Tensor]:
        """What the component gives on the standard input."""
        if isinstance(self._output, Exception):
            raise CheckSkipped("it fails on the standard input (see run/succeeds)")
        return self._output

    def needs_output(self) -> None:
        """Skips the check if the component cannot be built or run at all: other checks say so."""
        self.output  # noqa: B018


def accepts_start(method: Callable[..., Any]) -> bool:
    """Whether a method takes the absolute index of its first frame."""
    return "start" in inspect.signature(method).parameters


def faces_as_tensors(found: Any) -> dict[str, Tensor]:
    """A tracker's answer as tensors: how many faces per picture, and all their points."""
    per_picture: list[list[Face]] = [list(faces) for faces in found]
    points = [face.points.flatten() for faces in per_picture for face in faces]
    counts = torch.tensor([len(faces) for faces in per_picture])
    return {"counts": counts, "points": torch.cat(points) if points else torch.zeros(0)}


def speech_as_tensors(speech: Speech) -> dict[str, Tensor]:
    """A voice's answer as tensors: the sound, and when each phoneme ends."""
    ends = torch.tensor([phoneme.end for phoneme in speech.phonemes])
    return {"samples": speech.clip.samples, "ends": ends, "sample_rate": torch.tensor([speech.clip.sample_rate])}


class _absent_is_skipped:  # noqa: N801  # reads as a statement
    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, MissingDependencyError):
            raise CheckSkipped(str(error)) from error
