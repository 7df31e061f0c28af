"""The first Gaussians: spread over the tracked face, the dome of hair and neck behind it, and what lips and lids hide.

3DGS starts from random points or from photogrammetry; here the landmarks already are points of the surface. Each
Gaussian lies flat on it, about as wide as its neighbours are apart, in the colour that the frames show there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import Delaunay
from torch import Tensor

from realtalk_core.capture import Capture
from realtalk_core.expression import eye_opening, lip_gap
from realtalk_core.landmarks import FACE_OVAL, LEFT_EYE, LIPS_INNER, LIPS_OUTER, RIGHT_EYE
from realtalk_core.nn._jit import array
from realtalk_core.nn.forward_warp import ForwardWarp
from realtalk_core.nn.mouth import INNER_LIPS68, depth_inside
from realtalk_core.nn.rays import project
from realtalk_core.nn.warp import interpolate_plane
from realtalk_core.training.bounds import spread
from realtalk_core.training.frame_bank import FrameBank
from realtalk_gaussian import _seeding_kernel
from realtalk_gaussian.cloud import Cloud, flat_colours
from realtalk_gaussian.rigid import EYE_RADIUS, PARTS, eye_centres, motions, moved_rigidly

SHARES = {"face": 0.6, "dome": 0.34, "mouth": 0.06}
"""How the Gaussians are divided."""
DETAIL, DETAIL_CM = 4.0, 0.6
"""How much denser they are around eyes and lips, and how far that reaches."""
CANDIDATES = 12
"""Random places on the face to choose each Gaussian's from."""
APART = 1.2
"""Mean distance to the neighbours as a share of the least one."""
FLATNESS = 0.15
"""Thickness of a Gaussian as a share of its width."""
WIDTH = 0.6
"""Its width (one standard deviation) as a share of the distance to its neighbours."""
OPAQUE, SHEER, FAINTEST = 0.9, 0.6, 0.05
DROP = 1.1
"""How fast the dome falls back behind the face's outline, cm per cm."""
BELIEVED = 0.7
"""Opacity of the head from which a frame's colour counts."""
COLOUR_FRAMES = 16
COLOUR_SIZE = 512
WIDER = 1.4
"""How far beyond the head's box the dome is looked for."""
INSIDE_SHARE = 0.4
"""Share of the frames in whose mask a point of the dome must lie."""
HIDDEN_CM = 0.5
"""How far teeth and eyeballs go on behind lips and lids."""
SEEN_CM = 0.05
"""How far inside an opening a point must lie for its colour to be believed."""
TEETH_CM = 0.8
"""How far behind the lips' inner edge teeth are."""
TEETH_HEIGHT = 1.1
ARCH = 0.16
"""Curvature of the rows of teeth, cm per cm²."""
THROAT_CM = 3.0
DARK = (0.12, 0.05, 0.05)


@dataclass(frozen=True, slots=True)
class Points:
    """Places on surfaces.

    Attributes:
        means: cm.
        normals: Unit.
        spacing: Distance to neighbours, cm.
        follow: How far each follows each rigid part.
        opacity: In (0, 1).
    """

    means: Float[Tensor, "N 3"]
    normals: Float[Tensor, "N 3"]
    spacing: Float[Tensor, "N"]
    follow: Float[Tensor, "N 3"]
    opacity: Float[Tensor, "N"]

    @classmethod
    def of(
        cls, means: Tensor, normals: Tensor, spacing: Tensor, part: int | None = None, opacity: float = OPAQUE
    ) -> Points:
        """Points that all follow one part, or none."""
        follow = torch.zeros(len(means), len(PARTS))
        if part is not None:
            follow[:, part] = 1
        return cls(means.float(), normals.float(), spacing.float(), follow, torch.full((len(means),), opacity))

    def __add__(self, other: Points) -> Points:
        return Points(*(torch.cat((getattr(self, n), getattr(other, n))) for n in self.__dataclass_fields__))

    def __getitem__(self, index: Tensor) -> Points:
        return Points(*(getattr(self, n)[index] for n in self.__dataclass_fields__))

    def cloud(self, rgb: Float[Tensor, "N 3"], degree: int, parts: int) -> Cloud:
        """Flat, opaque Gaussians of these colours."""
        cloud = Cloud(len(self.means), degree, parts)
        across = WIDTH * self.spacing
        cloud.fill(
            {
                "means": self.means,
                "scales": torch.stack((across, across, FLATNESS * across), 1).log(),
                "rotations": towards(self.normals),
                "opacities": torch.logit(self.opacity),
                "colours": flat_colours(rgb, degree),
                "normals": torch.zeros(len(self.means), 3),
                "follow": self.follow,
            }
        )
        return cloud


