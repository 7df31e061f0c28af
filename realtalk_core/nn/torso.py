"""The torso below the head: a picture bent by where the head is (adaptive pose encoding, ER-NeRF §3.4; RealTalk §3.3).

Three learnable anchor points ride on the head; where the camera sees them tells how it is held. With the pixel's own
place they give an offset into a multi-resolution picture, whose features become colour and opacity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn

from realtalk_core.nn import _torso_kernel
from realtalk_core.nn._jit import array, on_cpu
from realtalk_core.nn._torso_kernel import CHANNELS, WIDTH
from realtalk_core.nn.parallel import in_threads, worker_count
from realtalk_core.nn.simd import TILE, packed
from realtalk_core.types import CameraTrack, FrameBatch

LEVELS, COARSEST = 16, 16
PIXEL_OCTAVES, ANCHOR_OCTAVES = 8, 3
INDIVIDUAL = 8
SHRINK = 0.8
"""The part of the picture that undeformed pixels read; the rest is room for offsets."""
UNIT = 10.0
"""Anchors are kept in these many centimetres."""
FIRST_ANCHORS = ((0.0, -0.6, 0.5, 1.0), (-0.7, 0.4, -0.2, 1.0), (0.7, 0.4, -0.2, 1.0))
"""Chin and ears, about: three points that no rotation leaves in place."""
SEEN_SIDE = 64
FAINTEST = 1 / 255


def frequencies(values: Float[Tensor, "... C"], octaves: int) -> Float[Tensor, "... D"]:
    """The values with sines and cosines of their doubled, fourfold … multiples; D = C (1 + 2 octaves)."""
    scaled = values[..., None, :] * 2.0 ** torch.arange(octaves, device=values.device)[:, None]
    waves = torch.stack((scaled.sin(), scaled.cos()), -2).flatten(-3)
    return torch.cat((values, waves), -1)


@dataclass(frozen=True, slots=True)
class PictureLayout:
    """Sizes of a dense multi-resolution picture of two channels a level.

    The paper's table has 2¹⁶ entries a level and repeats beyond them; here every level fits, for no level is finer than
    the pictures that are learnt from.
    """

    sides: tuple[int, ...]

    @classmethod
    def upto(cls, size: int) -> PictureLayout:
        """`LEVELS` resolutions in geometric progression, up to one cell per pixel."""
        growth = (max(size, COARSEST + 1) / COARSEST) ** (1 / (LEVELS - 1))
        return cls(tuple(round(COARSEST * growth**level) for level in range(LEVELS)))

    @property
    def starts(self) -> tuple[int, ...]:
        """First entry of each level."""
        sizes = [(side + 1) ** 2 for side in self.sides]
        return tuple(sum(sizes[:k]) for k in range(len(sizes)))

    @property
    def entries(self) -> int:
        """Entries of all levels."""
        return sum((side + 1) ** 2 for side in self.sides)


def read_picture_reference(
    points: Float32[Tensor, "N 2"], tables: Float32[Tensor, "V 2"], layout: PictureLayout
) -> Float32[Tensor, "N D"]:
    """Bilinear reads of every level at points in [0, 1]² (clamped to it), as the formula says; differentiable."""
    columns = []
    for side, start in zip(layout.sides, layout.starts, strict=True):
        at = points.clamp(0, 1) * side
        cell = at.detach().long().clamp(max=side - 1)
        s, t = (at - cell)[:, :1], (at - cell)[:, 1:]
        k = start + cell[:, 1] * (side + 1) + cell[:, 0]
        near = torch.lerp(tables[k], tables[k + 1], s)
        far = torch.lerp(tables[k + side + 1], tables[k + side + 2], s)
        columns.append(torch.lerp(near, far, t))
    return torch.cat(columns, 1)


class _ReadPicture(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, tables: Tensor, layout: PictureLayout) -> Tensor:
        out = torch.empty(len(points), CHANNELS * len(layout.sides))
        ctx.sides, ctx.starts = _sizes(layout)
        _torso_kernel.encode(array(points), array(tables), ctx.sides, ctx.starts, out.numpy())
        ctx.save_for_backward(points, tables)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        points, tables = ctx.saved_tensors
        moved, into = torch.zeros_like(points), torch.zeros_like(tables)
        _torso_kernel.encode_backward(
            array(points), array(grad), array(tables), ctx.sides, ctx.starts, into.numpy(), moved.numpy()
        )
        # As `clamp`: what lies outside does not move with the point.
        return moved * ((points >= 0) & (points <= 1)), into, None


def read_picture(
    points: Float32[Tensor, "N 2"], tables: Float32[Tensor, "V 2"], layout: PictureLayout
) -> Float32[Tensor, "N D"]:
    """`read_picture_reference`, by the kernel where the tensors are on the CPU."""
    if not on_cpu(points, tables):
        return read_picture_reference(points, tables, layout)
    out: Tensor = _ReadPicture.apply(points.contiguous(), tables, layout)  # type: ignore[no-untyped-call]
    return out


@lru_cache(maxsize=4)
def _sizes(layout: PictureLayout) -> tuple[Any, Any]:
    return array(torch.tensor(layout.sides, dtype=torch.int32)), array(torch.tensor(layout.starts, dtype=torch.int32))


class Network(nn.Module):
    """Three layers of `WIDTH` hidden units."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(inputs, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.third = nn.Linear(WIDTH, outputs)

    def forward(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... O"]:
        """One output for each input."""
        out: Tensor = self.third(torch.relu(self.second(torch.relu(self.first(x)))))
        return out


class TorsoField(nn.Module):
    """Colour and opacity of pixels, given the head's pose.

    Args:
        size: Side of the pictures it learns from.
        frames: Rows of individual codes.
        distance: Of the head from the camera, on average, in centimetres; the anchors' depth is measured in it.
    """

    def __init__(self, size: int, frames: int, distance: float) -> None:
        super().__init__()
        self.layout = PictureLayout.upto(size)
        self.anchors = nn.Parameter(torch.tensor(FIRST_ANCHORS))
        self.tables = nn.Parameter(torch.empty(self.layout.entries, CHANNELS).uniform_(-1e-4, 1e-4))
        self.individual = nn.Parameter(torch.zeros(frames, INDIVIDUAL))
        position, pose = 2 * (1 + 2 * PIXEL_OCTAVES), 6 * (1 + 2 * ANCHOR_OCTAVES)
        self.deform = Network(position + pose + INDIVIDUAL, 2)
        self.body = Network(position + pose + INDIVIDUAL + CHANNELS * LEVELS, 4)
        self.register_buffer("distance", torch.tensor(distance))
        self.distance: Tensor

    def frame_code(
        self, pose: Float[Tensor, "F 4 4"], intrinsics: Float[Tensor, "3 3"], size: tuple[int, int], codes: Tensor
    ) -> tuple[Float[Tensor, "F D"], Float[Tensor, "F 3"]]:
        """Everything that is the same for all pixels of a frame, and the anchors' depths over the head's distance.

        Args:
            pose: Camera-to-head.
            intrinsics: Of pictures of that size.
            size: Width and height in pixels.
            codes: `F 8` individual codes.
        """
        points = UNIT * self.anchors[:, :3] / self.anchors[:, 3:]
        seen = (points - pose[:, None, :3, 3]) @ pose[:, :3, :3]  # camera-to-head, so its transpose goes to the camera
        flat = seen @ intrinsics.T
        places = flat[..., :2] / flat[..., 2:].clamp(min=1e-3) / seen.new_tensor(size) * 2 - 1
        return torch.cat((frequencies(places.flatten(1), ANCHOR_OCTAVES), codes), 1), seen[..., 2] / self.distance

    def forward(self, places: Float[Tensor, "F P 2"], code: Float[Tensor, "F D"]) -> Float[Tensor, "F P 4"]:
        """Colour in [0, 1] and opacity.

        Args:
            places: Of pixels, as a share of the picture's width and height.
            code: Of each frame, from `frame_code`.
        """
        known = torch.cat((_position(places), code[:, None].expand(-1, places.shape[1], -1)), -1)
        moved = 0.5 + SHRINK * (places - 0.5) + self.deform(known)
        features = read_picture(moved.flatten(0, 1), self.tables, self.layout)
        return torch.sigmoid(self.body(torch.cat((known, features.view(*places.shape[:2], -1)), -1)))


def _position(places: Float[Tensor, "... 2"]) -> Float[Tensor, "... D"]:
    """Frequencies of a place, all of x before all of y, so that a layer on them is a sum of one term for each."""
    return torch.cat([frequencies(2 * places[..., k : k + 1] - 1, PIXEL_OCTAVES) for k in (0, 1)], -1)


class Torso:
    """A learnt torso, as the renderer hands it out; see `realtalk_core.stages.TorsoLayer`.

    Args:
        field: The networks.
        seen: `64 64`, where in the picture a torso has ever been.
    """

    def __init__(self, field: TorsoField, seen: Bool[Tensor, "64 64"]) -> None:
        self.field, self.seen = field.requires_grad_(False), seen
        self._shares = lru_cache(maxsize=2)(self._make_shares)

    @torch.no_grad()
    def render(self, cameras: CameraTrack, region: Bool[Tensor, "T H W"] | None = None) -> FrameBatch:
        """The torso of each camera, with what it covers; elsewhere, and outside of the region, transparent."""
        width, height, field = cameras.width, cameras.height, self.field
        device = field.tables.device
        seen = self.seen[None, None].float()
        there = F.interpolate(seen, (height, width), mode="bilinear", align_corners=False)[0, 0] > 0
        codes, pose = torch.zeros(len(cameras), INDIVIDUAL, device=device), cameras.pose.float().to(device)
        code, _ = field.frame_code(pose, cameras.intrinsics.float().to(device), (width, height), codes)
        picture = torch.zeros(len(cameras), height * width, 4)
        pixels_of = self._pixels if on_cpu(code) else self.pixels_reference
        workers = worker_count() if on_cpu(code) else 1
        jobs = []
        for k in range(len(cameras)):
            wanted = there if region is None else there & region[k]
            pixels = wanted.flatten().nonzero().flatten()
            jobs += [(k, some) for some in torch.split(pixels, max(1, -(-len(pixels) // workers)))]

        @torch.no_grad()
        def work(_: int, share: list[tuple[int, Tensor]]) -> None:
            for k, some in share:
                picture[k, some] = pixels_of(some.to(device), code[k], width, height).cpu()

        if jobs:
            in_threads(work, jobs, min(len(jobs), workers))
        alpha = torch.where(picture[..., 3:] < FAINTEST, 0.0, picture[..., 3:])
        rgb = (picture[..., :3] / alpha.clamp(min=1e-3)).clamp(0, 1) * (alpha > 0)
        shape = (len(cameras), height, width, -1)
        return FrameBatch(rgb.view(shape), alpha.view(shape), 0)

    def to(self, device: torch.device) -> Torso:
        """Works there from now on; what it is handed and what it gives stay on the CPU."""
        self.field.to(device)
        self._shares.cache_clear()
        return self

    @torch.no_grad()
    def pixels_reference(self, pixels: Tensor, code: Tensor, width: int, height: int) -> Float[Tensor, "P 4"]:
        """Premultiplied pixels of one frame, one operation after another: the kernel's reference, and a GPU's way."""
        places = (torch.stack((pixels % width, pixels // width), 1) + 0.5) / pixels.new_tensor([width, height])
        out = self.field(places[None], code[None])[0]
        return torch.cat((out[:, :3] * out[:, 3:], out[:, 3:]), 1)

    def _pixels(self, pixels: Tensor, code: Tensor, width: int, height: int) -> Float[Tensor, "P 4"]:
        """`pixels_reference` by the kernel."""
        field, out = self.field, torch.empty(len(pixels), 4)
        networks: list[Any] = []
        for layers, shares in zip((field.deform, field.body), self._shares(width, height), strict=True):
            first = layers.first
            (across, down), before = shares, CHANNELS * LEVELS if layers is field.body else 0
            start = first.weight.shape[1] - before - len(code)
            same = first.bias + first.weight[:, start : start + len(code)] @ code
            parts = [across.T, (down + same).T]
            if before:
                parts += [packed(first.weight[:, start + len(code) :], False), torch.zeros(WIDTH)]
            for layer in (layers.second, layers.third):
                spare = -len(layer.bias) % TILE
                parts += [packed(F.pad(layer.weight, (0, 0, 0, spare)), False), F.pad(layer.bias, (0, spare))]
            networks.append(tuple(array(part) for part in parts))
        sides, starts = _sizes(field.layout)
        _torso_kernel.render(
            array(pixels),
            width,
            height,
            SHRINK,
            array(field.tables),
            sides,
            starts,
            networks[0],
            networks[1],
            out.numpy(),
        )
        return out

    def _make_shares(self, width: int, height: int) -> list[tuple[Tensor, Tensor]]:
        """What columns and rows of a picture add to the first layers: a place's frequencies fall into x's and y's."""
        columns, rows = (
            frequencies(2 * ((torch.arange(n) + 0.5) / n)[:, None] - 1, PIXEL_OCTAVES) for n in (width, height)
        )
        half, weights = columns.shape[1], [layers.first.weight for layers in (self.field.deform, self.field.body)]
        return [(columns @ w[:, :half].T, rows @ w[:, half : 2 * half].T) for w in weights]

    def tensors(self) -> dict[str, Tensor]:
        """Named tensors for a checkpoint; the picture in half precision, no individual codes."""
        state = {name: value.detach().cpu().clone() for name, value in self.field.state_dict().items()}
        state["tables"] = state["tables"].half()
        state["individual"] = state["individual"][:0]
        return {f"torso.{name}": value for name, value in (state | {"seen": self.seen.to(torch.uint8)}).items()}

    @classmethod
    def from_tensors(cls, size: int, tensors: Mapping[str, Tensor]) -> Torso | None:
        """The torso of a checkpoint; None if it has none."""
        state = {k[6:]: v for k, v in tensors.items() if k.startswith("torso.")}
        if not state:
            return None
        seen = state.pop("seen").bool()
        field = TorsoField(size, len(state["individual"]), float(state["distance"]))
        field.load_state_dict({name: value.float() for name, value in state.items()})
        return cls(field, seen)
