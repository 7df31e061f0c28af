"""Gaussians reach the screen as the formulas say, by kernel as by reference, with their gradients."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from realtalk_core.errors import ShapeError
from realtalk_core.nn.splat_projection import (
    DEGREES,
    LOW_PASS,
    NEAR_CM,
    Screen,
    View,
    covariances,
    covariances_reference,
    project,
    project_reference,
    rotation_matrices,
    sh_colours,
    sh_colours_reference,
)
from realtalk_core.types import CameraTrack


def camera(size: int = 96, distance: float = 60.0, dtype: torch.dtype = torch.float32) -> View:
    """In front of the face, turned a little, its centre off the middle."""
    turn = torch.tensor(0.2)
    pose = torch.eye(4)
    pose[0, 0], pose[0, 2], pose[2, 0], pose[2, 2] = turn.cos(), turn.sin(), -turn.sin(), turn.cos()
    pose = pose @ torch.diag(torch.tensor([1.0, -1, -1, 1]))
    pose[:3, 3] = pose[:3, :3] @ torch.tensor([0.4, -0.7, -distance])
    lens = torch.tensor([[2.3 * size, 0, 0.48 * size], [0, 2.2 * size, 0.53 * size], [0, 0, 1.0]])
    return View(pose.to(dtype), lens.to(dtype), size, size - 16)


def cloud(count: int = 300, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Large and small ones, some beside the picture, some behind the camera or on its plane."""
    generator = torch.Generator().manual_seed(4)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    means = normal(count, 3) * torch.tensor([9.0, 9.0, 5.0])
    means[: count // 10, 2] += 70
    parts = {
        "means": means,
        "scales": torch.exp(normal(count, 3) - 1.5),
        "rotations": normal(count, 4),
        "stretch": torch.eye(3) + 0.3 * normal(count, 3, 3),
        "opacities": torch.rand(count, generator=generator),
    }
    return {name: part.to(dtype) for name, part in parts.items()}


def leaves(*tensors: Tensor) -> list[Tensor]:
    return [t.clone().requires_grad_() for t in tensors]


def looked_at(screen: Screen) -> Tensor:
    """A number that depends on everything differentiable, each Gaussian weighted differently."""
    generator = torch.Generator().manual_seed(9)
    weight = torch.randn(len(screen), 6, generator=generator).to(screen.depths)
    seen = torch.cat((screen.centres, screen.conics, screen.depths[:, None]), 1)
    return (seen * weight).sum()


def close(found: Tensor, wanted: Tensor, tolerance: float = 1e-4) -> None:
    """Equal up to a share of the largest number there is."""
    assert found.shape == wanted.shape
    found, wanted = found.detach(), wanted.detach()
    error = float((found.double() - wanted.double()).abs().max()) if wanted.numel() else 0.0
    assert error <= tolerance * max(1e-3, float(wanted.abs().max())), error


@pytest.mark.parametrize("count", [1, 64, 300])
@pytest.mark.parametrize("stretched", [False, True])
def test_kernels_hold_the_references_values_and_gradients(count: int, stretched: bool) -> None:
    found = []
    for dtype, cover, onto in (
        (torch.float32, covariances, project),
        (torch.float64, covariances_reference, project_reference),
    ):
        some = cloud(300, dtype)
        means, scales, rotations, stretch = leaves(
            *(some[k][:count] for k in ("means", "scales", "rotations", "stretch"))
        )
        full = cover(scales, rotations, stretch if stretched else None)
        screen = onto(means, full, camera(dtype=dtype), some["opacities"][:count])
        looked_at(screen).backward()
        grads = [leaf.grad for leaf in (means, scales, rotations, *([stretch] if stretched else []))]
        found.append([full, screen.centres, screen.conics, screen.depths, *grads])
        radii = screen.radii if dtype == torch.float32 else radii
        assert screen.radii.dtype == torch.int32
        if dtype == torch.float64:
            assert int((screen.radii - radii).abs().max()) <= 1  # a whole number may fall on either side of rounding
    for mine, wanted in zip(*found, strict=True):
        close(mine, wanted)
    if count == 300:
        assert 0.2 < float((radii == 0).float().mean()) < 0.8, "drawn and culled ones must both be tested"


@pytest.mark.parametrize("terms", sorted(DEGREES))
def test_colours_hold_the_references_values_and_gradients(terms: int) -> None:
    coefficients, found = torch.randn(300, terms, 3, generator=torch.Generator().manual_seed(1)), []
    for dtype, coloured in ((torch.float32, sh_colours), (torch.float64, sh_colours_reference)):
        shares, means = leaves(coefficients.to(dtype), cloud(300, dtype)["means"])
        out = coloured(shares, means, camera(distance=12, dtype=dtype))
        (out * torch.linspace(-1, 1, 900).reshape(300, 3)).sum().backward()
        moved = torch.zeros(300, 3) if means.grad is None else means.grad
        found.append((out, shares.grad, moved))
    for mine, wanted in zip(*found, strict=True):
        close(mine, wanted)
    assert (float(found[0][2].abs().max()) > 0) == (terms > 1)


def test_gradients_are_those_of_finite_differences() -> None:
    some = cloud(24, torch.float64)
    some["means"][0, 2] = 0.0
    view = camera(dtype=torch.float64)
    means, scales, rotations, stretch = leaves(*(some[k] for k in ("means", "scales", "rotations", "stretch")))

    def seen(*parts: Tensor) -> tuple[Tensor, ...]:
        screen = project_reference(parts[0], covariances_reference(*parts[1:]), view, some["opacities"])
        return screen.centres, screen.conics, screen.depths

    assert torch.autograd.gradcheck(seen, (means, scales, rotations, stretch), eps=1e-6, atol=1e-5)
    coefficients = torch.randn(24, 16, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c, m: sh_colours_reference(c, m, view), (coefficients, means), atol=1e-5)


@pytest.mark.parametrize("onto", [project, project_reference])
def test_on_the_axis_sizes_are_focal_length_over_depth(onto: object) -> None:
    lens = torch.tensor([[200.0, 0, 32], [0, 100, 32], [0, 0, 1]])
    view = View(torch.eye(4), lens, 64, 64)
    form = covariances(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 0, 0, 0]]))
    torch.testing.assert_close(form, torch.tensor([[1.0, 0, 0, 4, 0, 9]]))
    screen = onto(torch.tensor([[0.0, 0, 50]]), form, view)  # type: ignore[operator]
    torch.testing.assert_close(screen.centres, torch.tensor([[32.0, 32]]))
    torch.testing.assert_close(screen.conics, torch.tensor([[1 / 16.3, 0, 1 / 16.3]]))
    torch.testing.assert_close(screen.depths, torch.tensor([50.0]))
    assert screen.radii.tolist() == [math.ceil(math.sqrt(2 * math.log(255) * 16.3))]


