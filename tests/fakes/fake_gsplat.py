"""What gsplat 1.5 computes on a GPU, in plain torch with its signatures, as its documentation and CUDA sources have it.

For one camera. What its kernels leave unwritten is NaN here. It is meant to be read beside them, not to be fast.
"""

from __future__ import annotations

import math
import sys
import types
from typing import Any

import torch
from torch import Tensor

ALPHA_THRESHOLD = 1 / 255

cuda = types.ModuleType("gsplat.cuda")
backend = types.ModuleType("gsplat.cuda._backend")
backend._C = object()  # type: ignore[attr-defined]


def installed(monkeypatch: Any) -> None:
    """Has `import gsplat` find this file."""
    monkeypatch.setitem(sys.modules, "gsplat", sys.modules[__name__])
    monkeypatch.setitem(sys.modules, "gsplat.cuda", cuda)
    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", backend)


def fully_fused_projection(
    means: Tensor, covars: Tensor | None, quats: Tensor | None, scales: Tensor | None, viewmats: Tensor, Ks: Tensor,
    width: int, height: int, eps2d: float = 0.3, near_plane: float = 0.01, far_plane: float = 1e10,
    radius_clip: float = 0.0, packed: bool = False, sparse_grad: bool = False, calc_compensations: bool = False,
    camera_model: str = "pinhole", opacities: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:  # fmt: skip
    count = means.shape[0]
    assert means.shape == (count, 3)
    assert covars is not None
    assert covars.shape == (count, 6)
    assert viewmats.shape == (1, 4, 4)
    assert Ks.shape == (1, 3, 3)
    assert quats is None
    assert scales is None
    assert not packed
    assert not calc_compensations
    assert opacities is None or opacities.shape == (count,)
    assert camera_model == "pinhole"
    xx, xy, xz, yy, yz, zz = covars.unbind(1)
    full = torch.stack((xx, xy, xz, xy, yy, yz, xz, yz, zz), 1).reshape(count, 3, 3)
    turn, lens = viewmats[0, :3, :3], Ks[0]
    camera = means @ turn.T + viewmats[0, :3, 3]
    full = turn @ full @ turn.T
    x, y, z = camera.unbind(1)
    seen = (z >= near_plane) & (z <= far_plane)
    x, y, z = (torch.where(seen, value, 1.0) for value in (x, y, z))
    fx, fy, cx, cy = lens[0, 0], lens[1, 1], lens[0, 2], lens[1, 2]
    margin_x, margin_y = 0.3 * 0.5 * width / fx, 0.3 * 0.5 * height / fy
    u = torch.minimum((width - cx) / fx + margin_x, torch.maximum(-(cx / fx + margin_x), x / z))
    v = torch.minimum((height - cy) / fy + margin_y, torch.maximum(-(cy / fy + margin_y), y / z))
    jacobian = torch.zeros_like(full[:, :2])
    jacobian[:, 0, 0], jacobian[:, 0, 2] = fx / z, -fx * u / z
    jacobian[:, 1, 1], jacobian[:, 1, 2] = fy / z, -fy * v / z
    flat = jacobian @ full @ jacobian.transpose(1, 2) + eps2d * torch.eye(2).to(means)
    means2d = torch.stack((fx * x / z + cx, fy * y / z + cy), 1)
    inverse = torch.linalg.inv(flat)
    conics = torch.stack((inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]), 1)
    extend = torch.full_like(z, 3.33)
    if opacities is not None:
        seen = seen & (opacities >= ALPHA_THRESHOLD)
        extend = torch.minimum(extend, (2 * (opacities / ALPHA_THRESHOLD).clamp(min=1).log()).sqrt())
    radii = torch.ceil(extend[:, None] * torch.stack((flat[:, 0, 0], flat[:, 1, 1]), 1).sqrt())
    seen = seen & ((radii > radius_clip).any(1))
    for axis, size in ((0, width), (1, height)):
        seen = seen & ((means2d[:, axis] + radii[:, axis] > 0) & (means2d[:, axis] - radii[:, axis] < size))

    def written(values: Tensor) -> Tensor:
        return torch.where(seen.reshape(-1, *[1] * (values.dim() - 1)), values, torch.nan)[None]

    radii = torch.where(seen[:, None], radii, 0.0).detach().int()
    return radii[None], written(means2d), written(z), written(conics), None


