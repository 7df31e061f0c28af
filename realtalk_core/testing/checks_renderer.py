"""Checks of what renderers promise, whatever they draw with."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from realtalk_core.stages import AttentionMaps, Stateful, TorsoLayer
from realtalk_core.testing.checks import CheckSkipped, check, require
from realtalk_core.testing.checks_output import EXACT, difference
from realtalk_core.testing.subject import FRAMES, Subject
from realtalk_core.types import CameraTrack, Drive

PICTURE = 2e-3
"""Half a grey level: less cannot be seen in eight bits."""
LARGEST = 1024
"""Largest `render_size` that the kit draws at."""


@check("renderer/order", ("renderer",))
def renderer_order(subject: Subject) -> None:
    """Batches come in order without gap or overlap, one frame per frame of the drive."""
    subject.needs_output()
    expected = 0
    for batch in subject.component.render(subject.drive, subject.cameras):
        require(batch.start == expected, f"a batch starts at {batch.start}, after {expected} frames")
        require(len(batch), f"the batch at {expected} is empty")
        expected += len(batch)
    require(expected == FRAMES, f"{FRAMES} frames of drive give {expected} pictures")


@check("renderer/range", ("renderer",))
def renderer_range(subject: Subject) -> None:
    """Colours and alpha lie in [0, 1]."""
    for name, values in subject.output.items():
        seen = values[torch.isfinite(values)].detach()
        low, high = (float(seen.min()), float(seen.max())) if seen.numel() else (0.0, 0.0)
        require(low >= -1e-6 and high <= 1 + 1e-6, f"{name} spans {low:.3g} to {high:.3g}")


@check("renderer/size", ("renderer",))
def renderer_size(subject: Subject) -> None:
    """Pictures have the cameras' width and height, whatever these are."""
    subject.needs_output()
    cameras = subject.cameras[:1]
    for width, height in ((cameras.width, cameras.height), (40, 24)):
        camera: CameraTrack = cameras.resized(width, height)
        for batch in subject.component.render(subject.drive[:1], camera):
            found = tuple(batch.rgb.shape[1:3])
            require(found == (height, width), f"a {width} x {height} camera gives {found[1]} x {found[0]}")


@check("renderer/batching", ("renderer",))
def renderer_batching(subject: Subject) -> None:
    """A frame is the same however the drive is cut."""
    whole = subject.output
    for span in (slice(2, 3), slice(1, FRAMES)):
        part = subject.render(subject.component, subject.drive[span], subject.cameras[span])
        apart = difference({k: v[span] for k, v in whole.items()}, part)
        require(apart <= PICTURE, f"frames {span.start} to {span.stop} drawn alone differ by {apart:.3g}")


@check("renderer/follows-landmarks", ("renderer",))
def renderer_follows_landmarks(subject: Subject) -> None:
    """Other landmarks give another picture."""
    drive = subject.drive[:1]
    lower = torch.zeros_like(drive.landmarks.points)
    lower[..., 1] = 1.5 * (drive.landmarks.points[..., 1] < -4.5)
    spoken = replace(drive, landmarks=replace(drive.landmarks, points=drive.landmarks.points - lower))
    if drive.neutral is not None:  # a renderer that expresses emotion itself looks at these
        track = drive.neutral.landmarks
        spoken = replace(spoken, neutral=replace(drive.neutral, landmarks=replace(track, points=track.points - lower)))
    _differ(subject, subject.render(subject.component, spoken, subject.cameras[:1]), "dropping the jaw by 1.5 cm")


@check("renderer/follows-camera", ("renderer",))
def renderer_follows_camera(subject: Subject) -> None:
    """Another pose gives another picture."""
    pose = subject.cameras.pose[:1].clone()
    pose[:, :3, 3] += torch.tensor([3.0, 0.0, 0.0])
    moved = replace(subject.cameras[:1], pose=pose)
    _differ(subject, subject.render(subject.component, subject.drive[:1], moved), "moving the camera by 3 cm")


@check("renderer/filmed-faces", ("renderer",))
def renderer_filmed_faces(subject: Subject) -> None:
    """Drives of filmed faces are drawn: they have sound and blendshapes, no emotion, and no `neutral`."""
    subject.needs_output()
    given = subject.drive
    filmed = Drive(given.landmarks, given.audio, blendshapes=given.blendshapes)
    drawn = subject.render(subject.component, filmed, subject.cameras)
    require(len(drawn["rgb"]) == FRAMES, f"{FRAMES} frames give {len(drawn['rgb'])} pictures")


@check("renderer/emotion-once", ("renderer",))
def renderer_emotion_once(subject: Subject) -> None:
    """Where there is no emotion, `neutral` says nothing new: with and without it, the picture is the same."""
    subject.needs_output()
    given = subject.drive
    plain = replace(given, emotion=subject.emotion("neutral", FRAMES), neutral=None)
    speech = Drive(given.landmarks, given.audio, blendshapes=given.blendshapes)
    with_it = subject.render(subject.component, replace(plain, neutral=speech), subject.cameras)
    apart = difference(subject.render(subject.component, plain, subject.cameras), with_it)
    require(apart <= PICTURE, f"naming the same landmarks as `neutral` changes the picture by {apart:.3g}")


