"""Pictures and a table of which region of the face listens to which part of what drives it."""

from __future__ import annotations

import csv
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from realtalk_core.atomic import writing
from realtalk_core.avatar import Avatar
from realtalk_core.drives import tracked
from realtalk_core.errors import UserError
from realtalk_core.evaluation import project, spread
from realtalk_core.expression import eye_opening, lip_gap
from realtalk_core.landmarks import REGIONS68
from realtalk_core.person import Person
from realtalk_core.stages import AttentionMaps
from realtalk_core.windows import context_frames

REGIONS = ("mouth", "eyes", "brows", "nose", "cheeks and chin", "forehead", "hair, ears, neck")
COVERED = 0.5
"""Opacity from which a pixel counts as the head's."""
COLUMNS = 4


@dataclass(frozen=True)
class Attention:
    """What `attention_of` finds.

    Attributes:
        frames: Numbers of the person's frames that are shown.
        pictures: `T H W 3` in [0, 1], the rendered head on grey.
        alpha: `T H W`, its opacity.
        maps: `T H W` by name, as the renderer names them.
        regions: `T H W`, the index in `REGIONS` of each pixel, −1 outside of the head.
    """

    frames: tuple[int, ...]
    pictures: Tensor
    alpha: Tensor
    maps: dict[str, Tensor]
    regions: Tensor

    def table(self) -> dict[str, dict[str, float]]:
        """Mean of each map over each region's pixels in all frames; regions that are nowhere seen are left out."""
        rows: dict[str, dict[str, float]] = {}
        for name, values in self.maps.items():
            inside = {region: values[self.regions == k] for k, region in enumerate(REGIONS)}
            rows[name] = {region: round(float(found.mean()), 5) for region, found in inside.items() if len(found)}
        return rows


def attention_of(avatar: Avatar, count: int, side: int | None = None, device: str = "auto") -> Attention:
    """Renders some of a person's own frames with the maps of what listens where.

    Args:
        avatar: The avatar.
        count: How many frames: the widest mouth, the most closed eyes, and others evenly spread.
        side: Of the pictures in pixels; as trained if None.
        device: See `realtalk_core.device`.

    Raises:
        UserError: if its renderer has no attention maps.
    """
    renderer = avatar.component("renderer", device)
    if not isinstance(renderer, AttentionMaps):
        name = avatar.config.stages["renderer"].spec.name
        raise UserError(
            f"{avatar.path}: its renderer {name!r} has no attention maps", "Only renderers with attention can show any."
        )
    person, reach = avatar.person, context_frames(renderer, avatar.fps)
    side = side or int(getattr(renderer, "render_size", None) or avatar.size)
    cameras = person.cameras.resized(side, side)
    frames, pictures, covers, regions = shown_frames(person, count), [], [], []
    maps: dict[str, list[Tensor]] = {}
    for frame in frames:
        span = slice(max(0, frame - reach), min(len(person), frame + reach + 1))
        drive, at = tracked(avatar, span), frame - span.start
        for name, values in renderer.attention_maps(drive, cameras[span]).items():
            maps.setdefault(name, []).append(values[at])
        batches = list(renderer.render(drive, cameras[span]))  # type: ignore[attr-defined]
        rgb = torch.cat([b.rgb for b in batches])[at]
        alpha = torch.cat([torch.ones_like(b.rgb[..., :1]) if b.alpha is None else b.alpha for b in batches])[at]
        pictures.append(rgb * alpha + 0.5 * (1 - alpha))
        covers.append(alpha[..., 0])
        sparse = drive.landmarks[at : at + 1].to_scheme("ibug68")
        pixels = project(sparse, cameras[span][at : at + 1])[0].numpy()
        regions.append(torch.from_numpy(face_regions(pixels, covers[-1].numpy())))
    found = {name: torch.stack(values) for name, values in maps.items()}
    return Attention(frames, torch.stack(pictures), torch.stack(covers), found, torch.stack(regions))


def shown_frames(person: Person, count: int) -> tuple[int, ...]:
    """Frames worth looking at: the widest mouth, the most closed eyes, then evenly spread."""
    faces = person.landmarks[person.bank]
    extremes = [lip_gap(faces).argmax(), eye_opening(faces).mean(1).argmin()]
    wanted = [int(person.bank[k]) for k in extremes] + [int(k) for k in spread(person.bank, count)]
    return tuple(dict.fromkeys(wanted))[:count]


