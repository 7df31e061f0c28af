"""The `vae` landmark generator: training on one capture, and generation that may be cut into chunks anywhere."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor
from torch.nn.functional import softplus

from realtalk_core.errors import UserError
from realtalk_core.expression import ExpressionBasis, inner_lip_pairs, lip_gap, upper_face
from realtalk_core.types import AudioFeatures, LandmarkTrack
from realtalk_vae import augment
from realtalk_vae.ear import Ear
from realtalk_vae.fitting import (
    UPPER_WEIGHT,
    ahead,
    closed_not_crossed,
    learnt_basis,
    liveliness,
    measured_lead,
    of_frames,
    silence_gate,
)
from realtalk_vae.hush import Hush
from realtalk_vae.networks import STRIDE, FlowVae, to_whole_steps
from realtalk_vae.prior import VaePrior, chosen, fitted_basis, widened

if TYPE_CHECKING:
    from realtalk_core.training.data import TrainingData
    from realtalk_vae import VaeConfig

NOISE_BLOCK = 64
AVERAGE = 0.98
"""How much of the averaged weights each step keeps, once there are enough of them."""
VELOCITY_WEIGHT = 3.0
SPREAD_WEIGHT = 0.3
LIP_WEIGHT = 0.5
OUTPUT_RIDGE = 300.0
"""Strength of the ridge that holds the output layers to the prior's while they are fitted to a clip."""
LEAST_AMOUNT, MOST_AMOUNT = 0.3, 1.6
"""How much less and more lively than the prior's average actor a person may be."""
NEAR_SHUT = 6.0
"""How much more a miss of the lips' gap counts where it is (nearly) shut."""


