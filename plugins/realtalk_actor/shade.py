"""Turns the samples that the rasteriser found into pixels: one function per kind of surface.

Surfaces that are smooth over a pixel (skin, lips, cloth) are lit once per pixel and coloured from two of its samples;
strands, eyes, teeth, lashes and the outlines of everything are lit at every sample.

Lighting is in camera space (x right, y up, z towards the camera), colours are linear until `shade` writes them.
Skin: wrapped diffuse light whose wrap is widest in red, and redder shadow edges, a stand-in for light that travels
under the skin (d'Eon & Luebke 2007, GPU Gems 3 ch. 14); two specular lobes. Hair: Kajiya & Kay 1989 with a shifted
secondary highlight (Scheuermann 2004).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from realtalk_actor.raster import hash01

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Bytes = NDArray[np.uint8]

SKIN, PLAIN_SKIN, EYE, WET, TEETH, HAIR, CLOTH, LASH = range(1, 9)
"""Kinds of surface. `PLAIN_SKIN` takes its colour from the vertices, `SKIN` from the chart's texture."""
EXPOSURE, GAMMA = 0.72, 0.4545
SOFTEST, SOFTNESS = 6.0, 1.6
"""Widest soft edge to each side in texels of the light's map, and how much of it each cm between blocker and blocked
adds: a window or softbox of about 15 degrees."""
_ROUND = np.arange(8) * np.pi / 4
_RING = np.concatenate(
    [1.4 * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]]),
     SOFTEST * np.stack([np.cos(_ROUND), np.sin(_ROUND)], 1)]
)  # fmt: skip
"""Where blockers of the light are looked for, texels."""
CHART_REACH = 2.0
"""The texture spans chart places from minus this to plus this, radians."""
VERTEX = 16
"""Columns of the table of vertices: x, y and 1 / distance on the raster (0 to 2), place in camera space (3 to 5),
normal (6 to 8), chart place (skin), place across and along (hair) or direction from the gaze (eyes) (9, 10), linear
reflectance (11 to 13), share of the sky that it sees (14), nothing (15): one line of the processor's cache each."""


@njit(cache=True, fastmath=True, inline="always")
def _smoothstep(a: float, b: float, x: float) -> Any:
    t = min(1.0, max(0.0, (x - a) / (b - a)))
    return t * t * (3 - 2 * t)


@njit(cache=True, fastmath=True)
def _noise(x: float, y: float) -> Any:
    fx, fy = np.floor(x), np.floor(y)
    tx, ty = x - fx, y - fy
    tx, ty = tx * tx * (3 - 2 * tx), ty * ty * (3 - 2 * ty)
    a, b = hash01(fx, fy), hash01(fx + 1, fy)
    c, d = hash01(fx, fy + 1), hash01(fx + 1, fy + 1)
    return a + (b - a) * tx + (c - a + (a - b - c + d) * tx) * ty


@njit(cache=True, fastmath=True, inline="always")
def _power(x: float, p: float) -> Any:
    """In single precision, which is twice as fast and exact enough for colours."""
    return np.float32(x) ** np.float32(p)


@njit(cache=True, fastmath=True)
def _add_texel(texture: Floats, qx: float, qy: float, weight: float, out: Floats) -> None:
    """Adds the texture's channels at a chart place, weighted."""
    size = texture.shape[0]
    x = (qx / CHART_REACH * 0.5 + 0.5) * size - 0.5
    y = (0.5 - qy / CHART_REACH * 0.5) * size - 0.5
    x = min(max(x, 0.0), size - 1.001)
    y = min(max(y, 0.0), size - 1.001)
    x0, y0 = int(x), int(y)
    tx, ty = x - x0, y - y0
    w00, w01 = np.float32((1 - tx) * (1 - ty) * weight), np.float32(tx * (1 - ty) * weight)
    w10, w11 = np.float32((1 - tx) * ty * weight), np.float32(tx * ty * weight)
    for k in range(8):
        out[k] += (
            w00 * texture[y0, x0, k] + w01 * texture[y0, x0 + 1, k]
            + w10 * texture[y0 + 1, x0, k] + w11 * texture[y0 + 1, x0 + 1, k]
        )  # fmt: skip


