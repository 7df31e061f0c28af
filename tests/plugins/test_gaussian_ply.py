"""The exported .ply: read back by a strict reader of its own, and drawn as the head draws it."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from realtalk_core.nn.splatting import View, covariances, rotation_matrices, sh_colours
from realtalk_gaussian.cloud import FLAT
from realtalk_gaussian.head import Posed
from realtalk_gaussian.ply import Splats, decomposed, names, quaternions, write_ply

TURN = torch.tensor([-1.0, -1.0, 1.0])
VIEW = View(
    torch.tensor([[1.0, 0, 0, 1], [0, -1, 0, 2], [0, 0, -1, 40], [0, 0, 0, 1]]),
    torch.tensor([[96.0, 0, 32], [0, 96, 32], [0, 0, 1]]), 64, 64,
)  # fmt: skip


def read_ply(file):
    """Columns by name. Refuses whatever Kerbl et al.'s `save_ply` does not write, but for comments."""
    data = file.read_bytes()
    head, mark, body = data.partition(b"end_header\n")
    assert mark
    assert head.endswith(b"\n")
    lines = head.decode("ascii").split("\n")[:-1]
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    lines = [line for line in lines[2:] if not line.startswith("comment ")]
    count = int(re.fullmatch(r"element vertex (\d+)", lines[0])[1])
    properties = [re.fullmatch(r"property float (\w+)", line)[1] for line in lines[1:]]
    rest = len(properties) - 17
    assert rest in (0, 9, 24, 45)
    assert properties == [
        "x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *(f"f_rest_{k}" for k in range(rest)),
        "opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3",
    ]  # fmt: skip
    assert len(body) == 4 * count * len(properties)
    rows = np.frombuffer(body, "<f4").reshape(count, -1)
    return {name: torch.from_numpy(rows[:, k].astype(np.float32)) for k, name in enumerate(properties)}


def loaded(file):
    """What a viewer makes of a file: activated values, as in `load_ply` and `get_*` of Kerbl et al."""
    of = read_ply(file)
    rest = [of[name] for name in of if name.startswith("f_rest_")]
    colours = torch.stack([of[f"f_dc_{k}"] for k in range(3)], 1)[:, None]
    if rest:
        colours = torch.cat((colours, torch.stack(rest, 1).reshape(len(colours), 3, -1).transpose(1, 2)), 1)
    return {
        "means": torch.stack([of[k] for k in "xyz"], 1),
        "normals": torch.stack([of[f"n{k}"] for k in "xyz"], 1),
        "colours": colours,
        "opacities": torch.sigmoid(of["opacity"]),
        "scales": torch.stack([of[f"scale_{k}"] for k in range(3)], 1).exp(),
        "rotations": F.normalize(torch.stack([of[f"rot_{k}"] for k in range(4)], 1), dim=1),
    }


def layer(count=40, degree=1, stretch=True, shade=True, normals=True, seed=0):
    g = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=g)

    return Posed(
        means=randn(count, 3) * 4,
        scales=(randn(count, 3) * 0.7 - 1).exp(),
        rotations=randn(count, 4) * 2,
        stretch=torch.eye(3) + 0.3 * randn(count, 3, 3) if stretch else None,
        opacities=torch.rand(count, generator=g),
        colours=0.3 * randn(count, (degree + 1) ** 2, 3),
        shade=0.05 * randn(count, 3) if shade else None,
        normals=F.normalize(randn(count, 3), dim=1) if normals else None,
    )


def turned_view(unit=1.0):
    """The camera of `VIEW` in the file's axes."""
    pose = VIEW.pose.clone()
    pose[:3] = TURN[:, None] * pose[:3]
    pose[:3, 3] *= unit
    return View(pose, VIEW.intrinsics, VIEW.width, VIEW.height)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("stretch", [False, True])
