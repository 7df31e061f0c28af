"""Densification: which Gaussians are added, moved and pruned, and that training goes on as if they had always been."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from realtalk_core.errors import ShapeError
from realtalk_core.nn.splat_projection import rotation_matrices
from realtalk_gaussian.config import GaussianConfig
from realtalk_gaussian.densify import Densification, Densifier, relocated

OPTIONS = Densification("default", cap=10_000, start=0, stop=1000, every=10, grow_scale=0.1, prune_scale=1.0)
WIDTH, HEIGHT = 200, 100


class Cloud(nn.Module):
    def __init__(self, count: int, seed: int = 0) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.means = nn.Parameter(torch.randn(count, 3, generator=draw))
        self.scales = nn.Parameter(torch.randn(count, 3, generator=draw) - 2.5)
        self.rotations = nn.Parameter(torch.randn(count, 4, generator=draw))
        self.opacities = nn.Parameter(torch.randn(count, generator=draw) * 3)
        self.colours = nn.Parameter(torch.randn(count, 4, 3, generator=draw))
        self.register_buffer("name", torch.arange(count))

    def forward(self) -> Tensor:
        named = (self.means, self.scales, self.rotations, self.opacities, self.colours.flatten(1))
        return sum(value.sin().flatten(1).mean() if value.ndim > 1 else value.sin().mean() for value in named)


def adam(cloud: Cloud) -> torch.optim.Optimizer:
    rates = {"means": 1e-4, "scales": 5e-3, "rotations": 1e-3, "opacities": 0.05, "colours": 2.5e-3}
    return torch.optim.Adam([{"params": [p], "lr": rates[name]} for name, p in cloud.named_parameters()], eps=1e-15)


def step_on(cloud: Cloud, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad(set_to_none=True)
    (cloud() * 10).backward()
    optimizer.step()


def learning(count: int = 300) -> tuple[Cloud, torch.optim.Optimizer]:
    cloud = Cloud(count)
    optimizer = adam(cloud)
    for _ in range(3):
        step_on(cloud, optimizer)
    return cloud, optimizer


def pulls(count: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Gradients of which about half reach the threshold, and radii; some are not drawn."""
    draw = torch.Generator().manual_seed(seed)
    gradient = torch.randn(count, 2, generator=draw) * 2e-4 / torch.tensor([WIDTH / 2, HEIGHT / 2])
    radii = torch.randint(0, 12, (count,), generator=draw, dtype=torch.int32)
    return gradient * (radii > 0)[:, None], radii


