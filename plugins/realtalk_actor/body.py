"""Ears, neck, shoulders and clothes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from realtalk_actor.part import Part, grid_triangles, part
from realtalk_actor.shade import CLOTH, PLAIN_SKIN
from realtalk_core.capture import PARTS

Array = NDArray[np.float64]
Body = tuple[float, float, float]
"""Thickness of the neck and width of the shoulders, 1 for average, and 0 (male) to 1 (female) for the chest."""

# y, half width, half depth, z of the middle, of the neck and torso
_RINGS = np.array([
    (-3.0, 4.35, 4.7, -5.7), (-6.0, 4.4, 4.75, -5.6), (-9.0, 4.5, 4.75, -5.6), (-11.0, 4.8, 4.95, -5.7),
    (-12.5, 5.6, 5.5, -6.0), (-13.6, 7.3, 6.2, -6.3), (-14.6, 10.0, 6.9, -6.5), (-15.5, 12.8, 7.6, -6.5),
    (-16.8, 15.3, 8.3, -6.4), (-18.6, 16.9, 9.0, -6.2), (-21.5, 18.2, 9.9, -6.0), (-25.0, 18.9, 10.6, -5.7),
    (-32.0, 19.4, 11.4, -5.3),
    (-42.0, 19.2, 11.6, -5.0),
])  # fmt: skip


def _surface(angle: Array, y: Array, neck: float, shoulders: float, female: float, bare: bool = True) -> Array:
    """The body's surface: angle 0 is the image's right, pi/2 the front; throat and collar bones only if `bare`."""
    rows = _RINGS.copy()
    thin = np.clip((rows[:, 0] + 18) / 5, 0, 1)
    rows[:, 1] *= 1 + (neck - 1) * thin + (shoulders - 1) * (1 - thin)
    rows[:, 2] *= 1 + (neck - 1) * thin
    order = rows[::-1]
    wide, deep, middle = (PchipInterpolator(order[:, 0], order[:, k])(y) for k in (1, 2, 3))
    power = np.interp(y, [-30, -20, -16], [0.75, 0.8, 1.0])
    c, s = np.cos(angle), np.sin(angle)
    x = wide * np.sign(c) * np.abs(c) ** power
    z = middle + deep * np.sign(s) * np.abs(s) ** power
    front = np.clip(s, 0, 1)
    chest = np.exp(-(((np.abs(x) - 7) / 5) ** 2) - ((y + 31) / 6) ** 2) * front * (0.8 + 2.2 * female)
    if not bare:
        return np.stack([x, y, z + chest], -1)
    # throat, the two muscles from behind the ears to the breastbone, collar bones
    adam = np.exp(-(((x) / 0.9) ** 2) - ((y + 10.6) / 0.9) ** 2) * front
    z = z + adam * (0.45 - 0.35 * female)
    for side in (-1, 1):
        line = side * np.interp(y, [-15.0, -12, -6], [1.0, 2.2, 4.9])
        z = z + 0.5 * np.exp(-(((x - line) / 0.7) ** 2)) * front * np.clip((y + 16) / 1.5, 0, 1)
        bone = -15.9 + 0.10 * (np.abs(x) - 3)
        z = z + 0.28 * np.exp(-(((y - bone) / 0.45) ** 2)) * front * np.exp(-(((np.abs(x) - 5.5) / 4) ** 2))
    # the throat runs forward under the chin, so that neck and jaw meet in a hollow and not in an edge
    z = z + 3.4 * np.clip((y + 12.2) / 3.4, 0, 1) ** 2 * front**2
    notch = np.exp(-((x / 0.8) ** 2) - ((y + 15.4) / 0.8) ** 2) * front
    z = z - 0.5 * notch
    return np.stack([x, y, z + chest], -1)


def outside_torso(points: Array, shape: Body, gap: float | Array) -> Array:
    """Places `N 3` moved forward or backward until they lie `gap` cm outside neck and torso."""
    y = np.clip(points[:, 1], -42, -3)
    side, front, back = (_surface(np.full(len(y), a), y, *shape, bare=False) for a in (0.0, np.pi / 2, -np.pi / 2))
    wide, middle, deep = side[:, 0], side[:, 2], (front[:, 2] - back[:, 2]) / 2
    room = np.sqrt(np.clip(1 - (points[:, 0] / (wide + gap)) ** 2, 0, 1))
    low = np.clip((-5 - points[:, 1]) / 4, 0, 1)
    reach = (deep + gap) * room
    offset = points[:, 2] - (middle + 0.5)
    forward = offset > -2.0
    need = np.where(forward, np.maximum(offset, reach), np.minimum(offset, -reach)) - offset
    out = points.copy()
    out[:, 2] += need * low * (room > 0)
    return out


def _outward(angle: Array, y: Array, off: Array | float, shape: Body) -> Array:
    """Places `... 3` that lie `off` cm over the body's surface, along its normal."""

    def at(a: Array, h: Array) -> Array:
        return _surface(a, h, *shape, bare=False)  # collar bones and throat do not print through cloth

    a = at(angle + 1e-3, y) - at(angle - 1e-3, y)
    b = at(angle, y + 1e-3) - at(angle, y - 1e-3)
    normal = np.cross(b, a)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-12
    return np.asarray(at(angle, y) + normal * np.asarray(off)[..., None])