def test_a_viewer_reads_the_same_gaussians(tmp_path, degree, stretch):
    posed = layer(degree=degree, stretch=stretch)
    found = loaded(write_ply(tmp_path / "head.ply", Splats.of([posed]), unit="cm"))
    torch.testing.assert_close(found["means"], posed.means * TURN)
    torch.testing.assert_close(found["opacities"], posed.opacities, atol=2e-6, rtol=1e-5)
    xx, xy, xz, yy, yz, zz = posed.covariances().unbind(1)
    want = torch.stack((xx, xy, -xz, yy, -yz, zz), 1)  # the half turn about z
    torch.testing.assert_close(covariances(found["scales"], found["rotations"]), want, atol=1e-4, rtol=1e-3)
    shaded = posed.colours + F.pad(posed.shade[:, None] / FLAT, (0, 0, 0, (degree + 1) ** 2 - 1))
    seen = sh_colours(shaded, posed.means, VIEW)
    torch.testing.assert_close(sh_colours(found["colours"], found["means"], turned_view()), seen, atol=2e-5, rtol=1e-4)
    inside = (sh_colours(posed.colours, posed.means, VIEW) > 0).all(1)  # elsewhere the head clamps before it shades
    torch.testing.assert_close(seen[inside], posed.seen(VIEW)[inside], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(found["normals"], posed.turned_normals() * TURN, atol=1e-5, rtol=1e-4)


def test_metres_by_default(tmp_path):
    splats = Splats.of([layer()])
    metres, centimetres = (loaded(write_ply(tmp_path / f"{u}.ply", splats, u)) for u in ("m", "cm"))
    torch.testing.assert_close(metres["means"] * 100, centimetres["means"])
    torch.testing.assert_close(metres["scales"] * 100, centimetres["scales"], atol=0, rtol=1e-5)
    default = loaded(write_ply(tmp_path / "default.ply", splats))
    torch.testing.assert_close(default["means"], metres["means"])


def test_upright_and_facing_after_the_viewers_half_turn(tmp_path):
    crown, nose = torch.tensor([[0.0, 10, 0]]), torch.tensor([[0.0, 0, 5]])
    posed = layer(2, stretch=False)
    posed = replace(posed, means=torch.cat((crown, nose)))
    means = loaded(write_ply(tmp_path / "head.ply", Splats.of([posed]), "cm"))["means"]
    world = means * TURN  # PlayCanvas turns every .ply by 180 degrees about z; y is up there, the camera looks along -z
    assert world[0].argmax() == 1
    assert world[1].argmax() == 2


def wall(z, hole=0.0, count=40):
    """A dense square of Gaussians at a depth, with a round hole in its middle."""
    across = torch.linspace(-5, 5, count)
    places = torch.cartesian_prod(across, across)
    places = places[places.norm(dim=1) >= hole]
    n = len(places)
    means = torch.cat((places, torch.full((n, 1), float(z))), 1)
    turns = torch.tensor([[1.0, 0, 0, 0]]).expand(n, 4)
    normals = torch.tensor([[0.0, 0, 1]]).expand(n, 3)
    return Posed(
        means, torch.full((n, 3), 0.2), turns, None, torch.full((n,), 0.95), torch.zeros(n, 1, 3), None, normals
    )


def test_layers_in_one_file_and_what_has_no_normals(tmp_path):
    face, mouth = layer(5), layer(3, shade=False, normals=False, seed=1)
    mouth = replace(mouth, means=mouth.means - torch.tensor([0.0, 0, 50]))
    found = loaded(write_ply(tmp_path / "head.ply", Splats.of([face, mouth]), "cm"))
    assert len(found["means"]) == 8
    assert not found["normals"][5:].any()
    torch.testing.assert_close(found["means"][5:], mouth.means * TURN)


def test_what_the_face_covers_goes_behind_it():
    """The head draws teeth and eyes behind the skin whatever their depths; viewers sort by depth."""
    places = torch.tensor([[3.0, 3, 0.4], [3, -3, -2], [0, 0, 0.4], [9, 9, 0.4]])
    hidden = replace(layer(4, degree=0, shade=False, normals=False), means=places)
    moved = Splats.of([wall(0.0, hole=1.5), hidden]).means[-4:]
    assert moved[0, 2] == pytest.approx(-1.0, abs=0.02)  # covered and in front: behind the wall now
    torch.testing.assert_close(moved[0, :2], places[0, :2])
    torch.testing.assert_close(moved[1:], places[1:])  # behind already, in the open mouth, beside the face


def test_extremes_stay_finite(tmp_path):
    posed = layer(3)
    opacities = torch.tensor([0.0, 1.0, 0.5])
    flat = posed.stretch.clone()
    flat[0] = 0
    posed = replace(posed, opacities=opacities, stretch=flat)
    of = read_ply(write_ply(tmp_path / "head.ply", Splats.of([posed])))
    assert all(bool(torch.isfinite(column).all()) for column in of.values())
    assert of["opacity"][0] < math.log(1 / 255) < of["opacity"][1]


def test_quaternions_of_any_rotation():
    g = torch.Generator().manual_seed(3)
    some = F.normalize(torch.randn(500, 4, generator=g, dtype=torch.float64), dim=1)
    axes = torch.eye(4, dtype=torch.float64)  # half turns, where w is 0
    some = torch.cat((some, axes))
    matrices = rotation_matrices(some)
    found = quaternions(matrices)
    torch.testing.assert_close(rotation_matrices(found), matrices, atol=1e-9, rtol=0)
    assert bool((found[:, 0] >= 0).all())


def test_decomposed_is_a_rotation():
    factors = torch.randn(50, 3, 3, generator=torch.Generator().manual_seed(4))
    scales, rotations = decomposed(factors)
    made = rotation_matrices(rotations) * scales[:, None]
    torch.testing.assert_close(made @ made.mT, factors @ factors.mT, atol=1e-4, rtol=1e-4)


def test_names_are_kerbls():
    assert len(names(16)) == 62  # 62 floats, 248 bytes: the size that every viewer of degree 3 expects
    assert names(1)[6:10] == ["f_dc_0", "f_dc_1", "f_dc_2", "opacity"]


def test_comments_are_one_ascii_line_each(tmp_path):
    file = write_ply(tmp_path / "head.ply", Splats.of([layer(2)]), comments=["Avatar of Zoë\nend_header"])
    assert b"comment Avatar of Zo? end header\n" in file.read_bytes()
    assert len(loaded(file)["means"]) == 2
