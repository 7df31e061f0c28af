"""The landmark warp forwards: the same field as the solver's, its slopes, and the kernel against its reference."""

import pytest
import torch

from realtalk_core.nn.forward_warp import ForwardWarp
from realtalk_core.nn.warp import Warper, warp_reference
from realtalk_core.testing.face import neutral_face


@pytest.fixture(scope="module", params=[478, 68])
def case(request):
    from realtalk_core.types import LandmarkTrack

    face = torch.tensor(neutral_face()).float()
    if request.param == 68:
        face = LandmarkTrack(face[None], "mediapipe478", 25.0).to_scheme("ibug68").points[0]
    generator = torch.Generator().manual_seed(3)
    now = face + 0.3 * torch.randn(face.shape, generator=generator)
    warper = Warper.around(face, 40)
    return warper, ForwardWarp.of(warper), now, generator


def test_it_is_the_solvers_field(case):
    warper, forward, now, _ = case
    made = forward.field(now)
    torch.testing.assert_close(made.grid[..., :3], warper.forward_field(now).grid, atol=2e-4, rtol=0)


def test_points_are_read_as_the_plain_field_reads_them(case):
    warper, forward, now, generator = case
    points = 14 * torch.randn(500, 3, generator=generator)
    moved, jump = forward.field(now).read(points)
    torch.testing.assert_close(moved, warp_reference(points, warper.forward_field(now)), atol=2e-4, rtol=0)
    expected, slopes = forward.field(now).read_reference(points)
    torch.testing.assert_close(moved, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(jump, slopes, atol=1e-6, rtol=1e-5)
    outside = ~((points[:, :2] > warper.low) & (points[:, :2] < warper.high)).all(1)
    assert 0 < int(outside.sum()) < 500
    assert torch.equal(moved[outside], torch.zeros(int(outside.sum()), 3))
    assert torch.equal(jump[outside], torch.eye(3).expand(int(outside.sum()), 3, 3))


def test_the_jacobian_says_how_neighbours_move(case):
    warper, forward, now, generator = case
    field = forward.field(now)
    middle, half = (warper.low + warper.high) / 2, (warper.high - warper.low) / 2
    at = torch.zeros(400, 3)
    at[:, :2] = middle + half * (1.6 * torch.rand(400, 2, generator=generator) - 0.8)
    step = 1 / field.cells_per_cm.mean()  # slopes are means over two cells
    _, jump = field.read(at)
    for axis in (0, 1):
        off = torch.zeros(3)
        off[axis] = step
        ahead, behind = (field.read(at + sign * off)[0] for sign in (1, -1))
        found = (ahead - behind) / (2 * step) + torch.eye(3)[axis]
        error = (found - jump[:, :, axis]).norm(dim=1)
        assert float(error.median()) < 0.1 * float((found - torch.eye(3)[axis]).norm(dim=1).mean())
