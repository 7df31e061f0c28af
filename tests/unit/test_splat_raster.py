"""The tile rasteriser against its plain-torch reference, and what it does at the edges."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from realtalk_core.errors import ShapeError
from realtalk_core.nn.splatting import Drawn, Screen, View, rasterise
from realtalk_core.nn.splatting_reference import rasterise_reference

Scene = tuple[Screen, Tensor, Tensor, View]


def scene(count: int, width: int, height: int, channels: int = 3, seed: int = 0, size: float = 4.0) -> Scene:
    """Random ellipses, some of them outside, some not drawn."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    centres = (random(count, 2) * 1.4 - 0.2) * torch.tensor([width, height])
    turn, spread = random(count) * 6.3, random(count, 2) * size + 0.6
    rotation = torch.stack((turn.cos(), -turn.sin(), turn.sin(), turn.cos()), 1).reshape(count, 2, 2)
    inverse = rotation @ torch.diag_embed(spread**-2) @ rotation.mT
    conics = torch.stack((inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]), 1)
    radii = (random(count) > 0.1).int() * 20
    screen = Screen(centres, conics, random(count) * 10 + 50, radii)
    return screen, random(count) ** 0.5, random(count, channels), View(torch.eye(4), torch.eye(3), width, height)


def results(given: Scene, reference: bool = False, threads: int | None = None) -> tuple[Tensor, ...]:
    """Picture, alpha and gradients: the kernel's or the reference's."""
    screen, opacities, channels, view = given
    generator = torch.Generator().manual_seed(9)
    weights = torch.randn(view.height, view.width, channels.shape[1] + 1, generator=generator)
    leaves = [t.clone().requires_grad_() for t in (screen.centres, screen.conics, opacities, channels)]
    seen = replace(screen, centres=leaves[0], conics=leaves[1])
    if reference:
        drawn = Drawn(*rasterise_reference(seen, leaves[2], leaves[3], view))
    else:
        drawn = rasterise(seen, leaves[2], leaves[3], view, threads=threads)
    loss = (drawn.picture * weights[..., :-1]).sum() + (drawn.alpha * weights[..., -1]).sum()
    return drawn.picture.detach(), drawn.alpha.detach(), *torch.autograd.grad(loss, leaves)


def assert_same(given: Scene, scale: float = 1.0) -> tuple[Tensor, ...]:
    got, want = results(given), results(given, reference=True)
    for one, other in zip(got, want, strict=True):
        size = float(other.abs().max()) if other.numel() else 0.0
        torch.testing.assert_close(one, other, atol=5e-5 * scale * max(size, 1e-3), rtol=1e-3 * scale)
    return got


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("count", "width", "height", "channels"),
    [(300, 50, 37, 3), (200, 33, 64, 7), (150, 16, 16, 1), (120, 31, 9, 0), (150, 20, 20, 6)],
)
def test_values_and_gradients_match_the_reference(
    count: int, width: int, height: int, channels: int, seed: int
) -> None:
    picture, alpha, *_ = assert_same(scene(count, width, height, channels, seed))
    assert picture.shape == (height, width, channels)
    assert alpha.max() > 0.9


def test_a_single_pixel() -> None:
    _, alpha, *grads = assert_same(scene(20, 1, 1, size=2.0))
    assert alpha > 0.1
    assert all(grad.abs().sum() > 0 for grad in grads)


def test_opaque_gaussians_stop_the_light() -> None:
    screen, opacities, channels, view = scene(600, 40, 40, size=12.0)
    opacities = torch.where(torch.arange(600) % 3 == 0, 1.0, opacities)
    picture, alpha, centres, _, into_opacities, into_channels = assert_same((screen, opacities, channels, view), 2.0)
    assert alpha.min() > 0.9
    assert alpha.max() <= 1 - 1e-4 + 1e-6
    hidden = screen.depths > screen.depths.median()
    assert into_channels[hidden].abs().max() == 0
    assert centres[hidden].abs().max() == 0
    assert into_channels[~hidden].abs().max() > 0
    assert into_opacities.isfinite().all()
    assert picture.isfinite().all()


def test_one_huge_and_one_tiny_gaussian() -> None:
    screen = Screen(
        torch.tensor([[-300.0, 90.0], [20.5, 10.5]]), torch.tensor([[4e-6, 1e-6, 6e-6], [3.3, 0.0, 3.3]]),
        torch.tensor([2.0, 1.0]), torch.tensor([2000, 2], dtype=torch.int32),
    )  # fmt: skip
    given = screen, torch.tensor([0.9, 1.0]), torch.eye(2, 3), View(torch.eye(4), torch.eye(3), 48, 24)
    picture, alpha, *_ = assert_same(given)
    assert alpha.min() > 0.6
    assert picture[10, 20, 1] == pytest.approx(0.999, abs=1e-5)


@pytest.mark.parametrize("case", ["none", "outside", "radius 0", "faint", "not positive definite"])
def test_nothing_to_draw(case: str) -> None:
    screen, opacities, channels, view = scene(0 if case == "none" else 50, 20, 20)
    if case == "outside":
        screen = replace(screen, centres=screen.centres + 500)
    if case == "radius 0":
        screen = replace(screen, radii=torch.zeros_like(screen.radii), centres=screen.centres * torch.nan)
    if case == "faint":
        opacities = torch.zeros_like(opacities)
    if case == "not positive definite":
        screen = replace(screen, conics=screen.conics + torch.tensor([0.0, 10.0, 0.0]))
    for one in results((screen, opacities, channels, view)):
        assert one.isfinite().all()
        assert one.abs().sum() == 0


