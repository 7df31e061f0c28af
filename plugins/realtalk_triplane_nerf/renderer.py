"""The component: trains, keeps its weights, and renders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Self

import torch
from torch import Tensor

from realtalk_core.errors import ShapeError, UserError
from realtalk_core.nn import cuda_planes
from realtalk_core.nn._jit import on_cpu
from realtalk_core.nn.conditioning import in_scheme, scheme_of
from realtalk_core.nn.marching import Shell
from realtalk_core.nn.parallel import in_threads, worker_count
from realtalk_core.nn.rays import camera_rays, meet_box, pixel_centres
from realtalk_core.nn.torso import Torso
from realtalk_core.nn.warp import WarpField
from realtalk_core.stages import Batch
from realtalk_core.training.data import TrainingData
from realtalk_core.training.torso import TorsoTrainer
from realtalk_core.types import CameraTrack, Drive, FrameBatch
from realtalk_triplane_nerf.attention_maps import maps_of_rays, names
from realtalk_triplane_nerf.condition import NAME, features_of
from realtalk_triplane_nerf.config import TriplaneNerfConfig
from realtalk_triplane_nerf.field import FrameCondition, TriplaneField, compute_type
from realtalk_triplane_nerf.fused import FusedField, available
from realtalk_triplane_nerf.head import Head, render_rays
from realtalk_triplane_nerf.still import conditions_in_range
from realtalk_triplane_nerf.training import Trainer
from realtalk_triplane_nerf.weights import check_tensors

RAYS = 4096
"""Rays evaluated at a time on the CPU, where they should fit the cache."""
RAYS_ON_GPU = 65536
"""Rays evaluated at a time on a GPU, which wants many at once."""


class TriplaneNerf:
    """Tri-plane hash NeRF of one head (RealTalk §3.3), conditioned on landmarks and upper-face blendshapes.

    Gives the head alone with its opacity; what lies behind is composited by the pipeline. Memory does not depend on the
    length of the drive.

    Args:
        config: Parameters.
        head: Template, basis and warp.
        field: Networks.
        shell: Where to sample.
        trainer: Present while training.
        torso: What is below the head; None if it is not learnt.
    """

    devices = ("cpu", "cuda")

    def __init__(
        self,
        config: TriplaneNerfConfig,
        head: Head,
        field: TriplaneField,
        shell: Shell,
        trainer: Trainer | None = None,
        torso: Torso | TorsoTrainer | None = None,
    ) -> None:
        self.config, self.head, self.field, self.shell, self.trainer = config, head, field, shell, trainer
        self._torso = torso
        self.total_steps = config.steps
        self.fused: FusedField | None = None

    @property
    def context_frames(self) -> int:
        """Frames to each side that a frame looks at: one with the paper's window, none with components."""
        return 1 if self.config.condition == "window" else 0

    @property
    def torso(self) -> Torso | None:
        """What is below the head, as learnt so far; see `TorsoLayer`."""
        return self._torso.torso() if isinstance(self._torso, TorsoTrainer) else self._torso

    @property
    def _torso_training(self) -> TorsoTrainer | None:
        return self._torso if isinstance(self._torso, TorsoTrainer) else None

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the user should know before training: what patches are compared by."""
        remark = None if self.trainer is None else self.trainer.perceptual.remark()
        return () if remark is None else (remark,)

    @property
    def render_size(self) -> int:
        """Side of the pictures it was trained on; larger ones only cost time."""
        return self.config.size

    @classmethod
    def fast_path(cls, config: TriplaneNerfConfig) -> str:
        """For `realtalk doctor`: which kernels run here, and why."""
        import numba

        field = TriplaneField(config, 3 * 204 if config.condition == "window" else config.components, 1)
        kind = str(field.compute).removeprefix("torch.")
        if available(field):
            way = f"one numba kernel from rays to pixels, {kind} products, on {worker_count()} worker threads"
        else:
            way = f"numba kernels and torch products in {kind}, on {worker_count()} worker threads"
        cpu = f"CPU: {way} (numba {numba.__version__})"
        if not torch.cuda.is_available():
            return cpu
        kind = str(compute_type(config, torch.device("cuda"))).removeprefix("torch.")
        planes = f"torch ({cuda_planes.why_not()})" if cuda_planes.reader() == "torch" else "tinycudann"
        return f"{cpu}; --device cuda: torch in {kind}, planes read by {planes}"

    @property
    def device(self) -> torch.device:
        """Where rays are evaluated. Template, basis and the making of warps stay on the CPU: they are small."""
        return self.field.tables.device

    def to(self, device: torch.device) -> Self:
        """Evaluates rays there from now on; see `Movable`."""
        if self.trainer is not None:
            self.trainer.to(device)
            self.shell = self.trainer.shell
        else:
            self.field.place(device)
            self.shell = self.shell.to(device)
        if self._torso is not None:
            self._torso.to(device)
        self.fused = None
        return self

    def render(self, drive: Drive, cameras: CameraTrack, region: Tensor | None = None) -> Iterator[FrameBatch]:
        """Renders the head; see `Renderer.render`.

        Args:
            drive: What moves the face.
            cameras: One per frame.
            region: `T H W` bool, which pixels are wanted; the others come back transparent. All of them if None.

        Raises:
            ShapeError: if drive, cameras and region differ in length or size.
            UserError: if the drive lacks blendshapes, or has 68 landmarks where 478 are needed.
        """
        if region is not None and region.shape != (len(cameras), cameras.height, cameras.width):
            raise ShapeError(
                f"TriplaneNerf.render: region is {tuple(region.shape)}, pictures are "
                f"{(len(cameras), cameras.height, cameras.width)}"
            )
        renderer, points, features, scores = self._driven(drive, cameras)
        return renderer._batches(points, features, scores, cameras, region)

    @torch.no_grad()
    def attention_maps(self, drive: Drive, cameras: CameraTrack) -> dict[str, Tensor]:
        """How much of the landmarks' code and of each blendshape the gates let through; see `AttentionMaps`.

        Raises:
            ShapeError: if drive and cameras differ in length.
            UserError: as `render`; or if it was trained without attention.
        """
        if self.field.mouth is None:
            raise UserError(
                "renderer triplane_nerf was trained without attention, so there is nothing to show",
                "Train it with --set renderer.attention=true.",
            )
        renderer, points, features, scores = self._driven(drive, cameras)
        device, warper = renderer.device, renderer.head.warper
        found = names(self.config)
        maps = torch.zeros(len(found), len(cameras), cameras.height * cameras.width)
        for k in range(len(cameras)):
            warp = None if warper is None else warper.field(points[k]).to(device)
            condition = FrameCondition(features[k].to(device), scores[k].to(device))
            origin, directions, rays = renderer._rays(warp, cameras[k : k + 1])
            for some in rays.split(RAYS):
                rows = maps_of_rays(
                    renderer.field, renderer.shell, warp, condition, origin, directions[some], self.config
                )
                maps[:, k, some.cpu()] = rows.T.cpu()
        return dict(zip(found, maps.view(len(found), len(cameras), cameras.height, cameras.width), strict=True))

    def _driven(self, drive: Drive, cameras: CameraTrack) -> tuple[Self, Tensor, Tensor, Tensor]:
        """The renderer as it would be loaded, and points, features and scores of a drive."""
        if len(drive) != len(cameras):
            raise ShapeError(f"TriplaneNerf: drive has {len(drive)} frames, cameras {len(cameras)}")
        renderer = self if self.trainer is None else self.from_state(self.config, self.state()).to(self.device)
        features, scores = features_of(drive, renderer.head.basis, self.config)
        landmarks = in_scheme(drive.landmarks, scheme_of(renderer.head.basis), NAME)
        return renderer, landmarks.points.float(), features, scores

    def _rays(
        self, warp: WarpField | None, camera: CameraTrack, region: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Origin and directions of a picture's rays, and the indices of those that may meet the head."""
        shell, device = self.shell, self.device
        origin, directions = camera_rays(
            pixel_centres(camera.width, camera.height).to(device),
            camera.pose[0].float().to(device),
            camera.intrinsics.float().to(device),
        )
        margin = 0.0 if warp is None else warp.reach()
        near, far = meet_box(origin, directions, shell.low - margin, shell.high + margin)
        wanted = far > near if region is None else (far > near) & region.flatten().to(device)
        return origin, directions, wanted.nonzero().flatten()

    def _batches(
        self, points: Tensor, features: Tensor, scores: Tensor, cameras: CameraTrack, region: Tensor | None
    ) -> Iterator[FrameBatch]:
        for start in range(0, len(cameras), self.config.frames_per_batch):
            stop = min(len(cameras), start + self.config.frames_per_batch)
            frames, warper = list(range(start, stop)), self.head.warper
            warps: list[WarpField | None] = [None] * len(frames)
            if warper is not None:
                workers = min(len(frames), worker_count())
                made = in_threads(lambda _, share: [warper.field(points[k]) for k in share], frames, workers)  # noqa: B023
                warps = [made[k % workers][k // workers] for k in range(len(frames))]
            pictures = [
                self._frame(
                    None if warp is None else warp.to(self.device),
                    FrameCondition(features[k].to(self.device), scores[k].to(self.device)),
                    cameras[k : k + 1],
                    None if region is None else region[k],
                )
                for k, warp in zip(frames, warps, strict=True)
            ]
            whole = torch.stack(pictures).cpu()
            yield FrameBatch(whole[..., :3], whole[..., 3:], start)

    @torch.no_grad()
    def _frame(
        self, warp: WarpField | None, condition: FrameCondition, camera: CameraTrack, region: Tensor | None = None
    ) -> Tensor:
        """One picture `H W 4`, colour not premultiplied."""
        if available(self.field):
            if self.fused is None:
                conditions = conditions_in_range(self.head.basis, self.config)
                self.fused = FusedField.of(self.field, self.shell, self.config, conditions)
            picture = self.fused.render(condition, warp, camera, region)[0].flatten(0, 1)
        else:
            picture = self._plain(condition, warp, *self._rays(warp, camera, region))
        alpha = picture[:, 3:].clamp(0, 1)
        whole = torch.cat(((picture[:, :3] / picture[:, 3:].clamp(min=1e-3)).clamp(0, 1), alpha), 1)
        return whole.reshape(camera.height, camera.width, 4)

    @torch.no_grad()
    def _plain(
        self, condition: FrameCondition, warp: WarpField | None, origin: Tensor, directions: Tensor, rays: Tensor
    ) -> Tensor:
        """What `FusedField.render` gives, one operation after another: its reference, and the way on a GPU."""
        picture = directions.new_zeros(len(directions), 4)

        def work(_: int, share: list[Tensor]) -> None:
            for some in share:
                shift = directions.new_full((len(some),), 0.5)
                out = render_rays(self.field, self.shell, warp, condition, origin, directions[some], shift, self.config)
                picture[some] = torch.cat((out.colour, out.alpha[:, None]), 1)

        blocks = list(rays.split(RAYS if on_cpu(picture) else RAYS_ON_GPU))
        if blocks:
            workers = worker_count() if on_cpu(picture) else 1
            in_threads(torch.no_grad()(work), blocks, min(len(blocks), workers))
        return picture

    def state(self) -> dict[str, Tensor]:
        """Averaged weights (planes in half precision), occupancy, template and basis; see `Stateful`."""
        field, shell, head = self.field, self.shell, self.head
        if self.trainer is not None:
            field, shell = self.trainer.average, self.trainer.current_shell()
        tensors = {f"field.{name}": value.detach().float() for name, value in field.state_dict().items()}
        tensors["field.tables"] = tensors["field.tables"].half()
        if "field.individual" in tensors:
            tensors["field.individual"] = tensors["field.individual"].mean(0, keepdim=True)
        tensors |= {
            "box": torch.cat((shell.low.cpu(), torch.tensor([shell.extent, shell.cell]))),
            "occupied": shell.occupied.to(torch.uint8),
            "gate_offset": torch.tensor(field.gate_offset),
        }
        tensors |= {} if self.torso is None else self.torso.tensors()
        return {name: value.detach().cpu().clone().contiguous() for name, value in (tensors | head.tensors()).items()}

    @classmethod
    def from_state(cls, config: TriplaneNerfConfig, tensors: Mapping[str, Tensor]) -> Self:
        """The renderer of a checkpoint; see `Stateful`.

        Raises:
            ValueError: if a tensor is missing, of another size, or holds NaN.
        """
        check_tensors(tensors)
        head = Head.from_tensors(config, tensors)
        features = 3 * 204 if config.condition == "window" else len(head.basis.scale)
        field = TriplaneField(config, features, 1)
        field.load_state_dict({k[6:]: v.float() for k, v in tensors.items() if k.startswith("field.")})
        if "gate_offset" in tensors:  # heads of earlier versions have their configuration's
            field.gate_offset = float(tensors["gate_offset"])
        box = tensors["box"].float()
        shell = Shell(box[:3], float(box[3]), float(box[4]), tensors["occupied"].bool())
        torso = Torso.from_tensors(config.size, tensors)
        return cls(config, head, field.requires_grad_(False), shell, torso=torso)

    @classmethod
    def for_training(cls, config: TriplaneNerfConfig, data: TrainingData) -> Self:
        """A fresh head; see `Trainable`.

        Raises:
            UserError: if no frame of the capture may be learnt from.
        """
        trainer = Trainer(config, data)
        torso = TorsoTrainer(config.size, config.steps, data) if config.torso else None
        return cls(config, trainer.head, trainer.field, trainer.shell, trainer, torso)

    def batch(self, data: TrainingData, step: int) -> Batch:
        """The batch of a step; see `Trainable`."""
        torso = self._torso_training
        return {**self._training.batch(data, step), **({} if torso is None else torso.batch(data, step))}

    def training_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Scalars of a step; see `Trainable`."""
        scalars, torso = self._training.training_step(batch, step), self._torso_training
        loss = None if torso is None else torso.loss(batch)
        if loss is None:
            return scalars
        return scalars | {"loss": scalars["loss"] + loss, "torso": loss.detach()}  # no parameter is in both

    def optimizers(self) -> Sequence[torch.optim.Optimizer]:
        """One Adam for the head, with a faster group for the planes, and one for the torso."""
        torso = self._torso_training
        return [self._training.optimizer, *([] if torso is None else [torso.optimizer])]

    def after_step(self, step: int) -> None:
        """Schedules, moving average, occupancy."""
        self._training.after_step(step)
        if self._torso_training is not None:
            self._torso_training.after_step(step)

    def training_state(self) -> dict[str, Tensor]:
        """Raw and averaged weights and the occupancy grid."""
        torso = self._torso_training
        return self._training.state() | ({} if torso is None else torso.state())

    def load_training_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Goes on from `training_state`."""
        self._training.load_state(tensors)
        if self._torso_training is not None:
            self._torso_training.load_state(tensors)

    @property
    def _training(self) -> Trainer:
        if self.trainer is None:
            raise RuntimeError("TriplaneNerf: made by from_state, which renders only; train with for_training")
        return self.trainer
