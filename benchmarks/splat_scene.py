"""A head of Gaussians to measure splatting on, its plain-torch reference in affordable pieces, and the floor.

The scene is a shell: the side that a camera sees of an ellipsoid as large as a head with hair (15 × 21 × 19 cm, four
fifths of the picture high), with Gaussians of random place on it, about half a spacing off it, flat against it, their
size following their spacing. Sizes, flatness and opacities are spread as in clouds of 28,000 trained on two filmed
people: nearest neighbours a millimetre (two pixels at 512²) apart, standard deviations 1.3, 0.9 and 0.16 mm in the
median and threefold either way, a quarter nearly opaque, a quarter faint. To a covered pixel about 35 Gaussians add
before it is spent; 24 to 35 there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from timing import Target, shared
from torch import Tensor

from realtalk_core.nn import _splat_gradient_kernel, _splat_pairs_kernel, _splat_raster_kernel
from realtalk_core.nn.splat_projection import (
    Screen,
    View,
    covariances_reference,
    project_reference,
    sh_colours_reference,
)
from realtalk_core.nn.splatting import covariances, project, rasterise, sh_colours
from realtalk_core.nn.splatting_reference import FAINTEST, OPAQUE, SPENT, rasterise_reference

HALF_AXES = (7.5, 10.5, 9.5)
DISTANCE = 40.0
"""From the camera to the head's middle, cm."""
FOCAL = 1.5
"""In picture sides."""
TILE = 16
OPERATIONS = {"forward": 15, "backward": 33}
"""Multiply-adds or their like that one Gaussian costs one pixel it adds to: form 2, exponential 6, bounds 2, weight and
light 2, colour 3; back the same form and exponential again, colour and its dot product 6, what lies behind 6, the sums
over the pixels of the form's moments, opacity and centre 10."""

KERNELS: dict[str, list[Target]] = {
    "sort, tiles": [
        (_splat_pairs_kernel, name) for name in ("front_to_back", "pack", "pairs_by_gaussian", "pairs_by_tile")
    ],
    "raster": [(_splat_raster_kernel, "draw")],
    "raster, backward": [(_splat_gradient_kernel, name) for name in ("draw_backward", "gather")],
}
"""What is timed inside `rasterise`; the rest of it is small operations."""


@dataclass(frozen=True)
class Scene:
    """Gaussians as a cloud holds them, and the camera."""

    means: Tensor
    scales: Tensor
    rotations: Tensor
    opacities: Tensor
    colours: Tensor
    view: View

    def tensors(self) -> list[Tensor]:
        return [self.means, self.scales, self.rotations, self.opacities, self.colours]

    def to(self, device: torch.device) -> Scene:
        return Scene(*(t.to(device) for t in self.tensors()), self.view.to(device))

    def leaves(self) -> Scene:
        """The same with gradients."""
        return Scene(*(t.clone().requires_grad_() for t in self.tensors()), self.view)


def scene(count: int, size: int, harmonics: int = 4) -> Scene:
    draw = torch.Generator().manual_seed(0)
    normal = F.normalize(torch.randn(4 * count, 3, generator=draw), dim=1)
    normal = normal[normal[:, 2] > -0.2][:count]  # what faces the camera, and a little beyond
    axes = torch.tensor(HALF_AXES)
    outwards = F.normalize(normal / axes, dim=1)
    area = 0.6 * 4 * math.pi * (float(axes.prod()) ** (2 / 3))
    spacing = math.sqrt(area / count)
    means = normal * axes + outwards * spacing * 0.5 * torch.randn(count, 1, generator=draw)
    shape = torch.tensor([0.75, 0.75, 0.11]) * (0.3 * torch.randn(count, 3, generator=draw)).exp()
    shape = shape * (0.5 * torch.randn(count, 1, generator=draw)).exp()
    half_way = F.normalize(outwards + torch.tensor([0.0, 0, 1]) + 1e-6, dim=1)
    tilt = torch.cat((torch.zeros(count, 1), half_way), 1)  # half a turn about the halfway axis: z becomes outwards
    opacities = (0.5 + 3 * torch.randn(count, generator=draw)).sigmoid()
    colours = (
        torch.randn(count, harmonics, 3, generator=draw) * torch.tensor([0.8, *([0.05] * (harmonics - 1))])[:, None]
    )
    pose = torch.diag(torch.tensor([1.0, -1, -1, 1]))
    pose[2, 3] = DISTANCE
    lens = torch.tensor([[FOCAL * size, 0, size / 2], [0, FOCAL * size, size / 2], [0, 0, 1]])
    return Scene(means, shape * spacing, tilt, opacities, colours, View(pose, lens, size, size))


def picture(some: Scene, threads: int | None = None) -> Tensor:
    """Colour and opacity `H W 4` by kernels."""
    screen = project(some.means, covariances(some.scales, some.rotations), some.view, some.opacities)
    drawn = rasterise(
        screen, some.opacities, sh_colours(some.colours, some.means, some.view), some.view, threads=threads
    )
    return torch.cat((drawn.picture, drawn.alpha[..., None]), 2)


def gradients(some: Scene, pull: Tensor, threads: int | None = None) -> list[Tensor]:
    """Gradients of the picture pulled at by `pull`, by kernels."""
    there = some.leaves()
    return list(torch.autograd.grad((picture(there, threads) * pull).sum(), there.tensors()))


def _seen(some: Scene) -> tuple[Screen, Tensor]:
    screen = project_reference(
        some.means, covariances_reference(some.scales, some.rotations), some.view, some.opacities
    )
    return screen, sh_colours_reference(some.colours, some.means, some.view)