def test_gradients_match_finite_differences() -> None:
    screen, opacities, channels, view = scene(12, 20, 12, size=2.0)
    # so wide that no alpha in the picture comes near 1/255, where it jumps
    screen, opacities = replace(screen, conics=screen.conics * 0.004), opacities * 0.4 + 0.2
    weights = torch.randn(12, 20, 3, generator=torch.Generator().manual_seed(1))

    def loss(centres: Tensor, conics: Tensor, opacity: Tensor, channel: Tensor) -> Tensor:
        drawn = rasterise(replace(screen, centres=centres, conics=conics), opacity, channel, view)
        return (drawn.picture * weights).double().sum() + drawn.alpha.double().sum()

    leaves = [t.clone().requires_grad_() for t in (screen.centres, screen.conics, opacities, channels)]
    grads = torch.autograd.grad(loss(*leaves), leaves)
    generator = torch.Generator().manual_seed(2)
    for k, (leaf, grad, step) in enumerate(zip(leaves, grads, (1e-1, 1e-5, 1e-2, 1e-2), strict=True)):
        way = torch.randn(leaf.shape, generator=generator).sign() * (screen.radii > 0).reshape(
            -1, *[1] * (leaf.dim() - 1)
        )
        moved = [
            [t.detach() + sign * step * way if j == k else t.detach() for j, t in enumerate(leaves)] for sign in (1, -1)
        ]
        slope = float(loss(*moved[0]) - loss(*moved[1])) / (2 * step)
        assert float((grad * way).sum()) == pytest.approx(slope, rel=0.01)


def test_depth_as_a_channel_reaches_the_depths() -> None:
    screen, opacities, _, view = scene(60, 24, 24)
    depths = screen.depths.clone().requires_grad_()
    drawn = rasterise(replace(screen, depths=depths), opacities, depths[:, None], view)
    (grad,) = torch.autograd.grad(drawn.picture.sum(), depths)
    # the sum of a Gaussian's weights over the picture
    assert float(grad.sum()) == pytest.approx(float(drawn.alpha.detach().sum()), rel=1e-4)


def test_results_do_not_depend_on_threads() -> None:
    given = scene(3000, 200, 150, seed=4)
    one = results(given, threads=1)
    for threads in (2, 3):
        assert all(torch.equal(a, b) for a, b in zip(one, results(given, threads=threads), strict=True))


def test_several_flows_may_draw_at_once() -> None:
    scenes = [scene(1000, 100, 90, channels=3 + seed % 2, seed=seed) for seed in range(4)]
    want = [results(one, threads=1) for one in scenes]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda one: results(one, threads=1), scenes * 3))
    for k, one in enumerate(got):
        assert all(torch.equal(a, b) for a, b in zip(one, want[k % 4], strict=True))


def test_region_draws_only_its_tiles() -> None:
    screen, opacities, channels, view = scene(500, 70, 50)
    region = torch.zeros(50, 70, dtype=torch.bool)
    region[20, 40] = region[49, 69] = True
    whole, part = rasterise(screen, opacities, channels, view), rasterise(screen, opacities, channels, view, region)
    drawn = torch.zeros(50, 70, dtype=torch.bool)
    drawn[16:32, 32:48] = drawn[48:, 64:] = True
    assert torch.equal(part.picture[drawn], whole.picture[drawn])
    assert torch.equal(part.alpha[drawn], whole.alpha[drawn])
    assert part.picture[~drawn].abs().sum() == 0
    assert part.alpha[~drawn].abs().sum() == 0
    leaf = channels.clone().requires_grad_()
    (grad,) = torch.autograd.grad(rasterise(screen, opacities, leaf, view, region).picture.sum(), leaf)
    (want,) = torch.autograd.grad(rasterise(screen, opacities, leaf, view).picture[drawn].sum(), leaf)
    torch.testing.assert_close(grad, want)


@pytest.mark.parametrize("field", ["centres", "conics", "opacities", "channels"])
def test_not_finite(field: str) -> None:
    screen, opacities, channels, view = scene(30, 20, 20)
    bad = int(torch.nonzero(screen.radii)[3])
    spoiled = {"centres": screen.centres, "conics": screen.conics, "opacities": opacities, "channels": channels}[field]
    spoiled[bad] = torch.nan
    with pytest.raises(ShapeError, match=f"Gaussian {bad} is not finite"):
        rasterise(screen, opacities, channels, view)


def test_wrong_sizes() -> None:
    screen, opacities, channels, view = scene(30, 20, 16)
    with pytest.raises(ShapeError, match=r"opacities: expected \(30,\).*got \(29,\)"):
        rasterise(screen, opacities[1:], channels, view)
    with pytest.raises(ShapeError, match=r"channels: expected"):
        rasterise(screen, opacities, channels[:, 0], view)
    with pytest.raises(ShapeError, match=r"channels: expected .*float64"):
        rasterise(screen, opacities, channels.double(), view)
    with pytest.raises(ShapeError, match=r"region: expected \(16, 20\)"):
        rasterise(screen, opacities, channels, view, torch.ones(20, 16, dtype=torch.bool))