_COLUMNS = 96
"""Columns of garments round the neck."""


def _turn(columns: int = _COLUMNS) -> Array:
    """Angles of the columns of what goes round the neck: closest together in front."""
    even = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    return np.asarray(even + 0.55 * np.cos(even))


def _neckline(collar: str, angle: Array) -> Array:
    """Height of a garment's upper edge at angles round the body."""
    front, back = np.clip(np.sin(angle), 0, 1), np.clip(-np.sin(angle), 0, 1)
    away = np.abs(np.angle(np.exp(1j * (angle - np.pi / 2))))
    return np.asarray(
        {
            "crew": -13.6 - 1.9 * front**1.5 + 0.5 * back,
            "scoop": -14.4 - 3.6 * front**2.2 + 0.3 * back,
            "vee": -13.5 - 0.9 * front - 4.6 * np.exp(-away / 0.42) + 0.5 * back,
            "turtle": -12.8 - 1.0 * front + 0.3 * back,
            "shirt": -13.0 - 1.6 * front**1.5 - 3.0 * np.clip(1 - away / 0.26, 0, 1) + 0.8 * back,
        }[collar]
    )


def neck(colour: Array, collar: str, shape: Body) -> Part:
    """Neck and the skin down to where the collar covers it; it goes with the head above and the torso below."""
    rows, columns = 44, 60
    y = np.concatenate([np.linspace(-3.5, -8.0, 6), np.linspace(-8.5, -24, rows - 6)])
    angle = _turn(columns)
    Y, A = np.meshgrid(y, angle, indexing="ij")
    points = _surface(A.ravel(), Y.ravel(), *shape)
    line = _neckline(collar, A) - (0.25 if collar == "shirt" else -0.3)
    under = np.clip((line - Y) / 0.5, 0, 1).ravel()
    sunk = _outward(A.ravel(), Y.ravel(), -0.9, shape)
    points += (sunk - points) * under[:, None]
    # Above the floor of the mouth the skin keeps behind the throat, or it would stand before tongue and palate.
    mouth = np.clip((points[:, 1] + 9.0) / 1.5, 0, 1) * np.clip((5.0 - np.abs(points[:, 0])) / 1.2, 0, 1)
    points[:, 2] -= mouth * np.maximum(points[:, 2] + 2.5, 0)
    share = np.clip((points[:, 1] + 15.0) / 6.5, 0, 1)
    share = share * share * (3 - 2 * share)
    jaw = 0.55 * np.clip((points[:, 1] + 11.5) / 2.5, 0, 1) * np.clip((points[:, 2] + 2.5) / 4, 0, 1)
    tint = np.asarray(colour) * np.array([1.0, 0.965, 0.95])
    faces = grid_triangles(rows, columns, closed=True)[:, ::-1]
    return part(points, faces, PLAIN_SKIN, PARTS["torso"], colour=tint, head=share, jaw=jaw)


