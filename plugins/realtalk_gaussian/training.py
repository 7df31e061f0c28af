"""Learning one head from a capture: batches, the losses of drawn frames, densification and the moving average."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from realtalk_core.errors import UserError
from realtalk_core.nn.conditioning import scheme_of
from realtalk_core.nn.parallel import in_threads, worker_count
from realtalk_core.nn.perceptual import Perceptual
from realtalk_core.nn.splatting import Screen, View
from realtalk_core.stages import Batch
from realtalk_core.training.data import TrainingData
from realtalk_core.training.frame_bank import FrameBank, rarity, thinned
from realtalk_core.types import Drive
from realtalk_gaussian.cloud import Cloud
from realtalk_gaussian.condition import Conditions, FrameCondition, conditions_of
from realtalk_gaussian.config import GaussianConfig
from realtalk_gaussian.densify import Densification, Densifier
from realtalk_gaussian.emotion import SPEECH, Distiller, Scene
from realtalk_gaussian.head import BRANCHES, Head, Layers, composite
from realtalk_gaussian.losses import Truth, cloud_losses, normal_losses, opening_loss, picture_losses, weighed
from realtalk_gaussian.normals import KeptNormals, NormalEstimator, NormalMap, SurfaceNormals
from realtalk_gaussian.schedule import Phase, phase_of, rate, spans

CLOUDS = ("face", "mouth")
HIGHER_HARMONICS = 1 / 20
"""Learning rate of what colours owe to the view, relative to the colours' own (3DGS)."""
EMOTION_RATES = (2e-2, 1e-2)
"""First learning rates of the emotion branch's planes and network: its targets are places, exact and many, whatever
the pictures need (ADR 0095)."""
SEED_SALT, DENSIFY_SALT, EMOTION_SALT = 37, 41, 43
ACTING: dict[Phase, frozenset[str]] = {
    "canonical": frozenset(), "motion": SPEECH, "emotion": BRANCHES, "finetune": SPEECH,
}  # fmt: skip
"""Branches that move the head in each phase."""


@dataclass(slots=True)
class Pull:
    """How a frame pulls at the centres of one cloud: what densification looks at."""

    gradient: Tensor
    radii: Tensor


@dataclass(slots=True)
class FrameGradients:
    """What a frame's backward pass gives.

    Attributes:
        shared: By what all frames share (`Head.canonical`), in its order.
        own: By the parameters that frames use directly, in their order.
        scalars: The frame's losses.
        pulls: Of each cloud.
    """

    shared: list[Tensor | None]
    own: list[Tensor | None]
    scalars: dict[str, Tensor]
    pulls: dict[str, Pull]


def optimizers_of(head: Head, config: GaussianConfig, extent: float) -> list[torch.optim.Optimizer]:
    """Adam for the clouds, each property with a rate of its own, and AdamW for the branches.

    Args:
        head: What is learnt.
        config: The rates.
        extent: Half the head's size in cm: centres move in shares of it.
    """
    rates = {
        "means": config.lr_means * extent, "scales": config.lr_scales, "rotations": config.lr_rotations,
        "opacities": config.lr_opacities, "colours": config.lr_colours, "normals": config.lr_normals,
    }  # fmt: skip
    clouds = [getattr(head, name) for name in CLOUDS]
    groups = [
        {"params": [getattr(cloud, name) for cloud in clouds], "lr": lr, "first_lr": lr} for name, lr in rates.items()
    ]
    taken = {id(p) for cloud in clouds for p in cloud.parameters()}
    others = [(n, p) for n, p in head.named_parameters() if id(p) not in taken]
    branches = []
    for emotional, (hashed, net) in ((False, (config.lr_hash, config.lr_net)), (True, EMOTION_RATES)):
        for planes, lr, decay in ((True, hashed, 0.0), (False, net, config.decay_net)):
            some = [p for n, p in others if n.startswith("emotion_") == emotional and n.endswith("tables") == planes]
            span = spans(config)["emotion"] if emotional else range(config.steps)
            branches.append(
                {"params": some, "lr": lr, "first_lr": lr, "weight_decay": decay, "span": [span.start, span.stop]}
            )
    return [
        torch.optim.Adam([{**group, "span": [0, config.steps]} for group in groups], eps=1e-15, fused=True),
        torch.optim.AdamW([g for g in branches if g["params"]], betas=(0.9, 0.99), eps=1e-15, fused=True),
    ]


