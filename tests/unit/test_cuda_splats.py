"""Splatting on a GPU is gsplat's, called as it wants to be called, and gives what the CPU gives.

Without a GPU gsplat is stood in for by `fakes/fake_gsplat.py`; where gsplat's Python is installed, that is held against
gsplat's own signatures and torch implementation.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from realtalk_core.errors import MissingDependencyError
from realtalk_core.nn import cuda_splats
from realtalk_core.nn.splatting import View, covariances, project, rasterise, sh_colours

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))
import fake_gsplat
from pretend_device import Pretended, pretending

WIDTH, HEIGHT = 40, 56
NAMES = ("means", "scales", "rotations", "opacities", "coefficients", "extra")


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    cuda_splats._gsplat.cache_clear()
    yield
    cuda_splats._gsplat.cache_clear()


@pytest.fixture
def gsplat(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_gsplat.installed(monkeypatch)


def view() -> View:
    pose = torch.diag(torch.tensor([1.0, -1, -1, 1]))
    pose[:3, 3] = torch.tensor([0.3, -0.2, 40.0])
    turn = torch.linalg.matrix_exp(torch.tensor([[0.0, 0.1, 0.2], [-0.1, 0, 0.05], [-0.2, -0.05, 0]]))
    pose[:3, :3] = turn @ pose[:3, :3]
    return View(pose, torch.tensor([[90.0, 0, 21], [0, 95, 27], [0, 0, 1]]), WIDTH, HEIGHT)


def cloud(count: int = 70) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    means = normal(count, 3) * torch.tensor([6.0, 9.0, 4.0])
    means[:8, 2] += 60  # behind the camera
    return {
        "means": means,
        "scales": torch.exp(0.5 * normal(count, 3) - 0.3),
        "rotations": normal(count, 4),
        "opacities": 0.9 * torch.rand(count, generator=generator),
        "coefficients": 0.5 * normal(count, 9, 3),
        "extra": normal(count, 4),
    }


def drawn(some: dict[str, Tensor], seen: View, region: Tensor | None = None) -> list[Tensor]:
    """Picture (3 + 4 channels), alpha, what is on the screen, and the gradients of all that is learnt."""
    leaves = {name: some[name].clone().requires_grad_() for name in NAMES}
    screen = project(leaves["means"], covariances(leaves["scales"], leaves["rotations"]), seen, leaves["opacities"])
    screen.centres.retain_grad()
    colours = sh_colours(leaves["coefficients"], leaves["means"], seen)
    out = rasterise(screen, leaves["opacities"], torch.cat((colours, leaves["extra"]), 1), seen, region)
    weight = torch.linspace(-1, 1, out.picture.numel()).reshape(out.picture.shape).to(out.picture.device)
    ((out.picture * weight).sum() + (out.alpha * weight[..., 0].cos()).sum()).backward()
    grads = [leaves[name].grad for name in NAMES]
    return [out.picture, out.alpha, screen.centres, screen.conics, screen.depths, screen.centres.grad, *grads]


def close(found: list[Tensor], wanted: list[Tensor]) -> None:
    for mine, theirs in zip(found, wanted, strict=True):
        mine, theirs = mine.detach().cpu(), theirs.detach().cpu()
        assert mine.shape == theirs.shape
        assert float((mine - theirs).abs().max()) <= 2e-4 * max(1e-3, float(theirs.abs().max()))


@pytest.mark.parametrize(("part", "opaque"), [(False, False), (True, False), (False, True)])
def test_pictures_and_gradients_are_the_cpus(part: bool, opaque: bool, gsplat: None) -> None:
    region, some = None, cloud()
    if opaque:  # what is behind must stop being drawn at the same Gaussian
        some["opacities"], some["scales"] = 1 - 0.02 * some["opacities"], 2 * some["scales"]
    if part:
        region = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
        region[20:30, 3] = region[50, 39] = True
    here = drawn(some, view(), region)
    assert float(here[1].detach().max()) > 0.5
    with pretending():
        there = drawn(
            {name: numbers.to("cuda") for name, numbers in some.items()},
            view().to("cuda"),
            None if region is None else region.to("cuda"),
        )
        assert all(isinstance(tensor, Pretended) for tensor in there)
        close(there, here)
        if part:
            assert not there[0][:16].cpu().any(), "tiles outside the region are empty"


def test_the_camera_may_be_elsewhere(gsplat: None) -> None:
    """Cameras come from tracks, which stay on the CPU."""
    with pretending():
        some = {name: part.to("cuda") for name, part in cloud().items()}
        screen = project(some["means"], covariances(some["scales"], some["rotations"]), view())
        assert isinstance(screen.centres, Pretended)
        assert isinstance(sh_colours(some["coefficients"], some["means"], view()), Pretended)


def test_nothing_in_sight_is_an_empty_picture(gsplat: None) -> None:
    some = cloud()
    some["means"][:, 2] += 100
    with pretending():
        there = drawn({name: part.to("cuda") for name, part in some.items()}, view().to("cuda"))
        assert not any(bool(tensor.cpu().any()) for tensor in there)


def imported(monkeypatch: pytest.MonkeyPatch, fails: dict[str, Any]) -> None:
    """`import` gives what `fails` says, or raises it."""

    def importing(name: str) -> Any:
        if isinstance(fails[name], Exception):
            raise fails[name]
        return fails[name]

    monkeypatch.setattr(cuda_splats.importlib, "import_module", importing)


@pytest.mark.parametrize(
    ("fails", "message"),
    [
        ({"gsplat": ModuleNotFoundError("No module", name="gsplat")}, r"gsplat, which is not installed\n.*pip install"),
        ({"gsplat": ModuleNotFoundError("No module named 'rich'", name="rich")}, "compile .*: No module named 'rich'"),
        ({"gsplat": types, "gsplat.cuda._backend": RuntimeError("ninja:\n failed")}, "CUDA kernels: ninja: failed"),
        ({"gsplat": types, "gsplat.cuda._backend": types.SimpleNamespace(_C=None)}, "no CUDA toolkit .*\n.*nvcc"),
    ],
)
def test_without_a_working_gsplat_it_says_so_once(
    fails: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported(monkeypatch, fails)
    with pretending(), pytest.raises(MissingDependencyError, match=message):
        drawn({name: part.to("cuda") for name, part in cloud().items()}, view())
    assert cuda_splats.why_not()


def test_why_not_is_empty_where_it_works(gsplat: None) -> None:
    assert cuda_splats.why_not() == ""


FUNCTIONS = (
    "fully_fused_projection", "spherical_harmonics", "isect_tiles", "isect_offset_encode", "rasterize_to_pixels",
)  # fmt: skip


@pytest.fixture
def real() -> Any:
    pytest.importorskip("gsplat")
    return importlib.import_module("gsplat.cuda._wrapper"), importlib.import_module("gsplat.cuda._torch_impl")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_stand_in_is_called_as_gsplat_is(name: str, real: Any) -> None:
    assert getattr(importlib.import_module("gsplat"), name) is getattr(real[0], name)
    mine, theirs = (inspect.signature(getattr(module, name)).parameters for module in (fake_gsplat, real[0]))
    assert [(p.name, p.default) for p in mine.values()] == [(p.name, p.default) for p in theirs.values()]


def test_the_stand_in_and_the_cpu_project_as_gsplat_does(real: Any) -> None:
    """Against gsplat's torch implementation: values, gradients, tiles."""
    gsplat, some, seen = real[1], cloud(), view()
    camera = torch.linalg.inv(seen.pose)[None]
    lens, found = seen.intrinsics[None], []
    for way in ("gsplat", "stand-in", "cpu"):
        means, scales, rotations = (some[name].clone().requires_grad_() for name in NAMES[:3])
        if way == "gsplat":
            full, _ = gsplat._quat_scale_to_covar_preci(rotations, scales, True, False, False)
            radii, *rest, _ = gsplat._fully_fused_projection(means, full, camera, lens, WIDTH, HEIGHT, near_plane=0.2)
            drawn_there = (radii[0] > 0).all(-1)
        else:
            full = covariances(scales, rotations)
        if way == "stand-in":
            radii, *rest, _ = fake_gsplat.fully_fused_projection(
                means, full, None, None, camera, lens, WIDTH, HEIGHT, near_plane=0.2
            )
        if way == "cpu":
            screen = project(means, full, seen)
            radii, rest = screen.radii[None, :, None], [screen.centres[None], screen.depths[None], screen.conics[None]]
        assert torch.equal((radii[0] > 0).all(-1), drawn_there)
        parts = [part[0, drawn_there] for part in rest]
        sum((part * torch.linspace(-1, 1, part.numel()).reshape(part.shape)).sum() for part in parts).backward()
        found.append([*parts, means.grad, scales.grad, rotations.grad])
        if way != "cpu":
            module, underscore = (gsplat, "_") if way == "gsplat" else (fake_gsplat, "")
            centres = torch.where(drawn_there[:, None], rest[0].detach(), 0.0)
            depths = torch.where(drawn_there, rest[1].detach(), 0.0)
            _, keys, owners = getattr(module, f"{underscore}isect_tiles")(centres, radii, depths, 16, 3, 4)
            offsets = getattr(module, f"{underscore}isect_offset_encode")(keys, 1, 3, 4)
            found[-1] += [keys.double(), owners, offsets]
    assert int(drawn_there.sum()) > 30
    close(found[1], found[0])
    close(found[2], found[0][:6])


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_harmonics_are_gsplats(degree: int, real: Any) -> None:
    terms, some, seen = (degree + 1) ** 2, cloud(), view()
    shares = torch.randn(70, terms, 3, generator=torch.Generator().manual_seed(2))
    found = []
    for way in ("gsplat", "stand-in", "cpu"):
        means, coefficients = some["means"].clone().requires_grad_(), shares.clone().requires_grad_()
        if way == "cpu":
            out = sh_colours(coefficients, means, seen)
        else:
            compute = real[1]._spherical_harmonics if way == "gsplat" else fake_gsplat.spherical_harmonics
            out = (compute(degree, means - seen.pose[:3, 3], coefficients) + 0.5).clamp(min=0)
        (out * torch.linspace(-1, 1, 210).reshape(70, 3)).sum().backward()
        found.append([out, coefficients.grad, *([means.grad] if degree else [])])
    close(found[1], found[0])
    close(found[2], found[0])
