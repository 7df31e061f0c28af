"""All meshes of one actor in one set of arrays, and their places for a frame's pose."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from matplotlib.path import Path
from numpy.typing import NDArray

from realtalk_actor import body, mouth
from realtalk_actor.chart import landmark_chart
from realtalk_actor.hair import hair, scalp_texture
from realtalk_actor.head import EYE_CENTRE, average_head, lay_rims
from realtalk_actor.identity import Identity, shape_displacement, shaped_head
from realtalk_actor.lashes import lashes
from realtalk_actor.part import Part, mirrored, part
from realtalk_actor.shade import SKIN, WET
from realtalk_actor.skin import SIZE, face_texture
from realtalk_actor.topology import topology
from realtalk_core.capture import PARTS
from realtalk_core.landmarks import LEFT_BROW, LIPS_OUTER, RIGHT_BROW

Array = NDArray[np.float64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """One actor at rest.

    Attributes:
        who: The identity.
        points: `N 3` at rest in head space; the first vertices are the head's topology.
        parts: Name to the slice of its vertices.
        triangles, material, label, shadow: Per triangle.
        uv, colour, follow, tangents, ao: Per vertex, see `Part`.
        texture: The face's texture.
        eyes: `2 3` centres of the right and left eyeball.
        eye_scale: Size of the eyeballs relative to the average.
    """

    who: Identity
    points: Array
    parts: dict[str, slice]
    triangles: NDArray[np.int32]
    material: NDArray[np.int32]
    label: NDArray[np.uint8]
    shadow: NDArray[np.bool_]
    uv: Floats
    colour: Floats
    follow: Floats
    tangents: Floats
    ao: Floats
    texture: Floats
    eyes: Array
    eye_scale: float


def _head_part(who: Identity, points: Array) -> tuple[Part, NDArray[np.int32], NDArray[np.uint8]]:
    """The head's skin as a part, with its materials and labels per triangle."""
    shape = topology()
    places = landmark_chart()
    middle = shape.chart[shape.triangles].mean(1)
    label = np.full(len(shape.triangles), PARTS["skin"], np.uint8)
    rest = average_head()[shape.triangles].mean(1)
    nose = (
        (np.abs(rest[:, 0]) < 1.0 + 0.28 * np.clip(3.2 - rest[:, 1], 0, 3.6)) & (rest[:, 1] < 3.0) & (rest[:, 1] > -2.1)
    )
    label[nose] = PARTS["nose"]
    for outline in (RIGHT_BROW, LEFT_BROW):
        label[Path(places[list(outline)]).contains_points(middle)] = PARTS["brows"]
    label[Path(places[list(LIPS_OUTER)]).contains_points(middle)] = PARTS["lips"]
    rim = (shape.triangles >= shape.skin).any(1)
    mouth_rim = np.isin(shape.triangles, shape.mouth.rims).any(1)
    deep = np.isin(shape.triangles, shape.mouth.rims[2:]).any(1)
    label[rim & ~mouth_rim] = PARTS["eyes"]
    label[mouth_rim] = PARTS["lips"]
    label[deep] = PARTS["inside_mouth"]
    material = np.full(len(shape.triangles), SKIN, np.int32)
    material[rim] = WET
    first = np.isin(shape.triangles, shape.mouth.rims[0]).any(1) & ~np.isin(shape.triangles, shape.mouth.rims[1:]).any(
        1
    )
    material[first] = SKIN  # a wet gleam on the lips' own edge reads as teeth between closed lips
    colour = np.ones((len(points), 3))
    wet = np.clip(who.skin * np.array([1.02, 0.62, 0.58]), 0, 1)
    for hole in (shape.right_eye, shape.left_eye):
        colour[hole.rims[0]] = who.skin * np.array([1.05, 0.78, 0.74])
        colour[hole.rims[1:]] = wet * np.array([1.05, 0.9, 0.9])
    lip = who.skin * who.lips[0]
    for k, row in enumerate(shape.mouth.rims):
        inside = np.array([0.36, 0.12, 0.11])
        t = min(1.0, k / 2)
        colour[row] = lip * (1 - t) + inside * t
    piece = part(points, shape.triangles, SKIN, PARTS["skin"], colour=colour, uv=shape.chart)
    return piece, material, label


