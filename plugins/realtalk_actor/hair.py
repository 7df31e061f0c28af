"""Hair: tapered solid locks that follow a combing direction over a dark base, and fine strands where it begins.

Everything is laid out over the average head, whose skin is one radius for each direction from the chart's middle, and
then moved with the identity. Locks are solid, so no picture element is cut away at random and nothing flickers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from matplotlib.tri import LinearTriInterpolator, Triangulation
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from realtalk_actor.body import Body, outside_torso
from realtalk_actor.chart import CENTRE, directions, to_chart
from realtalk_actor.head import average_head
from realtalk_actor.identity import Identity, shape_displacement
from realtalk_actor.part import Part, grid_triangles, joined, part
from realtalk_actor.shade import CHART_REACH, HAIR
from realtalk_actor.topology import topology
from realtalk_core.capture import PARTS

Array = NDArray[np.float64]

# angle in the chart (degrees, 90 is up) and distance from its middle of the hairline, image's right half
_HAIRLINE = np.array([(-90, 2.42), (-48, 2.20), (-24, 1.92), (-11, 1.62), (3, 1.42), (12, 1.34), (25, 1.19), (38, 1.03),
                      (52, 0.925), (68, 0.82), (90, 0.77)])  # fmt: skip
# the same of the line that hair hanging beside the face does not cross
_FRAME = np.array([(-90, 1.75), (-60, 1.42), (-40, 1.30), (-15, 1.30), (5, 1.32), (20, 1.20), (40, 1.0), (55, 0.9),
                   (90, 0.75)])  # fmt: skip
_FINE = 40
"""Places along a lock while it grows."""


@dataclass(frozen=True)
class Style:
    """How a head of hair grows.

    Attributes:
        locks: Number of locks.
        top, side: Height of the hair over the top of the skull and over the ears, cm.
        long, short: Length of locks on top and at the sides, cm.
        width: Half width of a lock, cm.
        spread: Disorder of their directions, radians.
        rows: Places along a lock.
        wave: Width of waves or curls, cm.
        hang: Height in head space where hanging hair ends, or 0 for hair that follows the skull.
    """

    locks: int
    top: float
    side: float
    long: float
    short: float
    width: float
    spread: float
    rows: int
    wave: float = 0.0
    hang: float = 0.0


STYLES: dict[str, Style] = {
    "crop": Style(360, 1.0, 0.32, 4.4, 2.0, 0.54, 0.32, 6),
    "side": Style(340, 1.5, 0.40, 10.0, 3.4, 0.60, 0.16, 8),
    "back": Style(320, 1.35, 0.40, 11.0, 4.0, 0.78, 0.13, 8),
    "fringe": Style(360, 1.2, 0.75, 9.5, 4.5, 0.62, 0.16, 8),
    "bob": Style(260, 1.3, 1.6, 30.0, 20.0, 0.90, 0.10, 11, 0.12, -8.2),
    "long": Style(260, 1.3, 1.6, 42.0, 34.0, 0.95, 0.12, 15, 0.40, -17.5),
    "curly": Style(230, 2.4, 2.2, 15.0, 12.0, 0.76, 0.40, 16, 0.62, -8.0),
    "afro": Style(420, 3.3, 2.9, 2.2, 2.2, 0.46, 0.9, 6, 0.30),
    "bun": Style(300, 0.50, 0.45, 20.0, 16.0, 0.75, 0.04, 8),
    "buzz": Style(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0),
    "bald": Style(420, 0.30, 0.42, 2.6, 2.2, 0.34, 0.22, 6),
}
_HANGING = ("bob", "long", "curly")


def _step(x: Array, low: float, high: float) -> Array:
    t = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def behind_hairline(q: Array, who: Identity) -> Array:
    """How far chart places `N 2` lie behind the hairline, radians; negative on the face and on the ears."""
    reach = np.hypot(q[:, 0], q[:, 1])
    angle = np.rad2deg(np.arctan2(q[:, 1], np.abs(q[:, 0])))
    line = PchipInterpolator(_HAIRLINE[:, 0], _HAIRLINE[:, 1])(angle)
    receding = max(0.0, who.numbers["hairline"])
    line = line + np.exp(-(((angle - 57) / 13) ** 2)) * receding * 1.5
    line = line + np.clip((angle - 20) / 40, 0, 1) * np.clip(who.numbers["hairline"], -0.03, 0.2)
    line = line + 0.010 * np.sin(angle * 0.13 + who.seed) * np.cos(np.deg2rad(angle))
    ear = (np.hypot((np.abs(q[:, 0]) - 1.56) / 0.26, (q[:, 1] + 0.02) / 0.31) - 1) * 0.26
    return np.asarray(np.minimum(reach - line, ear))


@cache
def _skin_radius() -> NDArray[np.float32]:
    """Distance of the average head's skin from the chart's middle, `384 384` over chart places -pi to pi."""
    shape = topology()
    skin = shape.skin
    faces = shape.triangles[(shape.triangles < skin).all(1)]
    q = shape.chart[:skin]
    far = np.linalg.norm(average_head()[:skin] - CENTRE, axis=1)
    v, u = np.mgrid[0:384, 0:384]
    at = (np.stack([u, v], -1) / 383 * 2 - 1) * np.pi
    reach = np.hypot(at[..., 0], at[..., 1])
    at *= np.minimum(1, 3.05 / np.maximum(reach, 1e-6))[..., None]
    out = LinearTriInterpolator(Triangulation(q[:, 0], q[:, 1], faces), far)(at[..., 0], at[..., 1])
    return cv2.GaussianBlur(np.asarray(out.filled(9.0), np.float32), (0, 0), 1.5)


def _radius(q: Array) -> Array:
    place = ((q / np.pi + 1) * 0.5 * 383).astype(np.float32)
    return np.asarray(cv2.remap(_skin_radius(), place[:, :1], place[:, 1:], cv2.INTER_LINEAR)[:, 0], float)


def scalp_texture(who: Identity, size: int) -> NDArray[np.float32]:
    """How much hair darkens the skin of the chart, 0 to 1: a soft tint, and short strands that thin out forward."""
    v, u = np.mgrid[0:size, 0:size]
    q = np.stack([(u + 0.5) / size * 2 - 1, 1 - (v + 0.5) / size * 2], -1).reshape(-1, 2) * CHART_REACH
    depth = behind_hairline(q, who).reshape(size, size)
    rng = np.random.default_rng([who.seed, 5])
    grain = cv2.GaussianBlur(rng.normal(size=(size, size)).astype(np.float32), (0, 0), 0.8)
    grain = np.clip(0.5 + grain / grain.std() * 0.35, 0, 1)
    edge = _step(depth + 0.03 * (grain - 0.5), -0.03, 0.12)
    if who.style == "bald":
        crown = _step(np.hypot(q[:, 0], q[:, 1]).reshape(size, size), 1.1, 1.6)
        sides = np.maximum(0.25 * crown, 1 - _step(np.abs(q[:, 1]).reshape(size, size), 0.5, 0.95)) * crown
        shaved = 0.08 + (0.75 if _wreath(who) else 0.38) * sides
        return np.asarray(edge * shaved * (0.45 + 0.9 * grain), np.float32)
    if who.style == "buzz":
        return np.asarray(edge * np.clip(0.58 + 0.55 * (grain - 0.35), 0, 0.95), np.float32)
    ahead = 0.05 if who.style in ("crop", "fringe") else 0.0  # hair that falls forward shades its own roots
    tint = 0.96 * _step(depth + ahead, 0.005, 0.13) + 0.16 * _step(depth, -0.05, 0.03)
    strands = np.zeros((size, size), np.float32)
    wanted = 5200
    at = rng.uniform(-1.9, 1.9, (wanted * 12, 2))
    far = behind_hairline(at, who)
    thin = np.clip((far + 0.045 * rng.random(len(at)) ** 2 + 0.012) / 0.10, 0, 1) * (far < 0.16)
    at = at[rng.random(len(at)) < thin * 0.8][:wanted]
    skin = CENTRE + directions(at) * _radius(at)[:, None]
    way = to_chart(skin + 0.5 * _combed(who, skin, directions(at))) - at
    way = way / (np.linalg.norm(way, axis=1, keepdims=True) + 1e-9) + rng.normal(size=at.shape) * 0.25
    tips = at + way * rng.uniform(0.02, 0.075, (len(at), 1))
    scale = size / (2 * CHART_REACH)
    for a, b in zip(at, tips, strict=True):
        p, r = (tuple(int((c + CHART_REACH) * scale * 16) for c in (x, -y)) for x, y in (a, b))
        cv2.line(strands, p, r, float(rng.uniform(0.35, 0.8)), 1, cv2.LINE_AA, 4)
    return np.asarray(np.clip(np.maximum(tint, strands), 0, 0.96), np.float32)


def _height(who: Identity, at: Array, q: Array, depth: Array) -> Array:
    """How high the hair stands over the skin at places `N 3` over the average head, cm."""
    style = STYLES[who.style]
    x, y, z = at.T
    up = _step(y, 3.5, 10.5)
    high = style.side + (style.top - style.side) * up
    n = who.numbers
    front = np.exp(-(((depth - 0.20) / 0.28) ** 2)) * _step(y, 6.5, 9.0)
    if who.style == "back":
        high = high * (0.75 + 0.55 * front)
    elif who.style == "crop":
        high = high * (0.85 + 0.35 * front)
    elif who.style in ("side", "bob", "long"):
        away = np.abs(x - _parting(who, z))
        crease = 1 - (0.38 if who.style == "side" else 0.62) * np.exp(-((away / 1.1) ** 2)) * up
        high = high * crease
        if who.style == "side":
            high = high * (1 + 0.35 * front * np.exp(-(((away - 2.5) / 2.4) ** 2)))
    if who.style in ("crop", "side", "back"):
        high = high * (0.35 + 0.65 * _step(y, -4.5, 1.5))  # the neck is cut short
    high = high * (0.75 + 0.35 * n["volume"])
    return np.asarray(high * (0.12 + 0.88 * _step(depth, -0.01, 0.20)))


def _parting(who: Identity, z: Array) -> Array:
    """Where the parting lies across the head, cm, at depths z."""
    where = who.numbers["part"] * (1.05 if who.style == "side" else 0.45)
    return np.asarray(where * (0.55 + 0.45 * _step(z, -9, 3)))


def _combed(who: Identity, at: Array, out: Array) -> Array:
    """Unit combing directions along the skin at places `N 3` with outward directions `N 3`."""
    x, y, z = at.T
    one, zero = np.ones(len(at)), np.zeros(len(at))
    down = np.stack([0.05 * x, -one, -0.30 + 0 * z], 1)
    low = (1 - _step(y, 3.5, 8.5))[:, None]
    if who.style in ("bob", "long", "curly"):
        side = np.tanh((x - _parting(who, z)) / (2.5 if who.style == "curly" else 0.5))
        way = np.stack([side * 1.0, -0.25 * one, -0.38 + 0.05 * z], 1) * (1 - low) + down * low
    elif who.style == "side":
        heavy = -np.sign(who.numbers["part"])
        side = np.where((x - _parting(who, z)) * heavy > 0, heavy, -heavy)
        away = np.abs(x - _parting(who, z))
        back = 0.45 + 0.30 * _step(-z, -2, 8)
        way = np.stack([side * 1.0, 0.15 * one, -back * (0.6 + 0.4 * np.tanh(away / 2))], 1) * (1 - low)
        way = way + (down + np.array([0, 0, -0.35])) * low
    elif who.style in ("crop", "fringe"):
        crown = np.array([0.9, 12.6, -8.8])
        away = at - crown
        away[:, 0] *= 0.75
        away /= np.linalg.norm(away, axis=1, keepdims=True)
        lean = np.sign(who.numbers["part"])
        away[:, 0] += 0.35 * lean * _step(z, -6, 3)
        way = away * (1 - low) + (down + np.array([0, 0, 0.35])) * low
    elif who.style == "bun":
        way = KNOT - at
    elif who.style == "afro":
        way = np.stack([0.4 * x, 0.4 * (y - 5) + one, 0.3 * z], 1)
    else:
        low = (1 - _step(y, 1.0, 7.0))[:, None]
        way = np.stack([0.07 * x, 0.55 * one, -1.0 * one], 1) * (1 - low)
        way = way + np.stack([zero, -0.75 * one, -0.8 * one], 1) * low
    way = way - out * (way * out).sum(1, keepdims=True)
    return np.asarray(way / (np.linalg.norm(way, axis=1, keepdims=True) + 1e-9))


KNOT = np.array([0.0, 13.2, -10.6])
"""Where tied hair meets, on the average head, cm."""


def _wreath(who: Identity) -> bool:
    """Whether a bald actor has kept the hair round the sides."""
    return who.age > 0.45 and who.female < 0.5


def hair(who: Identity, body: Body) -> list[Part]:
    """The actor's hair.

    Args:
        who: The actor.
        body: The body that hanging hair lies on.

    Returns:
        No part for shaved heads; else the base, the locks, and fine strands.
    """
    style = STYLES[who.style]
    if style.locks == 0 or (who.style == "bald" and not _wreath(who)):
        return []
    rng = np.random.default_rng([who.seed, 9])
    pieces = [_locks(who, style, rng, body)]
    if who.style != "bald":
        pieces += [_base(who), _fine(who, style, rng, body)]
    if who.style == "bun":
        pieces.append(_knot(who, rng))
    out = joined(pieces)
    share = np.ones(len(out.points))
    if style.hang < -10:
        share = np.clip((out.points[:, 1] + 20) / 16, 0.1, 1) ** 0.8
    moved = out.points + shape_displacement(who, out.points)
    return [part(moved, out.triangles, HAIR, PARTS["hair_ears"], colour=out.colour, uv=out.uv, tangents=out.tangents,
                 head=share)]  # fmt: skip


def _base(who: Identity) -> Part:
    """A closed dark surface under the locks, rising out of the skin behind the hairline."""
    style = STYLES[who.style]
    columns, rows = 96, 24 if who.style != "afro" else 44
    turn = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    probe = np.linspace(0.5, 3.0, 400)
    ray = np.stack([np.cos(turn), np.sin(turn)], 1)
    depth = behind_hairline((ray[:, None] * probe[None, :, None]).reshape(-1, 2), who).reshape(columns, -1)
    # the hairline along each ray: the last place in front of it, so that ears stay free
    first = probe[len(probe) - 1 - np.argmax(depth[:, ::-1] < 0.015, axis=1)]
    first = np.convolve(np.tile(first, 3), [0.25, 0.5, 0.25], "same")[columns : 2 * columns]
    along = np.linspace(0, 1, rows) ** 1.25
    q = ((first[None] + (3.08 - first[None]) * along[:, None])[..., None] * ray[None]).reshape(-1, 2)
    out = directions(q)
    skin = CENTRE + out * _radius(q)[:, None]
    behind = np.repeat(along, columns) * 1.5
    high = _height(who, skin, q, behind_hairline(q, who))
    bumps = 1.0
    if who.style == "afro":
        rng = np.random.default_rng([who.seed, 12])
        bumps = 0.93 + 0.16 * rng.random(len(q)) ** 1.5
    share = {"afro": 0.95, "curly": 0.45}.get(who.style, 0.62)
    if who.style in ("side", "bob", "long"):  # locks rise out of the parting; the base must not hide where they begin
        away = np.abs(skin[:, 0] - _parting(who, skin[:, 2]))
        high = high * (
            1 - (0.6 if who.style == "side" else 0.85) * np.exp(-((away / 1.5) ** 2)) * _step(skin[:, 1], 4, 8)
        )
    at = skin + out * (high * share * bumps * _step(behind, 0, 0.22) - 0.10 * (1 - _step(behind, 0, 0.04)))[:, None]
    tangent = _combed(who, skin, out)
    if who.style == "afro":
        tangent = np.cross(out, np.random.default_rng(who.seed).normal(size=out.shape))
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    dark = 0.55 + 0.6 * float(who.hair.mean()) if style.wave < 0.3 or who.style == "long" else 0.7
    across = at[:, 2] * 1.6 if who.style in ("side", "bob", "long") else np.tile(turn * 9, rows)
    uv = np.stack([across, 0.15 + 0.4 * behind], 1)
    return part(at, grid_triangles(rows, columns, closed=True)[:, ::-1], HAIR, PARTS["hair_ears"],
                colour=who.hair * dark, uv=uv, tangents=tangent)  # fmt: skip


def _even_roots(count: int, who: Identity, rng: np.random.Generator, deepest: float = 9.0) -> Array:
    """About `count` evenly spread chart places behind the hairline."""
    total = count * 2
    for _ in range(4):
        k = np.arange(total) + 0.5
        polar, turn = np.arccos(1 - 2 * k / total), np.pi * (1 + 5**0.5) * k + rng.uniform(0, 6)
        d = np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], 1)
        d += rng.normal(size=d.shape) * 0.5 / np.sqrt(total)
        q = to_chart(CENTRE + d * 9)
        behind = behind_hairline(q, who)
        inside = (behind > 0.015) & (behind < deepest) & (np.hypot(q[:, 0], q[:, 1]) < 3.05)
        if abs(inside.sum() - count) < 0.05 * count:
            break
        total = int(total * count / max(1, inside.sum()))
    return np.asarray(q[inside])


def _seam_roots(who: Identity, style: Style, rng: np.random.Generator) -> Array:
    """More roots where the base would show: along the hairline and, if there is one, the parting `N 2`."""
    turn = np.deg2rad(np.linspace(-8, 188, 64))
    reach = np.linspace(0.6, 1.9, 260)
    ray = np.stack([np.cos(turn), np.sin(turn)], 1)
    grid = ray[:, None] * reach[None, :, None]
    inside = behind_hairline(grid.reshape(-1, 2), who).reshape(len(turn), -1) > 0.02
    edge = ray * (reach[inside.argmax(1)] + 0.05 * rng.random(len(turn)))[:, None]
    if who.style == "curly":
        return np.concatenate([edge[::2], edge[1::2] * 1.09, edge[::2] * 1.2, edge[1::4] * 1.4])
    if who.style not in ("side", "bob", "long"):
        return edge
    z = np.linspace(3.6, -11.5, 34)
    high = np.interp(z, [-12, -8, -3, 0, 3.6], [9.5, 12.3, 12.9, 12.0, 9.4])
    lines = [np.stack([_parting(who, z) + off, high, z], 1) for off in (-0.25, 0.25)]
    part_roots = to_chart(np.concatenate(lines))
    return np.concatenate([edge, part_roots[behind_hairline(part_roots, who) > 0.015]])


def _grow(
    who: Identity, style: Style, q: Array, length: Array, layer: Array, rng: np.random.Generator,
    body: Body, lift: float = 0.0,
) -> tuple[Array, Array]:  # fmt: skip
    """Lines `N F 3` from roots at chart places `N 2`, and the outward directions along them."""
    n = len(q)
    out = directions(q)
    at = CENTRE + out * _radius(q)[:, None]
    lean = rng.normal(size=n) * style.spread * 0.6
    line, facing = np.zeros((n, _FINE, 3)), np.zeros((n, _FINE, 3))
    stride = length / (_FINE - 1)
    hanging = who.style in _HANGING
    fall = np.zeros((n, 3))
    last = None
    for s in range(_FINE):
        f = s / (_FINE - 1)
        q = to_chart(at)
        if hanging:
            angle = np.rad2deg(np.arctan2(q[:, 1], np.abs(q[:, 0])))
            reach = np.hypot(q[:, 0], q[:, 1])
            gap = np.clip(PchipInterpolator(_FRAME[:, 0], _FRAME[:, 1])(angle) + 0.07 * (1 - layer) - reach, 0, 0.25)
            distance = np.linalg.norm(at - CENTRE, axis=1, keepdims=True)
            q = q * (1 + gap / np.maximum(reach, 0.1))[:, None]
            at = CENTRE + directions(q) * distance
        out = directions(q)
        distance = np.linalg.norm(at - CENTRE, axis=1)
        skin = _radius(q)
        on_skin = CENTRE + out * skin[:, None]
        depth = behind_hairline(q, who)
        if who.style == "fringe":
            depth = np.maximum(depth, 0.14)
        elif hanging:
            depth = np.maximum(depth, 0.25 * _step(-at[:, 1], -7.0, -3.0))
        rise = _step(length * f, 0, min(1.5 if hanging else 2.2, 0.45 * float(length.mean()))) if s else np.zeros(n)
        high = _height(who, on_skin, q, np.maximum(depth, 0.02)) * layer * (rise - 0.10 * (1 - rise))
        high = high + lift * f**1.5 * length * 0.12
        free = _step(-at[:, 1], -2.0, 2.5) if hanging else np.zeros(n)
        wanted = skin + high
        # hair that has fallen past the ears hangs: it may leave the skin, but not enter it
        distance = np.where(free > 0, np.maximum(distance, wanted * (1 - free) + (skin + 0.25) * free), wanted)
        at = CENTRE + out * distance[:, None]
        if hanging:
            at = outside_torso(at, body, 0.7 + 0.6 * layer)
        level = out * np.stack([np.ones(n), 1 - free, np.ones(n)], 1)
        level[:, 2] += 0.4 * free * np.sign(at[:, 2] + 4.5)
        line[:, s], facing[:, s] = at, level / np.linalg.norm(level, axis=1, keepdims=True)
        way = _combed(who, at, out)
        across = np.cross(way, out)
        sway = style.spread * (0.8 * np.sin(at @ np.array([0.9, 0.5, 0.8]) + who.seed) + 0.5 * np.sin(at @ np.array(
            [-0.6, 1.1, 0.5])))  # fmt: skip
        turn = (lean + 0.6 * sway)[:, None]
        way = way * np.cos(turn) + across * np.sin(turn)
        if hanging:
            fall[:] = (0, -1, 0)
            inward = _step(-at[:, 1], 4.0, 9.0)[:, None] * (0.45 if who.style == "bob" else 0.10)
            fall -= np.stack([at[:, 0], 0 * at[:, 0], at[:, 2] + 3], 1) / 9 * inward
            way = way * (1 - free[:, None]) + (fall + 0.35 * (turn * across)) * free[:, None]
        if last is not None:
            way = way + 0.8 * last
        way /= np.linalg.norm(way, axis=1, keepdims=True) + 1e-9
        last = way
        at = at + way * stride[:, None]
    for _ in range(3):
        for a in (line, facing):
            a[:, 1:-1] = 0.5 * a[:, 1:-1] + 0.25 * (a[:, 2:] + a[:, :-2])
    return line, facing


def _resampled(line: Array, ends: Array, rows: int, bend: float = 1.0) -> Array:
    """Lines `N F 3` cut at a share `N` of their length, `N rows 3`."""
    n, fine, _ = line.shape
    place = np.linspace(0, 1, rows)[None] ** bend * ends[:, None] * (fine - 1)
    low = np.minimum(place.astype(int), fine - 2)
    t = (place - low)[..., None]
    index = np.arange(n)[:, None]
    return np.asarray(line[index, low] * (1 - t) + line[index, low + 1] * t)


def _locks(who: Identity, style: Style, rng: np.random.Generator, body: Body) -> Part:
    q = np.concatenate([_even_roots(style.locks, who, rng), _seam_roots(who, style, rng)])
    if who.style == "bald":
        q = q[directions(q)[:, 1] < 0.50 + 0.05 * rng.normal(size=len(q))]
    if who.style in ("bob", "long"):
        q = q[directions(q)[:, 1] > -0.25]
    n = len(q)
    skin = CENTRE + directions(q) * _radius(q)[:, None]
    top = _step(skin[:, 1], 2.5, 8.5)
    length = (style.short + (style.long - style.short) * top) * rng.uniform(0.82, 1.12, n)
    if style.hang == 0:
        length *= 0.85 + 0.3 * (who.numbers["length"] - 0.6)
    layer = rng.uniform(0.62, 1.06, n)
    if who.style == "afro":
        length[:] = style.long
        layer = rng.uniform(0.85, 1.05, n)
    line, facing = _grow(who, style, q, length, layer, rng, body, 0.5 if who.style == "crop" else 0.0)
    ends = np.ones(n)
    bend = 1.45 if who.style in ("bob", "long") else 1.0  # where the head is round, more places
    if style.hang:
        cut = style.hang * (0.8 + 0.25 * who.numbers["length"]) + rng.normal(size=n) * (0.45 if who.style == "bob" else
            1.3)  # fmt: skip
        below = line[:, :, 1] < cut[:, None]
        ends = np.where(below.any(1), below.argmax(1) / (_FINE - 1), 1.0)
        ends = np.maximum(ends, 0.3)
    if who.style == "crop":
        below = (line[:, :, 1] < 7.3 + 0.5 * rng.normal(size=n)[:, None]) & (line[:, :, 2] > 0.0)
        ends = np.where(below.any(1), np.maximum(below.argmax(1), 12) / (_FINE - 1), 1.0)
    if who.style == "fringe":
        low = 6.3 + 0.4 * rng.normal(size=n) - 0.35 * np.abs(line[:, -1, 0])
        below = (line[:, :, 1] < low[:, None]) & (line[:, :, 2] > -1.0)
        ends = np.where(below.any(1), np.maximum(below.argmax(1), 9) / (_FINE - 1), 1.0)
    if who.style == "bun":
        near = np.linalg.norm(line - KNOT, axis=2) < 2.6
        ends = np.where(near.any(1), np.maximum(near.argmax(1), 5) / (_FINE - 1), 1.0)
    line, facing = (_resampled(a, ends, style.rows, bend) for a in (line, facing))
    f = np.linspace(0, 1, style.rows) ** bend
    tangent = np.gradient(line, axis=1)
    tangent /= np.linalg.norm(tangent, axis=2, keepdims=True) + 1e-9
    across = np.cross(tangent, facing)
    across /= np.linalg.norm(across, axis=2, keepdims=True) + 1e-9
    if style.wave:
        size = style.wave * (0.55 + 0.6 * who.numbers["wave"]) if who.style in ("bob", "long") else style.wave
        run = np.concatenate([np.zeros((n, 1)), np.linalg.norm(np.diff(line, axis=1), axis=2).cumsum(1)], 1)
        # neighbours wave together: the phase is a smooth function of the root
        phase = 2.0 * np.sin(skin @ np.array([0.5, 0.3, 0.4])) + 0.5 * rng.normal(size=n)
        if who.style in ("curly", "afro"):
            phase = rng.uniform(0, 6.28, n)
        period = {"curly": 4.4, "afro": 1.6}.get(who.style, 7.0)
        angle = phase[:, None] + run * 2 * np.pi / period
        grown = np.clip(run / (9 if who.style in ("bob", "long") else 2.0), 0, 1)
        line = line + (across * np.sin(angle)[..., None] + 0.5 * facing * np.cos(angle)[..., None]) * (size * grown)[
            ..., None]  # fmt: skip
        tangent = np.gradient(line, axis=1)
        tangent /= np.linalg.norm(tangent, axis=2, keepdims=True) + 1e-9
        across = np.cross(tangent, facing)
        across /= np.linalg.norm(across, axis=2, keepdims=True) + 1e-9
    taper = np.minimum(0.15 + 5.5 * f, 1) * np.clip(1 - np.clip((f - 0.45) / 0.55, 0, 1) ** 1.7, 0.05, 1)
    half = style.width * rng.uniform(0.75, 1.2, (n, 1)) * taper[None]
    half = half * np.minimum(1, 0.45 + ends * length / (6 * style.width))[:, None]
    tilt = (rng.normal(size=n) * 0.16)[:, None, None]
    across = across * np.cos(tilt) + facing * np.sin(tilt)
    points = np.stack([line - across * half[..., None], line + facing * (0.32 * half)[..., None],
                       line + across * half[..., None]], 2)  # fmt: skip
    tone = 1 + 0.10 * rng.normal(size=(n, 1)) + 0.35 * (layer[:, None] - 0.9)
    warm = 1 + 0.05 * rng.normal(size=(n, 1)) * np.array([1.0, 0, -1.0])
    colour = np.clip(who.hair * tone * warm, 0.002, 0.9)[:, None] * (0.94 + 0.14 * f)[None, :, None]
    return _strips(points, tangent, colour, rng)


def _strips(points: Array, tangent: Array, colour: Array, rng: np.random.Generator) -> Part:
    """Strips `N R C 3` as a part, with a place across (its own for each strip) and along as uv."""
    n, rows, columns, _ = points.shape
    one = grid_triangles(rows, columns)
    faces = (one[None] + (np.arange(n) * rows * columns)[:, None, None]).reshape(-1, 3)
    across = rng.integers(0, 400, n)[:, None, None] * 2.0 + np.linspace(-1, 1, columns)[None, None]
    along = np.linspace(0.12, 1, rows)[None, :, None]
    uv = np.stack(np.broadcast_arrays(across, along + 0 * across), -1)
    spread = lambda a: np.repeat(a[:, :, None], columns, 2).reshape(-1, 3)  # noqa: E731
    return part(points.reshape(-1, 3), faces, HAIR, PARTS["hair_ears"],
                colour=spread(np.broadcast_to(colour, (n, rows, 3))), uv=uv.reshape(-1, 2),
                tangents=spread(tangent))  # fmt: skip


def _fine(who: Identity, style: Style, rng: np.random.Generator, body: Body) -> Part:
    """Narrow strands where the hair begins, and a few that stand off its outline."""
    start = _even_roots(900, who, rng)
    depth = behind_hairline(start, who)
    upper = start[:, 1] > 0.25
    begin = start[(depth < 0.10) & upper]
    begin = np.repeat(begin, 3, 0)
    begin = begin + rng.normal(size=begin.shape) * 0.03
    loose = start[rng.choice(len(start), 18, replace=False)]
    loose = loose[directions(loose)[:, 1] > 0.3]
    q = np.concatenate([begin, loose])
    n, m = len(q), len(begin)
    length = np.concatenate([rng.uniform(1.2, 3.0, m), rng.uniform(3.5, 6.0, n - m)])
    length = np.minimum(length, max(style.long, 2.0)) * (0.5 if who.style in ("crop", "fringe") else 1.0)
    layer = np.concatenate([rng.uniform(0.5, 1.0, m), rng.uniform(1.02, 1.12, n - m)])
    line, facing = _grow(who, style, q, length, layer, rng, body)
    rows = 6
    line, facing = _resampled(line, np.ones(n), rows), _resampled(facing, np.ones(n), rows)
    tangent = np.gradient(line, axis=1)
    tangent /= np.linalg.norm(tangent, axis=2, keepdims=True) + 1e-9
    across = np.cross(tangent, facing)
    f = np.linspace(0, 1, rows)
    half = np.where(np.arange(n) < m, 0.085, 0.11)[:, None] * np.minimum(0.3 + 3 * f, 1 - 0.9 * f**2)[None]
    points = np.stack([line - across * half[..., None], line + across * half[..., None]], 2)
    return _strips(points, tangent, np.broadcast_to(who.hair, (n, rows, 3)), rng)


def _knot(who: Identity, rng: np.random.Generator) -> Part:
    """The bun: a ball whose surface is wound in thick strands."""
    rows, columns = 26, 48
    a, b = np.meshgrid(
        np.linspace(0.02, np.pi, rows), np.linspace(0, 2 * np.pi, columns, endpoint=False), indexing="ij"
    )
    a, b = a.ravel(), b.ravel()
    unit = np.stack([np.sin(a) * np.cos(b), np.cos(a), np.sin(a) * np.sin(b)], 1)
    wind = b + 1.7 * a
    ridges = np.abs(np.sin(2.5 * wind + rng.uniform(0, 6)))
    radius = 2.6 * who.numbers["volume"] ** 0.35 * (0.86 + 0.16 * ridges**0.7 * np.sin(a) ** 0.5)
    points = unit * radius[:, None] * [1.12, 0.9, 0.95] + KNOT + [0, 0.8, 0.2]
    tangent = np.stack([-np.sin(b) * 0.8 + np.cos(b) * np.cos(a) * 0.5, -np.sin(a) * 0.6, np.cos(b) * 0.8], 1)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    shade = (0.55 + 0.5 * ridges**0.6)[:, None]
    return part(points, grid_triangles(rows, columns, closed=True)[:, ::-1], HAIR, PARTS["hair_ears"],
                colour=who.hair * shade, uv=np.stack([a * 5 + 2 * b, 0.5 + 0 * b], 1), tangents=tangent)  # fmt: skip
