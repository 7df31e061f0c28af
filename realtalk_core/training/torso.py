"""Learning the torso beside the head: which pixels are learnt from, their truth, and the loss (RealTalk §3.3)."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from realtalk_core.capture import Capture
from realtalk_core.compositing import face_region, without_head
from realtalk_core.evaluation import project, spread
from realtalk_core.matting import unmix
from realtalk_core.nn.parallel import in_threads, worker_count
from realtalk_core.nn.torso import SEEN_SIDE, Torso, TorsoField
from realtalk_core.stages import Batch
from realtalk_core.training.data import TrainingData
from realtalk_core.types import CameraTrack

STEPS = 1500
"""Most steps that the torso takes part in; more change nothing that can be seen."""
FRAMES, PIXELS = 512, 6144
"""Most frames looked at, and pixels kept of each: memory depends neither on the clip's length nor on its size."""
FRAMES_PER_STEP, PIXELS_PER_STEP = 8, 1024
BACKGROUND_SHARE = 0.12
"""How often a pixel far from the torso is drawn, relative to one of the torso."""
HIDDEN_WEIGHT = 0.05
"""Weight of what is continued behind the head, relative to what is seen: a neck seen in one frame of twenty wins."""
LR_TABLES, LR_NETS = 1e-2, 3e-3
DEPTH_WEIGHT, ALPHA_WEIGHT = 1.0, 0.2
EMA = 0.95
SALT = 47