def _cloth(points: Array, colour: Array, closed: bool = False) -> Part:
    """A grid `R C 3` of cloth; beside the neck it goes a little with the head."""
    rows, columns, _ = points.shape
    facing = np.cross(np.diff(points, axis=0)[:, :-1], np.diff(points, axis=1)[:-1])
    outward = points[:-1, :-1] - np.array([0, -22.0, -6.0])
    step = 1 if (facing * outward).sum() > 0 else -1  # the lit side is the outer one
    flat = points.reshape(-1, 3)
    share = np.clip((flat[:, 1] + 15.0) / 8.5, 0, 1) * 0.6
    return part(
        flat, grid_triangles(rows, columns, closed)[:, ::step], CLOTH, PARTS["torso"], colour=colour, head=share
    )


def _folds(A: Array, Y: Array, rng: np.random.Generator) -> Array:
    """Soft folds that run from the neck and the shoulders towards the armpits and down the chest, cm."""
    out = np.zeros(A.shape)
    for _ in range(26):
        side = rng.choice([-1, 1])
        a0, y0 = np.pi / 2 + side * rng.uniform(0.15, 1.5), rng.uniform(-30, -16.5)
        d = np.angle(np.exp(1j * (A - a0))) * 10 * side
        tilt = rng.uniform(-0.9, 0.5)
        across = (Y - y0) * np.cos(tilt) + d * np.sin(tilt)
        along = d * np.cos(tilt) - (Y - y0) * np.sin(tilt)
        out += rng.uniform(0.08, 0.22) * np.exp(-((across / rng.uniform(0.55, 1.0)) ** 2) - (along / 3.2) ** 2)
    return out


def clothes(collar: str, colour: Array, second: Array, shape: Body, rng: np.random.Generator) -> list[Part]:
    """A garment down to the picture's edge.

    Args:
        collar: `crew`, `vee`, `scoop`, `turtle` or `shirt`; some shirts have a blazer over them.
        colour: Linear reflectance.
        second: Reflectance of a contrasting band, or of the blazer.
        shape: Of the body.
        rng: Source of the folds and of the choices.
    """
    angle = _turn()
    top = _neckline(collar, angle)
    blazer = collar == "shirt" and rng.random() < 0.45
    pale = np.array([0.66, 0.67, 0.69]) * (0.75 + 0.25 * np.asarray(colour) / np.max(colour))
    main = pale if blazer else np.asarray(colour, float)
    contrast = second if rng.random() < 0.35 else main * 0.93
    rows = np.concatenate([np.linspace(0, 0.12, 5), np.linspace(0.15, 1, 27) ** 1.15])
    S, A = np.meshgrid(rows, angle, indexing="ij")
    Y = top[None] + (-42 - top[None]) * S
    off = 0.36 + _folds(A, Y, rng) * np.clip(S * 9 - 0.4, 0, 1) * (0.4 if blazer else 1)
    off[0] = 0.42 if collar == "shirt" else 0.12
    pieces = [_cloth(_outward(A, Y, off, shape), main, closed=True)]
    if collar == "shirt":
        pieces += [_leaf(side, main, shape, 0.2 if blazer else 0.0) for side in (-1, 1)]
        pieces += _placket(main * 0.97, contrast, shape)
        if blazer:
            jacket = np.minimum(np.asarray(second, float), 0.4)
            jacket = 0.5 * (0.5 * jacket + 0.5 * jacket.mean()) + 0.01
            pieces += _blazer(jacket, shape, rng)
    else:
        pieces.append(_band(collar, top, contrast, shape))
    return pieces


def _band(collar: str, top: Array, colour: Array, shape: Body) -> Part:
    """The bound edge of a neckline, or a rolled collar."""
    angle = _turn()
    if collar == "turtle":
        s = np.linspace(0, 1, 12)
        drop, off = 1.35 - 2.3 * s, 0.20 + 0.30 * np.sin(np.pi * np.clip(s * 0.98, 0, 1)) ** 0.5
        off = off + 0.16 * np.exp(-(((s - 0.60) / 0.2) ** 2))
        off[[0, -1]] = (-0.3, 0.15)
    else:
        drop = np.array([-0.05, 0.28, 0.12, -0.25, -0.60, -0.72, -0.76])
        off = np.array([-0.6, 0.30, 0.50, 0.55, 0.50, 0.42, 0.25])
    A = np.broadcast_to(angle, (len(drop), _COLUMNS))
    return _cloth(
        _outward(A, top[None] + drop[:, None], np.broadcast_to(off[:, None], A.shape), shape), colour, closed=True
    )


