"""Turns the samples that the rasteriser found into colours: one function per kind of surface, all on all cores.

Lighting is in camera space (x right, y up, z towards the camera), colours are linear until `shade` writes them.
Skin: wrapped diffuse light whose wrap is widest in red, and redder shadow edges, a stand-in for light that travels
under the skin (d'Eon & Luebke 2007, GPU Gems 3 ch. 14); two specular lobes. Hair: Kajiya & Kay 1989 with a shifted
secondary highlight (Scheuermann 2004).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from realtalk_actor.raster import hash01

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

SKIN, PLAIN_SKIN, EYE, WET, TEETH, HAIR, CLOTH, LASH = range(1, 9)
"""Kinds of surface. `PLAIN_SKIN` takes its colour from the vertices, `SKIN` from the chart's texture."""
EXPOSURE, GAMMA = 0.72, 0.4545
CHART_REACH = 2.0
"""The texture spans chart places from minus this to plus this, radians."""


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


@njit(cache=True, fastmath=True)
def _texel(texture: Floats, qx: float, qy: float, channel: int) -> Any:
    size = texture.shape[0]
    x = (qx / CHART_REACH * 0.5 + 0.5) * size - 0.5
    y = (0.5 - qy / CHART_REACH * 0.5) * size - 0.5
    x = min(max(x, 0.0), size - 1.001)
    y = min(max(y, 0.0), size - 1.001)
    x0, y0 = int(x), int(y)
    tx, ty = x - x0, y - y0
    top = texture[y0, x0, channel] * (1 - tx) + texture[y0, x0 + 1, channel] * tx
    low = texture[y0 + 1, x0, channel] * (1 - tx) + texture[y0 + 1, x0 + 1, channel] * tx
    return top * (1 - ty) + low * ty


@njit(cache=True, fastmath=True)
def _shadow(light_map: Floats, x: float, y: float, depth: float, bias: float) -> Any:
    """Share of light that arrives, over 9 soft comparisons."""
    size = light_map.shape[0]
    total = 0.0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            u, v = int(x + dx * 1.4), int(y + dy * 1.4)
            if u < 0 or v < 0 or u >= size or v >= size:
                total += 1.0
            else:
                d = light_map[v, u] - depth - bias
                total += 1.0 if d < 0 else max(0.0, 1 - d / 0.25)
    return total / 9


@njit(cache=True, fastmath=True)
def _ggx(nh: float, roughness: float) -> Any:
    a = roughness * roughness
    d = nh * nh * (a * a - 1) + 1
    return a * a / (3.14159 * d * d + 1e-7)


