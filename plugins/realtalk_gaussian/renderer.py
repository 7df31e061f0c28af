"""The component: trains, keeps its weights, and renders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from realtalk_core.errors import ShapeError, UserError
from realtalk_core.nn.conditioning import in_scheme, scheme_of
from realtalk_core.nn.parallel import in_threads, worker_count
from realtalk_core.nn.splatting import View
from realtalk_core.nn.torso import Torso
from realtalk_core.stages import Batch
from realtalk_core.training.data import TrainingData
from realtalk_core.training.torso import TorsoTrainer
from realtalk_core.types import CameraTrack, Drive, FrameBatch
from realtalk_gaussian.attention_maps import map_names, maps_of_frame
from realtalk_gaussian.condition import NAME, Conditions, FrameCondition, conditions_of
from realtalk_gaussian.config import GaussianConfig
from realtalk_gaussian.head import Head, Posed, composite
from realtalk_gaussian.weights import head_of, tensors_of

if TYPE_CHECKING:
    from realtalk_gaussian.normals import NormalEstimator
    from realtalk_gaussian.training import Trainer


class GaussianRenderer:
    """Gaussians of one head (EmoTalkingGaussian, TalkingGaussian), moved by landmarks and by learnt branches.

    Gives the head alone with its opacity; what lies behind is composited by the pipeline. Memory does not depend on the
    length of the drive.

    Args:
        config: Parameters.
        head: The Gaussians and what moves them.
        trainer: Present while training.
        torso: What is below the head; None if it is not learnt.
    """

    devices = ("cpu", "cuda")
    manual_backward = True

    def __init__(
        self,
        config: GaussianConfig,
        head: Head,
        trainer: Trainer | None = None,
        torso: Torso | TorsoTrainer | None = None,
    ) -> None:
        self.config, self.head, self.trainer, self._torso = config, head, trainer, torso
        self.total_steps = config.steps
        self._known: dict[str, Tensor] | None = None

    @property
    def context_frames(self) -> int:
        """Frames to each side that a frame looks at: those whose sound it hears."""
        return 0 if self.head.audio is None else self.config.audio_context

    @property
    def torso(self) -> Torso | None:
        """What is below the head, as learnt so far; see `TorsoLayer`."""
        return self._torso.torso() if isinstance(self._torso, TorsoTrainer) else self._torso

    @property
    def _torso_training(self) -> TorsoTrainer | None:
        return self._torso if isinstance(self._torso, TorsoTrainer) else None

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the user should know before training."""
        return () if self.trainer is None else tuple(self.trainer.remarks)

    @property
    def render_size(self) -> int:
        """Side of the pictures it was trained on; larger ones show no more detail."""
        return self.config.size

    @classmethod
    def fast_path(cls, config: GaussianConfig) -> str:
        """For `realtalk doctor`: what draws here."""
        import numba

        cpu = f"CPU: numba kernels, on {worker_count()} worker threads (numba {numba.__version__})"
        if not torch.cuda.is_available():
            return cpu
        from realtalk_core.nn import cuda_splats

        return f"{cpu}; --device cuda: {cuda_splats.why_not() or 'gsplat'}"

    @classmethod
    def learns_from(cls, config: GaussianConfig) -> tuple[str, ...]:
        """Who teaches beside the capture; see `realtalk_core.training.teachers`."""
        if config.emotion != "branch":
            return ()
        return ("emotion",) if config.teacher == "landmarks" else (f"face_generator:{config.teacher}",)

    @property
    def device(self) -> torch.device:
        """Where frames are posed and drawn."""
        return self.head.device

    def to(self, device: torch.device) -> Self:
        """Draws there from now on; see `Movable`."""
        if self.trainer is not None:
            self.trainer.to(device)
        else:
            self.head.to(device)
        if self._torso is not None:
            self._torso.to(device)
        self._known = None
        return self

    def render(self, drive: Drive, cameras: CameraTrack, region: Tensor | None = None) -> Iterator[FrameBatch]:
        """Renders the head; see `Renderer.render`.

        Args:
            drive: What moves the face.
            cameras: One per frame.
            region: `T H W` bool, which pixels are wanted; the others may come back transparent. All of them if None.

        Raises:
            ShapeError: if drive, cameras and region differ in length or size.
            UserError: if the drive lacks what the head listens to, or has 68 landmarks where 478 are needed.
        """
        if region is not None and region.shape != (len(cameras), cameras.height, cameras.width):
            raise ShapeError(
                f"GaussianRenderer.render: region is {tuple(region.shape)}, pictures are "
                f"{(len(cameras), cameras.height, cameras.width)}"
            )
        renderer, points, conditions = self._driven(drive, cameras)
        return renderer._batches(points, conditions, cameras, region)

    @torch.no_grad()
    def attention_maps(self, drive: Drive, cameras: CameraTrack) -> dict[str, Tensor]:
        """How much of the speech's code and of each blendshape the gates let through; see `AttentionMaps`.

        Raises:
            ShapeError: if drive and cameras differ in length.
            UserError: as `render`; or if it was trained without attention.
        """
        if not self.config.attention:
            raise UserError(
                "renderer gaussian was trained without attention, so there is nothing to show",
                "Train it with --set renderer.attention=true.",
            )
        renderer, points, conditions = self._driven(drive, cameras)
        found = map_names(self.config)
        maps = torch.zeros(len(found), len(cameras), cameras.height, cameras.width)
        for k in range(len(cameras)):
            condition, view = conditions[k].to(self.device), View.of(cameras, k).to(self.device)
            maps[:, k] = maps_of_frame(renderer.head, renderer.known(), points[k], condition, view).cpu()
        return dict(zip(found, maps, strict=True))

    @torch.no_grad()
    def stored(self) -> list[Posed]:
        """The Gaussians as they are stored, by layer: nothing has moved them."""
        unheard = FrameCondition(torch.zeros(0), torch.zeros(0), torch.zeros(0, 0), torch.zeros(2))
        return list(self.head.pose(self.known(), unheard, None, ()).values())

    @torch.no_grad()
    def posed(self, drive: Drive, k: int) -> list[Posed]:
        """The Gaussians of one frame of a drive as `render` draws them, by layer."""
        renderer, points, conditions = self._driven(drive)
        head = renderer.head
        return list(head.pose(renderer.known(), conditions[k].to(self.device), head.motion(points[k])).values())

    def _driven(self, drive: Drive, cameras: CameraTrack | None = None) -> tuple[Self, Tensor, Conditions]:
        """The renderer as it would be loaded, and points and conditions of a drive."""
        if cameras is not None and len(drive) != len(cameras):
            raise ShapeError(f"GaussianRenderer: drive has {len(drive)} frames, cameras {len(cameras)}")
        renderer = self if self.trainer is None else self.from_state(self.config, self.state()).to(self.device)
        head = renderer.head
        conditions = conditions_of(drive, head.basis, head.audio, self.config)
        speech = drive if self.config.emotion == "landmarks" else drive.speech
        return renderer, in_scheme(speech.landmarks, scheme_of(head.basis), NAME).points.float(), conditions

    @torch.no_grad()
    def known(self) -> dict[str, Tensor]:
        """What does not depend on the frame, made once."""
        if self._known is None:
            self._known = {name: value.detach() for name, value in self.head.canonical(fast=True).items()}
        return self._known

    def _batches(
        self, points: Tensor, conditions: Conditions, cameras: CameraTrack, region: Tensor | None
    ) -> Iterator[FrameBatch]:
        known, workers = self.known(), worker_count() if self.device.type == "cpu" else 1

        @torch.no_grad()
        def work(_: int, share: list[int]) -> list[Tensor]:
            wanted = (None if region is None else region[k] for k in share)
            return [self._frame(known, points, conditions, cameras, k, r) for k, r in zip(share, wanted, strict=True)]

        # Each frame by one worker, even a frame alone: torch's products differ in the last bit with more threads.
        for start in range(0, len(cameras), self.config.frames_per_batch):
            stop = min(len(cameras), start + self.config.frames_per_batch)
            made = in_threads(work, range(start, stop), workers)
            whole = torch.stack([made[k % workers][k // workers] for k in range(stop - start)])
            yield FrameBatch(whole[..., :3], whole[..., 3:], start)

    def _frame(
        self,
        known: dict[str, Tensor],
        points: Tensor,
        conditions: Conditions,
        cameras: CameraTrack,
        k: int,
        region: Tensor | None,
    ) -> Tensor:
        """One picture `H W 4`, colour not premultiplied."""
        head, view = self.head, View.of(cameras, k).to(self.device)
        posed = head.pose(known, conditions[k].to(self.device), head.motion(points[k]))
        colour, alpha = composite(head.draw(posed, view, joined=True, region=region, threads=1))
        alpha = alpha[..., None].clamp(0, 1)
        return torch.cat(((colour / alpha.clamp(min=1e-3)).clamp(0, 1), alpha), 2).cpu()

    def state(self) -> dict[str, Tensor]:
        """Averaged weights, Gaussians and planes in half precision, template and basis; see `Stateful`."""
        head = self.head if self.trainer is None else self.trainer.average
        tensors = tensors_of(head) | ({} if self.torso is None else self.torso.tensors())
        return {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}

    @classmethod
    def from_state(cls, config: GaussianConfig, tensors: Mapping[str, Tensor]) -> Self:
        """The renderer of a checkpoint; see `Stateful`.

        Raises:
            ValueError: if a tensor is missing, of another size, or holds NaN.
        """
        head = head_of(config, tensors)
        return cls(config, head.requires_grad_(False), torso=Torso.from_tensors(config.size, tensors))

    @classmethod
    def for_training(cls, config: GaussianConfig, data: TrainingData, normals: NormalEstimator | None = None) -> Self:
        """A fresh head; see `Trainable`.

        Args:
            config: Parameters.
            data: The capture, and which of its frames to learn from.
            normals: Where targets of normals come from; the surface through the landmarks if None.

        Raises:
            UserError: if no frame of the capture may be learnt from.
        """
        from realtalk_gaussian.training import Trainer

        trainer = Trainer(config, data, normals)
        torso = TorsoTrainer(config.size, config.steps, data) if config.torso else None
        return cls(config, trainer.head, trainer, torso)

    def batch(self, data: TrainingData, step: int) -> Batch:
        """The batch of a step; see `Trainable`."""
        torso = self._torso_training
        return {**self._training.batch(data, step), **({} if torso is None else torso.batch(data, step))}

    def training_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Scalars of a step, gradients left in the parameters; see `Trainable`."""
        scalars, torso = self._training.training_step(batch, step), self._torso_training
        loss = None if torso is None else torso.loss(batch)
        if loss is None:
            return scalars
        loss.backward()  # no parameter is in both
        return scalars | {"loss": scalars["loss"] + loss.detach(), "torso": loss.detach()}

    def optimizers(self) -> Sequence[torch.optim.Optimizer]:
        """Those of the head, and one for the torso."""
        torso = self._torso_training
        return [*self._training.optimizers, *([] if torso is None else [torso.optimizer])]

    def after_step(self, step: int) -> None:
        """Schedules, moving average, the Gaussians' number."""
        self._training.after_step(step)
        if self._torso_training is not None:
            self._torso_training.after_step(step)

    def training_state(self) -> dict[str, Tensor]:
        """Raw and averaged weights, and what decides on the Gaussians' number."""
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
            raise RuntimeError("GaussianRenderer: made by from_state, which renders only; train with for_training")
        return self.trainer
