"""Textures of the face in the chart: colour, gloss, relief, and relief that appears with expression."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from realtalk_actor.chart import INNER_UPPER, landmark_chart, to_chart
from realtalk_actor.head import average_head
from realtalk_actor.identity import Identity
from realtalk_actor.shade import CHART_REACH
from realtalk_actor.topology import topology
from realtalk_core.landmarks import LIPS_INNER, LIPS_OUTER

Array = NDArray[np.float64]
Map = NDArray[np.float32]
SIZE = 1024


def _pixels(q: Array) -> Array:
    """Texture coordinates of chart places."""
    return np.stack([(q[:, 0] / CHART_REACH * 0.5 + 0.5) * SIZE, (0.5 - q[:, 1] / CHART_REACH * 0.5) * SIZE], 1)


def _place(x: float, y: float) -> Array:
    """Texture coordinates of the average face's frontal place (x, y) in cm."""
    points = average_head()[: topology().skin]
    near = np.argmin(((points[:, :2] - [x, y]) ** 2).sum(1) + np.where(points[:, 2] < 0, 50, 0))
    return _pixels(topology().chart[near : near + 1])[0]


def _noise(rng: np.random.Generator, cells: float) -> Map:
    """Smooth noise, mean 0, unit deviation, with features of `SIZE / cells` pixels."""
    n = max(2, int(cells))
    small = rng.normal(size=(n, n)).astype(np.float32)
    out = cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    return np.asarray((out - out.mean()) / out.std(), np.float32)


def _blob(x: float, y: float, wide: float, high: float) -> Map:
    """A Gaussian round a frontal place and its mirror image; sizes in cm (about 28 pixels each)."""
    v, u = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    out = np.zeros((SIZE, SIZE), np.float32)
    for side in (-1, 1) if x > 0 else (1,):
        cx, cy = _place(side * x, y)
        out = np.maximum(out, np.exp(-(((u - cx) / (wide * 28)) ** 2) - ((v - cy) / (high * 28)) ** 2))
    return out


def _line(canvas: Map, path: list[tuple[float, float]], width: float, value: float) -> None:
    """A soft stroke along frontal places and their mirror images."""
    for side in (-1, 1):
        points = np.array([_place(side * x, y) for x, y in path])
        fine = CubicSpline(np.linspace(0, 1, len(points)), points)(np.linspace(0, 1, 40))
        layer = np.zeros_like(canvas)
        for k in range(39):
            strength = value * np.sin(np.pi * (k + 1) / 41) ** 0.6
            a, b = (tuple(int(c * 16) for c in fine[j]) for j in (k, k + 1))
            cv2.line(layer, a, b, float(strength), max(1, int(width)), cv2.LINE_AA, 4)
        canvas += layer


def _strokes(canvas: Map, roots: Array, tips: Array, thickness: Array, strength: Array) -> None:
    """Many fine hairs: short anti-aliased lines, darkest wins."""
    for root, tip, thick, value in zip(roots, tips, thickness, strength, strict=True):
        a, b = (tuple(int(c * 16) for c in p) for p in (root, tip))
        cv2.line(canvas, a, b, float(value), int(thick), cv2.LINE_AA, 4)


