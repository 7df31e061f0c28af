"""Hair: a cap over the scalp so that nothing shines through, and ribbons of strands grown over it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree

from realtalk_actor.chart import to_chart
from realtalk_actor.head import average_head, skin_normals
from realtalk_actor.identity import Identity
from realtalk_actor.part import Part, grid_triangles, part
from realtalk_actor.raster import CAP
from realtalk_actor.shade import CHART_REACH, HAIR
from realtalk_actor.topology import topology
from realtalk_core.capture import PARTS

Array = NDArray[np.float64]

# angle in the chart (degrees, 90 is up) and distance from its middle of the hairline, image's right half
_HAIRLINE = np.array([(-90, 2.42), (-48, 2.20), (-24, 1.92), (-11, 1.62), (3, 1.40), (12, 1.34), (25, 1.19), (38, 1.02),
                      (52, 0.93), (68, 0.80), (90, 0.745)])  # fmt: skip


@dataclass(frozen=True)
class Style:
    """How a head of hair grows.

    Attributes:
        cap: Thickness of the cap over the skull, cm.
        cards: Number of ribbons.
        length: Their length, cm.
        lift: How strongly they leave the scalp.
        gravity: How strongly they hang.
        spread: Disorder of their directions.
        curl: Radius of their curls, cm.
        width: Half width of a ribbon, cm.
        away: Greatest distance of hair from the skull, cm.
    """

    cap: float
    cards: int
    length: float
    lift: float
    gravity: float
    spread: float
    curl: float
    width: float
    away: float


STYLES: dict[str, Style] = {
    "crop": Style(0.30, 1900, 3.0, 0.55, 0.05, 0.35, 0.0, 0.30, 1.3),
    "side": Style(0.45, 1900, 6.5, 0.5, 0.10, 0.16, 0.0, 0.34, 1.5),
    "back": Style(0.50, 1900, 8.0, 0.5, 0.06, 0.13, 0.0, 0.34, 1.5),
    "fringe": Style(0.45, 1900, 6.0, 0.45, 0.22, 0.2, 0.0, 0.34, 1.5),
    "bob": Style(0.5, 2000, 17.0, 0.35, 0.55, 0.10, 0.15, 0.42, 1.6),
    "long": Style(0.5, 2100, 30.0, 0.35, 0.60, 0.10, 0.22, 0.45, 1.7),
    "curly": Style(1.0, 2300, 8.0, 0.75, 0.16, 0.3, 0.75, 0.30, 2.2),
    "afro": Style(1.6, 2600, 4.5, 1.5, 0.0, 0.8, 0.35, 0.26, 4.0),
    "bun": Style(0.40, 1700, 9.5, 0.3, 0.0, 0.06, 0.0, 0.34, 0.9),
    "buzz": Style(0.10, 2400, 0.55, 1.0, 0.0, 0.4, 0.0, 0.16, 0.6),
    "bald": Style(0.0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.1),
}


def behind_hairline(q: Array, who: Identity) -> Array:
    """How far chart places `N 2` lie behind the hairline, radians; negative on the face."""
    angle = np.rad2deg(np.arctan2(q[:, 1], np.abs(q[:, 0])))
    line = CubicSpline(_HAIRLINE[:, 0], _HAIRLINE[:, 1], bc_type="natural")(angle)
    temple = np.exp(-(((angle - 55) / 14) ** 2)) * max(0.0, who.numbers["hairline"]) * 1.5
    top = np.clip((angle - 20) / 40, 0, 1) * who.numbers["hairline"]
    wobble = 0.012 * np.sin(angle * 0.9 + who.seed) + 0.008 * np.sin(angle * 2.3 + 2 * who.seed)
    return np.asarray(np.hypot(q[:, 0], q[:, 1]) - line - temple - top + wobble)


def scalp_texture(who: Identity, size: int) -> NDArray[np.float32]:
    """How much hair darkens the skin of the chart, 0 to 1, with an uneven edge."""
    v, u = np.mgrid[0:size, 0:size]
    q = np.stack([(u + 0.5) / size * 2 - 1, 1 - (v + 0.5) / size * 2], -1).reshape(-1, 2) * CHART_REACH
    depth = behind_hairline(q, who).reshape(size, size)
    rng = np.random.default_rng([who.seed, 5])
    angle = np.arctan2(q[:, 1], q[:, 0]).reshape(size, size)
    ragged = np.interp(angle, np.linspace(-np.pi, np.pi, 700), rng.normal(size=700) * 0.022)
    cover = np.clip((depth + ragged + 0.02) / 0.09, 0, 1) * 0.9
    if who.style == "bald":
        cover = cover * (0.10 + 0.25 * (np.hypot(q[:, 0], q[:, 1]).reshape(size, size) > 1.5))
    elif who.style == "buzz":
        cover = cover * 0.85
    return cover.astype(np.float32)


def _flow(who: Identity, at: Array) -> Array:
    """Combing direction at places `N 3` of the average head."""
    x, y, z = at[:, 0], at[:, 1], at[:, 2]
    back = np.stack([0.10 * x, 0.35 - 0.05 * y, -np.ones(len(at))], 1)
    down = np.stack([0.06 * x, -np.ones(len(at)), -0.25 + 0 * z], 1)
    low = np.clip((6.5 - y) / 4.5, 0, 1)[:, None]
    n = who.numbers
    if who.style in ("bob", "long"):
        middle = n["part"] * 0.6
        side = np.tanh((x - middle) / 0.8)
        over = np.stack([side * 1.0, -0.3 + 0 * x, -0.38 + 0 * x], 1)
        return over * (1 - low) + down * low
    if who.style == "side":
        side = np.sign(n["part"])
        sweep = np.stack([np.where(x * side > abs(n["part"]), side, -side) * 0.9, 0.15 + 0 * x, -0.65 + 0 * x], 1)
        return sweep * (1 - low) + (down * 0.8 + back * 0.4) * low
    if who.style in ("crop", "fringe", "buzz"):
        crown = np.array([0.6, 12.8, -9.0])
        out = at - crown
        out[:, 0] *= 0.6
        out /= np.linalg.norm(out, axis=1, keepdims=True)
        return out * (1 - low) + down * low
    if who.style == "bun":
        knot = np.array([0.0, 9.5, -14.0]) - at
        return knot / np.linalg.norm(knot, axis=1, keepdims=True)
    if who.style in ("curly", "afro"):
        return np.stack([0.15 * x, -0.25 + 0 * y, -0.25 + 0 * z], 1)
    return back * (1 - low) + (down * 0.5 + back * 0.7) * low


def _thickness(who: Identity, points: Array, depth: Array) -> Array:
    """Thickness of the cap at scalp vertices."""
    style = STYLES[who.style]
    rise = np.clip((depth - 0.02) / 0.30, 0, 1)
    thick = style.cap * who.numbers["volume"] * rise**0.7
    top = np.clip((points[:, 1] - 7) / 5, 0, 1)
    if who.style in ("crop", "side", "back", "fringe"):
        thick *= 0.55 + 0.9 * top
    waves = np.sin(points @ np.array([1.9, 1.1, 0.6]) + who.seed) * np.sin(points @ np.array([-0.7, 1.3, 1.7]))
    return np.asarray(thick * (1 + 0.18 * waves) + 0.03)


def hair(who: Identity, head: Array, around: Array) -> list[Part]:
    """The actor's hair.

    Args:
        who: The actor.
        head: The shaped head at rest `N 3`.
        around: Places `K 3` of the body that long hair has to lie on.

    Returns:
        No part for a bald actor; else the cap and the ribbons.
    """
    style = STYLES[who.style]
    if style.cards == 0:
        return []
    rng = np.random.default_rng([who.seed, 9])
    shape = topology()
    skin = head[: shape.skin]
    normals = skin_normals(head)[: shape.skin]
    rest = average_head()[: shape.skin]
    depth = behind_hairline(to_chart(rest), who)
    flow = _flow(who, rest)
    flow -= normals * (flow * normals).sum(1, keepdims=True)
    flow /= np.linalg.norm(flow, axis=1, keepdims=True) + 1e-9
    pieces = [_cap(who, shape.triangles, skin, normals, depth, flow)]
    chosen = np.flatnonzero(depth > 0.0)
    area = np.maximum(0.2, np.hypot(*to_chart(rest[chosen]).T)) * np.where(
        np.hypot(*to_chart(rest[chosen]).T) > 1.3, 4.0, 1.0
    )
    front = 1 + 1.6 * np.exp(-((depth[chosen] / 0.12) ** 2))
    pick = rng.choice(chosen, style.cards, p=area * front / (area * front).sum())
    pieces.append(_ribbons(who, style, pick, skin, normals, flow, depth, head, around, rng))
    if who.style == "bun":
        pieces.append(_knot(who, rng))
    return pieces


def _cap(who: Identity, triangles: Array, skin: Array, normals: Array, depth: Array, flow: Array) -> Part:
    inside = np.flatnonzero(depth > -0.01)
    number = np.full(len(skin), -1)
    number[inside] = np.arange(len(inside))
    faces = number[np.clip(triangles, 0, len(skin) - 1)]
    faces = faces[(faces >= 0).all(1) & (triangles < len(skin)).all(1)]
    points = skin[inside] + normals[inside] * _thickness(who, skin[inside], depth[inside])[:, None]
    # u runs across the combing direction in strands of about a third of a millimetre: one repeating set of nine
    across = np.cross(normals[inside], flow[inside])
    u = (points * across).sum(1) * 3.4
    uv = np.stack([u, depth[inside]], 1)
    return part(
        points,
        faces,
        HAIR,
        PARTS["hair_ears"],
        colour=who.hair * 0.8,
        uv=uv,
        tangents=flow[inside],
        card=np.full(len(faces), CAP),
    )


def _ribbons(
    who: Identity, style: Style, pick: Array, skin: Array, normals: Array, flow: Array, depth: Array, head: Array,
    around: Array, rng: np.random.Generator,
) -> Part:  # fmt: skip
    n = len(pick)
    steps = 4 if style.length < 2 else (13 if style.length > 12 or style.curl > 0.5 else 7)
    volume = who.numbers["volume"]
    solid = np.concatenate([skin, around])
    tree = cKDTree(solid)
    middle = np.concatenate([np.repeat(np.array([[0, 3.0, -4.5]]), len(skin), 0), around * [0, 1, 0] + [0, 0, -5.5]])
    away_from = solid - middle
    away_from /= np.linalg.norm(away_from, axis=1, keepdims=True)
    away_from[: len(skin)] = normals
    length = style.length * rng.uniform(0.75, 1.1, n) * (who.numbers["length"] if style.length > 2 else 1)
    near_line = np.clip(depth[pick] / 0.25, 0, 1)
    if who.style in ("crop", "side", "back", "fringe"):
        length *= 0.35 + 0.65 * np.clip((skin[pick, 1] - 3) / 5, 0, 1)
    at = skin[pick] + rng.normal(size=(n, 3)) * 0.12
    clearance = (0.12 + (style.away - 0.12) * rng.random(n) ** 1.3) * volume * (0.35 + 0.65 * near_line)
    way = flow[pick] + normals[pick] * (style.lift * (0.3 + 0.7 * near_line) * rng.uniform(0.5, 1.2, n))[:, None]
    way += rng.normal(size=(n, 3)) * style.spread
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    phase, turn = rng.uniform(0, 6.28, n), rng.uniform(0.7, 1.4, n) * (1.2 if style.length < 12 else 0.55)
    line = np.zeros((n, steps, 3))
    over_face = np.zeros(n, bool)
    facing = np.zeros((n, steps, 3))
    stride = length / (steps - 1)
    rest_of_head = average_head()[: len(skin)]
    for s in range(steps):
        _, near = tree.query(at)
        out = away_from[near]
        on_skin = near < len(skin)
        over_face |= on_skin & (depth[np.minimum(near, len(skin) - 1)] < (-0.30 if s < 3 else -0.10)) & (at[:, 2] > 0.5)
        height = ((at - solid[near]) * out).sum(1)
        least = np.minimum(clearance, 0.15 + clearance * (s + 0.5) / 2.5)
        at = at + out * (np.clip(least - height, 0, None) - 0.35 * np.clip(height - clearance * 1.4, 0, None))[:, None]
        line[:, s], facing[:, s] = at, out
        comb = _flow(who, rest_of_head[np.minimum(near, len(skin) - 1)])
        comb = np.where((near < len(skin))[:, None], comb, np.array([0.0, -1, 0]))
        way = way + 0.45 * comb * (1 if style.spread < 0.45 else 0.2)
        way = way + np.array([0, -style.gravity, 0]) * (0.4 + 0.6 * s / steps)
        way = way - out * np.clip((way * out).sum(1), -1, 0.15 if s > 1 else 1)[:, None] * 0.8
        way /= np.linalg.norm(way, axis=1, keepdims=True) + 1e-9
        at = at + way * stride[:, None]
        if style.curl:
            side = np.cross(way, out)
            angle = phase + turn * s * 2.2
            at = at + (side * np.cos(angle)[:, None] + out * np.sin(angle)[:, None] * 0.6) * style.curl * (
                0.4 + who.numbers["wave"]) * min(1.0, s / 2)  # fmt: skip
    if who.style != "fringe":  # the others are combed out of the face
        line, facing = line[~over_face], facing[~over_face]
        n = len(line)
    tangent = np.gradient(line, axis=1)
    tangent /= np.linalg.norm(tangent, axis=2, keepdims=True) + 1e-9
    side = np.cross(tangent, facing)
    side /= np.linalg.norm(side, axis=2, keepdims=True) + 1e-9
    tilt = rng.normal(size=(n, 1, 1)) * 0.35
    side = side * np.cos(tilt) + facing * np.sin(tilt)
    taper = np.linspace(1, 0.75, steps)[None, :, None] * style.width * rng.uniform(0.7, 1.2, (n, 1, 1))
    points = np.stack([line - side * taper, line + side * taper], 2).reshape(-1, 3)
    v = np.linspace(0, 1, steps)
    uv = np.stack(np.broadcast_arrays(np.array([-1.0, 1.0])[None, None], v[None, :, None] + np.zeros((n, 1, 1))), -1)
    one = grid_triangles(steps, 2)
    faces = (one[None] + (np.arange(n) * steps * 2)[:, None, None]).reshape(-1, 3)
    tone = who.hair * (1 + 0.16 * rng.normal(size=(n, 1)))
    share = np.clip((points[:, 1] + 17) / 13, 0.15, 1)
    return part(points, faces, HAIR, PARTS["hair_ears"], colour=np.repeat(np.clip(tone, 0.002, 1), steps * 2, 0),
                uv=uv.reshape(-1, 2), tangents=np.repeat(tangent.reshape(-1, 3), 2, 0), head=share,
                card=np.repeat(np.arange(n, dtype=float), len(one)))  # fmt: skip


def _knot(who: Identity, rng: np.random.Generator) -> Part:
    a, b = np.meshgrid(np.linspace(0, np.pi, 24), np.linspace(0, 2 * np.pi, 36, endpoint=False), indexing="ij")
    a, b = a.ravel(), b.ravel()
    unit = np.stack([np.sin(a) * np.cos(b), np.cos(a), np.sin(a) * np.sin(b)], 1)
    swirl = 0.18 * np.sin(5 * b + 6 * a + rng.uniform(0, 6))
    radius = 2.7 * who.numbers["volume"] ** 0.5 * (1 + swirl * np.sin(a))
    points = unit * radius[:, None] * [1.1, 0.95, 0.85] + np.array([0, 13.0, -10.5])
    around = np.stack([-np.sin(b), 0.4 * np.cos(5 * b), np.cos(b)], 1)
    return part(points, grid_triangles(24, 36, closed=True)[:, ::-1], HAIR, PARTS["hair_ears"], colour=who.hair,
                uv=np.stack([a * 6, 0.4 + 0 * b], 1), tangents=around)  # fmt: skip