def _leaf(side: int, colour: Array, shape: Body, tucked: float) -> Part:
    """Half of a shirt's collar: it folds over round the neck and points down in front, `tucked` cm under a coat."""
    u, v = np.meshgrid(np.linspace(0, 1, 30), np.linspace(0, 1, 9), indexing="ij")
    # from the middle of the back to the front
    fold_angle = np.pi / 2 + side * (np.pi - (np.pi - 0.20) * u)
    edge_angle = np.pi / 2 + side * (np.pi - (np.pi - 0.36) * u)
    fold_y = -11.2 - 0.4 * u - 3.1 * np.clip((u - 0.45) / 0.55, 0, 1) ** 1.5
    edge_y = -13.2 - 0.6 * u - 3.7 * np.clip((u - 0.5) / 0.5, 0, 1) ** 2.0
    w = np.clip(v - 0.22, 0, 1) / 0.78
    angle = fold_angle + (edge_angle - fold_angle) * w
    inside = np.clip(0.22 - v, 0, 1) / 0.22  # the part of the stand that shows behind the fold
    y = fold_y + (edge_y - fold_y) * w - 1.2 * inside
    off = 0.30 + 0.42 * np.sin(np.pi * np.clip(0.12 + 0.62 * v, 0, 1)) + 0.12 * w - 0.25 * inside - tucked * w
    grid = _outward(angle, y, off, shape)
    return _cloth(grid, colour)


def _placket(colour: Array, button: Array, shape: Body) -> list[Part]:
    """The strip down a shirt's front, and its buttons."""
    y = np.linspace(-17.7, -40, 30)
    across = np.linspace(-1, 1, 7)
    Y, X = np.meshgrid(y, across, indexing="ij")
    A = np.pi / 2 - X * 0.105
    off = 0.46 - 0.12 * np.abs(X) ** 6
    pieces = [_cloth(_outward(A, Y, off, shape), colour)]
    turn, ring = np.linspace(0, 2 * np.pi, 12, endpoint=False), np.array([0.02, 0.7, 1.0, 1.05])
    for y0 in (-19.2, -23.5):
        centre = _outward(np.array(np.pi / 2), np.array(y0), 0.52, shape)
        R, T = np.meshgrid(ring, turn, indexing="ij")
        disc = np.stack([R * np.cos(T), R * np.sin(T), np.where(R < 0.9, 0.3, np.where(R > 1.02, -0.3, 0.2))], -1)
        faces = grid_triangles(4, 12, closed=True)
        pieces.append(part((centre + disc * 0.30).reshape(-1, 3), faces, CLOTH, PARTS["torso"],
                           colour=0.3 * np.asarray(button) + 0.3, head=0.0))  # fmt: skip
    return pieces


def _blazer(colour: Array, shape: Body, rng: np.random.Generator) -> list[Part]:
    """An open jacket: its shell on both sides and the back, and lapels with a notch."""
    y = np.concatenate([np.linspace(-12.6, -17, 9), np.linspace(-18, -42, 16)])

    def opening(y: Array) -> Array:
        """Angle from the front to the jacket's edge."""
        return np.asarray(np.interp(y, [-34, -25, -20, -17, -14.5, -12.6], [0.02, 0.16, 0.29, 0.42, 0.66, 1.3]))

    t = np.linspace(0, 1, 81)
    Y, T = np.meshgrid(y, t, indexing="ij")
    gap = opening(Y)
    A = np.pi / 2 + gap + (2 * np.pi - 2 * gap) * T
    # the edge at the neck's back lies higher than at the sides
    Y = np.minimum(Y, -13.1 + 0.6 * np.clip(-np.sin(A), 0, 1) - 0.35 * np.clip(np.sin(A), 0, 1))
    off = 0.62 + 0.7 * _folds(A, Y, rng) * np.clip((-15 - Y) / 2, 0, 1)
    off[:, [0, -1]] = 0.4
    pieces = [_cloth(_outward(A, Y, off, shape), colour)]
    for side in (-1, 1):
        s = np.linspace(0, 1, 57)
        # along the edge from the back of the neck over the side down the front
        edge = np.pi / 2 + side * np.interp(s, [0, 0.25, 0.36, 0.5, 0.68, 1.0], [np.pi, 2.1, 1.3, 0.68, 0.41, 0.16])
        high = np.interp(s, [0, 0.25, 0.36, 0.5, 0.68, 1.0], [-12.0, -12.3, -12.7, -14.3, -17.2, -25.0])
        wide = np.interp(s, [0, 0.30, 0.52, 0.575, 0.60, 0.635, 0.75, 1.0], [2.0, 2.2, 2.9, 3.1, 1.7, 3.7, 3.3, 0.5])
        v = np.linspace(0, 1, 7)
        V, E = np.meshgrid(v, edge, indexing="ij")
        around = np.interp(high, [-25, -18, -15, -12.7, -12], [0.085, 0.10, 0.12, 0.08, 0.0])
        down = np.interp(s, [0, 0.36, 0.5, 0.62, 1], [0.85, 0.75, 0.45, 0.1, 0.0])
        angle = E + side * V * (wide * around)[None]
        level = high[None] - V * (wide * down)[None]
        lift = 0.86 + 0.50 * V**0.5
        grid = _outward(angle, level, lift, shape)
        pieces.append(_cloth(grid, colour * 0.85))
    return pieces