@pytest.mark.parametrize("onto", [project, project_reference])
def test_nothing_visible_is_left_out(onto: object) -> None:
    """Every pixel of every Gaussian that reaches 1/255, computed without any radius, lies within the radius."""
    some, view = cloud(), camera()
    some["means"] = some["means"] * 1.5
    full = covariances(some["scales"], some["rotations"])
    far = project_reference(
        some["means"].double(), full.double(), View(view.pose.double(), view.intrinsics.double(), 4000, 4000)
    )
    screen = onto(some["means"], full, view, some["opacities"])  # type: ignore[operator]
    y, x = torch.meshgrid(torch.arange(view.height) + 0.5, torch.arange(view.width) + 0.5, indexing="ij")
    apart = torch.stack((x, y), -1).double() - far.centres[:, None, None]
    a, b, c = far.conics.unbind(1)
    power = torch.einsum("n,nhw->nhw", a, apart[..., 0] ** 2) + torch.einsum("n,nhw->nhw", c, apart[..., 1] ** 2)
    power = power + 2 * torch.einsum("n,nhw->nhw", b, apart[..., 0] * apart[..., 1])
    alpha = some["opacities"][:, None, None] * torch.exp(-0.5 * power) * (far.depths > 0)[:, None, None]
    visible = alpha > 1 / 254
    clamped = (far.centres - torch.tensor([view.width, view.height]) / 2).abs().amax(1) > 1.2 * view.width / 2
    assert int((visible.flatten(1).any(1) & ~clamped).sum()) > 50
    reached = torch.where(visible, apart.abs().amax(-1), 0.0).flatten(1).amax(1)
    assert bool((reached <= screen.radii + 1e-3)[~clamped].all())
    assert bool((screen.radii[some["opacities"] < 1 / 255] == 0).all())