def towards(normals: Float[Tensor, "N 3"]) -> Float[Tensor, "N 4"]:
    """Quaternions that turn the z axis to these directions."""
    x, y, z = normals.unbind(1)
    return torch.nn.functional.normalize(torch.stack((1 + z, -y, x, torch.zeros_like(x)), 1), dim=1)


def outlines(count: int) -> dict[str, list[int]]:
    """Closed outlines in the scheme with `count` points: the face, the inner lips, both eyes, the outer lips."""
    if count == 478:
        return {
            "face": list(FACE_OVAL), "lips": list(LIPS_INNER), "right_eye": list(RIGHT_EYE), "left_eye": list(LEFT_EYE),
            "outer_lips": list(LIPS_OUTER),
        }  # fmt: skip
    return {
        "face": [*range(17), *range(26, 16, -1)], "lips": list(INNER_LIPS68), "right_eye": list(range(36, 42)),
        "left_eye": list(range(42, 48)), "outer_lips": list(range(48, 60)),
    }  # fmt: skip


def face_points(template: Float[Tensor, "K 3"], count: int, generator: torch.Generator) -> Points:
    """Points on the landmarks' surface, but for the openings of mouth and eyes; denser around them.

    They are as far from each other as their number allows: random candidates are taken as long as no nearer one was.
    """
    skin = template[:468] if len(template) == 478 else template
    rings = outlines(len(template))
    triangles = torch.from_numpy(Delaunay(skin[:, :2].double().numpy()).simplices.astype(np.int64))
    corners = skin[triangles]
    middle = corners.mean(1)
    holes = [template[rings[name], :2] for name in ("lips", "right_eye", "left_eye")]
    outside = depth_inside(middle[:, :2], template[rings["face"], :2]) < 0
    open_ = torch.stack([depth_inside(middle[:, :2], ring) > 0 for ring in holes]).any(0)
    corners = corners[~(open_ | outside)]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = normal.norm(dim=1) / 2
    normal = torch.nn.functional.normalize(normal * normal[:, 2:].sign(), dim=1)
    tries = CANDIDATES * count
    chosen = torch.multinomial(area * _detail(corners.mean(1), holes), tries, replacement=True, generator=generator)
    u, v = torch.rand(2, tries, generator=generator).sort(0).values
    share = torch.stack((u, v - u, 1 - v), 1)
    means = (corners[chosen] * share[..., None]).sum(1).float()
    wanted = _detail(means, holes).rsqrt()  # distances go with the root of the density
    low, high = 0.0, 2 * float(area.sum() / count) ** 0.5
    for _ in range(20):
        scale = (low + high) / 2
        kept = _seeding_kernel.apart(array(means), array(wanted * scale))
        low, high = (scale, high) if int(kept.sum()) > count else (low, scale)
    index = torch.from_numpy(_seeding_kernel.apart(array(means), array(wanted * high))).nonzero().flatten()
    return Points.of(means[index], normal[chosen[index]], APART * high * wanted[index])


