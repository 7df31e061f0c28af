"""Ears, neck, shoulders and clothes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from realtalk_actor.part import Part, grid_triangles, part
from realtalk_actor.shade import CLOTH, PLAIN_SKIN
from realtalk_core.capture import PARTS

Array = NDArray[np.float64]

# y, half width, half depth, z of the middle, of the neck and torso
_RINGS = np.array([
    (-3.0, 4.6, 4.9, -5.7), (-6.0, 4.85, 5.1, -5.5), (-9.0, 5.0, 5.2, -5.4), (-11.0, 5.3, 5.4, -5.6),
    (-12.6, 6.2, 5.8, -6.0), (-13.8, 8.0, 6.4, -6.3), (-15.0, 11.0, 7.0, -6.5), (-16.2, 14.4, 7.8, -6.5),
    (-18.0, 17.4, 8.6, -6.4), (-20.5, 19.4, 9.6, -6.1), (-25.0, 20.4, 10.6, -5.7), (-32.0, 20.6, 11.4, -5.3),
    (-42.0, 20.0, 11.6, -5.0),
])  # fmt: skip


def _surface(angle: Array, y: Array, neck: float, shoulders: float, female: float) -> Array:
    """The body's surface: angle 0 is the image's right, pi/2 the front."""
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
    # throat, the two muscles from behind the ears to the breastbone, collar bones
    adam = np.exp(-(((x) / 0.9) ** 2) - ((y + 10.6) / 0.9) ** 2) * front
    z = z + adam * (0.45 - 0.35 * female)
    for side in (-1, 1):
        line = side * np.interp(y, [-15.0, -12, -6], [1.0, 2.2, 4.9])
        z = z + 0.45 * np.exp(-(((x - line) / 0.75) ** 2)) * front * np.clip((y + 16) / 1.5, 0, 1)
        bone = -15.9 + 0.10 * (np.abs(x) - 3)
        z = z + 0.4 * np.exp(-(((y - bone) / 0.45) ** 2)) * front * np.exp(-(((np.abs(x) - 5.5) / 4) ** 2))
    notch = np.exp(-((x / 0.8) ** 2) - ((y + 15.4) / 0.8) ** 2) * front
    z = z - 0.5 * notch
    chest = np.exp(-(((np.abs(x) - 7) / 5) ** 2) - ((y + 31) / 6) ** 2) * front
    return np.stack([x, y, z + chest * (0.8 + 2.2 * female)], -1)


def outside_torso(points: Array, neck: float, shoulders: float, gap: float | Array) -> Array:
    """Places `N 3` moved forward or backward until they lie `gap` cm outside neck and torso."""
    y = np.clip(points[:, 1], -42, -3)
    side, front, back = (_surface(np.full(len(y), a), y, neck, shoulders, 0.0) for a in (0.0, np.pi / 2, -np.pi / 2))
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


def neck(colour: Array, thickness: float, shoulders: float, female: float) -> Part:
    """Neck and the skin down to where any collar covers it; it goes with the head above and the torso below."""
    y = np.linspace(-3.5, -24, 58)
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    Y, A = np.meshgrid(y, angle, indexing="ij")
    points = _surface(A.ravel(), Y.ravel(), thickness, shoulders, female)
    share = np.clip((points[:, 1] + 15.0) / 8.5, 0, 1)
    share = share * share * (3 - 2 * share)
    tint = np.asarray(colour) * np.array([1.0, 0.965, 0.95])
    shape = grid_triangles(58, 72, closed=True)[:, ::-1]
    return part(points, shape, PLAIN_SKIN, PARTS["torso"], colour=tint, head=share)


def clothes(
    collar: str, colour: Array, second: Array, thickness: float, shoulders: float, female: float,
    rng: np.random.Generator,
) -> list[Part]:  # fmt: skip
    """A garment down to the picture's edge.

    Args:
        collar: `crew`, `vee`, `scoop`, `turtle` or `shirt`.
        colour: Linear reflectance.
        second: Reflectance of collar band or stripes.
        thickness: Of the neck, 1 for average.
        shoulders: Width, 1 for average.
        female: 0 to 1, shape of the chest.
        rng: Source of the folds.
    """
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    front = np.clip(np.sin(angle), 0, 1)
    back = np.clip(-np.sin(angle), 0, 1)
    narrow = np.exp(-((np.cos(angle) / 0.45) ** 2)) * (np.sin(angle) > 0)
    top = {
        "crew": -13.7 - 2.1 * front + 0.5 * back,
        "scoop": -14.4 - 4.0 * front**2 + 0.3 * back,
        "vee": -13.7 - 1.8 * front - 5.5 * narrow**1.5 + 0.5 * back,
        "turtle": -10.3 - 1.6 * front + 0.3 * back,
        "shirt": -13.2 - 1.9 * front - 3.4 * narrow**2 + 0.7 * back,
    }[collar]
    rows = np.concatenate([np.linspace(0, 0.08, 7), np.linspace(0.1, 1, 44)])
    S, A = np.meshgrid(rows, angle, indexing="ij")
    Y = top[None] + (-42 - top[None]) * S
    at = _surface(A.ravel(), Y.ravel(), thickness, shoulders, female).reshape(len(rows), -1, 3)
    radial = np.stack([np.cos(A), 0 * A, np.sin(A)], -1)
    folds = np.zeros(A.shape)
    for _ in range(22):
        a0, y0 = rng.uniform(0, 2 * np.pi), rng.uniform(-40, -18)
        slant, size = rng.normal() * 5, rng.uniform(0.1, 0.3)
        along_ = (np.angle(np.exp(1j * (A - a0)))) * 9 + (Y - y0) * slant / 9
        folds += size * np.exp(-((along_ / 1.1) ** 2) - ((Y - y0) / rng.uniform(3, 8)) ** 2)
    # the band or roll at the collar
    band = np.exp(-(((S - 0.02) / 0.022) ** 2)) * (0.22 if collar != "turtle" else 0.4)
    off = 0.28 + band + folds * np.clip(S * 8, 0, 1) * np.clip((-17 - Y) / 4, 0, 1)
    off[0] = -0.25
    upward = np.zeros_like(at)
    upward[..., 1] = 0.35 * np.clip((-13.5 - Y) / 5, 0, 1) * np.clip((Y + 26) / 6, 0, 1)
    points = (at + radial * off[..., None] + upward).reshape(-1, 3)
    tint = np.broadcast_to(np.asarray(colour, float), (*A.shape, 3)).copy()
    if collar in ("crew", "turtle") and rng.random() < 0.5:
        tint[S < 0.055] = second
    if rng.random() < 0.25:
        tint[(np.floor(Y / 2.2) % 2 == 0) & (S >= 0.055)] = second
    share = np.clip((points[:, 1] + 15.0) / 8.5, 0, 1) * 0.6
    shape = grid_triangles(len(rows), 120, closed=True)[:, ::-1]
    pieces = [part(points, shape, CLOTH, PARTS["torso"], colour=tint.reshape(-1, 3), head=share,
                   uv=np.stack([A.ravel() * 16, Y.ravel()], 1))]  # fmt: skip
    if collar == "shirt":
        pieces.append(_lapels(second if rng.random() < 0.4 else colour, thickness, shoulders, female))
    return pieces


def _lapels(colour: Array, thickness: float, shoulders: float, female: float) -> Part:
    """A shirt's folded collar: a band round the neck whose front corners point down."""
    angle = np.linspace(np.pi / 2 + 0.16, 2.5 * np.pi - 0.16, 90)
    s = np.linspace(0, 1, 9)
    S, A = np.meshgrid(s, angle, indexing="ij")
    front = np.clip(np.sin(A), 0, 1)
    point = np.exp(-((np.abs(np.angle(np.exp(1j * (A - np.pi / 2)))) / 0.55) ** 2))
    top = -11.9 - 2.2 * front + 0.6 * np.clip(-np.sin(A), 0, 1)
    Y = top - S * (2.0 + 2.4 * point)
    at = _surface(A.ravel(), Y.ravel(), thickness, shoulders, female).reshape(*A.shape, 3)
    off = 0.35 + 0.75 * np.sin(np.pi * (0.15 + 0.85 * S)) ** 0.7 * (1 - 0.35 * S)
    points = (at + np.stack([np.cos(A), 0 * A, np.sin(A)], -1) * off[..., None]).reshape(-1, 3)
    share = np.clip((points[:, 1] + 15.0) / 8.5, 0, 1) * 0.6
    shape = grid_triangles(9, 90)[:, ::-1]
    return part(points, shape, CLOTH, PARTS["torso"], colour=colour, head=share)


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