@njit(cache=True, fastmath=True)
def _shadow(light_map: Floats, x: float, y: float, depth: float, bias: float, du: float, dv: float) -> Any:
    """Share of the key light that arrives, under a light with a size (Fernando 2005, percentage-closer soft shadows).

    The farther away what blocks the light, the softer its shadow's edge. `du`, `dv`: how the surface's own depth
    changes with the map's x and y, so that it does not shade itself. Beyond the map's edges all is lit.
    """
    inner = light_map.shape[0] - SOFTEST - 1
    if x < SOFTEST or y < SOFTEST or x > inner or y > inner:
        return 1.0
    beyond = depth + bias
    blockers, deep, distance = 0, 0, 0.0
    for k in range(13):
        d = light_map[int(y + _RING[k, 1]), int(x + _RING[k, 0])] - beyond
        if d > 0:
            blockers += 1
            distance += d
            deep += 1 if d > 0.25 else 0
    if blockers == 0:
        return 1.0
    if deep == 13:
        return 0.0
    step = 0.5 * min(SOFTEST, 1.4 + SOFTNESS * distance / blockers)
    total = 0.0
    for j in range(-2, 3):
        for i in range(-2, 3):
            if i * i + j * j < 7:
                dx, dy = i * step, j * step
                d = light_map[int(y + dy), int(x + dx)] - beyond - max(0.0, du * dx + dv * dy)
                total += min(1.0, max(0.0, 1 - 4 * d))
    return total / 21


@njit(cache=True, fastmath=True)
def _ggx(nh: float, roughness: float) -> Any:
    a = roughness * roughness
    d = nh * nh * (a * a - 1) + 1
    return a * a / (3.14159 * d * d + 1e-7)