@check("renderer/render-size", ("renderer",))
def renderer_render_size(subject: Subject) -> None:
    """`render_size`, where there is one, is a number of pixels at which it draws."""
    subject.needs_output()
    size = getattr(subject.component, "render_size", None)
    if size is None:
        raise CheckSkipped("it draws at any size alike")
    require(isinstance(size, int) and 8 <= size <= LARGEST, f"render_size is {size!r}, not 8 to {LARGEST} pixels")
    drawn = subject.render(subject.component, subject.drive[:1], subject.cameras[:1].resized(size, size))
    found = tuple(drawn["rgb"].shape[1:3])
    require(found == (size, size), f"at {size} x {size} it draws {found[1]} x {found[0]}")


@check("renderer/region", ("renderer",))
def renderer_region(subject: Subject) -> None:
    """A `region`, if it takes one, leaves the pixels within it as they are, be they many, few or none."""
    subject.needs_output()
    component, drive, cameras = subject.component, subject.drive, subject.cameras
    if "region" not in inspect.signature(component.render).parameters:
        raise CheckSkipped("it draws whole pictures")
    rows, columns = torch.arange(cameras.height)[:, None], torch.arange(cameras.width)
    inner = (rows > cameras.height // 3) & (columns < cameras.width // 2)
    region = torch.stack([inner, inner.flip(1), torch.ones_like(inner), torch.zeros_like(inner)])
    batches = list(component.render(drive, cameras, region=region))
    require(sum(len(b) for b in batches) == FRAMES, f"with a region, {FRAMES} frames do not give as many pictures")
    covered = region
    if "alpha" in subject.output:  # a colour that nothing shows is anything
        covered = region & (subject.output["alpha"][..., 0] > PICTURE)
    for name, whole in subject.output.items():
        drawn = torch.cat([getattr(batch, name) for batch in batches])
        require(drawn.shape == whole.shape, f"with a region, {name} has shape {tuple(drawn.shape)}")
        seen = region if name == "alpha" else covered
        apart = difference({name: whole[seen]}, {name: drawn[seen]})
        require(apart <= PICTURE, f"with a region, {name} within it differs by {apart:.3g}")


@check("renderer/torso", ("renderer",))
def renderer_torso(subject: Subject) -> None:
    """`torso`, where it is learnt, draws bodies of any pose and size, a frame whatever is beside it, and is kept."""
    subject.needs_output()
    torso = getattr(subject.component, "torso", None)
    if torso is None:
        raise CheckSkipped("it has learnt no torso")
    require(isinstance(torso, TorsoLayer), f"torso is a {type(torso).__name__}, which has no method render")
    cameras = subject.cameras.resized(48, 40)
    whole = _bodies(torso, cameras)
    for name, values in whole.items():
        size = (FRAMES, 40, 48, 3 if name == "rgb" else 1)
        require(tuple(values.shape) == size, f"its {name} has shape {tuple(values.shape)}, not {size}")
        low, high = float(values.min()), float(values.max())
        require(low >= -1e-6 and high <= 1 + 1e-6, f"its {name} spans {low:.3g} to {high:.3g}")
    apart = difference({name: values[2:3] for name, values in whole.items()}, _bodies(torso, cameras[2:3]))
    require(apart <= PICTURE, f"frame 2 drawn alone differs by {apart:.3g}")
    if isinstance(subject.component, Stateful):
        kept = getattr(subject.again(), "torso", None)
        require(kept is not None, "a component built from its state has none")
        apart = difference(whole, _bodies(kept, cameras))
        require(apart <= EXACT, f"that of a component built from its state differs by {apart:.3g}")


def _bodies(torso: Any, cameras: CameraTrack) -> dict[str, Tensor]:
    batch = torso.render(cameras)
    require(batch.alpha is not None, "it gives no alpha: heads and backgrounds could not be put around it")
    return {"rgb": batch.rgb, "alpha": batch.alpha}


@check("renderer/attention-maps", ("renderer",))
def renderer_attention_maps(subject: Subject) -> None:
    """Attention maps, if it has them: `GROUP` or `GROUP/PART`, one a frame, as large as pictures, not below 0."""
    subject.needs_output()
    if not isinstance(subject.component, AttentionMaps):
        raise CheckSkipped("it has no attention maps")
    maps: Mapping[str, Tensor] = subject.component.attention_maps(subject.drive, subject.cameras)
    require(maps, "it gives no map")
    size = (FRAMES, subject.cameras.height, subject.cameras.width)
    for name, values in maps.items():
        group = name.partition("/")[0]
        require(group in maps, f"the map {name!r} is a part of {group!r}, which is no map")
        require(tuple(values.shape) == size, f"the map {name!r} has shape {tuple(values.shape)}, not {size}")
        require(torch.isfinite(values).all(), f"the map {name!r} holds NaN or infinite values")
        require(float(values.min()) >= 0, f"the map {name!r} goes down to {float(values.min()):.3g}")


def _differ(subject: Subject, found: dict[str, Tensor], what: str) -> None:
    apart = difference({name: values[:1] for name, values in subject.output.items()}, found)
    require(apart > EXACT, f"{what} changes the picture by {apart:.3g}")