@dataclass(frozen=True, slots=True)
class PixelBank:
    """Pixels of some frames, in memory (13 bytes each).

    Attributes:
        places: `F P` flat numbers of pixels.
        torso: `F P 4` premultiplied colour and opacity of the person without head.
        weight: `F P` how much to learn from it: 255 where the torso is seen, little where a head hides it.
        seen: `64 64`, where there is a torso in any frame, and a little around it.
    """

    places: Int64[Tensor, "F P"]
    torso: UInt8[Tensor, "F P 4"]
    weight: UInt8[Tensor, "F P"]
    seen: Bool[Tensor, "64 64"]

    @classmethod
    def load(cls, capture: Capture, frames: Tensor, cameras: CameraTrack, seed: int) -> PixelBank:
        """Reads the given frames at the cameras' size, on all worker threads."""
        size, count = cameras.width, min(PIXELS, cameras.width**2)
        plate = capture.background(size).astype(np.float32) / 255
        points = project(capture.landmarks, cameras).numpy()
        places = torch.empty(len(frames), count, dtype=torch.long)
        torso, weight = (torch.empty(len(frames), count, *c, dtype=torch.uint8) for c in ((4,), ()))

        def work(_: int, rows: list[int]) -> Any:
            most = np.zeros((SEEN_SIDE, SEEN_SIDE), np.float32)
            for row in rows:
                frame = int(frames[row])
                truth, seen = torso_of(capture, frame, plate, face_region(points[frame], points[frame], size))
                cover = truth[..., 3]
                most = np.maximum(most, cv2.resize(cover, (SEEN_SIDE, SEEN_SIDE), interpolation=cv2.INTER_AREA))
                wide = cv2.dilate(cover, np.ones((2 * (size // 40) + 1,) * 2, np.uint8)).clip(BACKGROUND_SHARE, 1)
                generator = torch.Generator().manual_seed((seed * 1_000_003 + frame) * 1_000_003 + SALT)
                drawn = torch.multinomial(
                    torch.from_numpy(wide).flatten(), count, replacement=count < size**2, generator=generator
                )
                places[row] = drawn
                torso[row] = torch.from_numpy((truth.reshape(-1, 4)[drawn.numpy()] * 255 + 0.5).astype(np.uint8))
                share = HIDDEN_WEIGHT + (1 - HIDDEN_WEIGHT) * seen.reshape(-1)[drawn.numpy()]
                weight[row] = torch.from_numpy((share * 255 + 0.5).astype(np.uint8))
            return most

        parts = in_threads(work, range(len(frames)), min(len(frames), worker_count()))
        there = cv2.dilate((np.maximum.reduce(parts) > 0.02).astype(np.uint8), np.ones((5, 5), np.uint8))
        return cls(places, torso, weight, torch.from_numpy(there > 0))


def torso_of(capture: Capture, frame: int, plate: Any, skin: Any) -> tuple[Any, Any]:
    """The person without head in one frame.

    Args:
        capture: Where it is from.
        frame: Its number.
        plate: `S S 3` float32 in [0, 1].
        skin: `S S 1`, the face's region.

    Returns:
        `S S 4` premultiplied colour (freed of the plate) and opacity, continued where the head hides it, and `S S 1`,
        how far it is seen.
    """
    size = plate.shape[0]
    masks = capture.masks(frame, size)
    picture = capture.frame(frame, size).astype(np.float32) / 255
    person, head = (masks[..., k : k + 1].astype(np.float32) / 255 for k in (0, 1))
    own, person = unmix(picture, plate, np.maximum(person, head))
    colour, cover, known = without_head(own, person, np.minimum(head, person), skin)
    return np.concatenate((colour, cover), -1), known


class TorsoTrainer:
    """The torso while it is learnt; a part of the head's `Trainer`, with which it shares nothing but its steps.

    Args:
        size: Side of the pictures it learns from.
        steps: Of the whole training.
        data: The capture and which of its frames to learn from.
    """

    def __init__(self, size: int, steps: int, data: TrainingData) -> None:
        capture = data.capture
        self.frames = spread(data.train, FRAMES)
        self.cameras = capture.cameras.resized(size, size)
        distance = float(self.cameras.pose[self.frames, :3, 3].norm(dim=1).mean())
        self.pose, self.intrinsics = self.cameras.pose[self.frames].float(), self.cameras.intrinsics.float()
        self.every = max(1, steps // STEPS)
        self.seed = data.seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(data.seed)
            self.field = TorsoField(size, len(self.frames), distance)
        self.average = copy.deepcopy(self.field).requires_grad_(False)
        nets = [p for name, p in self.field.named_parameters() if name != "tables"]
        self.optimizer = torch.optim.Adam(
            [{"params": [self.field.tables], "first_lr": LR_TABLES}, {"params": nets, "first_lr": LR_NETS}],
            lr=LR_NETS,
            betas=(0.9, 0.99),
            eps=1e-15,
        )
        self.steps, self.taken = steps, 0
        self._schedule()
        self.seen = torch.ones(SEEN_SIDE, SEEN_SIDE, dtype=torch.bool)
        self._bank: PixelBank | None = None
        self._lock = threading.Lock()

    def bank(self, data: TrainingData) -> PixelBank:
        """The pixels, read when first asked for."""
        with self._lock:
            if self._bank is None:
                self._bank = PixelBank.load(data.capture, self.frames, self.cameras, self.seed)
                self.seen = self._bank.seen
        return self._bank

    def batch(self, data: TrainingData, step: int) -> Batch:
        """Pixels of several frames, as entries `torso_…` for the head's batch; none in steps that it sits out."""
        bank = self.bank(data)  # at once, so that no later step is the one that waits
        if step % self.every:
            return {}
        generator = data.generator(step, SALT)
        rows = torch.randint(len(self.frames), (FRAMES_PER_STEP,), generator=generator)
        shape = (FRAMES_PER_STEP, min(PIXELS_PER_STEP, bank.places.shape[1]))
        at = torch.randint(bank.places.shape[1], shape, generator=generator)
        pixels, size = bank.places[rows[:, None], at], self.cameras.width
        return {
            "torso_rows": rows,
            "torso_places": (torch.stack((pixels % size, pixels // size), -1) + 0.5) / size,
            "torso_truth": bank.torso[rows[:, None], at].float() / 255,
            "torso_weight": bank.weight[rows[:, None], at].float() / 255,
            "torso_backdrop": torch.rand(*shape, 3, generator=generator),
        }

    def loss(self, batch: Batch) -> Float[Tensor, ""] | None:
        """L1 over random backgrounds and of the opacity, and (1 - anchor depth)² (RealTalk §3.3).

        None if the batch holds no pixels of the torso.
        """
        if "torso_rows" not in batch:
            return None
        rows, truth, backdrop = batch["torso_rows"], batch["torso_truth"], batch["torso_backdrop"]
        size, codes = (self.cameras.width, self.cameras.height), self.field.individual[rows]
        codes = (
            codes * (torch.arange(len(rows), device=rows.device) % 2)[:, None]
        )  # half learn what is rendered: the pose alone
        code, depth = self.field.frame_code(self.pose[rows], self.intrinsics, size, codes)
        out = self.field(batch["torso_places"], code)
        alpha, weight = out[..., 3:], batch["torso_weight"][..., None]
        image = out[..., :3] * alpha + (1 - alpha) * backdrop
        wanted = truth[..., :3] + (1 - truth[..., 3:]) * backdrop
        loss: Tensor = (weight * (image - wanted).abs()).mean() + ALPHA_WEIGHT * (
            weight * (alpha - truth[..., 3:]).abs()
        ).mean()
        return loss + DEPTH_WEIGHT * (1 - depth).square().mean()

    def after_step(self, step: int) -> None:
        """Learning rates and moving average of the weights."""
        self._schedule(step + 1)
        if step % self.every:
            return
        self.taken += 1
        decay = min(EMA, self.taken / (self.taken + 9))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.field.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)

    def _schedule(self, done: int = 0) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["first_lr"] * 0.1 ** min(1.0, done / self.steps)

    def torso(self) -> Torso:
        """The torso as learnt so far."""
        return Torso(copy.deepcopy(self.average), self.seen)

    def to(self, device: torch.device) -> None:
        """Computes further steps there; what was read from the capture stays on the CPU."""
        self.field.to(device)
        self.average.to(device)
        self.pose, self.intrinsics = self.pose.to(device), self.intrinsics.to(device)

    def state(self) -> dict[str, Tensor]:
        """All that training needs to go on, beside the optimizer's state."""
        state = {f"torso.{name}": value for name, value in self.field.state_dict().items()}
        state |= {f"torso_average.{name}": value for name, value in self.average.state_dict().items()}
        return state | {"torso_taken": torch.tensor(self.taken), "torso_seen": self.seen}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Goes on from a state."""
        for prefix, module in (("torso.", self.field), ("torso_average.", self.average)):
            module.load_state_dict({k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)})
        self.taken, self.seen = int(tensors["torso_taken"]), tensors["torso_seen"].bool().cpu()