@njit(cache=True, fastmath=True, nogil=True)
def shade(
    owner: Ints, depth: Floats, vertices: Floats, triangles: Ints, material: Ints, label: Bytes,
    texture: Floats, chart_u: Floats, chart_v: Floats, tangents: Floats, turn: Floats, light_map: Floats,
    light_frame: Floats, lights: Floats, eyes: Floats, wrinkles: float, backdrop: Floats, nearness: float,
    rgb: Bytes, masks: Bytes, normals: Floats,
) -> None:  # fmt: skip
    """Writes the picture, its masks and its normals.

    Args:
        owner: `s H, s W` triangle of each sample, -1 for none.
        depth: `s H, s W` of `rasterise`.
        vertices: `N 16`, see `VERTEX`.
        triangles: `M 3`.
        material: `M`.
        label: `M` part label of each triangle.
        texture: `S S 8`: skin reflectance (3), gloss, relief slopes (2), wrinkle slopes (2), in the chart.
        chart_u: how a point of the skin moves along the chart's x at rest, cm per radian, `K 3` for the first vertices.
        chart_v: along its y.
        tangents: `N 3` direction of the hair at rest.
        turn: `3 3` how the head is turned, for the three above.
        light_map: `L L` depth from the key light.
        light_frame: `3 4` rows take a camera-space point to light-map x, y and depth.
        lights: `5 6`: direction and colour of the key, fill and rim light, then sky colour and ground colour.
        eyes: `8`: iris colour (3), second iris colour (3), pupil radius, iris radius (both relative to the eyeball).
        wrinkles: Strength of the wrinkle slopes.
        backdrop: `H W 3` display colours in [0, 1].
        nearness: Samples of a pixel whose distances differ by more than this (cm) do not count as one surface.
        rgb: `H W 3`, written.
        masks: `H W 3`, written: person alpha, head alpha, part label.
        normals: `H W 3` in camera space with OpenCV's axes, written; `0 0 3` if not wanted.
    """
    height, width = rgb.shape[0], rgb.shape[1]
    s = owner.shape[0] // height
    here, there = np.zeros(VERTEX, np.float32), np.zeros(VERTEX, np.float32)
    share = np.zeros(3, np.float32)
    texel = np.zeros(8, np.float32)
    n, base = np.zeros(3, np.float32), np.zeros(3, np.float32)
    colour, total = np.zeros(3, np.float32), np.zeros(3, np.float32)
    for y in range(height):
        for x in range(width):
            person, head = 0, 0
            first = owner[y * s, x * s]
            kind = material[first] if first >= 0 else 0
            whole = _smooth(kind)
            nearest, farthest = np.float32(0), np.float32(1e9)
            for j in range(y * s, y * s + s):
                for i in range(x * s, x * s + s):
                    t = owner[j, i]
                    if t >= 0:
                        person += 1
                        head += 1 if label[t] > 1 else 0
                        whole = whole and material[t] == kind
                        nearest, farthest = max(nearest, depth[j, i]), min(farthest, depth[j, i])
                    else:
                        whole = False
            masks[y, x, 0] = int(255.0 * person / (s * s) + 0.5)
            masks[y, x, 1] = int(255.0 * head / (s * s) + 0.5)
            middle = owner[y * s + s // 2, x * s + s // 2]
            masks[y, x, 2] = label[middle] if middle >= 0 else 0
            if normals.shape[0]:
                _normal(vertices, triangles, middle, normals, y, x)
            if person == 0:
                for k in range(3):
                    rgb[y, x, k] = int(backdrop[y, x, k] * 255 + 0.5)
                continue
            # near / far are 1 / distance
            if whole and nearest - farthest < nearness * nearest * nearest:
                _interpolate(vertices, triangles, first, x * s, y * s, here, share)
                last = owner[y * s + s - 1, x * s + s - 1]
                _interpolate(vertices, triangles, last, x * s + s - 1, y * s + s - 1, there, share)
                bend = here[6] * there[6] + here[7] * there[7] + here[8] * there[8]
                if bend > 0.75:
                    if kind == SKIN:
                        texel[:] = 0
                        _add_texel(texture, here[9], here[10], 0.5, texel)
                        _add_texel(texture, there[9], there[10], 0.5, texel)
                    for k in range(3, 15):
                        here[k] = 0.5 * (here[k] + there[k])
                    _light(kind, first, here, share, texel, triangles, chart_u, chart_v, tangents, turn,
                           light_map, light_frame, lights, eyes, wrinkles, n, base, colour)  # fmt: skip
                    for k in range(3):
                        rgb[y, x, k] = int(_display(colour[k]) * 255 + 0.5)
                    continue
            for k in range(3):
                total[k] = (s * s - person) * backdrop[y, x, k]
            for j in range(y * s, y * s + s):
                for i in range(x * s, x * s + s):
                    t = owner[j, i]
                    if t < 0:
                        continue
                    kind = material[t]
                    _interpolate(vertices, triangles, t, i, j, here, share)
                    if kind == SKIN:
                        texel[:] = 0
                        _add_texel(texture, here[9], here[10], 1.0, texel)
                    _light(kind, t, here, share, texel, triangles, chart_u, chart_v, tangents, turn,
                           light_map, light_frame, lights, eyes, wrinkles, n, base, colour)  # fmt: skip
                    for k in range(3):
                        total[k] += _display(colour[k])
            for k in range(3):
                rgb[y, x, k] = int(total[k] / (s * s) * 255 + 0.5)


@njit(cache=True, fastmath=True, inline="always")
def _smooth(kind: int) -> Any:
    """Whether a kind of surface has no detail finer than a pixel beyond its texture."""
    return kind in (SKIN, PLAIN_SKIN, CLOTH, WET)


@njit(cache=True, fastmath=True)
def _interpolate(
    vertices: Floats, triangles: Ints, t: int, x: int, y: int, out: Floats, share: Floats
) -> None:  # fmt: skip
    """What lies at a sample: columns 3 to 14 of the vertices into `out`, the corners' weights into `share`."""
    a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    ax, ay, bx, by = vertices[a, 0], vertices[a, 1], vertices[b, 0], vertices[b, 1]
    cx, cy = vertices[c, 0], vertices[c, 1]
    inverse = 1.0 / ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
    px, py = x + 0.5, y + 0.5
    l1 = ((px - ax) * (cy - ay) - (py - ay) * (cx - ax)) * inverse
    l2 = ((bx - ax) * (py - ay) - (by - ay) * (px - ax)) * inverse
    l0, l1, l2 = (1 - l1 - l2) * vertices[a, 2], l1 * vertices[b, 2], l2 * vertices[c, 2]
    one = 1.0 / (l0 + l1 + l2)
    w0, w1, w2 = np.float32(l0 * one), np.float32(l1 * one), np.float32(l2 * one)
    for k in range(3, 15):
        out[k] = w0 * vertices[a, k] + w1 * vertices[b, k] + w2 * vertices[c, k]
    share[0], share[1], share[2] = w0, w1, w2


@njit(cache=True, fastmath=True)
def _normal(vertices: Floats, triangles: Ints, t: int, normals: Floats, y: int, x: int) -> None:
    """The unit normal of a triangle's corners' mean."""
    nx, ny, nz = np.float32(0), np.float32(0), np.float32(0)
    if t >= 0:
        for k in range(3):
            v = triangles[t, k]
            nx, ny, nz = nx + vertices[v, 6], ny - vertices[v, 7], nz - vertices[v, 8]
        one = 1.0 / (np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9)
        nx, ny, nz = nx * one, ny * one, nz * one
    normals[y, x, 0], normals[y, x, 1], normals[y, x, 2] = nx, ny, nz


@njit(cache=True, fastmath=True, inline="always")
def _turned(turn: Floats, v: Floats, row: int, k: int) -> Any:
    return turn[k, 0] * v[row, 0] + turn[k, 1] * v[row, 1] + turn[k, 2] * v[row, 2]


@njit(cache=True, fastmath=True)
def _light(
    kind: int, t: int, at: Floats, share: Floats, texel: Floats, triangles: Ints, chart_u: Floats,
    chart_v: Floats, tangents: Floats, turn: Floats, light_map: Floats, light_frame: Floats, lights: Floats,
    eyes: Floats, wrinkles: float, n: Floats, base: Floats, rgb: Floats,
) -> None:  # fmt: skip
    """The linear colour `rgb` of what `_interpolate` (and `_add_texel`) found at a place; `n`, `base`: room to work."""
    X, Y, Z = at[3], at[4], at[5]
    u, v, open_sky = at[9], at[10], at[14]
    for k in range(3):
        n[k], base[k] = at[6 + k], at[11 + k]
    reach = 1.0 / np.sqrt(X * X + Y * Y + Z * Z)
    vx, vy, vz = -X * reach, -Y * reach, -Z * reach
    gloss = 0.4
    if kind == SKIN:
        for k in range(3):
            base[k] *= texel[k]
        gloss = texel[3]
        su = texel[4] + wrinkles * texel[6]
        sv = texel[5] + wrinkles * texel[7]
        a = triangles[t, 0]
        uu, vv = 1e-6, 1e-6
        for k in range(3):
            uu += chart_u[a, k] * chart_u[a, k]
            vv += chart_v[a, k] * chart_v[a, k]
        for k in range(3):
            n[k] -= su * _turned(turn, chart_u, a, k) / uu + sv * _turned(turn, chart_v, a, k) / vv
    length = 1.0 / (np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) + 1e-9)
    facing = (n[0] * vx + n[1] * vy + n[2] * vz) * length
    if facing < 0:
        length = -length
        facing = -facing
    for k in range(3):
        n[k] *= length
    lx, ly, lz = lights[0, 0], lights[0, 1], lights[0, 2]
    key = n[0] * lx + n[1] * ly + n[2] * lz
    sx = light_frame[0, 0] * X + light_frame[0, 1] * Y + light_frame[0, 2] * Z + light_frame[0, 3]
    sy = light_frame[1, 0] * X + light_frame[1, 1] * Y + light_frame[1, 2] * Z + light_frame[1, 3]
    sd = light_frame[2, 0] * X + light_frame[2, 1] * Y + light_frame[2, 2] * Z + light_frame[2, 3]
    bias = 0.12 + 0.35 * (1 - max(0.0, key))
    if kind == HAIR:
        bias = 0.5
    if kind == EYE:
        bias = 0.3
    du, dv = 0.0, 0.0
    if kind not in (HAIR, EYE, LASH):
        scale = light_frame[0, 0] ** 2 + light_frame[0, 1] ** 2 + light_frame[0, 2] ** 2
        steep = 1.0 / (scale * max(0.3, key))
        du = -steep * (n[0] * light_frame[0, 0] + n[1] * light_frame[0, 1] + n[2] * light_frame[0, 2])
        dv = -steep * (n[0] * light_frame[1, 0] + n[1] * light_frame[1, 1] + n[2] * light_frame[1, 2])
    lit = _shadow(light_map, sx, sy, sd, bias, du, dv)
    if kind == TEETH:
        lit = 0.5 + 0.5 * lit
    if kind == HAIR:
        _hair(rgb, base, n, triangles, t, share, tangents, turn, u, v, lights, lit, open_sky, vx, vy, vz)
        return
    if kind == EYE:
        _eye(rgb, base, n, u, v, eyes, lights, lit, open_sky, vx, vy, vz)
        return
    if kind == LASH:
        for k in range(3):
            rgb[k] = base[k] * (0.4 + 0.6 * lit)
        return
    sky = 0.5 + 0.5 * n[1]
    skin = kind in (SKIN, PLAIN_SKIN)
    for k in range(3):
        wrap, shade_power = 0.05, 1.0
        if skin:
            wrap = 0.42 if k == 0 else (0.24 if k == 1 else 0.16)
            shade_power = 0.7 if k == 0 else (0.95 if k == 1 else 1.05)
        elif kind == CLOTH:
            wrap = 0.15
        elif kind in (TEETH, WET):
            wrap = 0.5
        arrives = lit if lit <= 0 or lit >= 1 else _power(lit, shade_power)
        light = _power(max(0.0, (key + wrap) / (1 + wrap)), 1.15) * arrives * lights[0, 3 + k]
        for j in range(1, 3):
            d = n[0] * lights[j, 0] + n[1] * lights[j, 1] + n[2] * lights[j, 2]
            light += max(0.0, (d + wrap) / (1 + wrap)) * lights[j, 3 + k] * (0.35 + 0.65 * open_sky)
        around = lights[4, k] + (lights[3, k] - lights[4, k]) * sky
        occlusion = open_sky
        if skin:
            occlusion = _power(open_sky, 0.72 if k == 0 else (1.0 if k == 1 else 1.1))
            around *= 1.22 if k == 0 else (1.0 if k == 1 else 0.88)
        rgb[k] = base[k] * (light + around * occlusion)
    roughness, strength = 0.5, 0.028
    if skin:
        roughness = 0.62 - 0.33 * gloss
    elif kind == WET:
        roughness, strength = 0.2, 0.035
    elif kind == TEETH:
        roughness, strength = 0.22, 0.04
    elif kind == CLOTH:
        roughness, strength = 0.8, 0.012
    for j in range(3):
        hx, hy, hz = lights[j, 0] + vx, lights[j, 1] + vy, lights[j, 2] + vz
        h = 1.0 / (np.sqrt(hx * hx + hy * hy + hz * hz) + 1e-6)
        nh = max(0.0, (n[0] * hx + n[1] * hy + n[2] * hz) * h)
        vh = max(0.0, (vx * hx + vy * hy + vz * hz) * h)
        nl = max(0.0, n[0] * lights[j, 0] + n[1] * lights[j, 1] + n[2] * lights[j, 2])
        fresnel = strength + (1 - strength) * (1 - vh) ** 5
        lobe = _ggx(nh, roughness)
        if skin:
            lobe = 0.75 * lobe + 0.25 * _ggx(nh, roughness * 0.55)
        s = lobe * fresnel * nl / (4 * max(0.25, facing)) * (lit if j == 0 else open_sky)
        for k in range(3):
            rgb[k] += s * lights[j, 3 + k]
    edge = (1 - facing) ** 4 * open_sky * (0.10 if skin else (0.16 if kind == CLOTH else 0.05))
    for k in range(3):
        rgb[k] += edge * (lights[4, k] + (lights[3, k] - lights[4, k]) * sky)