def build_scene(who: Identity) -> Scene:
    """Makes every mesh and texture of an actor (about a second)."""
    rng = np.random.default_rng([who.seed, 3])
    head = shaped_head(who)
    n = who.numbers
    shape = topology()
    eyes = np.stack([EYE_CENTRE * [-1, 1, 1], EYE_CENTRE])
    scale = 1.0
    for k, hole in enumerate((shape.right_eye, shape.left_eye)):
        now, before = head[hole.edge], average_head()[hole.edge]
        eyes[k] += (now - before).mean(0)
    lay_rims(head, eyes, scale)
    mouth_shift = shape_displacement(who, np.array([[0.0, -4.3, 5.0]]))[0]
    wide = 1 + 0.04 * who.shape["mouth_wide"] + (who.overall[0] - 1)

    def placed(piece: Part, shift: Array, stretch: float = 1.0) -> Part:
        return replace(piece, points=piece.points * [stretch, 1, 1] + shift)

    female = who.female
    build = (n["neck"], n["shoulders"], female)
    neck = body.neck(who.skin, who.collar, build)
    garments = body.clothes(who.collar, who.cloth[0], who.cloth[1], build, rng)
    ear = body.ear(who.skin, n["ear"], n["ear_out"], n["lobe"])
    side_shift = shape_displacement(who, np.array([[7.4, 0.5, -3.0]]))[0]
    ear = placed(ear, side_shift)
    named: list[tuple[str, Part]] = []
    named.append(("neck", neck))
    named += [(f"cloth{k}", g) for k, g in enumerate(garments)]
    named += [("ear_left", ear), ("ear_right", mirrored(ear))]
    ball = mouth.eyeball()
    named += [("eye_right", placed(ball, eyes[0])), ("eye_left", placed(ball, eyes[1]))]
    for name, upper in (("upper", True), ("lower", False)):
        teeth, gum = mouth.teeth(upper, n["teeth"], n["crooked"], rng)
        named += [(f"teeth_{name}", placed(teeth, mouth_shift, wide)), (f"gum_{name}", placed(gum, mouth_shift, wide))]
    named += [
        ("tongue", placed(mouth.tongue(), mouth_shift, wide)),
        ("throat", placed(mouth.throat(), mouth_shift, wide)),
    ]
    named += [(f"hair{k}", h) for k, h in enumerate(hair(who, build))]
    named.append(("lashes", lashes(who).mesh(head, eyes)))

    piece, material, label = _head_part(who, head)
    everything = [("head", piece), *named]
    parts, start = {}, 0
    triangles, materials, labels, shadows = [], [], [], []
    for name, p in everything:
        parts[name] = slice(start, start + len(p.points))
        triangles.append(p.triangles + start)
        materials.append(material if name == "head" else np.full(len(p.triangles), p.material, np.int32))
        labels.append(label if name == "head" else np.full(len(p.triangles), p.label, np.uint8))
        shadows.append(np.full(len(p.triangles), p.shadow))
        start += len(p.points)

    def stack(field: str) -> Floats:
        return np.concatenate([getattr(p, field) for _, p in everything]).astype(np.float32)

    return Scene(
        who, np.concatenate([p.points for _, p in everything]), parts, np.concatenate(triangles).astype(np.int32),
        np.concatenate(materials), np.concatenate(labels),
        np.concatenate(shadows), stack("uv"), stack("colour"), stack("follow"), stack("tangents"), stack("ao"),
        face_texture(who, scalp_texture(who, SIZE)), eyes, scale,
    )  # fmt: skip
