"""The `vae` landmark generator: training on one capture, and generation that may be cut into chunks anywhere."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor
from torch.nn.functional import softplus

from realtalk_core.expression import ExpressionBasis, inner_lip_pairs, lip_gap, upper_face
from realtalk_core.types import AudioFeatures, LandmarkTrack
from realtalk_vae import augment
from realtalk_vae.hush import Hush
from realtalk_vae.networks import STRIDE, FlowVae, to_whole_steps

if TYPE_CHECKING:
    from realtalk_core.training.data import TrainingData
    from realtalk_vae import VaeConfig

NOISE_BLOCK = 64
AVERAGE = 0.98
"""How much of the averaged weights each step keeps, once there are enough of them."""
VELOCITY_WEIGHT = 3.0
SPREAD_WEIGHT = 0.3
UPPER_WEIGHT = 0.15


class VaeGenerator:
    """Sound to landmarks of neutral speech.

    Attributes:
        context_frames: How many frames of sound to each side a frame depends on.
        stride: Frames per latent step.
        total_steps: Training steps.
        gradient_clip: Largest norm of the gradient.
    """

    stride = STRIDE
    gradient_clip = 1.0

    def __init__(self, config: VaeConfig, tensors: Mapping[str, Tensor]) -> None:
        self.config = config
        self.total_steps = config.steps
        self.basis = ExpressionBasis.from_tensors(tensors)
        self.mean, self.std = tensors["features.mean"], tensors["features.std"]
        self.rest = tensors["rest"]
        self.hush = Hush(tensors["hush.share"], float(tensors["hush.low"]), float(tensors["hush.high"]))
        self.net = FlowVae(config, self.mean.numel(), self.rest.numel())
        if weights := _under("net.", tensors):
            self.net.load_state_dict(weights)
        self.average = copy.deepcopy(self.net).eval().requires_grad_(False)
        self.context_frames = self.net.receptive

    @classmethod
    def from_state(cls, config: VaeConfig, tensors: Mapping[str, Tensor]) -> Self:
        """A trained generator."""
        return cls(config, tensors)

    def state(self) -> dict[str, Tensor]:
        """Weights, expression basis, ranges of the features."""
        return {**_named("net.", self.average), **self._ranges()}

    def _ranges(self) -> dict[str, Tensor]:
        return {
            **self.basis.tensors(),
            "features.mean": self.mean,
            "features.std": self.std,
            "rest": self.rest,
            "hush.share": self.hush.share,
            "hush.low": torch.tensor([self.hush.low]),
            "hush.high": torch.tensor([self.hush.high]),
        }

    # ---- generation -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def generate(self, audio: AudioFeatures, start: int = 0) -> LandmarkTrack:
        """One face per row.

        Args:
            audio: Features of the kind that were trained on.
            start: Number of the first row within the whole clip. The latent noise of a frame depends on its number, so
                chunks with `context_frames` rows more to each side join without a seam.

        Raises:
            ValueError: if the features have another size than those trained on.
        """
        rows = audio.rows()
        if rows.shape[1] != self.mean.numel():
            raise ValueError(
                f"vae: trained on features of {self.mean.numel()} numbers a frame, got {rows.shape[1]}; "
                "the audio encoder or its parameters have changed"
            )
        front = start % STRIDE
        heard = to_whole_steps(((rows - self.mean) / self.std).T[None], front)
        noise = self._noise((start - front) // STRIDE, heard.shape[2] // STRIDE)
        motion = self.average.sample(heard, noise * self.config.temperature)[0].T[front : front + len(audio)]
        speaking = 1 - self.hush.silence(rows)[:, None]
        lively = self.rest + (motion - self.rest) * (self.config.mouth_amp * speaking)
        scheme = "mediapipe478" if self.basis.neutral.shape[0] == 478 else "ibug68"
        return LandmarkTrack(closed_not_crossed(self.basis.decode(lively)), scheme, audio.fps)

    def _noise(self, first: int, count: int) -> Tensor:
        blocks = []
        for block in range(first // NOISE_BLOCK, (first + count - 1) // NOISE_BLOCK + 1):
            random = torch.Generator().manual_seed(self.config.seed * 1_000_003 + block)
            blocks.append(torch.randn(self.config.latent, NOISE_BLOCK, generator=random))
        skipped = first - first // NOISE_BLOCK * NOISE_BLOCK
        return torch.cat(blocks, 1)[None, :, skipped : skipped + count]

    # ---- training ---------------------------------------------------------------------------------------------------

    @classmethod
    def for_training(cls, config: VaeConfig, data: TrainingData) -> Self:
        """A fresh generator fitted to the capture's face and the features' ranges."""
        track = data.capture.landmarks
        neutral = data.capture.tracks.neutral[None]
        if config.landmarks != "auto" and config.landmarks != track.scheme:
            neutral = LandmarkTrack(neutral, track.scheme, track.fps).to_scheme(config.landmarks).points
            track = track.to_scheme(config.landmarks)
        frames = data.train.sort().values
        points = track.points[frames]
        weight = 1 - (1 - UPPER_WEIGHT) * upper_face(neutral[0])
        basis = ExpressionBasis.fit(points, neutral[0], weight, min(config.components, max(1, len(frames) - 1)))
        rows = data.features.rows()
        heard = rows[frames.clamp_max(len(rows) - 1)]
        gap = lip_gap(points)
        shut = points[gap <= gap.quantile(0.1)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(data.seed)
            made = cls(
                config,
                {
                    **basis.tensors(),
                    "features.mean": heard.mean(0),
                    "features.std": heard.std(0, correction=0).clamp_min(0.05),
                    "rest": basis.encode(shut).mean(0),
                    **Hush.learnt(augment.Voice.of(_looks(data.features)[frames.clamp_max(len(rows) - 1)]), heard),
                },
            )
        made._prepare(data, frames)
        return made

    def _prepare(self, data: TrainingData, frames: Tensor) -> None:
        scheme = "mediapipe478" if self.basis.neutral.shape[0] == 478 else "ibug68"
        self._motion = self.basis.encode(data.capture.landmarks.to_scheme(scheme).points)
        values = _looks(data.features)
        lack = len(self._motion) - len(values)
        self._sound = torch.cat([values, values[-1:].expand(max(0, lack), -1, -1)])[: len(self._motion)]
        self._voice = augment.Voice.of(self._sound[frames])
        self._known = torch.zeros(len(self._motion), 1)
        self._known[frames] = 1
        self._frames = frames
        self._weight = (self.basis.scale / self.basis.scale.max()).sqrt()
        self._optimizer = torch.optim.AdamW(
            self.net.parameters(),
            lr=self.config.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=self.config.weight_decay,
        )
        self._set_rate(0)

    def batch(self, data: TrainingData, step: int) -> dict[str, Any]:
        """Augmented stretches of sound and motion, and the noise of this step."""
        config, random = self.config, data.generator(step, salt=31)
        window = -(-config.window // STRIDE) * STRIDE
        frames = self._frames
        starts = augment.starts_within(frames, round(window * 1.15))
        picked = starts[torch.randint(len(starts), (config.batch,), generator=random)].tolist()
        rates = (1 + 0.12 * config.augment * (2 * torch.rand(config.batch, generator=random) - 1)).tolist()
        shape = self._sound.shape[1:]
        flat = torch.cat([self._sound.flatten(1), self._motion, self._known], 1)
        last = int(frames[-1]) + 1
        cut = torch.stack(
            [augment.speed_changed(flat[:last], s, r, window) for s, r in zip(picked, rates, strict=True)]
        )
        sound, motion, known = cut.split([shape.numel(), self._motion.shape[1], 1], 2)
        sound = sound.unflatten(2, shape)
        if config.augment:
            sound = self._voice.disguised(sound, config.augment, random)
        sound, motion = augment.with_pauses(sound, motion, self._voice, self.rest, random)
        steps = window // STRIDE
        return {
            "sound": ((sound.flatten(2) - self.mean) / self.std).transpose(1, 2),
            "motion": motion.transpose(1, 2),
            "known": (known > 0.999).float().transpose(1, 2),
            "posterior_noise": torch.randn(config.batch, config.latent, steps, generator=random),
            "prior_noise": torch.randn(config.batch, config.latent, steps, generator=random) * config.temperature,
        }

    def training_step(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:
        """Reconstruction from the posterior, prediction from the prior, and the divergence of the two."""
        self.net.train()
        g, slow = self.net.listen(batch["sound"])
        mean, log_std = self.net.encode(batch["motion"], slow)
        noise = batch["posterior_noise"]
        z = mean + noise * log_std.exp()
        guess = self.net.prior.inverse(batch["prior_noise"], slow)
        both = self.net.decode(torch.cat([z, guess]), torch.cat([g, g]))
        told, said = both.chunk(2)
        normal = self.net.prior(z, slow)
        divergence = (0.5 * normal.square() - 0.5 * noise.square() - log_std).mean()
        known, truth = batch["known"], batch["motion"]
        told_fit, said_fit = self._fit(told, truth, known), self._fit(said, truth, known)
        spread = self._spread(said, truth, known)
        ramp = min(1.0, (step + 1) / (0.2 * self.total_steps))
        loss = 0.5 * told_fit + said_fit + SPREAD_WEIGHT * spread + self.config.kl * ramp * softplus(divergence)
        return {
            "loss": loss,
            "posterior": told_fit.detach(),
            "prior": said_fit.detach(),
            "kl": divergence.detach(),
            "spread": spread.detach(),
        }

    def _fit(self, got: Tensor, truth: Tensor, known: Tensor) -> Tensor:
        miss = (got - truth) * self._weight[:, None]
        steady = miss[..., 1:] - miss[..., :-1]
        both = known[..., 1:] * known[..., :-1]
        where = (miss.square() * known).sum() / (known.sum() * miss.shape[1]).clamp_min(1)
        how = (steady.square() * both).sum() / (both.sum() * miss.shape[1]).clamp_min(1)
        return where + VELOCITY_WEIGHT * how

    def _spread(self, got: Tensor, truth: Tensor, known: Tensor) -> Tensor:
        def spread(x: Tensor) -> Tensor:
            total = known.sum().clamp_min(1)
            mean = (x * known).sum((0, 2), keepdim=True) / total
            return (((x - mean).square() * known).sum((0, 2)) / total + 1e-4).sqrt()

        return ((spread(got) - spread(truth)) * self._weight).square().mean()

    def optimizers(self) -> Sequence[torch.optim.Optimizer]:
        """AdamW over all weights."""
        return [self._optimizer]

    def after_step(self, step: int) -> None:
        """Moves the learning rate and the average of the weights, which is what generates."""
        self._set_rate(step + 1)
        keep = min(AVERAGE, step / (step + 10))
        with torch.no_grad():
            for mean, value in zip(self.average.state_dict().values(), self.net.state_dict().values(), strict=True):
                mean.lerp_(value, 1 - keep)

    def _set_rate(self, step: int) -> None:
        warm = min(1.0, (step + 1) / max(1, min(100, self.total_steps // 10)))
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.total_steps)))
        for group in self._optimizer.param_groups:
            group["lr"] = self.config.learning_rate * warm * (0.02 + 0.98 * cosine)

    def training_state(self) -> dict[str, Tensor]:
        """Raw weights and their average."""
        return {**_named("net.", self.net), **_named("average.", self.average)}

    def load_training_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts `training_state` back."""
        self.net.load_state_dict(_under("net.", tensors))
        self.average.load_state_dict(_under("average.", tensors))


def _looks(features: AudioFeatures) -> Tensor:
    return features.values if features.values.ndim == 3 else features.values[:, None]


def _named(prefix: str, net: FlowVae) -> dict[str, Tensor]:
    return {prefix + name: value.detach().clone() for name, value in net.state_dict().items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def closed_not_crossed(points: Tensor) -> Tensor:
    """Lips that have moved through each other meet in the middle instead."""
    upper, lower = (list(side) for side in inner_lip_pairs(points.shape[1]))
    cross = (points[:, lower, 1] - points[:, upper, 1]).clamp_min(0) / 2
    points = points.clone()
    points[:, upper, 1] += cross
    points[:, lower, 1] -= cross
    return points