@njit(cache=True, fastmath=True)
def _display(linear: float) -> Any:
    """A film-like curve, then sRGB's gamma (Hable's curve with a soft toe and shoulder, by Narkowicz's fit)."""
    c = max(0.0, linear * EXPOSURE)
    c = c * (2.51 * c + 0.03) / (c * (2.43 * c + 0.59) + 0.14)
    return _power(min(1.0, c), GAMMA)


@njit(cache=True, fastmath=True)
def _hair(
    rgb: Floats, base: Floats, n: Floats, triangles: Ints, t: int, share: Floats, tangents: Floats, turn: Floats,
    u: float, v: float, lights: Floats, lit: float, open_sky: float, vx: float, vy: float, vz: float,
) -> None:  # fmt: skip
    rx, ry, rz = np.float32(0), np.float32(0), np.float32(0)
    for k in range(3):
        corner = triangles[t, k]
        rx += share[k] * tangents[corner, 0]
        ry += share[k] * tangents[corner, 1]
        rz += share[k] * tangents[corner, 2]
    tx = turn[0, 0] * rx + turn[0, 1] * ry + turn[0, 2] * rz
    ty = turn[1, 0] * rx + turn[1, 1] * ry + turn[1, 2] * rz
    tz = turn[2, 0] * rx + turn[2, 1] * ry + turn[2, 2] * rz
    # strands as smooth noise across the lock that hardly changes along it: nothing to flicker
    jitter = 0.6 * _noise(u * 5.0 + 900.0, v * 2.0) + 0.4 * _noise(u * 1.7 + 300.0, v * 3.0 + 70.0)
    shift = (jitter - 0.5) * 0.45
    tx, ty, tz = tx + n[0] * shift, ty + n[1] * shift, tz + n[2] * shift
    length = 1.0 / (np.sqrt(tx * tx + ty * ty + tz * tz) + 1e-6)
    tx, ty, tz = tx * length, ty * length, tz * length
    tone = 0.62 + 0.76 * jitter
    root = 0.55 + 0.45 * min(1.0, max(0.0, v) * 3.0)
    for k in range(3):
        rgb[k] = 0.0
    for j in range(3):
        lx, ly, lz = lights[j, 0], lights[j, 1], lights[j, 2]
        tl = tx * lx + ty * ly + tz * lz
        nl = n[0] * lx + n[1] * ly + n[2] * lz
        hx, hy, hz = lx + vx, ly + vy, lz + vz
        h = 1.0 / (np.sqrt(hx * hx + hy * hy + hz * hz) + 1e-6)
        th = (tx * hx + ty * hy + tz * hz) * h
        wrap = max(0.0, (nl + 0.45) / 1.45)
        diffuse = np.sqrt(max(0.0, 1 - tl * tl)) * wrap
        first = max(0.0, 1 - (th - 0.08) ** 2) ** 45 * wrap
        second = max(0.0, 1 - (th + 0.14) ** 2) ** 11 * wrap
        seen = lit if j == 0 else open_sky
        for k in range(3):
            rgb[k] += lights[j, 3 + k] * seen * (
                base[k] * tone * root * (0.75 * diffuse + 0.75 * second) + 0.05 * first * tone
            )  # fmt: skip
    sky = 0.5 + 0.5 * n[1]
    for k in range(3):
        rgb[k] += base[k] * tone * root * open_sky * (lights[4, k] + (lights[3, k] - lights[4, k]) * sky)