def _detail(at: Float[Tensor, "N 3"], holes: list[Tensor]) -> Float[Tensor, "N"]:
    """How much denser Gaussians are to be at places than where the face is plain."""
    away = torch.stack([-depth_inside(at[:, :2], ring) for ring in holes]).amin(0).clamp(min=0)
    return 1 + (DETAIL - 1) * torch.exp(-((away / DETAIL_CM) ** 2))


def dome_points(
    template: Float[Tensor, "K 3"],
    low: Float[Tensor, "3"],
    high: Float[Tensor, "3"],
    inside: Callable[[Tensor], Tensor],
    count: int,
) -> Points:
    """Points outside the face's outline, falling back from it: hair, ears, neck."""
    ring = template[outlines(len(template))["face"]]
    middle, half = (
        (low + high) / 2,
        WIDER * (high - low) / 2,
    )  # the box is the outline's in the face's plane, not behind
    low, high = torch.cat(((middle - half)[:2], low[2:])), torch.cat(((middle + half)[:2], high[2:]))
    spacing = 1.0
    found = Points.of(*(torch.zeros(0, 3),) * 2, torch.zeros(0))
    for _ in range(4):  # the area is only known once points have been looked up in the masks
        x, y = (torch.arange(float(low[a]), float(high[a]), spacing) for a in (0, 1))
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
        grid[1::2, :, 0] += spacing / 2
        places = grid.reshape(-1, 2)
        away = -depth_inside(places, ring[:, :2])
        places, away = places[away > 0], away[away > 0]
        depth = interpolate_plane(ring[:, :2], ring[:, 2:], places)[:, 0].clamp(ring[:, 2].min(), ring[:, 2].max())
        behind = (depth - DROP * away).clamp(min=float(low[2]) + 1.0)
        means = torch.cat((places, behind[:, None]), 1)
        kept = inside(means)
        found = Points.of(means[kept], torch.zeros(int(kept.sum()), 3), torch.full((int(kept.sum()),), spacing))
        spacing *= max(0.1, (max(1, len(found.means)) / max(1, count)) ** 0.5)
    outwards = torch.nn.functional.normalize(found.means[:, :2] - ring[:, :2].mean(0), dim=1)
    normals = torch.nn.functional.normalize(torch.cat((outwards * 0.6, torch.ones(len(outwards), 1)), 1), dim=1)
    return Points(found.means, normals, found.spacing, found.follow, found.opacity)


