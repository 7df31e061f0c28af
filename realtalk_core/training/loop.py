"""The one training loop, for every trainable component, on Lightning Fabric.

Step k's batch and random numbers depend on the data, the parameters and k alone, and everything else a component
carries from step to step is saved; so training stopped at any step and resumed ends where it would have ended.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from realtalk_core import checkpoint
from realtalk_core.device import place, resolve
from realtalk_core.errors import RealTalkError, UserError
from realtalk_core.spec import ComponentConfig, ComponentSpec
from realtalk_core.stages import Stateful, Trainable
from realtalk_core.training.data import TrainingData
from realtalk_core.training.log import MetricsLog
from realtalk_core.training.state import load_training, save_training, seed_step

Notify = Callable[..., None]
"""`notify(hook_name, **arguments)`; see `realtalk_core.training.observe`."""


class TrainingStopped(RealTalkError):  # noqa: N818  - it is no error
    """Ctrl-C during training: everything is saved, and the same command with `--resume` goes on."""

    def __init__(self, stage: str, step: int, total: int) -> None:
        super().__init__(f"{stage}: stopped after step {step} of {total}; all of it is saved")


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """How the loop runs; nothing here changes what is learnt but `precision`.

    Attributes:
        precision: Lightning Fabric's precision, such as `32-true` or `bf16-mixed`.
        device: Where to train: `auto`, `cpu`, `cuda` or `cuda:NUMBER`; components that cannot stay on the CPU.
        checkpoint_seconds: Time between saves.
        log_every: Steps between lines of `metrics.jsonl`.
        previews: How many preview pictures over a whole training; 0 for none.
    """

    precision: str = "32-true"
    device: str = "auto"
    checkpoint_seconds: float = 60.0
    log_every: int = 10
    previews: int = 4


@dataclass(frozen=True, slots=True)
class StageFiles:
    """Where one stage of an avatar under training keeps its files.

    Attributes:
        avatar: The avatar's folder.
        stage: The stage.
    """

    avatar: Path
    stage: str

    @property
    def checkpoint(self) -> Path:
        """What synthesis loads."""
        return self.avatar / f"{self.stage}.safetensors"

    @property
    def work(self) -> Path:
        """State, logs and previews: only needed to resume and to look at."""
        return self.avatar / "training" / self.stage

    @property
    def state(self) -> Path:
        """What training resumes from."""
        return self.work / "state.safetensors"


@dataclass
class StageTraining:
    """One stage's training.

    Attributes:
        spec: The component.
        config: Its parameters.
        data: What it learns from.
        data_digest: Names capture, split and seed; resuming on other data is refused.
        files: Where everything goes.
        options: How the loop runs.
        parents: Digests of the files this one builds on.
        notify: Calls the plugins' training hooks.
        progress: Called after each step with (step, total, metrics).
        preview: Makes a preview picture from an inference copy of the component; None for none.
        measure: Held-out measures of the finished component.
        facts: What else its checkpoints say among their metrics, such as the audio encoder they belong to.
    """

    spec: ComponentSpec
    config: ComponentConfig
    data: TrainingData
    data_digest: str
    files: StageFiles
    options: LoopOptions = field(default_factory=LoopOptions)
    parents: tuple[str, ...] = ()
    notify: Notify = lambda *_, **__: None
    progress: Callable[[int, int, Mapping[str, float]], None] = lambda *_: None
    preview: Callable[[Any, Path], None] | None = None
    measure: Callable[[Any], Mapping[str, float]] = lambda _: {}
    facts: Mapping[str, str] = field(default_factory=dict)

    def run(self, component: Trainable, *, resume: bool) -> checkpoint.Header:
        """Trains to the component's `total_steps`.

        Args:
            component: Fresh from `for_training`.
            resume: Go on from the saved state if there is one.

        Returns:
            The header of the finished checkpoint.

        Raises:
            TrainingStopped: on Ctrl-C, after saving.
            UserError: if the loss is no longer finite, or the saved state does not fit.
        """
        place(component, self.options.device)
        fabric = _fabric(component, self.options)
        raw = list(component.optimizers())
        optimizers = [fabric.setup_optimizers(optimizer) for optimizer in raw]
        header = self._header(seconds=0.0, step=0, total=component.total_steps)
        step, seconds = 0, 0.0
        if resume and self.files.state.is_file():
            step, metrics = load_training(self.files.state, header, component, raw)
            seconds = float(metrics.get("seconds", 0.0))
        total = component.total_steps
        self.files.work.mkdir(parents=True, exist_ok=True)
        log = MetricsLog(self.files.work, resume_at=step)
        clock = _Clock(seconds)
        show = {round(total * (k + 1) / self.options.previews) for k in range(self.options.previews)}
        saved_at = time.monotonic()
        with _interruptible() as stop_asked:
            while step < total:
                metrics = self._step(fabric, component, optimizers, step)
                step += 1
                if step % self.options.log_every == 0 or step == total:
                    log.write(step, clock.seconds, metrics)
                self.progress(step, total, metrics)
                self.notify(
                    "realtalk_training_step", stage=self.spec.stage, step=step, total=total, metrics=dict(metrics)
                )
                if step in show and self.preview is not None:
                    self.preview(self._for_inference(component), self.files.work / f"preview_{step:06d}.png")
                if stop_asked.is_set() or time.monotonic() - saved_at > self.options.checkpoint_seconds:
                    self._save(component, raw, clock.seconds, step, log)
                    saved_at = time.monotonic()
                if stop_asked.is_set() and step < total:
                    raise TrainingStopped(self.spec.stage, step, total)
        finished = self._save(component, raw, clock.seconds, step, log, self.measure(self._for_inference(component)))
        log.plot(f"{self.spec.stage}: {self.spec.name}")
        self.notify("realtalk_stage_finished", stage=self.spec.stage, component=self.spec.name, seconds=clock.seconds)
        return finished

    def finished(self) -> bool:
        """Whether the checkpoint that is there is the end of this very training."""
        if not self.files.checkpoint.is_file():
            return False
        header = checkpoint.read_header(self.files.checkpoint)
        metrics = header.metrics
        return _essence(header) == _essence(self._header()) and metrics.get("step", 0) == metrics.get("total")

    def _step(self, fabric: Fabric, component: Trainable, optimizers: Sequence[Any], step: int) -> dict[str, float]:
        seed_step(self.data.seed, step)
        batch = component.batch(self.data, step)
        if fabric.device.type != "cpu":
            batch = fabric.to_device(batch)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        with fabric.autocast():
            losses = component.training_step(batch, step)
        metrics = {name: float(value.detach()) for name, value in losses.items()}
        if not math.isfinite(metrics["loss"]):
            parts = ", ".join(f"{name} {value:g}" for name, value in metrics.items())
            raise UserError(
                f"{self.spec.stage} {self.spec.name!r}: the loss is no longer finite at step {step + 1} ({parts})",
                "Nothing after the last save is kept. Lower its learning rate, or check the capture's report.md.",
            )
        if not getattr(component, "manual_backward", False):
            fabric.backward(losses["loss"])
        limit = float(getattr(component, "gradient_clip", 0.0))
        for optimizer in optimizers:
            if limit > 0:
                torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], limit)
            optimizer.step()
        component.after_step(step)
        return metrics

    def _save(
        self,
        component: Trainable,
        optimizers: Sequence[torch.optim.Optimizer],
        seconds: float,
        step: int,
        log: MetricsLog,
        measured: Mapping[str, float] | None = None,
    ) -> checkpoint.Header:
        """Saves state and checkpoint; the state first, so that a checkpoint never claims more than can be resumed."""
        header = self._header(seconds=round(seconds, 2), step=step, total=component.total_steps)
        save_training(self.files.state, header, component, optimizers, step)
        header = replace(header, metrics={**header.metrics, **log.last, **(measured or {})})
        assert isinstance(component, Stateful)
        written = checkpoint.save(self.files.checkpoint, header, component.state())
        self.notify("realtalk_checkpoint_saved", path=self.files.checkpoint, header=written)
        log.plot(f"{self.spec.stage}: {self.spec.name}")
        return written

    def _header(self, **metrics: float) -> checkpoint.Header:
        return checkpoint.Header.of(
            self.spec,
            self.config.model_dump(mode="json"),
            metrics={**metrics, **self.facts, "data": self.data_digest},
            parents=self.parents,
        )

    def _for_inference(self, component: Trainable) -> Any:
        """A copy as synthesis will load it: what is shown and measured is what will be used."""
        assert isinstance(component, Stateful)
        tensors: dict[str, Tensor] = {name: t.detach().clone() for name, t in component.state().items()}
        return place(type(component).from_state(self.config, tensors), self.options.device)


def _fabric(component: Trainable, options: LoopOptions) -> Fabric:
    """Fabric on the device that the component is on."""
    device = resolve(options.device)
    if device.type == "cpu" or device.type not in getattr(component, "devices", ("cpu",)):
        return Fabric(accelerator="cpu", devices=1, precision=options.precision)
    return Fabric(accelerator=device.type, devices=[device.index or 0], precision=options.precision)


def _essence(header: checkpoint.Header) -> tuple[object, ...]:
    """What must agree for two trainings to be the same."""
    return header.stage, header.component, header.version, dict(header.config), header.metrics.get("data")


class _Clock:
    """Seconds of training so far, over all its runs."""

    def __init__(self, before: float) -> None:
        self._began = time.monotonic() - before

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Ctrl-C sets the event instead of breaking into the middle of a step; a second Ctrl-C breaks."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def ask(_signal: int, _frame: FrameType | None) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