def _brows(who: Identity, rng: np.random.Generator) -> Map:
    """Both brows as hair strokes, 0 to 1."""
    cover = np.zeros((SIZE, SIZE), np.float32)
    n = who.numbers
    for side in (-1, 1):
        arch, slant = 0.16 * n["brow_arch"], 0.13 * n["brow_slant"]
        gap = 0.16 * n["brow_gap"]
        path = [(1.35 + gap, 4.42 - slant), (2.3, 4.69 - slant * 0.5 + arch * 0.4), (3.5, 4.97 + arch),
                (4.5, 4.85 + slant * 0.6 + arch * 0.7), (5.55, 4.16 + slant)]  # fmt: skip
        points = np.array([_place(side * x, y) for x, y in path])
        curve = CubicSpline(np.linspace(0, 1, 5), points)
        count = int(700 * n["brow_density"])
        t = np.clip(rng.random(count) ** 0.9, 0.0, 1)
        across = np.clip(rng.normal(size=count) * 0.5, -1, 1)
        half = 9.5 * n["brow_thick"] * np.interp(t, [0, 0.15, 0.5, 0.8, 1], [0.7, 1.0, 0.9, 0.55, 0.2])
        direction = curve(t, 1)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        up = np.stack([direction[:, 1], -direction[:, 0]], 1) * (1 if side > 0 else -1)
        root = curve(t) + up * (across * half)[:, None]
        rise = np.interp(t, [0, 0.25, 0.6, 1], [1.3, 0.55, 0.05, -0.1]) - across * 0.45 + rng.normal(size=count) * 0.12
        reach = rng.uniform(7, 13, count) * np.interp(t, [0, 0.3, 1], [0.75, 1, 0.9])
        lean = direction * np.cos(rise)[:, None] + up * np.sin(rise)[:, None]
        layer = np.zeros_like(cover)
        _strokes(layer, root, root + lean * reach[:, None], np.ones(count), rng.uniform(0.55, 1.0, count))
        cover = np.maximum(cover, layer)
        under = np.zeros_like(cover)
        for k in range(60):
            s = k / 59
            p = curve(s)
            h = 5.5 * n["brow_thick"] * np.interp(s, [0, 0.15, 0.5, 0.8, 1], [0.4, 0.9, 0.9, 0.55, 0.2])
            cv2.circle(under, (int(p[0]), int(p[1])), max(1, int(h)), 0.62, -1, cv2.LINE_AA)
        cover = np.maximum(cover, cv2.GaussianBlur(under, (0, 0), 3.0))
    return cover


