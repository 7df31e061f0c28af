"""The `ave` audio encoder: numbers for each video frame that know which mouth belongs to a sound."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize, smooth_l1_loss

from realtalk_ave.lessons import APART_SECONDS, SHAPES, Lessons
from realtalk_ave.networks import PICTURES, Listener, Painter, Watcher
from realtalk_ave.published import read_weights
from realtalk_ave.sound import RATE, Array
from realtalk_ave.stream import AveStream
from realtalk_core import checkpoint
from realtalk_core.errors import UserError
from realtalk_core.hearing.front import Front
from realtalk_core.hearing.level import gains_at
from realtalk_core.hearing.stream import encode_whole
from realtalk_core.types import AudioClip, AudioFeatures

if TYPE_CHECKING:
    from realtalk_ave import AveConfig
    from realtalk_core.training.data import TrainingData

KNOWN_RATE = 0.1
"""Learning rate of a listener that begins with weights, relative to that of the rest."""
SURE = 1e-4
"""Least probability that the discriminator gives either answer."""


class AveEncoder:
    """Sound to embeddings `(T, D)`, none of whose numbers is negative.

    Attributes:
        total_steps: Training steps.
        gradient_clip: Largest norm of the gradient.
        remarks: What the user should know before training.
    """

    gradient_clip = 1.0

    def __init__(self, config: AveConfig, listener: Listener) -> None:
        self.config, self.total_steps = config, config.steps
        self.listener = listener.eval()
        self.remarks: tuple[str, ...] = ()

    @classmethod
    def from_state(cls, config: AveConfig, tensors: Mapping[str, Tensor]) -> Self:
        """A trained encoder.

        Raises:
            UserError: if the tensors are not those of a listener.
        """
        try:
            return cls(config, Listener.of(_part(tensors, "listener.")))
        except ValueError as error:
            raise UserError(
                f"audio 'ave': these are not its weights: {error}",
                "Train it again: realtalk train CAPTURE -o AVATAR --stage audio",
            ) from error

    def state(self) -> dict[str, Tensor]:
        """The listener's weights; what it was taught by is not needed to listen."""
        return _named("listener", self.listener)

    @property
    def weights_digest(self) -> str:
        """sha256 of the weights, hexadecimal: features of equal digests mean the same."""
        return checkpoint.content(self.state())

    # ---- inference --------------------------------------------------------------------------------------------------

    def encode(self, clip: AudioClip, fps: float) -> AudioFeatures:
        """Encodes a clip of any sample rate; `(T, D)`."""
        return encode_whole(self.stream(clip.sample_rate, fps), clip, fps)

    def stream(self, sample_rate: int, fps: float) -> AveStream:
        """See `StreamingEncoder`."""
        self.listener.eval()
        return AveStream(self.listener, sample_rate, fps, self.config.level_seconds)

    # ---- training ---------------------------------------------------------------------------------------------------

    @classmethod
    def for_training(cls, config: AveConfig, data: TrainingData) -> Self:
        """An encoder that begins with the configuration's weights or random ones, and its teachers.

        Raises:
            UserError: if the weights cannot be read, or the capture shows too little.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(data.seed)
            fresh = config.weights is None
            listener = Listener(config.width, config.size) if config.weights is None else read_weights(config.weights)
            made = cls(config, listener)
            made._watcher, made._painter = Watcher(TEACHERS, listener.size), Painter(TEACHERS // 2, listener.size)
            made._teller = nn.Linear(listener.size, SHAPES)
        made._lessons = lessons_of(config, data, data.train) if config.steps else None
        made.remarks = (_remark(config, listener.size),)
        made._optimizer = torch.optim.AdamW(
            [
                {"params": listener.parameters(), "share": 1.0 if fresh else KNOWN_RATE},
                {"params": [p for net in made._teachers for p in net.parameters()], "share": 1.0},
            ],
            weight_decay=config.weight_decay,
        )
        made._set_rate(0)
        return made

    _lessons: Lessons | None
    _watcher: Watcher
    _painter: Painter
    _teller: nn.Linear
    _optimizer: torch.optim.Optimizer

    @property
    def _teachers(self) -> tuple[nn.Module, ...]:
        return self._watcher, self._painter, self._teller

    def batch(self, data: TrainingData, step: int) -> dict[str, Tensor]:
        """Moments: the sound and the pictures around each, and a reference picture of another moment."""
        lessons = self._lessons if self._lessons is not None else lessons_of(self.config, data, data.train)
        random = data.generator(step, salt=61)
        moments = lessons.draw(self.config.batch, random)
        strength = self.config.augment
        stretch = 1 + 0.1 * strength * torch.randn(len(moments), generator=random).clamp(-1.5, 1.5)
        others = lessons.moments[torch.randint(len(lessons.moments), (len(moments),), generator=random)]
        middle = PICTURES // 2
        return {
            "sound": lessons.heard(moments, stretch.numpy(), random if strength else None, strength),
            "pictures": lessons.seen(moments, random if strength else None),
            "mouth": lessons.seen(moments)[:, middle],
            "looks": lessons.seen(others)[:, middle],
            "lips": lessons.lips[moments],
            "seconds": (moments.double() / lessons.fps).float(),
        }

    def training_step(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:
        """Whether each sound of the batch goes with each picture of it, and how well a mouth is drawn from the sound.

        The cosine of two embeddings, none of whose numbers is negative, is the probability that they are in sync. Every
        sound meets every picture: its own is in sync, those at least 0.2 s away are not, and both kinds weigh the same.
        (The published discriminator meets one pair at a time, in sync or not, half and half.) Beside that a linear map
        of the embedding must tell the tracked shape of the lips, which a minute of film teaches sooner than pictures.
        """
        for part in (self.listener, *self._teachers):
            part.train()
        heard, seen = self.listener(batch["sound"]), self._watcher(batch["pictures"])
        cosine = normalize(heard, dim=1) @ normalize(seen, dim=1).T
        apart = (batch["seconds"][:, None] - batch["seconds"]).abs() >= APART_SECONDS - 1e-4
        right = cosine.diagonal().clamp_min(SURE).log().mean()
        wrong = (1 - cosine)[apart].clamp_min(SURE).log().mean()
        sync = -(right + wrong) / 2
        drawn = (self._painter(heard, batch["looks"]) - batch["mouth"]).abs().mean()
        lips = smooth_l1_loss(self._teller(heard), batch["lips"])
        loss = self.config.sync * sync + self.config.reconstruct * drawn + self.config.lips * lips
        return {"loss": loss, "sync": sync.detach(), "drawn": drawn.detach(), "lips": lips.detach()}

    def optimizers(self) -> Sequence[torch.optim.Optimizer]:
        """AdamW over all weights."""
        return [self._optimizer]

    def after_step(self, step: int) -> None:
        """Moves the learning rate."""
        self._set_rate(step + 1)

    def _set_rate(self, step: int) -> None:
        total = max(1, self.total_steps)
        warm = min(1.0, (step + 1) / max(1, min(30, total // 10)))
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))
        for group in self._optimizer.param_groups:
            group["lr"] = self.config.learning_rate * group["share"] * warm * (0.02 + 0.98 * cosine)

    def training_state(self) -> dict[str, Tensor]:
        """Weights and batch statistics of all networks."""
        return {
            **self.state(),
            **_named("watcher", self._watcher),
            **_named("painter", self._painter),
            **_named("teller", self._teller),
        }

    def load_training_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts `training_state` back."""
        self.listener.load_state_dict(_part(tensors, "listener."))
        self._watcher.load_state_dict(_part(tensors, "watcher."))
        self._painter.load_state_dict(_part(tensors, "painter."))
        self._teller.load_state_dict(_part(tensors, "teller."))

    @torch.no_grad()
    def likeness(self, lessons: Lessons, moments: Tensor) -> Float[Tensor, "B B"]:
        """Cosines between the sounds (rows) and the pictures (columns) around moments, as far as they are learnt."""
        self.listener.eval()
        self._watcher.eval()
        heard = torch.cat([self.listener(lessons.heard(some)) for some in torch.split(moments, 64)])
        seen = torch.cat([self._watcher(lessons.seen(some)) for some in torch.split(moments, 64)])
        return normalize(heard, dim=1) @ normalize(seen, dim=1).T


TEACHERS = 16
"""Channels of the first blocks of the network that watches; of the one that paints, half."""


def lessons_of(config: AveConfig, data: TrainingData, frames: Tensor) -> Lessons:
    """The lessons that frames of a capture give; their sound goes the way that `encode` takes it."""
    clip = data.capture.audio
    front = Front(clip.sample_rate, RATE)
    sound: Array = np.concatenate([front.feed(clip.samples.numpy()), front.close()])
    centres = (np.arange(len(data.capture)) + 0.5) / data.capture.fps * RATE
    return Lessons.of(data, frames, sound, gains_at(sound, RATE, centres, config.level_seconds))


def _remark(config: AveConfig, size: int) -> str:
    begins = "random weights" if config.weights is None else str(config.weights)
    if not config.steps:
        return f"ave: takes {begins} as they are"
    return f"ave: learns which mouth belongs to a sound, from {begins}, {size} numbers per frame"


def _named(prefix: str, network: nn.Module) -> dict[str, Tensor]:
    """Copies, in the usual layout, which files want."""
    found = network.state_dict().items()
    return {f"{prefix}.{name}": value.detach().clone(memory_format=torch.contiguous_format) for name, value in found}


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