@pytest.mark.parametrize("onto", [project, project_reference])
@pytest.mark.parametrize("forward", [-5.0, 0.0, NEAR_CM, 1e-30])
def test_behind_the_camera_nothing_is_drawn_and_nothing_pulls(onto: object, forward: float) -> None:
    view = View(torch.eye(4), torch.tensor([[100.0, 0, 32], [0, 100, 32], [0, 0, 1]]), 64, 64)
    means, full = leaves(torch.tensor([[0.0, 0, forward], [0, 0, 40]]), torch.tensor([[1.0, 0, 0, 1, 0, 1]] * 2))
    screen = onto(means, full, view)  # type: ignore[operator]
    looked_at(screen).backward()
    assert screen.radii[0] == 0
    assert screen.radii[1] > 0
    for part in (screen.centres, screen.conics, screen.depths, means.grad, full.grad):
        assert not part[0].any()
        assert part[1].any()
        assert bool(part.isfinite().all())


@pytest.mark.parametrize("cover", [covariances, covariances_reference])
def test_degenerate_shapes_are_finite_with_finite_gradients(cover: object) -> None:
    rotations = torch.tensor([[0.0, 0, 0, 0], [1e-20, 0, 0, 0], [2.0, 0, 0, 0], [1e8, 1e8, 0, 0], [1.0, 1, 0, 0]])
    scales = torch.tensor([[1.0, 2, 3]] * 4 + [[0.0, 0, 0]])
    scales, rotations = leaves(scales, rotations)
    full = cover(scales, rotations)  # type: ignore[operator]
    torch.testing.assert_close(full[:3], torch.tensor([[1.0, 0, 0, 4, 0, 9]] * 3))
    torch.testing.assert_close(full[3], torch.tensor([1.0, 0, 0, 9, 0, 4]))
    assert not full[4].any()
    full.square().sum().backward()
    assert bool(scales.grad.isfinite().all())
    assert bool(rotations.grad.isfinite().all())

    view = camera()
    for grow, conic in ((0.0, 1 / LOW_PASS), (1e4, None)):
        needle = torch.tensor([[grow, 0.0, 0.0]])
        means, form = leaves(torch.zeros(1, 3), covariances(needle, torch.tensor([[1.0, 0.2, 0.3, 0.4]])))
        for onto in (project, project_reference):
            screen = onto(means, form, view)
            looked_at(screen).backward()
            assert bool(screen.conics.isfinite().all())
            assert screen.radii[0] > 0
            if conic is not None:
                torch.testing.assert_close(screen.conics, torch.tensor([[conic, 0, conic]]))
            assert bool(means.grad.isfinite().all())
            assert bool(form.grad.isfinite().all())


@pytest.mark.parametrize("onto", [project, project_reference])
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, 3e38])
def test_what_is_not_finite_is_not_drawn(onto: object, wrong: float) -> None:
    full = torch.tensor([[1.0, 0, 0, 1, 0, 1]] * 7)
    means = torch.zeros(7, 3)
    for i in range(3):
        means[i, i] = wrong
    full[3, 0] = full[4, 1] = full[5, 3] = wrong
    screen = onto(means, full, camera())  # type: ignore[operator]
    assert screen.radii[6] > 0
    for i in range(6):
        part = torch.cat((screen.centres[i], screen.conics[i], screen.depths[i : i + 1]))
        assert bool(part.isfinite().all())
        assert screen.radii[i] > 0 or not part.any()
    assert not bool(screen.radii[:3].any())


def test_length_of_a_quaternion_does_not_matter() -> None:
    some = cloud()
    long = some["rotations"] * torch.linspace(0.01, 30, 300)[:, None]
    close(covariances(some["scales"], long), covariances(some["scales"], some["rotations"]))
    turned = rotation_matrices(some["rotations"])
    close(turned @ turned.transpose(1, 2), torch.eye(3).expand(300, 3, 3))
    close(torch.linalg.det(turned), torch.ones(300))


@pytest.mark.parametrize("coloured", [sh_colours, sh_colours_reference])
def test_colours_are_offset_and_not_negative(coloured: object) -> None:
    view, means = camera(), torch.zeros(3, 3)
    level = torch.tensor([0.3, 0.0, -0.9]) / 0.28209479
    (shares,) = leaves(level[:, None, None].expand(3, 1, 3))
    out = coloured(shares, means, view)  # type: ignore[operator]
    torch.testing.assert_close(out, torch.tensor([0.8, 0.5, 0.0])[:, None].expand(3, 3), atol=1e-6, rtol=0)
    out.sum().backward()
    torch.testing.assert_close(shares.grad[:, 0, 0], torch.tensor([0.28209479, 0.28209479, 0.0]))