def _region(landmarks: tuple[int, ...], soft: float) -> Map:
    mask = np.zeros((SIZE, SIZE), np.float32)
    q = _pixels(landmark_chart()[list(landmarks)])
    closed = np.concatenate([q, q[:1]])
    t = np.arange(len(closed))
    fine = CubicSpline(t, closed, bc_type="periodic")(np.linspace(0, len(q), 240))
    cv2.fillPoly(mask, [np.round(fine * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(mask, (0, 0), soft) if soft else mask


def lips_mask(soft: float = 2.2) -> Map:
    """Where the red of the lips is, 0 to 1."""
    mask = _region(LIPS_OUTER, soft)
    return np.maximum(mask, _region(LIPS_INNER, 1.0))


def _beard(who: Identity, rng: np.random.Generator) -> tuple[Map, Map]:
    """Where a beard's shadow lies, and its hairs."""
    jaw = (
        _blob(0, -7.6, 4.6, 2.2) + _blob(5.0, -5.6, 1.5, 2.6) + _blob(6.4, -2.8, 1.1, 2.6) + _blob(3.4, -7.4, 2.0, 2.0)
    )
    lip = _blob(1.0, -2.75, 1.35, 0.42) + _blob(2.6, -3.7, 0.5, 0.9) + _blob(0, -6.2, 0.7, 0.7)
    bare = _blob(3.6, -1.3, 2.0, 1.9)
    area = np.clip(np.clip(jaw, 0, 1) + np.clip(lip, 0, 1) - 1.2 * bare - 1.5 * lips_mask(1.6), 0, 1)
    if who.numbers["beard_shape"] < 0.35:
        area = area * np.clip(1.5 - _blob(5.6, -4.4, 1.8, 2.6) * 1.7, 0, 1)
    area = np.clip(area * 1.6 - 0.15 + 0.10 * _noise(rng, 120), 0, 1) * (area > 0.02)
    hairs = np.zeros((SIZE, SIZE), np.float32)
    full = max(0.0, who.numbers["beard"] - 0.35)
    count = int(30000 + 24000 * full)
    roots = rng.uniform(SIZE * 0.2, SIZE * 0.8, (count * 3, 2))
    keep = rng.random(len(roots)) < area[roots[:, 1].astype(int), roots[:, 0].astype(int)]
    roots = roots[keep][:count]
    # hairs grow down, away from the middle, and over the lip to its corners
    aside = np.clip((roots[:, 0] - SIZE / 2) * 0.006, -0.8, 0.8)
    way = np.stack([aside + rng.normal(size=len(roots)) * 0.28, np.ones(len(roots))], 1)
    long = (1.0 + 13.0 * full) * rng.uniform(0.5, 1.2, (len(roots), 1))
    _strokes(hairs, roots, roots + way * long, np.ones(len(roots)), rng.uniform(0.15, 1, len(roots)))
    return area, cv2.GaussianBlur(hairs, (0, 0), 0.6)


def face_texture(who: Identity, scalp: Map) -> Map:
    """The texture `S S 8` that `shade` reads.

    Args:
        who: The actor.
        scalp: `S S` how much the hair's roots darken the skin, 0 to 1.
    """
    rng = np.random.default_rng([who.seed, 77])
    n = who.numbers
    colour = np.broadcast_to(who.skin.astype(np.float32), (SIZE, SIZE, 3)).copy()
    light = float(who.skin.mean())
    mottle = 0.5 * _noise(rng, 22) + 0.35 * _noise(rng, 60) + 0.3 * _noise(rng, 170)
    colour *= 1 + 0.032 * mottle[..., None] * np.array([0.5, 1.0, 1.1], np.float32)
    colour *= 1 + 0.02 * _noise(rng, 400)[..., None]

    def redden(where: Map, amount: float) -> None:
        colour[:] *= 1 - (amount * where * min(1.0, 0.25 + 1.3 * light))[..., None] * np.array(
            [-0.05, 0.19, 0.15], np.float32
        )

    redden(_blob(4.0, -1.0, 1.8, 1.5), 0.15 + 0.14 * min(1.5, n["blush"]))
    redden(_blob(0, -0.9, 1.1, 0.9) + 0.7 * _blob(1.45, -1.3, 0.6, 0.6), 0.42)
    redden(_blob(0, -8.3, 1.6, 1.0), 0.25)
    redden(_blob(3.1, 3.5, 1.5, 0.5), 0.30)
    redden(_blob(4.3, -2.6, 1.6, 1.6), 0.14)
    # the wings' crease, the nostrils and the mouth's corners lie deeper than the mesh can say
    deep = (
        0.75 * _blob(0.60, -1.66, 0.24, 0.17)
        + 0.12 * _blob(1.86, -1.25, 0.14, 0.45)
        + 0.45 * _blob(2.62, -4.3, 0.2, 0.14)
    )
    colour *= 1 - np.clip(deep, 0, 1)[..., None] * np.array([0.75, 1.0, 1.0], np.float32)
    colour *= 1 + 0.05 * _blob(0, 7, 3.5, 1.8)[..., None]
    dark = _blob(2.6, 1.65, 1.1, 0.42) + 0.5 * _blob(1.6, 2.4, 0.4, 0.7)
    colour *= 1 - (dark * (0.10 + 0.12 * n["eye_dark"]))[..., None] * np.array([0.7, 1.0, 0.8], np.float32)
    paint = np.clip(_blob(3.2, 3.45, 1.35, 0.42) + 0.5 * _blob(4.6, 3.2, 0.6, 0.5), 0, 1)[..., None] * n["eyeshadow"]
    tints = np.array([[0.55, 0.40, 0.36], [0.45, 0.36, 0.42], [0.42, 0.46, 0.55], [0.62, 0.42, 0.30]])
    colour *= 1 - paint * (1 - tints[who.seed % len(tints)]).astype(np.float32) * 0.75
    if n["freckles"] > 0:
        spots = np.zeros((SIZE, SIZE), np.float32)
        where = np.clip(_blob(3.2, -0.2, 2.4, 1.5) + _blob(0, 0.8, 1.6, 1.5), 0, 1)
        for px, py in rng.uniform(0, SIZE, (9000, 2)):
            if rng.random() < where[int(py), int(px)] * 0.5 * min(1.0, n["freckles"]):
                cv2.circle(
                    spots,
                    (int(px * 16), int(py * 16)),
                    int(rng.uniform(10, 26)),
                    rng.uniform(0.3, 1),
                    -1,
                    cv2.LINE_AA,
                    4,
                )
        colour *= 1 - 0.34 * cv2.GaussianBlur(spots, (0, 0), 0.8)[..., None] * np.array([0.5, 0.9, 1.1], np.float32)
    for _ in range(int(n["moles"])):
        mole = np.zeros((SIZE, SIZE), np.float32)
        px, py = _place(rng.uniform(-5, 5), rng.uniform(-7, 6.5))
        cv2.circle(mole, (int(px), int(py)), int(rng.integers(2, 4)), 1.0, -1, cv2.LINE_AA)
        colour *= 1 - 0.6 * cv2.GaussianBlur(mole, (0, 0), 0.9)[..., None]
    height = 0.0022 * _noise(rng, 300) + 0.0016 * _noise(rng, 500) + 0.0045 * _noise(rng, 90)
    wrinkle = np.zeros((SIZE, SIZE), np.float32)
    old = np.zeros((SIZE, SIZE), np.float32)
    for k, y in enumerate((5.6, 6.4, 7.2)):
        wave = rng.normal(size=5) * 0.08
        _line(wrinkle, [(x, y + w + 0.1 * k) for x, w in zip((0.0, 1.2, 2.4, 3.6, 4.7), wave, strict=True)], 3, -0.9)
    _line(old, [(1.95, -1.2), (2.65, -2.2), (3.15, -3.4), (3.35, -4.4)], 4, -1.0)
    _line(old, [(5.0, 2.9), (5.5, 3.15), (5.9, 3.3)], 2, -0.6)
    _line(old, [(5.0, 2.5), (5.6, 2.4), (6.0, 2.3)], 2, -0.6)
    _line(old, [(2.2, 1.7), (3.0, 1.25), (4.0, 1.35)], 2, -0.5)
    _line(old, [(0.42, 4.1), (0.46, 4.7), (0.5, 5.3)], 2, -0.6)
    _line(old, [(2.75, -4.7), (3.0, -5.6), (2.95, -6.4)], 3, -0.5)
    wrinkle = cv2.GaussianBlur(wrinkle + 0.5 * old, (0, 0), 2.5)
    height += (0.012 + 0.20 * max(0.0, who.age - 0.25)) * (cv2.GaussianBlur(old, (0, 0), 2.2) + 0.6 * wrinkle)
    gloss = 0.30 + 0.30 * n["oily"] * np.clip(_blob(0, 6.2, 2.6, 1.6) + _blob(0, 0.5, 0.9, 2.0) + 0.6 * _blob(0,
        -8.4, 1.2, 0.8)
                                               + 0.5 * _blob(4.3, 0.4, 1.3, 0.8), 0, 1)  # fmt: skip
    gloss += 0.03 * _noise(rng, 260)

    lips = lips_mask()
    lines = np.zeros((SIZE, SIZE), np.float32)
    q = _pixels(landmark_chart()[list(LIPS_OUTER)])
    low, high = q.min(0), q.max(0)
    for _ in range(150):
        px = rng.uniform(low[0], high[0])
        bend = (px - SIZE / 2) * 0.16
        py = rng.uniform(low[1], high[1])
        cv2.line(
            lines,
            (int(px * 16), int(py * 16)),
            (int((px + bend * 0.4) * 16), int((py + rng.uniform(6, 18)) * 16)),
            1.0,
            1,
            cv2.LINE_AA,
            4,
        )
    lines = cv2.GaussianBlur(lines, (0, 0), 1.0) * lips
    tint, makeup = who.lips
    lip_colour = who.skin * tint * (1.0 + 0.25 * (light < 0.2))
    border = 1 - 0.12 * (lips * (1 - lips) * 4)
    colour = colour * (1 - lips[..., None] * 0.92) + lip_colour.astype(np.float32) * lips[..., None] * 0.92
    colour *= border[..., None] * (1 - 0.13 * lines[..., None])
    # where the lips meet light hardly enters: without this dark seam a closed mouth is read as an open one
    seam = np.zeros((SIZE, SIZE), np.float32)
    edge = np.round(_pixels(topology().chart[topology().mouth.edge]) * 16).astype(np.int32)
    cv2.polylines(seam, [edge], True, 1.0, 7, cv2.LINE_AA, 4)
    seam = np.minimum(1, cv2.GaussianBlur(seam, (0, 0), 2.0) * 1.15)[..., None]
    colour *= 1 - seam * np.array([0.68, 0.78, 0.76], np.float32)
    upper = np.zeros((SIZE, SIZE), np.float32)
    outline = _pixels(landmark_chart()[[*LIPS_OUTER[:11], *INNER_UPPER[::-1]]])
    cv2.fillPoly(upper, [np.round(outline).astype(np.int32)], 1.0)
    colour *= 1 - 0.16 * (cv2.GaussianBlur(upper, (0, 0), 3.0) * lips)[..., None]  # it turns from the light
    height -= 0.012 * lines
    gloss = gloss * (1 - lips) + lips * (0.50 + 0.30 * makeup + 0.05 * _noise(rng, 200))

    if n["beard"] > 0 or n["moustache"] > 0:
        area, hairs = _beard(who, rng)
        full = n["beard"] > 0.5 or n["beard"] == 0
        # skin shows through: a black frame round the lips is read as the outline of an open mouth
        shadow = (area * (0.5 if full else 0.34))[..., None]
        ground = who.brows * 1.25 + who.skin * (0.10 if full else 0.25)
        colour = colour * (1 - shadow) + ground.astype(np.float32) * shadow
        cover = (np.clip(hairs, 0, 1) * (0.55 if full else 0.30))[..., None]
        tint = who.brows * (0.55 if full else 0.9)
        colour = colour * (1 - cover) + tint.astype(np.float32) * cover
        gloss = gloss * (1 - 0.6 * hairs)
        height += 0.014 * hairs
    brows = _brows(who, rng)
    colour = colour * (1 - 0.93 * brows[..., None]) + who.brows.astype(np.float32) * 0.93 * brows[..., None]
    gloss = gloss * (1 - 0.5 * brows)
    height += 0.016 * cv2.GaussianBlur(brows, (0, 0), 0.8)
    # the lids' edges: lash roots and make-up
    shape = topology()
    rim = np.zeros((SIZE, SIZE), np.float32)
    for hole in (shape.right_eye, shape.left_eye):
        line = np.round(_pixels(shape.chart[hole.edge]) * 16).astype(np.int32)
        upper, lower = line[hole.upper], line[~hole.upper]
        cv2.polylines(
            rim, [upper], False, 0.75 + 0.25 * min(1.0, n["liner"] * 2), 3 + int(2 * n["liner"]), cv2.LINE_AA, 4
        )
        cv2.polylines(rim, [lower], False, 0.14 + 0.4 * n["liner"], 1, cv2.LINE_AA, 4)
    rim = cv2.GaussianBlur(rim, (0, 0), 0.9)[..., None]
    colour = colour * (1 - 0.8 * rim) + np.float32(0.02) * 0.8 * rim
    roots = np.clip(scalp, 0, 1)[..., None]
    colour = colour * (1 - roots) + (who.hair * 0.9 + 0.02 * who.skin).astype(np.float32) * roots

    out = np.zeros((SIZE, SIZE, 8), np.float32)
    out[..., :3] = np.clip(colour, 0.003, 0.95)
    out[..., 3] = np.clip(gloss, 0, 1)
    per_radian = SIZE / (2 * CHART_REACH)
    for first, relief in ((4, height), (6, wrinkle * 0.16)):
        blurred = cv2.GaussianBlur(relief, (0, 0), 0.7)
        out[..., first] = cv2.Sobel(blurred, cv2.CV_32F, 1, 0, scale=1 / 8) * per_radian
        out[..., first + 1] = -cv2.Sobel(blurred, cv2.CV_32F, 0, 1, scale=1 / 8) * per_radian
    return out


def chart_at(points: Array) -> Array:
    """Texture coordinates of places in space, for painting what hangs on the head onto its skin."""
    return _pixels(to_chart(points))