@njit(cache=True, fastmath=True)
def _eye(
    rgb: Floats, base: Floats, n: Floats, u: float, v: float, eyes: Floats, lights: Floats, lit: float,
    open_sky: float, vx: float, vy: float, vz: float,
) -> None:  # fmt: skip
    r = np.sqrt(u * u + v * v)
    angle = np.arctan2(v, u)
    pupil, iris = eyes[6], eyes[7]
    fibres = _noise(angle * 14.0 + 50, r * 9.0) * 0.6 + _noise(angle * 31.0 + 120, r * 14.0) * 0.4
    ring = _smoothstep(pupil, pupil + 0.13, r + (fibres - 0.5) * 0.06)
    limbus = _smoothstep(iris * 0.80, iris * 1.0, r)
    white = _smoothstep(iris * 0.96, iris * 1.09, r)
    hole = _smoothstep(pupil * 0.92, pupil * 1.08, r)
    veins = max(0.0, _noise(u * 9 + 40, v * 13 + 9) - 0.62) * _smoothstep(0.5, 0.85, abs(u))
    red = _smoothstep(0.55, 1.0, abs(u))
    # the far side of the iris, seen through the cornea, catches the light that comes from the near side
    bowl = 0.75 + 0.7 * max(-0.5, min(1.0, -(u * lights[0, 0] + v * lights[0, 1]) / iris))
    for k in range(3):
        inside = eyes[3 + k] + (eyes[k] - eyes[3 + k]) * ring
        inside = inside * (0.45 + 1.0 * fibres) * bowl * (1 - 0.78 * limbus) * hole + 0.002
        tint = 1.0 if k == 0 else (0.93 if k == 1 else 0.90)
        sclera = base[k] * (tint - red * (0.0 if k == 0 else 0.16) - veins * (0.1 if k == 0 else 0.9))
        base[k] = inside + (sclera - inside) * white
    key = n[0] * lights[0, 0] + n[1] * lights[0, 1] + n[2] * lights[0, 2]
    sky = 0.5 + 0.5 * n[1]
    for k in range(3):
        light = max(0.0, (key + 0.3) / 1.3) * (0.25 + 0.75 * lit) * lights[0, 3 + k]
        for j in range(1, 3):
            d = n[0] * lights[j, 0] + n[1] * lights[j, 1] + n[2] * lights[j, 2]
            light += max(0.0, (d + 0.3) / 1.3) * lights[j, 3 + k] * open_sky
        around = lights[4, k] + (lights[3, k] - lights[4, k]) * sky
        rgb[k] = base[k] * (light + around * (0.25 + 0.75 * open_sky))
    # window lights mirrored in the wet surface, which bulges over the iris
    facing = n[0] * vx + n[1] * vy + n[2] * vz
    rx, ry, rz = 2 * facing * n[0] - vx, 2 * facing * n[1] - vy, 2 * facing * n[2] - vz
    for j in range(2):
        lx, ly, lz = lights[j, 0], lights[j, 1], lights[j, 2]
        s = 1.0 / np.sqrt(lx * lx + lz * lz + 1e-6)
        across = abs(rx * lz * s - rz * lx * s)
        d = rx * lx + ry * ly + rz * lz
        tall = abs(ry - ly * d)
        window = (1 - _smoothstep(0.13, 0.20, across)) * (1 - _smoothstep(0.16, 0.24, tall)) * (1.0 if d > 0 else 0.0)
        for k in range(3):
            rgb[k] += window * lights[j, 3 + k] * (0.30 * (0.3 + 0.7 * lit) if j == 0 else 0.10)
    glance = 0.02 + 0.5 * (1 - max(0.0, facing)) ** 5
    for k in range(3):
        rgb[k] += glance * (lights[4, k] + (lights[3, k] - lights[4, k]) * (0.5 + 0.5 * ry)) * open_sky
