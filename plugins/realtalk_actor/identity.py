"""Who an actor is: everything that a seed decides, and the shape of the head that follows from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from realtalk_actor.head import average_head, bump

Array = NDArray[np.float64]

HAIR_COLOURS = {
    "black": (0.012, 0.010, 0.009), "dark brown": (0.030, 0.017, 0.010), "brown": (0.075, 0.038, 0.020),
    "chestnut": (0.115, 0.048, 0.022), "auburn": (0.19, 0.055, 0.018), "ginger": (0.33, 0.11, 0.03),
    "dark blond": (0.19, 0.12, 0.060), "blond": (0.42, 0.29, 0.15), "platinum": (0.60, 0.50, 0.36),
    "grey": (0.28, 0.27, 0.26), "white": (0.58, 0.56, 0.54),
}  # fmt: skip
EYE_COLOURS = {
    "dark brown": ((0.055, 0.026, 0.012), (0.10, 0.045, 0.018)), "brown": ((0.12, 0.055, 0.02), (0.20, 0.09, 0.03)),
    "hazel": ((0.14, 0.11, 0.04), (0.26, 0.13, 0.04)), "green": ((0.12, 0.19, 0.10), (0.24, 0.20, 0.08)),
    "blue": ((0.13, 0.24, 0.38), (0.30, 0.36, 0.38)), "grey": ((0.22, 0.26, 0.29), (0.32, 0.33, 0.30)),
}  # fmt: skip
SKINS = (
    (0.65, 0.425, 0.33), (0.615, 0.385, 0.288), (0.57, 0.35, 0.245), (0.51, 0.305, 0.205),
    (0.40, 0.225, 0.145), (0.27, 0.145, 0.088), (0.17, 0.088, 0.054),
)  # fmt: skip
STYLES = ("crop", "side", "back", "bob", "long", "curly", "afro", "bun", "buzz", "fringe", "bald")
CLOTHES = (
    (0.03, 0.05, 0.12), (0.35, 0.05, 0.05), (0.55, 0.53, 0.50), (0.04, 0.045, 0.05), (0.05, 0.18, 0.14),
    (0.22, 0.30, 0.42), (0.40, 0.28, 0.10), (0.25, 0.10, 0.22), (0.60, 0.45, 0.42), (0.10, 0.22, 0.38),
)  # fmt: skip

Mode = tuple[tuple[float, ...], tuple[float, ...], tuple[float, float, float]]
MODES: dict[str, tuple[Mode, ...]] = {
    # name: Gaussians (centre, width, displacement of the left half) at one standard deviation
    "jaw_width": (((5.5, -5.5), (3.5, 3.5), (0.40, 0, 0)),),
    "jaw_angle": (((6.3, -4.6), (2.2, 2.4), (0.20, -0.20, 0)),),
    "chin_long": (((0, -8.6), (3.8, 2.4), (0, -0.50, 0)),),
    "chin_forward": (((0, -8.2), (2.6, 1.8), (0, 0, 0.45)),),
    "chin_wide": (((1.6, -8.4), (1.5, 1.6), (0.32, 0.05, 0)),),
    "chin_cleft": (((0, -8.3), (0.35, 0.9), (0, 0, -0.08)),),
    "cheekbones": (((5.2, 0.9), (1.8, 1.5), (0.30, 0.0, 0.28)),),
    "cheek_full": (((4.4, -2.8), (2.0, 2.2), (0.35, 0, 0.34)),),
    "temples": (((6.4, 5.0), (2.0, 2.5), (0.30, 0, 0)),),
    "forehead_high": (((0, 9.5), (9.0, 3.2), (0, 0.45, 0)),),
    "forehead_slope": (((0, 8.2), (5.0, 2.6), (0, 0, -0.50)),),
    "brow_ridge": (((2.4, 4.6), (2.2, 0.9), (0, -0.03, 0.28)),),
    "brow_height": (((3.4, 5.0), (2.8, 0.9), (0, 0.22, 0)),),
    "eye_spacing": (((3.1, 2.8), (2.2, 1.6), (0.16, 0, 0)),),
    "eye_size": (((3.1, 3.4), (1.6, 0.5), (0, 0.10, 0.02)), ((3.1, 2.0), (1.6, 0.5), (0, -0.06, 0))),
    "eye_tilt": (((4.5, 2.7), (0.9, 1.0), (0, 0.16, 0)), ((1.8, 2.6), (0.7, 0.8), (0, -0.08, 0))),
    "eye_length": (((4.6, 2.7), (0.8, 1.0), (0.12, 0, -0.04)),),
    "eye_bags": (((3.2, 1.55), (1.1, 0.45), (0, -0.02, 0.10)),),
    "lid_fold": (((3.2, 3.5), (1.3, 0.3), (0, -0.07, 0.08)),),
    "nose_long": (((0, -1.5), (1.9, 1.5), (0, -0.34, 0)),),
    "nose_wide": (((1.3, -1.3), (1.0, 0.9), (0.21, 0, 0)),),
    "nose_forward": (((0, -0.8), (1.5, 1.5), (0, 0, 0.40)),),
    "nose_tip_up": (((0, -0.7), (0.9, 0.8), (0, 0.11, 0.03)),),
    "nose_bulb": (((0.55, -0.7), (0.55, 0.6), (0.13, 0, 0.08)),),
    "nose_hump": (((0, 1.7), (0.8, 0.8), (0, 0, 0.20)),),
    "nose_bridge": (((0, 3.0), (1.0, 1.1), (0, 0, 0.30)),),
    "bridge_wide": (((0.9, 1.8), (0.7, 1.6), (0.14, 0, 0.05)),),
    "mouth_wide": (((2.5, -4.3), (1.4, 1.2), (0.27, 0, -0.06)),),
    "mouth_high": (((0, -4.3), (3.0, 1.6), (0, 0.22, 0)),),
    "upper_lip": (((0.8, -3.45), (1.3, 0.32), (0, 0.15, 0.12)),),
    "lower_lip": (((0, -5.2), (1.6, 0.40), (0, -0.19, 0.14)),),
    "lips_forward": (((0, -4.4), (2.0, 1.2), (0, 0, 0.28)),),
    "cupid": (((0.42, -3.42), (0.25, 0.25), (0, 0.09, 0.04)), ((0, -3.5), (0.16, 0.22), (0, -0.05, 0))),
    "corners": (((2.5, -4.35), (0.7, 0.6), (0, 0.13, 0)),),
    "philtrum": (((0, -2.8), (0.25, 0.6), (0, 0, -0.06)),),
    "skull_wide": (((7.5, 6.0), (4.5, 6.0), (0.30, 0, 0)),),
}
_OUTLINE = frozenset(
    ("jaw_width", "jaw_angle", "chin_long", "chin_forward", "chin_wide", "cheekbones", "cheek_full", "temples",
     "forehead_high", "forehead_slope", "skull_wide", "nose_long", "mouth_high", "eye_spacing", "lips_forward")
)  # fmt: skip
_FEMALE: dict[str, float] = {
    "jaw_width": -0.7, "jaw_angle": -0.8, "chin_long": -0.5, "chin_wide": -0.7, "brow_ridge": -1.3, "eye_size": 0.7,
    "nose_long": -0.4, "nose_wide": -0.4, "nose_forward": -0.3, "upper_lip": 0.5, "lower_lip": 0.5, "cupid": 0.5,
    "brow_height": 0.2, "cheekbones": 0.4, "forehead_slope": -0.6, "nose_tip_up": 0.4, "lid_fold": -0.6,
}  # fmt: skip


_PATTERNS: tuple[dict[str, float], ...] = (
    {"nose_bridge": 0.7, "nose_hump": 0.3, "nose_wide": -0.7, "brow_ridge": 0.5, "upper_lip": -0.6, "lower_lip": -0.3,
     "chin_forward": 0.4, "lid_fold": -0.3},
    {"nose_bridge": -1.3, "nose_hump": -0.5, "nose_forward": -0.6, "lid_fold": 1.7, "eye_tilt": 0.8, "cheekbones": 0.8,
     "brow_ridge": -0.8, "cheek_full": 0.4, "eye_bags": -0.4, "brow_height": 0.3},
    {"nose_wide": 1.2, "nose_bridge": -0.8, "nose_bulb": 0.6, "upper_lip": 1.1, "lower_lip": 0.9, "lips_forward": 0.7,
     "forehead_slope": -0.4, "chin_forward": -0.3, "eye_size": 0.3},
    {"nose_hump": 0.9, "nose_long": 0.3, "nose_forward": 0.4, "nose_bridge": 0.5, "eye_spacing": -0.4,
     "eye_length": 0.6, "eye_bags": 0.6, "lower_lip": 0.4},
)  # fmt: skip
"""Features that go together in people; each face leans to one of these, or hardly to any."""


@dataclass(frozen=True)
class Identity:
    """One actor, as a seed decides it. Colours are linear reflectances.

    Attributes:
        seed: The seed.
        female: 0 to 1.
        age: 0 (young adult) to 1 (old).
        shape: Strength of each of `MODES` in standard deviations.
        overall: Width, height and depth of the head relative to the average.
        wobble: Small smooth asymmetric displacement: centres `K 3`, displacements `K 3`.
        skin: Skin colour.
        lips: Lip colour relative to the skin, and strength of make-up.
        hair: Hair colour.
        brows: Brow colour.
        iris: Two iris colours.
        style: One of `STYLES`.
        numbers: Other quantities by name, each used where its name is read.
        collar: Collar of the garment.
        cloth: Colours of the garment and its band.
        light: Azimuth and height of the key light in radians, its strength, and colour temperature -1 to 1.
        backdrop: Two colours and a kind.
    """

    seed: int
    female: float
    age: float
    shape: dict[str, float]
    overall: tuple[float, float, float]
    wobble: tuple[Array, Array]
    skin: Array
    lips: tuple[Array, float]
    hair: Array
    brows: Array
    iris: tuple[Array, Array]
    style: str
    numbers: dict[str, float]
    collar: str
    cloth: tuple[Array, Array]
    light: tuple[float, float, float, float]
    backdrop: tuple[Array, Array, int]


def identity(seed: int) -> Identity:
    """The actor of a seed; the same on every machine."""
    rng = np.random.default_rng(np.random.SeedSequence([0x5EED, seed]))
    female = float(np.clip(round(rng.random()) + rng.normal() * 0.12, 0, 1))
    age = float(rng.beta(1.3, 1.9))
    shape = {}
    for name in MODES:
        # outlines stay near the average, where a face is pleasant; features differ more
        reach = 0.78 if name in _OUTLINE else 0.55 if name == "brow_height" else 1.25
        value = np.clip(rng.normal(), -1.8, 1.8) * reach
        shape[name] = float(value + _FEMALE.get(name, 0.0) * (2 * female - 1) * 0.6)
    overall = (1 + 0.03 * rng.normal(), 1 + 0.03 * rng.normal(), 1 + 0.025 * rng.normal())
    overall = tuple(float(np.clip(v, 0.94, 1.06)) for v in overall)  # type: ignore[assignment]
    wobble = (rng.uniform([-7, -9, 0], [7, 9, 6], (14, 3)), rng.normal(size=(14, 3)) * 0.045)
    tone = rng.random() ** 1.1 * (len(SKINS) - 1)
    low = int(min(tone, len(SKINS) - 2))
    skin = np.array(SKINS[low]) * (1 - tone + low) + np.array(SKINS[low + 1]) * (tone - low)
    skin = skin * (1 + rng.normal(size=3) * [0.02, 0.03, 0.05])
    dark = tone > 3.6
    more = np.random.default_rng(np.random.SeedSequence([0x5EED, seed, 1]))
    chance = np.array(
        [0.5, 0.25, 0.05, 0.2] if tone < 2.4 else [0.1, 0.3, 0.15, 0.45] if not dark else [0.04, 0.06, 0.75, 0.15]
    )
    lean = float(more.uniform(0.7, 1.4))
    for name, value in _PATTERNS[more.choice(len(_PATTERNS), p=chance)].items():
        shape[name] = float(np.clip(shape[name] + lean * value, -2.2, 2.2))
    for name, least in (("cheek_full", -0.6), ("jaw_width", -0.9), ("mouth_wide", -0.8)):
        shape[name] = max(shape[name], least)  # hollow cheeks and tiny mouths look ill
    names = list(HAIR_COLOURS)
    chances = (
        np.array([6, 6, 1, 0.3, 0.1, 0, 0, 0.1, 0.3, 0, 0]) if dark else np.array([2, 4, 4, 2, 1, 1, 2.5, 2, 0.7, 0, 0])
    )
    if age > 0.6:
        chances = chances * 0.35 + np.array([0] * 9 + [5, 4.0])
    hair = np.array(HAIR_COLOURS[names[rng.choice(len(names), p=chances / chances.sum())]])
    hair = hair * (1 + 0.15 * rng.normal())
    eyes = list(EYE_COLOURS)
    weight = np.array([6, 3, 0.4, 0.1, 0.1, 0.1]) if dark else np.array([1.5, 2, 1.5, 1.5, 2.5, 1])
    iris = EYE_COLOURS[eyes[rng.choice(len(eyes), p=weight / weight.sum())]]
    if female > 0.5:
        chance = np.array([0.6, 0.8, 0.8, 2, 3, 1.4, 1.0 if dark else 0.1, 2, 0.1, 1.4, 0.03])
    else:
        chance = np.array([3, 2.5, 2.2, 0.25, 0.5, 1.2, 0.8 if dark else 0.05, 0.15, 1.3, 1.0, 1.0 + 1.5 * age])
    style = STYLES[rng.choice(len(STYLES), p=chance / chance.sum())]
    beard = 0.0 if female > 0.5 else float(rng.choice([0.0, 0.35, 0.7, 1.0], p=[0.35, 0.3, 0.15, 0.2]))
    numbers = {
        "beard": beard, "moustache": float(beard > 0.5 or (female < 0.5 and rng.random() < 0.1)),
        "beard_shape": float(rng.random()), "freckles": float(max(0.0, rng.normal() * 0.6 - 0.1) * (tone < 2.4)),
        "moles": float(rng.integers(0, 5)), "brow_thick": float(np.clip(1 + 0.5 * rng.normal() - 0.3 * female,
        0.45, 1.9)),
        "brow_arch": float(rng.normal() * 0.65 + 0.4 * female), "brow_slant": float(rng.normal()),
        "brow_gap": float(rng.normal()), "brow_density": float(np.clip(0.85 + 0.25 * rng.normal(), 0.4, 1.3)),
        "blush": float(abs(rng.normal())), "oily": float(np.clip(0.5 + 0.2 * rng.normal(), 0, 1)),
        "eye_dark": float(abs(rng.normal()) * 0.5 + 0.5 * age), "liner": float(female > 0.5) * float(rng.random()),
        "ear": float(1 + 0.07 * rng.normal() + 0.05 * age), "ear_out": float(rng.normal()),
        "lobe": float(rng.normal() * 0.25),
        "neck": float(1.03 - 0.14 * female + 0.05 * rng.normal()),
        "shoulders": float(1.03 - 0.12 * female + 0.05 * rng.normal()),
        "teeth": float(np.clip(rng.normal() * 0.3 + 0.25 + 0.4 * age, 0, 1)), "crooked": float(abs(rng.normal()) * 0.5),
        "pupil": float(rng.uniform(0.16, 0.22)),
        "hairline": float(rng.normal() * 0.05 + (0.10 * age if female < 0.5 else 0)),
        "volume": float(np.clip(1 + 0.3 * rng.normal(), 0.5, 1.7)), "part": float(rng.choice([-1,
        1]) * rng.uniform(1.2, 3.2)),
        "eyeshadow": float(female > 0.5) * float(np.clip(more.normal(), 0, 1)),
        "wave": float(abs(rng.normal()) * 0.5), "length": float(rng.uniform(0.6, 1.3)),
    }  # fmt: skip
    natural = np.array([0.80, 0.43, 0.46]) if not dark else np.array([0.76, 0.43, 0.50])
    natural = natural * np.array([1.0, *more.uniform(0.85, 1.25, 2)])
    painted = np.array([[0.9, 0.28, 0.32], [0.75, 0.2, 0.25], [0.95, 0.5, 0.5]])[rng.integers(3)]
    makeup = float(female > 0.5 and rng.random() < 0.55) * float(rng.uniform(0.3, 1))
    lips = (natural * (1 - makeup) + painted * makeup, makeup)
    collar = str(rng.choice(["crew", "vee", "scoop", "turtle", "shirt"],
                            p=[0.25, 0.25, 0.25, 0.1, 0.15] if female > 0.5 else [0.4, 0.15, 0.02, 0.1,
                                0.33]))  # fmt: skip
    cloth = np.array(CLOTHES)[rng.permutation(len(CLOTHES))[:2]]
    light = (float(rng.choice([-1, 1]) * rng.uniform(0.35, 0.95)), float(rng.uniform(0.3, 0.75)),
             float(rng.uniform(0.85, 1.15)), float(np.clip(rng.normal() * 0.5, -1, 1)))  # fmt: skip
    hue = rng.random()
    first = 0.10 + 0.22 * (0.5 + 0.5 * np.cos(2 * np.pi * (hue + np.array([0, 0.33, 0.67])))) * rng.uniform(0.3, 1)
    second = first * rng.uniform(0.25, 0.6) + 0.02 + rng.random(3) * 0.05
    return Identity(
        seed, female, age, shape, overall, wobble, np.clip(skin, 0.03, 0.9), lips, hair,
        hair * (0.75 if hair.mean() < 0.2 else 0.45) + 0.004, (np.array(iris[0]), np.array(iris[1])), style, numbers,
        collar, (cloth[0], cloth[1]), light, (first, second, int(rng.integers(4))),
    )  # fmt: skip


def shape_displacement(who: Identity, points: Array) -> Array:
    """How far the identity moves places `N 3` of the average head."""
    out = np.zeros_like(points)
    side = np.tanh(points[:, 0] / 0.25)
    front = 1 / (1 + np.exp(-(points[:, 2] + 3.5) * 0.9))
    for name, strength in who.shape.items():
        for centre, width, move in MODES[name]:
            weight = strength * bump(points, centre, width)
            if name != "skull_wide":
                weight = weight * front
            out[:, 0] += weight * move[0] * side
            out[:, 1] += weight * move[1]
            out[:, 2] += weight * move[2]
    for centre, move in zip(*who.wobble, strict=True):
        d = (points[:, :2] - centre[:2]) / 2.8
        out += np.exp(-(d * d).sum(1))[:, None] * move * front[:, None]
    if who.age > 0.2:
        sag = (who.age - 0.2) * front
        out[:, 1] -= sag * 0.45 * bump(points, (4.9, -5.6), (1.6, 1.4))
        out[:, 2] -= sag * 0.38 * bump(points, (4.3, -2.3), (1.2, 1.3))
        out[:, 0] += side * sag * 0.25 * bump(points, (4.6, -6.4), (1.2, 1.2))
        out[:, 2] -= sag * 0.35 * bump(points, (2.95, -2.6), (0.4, 1.4))
        out[:, 2] += sag * 0.14 * bump(points, (3.1, 1.5), (1.1, 0.4))
        out[:, 2] -= sag * 0.16 * bump(points, (1.0, -4.3), (2.0, 0.9))
    scale = np.array(who.overall) - 1
    return out + (points + out - np.array([0, 0, -3.0])) * scale


def shaped_head(who: Identity) -> Array:
    """The identity's head at rest `N 3` (rims not laid)."""
    points = average_head()
    return points + shape_displacement(who, points)
