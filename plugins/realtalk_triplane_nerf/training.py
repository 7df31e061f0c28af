"""Learning one head from a capture: batches, the losses of a chunk, the occupancy grid and the moving average."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from realtalk_core.errors import UserError
from realtalk_core.expression import ExpressionBasis
from realtalk_core.landmarks import LIPS_INNER, LIPS_OUTER
from realtalk_core.nn.accumulate import accumulated_loss
from realtalk_core.nn.hashgrid import PlaneGrids, PlaneLayout
from realtalk_core.nn.losses import opacity_entropy
from realtalk_core.nn.marching import Shell
from realtalk_core.nn.occupancy import Occupancy
from realtalk_core.nn.parallel import in_threads, worker_count
from realtalk_core.nn.perceptual import Perceptual
from realtalk_core.nn.rays import camera_rays
from realtalk_core.nn.warp import Warper, WarpField
from realtalk_core.stages import Batch
from realtalk_core.training.bounds import TEMPLATES, face_shell, head_box, visual_hull
from realtalk_core.training.data import TrainingData
from realtalk_core.training.frame_bank import FrameBank, rarity, thinned
from realtalk_core.types import Drive, Scheme
from realtalk_triplane_nerf.condition import features_of
from realtalk_triplane_nerf.config import TriplaneNerfConfig
from realtalk_triplane_nerf.field import FrameCondition, TriplaneField
from realtalk_triplane_nerf.head import Head, render_rays
from realtalk_triplane_nerf.losses import (
    SMOOTH_SAMPLES,
    ambient,
    doubt_loss,
    doubt_weights,
    doubts,
    gate_norm,
    smoothness,
    thin,
)
from realtalk_triplane_nerf.schedule import gate_offset, pixels_of, ramp, rate, smooths

EXTRA_EVERY = 4
"""Chunks to one that regularises the gates: the same on average, and small operations are dear."""
REFRESH = 16
"""Steps between updates of the occupancy grid."""
DENSITY_BLOCK = 16384
EXTRA_SAMPLES = 256
"""Samples of a chunk that the regularisers look at."""
SEED_SALT = 31


def optimizer_of(field: TriplaneField, config: TriplaneNerfConfig) -> torch.optim.Optimizer:
    """AdamW with groups for planes, attention and the other networks."""
    attention = ("mouth.", "eyes.", "code.convs.", "code.score.")
    named = dict(field.named_parameters())
    rates = (config.lr_grid, config.lr_attention or config.lr_net, config.lr_net)
    decays = (0.0, config.decay_attention, config.decay_net)
    groups: tuple[list[Tensor], ...] = ([], [], [])
    for name, value in named.items():
        groups[0 if name == "tables" else 1 if name.startswith(attention) else 2].append(value)
    return torch.optim.AdamW(
        [
            {"params": group, "lr": lr, "first_lr": lr, "weight_decay": decay}
            for group, lr, decay in zip(groups, rates, decays, strict=True)
            if group
        ],
        betas=(config.momentum, 0.99),
        eps=1e-15,
        fused=True,  # one pass over the planes; a tenth of the time
    )


class Trainer:
    """Everything that exists only while a head is learnt.

    Args:
        config: The component's parameters.
        data: The capture and which of its frames to learn from.

    Raises:
        UserError: if no frame may be learnt from.
    """

    def __init__(self, config: TriplaneNerfConfig, data: TrainingData) -> None:
        if not len(data.train):
            raise UserError(f"{data.capture.path}: no frame shows a face", "Capture a video in which a face is seen.")
        self.config = config
        capture = data.capture
        scheme: Scheme = config.landmarks if capture.scheme == "mediapipe478" else "ibug68"
        landmarks = capture.landmarks.to_scheme(scheme)
        neutral = capture.tracks.neutral.float()
        if scheme != capture.scheme:
            neutral = type(landmarks)(neutral[None], capture.scheme, capture.fps).to_scheme(scheme).points[0]
        points = landmarks.points[data.train].float()
        weights = rarity(points)
        keep = thinned(weights, config.max_frames)
        self.frames, self.weights = data.train[keep], weights[keep].double()
        self.points = points[keep]
        emphasis = torch.ones(len(neutral))
        emphasis[list(range(48, 68) if scheme == "ibug68" else LIPS_OUTER + LIPS_INNER)] = 2.0
        basis = ExpressionBasis.fit(points, neutral, emphasis, config.components)
        template = TEMPLATES[config.template](points, neutral)
        warper = Warper.around(template, config.warp_side, still_mouth=True) if config.warp else None
        low, high = head_box(capture, data.train, template)
        self.grid = Occupancy.over(low, high, config.cell_cm)
        self.grid.allowed = visual_hull(capture, data.train, self.grid, warper) & face_shell(self.grid, template)
        nose = template[list(range(31, 36)) if scheme == "ibug68" else [2, 97, 326], 1].mean()
        self.head = Head(basis, warper, float((nose - low[1]) / self.grid.extent))
        drive = Drive(landmarks, blendshapes=capture.blendshapes)
        features, scores = features_of(drive, basis, config)
        self.features, self.scores = features[self.frames], scores[self.frames]
        self.cameras = capture.cameras.resized(config.size, config.size)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(data.seed)
            self.field = TriplaneField(config, features.shape[1], len(self.frames))
        self.average = copy.deepcopy(self.field).requires_grad_(False)
        self.seed = data.seed
        self.shell = self.grid.shell(config.step_cm, None)
        self.done = 0
        self._bank: FrameBank | None = None
        self._fields: dict[int, WarpField] = {}
        self._lock = threading.Lock()
        self.perceptual = Perceptual(config.perceptual, min(config.patch_from, config.lips_from) < 1)
        self.optimizer = optimizer_of(self.field, config)

    @property
    def device(self) -> torch.device:
        """Where steps are computed. What was taken from the capture, warps and random numbers stay on the CPU."""
        return self.field.tables.device

    def to(self, device: torch.device) -> None:
        """Computes further steps there; see `Movable`."""
        self.field.place(device)
        self.average.place(device)
        self.perceptual.to(device)
        self.grid, self.shell = self.grid.to(device), self.shell.to(device)
        self.features, self.scores = self.features.to(device), self.scores.to(device)
        self.cameras = replace(
            self.cameras, pose=self.cameras.pose.to(device), intrinsics=self.cameras.intrinsics.to(device)
        )

    def batch(self, data: TrainingData, step: int) -> Batch:
        """Rays of several frames, or patches in every second step of the last part."""
        config, generator = self.config, data.generator(step, SEED_SALT)
        with self._lock:
            if self._bank is None:
                self._bank = FrameBank.load(data.capture, self.frames, config.size)
        bank, side = self._bank, min(config.patch_size, config.size)
        kind = pixels_of(config, step)
        shape = {"scattered": (0, config.rays_per_chunk), "patches": (side, side), "lips": bank.lips_shape}[kind]
        area = max(1, shape[0]) * shape[1]
        count = max(1, config.chunks_per_step * config.rays_per_chunk // area)
        rows = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        draw: dict[str, Callable[[int], Tensor]] = {
            "scattered": lambda row: bank.draw(row, config.rays_per_chunk, generator),
            "patches": lambda row: bank.patch(row, side, generator),
            "lips": bank.lips,
        }
        pixels = torch.stack([draw[kind](row) for row in rows.tolist()])
        rays = pixels.shape[1]
        backdrop = torch.rand(count, rays if kind == "scattered" else 1, 3, generator=generator).expand(count, rays, 3)
        alpha = bank.alpha.flatten(1)[rows[:, None], pixels].float() / 255
        batch = {
            "rows": rows,
            "pixels": pixels,
            "head": bank.head.flatten(1, 2)[rows[:, None], pixels].float() / 255,
            "alpha": alpha,
            "backdrop": backdrop.contiguous(),
            "shift": torch.rand(count, rays, generator=generator),
            "shape": torch.tensor(shape),
            "weight": torch.tensor(config.lips_weight if kind == "lips" else config.patch_weight),
        }
        if config.condition_noise:
            noise = torch.randn(count, self.features.shape[1], generator=generator)
            batch["noise"] = config.condition_noise * noise
        if smooths(config, step):
            batch["jitter"] = torch.rand(count, 3, SMOOTH_SAMPLES, generator=generator) * 2 - 1
        return batch

    def training_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Scalars of one step; chunks run on worker threads."""
        parameters, grids, layout = list(self.field.parameters()), self.field.grids(), self.field.layout
        nodes = (layout.empty_nodes, layout.folded) if isinstance(layout, PlaneLayout) else (None, None)
        return accumulated_loss(
            lambda k, sink: self._chunk_loss(batch, k, step, sink, grids),
            list(range(len(batch["rows"]))),
            parameters,
            self.field.tables,
            *nodes,
        )

    def _chunk_loss(
        self, batch: Batch, k: int, step: int, sink: Tensor | None, grids: PlaneGrids | None
    ) -> dict[str, Tensor]:
        config, row = self.config, int(batch["rows"][k])
        pixels = batch["pixels"][k]
        places = torch.stack((pixels % config.size, pixels // config.size), 1) + 0.5
        pose = self.cameras.pose[self.frames[row]].float()
        origin, directions = camera_rays(places, pose, self.cameras.intrinsics.float())
        features = self.features[row] + batch["noise"][k] if "noise" in batch else self.features[row]
        condition = FrameCondition(features, self.scores[row], row)
        out = render_rays(
            self.field,
            self.shell,
            self._warp(row),
            condition,
            origin,
            directions,
            batch["shift"][k],
            config,
            sink,
            grids,
        )
        backdrop, alpha = batch["backdrop"][k], batch["alpha"][k]
        image = out.colour + (1 - out.alpha[:, None]) * backdrop
        truth = batch["head"][k] + (1 - alpha[:, None]) * backdrop
        error, growing = image - truth, ramp(config, step)
        colour = error.abs().mean()
        loss = colour
        if self.field.doubt is not None:
            doubt = doubts(self.field, out, sink, grids)
            loss = (doubt_weights(doubt, growing) * error.abs().mean(1)).mean()
            loss = loss + growing * config.uncertainty_weight * doubt_loss(doubt, error, alpha > 0.5)
        loss = loss + config.alpha_weight * (out.alpha - alpha).abs().mean()
        loss = loss + config.entropy_weight * opacity_entropy(out.alpha)
        if (config.ambient_weight or config.gate_sparsity) and k % EXTRA_EVERY == 0:
            chunks, some = len(batch["rows"]), thin(out.samples.points, EXTRA_SAMPLES)
            read = self.field.geometry(some, sink, grids)
            extra = growing * config.ambient_weight * ambient(self.field, read, some[1] < self.head.nose_y)
            if config.gate_sparsity:
                extra = extra + config.gate_sparsity * gate_norm(self.field, read)
            loss = loss + extra * (chunks / len(range(0, chunks, EXTRA_EVERY)))  # chunks without it count as well
        if "jitter" in batch:
            rough = smoothness(self.field, out, condition, directions, batch["jitter"][k], sink, grids)
            loss = loss + growing * config.smooth_weight * rough
        scalars = {"colour": colour, "mse": error.square().mean()}
        height, width = batch["shape"].tolist()
        if height:
            a, b = (x.T.reshape(1, 3, height, width) for x in (image, truth))
            scalars["perceptual"] = self.perceptual(a, b)
            loss = loss + batch["weight"] * scalars["perceptual"]
        self.grid.mark_seen(out.samples.points, out.weights, step)
        return scalars | {"loss": loss, "samples": torch.tensor(out.samples.points.shape[1] / len(pixels))}

    def _warp(self, row: int) -> WarpField | None:
        if self.head.warper is None:
            return None
        if row not in self._fields:
            made = self.head.warper.field(self.points[row])
            self._fields[row] = replace(made, grid=made.grid.half())
        kept = self._fields[row].to(self.device)
        return replace(kept, grid=kept.grid.float())

    def after_step(self, step: int) -> None:
        """Learning rates, moving average and, every few steps, the occupancy grid."""
        self.done = step + 1
        for group in self.optimizer.param_groups:
            group["lr"] = group["first_lr"] * rate(self.config, self.done)
        self.field.gate_offset = self.average.gate_offset = gate_offset(self.config, self.done)
        decay = min(self.config.ema, self.done / (self.done + 9))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.field.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
        if self.done % REFRESH == 0:
            self._refresh()

    def _refresh(self) -> None:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.done)
        row = int(torch.multinomial(self.weights, 1, generator=generator))
        condition, grids = FrameCondition(self.features[row], self.scores[row], row), self.field.grids()

        def density(points: Tensor) -> Tensor:
            blocks = list(points.split(DENSITY_BLOCK, 1))
            workers = min(len(blocks), worker_count()) if self.device.type == "cpu" else 1

            def work(_: int, share: list[Tensor]) -> list[Tensor]:
                with torch.no_grad():
                    return [self.field(block, condition, grids=grids)[0][: block.shape[1]] for block in share]

            parts = in_threads(work, blocks, workers)
            return torch.cat([parts[k % workers][k // workers] for k in range(len(blocks))])

        self.grid.update(density, generator)
        self.shell = self.current_shell()

    def current_shell(self) -> Shell:
        """What is worth sampling now: everything dense at first, later only what has been seen lately."""
        warm = self.config.steps // 12
        return self.grid.shell(self.config.step_cm, None if self.done < warm else self.done - max(2 * REFRESH, warm))

    def state(self) -> dict[str, Tensor]:
        """All that training needs to go on, beside the optimizer's state."""
        state = {f"field.{name}": value for name, value in self.field.state_dict().items()}
        state |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        grid = {"density": self.grid.density, "last_seen": self.grid.last_seen, "allowed": self.grid.allowed}
        return {
            name: value.detach().clone()
            for name, value in (
                state | grid | {"occupied": self.shell.occupied, "done": torch.tensor(self.done)}
            ).items()
        }

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Goes on from a state."""
        for prefix, module in (("field.", self.field), ("average.", self.average)):
            module.load_state_dict({k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)})
        self.grid.density = tensors["density"].to(self.device, copy=True)
        self.grid.last_seen = tensors["last_seen"].to(self.device, copy=True)
        self.grid.allowed = tensors["allowed"].to(self.device, copy=True)
        self.done = int(tensors["done"])
        self.field.gate_offset = self.average.gate_offset = gate_offset(self.config, self.done)
        self.shell = Shell(
            self.grid.low, self.grid.extent, self.grid.cell, tensors["occupied"].to(self.device, torch.bool, copy=True)
        )