def random(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def watched(options: Densification, count: int) -> Densifier:
    densifier = Densifier(options, count)
    for seed in (1, 2):
        densifier.record(*pulls(count, seed), WIDTH, HEIGHT, frames=2)
    return densifier


def test_small_ones_are_cloned_large_ones_split_and_faded_ones_pruned() -> None:
    cloud = Cloud(5)
    with torch.no_grad():
        cloud.scales.copy_(torch.tensor([0.05, 0.5, 0.05, 0.05, 2.0]).log()[:, None].expand(5, 3))
        cloud.opacities.copy_(torch.tensor([0.9, 0.9, 0.9, 0.001, 0.9]).logit())
    before, optimizer = copy.deepcopy(cloud), adam(cloud)
    densifier = Densifier(OPTIONS, 5)
    pull = torch.tensor([1.0, 1.0, 0.1, 0.1, 0.1])[:, None] * torch.tensor([1e-3 / WIDTH, 0.0])
    densifier.record(pull, torch.ones(5, dtype=torch.int32), WIDTH, HEIGHT)
    assert densifier.update(cloud, optimizer, 5, random()) is None
    change = densifier.update(cloud, optimizer, 10, random())

    assert change is not None
    assert change.source.tolist() == cloud.name.tolist() == [0, 2, 0, 1, 1]  # 3 had faded, 4 was overgrown
    assert change.fresh.tolist() == [False, False, True, True, True]
    assert torch.equal(cloud.means[2], before.means[0])
    torch.testing.assert_close(cloud.scales[3:], (before.scales[1:2].exp() / 1.6).log().expand(2, 3))
    assert not torch.equal(cloud.means[3], cloud.means[4])
    assert float((cloud.means[3:] - before.means[1]).detach().norm(dim=1).max()) < 4 * 0.5 * math.sqrt(3)
    assert torch.equal(cloud.colours[3:], before.colours[1:2].expand(2, 4, 3))


def test_halves_lie_as_their_parent_is_turned_and_stretched() -> None:
    """A thousand copies of one Gaussian: the halves' places have its covariance."""
    cloud = Cloud(2000)
    with torch.no_grad():
        cloud.means.zero_()
        cloud.opacities.zero_()
        cloud.scales.copy_(torch.tensor([0.2, 0.1, 0.02]).log().expand(2000, 3))
        cloud.rotations.copy_(torch.tensor([2.0, 1.0, -0.5, 0.3]).expand(2000, 4))
    densifier = Densifier(OPTIONS, 2000)
    densifier.record(torch.ones(2000, 2), torch.ones(2000, dtype=torch.int32), WIDTH, HEIGHT)
    densifier.update(cloud, adam(cloud), 10, random())
    assert len(cloud.means) == 4000
    turn = rotation_matrices(torch.tensor([[2.0, 1.0, -0.5, 0.3]]))[0]
    torch.testing.assert_close(turn @ turn.T, torch.eye(3))
    want = turn @ torch.diag(torch.tensor([0.04, 0.01, 0.0004])) @ turn.T
    torch.testing.assert_close(cloud.means.detach().T.cov(), want, atol=2e-3, rtol=0)


def test_growth_stops_at_the_cap_and_the_hardest_pulled_come_first() -> None:
    cloud = Cloud(100)
    with torch.no_grad():
        cloud.opacities.zero_()
        cloud.scales.fill_(-4.0)
    densifier = Densifier(replace(OPTIONS, cap=104), 100)
    pull = torch.zeros(100, 2)
    pull[:, 1] = (torch.arange(100) + 1) * 1e-3
    densifier.record(pull, torch.ones(100, dtype=torch.int32), WIDTH, HEIGHT)
    change = densifier.update(cloud, adam(cloud), 10, random())
    assert change is not None
    assert change.source[100:].tolist() == [96, 97, 98, 99]


def test_gradients_count_in_image_coordinates_averaged_over_frames_that_see_them() -> None:
    cloud = Cloud(3)
    with torch.no_grad():
        cloud.opacities.zero_()
        cloud.scales.fill_(-4.0)
    densifier = Densifier(OPTIONS, 3)
    just_over = 2.02e-4 / (WIDTH / 2) / 4  # the loss is a mean over four frames
    pull = torch.tensor([[just_over, 0.0], [just_over, 0.0], [just_over, 0.0]])
    densifier.record(pull, torch.tensor([1, 1, 1]), WIDTH, HEIGHT, frames=4)
    densifier.record(pull * torch.tensor([[1.0], [0.9], [0.0]]), torch.tensor([1, 1, 0]), WIDTH, HEIGHT, frames=4)
    change = densifier.update(cloud, adam(cloud), 10, random())
    assert change is not None
    assert change.source.tolist() == [0, 1, 2, 0, 2]  # the second is pulled less on average, the third seen once


def test_large_on_screen_are_split_and_pruned_only_where_asked() -> None:
    radii = torch.tensor([1, 11, 40], dtype=torch.int32)
    # beyond 10 px the last two are split, and the halves of the last, beyond 30 px, go; beyond 20 px the last is split
    for radius, want in ((0.0, [0, 1, 2]), (0.05, [0, 1, 1]), (0.1, [0, 1, 2, 2])):
        cloud = Cloud(3)
        with torch.no_grad():
            cloud.opacities.zero_()
            cloud.scales.fill_(-4.0)
        densifier = Densifier(replace(OPTIONS, grow_radius=radius), 3)
        densifier.record(torch.zeros(3, 2), radii, WIDTH, HEIGHT)
        change = densifier.update(cloud, adam(cloud), 10, random())
        assert (change is None) == (radius == 0)
        assert cloud.name.tolist() == want


@pytest.mark.parametrize("strategy", ["default", "mcmc"])
def test_moments_of_kept_ones_are_kept_and_of_new_ones_zero(strategy: Any) -> None:
    cloud, optimizer = learning()
    named = dict(cloud.named_parameters())
    before = {name: {k: v.clone() for k, v in optimizer.state[p].items()} for name, p in named.items()}
    change = watched(replace(OPTIONS, strategy=strategy), 300).update(cloud, optimizer, 10, random())
    assert change is not None
    assert change.fresh.any()
    assert not change.fresh.all()
    assert all(named[name] is parameter for name, parameter in cloud.named_parameters())
    for name, parameter in cloud.named_parameters():
        state = optimizer.state[parameter]
        assert float(state["step"]) == 3
        for key in ("exp_avg", "exp_avg_sq"):
            assert state[key].shape == parameter.shape
            assert not state[key][change.fresh].any()
            kept = ~change.fresh
            assert torch.equal(state[key][kept], before[name][key][change.source[kept]])
    step_on(cloud, optimizer)  # the optimizer goes on with the new size


def test_a_moving_average_follows() -> None:
    cloud, optimizer = learning()
    average = copy.deepcopy(cloud)
    with torch.no_grad():
        average.means.add_(1)
    before = average.means.detach().clone()
    change = watched(OPTIONS, 300).update(cloud, optimizer, 10, random())
    assert change is not None
    change.follow(average, cloud)
    kept = ~change.fresh
    assert torch.equal(average.means[kept], before[change.source[kept]])
    assert torch.equal(average.means[change.fresh], cloud.means[change.fresh])
    assert torch.equal(average.name, cloud.name)


@pytest.mark.parametrize("strategy", ["default", "mcmc"])
def test_training_resumes_exactly_at_any_step(strategy: Any) -> None:
    """Stopped between two refinements, with a file's worth of state in between; counts included."""
    options = replace(OPTIONS, strategy=strategy, every=4, cap=400)

    def run(cloud: Cloud, optimizer: Any, densifier: Densifier, steps: range) -> None:
        for step in steps:
            step_on(cloud, optimizer)
            densifier.record(*pulls(len(cloud.means), step), WIDTH, HEIGHT)
            densifier.update(cloud, optimizer, step, random(step))

    cloud, optimizer = learning()
    densifier = Densifier(options, 300)
    run(cloud, optimizer, densifier, range(18))
    held = copy.deepcopy((cloud.state_dict(), optimizer.state_dict(), densifier.state()))
    run(cloud, optimizer, densifier, range(18, 40))

    again = Cloud(300)
    for name, value in (*again.named_parameters(), *again.named_buffers()):
        value.data = held[0][name].clone()
    other = adam(again)
    other.load_state_dict(held[1])
    resumed = Densifier(options, 300)
    resumed.load_state(held[2])
    run(again, other, resumed, range(18, 40))
    assert len(again.means) == len(cloud.means) != 300
    for name, value in cloud.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_nothing_happens_outside_its_time_or_without_a_strategy() -> None:
    for options, step in (
        (replace(OPTIONS, strategy="none"), 10),
        (replace(OPTIONS, start=10), 10),
        (replace(OPTIONS, stop=10), 10),
        (replace(OPTIONS, first=20), 10),
        (OPTIONS, 11),
    ):
        cloud = Cloud(50)
        before = copy.deepcopy(cloud.state_dict())
        assert watched(options, 50).update(cloud, adam(cloud), step, random()) is None
        for name, value in cloud.state_dict().items():
            assert torch.equal(value, before[name])


def test_a_cloud_that_has_faded_altogether_is_left_as_it_is() -> None:
    for strategy in ("default", "mcmc"):
        cloud = Cloud(20)
        with torch.no_grad():
            cloud.opacities.fill_(-9.0)
            cloud.scales.fill_(-4.0)
        densifier = Densifier(replace(OPTIONS, strategy=strategy, cap=20), 20)
        assert densifier.update(cloud, adam(cloud), 10, random()) is None
        assert len(cloud.means) == 20


def test_a_reset_lowers_opacities_and_forgets_their_moments() -> None:
    cloud, optimizer = learning(50)
    low = cloud.opacities.detach().sigmoid().min()
    densifier = Densifier(replace(OPTIONS, every=7, reset_every=20), 50)
    assert densifier.update(cloud, optimizer, 20, random()) is None
    opacities = cloud.opacities.detach().sigmoid()
    assert float(opacities.max()) == pytest.approx(0.01, abs=1e-6)
    assert float(opacities.min()) == pytest.approx(float(low))
    assert not optimizer.state[cloud.opacities]["exp_avg"].any()
    assert optimizer.state[cloud.means]["exp_avg"].any()


def test_mcmc_moves_the_faded_grows_by_a_twentieth_and_stops_at_the_cap() -> None:
    cloud, optimizer = learning(200)
    with torch.no_grad():
        cloud.opacities.copy_(torch.linspace(-1, 2, 200))
        cloud.opacities[:7] = -9.0
    options = replace(OPTIONS, strategy="mcmc", noise=0.0, cap=215)
    change = Densifier(options, 200).update(cloud, optimizer, 10, random())
    assert change is not None
    assert len(cloud.means) == 210
    assert bool(change.fresh[:7].all())
    assert bool((change.source[:7] >= 7).all())
    assert bool((cloud.opacities.sigmoid() > 0.005).all())
    torch.testing.assert_close(cloud.means[:7], cloud.means[change.source[:7]])
    Densifier(options, 210).update(cloud, optimizer, 20, random())
    assert len(cloud.means) == 215


def test_copies_in_one_place_are_as_opaque_as_the_one_and_as_wide() -> None:
    opacities, scales = torch.tensor([0.1, 0.5, 0.9, 0.999]), torch.ones(4, 3)
    for number in (1, 2, 3, 10, 51):
        each, smaller = relocated(opacities, scales, torch.full((4,), number))
        torch.testing.assert_close(1 - (1 - each.double()) ** number, opacities.double(), atol=1e-5, rtol=0)
        if number == 1:
            torch.testing.assert_close(smaller, scales)
        # together they absorb as much light along a line through the middle as the one did (the paper's condition)
        along = torch.linspace(-8, 8, 4001, dtype=torch.float64)
        together = 1 - (1 - each[:, None] * (-0.5 * (along / smaller[:, :1]) ** 2).exp()) ** number
        one = opacities[:, None] * (-0.5 * along**2).exp()
        torch.testing.assert_close(together.sum(1), one.sum(1).double(), rtol=1e-4, atol=0)


def test_faint_ones_wander_and_opaque_ones_stay() -> None:
    cloud = Cloud(2000)
    with torch.no_grad():
        cloud.opacities[:1000] = -9.0
        cloud.opacities[1000:] = 2.0
        cloud.scales.copy_(torch.tensor([0.2, 0.1, 0.02]).log().expand(2000, 3))
        cloud.rotations.copy_(torch.tensor([1.0, 0, 0, 0]).expand(2000, 4))
    before = cloud.means.detach().clone()
    options = replace(OPTIONS, strategy="mcmc", noise=1e4, start=500)
    assert Densifier(options, 2000).update(cloud, adam(cloud), 3, random()) is None
    moved = (cloud.means - before).detach()
    assert float(moved[1000:].abs().max()) < 1e-6
    faint = 1 / (1 + math.exp(-100 * (0.005 - 1.234e-4)))  # learning rate 1e-4 times noise 1e4 is 1
    want = torch.tensor([0.2, 0.1, 0.02]) ** 2 * faint
    torch.testing.assert_close(moved[:1000].std(0), want, rtol=0.1, atol=0)


def test_thresholds_scale_with_the_head() -> None:
    config = GaussianConfig(strategy="mcmc", densify_from=0.1, densify_until=0.5, noise=5e5)
    options = Densification.of(config, first=100, steps=200, scale=10.0, cap=99)
    assert (options.first, options.start, options.stop, options.cap) == (100, 20, 100, 99)
    assert (options.grow_scale, options.prune_scale) == (0.1, 1.0)
    assert options.noise == pytest.approx(5e3)


def test_a_count_that_does_not_fit_is_said() -> None:
    densifier = Densifier(OPTIONS, 5)
    with pytest.raises(ShapeError, match="gradients of 6 Gaussians for a cloud of 5"):
        densifier.record(*pulls(6), WIDTH, HEIGHT)
    cloud = Cloud(6)
    with pytest.raises(ShapeError, match="5 Gaussians were watched, the cloud has 6"):
        densifier.update(cloud, adam(cloud), 10, random())


NAMES = {"means": "means", "scales": "scales", "quats": "rotations", "opacities": "opacities", "sh": "colours"}


def for_gsplat(cloud: Cloud) -> tuple[dict[str, nn.Parameter], dict[str, torch.optim.Optimizer]]:
    """The same cloud and learning state as gsplat keeps them: one optimizer per parameter."""
    twin, optimizer = learning(len(cloud.means))
    parameters = {name: getattr(twin, ours) for name, ours in NAMES.items()}
    optimizers = {}
    for name, parameter in parameters.items():
        lr = next(g["lr"] for g in optimizer.param_groups if g["params"][0] is parameter)
        optimizers[name] = torch.optim.Adam([parameter], lr=lr, eps=1e-15)
        optimizers[name].state[parameter] = optimizer.state[parameter]
    return parameters, optimizers


def same_as_gsplat(cloud: Cloud, parameters: Any, **close: float) -> None:
    assert len(cloud.means) == len(parameters["means"])
    for name, ours in NAMES.items():
        torch.testing.assert_close(getattr(cloud, ours).data, parameters[name].data, **close, msg=f"{name} differs")


def test_default_does_what_gsplat_does() -> None:
    gsplat = pytest.importorskip("gsplat", reason="gsplat is optional")
    for radius in (0.0, 0.035):
        cloud, optimizer = learning()
        parameters, optimizers = for_gsplat(cloud)
        strategy = gsplat.DefaultStrategy(
            grow_scale3d=0.1, prune_scale3d=1.0, refine_start_iter=0, refine_every=10, reset_every=5,
            grow_scale2d=radius, prune_scale2d=3 * radius, refine_scale2d_stop_iter=1000 if radius else 0,
        )  # fmt: skip
        state = strategy.initialize_state()
        densifier = Densifier(replace(OPTIONS, grow_radius=radius), 300)
        for seed, step in ((1, 9), (2, 10)):
            gradient, radii = pulls(300, seed)
            means2d = torch.zeros(1, 300, 2, requires_grad=True)
            means2d.grad = gradient[None] / 2
            info = {"width": WIDTH, "height": HEIGHT, "n_cameras": 2, "gaussian_ids": None, "means2d": means2d}
            torch.manual_seed(5)
            both = radii[None, :, None].expand(1, 300, 2)
            # what is small yet wide on screen is cloned and split by gsplat, split alone here: none of these
            wide = (radii / WIDTH > radius) & (cloud.scales.exp().amax(1) <= 0.1) if radius else radii < 0
            if radius:
                both, means2d.grad = both * ~wide[None, :, None], means2d.grad * ~wide[None, :, None]
            strategy.step_post_backward(parameters, optimizers, state, step, info | {"radii": both})
            densifier.record(means2d.grad[0], both[0, :, 0], WIDTH, HEIGHT, frames=2)
            change = densifier.update(cloud, optimizer, step, random())
        assert change is not None
        assert change.fresh.sum() > 50
        assert len(change.source.unique()) < 300
        same_as_gsplat(cloud, parameters)
        for name, ours in NAMES.items():
            for key in ("exp_avg", "exp_avg_sq"):
                want = optimizers[name].state[parameters[name]][key]
                assert torch.equal(optimizer.state[getattr(cloud, ours)][key], want), (name, key)


def equation_nine(opacities: Tensor, scales: Tensor, ratios: Tensor, binoms: Tensor) -> tuple[Tensor, Tensor]:
    """The relocation as the paper writes it, for gsplat's kernel, which needs a GPU."""
    each = 1 - (1 - opacities.double()) ** (1 / ratios)
    sums = [
        sum(
            float(binoms[i - 1, k]) * (-1) ** k / math.sqrt(k + 1) * float(o) ** (k + 1)
            for i in range(1, int(n) + 1)
            for k in range(i)
        )
        for o, n in zip(each, ratios, strict=True)
    ]
    return each.float(), (opacities.double() / torch.tensor(sums))[:, None].float() * scales


def test_mcmc_does_what_gsplat_does(monkeypatch: pytest.MonkeyPatch) -> None:
    gsplat = pytest.importorskip("gsplat", reason="gsplat is optional")
    from gsplat.cuda._torch_impl import _quat_scale_to_covar_preci
    from gsplat.strategy import ops

    monkeypatch.setattr(ops, "compute_relocation", equation_nine)
    monkeypatch.setattr(ops, "quat_scale_to_covar_preci", _quat_scale_to_covar_preci)
    cloud, optimizer = learning()
    parameters, optimizers = for_gsplat(cloud)
    dead = cloud.opacities.detach().sigmoid() <= 0.005
    assert dead.any()
    strategy = gsplat.MCMCStrategy(cap_max=310, refine_start_iter=0, refine_every=10, noise_lr=1e4)
    torch.manual_seed(5)
    strategy.step_post_backward(parameters, optimizers, strategy.initialize_state(), 10, {}, lr=1e-4)
    options = replace(OPTIONS, strategy="mcmc", cap=310, noise=1e4)
    change = Densifier(options, 300).update(cloud, optimizer, 10, random())
    assert change is not None
    assert bool(change.fresh[:300][dead].all())
    assert not change.fresh.all()
    same_as_gsplat(cloud, parameters, atol=1e-5, rtol=1e-5)
    for name, ours in NAMES.items():
        want = optimizers[name].state[parameters[name]]["exp_avg"].clone()
        # gsplat leaves their momentum to those who take the rows of dead ones, and to those copied by growth
        assert not want[300:].any()
        want[change.fresh] = 0
        assert torch.equal(optimizer.state[getattr(cloud, ours)]["exp_avg"], want), name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="gsplat's relocation kernel needs a GPU")
def test_the_relocation_is_gsplats_kernels() -> None:
    pytest.importorskip("gsplat", reason="gsplat is optional")
    from gsplat.relocation import compute_relocation

    draw = torch.Generator().manual_seed(0)
    opacities, scales = torch.rand(500, generator=draw) * 0.98 + 0.01, torch.rand(500, 3, generator=draw)
    copies = torch.randint(1, 12, (500,), generator=draw)
    binoms = torch.tensor([[float(math.comb(n, k)) for k in range(51)] for n in range(51)])
    want = compute_relocation(*(x.cuda() for x in (opacities, scales, copies, binoms)))
    for a, b in zip(relocated(opacities, scales, copies), want, strict=True):
        torch.testing.assert_close(a, b.cpu(), rtol=1e-3, atol=1e-4)
