"""Rays, harmonics, warp, occupancy and image losses against what they claim to be."""

from __future__ import annotations

import math

import pytest
import torch

from realtalk_core.nn.losses import gradient_difference, multi_scale_dissimilarity, opacity_entropy, ssim
from realtalk_core.nn.occupancy import Occupancy, grow, without_islands
from realtalk_core.nn.rays import camera_rays, meet_box, pixel_centres, project
from realtalk_core.nn.spherical import spherical_harmonics
from realtalk_core.nn.warp import PARTING_CM, Warper, parted, warp_reference
from realtalk_core.testing.face import neutral_face

INTRINSICS = torch.tensor([[300.0, 0, 100], [0, 300, 90], [0, 0, 1]])
POSE = torch.tensor([[1.0, 0, 0, 0.5], [0, -1, 0, -0.2], [0, 0, -1, 40], [0, 0, 0, 1]])


def face() -> torch.Tensor:
    return torch.tensor(neutral_face(), dtype=torch.float32)


def test_rays_and_projection_are_inverse() -> None:
    pixels = pixel_centres(20, 10)
    origin, directions = camera_rays(pixels, POSE, INTRINSICS)
    torch.testing.assert_close(project(origin + 31 * directions, POSE, INTRINSICS), pixels, atol=1e-3, rtol=1e-5)
    assert directions.norm(dim=1).allclose(torch.ones(200))


def test_box_is_entered_and_left_where_expected_and_missed() -> None:
    directions = torch.tensor([[0.0, 0, -1], [0, 1, 0]])
    near, far = meet_box(torch.tensor([0.0, 0, 10]), directions, torch.full((3,), -1.0), torch.full((3,), 2.0))
    assert (near[0].item(), far[0].item()) == pytest.approx((8, 11))
    assert far[1] < near[1]


def test_harmonics_are_orthonormal() -> None:
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(200_000, 3, generator=generator), dim=1)
    values = spherical_harmonics(directions)
    gram = values.T @ values / len(values) * 4 * math.pi
    assert (gram - torch.eye(16)).abs().max() < 0.03


def test_warp_takes_landmarks_back_to_the_template() -> None:
    template = face()
    moved = template.clone()
    moved[:, 1] -= 0.4 * torch.exp(-((template[:, :2] - template[152, :2]).norm(dim=1) ** 2) / 8)
    warper = Warper.around(template)
    back = moved - warp_reference(moved, warper.field(moved))
    assert (moved - template).norm(dim=1).max() > 0.3
    assert (back - template).norm(dim=1).mean() < 0.01
    there = template + warp_reference(template, warper.forward_field(moved))
    assert (there - moved).norm(dim=1).mean() < 0.01


def test_warp_dies_away_and_stays_smooth_for_absurd_faces() -> None:
    template = face()
    warper = Warper.around(template)
    wild = template + 3 * (template - template.mean(0)) * torch.tensor([0.2, -0.1, 0.1])
    field = warper.field(wild)
    assert torch.isfinite(field.grid).all()
    assert field.grid[0].abs().max() == 0
    assert field.grid.diff(dim=0).norm(dim=-1).max() < 1.0


def test_touching_lips_are_parted() -> None:
    closed = face()
    closed[14] = closed[13]
    out = parted(closed)
    assert out[13, 1] - out[14, 1] == pytest.approx(PARTING_CM, abs=1e-5)
    assert torch.equal(out[152], closed[152])


def test_occupancy_keeps_what_is_dense_and_lately_seen() -> None:
    grid = Occupancy.over(torch.zeros(3), torch.tensor([5.0, 5.0, 5.0]), 0.5)
    dense = torch.zeros(10, 10, 10)
    dense[4, 5, 6] = 50

    def density(points: torch.Tensor) -> torch.Tensor:
        x, y, z = (points * grid.extent / grid.cell).long().clamp(0, 9)
        return dense[x, y, z]

    for step in range(200):
        grid.update(density, torch.Generator().manual_seed(step), 1.0)
    one = torch.zeros(10, 10, 10, dtype=torch.bool)
    one[4, 5, 6] = True
    assert torch.equal(grid.shell(0.4, None).occupied, grow(one))
    assert not grid.shell(0.4, 0).occupied.any()
    grid.mark_seen(torch.tensor([[4.5], [5.5], [6.5]]) * grid.cell / grid.extent, torch.tensor([0.9]), 3)
    assert torch.equal(grid.shell(0.4, 3).occupied, grow(one))
    assert not grid.shell(0.4, 4).occupied.any()


def test_image_losses_order_pictures_as_eyes_do() -> None:
    generator = torch.Generator().manual_seed(1)
    truth = torch.rand(1, 3, 48, 48, generator=generator)
    blurred = torch.nn.functional.avg_pool2d(truth, 5, 1, 2)
    assert ssim(truth, truth).item() == pytest.approx(1)
    assert multi_scale_dissimilarity(truth, truth).item() == pytest.approx(0, abs=1e-6)
    assert multi_scale_dissimilarity(blurred, truth) > 0.3
    assert gradient_difference(blurred, truth) > gradient_difference(truth + 0.3, truth) + 0.1
    with pytest.raises(ValueError, match="smaller than the window"):
        ssim(truth[..., :8, :], truth[..., :8, :])


def test_entropy_is_lowest_at_certainty() -> None:
    assert opacity_entropy(torch.tensor([0.0, 1.0])) < 0.01 < opacity_entropy(torch.tensor([0.5]))


def test_islands_are_not_sampled_and_large_pieces_are():
    cells = torch.zeros(20, 20, 20, dtype=torch.bool)
    cells[2:12, 2:12, 2:12] = True
    cells[15:19, 2:6, 2:6] = True  # a tail of hair, say: 64 cells beside 1000
    both = cells.clone()
    cells[16, 16, 16:18] = True
    assert torch.equal(without_islands(cells), both)
    assert not without_islands(torch.zeros_like(cells)).any()
    assert torch.equal(without_islands(cells[14:, 14:, 14:]), cells[14:, 14:, 14:])
