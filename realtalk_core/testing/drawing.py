"""Draws the face of `realtalk_core.testing.face`: shaded skin mesh, features, hair, torso, and the masks of all of it.

Everything is drawn at twice the size and averaged down, which gives soft edges and soft alphas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from realtalk_core.capture import PARTS
from realtalk_core.landmarks import (
    LEFT_BROW,
    LEFT_EYE,
    LEFT_IRIS,
    LIPS_INNER,
    LIPS_OUTER,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_IRIS,
)
from realtalk_core.testing.face import neutral_face, triangles

Array = np.ndarray[Any, np.dtype[np.floating[Any]]]
Picture = np.ndarray[Any, np.dtype[np.uint8]]
OVER, SHIFT = 2, 4
BROW_OUTLINE = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
NOSE_TRIANGLE = (1.9, 2.2)
"""Half width at the base and the height up to which a skin triangle counts as nose, cm."""


@dataclass(frozen=True)
class Looks:
    """Colours (RGB 0-255) and texture of one person and their room, drawn from a seed."""

    skin: Array
    hair: Array
    lips: Array
    shirt: Array
    iris: Array
    wall: Array
    freckles: Array

    @classmethod
    def of(cls, seed: int) -> Looks:
        """The looks of a seed."""
        rng = np.random.default_rng([seed, 3])
        tone = rng.uniform(0, 1)
        skin = np.array([232, 186, 158]) * (1 - tone) + np.array([150, 98, 70]) * tone
        hair = np.array([92, 62, 40]) * rng.uniform(0.35, 1.3)
        iris = np.array([[70, 95, 120], [88, 62, 40], [72, 98, 70]], float)[rng.integers(3)]
        return cls(
            skin,
            hair,
            skin * np.array([0.86, 0.56, 0.56]),
            rng.uniform(40, 170, 3),
            iris,
            rng.uniform(90, 190, 3),
            rng.normal(0, 0.035, len(triangles())),
        )


def plate(looks: Looks, size: int) -> Picture:
    """The wall behind the person, `size size 3`: a gradient with soft panels, so that nothing is flat."""
    row, column = np.mgrid[0:size, 0:size] / size
    light = 0.75 + 0.3 * row + 0.12 * np.sin(9 * column + 2 * row) * np.cos(5 * row)
    return np.asarray(np.clip(light[..., None] * looks.wall, 0, 255), np.uint8)


class Painter:
    """Draws frames of one person at one size."""

    def __init__(self, looks: Looks, size: int) -> None:
        self.looks, self.size = looks, size
        self.wall = plate(looks, size * OVER)
        face = neutral_face()
        centre = face[triangles()].mean(1)
        half, top = NOSE_TRIANGLE
        self.is_nose = (np.abs(centre[:, 0]) < half * np.clip((3.4 - centre[:, 1]) / 4.5, 0.3, 1)) & (
            (centre[:, 1] < top) & (centre[:, 1] > -2.1)
        )
        lips = {*LIPS_OUTER, *LIPS_INNER}
        inner_to_outer = np.abs(centre[:, 1] + 4.4) < 1.1
        members = np.array([all(int(k) in lips for k in t) for t in triangles()])
        span = (np.abs(centre[:, 0]) / 2.45) ** 2 + ((centre[:, 1] + 4.4) / 1.0) ** 2
        self.is_lip = inner_to_outer & (members | (span < 0.97))
        blush = np.exp(-(((np.abs(centre[:, 0]) - 4.2) / 1.6) ** 2) - ((centre[:, 1] + 1.2) / 1.6) ** 2)
        shade = 1 + looks.freckles
        self.albedo = looks.skin * shade[:, None] * (1 - blush[:, None] * np.array([0.0, 0.14, 0.12]))
        self.albedo[self.is_lip] = looks.lips

    def draw(self, head: Array, pixels: Array, camera: Array, project: Any) -> tuple[Picture, Picture]:
        """Draws one frame.

        Args:
            head: `478 3` points in head space.
            pixels: `478 2` the same in pixels.
            camera: `478 3` the same in camera space.
            project: Maps head-space points `N 3` to pixels `N 2`.

        Returns:
            Picture `H W 3` RGB, and masks `H W 3` as `capture.py` lays them out.
        """
        side = self.size * OVER
        picture, label = self.wall.copy(), np.zeros((side, side), np.uint8)
        self._behind(picture, label, project)
        self._mouth(picture, label, pixels, project, head)
        self._eyes(picture, label, pixels)
        self._skin(picture, label, pixels, camera)
        self._front(picture, label, pixels, project, head)
        person, on_head = np.uint8(255) * (label > 0), np.uint8(255) * (label > 1)
        masks = np.empty((self.size, self.size, 3), np.uint8)
        for channel, alpha in enumerate((person, on_head)):
            masks[..., channel] = cv2.resize(alpha, (self.size, self.size), interpolation=cv2.INTER_AREA)
        masks[..., 2] = label[1::OVER, 1::OVER]
        small = cv2.resize(picture, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.uint8), masks

    def _fill(self, picture: Picture, label: Picture, outline: Array, colour: Array, part: str) -> None:
        corners = np.round((outline * OVER - 0.5) * (1 << SHIFT)).astype(np.int32)
        rgb = tuple(float(c) for c in np.clip(colour, 0, 255))
        cv2.fillPoly(picture, [corners], rgb, cv2.LINE_AA, SHIFT)
        cv2.fillPoly(label, [corners], PARTS[part], cv2.LINE_8, SHIFT)

    def _behind(self, picture: Picture, label: Picture, project: Any) -> None:
        """Torso, neck, the mass of hair and the ears."""
        u = np.linspace(0, 1, 12)
        right = np.stack([4.0 + 13 * u**0.7, -11.5 - 3.2 * u**2 - 14 * (u > 0.99), np.full(12, -5.0)], 1)
        torso = np.concatenate([right * [-1, 1, 1], [[-17.0, -40, -5], [17.0, -40, -5]], right[::-1]])
        self._fill(picture, label, project(torso), self.looks.shirt, "torso")
        neck = np.array(
            [
                [-4.6, -4, -4],
                [-4.4, -11, -4],
                [-5, -13, -4],
                [0, -15, -3],
                [5, -13, -4],
                [4.4, -11, -4],
                [4.6, -4, -4.0],
            ]
        )
        self._fill(picture, label, project(neck), self.looks.skin * 0.78, "torso")
        angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        hair = np.stack([8.6 * np.cos(angle), 2.2 + 8.6 * np.sin(angle), np.full(40, -3.0)], 1)
        self._fill(picture, label, project(hair), self.looks.hair * 0.85, "hair_ears")
        for flip in (-1, 1):
            ear = np.stack([flip * (7.5 + 0.95 * np.cos(angle)), 0.4 + 1.9 * np.sin(angle), np.full(40, -2.8)], 1)
            self._fill(picture, label, project(ear), self.looks.skin * 0.86, "hair_ears")

    def _mouth(self, picture: Picture, label: Picture, pixels: Array, project: Any, head: Array) -> None:
        self._fill(picture, label, pixels[list(LIPS_INNER)], np.array([58, 22, 24]), "inside_mouth")
        gap = float(head[13, 1] - head[14, 1])
        if gap < 0.5:
            return
        # Upper teeth hang from the skull, the tongue rides on the jaw; the skin drawn later hides the rest.
        x = np.linspace(-1.5, 1.5, 9)
        top = np.stack([x, np.full(9, -4.2), 4.6 - 0.3 * x**2], 1)
        bottom = np.stack([x[::-1], np.full(9, -4.95), 4.6 - 0.3 * x[::-1] ** 2], 1)
        self._fill(picture, label, project(np.concatenate([top, bottom])), np.array([226, 220, 205]), "inside_mouth")
        floor = float(head[14, 1])
        angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        tongue = np.stack([1.1 * np.cos(angle), floor + 0.1 + 0.45 * np.sin(angle), np.full(16, 3.8)], 1)
        self._fill(picture, label, project(tongue), np.array([168, 82, 84]), "inside_mouth")

    def _eyes(self, picture: Picture, label: Picture, pixels: Array) -> None:
        for outline, iris in ((RIGHT_EYE, RIGHT_IRIS), (LEFT_EYE, LEFT_IRIS)):
            self._fill(picture, label, pixels[list(outline)], np.array([232, 230, 226]), "eyes")
            centre = pixels[iris[0]]
            radius = float(np.linalg.norm(pixels[iris[1]] - pixels[iris[3]])) / 2
            angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
            ring = np.stack([np.cos(angle), np.sin(angle)], 1)
            for scale, colour in ((1.0, self.looks.iris), (0.45, np.full(3, 14.0))):
                self._fill(picture, label, centre + radius * scale * ring, colour, "eyes")
            glint = centre + radius * (0.16 * ring + np.array([0.3, -0.35]))
            self._fill(picture, label, glint, np.full(3, 250.0), "eyes")

    def _skin(self, picture: Picture, label: Picture, pixels: Array, camera: Array) -> None:
        """The mesh, far triangles first, each lit by its own normal from a lamp above the camera's left."""
        mesh = triangles()
        a, b, c = (camera[mesh[:, k]] for k in range(3))
        normal = np.cross(b - a, c - a)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
        normal *= np.sign(-normal[:, 2:3])
        lamp = np.array([-0.35, -0.5, -0.8]) / np.linalg.norm([0.35, 0.5, 0.8])
        light = 0.62 + 0.45 * np.clip(normal @ lamp, 0, 1)
        colour = np.clip(self.albedo * light[:, None], 0, 255)
        corners = np.round((pixels[mesh] * OVER - 0.5) * (1 << SHIFT)).astype(np.int32)
        layer, cover = np.zeros_like(picture), np.zeros_like(label)
        skin, nose, lips = PARTS["skin"], PARTS["nose"], PARTS["lips"]
        for k in np.argsort(-(a + b + c)[:, 2]):
            cv2.fillConvexPoly(layer, corners[k], tuple(map(float, colour[k])), cv2.LINE_8, SHIFT)
            part = lips if self.is_lip[k] else nose if self.is_nose[k] else skin
            cv2.fillConvexPoly(cover, corners[k], part, cv2.LINE_8, SHIFT)
        mask = cover > 0
        # Blurring colour and cover together smooths the facets without pulling black in from outside.
        width = max(1, self.size // 42) * 2 + 1
        soft = cv2.blur(layer, (width, width)).astype(np.float32)
        weight = cv2.blur(mask.astype(np.float32), (width, width))
        smooth = soft / np.maximum(weight, 1e-3)[..., None]
        keep = cover == lips
        smooth[keep] = 0.5 * smooth[keep] + 0.5 * layer[keep]
        picture[mask] = np.clip(smooth[mask], 0, 255)
        label[mask] = cover[mask]

    def _front(self, picture: Picture, label: Picture, pixels: Array, project: Any, head: Array) -> None:
        """Brows, lids, nostrils, the line between the lips, and the fringe of hair."""
        for brow in (RIGHT_BROW, LEFT_BROW):
            self._fill(picture, label, pixels[[brow[k] for k in BROW_OUTLINE]], self.looks.hair * 0.7, "brows")
        thick = max(1, round(self.size * OVER / 160))
        dark = tuple(float(v) for v in self.looks.hair * 0.35)
        for eye in (RIGHT_EYE, LEFT_EYE):
            self._line(picture, pixels[list(eye[:9])], dark, thick)
        self._line(picture, pixels[list(LIPS_INNER[:11])], tuple(map(float, self.looks.lips * 0.55)), thick)
        self._line(picture, pixels[[98, 97, 2, 326, 327]], tuple(map(float, self.looks.skin * 0.7)), thick)
        angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        for flip in (-1, 1):
            hole = np.stack([flip * 0.75 + 0.32 * np.cos(angle), -1.82 + 0.16 * np.sin(angle), np.full(12, 5.9)], 1)
            self._fill(picture, label, project(hole), self.looks.skin * 0.4, "nose")
        u = np.linspace(-1, 1, 15)
        line = np.stack([6.9 * u, 6.2 - 3.6 * np.abs(u) ** 3 + 0.5 * np.cos(5 * u), 4.0 - 6.2 * u**2], 1)
        crown = np.stack([8.3 * u[::-1], 2.2 + 8.9 * np.sqrt(1 - 0.98 * u**2), 1.0 - 4.0 * u**2], 1)
        self._fill(picture, label, project(np.concatenate([line, crown])), self.looks.hair, "hair_ears")
        for k in range(-6, 7):
            strand = np.stack(
                [
                    np.linspace(0.6, 1.05, 6) * k * 1.1,
                    np.linspace(10.3, 5.6 - 0.05 * k * k, 6),
                    3.4 - 0.09 * k**2 * np.ones(6),
                ],
                1,
            )
            tint = self.looks.hair * (1.25 if k % 2 else 0.8)
            self._line(picture, project(strand), tuple(map(float, np.clip(tint, 0, 255))), thick, label)

    def _line(
        self, picture: Picture, points: Array, colour: tuple[float, ...], thick: int, inside: Picture | None = None
    ) -> None:
        corners = np.round((points * OVER - 0.5) * (1 << SHIFT)).astype(np.int32)
        if inside is None:
            cv2.polylines(picture, [corners], False, colour, thick, cv2.LINE_AA, SHIFT)
            return
        stroke = np.zeros_like(inside)
        cv2.polylines(stroke, [corners], False, 255, thick, cv2.LINE_8, SHIFT)
        picture[(stroke > 0) & (inside == PARTS["hair_ears"])] = colour