def mouth_points(template: Float[Tensor, "K 3"], count: int) -> Points:
    """Two rows of teeth behind the lips, a dark backing behind them, and the fronts of two eyeballs."""
    rings = outlines(len(template))
    lips = template[rings["lips"]]
    half = len(lips) // 2
    upper, lower = lips[: half + 1], torch.cat((lips[half:], lips[:1]))
    left, right = float(lips[:, 0].min()) - HIDDEN_CM, float(lips[:, 0].max()) + HIDDEN_CM
    top, bottom = float(lips[:, 1].max()) + HIDDEN_CM, float(lips[:, 1].min()) - HIDDEN_CM
    centre = (left + right) / 2
    front = float(lips[[half // 2, half + half // 2], 2].mean()) - TEETH_CM
    step = ((right - left) * (2 * (TEETH_HEIGHT + HIDDEN_CM)) / max(1, count // 2)) ** 0.5
    found = []
    for edge, sign, part in ((upper, 1, None), (lower, -1, PARTS.index("jaw"))):
        rim = float(edge[:, 1].max()) if sign > 0 else float(edge[:, 1].min())
        begin, end = sorted((rim + sign * HIDDEN_CM, rim - sign * TEETH_HEIGHT))
        at = _sheet((left, right), (begin, end), step)
        found.append(_arched(at, centre, front, step, part, SHEER))
    at = _sheet((left, right), (bottom, top), 2 * step)
    backing = _arched(at, centre, front - THROAT_CM, 2 * step, PARTS.index("jaw"), 0.98)
    found.append(Points(backing.means, backing.normals, backing.spacing, backing.follow / 2, backing.opacity))
    for part, name in ((1, "right_eye"), (2, "left_eye")):
        ring, middle = template[rings[name]], eye_centres(template)[part - 1]
        (x0, y0), (x1, y1) = (
            (ring[:, :2].amin(0) - HIDDEN_CM / 2).tolist(),
            (ring[:, :2].amax(0) + HIDDEN_CM / 2).tolist(),
        )
        small = ((x1 - x0) * (y1 - y0) / max(1, count // 5)) ** 0.5
        at = _sheet((x0, x1), (y0, y1), small)
        off = at - middle[:2]
        flat = off / (off.norm(dim=1, keepdim=True) / (1.6 * EYE_RADIUS)).clamp(min=1)  # corners lie flat beside it
        rise = (EYE_RADIUS**2 - flat.square().sum(1)).clamp(min=0.0).sqrt()
        means = torch.cat((at, (middle[2] + rise)[:, None]), 1)
        normals = torch.nn.functional.normalize(torch.cat((off, rise[:, None].clamp(min=0.3)), 1), dim=1)
        found.append(Points.of(means, normals, torch.full((len(at),), small), part, OPAQUE))
    total = found[0]
    for more in found[1:]:
        total = total + more
    return total


def _sheet(x: tuple[float, float], y: tuple[float, float], step: float) -> Float[Tensor, "N 2"]:
    across, up = (torch.arange(a, b + step, step) for a, b in (x, y))
    grid = torch.stack(torch.meshgrid(across, up, indexing="xy"), -1)
    grid[1::2, :, 0] += step / 2
    return grid.reshape(-1, 2)


def _arched(at: Tensor, centre: float, front: float, step: float, part: int | None, opacity: float) -> Points:
    off = at[:, 0] - centre
    means = torch.cat((at, (front - ARCH * off.square())[:, None]), 1)
    normals = torch.nn.functional.normalize(
        torch.stack((2 * ARCH * off, torch.zeros_like(off), torch.ones_like(off)), 1), dim=1
    )
    return Points.of(means, normals, torch.full((len(at),), step), part, opacity)


class Footage:
    """Frames to look points up in.

    Args:
        capture: The capture.
        frames: Which may be looked at.
        template: The face points are stored in.
        warp: Moves skin; None if points do not follow landmarks.
    """

    def __init__(self, capture: Capture, frames: Tensor, template: Tensor, warp: ForwardWarp | None) -> None:
        self.capture, self.frames, self.template, self.warp = capture, frames, template, warp
        self.landmarks = capture.landmarks.to_scheme("mediapipe478" if len(template) == 478 else "ibug68").points

    def pixels(self, points: Points, frame: int, skin: bool) -> Float[Tensor, "N 2"]:
        """Where points are in a frame, as shares of its side."""
        face = self.landmarks[frame].float()
        means = points.means
        if self.warp is not None:
            moved = (
                self.warp.field(face).read(means)[0]
                if skin
                else moved_rigidly(means, points.follow, motions(face, self.template))[0]
            )
            means = means + moved
        tracks = self.capture.tracks
        return project(means, tracks.pose[frame].float(), tracks.intrinsics.float()) / self.capture.size

    def inside(self, means: Tensor) -> Tensor:
        """Which points lie in the head's mask in most frames."""
        points = Points.of(means, torch.zeros_like(means), torch.zeros(len(means)))
        votes, chosen = torch.zeros(len(means)), spread(self.frames, COLOUR_FRAMES)
        for frame in chosen:
            mask = torch.from_numpy(self.capture.masks(frame, 128)[..., 1])
            votes += self._read(mask, self.pixels(points, frame, True)) > 127
        return votes >= INSIDE_SHARE * len(chosen)

    def colours(self, points: Points, frames: list[int], skin: bool) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N"]]:
        """Medians of the head's colours where the points are, what is behind it left out; and its opacity there."""
        size = min(COLOUR_SIZE, self.capture.size)
        bank = FrameBank.load(self.capture, torch.tensor(frames), size)
        seen, alphas = [], []
        for row, frame in enumerate(frames):
            at = self.pixels(points, frame, skin)
            alphas.append(self._read(bank.alpha[row].float() / 255, at))
            seen.append(self._read(bank.head[row].float() / 255, at) / alphas[-1].clamp(min=1e-3)[:, None])
        alpha = torch.stack(alphas)
        believed = alpha >= torch.minimum(alpha.amax(0), alpha.new_tensor(BELIEVED))
        colours = torch.stack(seen).clamp(0, 1).where(believed[..., None], torch.nan)
        return colours.nanmedian(0).values, alpha.mean(0)

    @staticmethod
    def _read(picture: Tensor, at: Float[Tensor, "N 2"]) -> Tensor:
        height, width = picture.shape[:2]
        column = (at[:, 0] * width).long().clamp(0, width - 1)
        row = (at[:, 1] * height).long().clamp(0, height - 1)
        return picture[row, column]


def seed_clouds(
    capture: Capture,
    frames: Tensor,
    template: Float[Tensor, "K 3"],
    low: Float[Tensor, "3"],
    high: Float[Tensor, "3"],
    warp: ForwardWarp | None,
    count: int,
    degree: int,
    generator: torch.Generator,
) -> tuple[Cloud, Cloud]:
    """Face and mouth of a person, before any training.

    Args:
        capture: The capture.
        frames: Indices of frames that may be learnt from.
        template: The face the Gaussians are stored in, cm.
        low: Corner of the head's box, cm.
        high: The other.
        warp: How the skin follows landmarks; None if it does not.
        count: Gaussians, about.
        degree: Of the colours' harmonics.
        generator: Of the places on the face.
    """
    footage = Footage(capture, frames, template, warp)
    share = {name: max(1, round(part * count)) for name, part in SHARES.items()}
    skin = face_points(template, share["face"], generator)
    skin = skin + dome_points(template, low, high, footage.inside, share["dome"])
    mouth = mouth_points(template, share["mouth"])
    points = footage.landmarks[frames]
    some = spread(frames, COLOUR_FRAMES)
    wide = frames[lip_gap(points).topk(max(1, min(8, len(frames)))).indices].tolist()
    awake = frames[eye_opening(points).mean(1).topk(max(1, min(16, len(frames)))).indices].tolist()
    eyes, teeth = (footage.colours(mouth, k, False)[0] for k in (awake, wide))
    behind = torch.where(mouth.follow[:, 1:].sum(1, keepdim=True) > 0, eyes, teeth)
    behind = behind[_shown(mouth, template)]  # what lies behind the skin looks as its nearest neighbour in the opening
    throat = (mouth.opacity > OPAQUE)[:, None]
    behind = torch.where(throat, behind.new_tensor(DARK), behind)
    rgb, alpha = footage.colours(skin, some, True)
    skin = replace(skin, opacity=(skin.opacity * alpha).clamp(min=FAINTEST))
    return skin.cloud(rgb, degree, 0), mouth.cloud(behind, degree, len(PARTS))


def _shown(points: Points, template: Float[Tensor, "K 3"]) -> Tensor:
    """The nearest point of each kind that is seen through its opening of the template; itself if it is."""
    rings = outlines(len(template))
    index = torch.arange(len(points.means))
    rows = points.follow[:, 1:].sum(1) == 0
    for name, kind in (("lips", rows), ("right_eye", points.follow[:, 1] > 0), ("left_eye", points.follow[:, 2] > 0)):
        mine = kind.nonzero().flatten()
        at = points.means[mine, :2]
        seen = depth_inside(at, template[rings[name], :2]) > SEEN_CM
        if bool(seen.any()):
            index[mine] = mine[seen][torch.cdist(at, at[seen]).argmin(1)]
    return index
