"""From a capture to an avatar: every stage in order, each recorded as it is done."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from realtalk_core import checkpoint
from realtalk_core.atomic import writing
from realtalk_core.avatar import Avatar, known_weights, new_meta, read_meta, tracks_digest, write_meta
from realtalk_core.build import build, load_class
from realtalk_core.capture import Capture
from realtalk_core.config import Config, Selected
from realtalk_core.config.needs import wanted_prosody
from realtalk_core.device import place, resolve
from realtalk_core.encoders import ENCODER, encoder_name, listens, training_command, without_weights
from realtalk_core.errors import UserError
from realtalk_core.footage import store_footage
from realtalk_core.hearing.activity import remark
from realtalk_core.hearing.cache import heard
from realtalk_core.person import Person
from realtalk_core.spec import PIPELINE_STAGES, Stage
from realtalk_core.training.data import TrainingData
from realtalk_core.training.listeners import Before, check_listeners
from realtalk_core.training.loop import LoopOptions, StageFiles, StageTraining
from realtalk_core.training.measure import tools
from realtalk_core.training.observe import notifier
from realtalk_core.training.teachers import with_teachers
from realtalk_core.types import AudioFeatures, concat_features

MIN_SECONDS = 2.0
"""A capture with less of a face than this teaches nothing."""

Progress = Callable[[str, int, int, Mapping[str, float]], None]
"""`progress(what, done, total, metrics)`."""


@dataclass
class Session:
    """One `realtalk train`.

    Attributes:
        capture: What is learnt from.
        folder: The avatar's folder.
        config: The configuration.
        stages: Which stages to train.
        split: Share of the capture to learn from; the rest is held out for measuring.
        seed: Seed of every random choice.
        consent: What is recorded about the person's consent.
        resume: Go on from what is there.
        options: How the loop runs.
        progress: Told how far it is.
        remark: Told what the user should know, such as which weights a stage starts from.
        sets: The `--set` texts that the configuration was made with, for commands that messages recommend.
        seconds: Filled while running: time per step of the work.
    """

    capture: Capture
    folder: Path
    config: Config
    stages: Sequence[Stage] = PIPELINE_STAGES
    split: float = 0.9
    seed: int = 0
    consent: str | None = None
    resume: bool = False
    options: LoopOptions = field(default_factory=LoopOptions)
    progress: Progress = lambda *_: None
    remark: Callable[[str], None] = lambda _: None
    sets: Sequence[str] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self) -> None:
        """Trains.

        Raises:
            TrainingStopped: on Ctrl-C; `--resume` goes on.
            UserError: for captures that nothing can be learnt from, a place that cannot be written to, or stages that
                would be left with an audio encoder that they have not learnt from. The avatar then is what it was.
        """
        check_capture(self.capture, self.split)
        before = Before.of(self.folder)
        heard_by = None if self._learns_to_hear or self._deaf else self._encoder()
        check_listeners(
            before, self.folder, self.config, self.stages, None if heard_by is None else heard_by.name,
            resume=self.resume, again=self._command,
        )  # fmt: skip
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        meta = self._meta()
        try:
            self._run(meta, heard_by)
        except BaseException:
            if before is not None:
                before.restore()
            raise

    def _run(self, meta: dict[str, Any], heard_by: _Encoder | None) -> None:
        train, held_out = split_frames(self.capture, self.split)
        if not self._has_person(meta):
            with self._timed("person"):
                self._store_person(train)
        if self._learns_to_hear:
            with self._timed("audio"):
                meta["stages"]["audio"] = self._train("audio", self._unheard(train, held_out))
            write_meta(self.folder, meta)
            heard_by = self._encoder()
        if heard_by is None:
            data = self._unheard(train, held_out)
        else:
            with self._timed("sound"):
                data = self._data(train, held_out, heard_by)
        for stage in PIPELINE_STAGES:
            if stage in self.stages and not (stage == "audio" and self._learns_to_hear):
                with self._timed(stage):
                    meta["stages"][stage] = self._train(stage, data)
                write_meta(self.folder, meta)

    @property
    def _learns_to_hear(self) -> bool:
        """Whether the audio encoder is trained first."""
        return "audio" in self.stages and trainable(self.config.stages["audio"])

    @property
    def _deaf(self) -> bool:
        """Whether nothing that is trained hears: an emotion stage alone, whose encoder need not even be there.

        Renderers are given features even if they do not ask for them: they are measured by speaking.
        """
        return all(stage == "emotion" and not self._hears(stage) for stage in self.stages)

    def _hears(self, stage: Stage) -> bool:
        chosen = self.config.stages[stage]
        return listens(stage, chosen) or bool(wanted_prosody({stage: chosen}))

    def _command(self, stages: Collection[Stage]) -> str:
        return training_command(self.folder, stages, self.sets, self.capture.path)

    def _meta(self) -> dict[str, Any]:
        """The `avatar.yaml` to write into: new, or the one that is there with the new configuration."""
        if not (self.folder / "avatar.yaml").is_file():
            meta = new_meta(
                self.folder.resolve().name,
                self.capture,
                self.config,
                split=self.split,
                seed=self.seed,
                consent=self.consent,
            )
        else:
            meta = read_meta(self.folder)
            meta["config"] = self.config.to_dict()
            if self.consent:
                meta["consent"] = self.consent
        write_meta(self.folder, meta)
        return meta

    def _has_person(self, meta: Mapping[str, Any]) -> bool:
        """Whether person and films are there already, from this capture."""
        names = ("person.safetensors", "base.mp4", "matte.mp4", "background.png")
        same = meta.get("trained_on", {}).get("tracks_sha256") == tracks_digest(self.capture)
        return same and all((self.folder / name).is_file() for name in names)

    def _store_person(self, train: torch.Tensor) -> None:
        person = Person.from_capture(self.capture, train)
        header = checkpoint.Header("person", "person", parents=(tracks_digest(self.capture),))
        store_footage(self.capture, self.folder, progress=lambda done, total: self.progress("footage", done, total, {}))
        checkpoint.save(self.folder / "person.safetensors", header, person.tensors())

    def _encoder(self) -> _Encoder:
        """The configured encoder, with the avatar's weights if it learns any."""
        chosen = self.config.stages["audio"]
        file = StageFiles(self.folder, "audio").checkpoint
        header, tensors = None, None
        if trainable(chosen) and not file.is_file():
            raise UserError(
                f"the audio encoder {chosen.spec.name!r} has not been trained",
                f"Train it first: {self._command(['audio'])}",
            )
        if hasattr(load_class(chosen.spec), "from_state") and file.is_file():
            header, stored = checkpoint.load(file, chosen.spec)
            tensors = Avatar.widened(header, stored)
        built = place(build(chosen.spec, chosen.config, tensors=tensors), self.options.device)
        return _Encoder(built, encoder_name(chosen.spec.name, chosen.config, known_weights(built, header)))

    def _unheard(self, train: torch.Tensor, held_out: torch.Tensor) -> TrainingData:
        """The capture for what is trained without features: an encoder itself, or a stage that does not hear."""
        chosen = self.config.stages["audio"]
        features = AudioFeatures(torch.zeros(len(self.capture), 1), self.capture.fps)
        name = encoder_name(chosen.spec.name, chosen.config)
        return TrainingData(self.capture, features, train, held_out, self.seed, name)

    def _data(self, train: torch.Tensor, held_out: torch.Tensor, heard_by: _Encoder) -> TrainingData:
        """The capture with its sound as the configured encoder hears it."""
        features = heard(
            self.capture, self.config.stages["audio"], heard_by.built, wanted_prosody(self.config.stages),
            device=_kind(heard_by.built, self.options.device), remark=self.remark,
        )  # fmt: skip
        if features.prosody is not None and features.prosody.detector:
            self.remark(remark(features.prosody.detector))
        fit = fitted(features, len(self.capture))
        return TrainingData(self.capture, fit, train, held_out, self.seed, heard_by.name)

    def _train(self, stage: Stage, data: TrainingData) -> dict[str, Any]:
        """Trains a stage, or only records it if it does not learn; returns its entry in `avatar.yaml`."""
        chosen = self.config.stages[stage]
        spec = chosen.spec
        entry: dict[str, Any] = {"component": spec.name, "plugin": spec.plugin, "version": spec.version}
        if not trainable(chosen):
            return entry
        facts = {ENCODER: data.encoder} if listens(stage, chosen) else {}
        entry |= facts
        files = StageFiles(self.folder, stage)
        data, taught = with_teachers(data, chosen, self.config, self.folder)
        measure, preview = tools(stage, data)
        training = StageTraining(
            spec,
            chosen.config,
            data,
            self._digest(
                taught, "" if stage == "audio" or (stage == "emotion" and not self._hears(stage)) else data.encoder
            ),
            files,
            self.options,
            parents=(tracks_digest(self.capture),),
            notify=notifier(self.config.plugins.manager),
            progress=lambda step, total, metrics: self.progress(stage, step, total, metrics),
            preview=preview,
            measure=measure,
            facts=facts,
        )
        if not self.resume:
            files.state.unlink(missing_ok=True)
        elif training.finished():
            return {**entry, "steps": checkpoint.read_header(files.checkpoint).metrics["total"]}
        component = build(spec, chosen.config, data=data)
        for sentence in getattr(component, "remarks", ()):
            self.remark(sentence)
        header = training.run(component, resume=self.resume)
        return {**entry, "steps": header.metrics["total"]}

    def _digest(self, taught: Sequence[str], encoder: str) -> str:
        """Names everything a stage learns from beside its own parameters; `taught` are the digests of its teachers."""
        audio = self.config.stages["audio"]
        parameters = audio.config.model_dump(mode="json", exclude=set(audio.config.PLACES))
        weights = [encoder] if encoder != without_weights(encoder) else []
        parts = [
            tracks_digest(self.capture), self.split, self.seed, audio.spec.qualified, parameters, *taught, *weights,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def _timed(self, what: str) -> _Timer:
        return _Timer(self.seconds, what)


@dataclass(frozen=True)
class _Encoder:
    """The encoder, and its full name."""

    built: Any
    name: str


def _kind(encoder: Any, device: str) -> str:
    """The kind of device that it works on, asked to work on this one."""
    there = resolve(device).type
    return there if there in getattr(encoder, "devices", ("cpu",)) else "cpu"


class _Timer:
    def __init__(self, into: dict[str, float], what: str) -> None:
        self._into, self._what, self._began = into, what, 0.0

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._into[self._what] = self._into.get(self._what, 0.0) + time.monotonic() - self._began


def trainable(chosen: Selected) -> bool:
    """Whether a component learns from a capture."""
    return hasattr(load_class(chosen.spec), "for_training")


def split_frames(capture: Capture, split: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Valid frames of the first part of the clip, and those after it."""
    train = capture.training_frames(split)
    everything = capture.training_frames()
    end = max(1, round(len(capture) * split))
    return train, everything[everything >= end]


def fitted(features: AudioFeatures, frames: int) -> AudioFeatures:
    """Exactly one row per frame: sound and picture of a capture may differ by a frame at the end.

    Raises:
        UserError: if they differ by more than a second.
    """
    missing = frames - len(features)
    if abs(missing) > features.fps:
        sound, pictures = len(features) / features.fps, frames / features.fps
        raise UserError(
            f"the capture's sound lasts {sound:.1f} s, its pictures {pictures:.1f} s",
            "Make the capture again from a video whose sound is complete.",
        )
    if missing > 0:
        return concat_features([features, *[features[-1:]] * missing])
    return features[:frames]


def check_capture(capture: Capture, split: float) -> None:
    """Refuses captures that nothing can be learnt from.

    Raises:
        UserError: naming what is missing and what to do.
    """
    if not 0 < split <= 1:
        raise UserError(f"--split {split:g} is outside 0 to 1", "Write the share to learn from, such as 0.8.")
    if not (capture.path / "audio.wav").is_file():
        raise UserError(
            f"{capture.path} has no sound (audio.wav), and speech is what is learnt from",
            "Make the capture from a video with sound: realtalk capture VIDEO -o DIR",
        )
    seconds = capture.training_frames(split).numel() / capture.fps
    if seconds < MIN_SECONDS:
        raise UserError(
            f"{capture.path} has {seconds:.1f} s of a face to learn from; at least {MIN_SECONDS:g} s are needed",
            "Film for one to five minutes: one person, facing the camera, talking.",
        )
    if float(capture.audio.samples.abs().max()) < 1e-3:
        raise UserError(
            f"{capture.path}: its sound is silent, and speech is what is learnt from",
            "Check the microphone, and make the capture again from a video with speech.",
        )