def ear(colour: Array, size: float, stand_out: float, lobe: float) -> Part:
    """The ear on the image's right; mirror it for the other.

    A polar grid round the ear canal: the bowl, the inner ridge, the groove, the rolled rim, then the back.
    """
    turn = np.linspace(0, 2 * np.pi, 56, endpoint=False)
    ring = np.concatenate([np.linspace(0.02, 1.0, 22), [1.03, 1.0, 0.85, 0.6]])
    R, T = np.meshgrid(ring, turn, indexing="ij")
    back = np.zeros(len(ring))
    back[22:] = (0.15, 0.35, 0.55, 0.8)
    B = np.broadcast_to(back[:, None], R.shape)
    # outline: angle 0 points to the back of the head, pi/2 up
    outline = np.interp(np.rad2deg(turn), [0, 30, 60, 90, 115, 140, 165, 180, 205, 235, 265, 285, 310, 335, 360],
                        [1.95, 2.4, 3.0, 3.25, 2.9, 1.9, 1.15, 0.95, 1.05, 1.7, 2.75 + lobe, 2.8 + lobe, 2.3, 1.95,
                            1.95])  # fmt: skip
    outline = np.convolve(np.tile(outline, 3), np.hanning(7) / np.hanning(7).sum(), "same")[56:112]
    u, v = R * outline * np.cos(T), R * outline * np.sin(T)
    gauss = lambda m, w: np.exp(-(((R - m) / w) ** 2))  # noqa: E731
    behind = np.clip(np.cos(T - 0.5) * 0.75 + 0.6, 0, 1)
    lobule = np.clip(-np.sin(T), 0, 1) ** 3
    depth = -0.75 * gauss(0.12, 0.28) + 0.42 * gauss(0.58, 0.12) * behind * (1 - lobule)
    depth += 0.55 * gauss(0.94, 0.10) * behind * (1 - 0.8 * lobule) - 0.16 * gauss(0.77, 0.08) * behind * (1 - lobule)
    tragus = np.exp(-((np.angle(np.exp(1j * (T - np.pi))) / 0.45) ** 2)) * gauss(0.75, 0.22)
    depth += 0.45 * tragus + 0.12 * lobule * gauss(0.6, 0.4)
    cross = np.exp(-((np.angle(np.exp(1j * (T - 2.35))) / 0.35) ** 2)) * gauss(0.55, 0.35)
    depth += 0.25 * cross
    depth -= B * 1.5
    lean = np.deg2rad(14.0)
    u, v = u * np.cos(lean) + v * np.sin(lean) * 0.6, v
    tilt = np.deg2rad(22 + 16 * stand_out)
    flat = np.stack([np.cos(tilt) * depth + np.sin(tilt) * u, v, -np.cos(tilt) * u + np.sin(tilt) * depth], -1)
    points = flat.reshape(-1, 3) * size + np.array([7.2, 0.35, -3.6])
    flush = np.asarray(colour) * np.array([1.05, 0.86, 0.82])
    rim = np.clip((R - 0.6) * 2, 0, 1).reshape(-1, 1)
    tint = np.asarray(colour) * (1 - 0.6 * rim) + flush * 0.6 * rim
    return part(points, grid_triangles(len(ring), 56, closed=True), PLAIN_SKIN, PARTS["hair_ears"], colour=tint)