def face_regions(points: NDArray[Any], alpha: NDArray[Any]) -> NDArray[np.int64]:
    """The region of each pixel by the 68 landmarks around it: an index in `REGIONS`, −1 outside of the head.

    Args:
        points: `68 2`, in pixels.
        alpha: `H W`.
    """
    face = points[[*REGIONS68["jaw"], *REGIONS68["right_brow"], *REGIONS68["left_brow"]]]
    width = float(np.ptp(points[:, 0]))
    out = np.full(alpha.shape, REGIONS.index("hair, ears, neck"))
    whole = _filled([face], alpha.shape, 0)
    rows = np.arange(alpha.shape[0])[:, None] + 0.5
    eyes_y, brows_y = points[36:48, 1].max(), points[17:27, 1].max()
    out[whole] = REGIONS.index("cheeks and chin")
    out[whole & (rows < eyes_y)] = REGIONS.index("forehead")
    above = face + np.array([0.0, -0.35 * width])  # landmarks end at the brows; the forehead does not
    out[_filled([np.concatenate((above[17:], face[17:]))], alpha.shape, 0) & (rows < brows_y)] = REGIONS.index(
        "forehead"
    )
    for name, parts, grown in (
        ("nose", ["nose"], 0.03), ("brows", ["right_brow", "left_brow"], 0.02),
        ("eyes", ["right_eye", "left_eye"], 0.03), ("mouth", ["outer_lips"], 0.03),
    ):  # fmt: skip
        out[_filled([points[list(REGIONS68[p])] for p in parts], alpha.shape, grown * width)] = REGIONS.index(name)
    out[alpha <= COVERED] = -1
    return out.astype(np.int64)


def _filled(outlines: list[NDArray[Any]], shape: tuple[int, ...], grown: float) -> NDArray[np.bool_]:
    mask = np.zeros(shape, np.uint8)
    for outline in outlines:
        hull = cv2.convexHull(np.round(outline).astype(np.int32))
        cv2.fillConvexPoly(mask, hull, 1)
        if grown > 0:
            cv2.polylines(mask, [hull], True, 1, max(1, round(2 * grown)))
    return mask > 0


def check_folder(folder: Path) -> None:
    """Refuses to write over anything.

    Raises:
        UserError: if it is a file, a folder with something in it, or where nothing may be written.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file", "Name a new folder for the pictures.")
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} exists and is not empty", "Name a new folder for the pictures.")
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    probe = above / f".{folder.name}.{os.getpid()}.partial"
    with writing(folder):
        probe.mkdir()
        probe.rmdir()


def write_attention(found: Attention, folder: Path) -> list[Path]:
    """Writes `groups_FRAME.png`, `parts_FRAME.png` and `regions.csv`: all of them or none.

    Returns:
        The files.

    Raises:
        UserError: if the folder holds something already or cannot be written.
    """
    check_folder(folder)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    with writing(folder):
        try:
            partial.mkdir(parents=True)
            _write_pictures(found, partial)
            with (partial / "regions.csv").open("w", newline="", encoding="utf-8") as file:
                rows = csv.writer(file)
                rows.writerow(["map", *REGIONS])
                for name, means in found.table().items():
                    rows.writerow([name, *(means.get(region, "") for region in REGIONS)])
            os.replace(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return sorted(folder.iterdir())


def _write_pictures(found: Attention, folder: Path) -> None:
    groups = [name for name in found.maps if "/" not in name]
    parts = [name for name in found.maps if "/" in name]
    tops = {name: float(values.max()) for name, values in found.maps.items()}  # one scale for all frames of a map
    for k, frame in enumerate(found.frames):
        for kind, names in (("groups", groups), ("parts", parts)):
            if names:
                _sheet(found, k, names, tops, folder / f"{kind}_{frame:06d}.png")


def _sheet(found: Attention, k: int, names: list[str], tops: dict[str, float], file: Path) -> None:
    """The head, and beside it each map with its scale."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-(len(names) + 1) // COLUMNS)
    figure = Figure(figsize=(3.1 * min(COLUMNS, len(names) + 1), 3.1 * rows), dpi=100, layout="constrained")
    figure.suptitle(f"frame {found.frames[k]}: norm of what the gates let through", fontsize="small")
    axes = figure.subplots(rows, min(COLUMNS, len(names) + 1), squeeze=False).ravel()
    axes[0].imshow(found.pictures[k].numpy().clip(0, 1))
    axes[0].set_title("rendered", fontsize="small")
    for name, axis in zip(names, axes[1:], strict=False):
        values = found.maps[name][k].numpy()
        shown = axis.imshow(values, cmap="inferno", vmin=0, vmax=tops[name] or 1)
        axis.set_title(name if values.any() else f"{name}: 0 in this frame", fontsize="small")
        figure.colorbar(shown, ax=axis, fraction=0.046).ax.tick_params(labelsize="x-small")
    for axis in axes:
        axis.set_axis_off()
    with file.open("wb") as out:
        FigureCanvasAgg(figure).print_png(out)