def test_a_colour_seen_from_the_other_side_is_another() -> None:
    coefficients = torch.zeros(1, 4, 3)
    coefficients[0, 2] = 0.5  # along z
    ahead = View(torch.eye(4), torch.eye(3), 8, 8)
    front = sh_colours(coefficients, torch.tensor([[0.0, 0, 4]]), ahead)
    back = sh_colours(coefficients, torch.tensor([[0.0, 0, -4]]), ahead)
    torch.testing.assert_close(front + back, torch.ones(1, 3))
    torch.testing.assert_close(front, torch.full((1, 3), 0.5 + 0.48860251 / 2))


def test_same_bits_from_several_threads_and_any_memory_layout() -> None:
    some, view = cloud(1000), camera()
    coefficients = torch.randn(1000, 9, 3)

    def once(_: int) -> list[Tensor]:
        means, scales, rotations, shares = leaves(some["means"], some["scales"], some["rotations"], coefficients)
        scattered = means.T.contiguous().T, scales.T.contiguous().T, rotations.T.contiguous().T
        screen = project(scattered[0], covariances(*scattered[1:], some["stretch"]), view, some["opacities"])
        colours = sh_colours(shares, scattered[0], view)
        (looked_at(screen) + colours.square().sum()).backward()
        return [screen.centres, screen.conics, colours, means.grad, scales.grad, rotations.grad, shares.grad]

    first = once(0)
    with ThreadPoolExecutor(4) as pool:
        for again in pool.map(once, range(8)):
            assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_centres_keep_their_gradient_for_densification() -> None:
    some, view = cloud(), camera()
    (means,) = leaves(some["means"])
    screen = project(means, covariances(some["scales"], some["rotations"]), view)
    screen.centres.retain_grad()
    (screen.centres * 3).sum().backward()
    assert screen.centres.grad is not None
    assert float(screen.centres.grad.min()) == 3


def test_no_gaussians_are_no_trouble() -> None:
    none = torch.zeros(0, 3, requires_grad=True)
    screen = project(none, covariances(none, torch.zeros(0, 4)), camera(), torch.zeros(0))
    colours = sh_colours(torch.zeros(0, 4, 3), none, camera())
    (screen.centres.sum() + colours.sum()).backward()
    assert len(screen) == 0
    assert none.grad.shape == (0, 3)


def test_a_view_of_a_track() -> None:
    track = CameraTrack(torch.stack((torch.eye(4), 2 * torch.eye(4))), torch.eye(3), 7, 5)
    view = View.of(track, 1)
    assert (view.width, view.height, float(view.pose[0, 0])) == (7, 5, 2.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, v: covariances(p["scales"][:, :2], p["rotations"]), r"scales: expected \(300, 3\), got \(300, 2\)"),
        (lambda p, v: covariances(p["scales"], p["rotations"][:9]), r"rotations: expected \(300, 4\), got \(9, 4\)"),
        (lambda p, v: covariances(p["scales"], p["rotations"], p["stretch"][:, 0]), r"stretch: expected \(300, 3, 3\)"),
        (lambda p, v: project(p["means"], p["scales"], v), r"covariances: expected \(300, 6\), got \(300, 3\)"),
        (lambda p, v: project(p["means"], torch.ones(300, 6), v, torch.ones(300, 1)), r"opacities: expected \(300,\)"),
        (lambda p, v: sh_colours(torch.ones(300, 3), p["means"], v), r"coefficients: expected \(300, 1 \| 4 \| 9"),
        (lambda p, v: sh_colours(torch.ones(300, 5, 3), p["means"], v), "got (300, 5, 3)".replace("(", r"\(")[:9]),
        (lambda p, v: sh_colours(torch.ones(9, 4, 3), p["means"], v), r"coefficients: expected \(300"),
        (lambda p, v: View(torch.eye(3), torch.eye(3), 4, 4), r"View.pose: expected \(4, 4\)"),
        (lambda p, v: View(torch.eye(4), torch.eye(3), 0, 4), "0 x 4 pixels"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_wrong_shapes_are_named(call: object, message: str, dtype: torch.dtype) -> None:
    with pytest.raises(ShapeError, match=message):
        call(cloud(dtype=dtype), camera(dtype=dtype))  # type: ignore[operator]