def spherical_harmonics(degrees_to_use: int, dirs: Tensor, coeffs: Tensor, masks: Tensor | None = None) -> Tensor:
    assert (degrees_to_use + 1) ** 2 <= coeffs.shape[-2]
    assert dirs.shape == (len(coeffs), 3)
    assert coeffs.shape[2] == 3
    x, y, z = torch.nn.functional.normalize(dirs, dim=1).unbind(1)
    terms = [torch.full_like(x, math.sqrt(1 / math.pi) / 2)]
    if degrees_to_use > 0:
        terms += [math.sqrt(3 / math.pi) / 2 * part for part in (-y, z, -x)]
    if degrees_to_use > 1:
        c = math.sqrt(15 / math.pi) / 2
        terms += [c * x * y, -c * y * z, c / math.sqrt(12) * (2 * z * z - x * x - y * y), -c * x * z]
        terms += [c / 2 * (x * x - y * y)]
    if degrees_to_use > 2:
        outer, inner = math.sqrt(35 / (2 * math.pi)) / 4, math.sqrt(21 / (2 * math.pi)) / 4
        middle, axial = math.sqrt(105 / math.pi) / 2, math.sqrt(7 / math.pi) / 4
        terms += [-outer * y * (3 * x * x - y * y), middle * x * y * z, -inner * y * (4 * z * z - x * x - y * y)]
        terms += [axial * z * (2 * z * z - 3 * x * x - 3 * y * y), -inner * x * (4 * z * z - x * x - y * y)]
        terms += [middle / 2 * z * (x * x - y * y), -outer * x * (x * x - 3 * y * y)]
    return (torch.stack(terms, 1)[:, :, None] * coeffs[:, : len(terms)]).sum(1)


def isect_tiles(
    means2d: Tensor, radii: Tensor, depths: Tensor, tile_size: int, tile_width: int, tile_height: int,
    sort: bool = True, segmented: bool = False, packed: bool = False, n_images: int | None = None,
    image_ids: Tensor | None = None, gaussian_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    count = means2d.shape[1]
    assert means2d.shape == (1, count, 2), "two axes would mean packed"
    assert radii.shape == (1, count, 2)
    assert radii.dtype == torch.int32
    assert depths.shape == (1, count)
    tiles = torch.tensor([tile_width, tile_height]).to(radii)
    low = torch.floor((means2d[0] - radii[0]) / tile_size).clamp(min=0).int().minimum(tiles)
    high = torch.ceil((means2d[0] + radii[0]) / tile_size).clamp(min=0).int().minimum(tiles)
    found = []
    for i in range(count):
        if bool((radii[0, i] > 0).all()):
            (left, top), (right, bottom) = low[i].tolist(), high[i].tolist()
            bits = int(depths[0, i].view(torch.int32))
            found += [(y * tile_width + x << 32 | bits, i) for y in range(top, bottom) for x in range(left, right)]
    found = sorted(found) if sort else found
    ids = torch.tensor([pair[0] for pair in found], dtype=torch.int64).to(means2d.device)
    owners = torch.tensor([pair[1] for pair in found], dtype=torch.int32).to(means2d.device)
    per_gauss = ((high - low).clamp(min=0).prod(1) * (radii[0] > 0).all(1)).int()
    return per_gauss[None], ids, owners


def isect_offset_encode(isect_ids: Tensor, n_images: int, tile_width: int, tile_height: int) -> Tensor:
    assert n_images == 1
    firsts = [int((isect_ids >> 32 < tile).sum()) for tile in range(tile_width * tile_height)]
    return torch.tensor(firsts, dtype=torch.int32).reshape(1, tile_height, tile_width).to(isect_ids.device)


def rasterize_to_pixels(
    means2d: Tensor, conics: Tensor, colors: Tensor, opacities: Tensor, image_width: int, image_height: int,
    tile_size: int, isect_offsets: Tensor, flatten_ids: Tensor, backgrounds: Tensor | None = None,
    masks: Tensor | None = None, packed: bool = False, absgrad: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    count, channels = colors.shape[1:]
    assert means2d.shape == (1, count, 2)
    assert conics.shape == (1, count, 3)
    assert opacities.shape == (1, count)
    assert masks is None or (masks.shape == isect_offsets.shape and masks.dtype == torch.bool)
    bounds = [*isect_offsets.flatten().tolist(), len(flatten_ids)]
    down, across = isect_offsets.shape[1:]
    rows = []
    for ty in range(down):
        row = []
        for tx in range(across):
            tile = ty * across + tx
            drawn = flatten_ids[bounds[tile] : bounds[tile + 1]].long()
            y, x = torch.meshgrid(torch.arange(tile_size), torch.arange(tile_size), indexing="ij")
            pixel = torch.stack((x + tx * tile_size, y + ty * tile_size), -1).reshape(-1, 2).to(means2d) + 0.5
            dx, dy = (pixel - means2d[0, drawn][:, None]).unbind(-1)
            a, b, c = conics[0, drawn][:, :, None].unbind(1)
            alpha = opacities[0, drawn, None] * torch.exp(-(0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy))
            alpha = torch.where(alpha < ALPHA_THRESHOLD, 0.0, alpha.clamp(max=0.999))
            left = torch.log1p(-alpha).cumsum(0).exp()
            # The Gaussian that would leave 1e-4 of the light or less is not drawn any more.
            weights = torch.where(left > 1e-4, alpha * left / (1 - alpha), 0.0)
            out = torch.cat((weights.T @ colors[0, drawn], weights.sum(0)[:, None]), 1)
            if masks is not None and not bool(masks[0, ty, tx]):
                out = torch.cat((torch.zeros_like(out[:, :channels]), torch.full_like(out[:, :1], torch.nan)), 1)
            row.append(out.reshape(tile_size, tile_size, -1))
        rows.append(torch.cat(row, 1))
    whole = torch.cat(rows)[:image_height, :image_width]
    return whole[None, ..., :channels], whole[None, ..., channels:]