def _pieces(screen: Screen, view: View, size: int) -> list[tuple[int, int, Tensor]]:
    """Corner of every tile, and who may touch it, by the radii."""
    x, y, r = screen.centres[:, 0].detach(), screen.centres[:, 1].detach(), screen.radii
    rows = [
        ((r > 0) & (y + r >= top) & (y - r <= top + size)).nonzero().flatten() for top in range(0, view.height, size)
    ]
    return [
        (top * size, left, some[(x[some] + r[some] >= left) & (x[some] - r[some] <= left + size)])
        for top, some in enumerate(rows)
        for left in range(0, view.width, size)
    ]


def _cut(screen: Screen, view: View, top: int, left: int, who: Tensor, size: int) -> tuple[Screen, View]:
    centres = screen.centres[who] - torch.tensor([float(left), float(top)])
    small = View(view.pose, view.intrinsics, min(size, view.width - left), min(size, view.height - top))
    return Screen(centres, screen.conics[who], screen.depths[who], screen.radii[who]), small


def reference_picture(some: Scene) -> Tensor:
    """The reference, tile by tile on all worker threads: each Gaussian only where its radius reaches."""
    with torch.no_grad():
        screen, colours = _seen(some)
        whole = torch.zeros(some.view.height, some.view.width, 4)

        def work(piece: tuple[int, int, Tensor]) -> None:
            top, left, who = piece
            cut, small = _cut(screen, some.view, top, left, who, TILE)
            colour, alpha = rasterise_reference(cut, some.opacities[who], colours[who], small)
            whole[top : top + TILE, left : left + TILE] = torch.cat((colour, alpha[..., None]), 2)

        shared(_pieces(screen, some.view, TILE), work)
    return whole


def reference_gradients(some: Scene, pull: Tensor) -> list[Tensor]:
    """Gradients by autograd through the reference, tile by tile likewise."""
    there = some.leaves()
    screen, colours = _seen(there)
    given = (screen.centres, screen.conics, there.opacities, colours)

    def work(piece: tuple[int, int, Tensor]) -> tuple[Tensor, ...]:
        top, left, who = piece
        with torch.enable_grad():
            centres, conics, opacities, channels = (t.detach()[who].requires_grad_() for t in given)
            flat = Screen(screen.centres.detach(), screen.conics.detach(), screen.depths.detach(), screen.radii)
            cut, small = _cut(flat, some.view, top, left, who, TILE)
            cut = Screen(centres - torch.tensor([float(left), float(top)]), conics, cut.depths, cut.radii)
            colour, alpha = rasterise_reference(cut, opacities, channels, small)
            made = torch.cat((colour, alpha[..., None]), 2) * pull[top : top + TILE, left : left + TILE]
            return who, *torch.autograd.grad(made.sum(), (centres, conics, opacities, channels))

    into = [torch.zeros_like(t) for t in given]
    for who, *parts in shared([p for p in _pieces(screen, some.view, TILE) if len(p[2])], work):
        for whole, part in zip(into, parts, strict=True):
            whole.index_add_(0, who, part)
    return list(torch.autograd.grad(list(given), there.tensors(), into))


def dense_band(some: Scene, rows: int, pull: Tensor | None = None) -> Callable[[], object]:
    """The reference as it is written, every Gaussian at every pixel, on a band of rows in the middle."""
    with torch.no_grad():
        screen, colours = _seen(some)
    view, middle = some.view, (some.view.height - rows) // 2
    band = View(view.pose, view.intrinsics, view.width, 1)

    def work() -> None:
        for row in range(middle, middle + rows):
            leaves = (screen.centres, screen.conics, some.opacities, colours)
            given = [t.detach().requires_grad_(pull is not None) for t in leaves]
            there = Screen(given[0] - torch.tensor([0.0, row]), given[1], screen.depths, screen.radii)
            colour, alpha = rasterise_reference(there, given[2], given[3], band, rows=1)
            if pull is not None:
                made = torch.cat((colour, alpha[..., None]), 2) * pull[row]
                torch.autograd.grad(made.sum(), given)

    return work


def contributions(some: Scene) -> dict[str, float]:
    """How many Gaussians add to how many pixels before these are spent: what no rasteriser is spared."""
    counts = {"contributions": 0, "pixels": 0}
    with torch.no_grad():
        screen, _ = _seen(some)

        def work(piece: tuple[int, int, Tensor]) -> tuple[int, int]:
            top, left, who = piece
            who = who[screen.depths[who].argsort()]
            cut, small = _cut(screen, some.view, top, left, who, TILE)
            y, x = torch.meshgrid(torch.arange(small.height) + 0.5, torch.arange(small.width) + 0.5, indexing="ij")
            dx, dy = (t.flatten() - cut.centres[:, k, None] for k, t in enumerate((x, y)))
            a, b, c = (t[:, None] for t in cut.conics.unbind(1))
            level = some.opacities[who, None] * torch.exp(-0.5 * (a * dx * dx + 2 * b * dx * dy + c * dy * dy))
            share = torch.where(level >= FAINTEST, level.clamp(max=OPAQUE), 0.0)
            before = (1 - share).cumprod(0).roll(1, 0)
            before[:1] = 1
            adds = (share > 0) & (before > SPENT)
            return int(adds.sum()), int(adds.any(0).sum())

        for adds, pixels in shared([p for p in _pieces(screen, some.view, TILE) if len(p[2])], work):
            counts["contributions"] += adds
            counts["pixels"] += pixels
    return counts | {"layers": counts["contributions"] / max(1, counts["pixels"])}


def moved_bytes(some: Scene, channels: int = 4) -> dict[str, int]:
    """What must be read and written at least: the cloud and the picture, back also their gradients."""
    held = sum(t.nbytes for t in some.tensors())
    drawn = some.view.width * some.view.height * channels * 4
    return {"forward": held + drawn, "backward": 2 * (held + drawn)}
