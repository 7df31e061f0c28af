"""Whole frames and whole syntheses: how long, of what, and against the reference path."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from timing import Row, best, peak_products, references_only

from realtalk_core.avatar import Avatar
from realtalk_core.motion import Motion
from realtalk_core.nn import simd
from realtalk_core.nn.parallel import worker_count
from realtalk_core.nn.rays import camera_rays, meet_box, pixel_centres
from realtalk_core.nn.warp import WarpField
from realtalk_core.pipeline import Pipeline
from realtalk_core.testing.synthetic import synthetic_clip
from realtalk_core.types import CameraTrack, Drive, LandmarkTrack
from realtalk_triplane_nerf.condition import features_of
from realtalk_triplane_nerf.field import FrameCondition
from realtalk_triplane_nerf.fused import FusedField, available
from realtalk_triplane_nerf.renderer import TriplaneNerf
from realtalk_triplane_nerf.still import conditions_in_range

REFERENCE_RUNS = 3


def frame(avatar: Avatar, size: int) -> Row:
    """One whole head: fused, without what is known not to move, by kernels one after another, by references."""
    renderer = avatar.component("renderer")
    assert isinstance(renderer, TriplaneNerf)
    assert available(renderer.field), "the fused kernel does not run on this processor"
    drive, cameras = driven(avatar, 1, size)
    features, scores = features_of(drive, renderer.head.basis, renderer.config)
    condition, points = FrameCondition(features[0], scores[0]), drive.landmarks.points[0].float()
    warper = renderer.head.warper
    make_warp: Callable[[], WarpField | None] = lambda: None if warper is None else warper.field(points)  # noqa: E731
    warp, camera = make_warp(), cameras[:1]
    common = renderer.field, renderer.shell, renderer.config
    fused = FusedField.of(*common, conditions_in_range(renderer.head.basis, renderer.config))
    moving = FusedField.of(*common)
    scene = Pipeline.from_avatar(avatar, size=size).scene
    assert scene is not None
    region = scene.region(0, drive.landmarks, cameras)
    origin, directions = camera_rays(pixel_centres(size, size), camera.pose[0].float(), camera.intrinsics.float())
    margin = 0.0 if warp is None else warp.reach()
    near, far = meet_box(origin, directions, renderer.shell.low - margin, renderer.shell.high + margin)
    rays = (far > near).nonzero().flatten()

    picture, (densities, colours, still) = fused.render(condition, warp, camera)
    _, all_counts = moving.render(condition, warp, camera)
    with torch.no_grad():
        plain = best(lambda: renderer._plain(condition, make_warp(), origin, directions, rays), 2)
    times = []
    with references_only():
        for _ in range(REFERENCE_RUNS):
            start = time.perf_counter()
            want = renderer._plain(condition, make_warp(), origin, directions, rays)
            times.append(time.perf_counter() - start)
    reference = statistics.median(times)
    whole = best(lambda: list(renderer.render(drive, cameras)), 5)
    seconds = {
        "face region alone, as a portrait's synthesis asks for": best(
            lambda: list(renderer.render(drive, cameras, region)), 5
        ),
        "of the whole head: warp field": best(make_warp, 3),
        "of the whole head: rays to pixels": best(lambda: fused.render(condition, warp, camera), 5),
        "the latter without what is known not to move": best(lambda: moving.render(condition, warp, camera), 5),
    }
    layers = fused._network(condition)[0]
    products = [int(layer[2] * layer[3]) * simd.TILE * (2 if fused.bfloat else 1) for layer in layers]
    peak = peak_products(fused.bfloat) * worker_count()
    blocks = torch.rand(3, 1 << 12), torch.empty(renderer.field.layout.columns, 1 << 12)
    encode = best(lambda: fused.grids.encode_into(*blocks), 5) / (1 << 12) * densities / worker_count()
    spared = still * (products[0] + products[1] - products[6])
    error = (picture.flatten(0, 1) - want).abs()
    return {
        "size": size,
        "pixels": len(rays),
        "pixels_of_region": int(region.sum()),
        "densities": densities,
        "colours": colours,
        "densities_without_gates": still,
        "densities_if_nothing_were_known": all_counts.densities,
        "frame_ms": round(whole * 1e3, 1),
        "frames_per_second": round(1 / whole, 1),
        "frames_per_second_of_the_region": round(1 / next(iter(seconds.values())), 1),
        "kernels_one_by_one_ms": round(plain * 1e3, 1),
        "reference_ms": round(reference * 1e3, 1),
        "ratio": round(reference / whole, 1),
        "parts_ms": {name: round(value * 1e3, 1) for name, value in seconds.items()}
        | {
            "encoding, alone": round(encode * 1e3, 1),
            "products, at peak (the floor)": round(
                (densities * sum(products[:4]) - spared + colours * sum(products[4:6])) / peak * 1e3, 1
            ),
        },
        "worst_difference": round(float(error.max()), 5),
        "psnr_to_reference_db": round(float(-10 * error.square().mean().log10()), 1),
        "tolerance": renderer.config.tolerance,
        "static_tolerance": renderer.config.static_tolerance,
    }


def driven(avatar: Avatar, count: int, size: int) -> tuple[Drive, CameraTrack]:
    """The film's own first frames as a drive."""
    person = avatar.person
    motion = Motion(person, avatar.config.motion)
    landmarks = LandmarkTrack(person.landmarks[:count].float(), person.scheme, person.fps)
    return Drive(landmarks, blendshapes=motion.blendshapes(landmarks, 0)), motion.cameras(0, count).resized(size, size)


def synthesis(avatar: Avatar, size: int, seconds: float = 3.0) -> Row:
    """Sound to finished pictures, the head rendered at their size, after a first half second to warm up."""
    pipeline = Pipeline.from_avatar(avatar, size=size)
    sound = synthetic_clip(seconds)
    frames = 0
    for batch in pipeline.frames(synthetic_clip(0.5), "happy", size=size):
        frames += len(batch)
    spent: dict[str, float] = {}

    def timed(owner: Any, name: str, label: str) -> None:
        method = getattr(owner, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            result = method(*arguments, **named)
            spent[label] = spent.get(label, 0.0) + time.perf_counter() - start
            return result

        setattr(owner, name, wrapped)

    timed(pipeline.scene, "compose", "compositing")
    timed(pipeline.scene, "region", "region")
    start = time.perf_counter()
    for _ in pipeline.cuts(sound, "happy"):
        pass
    spoken = time.perf_counter() - start
    start, frames = time.perf_counter(), 0
    for batch in pipeline.frames(sound, "happy", size=size):
        frames += len(batch)
    total = time.perf_counter() - start
    spent["sound to landmarks"] = spoken
    spent["rendering and the rest"] = total - sum(spent.values())
    return {
        "size": size,
        "frames_per_second": round(frames / total, 1),
        "share": {name: round(value / total, 3) for name, value in spent.items()},
    }
