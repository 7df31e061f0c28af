"""The 3-D hash grid: kernel against the formula, values and gradients."""

from __future__ import annotations

import pytest
import torch

from realtalk_core.nn.hashvolume import VolumeLayout, encode_volume, encode_volume_reference


@pytest.mark.parametrize(("log2", "levels", "channels"), [(14, 12, 3), (10, 4, 2), (6, 3, 1)])
def test_encoding_matches_reference(log2: int, levels: int, channels: int) -> None:
    generator = torch.Generator().manual_seed(levels)
    layout = VolumeLayout.geometric(levels, channels, 4, 256, log2)
    points = torch.rand(3, 1301, generator=generator)
    points[:, :4] = torch.tensor([[0.0, 1.0, -0.5, 1.5]]).expand(3, 4)
    tables = torch.randn(layout.columns, 2**log2, generator=generator, requires_grad=True)
    pull = torch.randn(layout.columns, 1301, generator=generator)
    want = encode_volume_reference(points, tables, layout)
    got = encode_volume(points, tables, layout)
    torch.testing.assert_close(got, want, atol=3e-5, rtol=1e-4)
    (want_grad,) = torch.autograd.grad((want * pull).sum(), tables)
    (grad,) = torch.autograd.grad((got * pull).sum(), tables)
    torch.testing.assert_close(grad, want_grad, atol=2e-3, rtol=1e-3)
    sink = torch.full_like(tables, 2.0)
    torch.autograd.grad((encode_volume(points, tables, layout, sink) * pull).sum(), tables, allow_unused=True)
    torch.testing.assert_close(sink, want_grad + 2, atol=2e-3, rtol=1e-3)


def test_a_linear_function_on_an_unhashed_grid_is_read_exactly() -> None:
    layout = VolumeLayout((4,), 7)
    z, y, x = torch.meshgrid(*[torch.linspace(0, 1, 5)] * 3, indexing="ij")
    tables = torch.zeros(1, 128)
    tables[0, :125] = (x + 10 * y + 100 * z).flatten()
    points = torch.rand(3, 200, generator=torch.Generator().manual_seed(0))
    want = points[0] + 10 * points[1] + 100 * points[2]
    torch.testing.assert_close(encode_volume(points, tables, layout)[0], want, atol=1e-4, rtol=1e-5)