@njit(cache=True, fastmath=True, parallel=True)
def shade(
    owner: Ints, xyw: Floats, points: Floats, normals: Floats, uv: Floats, colour: Floats, ao: Floats,
    tangents: Floats, triangles: Ints, material: Ints, card: Floats, texture: Floats, chart_u: Floats, chart_v: Floats,
    light_map: Floats, light_frame: Floats, lights: Floats, eyes: Floats, wrinkles: Floats, background: Floats,
        out: Floats,
) -> None:  # fmt: skip
    """Writes display colours `H W 3` in [0, 1].

    Args:
        owner: `H W` triangle of each sample, -1 for none.
        xyw: `N 3` of `rasterise`.
        points: `N 3` in camera space.
        normals: `N 3`.
        uv: `N 2`: chart place (skin), place across and along (hair), direction from the gaze (eyes).
        colour: `N 3` linear reflectance.
        ao: `N` share of the sky that each vertex sees.
        tangents: `N 3` direction of the hair.
        triangles: `M 3`.
        material: `M`.
        card: `M`.
        texture: `S S 8`: skin reflectance (3), gloss, relief slopes (2), wrinkle slopes (2), in the chart.
        chart_u: `N 3` how a point of the skin moves along the chart's x, cm per radian, in camera space.
        chart_v: `N 3` along its y.
        light_map: `S S` depth from the key light.
        light_frame: `3 4` rows take a camera-space point to light-map x, y and depth.
        lights: `5 6`: direction and colour of the key, fill and rim light, then sky colour and ground colour.
        eyes: `8`: iris colour (3), second iris colour (3), pupil radius, iris radius (both relative to the eyeball).
        wrinkles: `1` strength of the wrinkle slopes.
        background: `H W 3` linear.
        out: `H W 3`.
    """
    height, width = owner.shape
    for y in prange(height):
        rgb = np.zeros(3, np.float32)
        base = np.zeros(3, np.float32)
        n = np.zeros(3, np.float32)
        for x in range(width):
            t = owner[y, x]
            if t < 0:
                for k in range(3):
                    rgb[k] = background[y, x, k]
                _display(rgb, out, y, x)
                continue
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            ax, ay, bx, by, cx, cy = xyw[a, 0], xyw[a, 1], xyw[b, 0], xyw[b, 1], xyw[c, 0], xyw[c, 1]
            inverse = 1.0 / ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
            px, py = x + 0.5, y + 0.5
            l1 = ((px - ax) * (cy - ay) - (py - ay) * (cx - ax)) * inverse
            l2 = ((bx - ax) * (py - ay) - (by - ay) * (px - ax)) * inverse
            l0, l1, l2 = (1 - l1 - l2) * xyw[a, 2], l1 * xyw[b, 2], l2 * xyw[c, 2]
            total = l0 + l1 + l2
            l0, l1, l2 = l0 / total, l1 / total, l2 / total
            kind = material[t]
            X = l0 * points[a, 0] + l1 * points[b, 0] + l2 * points[c, 0]
            Y = l0 * points[a, 1] + l1 * points[b, 1] + l2 * points[c, 1]
            Z = l0 * points[a, 2] + l1 * points[b, 2] + l2 * points[c, 2]
            u = l0 * uv[a, 0] + l1 * uv[b, 0] + l2 * uv[c, 0]
            v = l0 * uv[a, 1] + l1 * uv[b, 1] + l2 * uv[c, 1]
            open_sky = l0 * ao[a] + l1 * ao[b] + l2 * ao[c]
            for k in range(3):
                n[k] = l0 * normals[a, k] + l1 * normals[b, k] + l2 * normals[c, k]
                base[k] = l0 * colour[a, k] + l1 * colour[b, k] + l2 * colour[c, k]
            reach = 1.0 / np.sqrt(X * X + Y * Y + Z * Z)
            vx, vy, vz = -X * reach, -Y * reach, -Z * reach
            gloss = 0.4
            if kind == SKIN:
                for k in range(3):
                    base[k] *= _texel(texture, u, v, k)
                gloss = _texel(texture, u, v, 3)
                su = _texel(texture, u, v, 4) + wrinkles[0] * _texel(texture, u, v, 6)
                sv = _texel(texture, u, v, 5) + wrinkles[0] * _texel(texture, u, v, 7)
                uu, vv = 1e-6, 1e-6
                for k in range(3):
                    uu += chart_u[a, k] * chart_u[a, k]
                    vv += chart_v[a, k] * chart_v[a, k]
                for k in range(3):
                    n[k] -= su * chart_u[a, k] / uu + sv * chart_v[a, k] / vv
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
            lit = _shadow(light_map, sx, sy, sd, bias)
            if kind == TEETH:
                lit = 0.5 + 0.5 * lit
            sky = 0.5 + 0.5 * n[1]
            if kind == HAIR:
                _hair(rgb, base, n, l0, l1, l2, a, b, c, tangents, u, v, card[t], lights, lit, open_sky, vx, vy, vz)
            elif kind == EYE:
                _eye(rgb, base, n, u, v, eyes, lights, lit, open_sky, vx, vy, vz)
            else:
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
                    light = max(0.0, (key + wrap) / (1 + wrap)) ** 1.15 * lit**shade_power * lights[0, 3 + k]
                    for j in range(1, 3):
                        d = n[0] * lights[j, 0] + n[1] * lights[j, 1] + n[2] * lights[j, 2]
                        light += max(0.0, (d + wrap) / (1 + wrap)) * lights[j, 3 + k] * (0.35 + 0.65 * open_sky)
                    around = lights[4, k] + (lights[3, k] - lights[4, k]) * sky
                    occlusion = open_sky
                    if skin:
                        occlusion = open_sky ** (0.72 if k == 0 else (1.0 if k == 1 else 1.1))
                    if skin:
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
                if kind == LASH:
                    for k in range(3):
                        rgb[k] = base[k] * (0.4 + 0.6 * lit)
            _display(rgb, out, y, x)


@njit(cache=True, fastmath=True)
def _display(rgb: Floats, out: Floats, y: int, x: int) -> None:
    """A film-like curve, then sRGB's gamma (Hable's curve with a soft toe and shoulder, by Narkowicz's fit)."""
    for k in range(3):
        c = max(0.0, rgb[k] * EXPOSURE)
        c = c * (2.51 * c + 0.03) / (c * (2.43 * c + 0.59) + 0.14)
        out[y, x, k] = min(1.0, c) ** GAMMA


@njit(cache=True, fastmath=True)
def _hair(
    rgb: Floats, base: Floats, n: Floats, l0: float, l1: float, l2: float, a: int, b: int, c: int, tangents: Floats,
    u: float, v: float, card: float, lights: Floats, lit: float, open_sky: float, vx: float, vy: float, vz: float,
) -> None:  # fmt: skip
    tx = l0 * tangents[a, 0] + l1 * tangents[b, 0] + l2 * tangents[c, 0]
    ty = l0 * tangents[a, 1] + l1 * tangents[b, 1] + l2 * tangents[c, 1]
    tz = l0 * tangents[a, 2] + l1 * tangents[b, 2] + l2 * tangents[c, 2]
    strand = np.floor((u * 0.5 + 0.5) * 9.0)
    jitter = hash01(strand, card + 17.0)
    shift = (jitter - 0.5) * 0.35
    tx, ty, tz = tx + n[0] * shift, ty + n[1] * shift, tz + n[2] * shift
    length = 1.0 / (np.sqrt(tx * tx + ty * ty + tz * tz) + 1e-6)
    tx, ty, tz = tx * length, ty * length, tz * length
    tone = 0.7 + 0.6 * jitter
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
        first = np.sqrt(max(0.0, 1 - (th - 0.08) ** 2)) ** 90 * wrap
        second = np.sqrt(max(0.0, 1 - (th + 0.14) ** 2)) ** 22 * wrap
        seen = lit if j == 0 else open_sky
        for k in range(3):
            rgb[k] += lights[j, 3 + k] * seen * (
                base[k] * tone * root * (0.75 * diffuse + 0.9 * second) + 0.05 * first * tone
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