class VaeGenerator:
    """Sound to landmarks of neutral speech.

    Attributes:
        context_frames: How many frames of sound to each side a frame depends on.
        stride: Frames per latent step.
        total_steps: Training steps.
        gradient_clip: Largest norm of the gradient.
        remarks: What the user should know before training.
    """

    stride = STRIDE
    gradient_clip = 1.0

    def __init__(self, config: VaeConfig, tensors: Mapping[str, Tensor]) -> None:
        self.config = config
        self.total_steps = config.steps
        self.basis = ExpressionBasis.from_tensors(tensors)
        self.ear = Ear.from_tensors(tensors, config.pitch)
        self.rest = tensors["rest"]
        self.hush = Hush.from_tensors(tensors)
        self.net = FlowVae(config, self.ear.size, self.rest.numel())
        if weights := _under("net.", tensors):
            self.net.load_state_dict(weights)
        self.average = copy.deepcopy(self.net).eval().requires_grad_(False)
        self.lead = int(tensors.get("lead", torch.zeros(1)))
        self.context_frames = self.net.receptive + abs(self.lead)
        self.remarks: tuple[str, ...] = ()
        upper, lower = (list(side) for side in inner_lip_pairs(self.basis.neutral.shape[0]))
        basis = self.basis
        self._gaps = (basis.components[:, upper, 1] - basis.components[:, lower, 1]) * basis.scale[:, None]
        still = basis.neutral + basis.mean
        self._still_gaps = still[upper, 1] - still[lower, 1]

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
            **self.ear.tensors(),
            **self.hush.tensors(),
            "rest": self.rest,
            "lead": torch.tensor([self.lead]),
        }

    # ---- generation -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def generate(self, audio: AudioFeatures, start: int = 0) -> LandmarkTrack:
        """One face per row.

        Args:
            audio: Features of the kind that were trained on, with the prosody that training had.
            start: Number of the first row within the whole clip. The latent noise of a frame depends on its number, so
                chunks with `context_frames` rows more to each side join without a seam.

        Raises:
            ValueError: if the features have another size than those trained on, or come without the prosody they had.
        """
        front = start % STRIDE
        rows = ahead(self.ear.heard(self.ear.looks(audio), self.ear.tune(audio)), self.lead)
        heard = to_whole_steps(rows.T[None], front)
        noise = self._noise((start - front) // STRIDE, heard.shape[2] // STRIDE)
        motion = self.average.sample(heard, noise * self.config.temperature)[0].T[front : front + len(audio)]
        speaking = 1 - self.hush.silence(ahead(self.hush.level(audio), self.lead))[:, None]
        lively = self.rest + (motion - self.rest) * (self.config.mouth_amp * speaking)
        scheme = "mediapipe478" if self.basis.neutral.shape[0] == 478 else "ibug68"
        return LandmarkTrack(closed_not_crossed(self.basis.decode(self._touching(lively))), scheme, audio.fps)

    def _touching(self, motion: Tensor) -> Tensor:
        """Motion `T C` whose nearly shut lips meet: a mean of what may follow never quite shuts them (ADR 0072)."""
        if self.config.contact == 0:
            return motion
        gap = (motion - self.rest) @ self._gaps
        unit = self._gaps.square().sum(0).sqrt().clamp_min(1e-6)
        share = (gap / (self.config.contact * unit)).clamp(0, 1)
        less = gap.clamp_min(0) * (share * share * (3 - 2 * share) - 1)
        return motion + less @ torch.linalg.pinv(self._gaps, rtol=0.1)

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
        """A generator fitted to the capture's face: from the prior where it fits the sound, else from random weights.

        Raises:
            UserError: if the prior asked for cannot be read, or there is neither a prior nor a step to train.
        """
        track = data.capture.landmarks
        neutral = data.capture.tracks.neutral[None]
        if config.landmarks != "auto" and config.landmarks != track.scheme:
            neutral = LandmarkTrack(neutral, track.scheme, track.fps).to_scheme(config.landmarks).points
            track = track.to_scheme(config.landmarks)
        frames = data.train.sort().values
        points = track.points[frames]
        heard = of_frames(data.features, frames)
        hush, remarks = silence_gate(heard)
        prior, remark = chosen(config, data.encoder)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(data.seed)
            if prior is None:
                ear = Ear.learnt(heard.rows(), config.listen, config.pitch)
                made = cls(config, {**learnt_basis(config, points, neutral[0]), **ear.tensors(), **hush.tensors()})
            else:
                made = cls(config, _fitted(config, prior, points, neutral[0], heard, hush))
        if prior is None and config.steps == 0:
            raise UserError(
                f"{remark}: with steps: 0 there is nothing to speak with", "Give it steps, or a prior that fits."
            )
        made.remarks = (remark, *remarks)
        made._prepare(data, frames)
        if prior is not None and config.steps:
            made.net.set_dropout(config.prior_dropout)
            made._fit_output()
        made._begin(config.trunk_rate if prior else 1.0)
        return made

    def _prepare(self, data: TrainingData, frames: Tensor) -> None:
        scheme = "mediapipe478" if self.basis.neutral.shape[0] == 478 else "ibug68"
        self._motion = self.basis.encode(data.capture.landmarks.to_scheme(scheme).points)
        audio = of_frames(data.features, torch.arange(len(self._motion)))
        self._sound = ahead(self.ear.looks(audio), self.lead)
        self._tune = ahead(self.ear.tune(audio), self.lead)
        loudness = None if audio.prosody is None else audio.prosody.loudness
        told = None if loudness is None else ahead(loudness, self.lead)[frames]
        self._voice = augment.Voice.of(self._sound[frames], told)
        self._known = torch.zeros(len(self._motion), 1)
        self._known[frames] = 1
        self._frames = frames

    @torch.no_grad()
    def _fit_output(self) -> None:
        """Moves the output layers to the capture in one go: ridge regression of what the prior lacks on what it hears.

        What the prior's ear and decoder make of the sound stays as it is; only how the face follows is the person's.
        """
        net, frames = self.net.eval(), self._frames
        heard = to_whole_steps(self.ear.heard(self._sound, self._tune).T[None])
        g, slow = net.listen(heard)
        calm = torch.zeros(1, self.config.latent, slow.shape[2])
        hidden = net.decoder(net.rise(net.prior.inverse(calm, slow)), g)
        known = torch.cat([hidden, g], 1)[0].T[frames].double()
        known = torch.cat([known, torch.ones(len(known), 1)], 1)
        layers = [net.leave.weight[..., 0], net.direct.weight[..., 0], (net.leave.bias + net.direct.bias)[:, None]]
        weights = torch.cat(layers, 1).T.double()
        spread = known.std(0).clamp_min(1e-3)
        spread[-1] = 1.0
        scaled = known / spread
        lack = self._motion[frames].double() - known @ weights
        gram = scaled.T @ scaled + OUTPUT_RIDGE * torch.eye(scaled.shape[1], dtype=torch.float64)
        weights = (weights + torch.linalg.solve(gram, scaled.T @ lack) / spread[:, None]).float().T
        width = hidden.shape[1]
        net.leave.weight.copy_(weights[:, :width, None])
        net.direct.weight.copy_(weights[:, width:-1, None])
        net.leave.bias.copy_(weights[:, -1])
        net.direct.bias.zero_()
        self.average.load_state_dict(net.state_dict())

    def _begin(self, trunk: float) -> None:
        """Makes the optimizer; all but the output layers learn at `trunk` times the rate."""
        self._weight = (self.basis.scale / self.basis.scale.max()).sqrt()
        output = [*self.net.leave.parameters(), *self.net.direct.parameters()]
        known = {id(p) for p in output}
        rest = [p for p in self.net.parameters() if id(p) not in known]
        self._optimizer = torch.optim.AdamW(
            [{"params": output, "share": 1.0}, {"params": rest, "share": trunk}],
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
        flat = torch.cat([self._sound.flatten(1), self._tune, self._motion, self._known], 1)
        last = int(frames[-1]) + 1
        cut = torch.stack(
            [augment.speed_changed(flat[:last], s, r, window) for s, r in zip(picked, rates, strict=True)]
        )
        sound, tune, motion, known = cut.split([shape.numel(), self._tune.shape[1], self._motion.shape[1], 1], 2)
        sound = sound.unflatten(2, shape)
        if config.augment:
            sound = self._voice.disguised(sound, config.augment, random)
            tune = augment.transposed(tune, config.augment, random)
        sound, tune, motion = augment.with_pauses(sound, tune, motion, self._voice, self.rest, random)
        steps = window // STRIDE
        return {
            "sound": self.ear.heard(sound, tune).transpose(1, 2),
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
        lips = self._lips(said, truth, known) + 0.5 * self._lips(told, truth, known)
        ramp = min(1.0, (step + 1) / (0.2 * self.total_steps))
        loss = 0.5 * told_fit + said_fit + SPREAD_WEIGHT * spread + LIP_WEIGHT * lips
        loss = loss + self.config.kl * ramp * softplus(divergence)
        return {
            "loss": loss,
            "posterior": told_fit.detach(),
            "prior": said_fit.detach(),
            "kl": divergence.detach(),
            "spread": spread.detach(),
            "lips": lips.detach(),
        }

    def _lips(self, got: Tensor, truth: Tensor, known: Tensor) -> Tensor:
        """Miss of the gaps between the inner lips; shut lips may be pressed together further, but not parted."""
        unit = self._gaps.square().sum(0).sqrt().mean().clamp_min(1e-3)
        zero = self._still_gaps[:, None]
        told, true = (torch.einsum("bct,cp->bpt", x, self._gaps) + zero for x in (got, truth))
        shut = (self.rest @ self._gaps)[:, None] + zero
        above = (true - shut).clamp_min(0) / unit
        miss = (told - true) / unit
        miss = torch.where(above < 0.1, miss.clamp_min(0), miss)
        near = 1 + NEAR_SHUT * torch.exp(-(above / 0.3).square())
        return (miss.square() * near * known).sum() / (known.sum() * miss.shape[1]).clamp_min(1)

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
        total = max(1, self.total_steps)
        warm = min(1.0, (step + 1) / max(1, min(100, total // 10)))
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))
        for group in self._optimizer.param_groups:
            group["lr"] = self.config.learning_rate * group["share"] * warm * (0.02 + 0.98 * cosine)

    def training_state(self) -> dict[str, Tensor]:
        """Raw weights and their average."""
        return {**_named("net.", self.net), **_named("average.", self.average)}

    def load_training_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts `training_state` back."""
        self.net.load_state_dict(_under("net.", tensors))
        self.average.load_state_dict(_under("average.", tensors))


def _fitted(
    config: VaeConfig, prior: VaePrior, points: Tensor, neutral: Tensor, heard: AudioFeatures, hush: Hush
) -> dict[str, Tensor]:
    """The prior on this face, as lively as the person: the spreads of generated and tracked lip gap agree."""
    weight = 1 - (1 - UPPER_WEIGHT) * upper_face(neutral)
    shipped = {name: prior.tensors[name] for name in ("features.mean", "features.std")}
    net = _under("net.", prior.tensors)
    count = prior.tensors["rest"].numel()

    def tensors(own: int, amount: float, lead: int = 0) -> dict[str, Tensor]:
        basis = fitted_basis(prior, points, neutral, weight, own, amount)
        own = basis.scale.numel() - count
        weights = {f"net.{name}": value for name, value in widened(net, count + own).items()}
        rest = torch.cat([prior.tensors["rest"], torch.zeros(own)])
        lead_tensor = torch.tensor([lead])
        return {**weights, **basis.tensors(), **shipped, **hush.tensors(), "rest": rest, "lead": lead_tensor}

    first = VaeGenerator(config, tensors(0, 1.0)).generate(heard)
    generated, tracked = (liveliness(x) for x in (first.points, points))
    amount = min(max(tracked / max(generated, 1e-3), LEAST_AMOUNT), MOST_AMOUNT)
    return tensors(max(0, config.components - count), amount, measured_lead(lip_gap(first.points), lip_gap(points)))


def _named(prefix: str, net: FlowVae) -> dict[str, Tensor]:
    return {prefix + name: value.detach().clone() for name, value in net.state_dict().items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