class SlowHarmonics:
    """Lets what colours owe to the view learn more slowly than the colours: Adam has one rate for a whole parameter.

    Args:
        optimizer: Of the clouds.
        clouds: Whose colours.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, clouds: Sequence[Cloud]) -> None:
        self.clouds, self.before = clouds, list[Tensor]()
        optimizer.register_step_pre_hook(self._keep)
        optimizer.register_step_post_hook(self._slow)

    def _keep(self, *_: Any) -> None:
        self.before = [cloud.colours.detach()[:, 1:].clone() for cloud in self.clouds]

    @torch.no_grad()
    def _slow(self, *_: Any) -> None:
        for cloud, before in zip(self.clouds, self.before, strict=True):
            cloud.colours[:, 1:].lerp_(before, 1 - HIGHER_HARMONICS)


class Trainer:
    """Everything that exists only while a head is learnt.

    Args:
        config: The component's parameters.
        data: The capture and which of its frames to learn from.
        normals: Where targets of normals come from.

    Raises:
        UserError: if no frame may be learnt from.
    """

    def __init__(self, config: GaussianConfig, data: TrainingData, normals: NormalEstimator | None = None) -> None:
        if not len(data.train):
            raise UserError(f"{data.capture.path}: no frame shows a face", "Capture a video in which a face is seen.")
        self.config, self.seed = config, data.seed
        self.head = Head.seeded(config, data)
        extent = float(self.head.box[3]) / 2
        capture = data.capture
        landmarks = capture.landmarks.to_scheme(scheme_of(self.head.basis))
        points = landmarks.points[data.train].float()
        weights = rarity(points)
        keep = thinned(weights, config.max_frames)
        self.frames, self.weights, self.points = data.train[keep], weights[keep].double(), points[keep]
        drive = Drive(landmarks, blendshapes=capture.blendshapes, audio=data.features)
        self.conditions = self._of_frames(conditions_of(drive, self.head.basis, self.head.audio, config))
        self.cameras = capture.cameras.resized(config.size, config.size)
        self.average = copy.deepcopy(self.head).requires_grad_(False)
        self.optimizers = optimizers_of(self.head, config, extent)
        SlowHarmonics(self.optimizers[0], [getattr(self.head, name) for name in CLOUDS])
        self.normals: NormalEstimator = SurfaceNormals() if normals is None else normals
        self.perceptual = Perceptual(
            config.perceptual, any(row.get("lpips", 0) > 0 and len(spans(config)[phase]) for phase, row in self._table)
        )
        densified = spans(config)["canonical"].stop + len(spans(config)["motion"])
        self.growers = {}
        whole = sum(len(getattr(self.head, name)) for name in CLOUDS)
        for name in CLOUDS:
            count = len(getattr(self.head, name))
            options = Densification.of(
                config, first=0, steps=densified, scale=extent, cap=config.max_gaussians * count // whole
            )
            self.growers[name] = Densifier(options, count)
        self.distiller = Distiller.of(config, data, self.head)
        self.done = 0
        self._bank: FrameBank | None = None
        self._maps: dict[int, KeptNormals] = {}
        self._lock = threading.Lock()
        self._phase: Phase | None = None

    @property
    def device(self) -> torch.device:
        """Where frames are posed, drawn and compared. What was taken from the capture stays on the CPU."""
        return self.head.device

    def to(self, device: torch.device) -> None:
        """Computes further steps there; see `Movable`."""
        for module in (self.head, self.average, self.perceptual):
            module.to(device)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the user should know before training: what patches are compared by."""
        remark = self.perceptual.remark()
        return () if remark is None else (remark,)

    @property
    def _table(self) -> list[tuple[Phase, dict[str, float]]]:
        return [(phase, self.config.losses[phase]) for phase in spans(self.config)]

    def _of_frames(self, conditions: Conditions) -> Conditions:
        rows = self.frames
        return Conditions(
            conditions.landmarks[rows], conditions.scores[rows], conditions.audio[rows], conditions.va[rows]
        )

    def batch(self, data: TrainingData, step: int) -> Batch:
        """Rows of some frames, a backdrop and a patch of each."""
        config, generator = self.config, data.generator(step, SEED_SALT)
        with self._lock:
            if self._bank is None:
                self._bank = FrameBank.load(data.capture, self.frames, config.size)
        bank, count, side = self._bank, config.frames_per_step, min(config.patch_size, config.size)
        rows = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        corners = torch.tensor([divmod(int(bank.patch(int(row), side, generator)[0]), config.size) for row in rows])
        batch = {
            "rows": rows,
            "head": bank.head[rows].float() / 255,
            "alpha": bank.alpha[rows].float() / 255,
            "label": bank.label[rows],
            "backdrop": torch.rand(count, 3, generator=generator),
            "patch": torch.cat((corners, torch.full((count, 1), side)), 1),
        }
        if config.condition_noise:
            size = self.conditions.landmarks.shape[1]
            batch["noise"] = config.condition_noise * torch.randn(count, size, generator=generator)
        if self.distiller is not None and phase_of(config, step) == "emotion":
            batch |= self.distiller.batch(self.frames[rows], data.generator(step, EMOTION_SALT))
        return batch

    def training_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Scalars of one step; every frame on a worker thread. Gradients are left in the parameters."""
        phase = self._enter(phase_of(self.config, step))
        with torch.enable_grad():
            canonical = self.head.canonical()
        shared = [name for name, value in canonical.items() if value.requires_grad]
        own: list[Tensor] = [p for p in self.head.parameters() if p.requires_grad]
        leaves = {name: value.detach().requires_grad_(value.requires_grad) for name, value in canonical.items()}
        frames = list(range(len(batch["rows"])))
        workers = min(len(frames), worker_count()) if self.device.type == "cpu" else 1

        def work(_: int, share: list[int]) -> list[FrameGradients]:
            with torch.enable_grad():
                return [self._frame(batch, k, step, phase, leaves, shared, own) for k in share]

        done = in_threads(work, frames, workers)
        found = [done[k % workers][k // workers] for k in frames]
        part = 1 / len(frames)
        back = [_summed([f.shared[k] for f in found], part) for k in range(len(shared))]
        pairs = [(canonical[name], grad) for name, grad in zip(shared, back, strict=True) if grad is not None]
        if pairs:
            torch.autograd.backward([value for value, _ in pairs], [grad for _, grad in pairs])
        for k, parameter in enumerate(own):
            grad = _summed([f.own[k] for f in found], part)
            if grad is not None:
                parameter.grad = grad if parameter.grad is None else parameter.grad.add_(grad)
        for name, grower in self.growers.items():
            for f in found:
                if name in f.pulls:
                    grower.record(f.pulls[name].gradient, f.pulls[name].radii, self.config.size, self.config.size)
        scalars = {name: torch.stack([f.scalars[name] for f in found]).sum(0) * part for name in found[0].scalars}
        scalars["gaussians"] = torch.tensor(float(sum(len(getattr(self.head, name)) for name in CLOUDS)))
        return scalars

    def _frame(
        self,
        batch: Batch,
        k: int,
        step: int,
        phase: Phase,
        leaves: Mapping[str, Tensor],
        shared: list[str],
        own: list[Tensor],
    ) -> FrameGradients:
        """One frame posed, drawn, compared and differentiated, in the calling thread."""
        row, weights = int(batch["rows"][k]), self.config.losses[phase]
        condition = self.conditions[row]
        if "noise" in batch and condition.landmarks.numel():
            condition = FrameCondition(
                condition.landmarks + batch["noise"][k].cpu(), condition.scores, condition.audio, condition.va
            )
        condition, view = condition.to(self.device), View.of(self.cameras, int(self.frames[row])).to(self.device)
        top, left, side = batch["patch"][k].tolist()
        truth = Truth(batch["head"][k], batch["alpha"][k], batch["label"][k], batch["backdrop"][k], (top, left, side))
        screens: dict[str, Screen] = {}
        if phase == "emotion" and self.distiller is not None:
            scene = Scene(self.head, dict(leaves), condition, self.points[row], view, truth, self.perceptual)
            terms = self.distiller.terms(scene, batch, k, step, weights)
        else:
            shaded = any(weights.get(name, 0) > 0 for name in ("normals", "normals_tv"))
            posed = self.head.pose(dict(leaves), condition, self.head.motion(self.points[row]), ACTING[phase])
            layers = self.head.draw(posed, view, normals=shaded, threads=1)
            terms = self._terms(weights, layers, truth, row)
            terms |= cloud_losses(weights, leaves, float(self.head.box[3]) / 2)
            drawn = {name: getattr(layers, name).screen for name in CLOUDS}
            screens = {name: screen for name, screen in drawn.items() if screen.centres.requires_grad}
        scalars = weighed(weights, terms)
        inputs = [leaves[name] for name in shared] + own + [screen.centres for screen in screens.values()]
        grads: list[Tensor | None] = [None] * len(inputs)
        if scalars["loss"].requires_grad:  # an emotion's step may have nothing to compare
            grads = list(torch.autograd.grad(scalars["loss"], inputs, allow_unused=True))
        pulls = {
            name: Pull(grad, screen.radii)
            for (name, screen), grad in zip(screens.items(), grads[len(shared) + len(own) :], strict=True)
            if grad is not None
        }
        return FrameGradients(
            grads[: len(shared)],
            grads[len(shared) : len(shared) + len(own)],
            {name: value.detach().cpu() for name, value in scalars.items()},
            pulls,
        )

    def _terms(self, weights: Mapping[str, float], layers: Layers, truth: Truth, row: int) -> dict[str, Tensor]:
        colour, alpha = composite(layers)
        terms = picture_losses(weights, colour, alpha, truth, self.perceptual)
        if weights.get("opening"):
            terms["opening"] = opening_loss(layers.face.alpha, truth.label)
        if layers.face.normals is not None:
            target = self._normal_map(row).to(self.device)
            terms |= normal_losses(weights, layers.face.normals, layers.face.alpha, target)
        return terms

    def _normal_map(self, row: int) -> NormalMap:
        if row not in self._maps:
            frame = int(self.frames[row])
            made = self.normals.normals(
                self.points[row], self.cameras.pose[frame], self.cameras.intrinsics, self.config.size
            )
            self._maps[row] = KeptNormals.of(made)
        return self._maps[row].map()

    def _enter(self, phase: Phase) -> Phase:
        """Lets only those parameters learn that a phase teaches."""
        if phase == self._phase:
            return phase
        self._phase = phase
        for name, parameter in self.head.named_parameters():
            owner, _, attribute = name.partition(".")
            if attribute == "follow":
                continue
            if owner in CLOUDS:
                learns = phase in ("canonical", "motion") or (
                    phase == "finetune" and attribute in ("colours", "opacities")
                )
            else:
                learns = phase == ("emotion" if owner == "emotion_branch" else "motion")
            parameter.requires_grad_(learns)
        return phase

    def after_step(self, step: int) -> None:
        """Densification, learning rates and the moving average."""
        self.done = step + 1
        adam = self.optimizers[0]
        for k, (name, grower) in enumerate(self.growers.items()):
            salt = (self.seed * 1_000_003 + DENSIFY_SALT + k) * 1_000_003 + step
            change = grower.update(getattr(self.head, name), adam, step, torch.Generator().manual_seed(salt))
            if change is not None:
                change.follow(getattr(self.average, name), getattr(self.head, name))
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["first_lr"] * rate(self.config, self.done, *group["span"])
        decay = min(self.config.ema, self.done / (self.done + 9))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.head.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)

    def state(self) -> dict[str, Tensor]:
        """All that training needs to go on, beside the optimizers' states."""
        state = {f"head.{name}": value for name, value in self.head.state_dict().items()}
        state |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        for name, grower in self.growers.items():
            state |= {f"densify.{name}.{key}": value for key, value in grower.state().items()}
        return {name: value.detach().clone() for name, value in (state | {"done": torch.tensor(self.done)}).items()}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Goes on from a state; clouds take the sizes they had."""
        for prefix, module in (("head.", self.head), ("average.", self.average)):
            module.load_state_dict({k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)})
        for name, grower in self.growers.items():
            prefix = f"densify.{name}."
            grower.load_state({k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)})
        self.done = int(tensors["done"])


def _summed(parts: list[Tensor | None], share: float) -> Tensor | None:
    """Their sum in order, times `share`; None if there is none."""
    total: Tensor | None = None
    for part in parts:
        if part is not None:
            total = part.clone() if total is None else total.add_(part)
    return None if total is None else total.mul_(share)
