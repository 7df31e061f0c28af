"""The warp inside the mouth: still where teeth are, as before elsewhere, steady over time."""

from itertools import pairwise

import pytest
import torch

from realtalk_core.expression import ExpressionBasis
from realtalk_core.landmarks import LIPS_INNER
from realtalk_core.nn.mouth import depth_inside, hold_still
from realtalk_core.nn.warp import Warper, warp_reference
from realtalk_triplane_nerf.config import TriplaneNerfConfig
from realtalk_triplane_nerf.head import Head


def face(gap, count=478):
    """Landmarks whose inner lips are an ellipse 4 cm wide and `gap` high around (0, -3)."""
    points = torch.zeros(count, 3)
    points[:, 1] = 5.0
    inner = list(LIPS_INNER) if count == 478 else list(range(60, 68))
    angle = torch.pi - torch.arange(len(inner)) / len(inner) * 2 * torch.pi
    points[inner, 0], points[inner, 1] = 2 * angle.cos(), -3 + gap / 2 * angle.sin()
    return points


@pytest.fixture
def nodes():
    axis = torch.linspace(-5, 5, 101)
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij")[::-1], -1).reshape(-1, 2)


@pytest.mark.parametrize("count", [478, 68])
def test_nothing_moves_inside_and_all_does_outside(nodes, count):
    moved = hold_still(torch.ones(101, 101, 3), nodes, face(1.5, count), face(2.0, count)).reshape(-1, 3)
    share = ((nodes[:, 0] / 2) ** 2 + ((nodes[:, 1] + 3) / 0.75) ** 2).sqrt()
    assert moved[share < 0.7].abs().max() == 0
    assert (moved[share > 1.0] == 1).all()
    assert (share < 0.7).sum() > 50


def test_what_the_templates_lips_hide_is_taken_from_their_edge(nodes):
    """The mouth is 2 cm high now and 1 cm in the template: its upper half centimetre maps to the template's edge."""
    moved = hold_still(torch.zeros(101, 101, 3), nodes, face(2.0), face(1.0))
    middle = (nodes[:, 0].abs() < 1e-3).nonzero().flatten()
    y, dy = nodes[middle, 1], moved.reshape(-1, 3)[middle, 1]
    above, between = (y > -2.5) & (y < -2.15), (y > -3.5) & (y < -2.5)
    assert torch.allclose((y - dy)[above], torch.full_like(y[above], -2.5), atol=1e-4)
    assert torch.allclose((y - dy)[between], y[between], atol=1e-4)


def test_shut_lips_leave_the_field_alone(nodes):
    grid = torch.randn(101, 101, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(hold_still(grid, nodes, face(0.0), face(2.0)), grid)


def test_the_field_changes_steadily_as_the_mouth_opens(nodes):
    grid = torch.ones(101, 101, 3)
    fields = [hold_still(grid, nodes, face(gap), face(2.0)) for gap in torch.linspace(0.0, 2.0, 101).tolist()]
    steps = [float((b - a).abs().max()) for a, b in pairwise(fields)]
    assert max(steps) < 0.25  # each step moves a lip by a tenth of a cell
    assert float((fields[-1] - fields[0]).abs().max()) == 1


def test_depth_is_distance_to_a_concave_outline():
    outline = torch.tensor([[0.0, 0], [4, 0], [4, 4], [2, 2], [0, 4]])
    at = torch.tensor([[2.0, 1.0], [2.0, 3.0], [0.5, 2.0], [9.0, 0.0]])
    expected = torch.tensor([1.0, -(0.5**0.5), 0.5, -5.0])
    assert torch.allclose(depth_inside(at, outline), expected)


def test_a_warper_may_hold_the_mouth_still():
    moved, template = face(1.5), face(2.0)
    moved[:, 0] += 0.5
    still, loose = (Warper.around(template, 64, still_mouth=flag).field(moved) for flag in (True, False))
    at = torch.tensor([[0.5, -3.0, 0.0], [4.0, 5.0, 0.0]])
    assert torch.allclose(warp_reference(at, still)[0], torch.zeros(3), atol=1e-5)
    assert warp_reference(at, loose)[0, 0] > 0.3
    assert torch.equal(warp_reference(at, still)[1], warp_reference(at, loose)[1])


def test_heads_of_before_render_as_before():
    config = TriplaneNerfConfig.tiny()
    basis = ExpressionBasis.fit(face(1.0) + torch.randn(20, 478, 3) * 0.1, face(1.0), torch.ones(478), 4)
    tensors = Head(basis, Warper.around(face(2.0), 16, still_mouth=True), 0.5).tensors()
    assert Head.from_tensors(config, tensors).warper.still_mouth
    del tensors["still_mouth"]
    assert not Head.from_tensors(config, tensors).warper.still_mouth
