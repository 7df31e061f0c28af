"""The actor's rasteriser and its shadows, against the slow and obvious."""

import numpy as np
import pytest

from realtalk_actor.raster import rasterise, vertex_normals
from realtalk_actor.shade import SOFTEST, _shadow

SIZE = 48


def drawn(points, triangles):
    depth, owner = np.full((SIZE, SIZE), 7, np.float32), np.full((SIZE, SIZE), 7, np.int32)
    rasterise(np.asarray(points, np.float32), np.asarray(triangles, np.int32), depth, owner)
    return depth, owner


def slowly(points, triangles):
    """Every sample against every triangle."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    depth, owner = np.zeros((SIZE, SIZE)), np.full((SIZE, SIZE), -1)
    for t, corners in enumerate(triangles):
        (ax, ay, aw), (bx, by, bw), (cx, cy, cw) = points[corners]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if min(aw, bw, cw) <= 0 or area == 0:
            continue
        b = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
        c = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
        w = aw + b * (bw - aw) + c * (cw - aw)
        nearer = (b >= 0) & (c >= 0) & (1 - b - c >= 0) & (w > depth)
        depth[nearer], owner[nearer] = w[nearer], t
    return depth, owner


@pytest.mark.parametrize("spread", [2.0, 12.0, 60.0])
def test_nearest_triangle_of_each_sample(spread):
    rng = np.random.default_rng(3)
    middles = rng.uniform(-10, SIZE + 10, (300, 1, 2))
    flat = middles + rng.normal(size=(300, 3, 2)) * spread
    points = np.concatenate([flat, rng.uniform(-0.05, 1, (300, 3, 1))], -1).reshape(-1, 3).astype(np.float32)
    triangles = np.arange(900).reshape(300, 3)
    depth, owner = drawn(points, triangles)
    wanted_depth, wanted_owner = slowly(points.astype(float), triangles)
    assert (owner == wanted_owner).mean() > 0.999  # samples exactly on an edge may go either way
    assert (owner >= 0).any()
    same = owner == wanted_owner
    assert np.abs(depth - wanted_depth)[same].max() < 1e-4


def test_neighbours_leave_no_gap_between_them():
    """A fan and a grid cover all they enclose, whatever lies on an edge."""
    n = 13
    y, x = np.mgrid[: n + 1, : n + 1]
    points = np.stack([x * 3.5 + 1.0, y * 3.5 + 1.0, np.ones_like(x)], -1).reshape(-1, 3)
    corner = np.arange((n + 1) * n).reshape(n, n + 1)[:, :n].ravel()
    triangles = np.concatenate([np.stack([corner, corner + 1, corner + n + 1], 1),
                                np.stack([corner + n + 2, corner + n + 1, corner + 1], 1)])  # fmt: skip
    _, owner = drawn(points, triangles)
    assert (owner[1:46, 1:46] >= 0).all()
    assert (owner[:1] < 0).all()


def test_nothing_to_draw_clears_the_picture():
    depth, owner = drawn([[0, 0, 1], [9, 9, 1], [4.5, 4.5, 1]], [[0, 1, 2]])
    assert (depth == 0).all()
    assert (owner == -1).all()


def test_normals_point_out_of_a_ball():
    a, b = np.meshgrid(
        np.linspace(0.05, np.pi - 0.05, 20), np.linspace(0, 2 * np.pi, 40, endpoint=False), indexing="ij"
    )
    ball = np.stack([np.sin(a) * np.cos(b), np.cos(a), np.sin(a) * np.sin(b)], -1).reshape(-1, 3).astype(np.float32)
    i, j = np.meshgrid(np.arange(19), np.arange(40), indexing="ij")
    here, right = (i * 40 + j).ravel(), (i * 40 + (j + 1) % 40).ravel()
    triangles = np.concatenate([np.stack([here, right, here + 40], 1), np.stack([right, right + 40, here + 40], 1)])
    normals = np.zeros_like(ball)
    vertex_normals(ball, triangles.astype(np.int32), normals)
    assert (np.sum(normals * ball, 1) > 0.98).all()


def test_shadows_are_black_inside_absent_outside_and_softer_farther_away():
    """A wall's edge in the light's map, and floors at two distances behind it."""
    wall = np.zeros((64, 64), np.float32)
    wall[:, :32] = 100.0

    def edge(distance):
        return np.array([_shadow(wall, x, 32.0, 100.0 - distance, 0.1, 0.0, 0.0) for x in np.arange(12, 52, 0.25)])

    near, far = edge(0.8), edge(5.0)
    for light in (near, far):
        assert light[0] == 0
        assert light[-1] == 1
        assert (np.diff(light) >= -0.05).all()
    soft = [((light > 0.02) & (light < 0.98)).sum() / 4 for light in (near, far)]
    assert soft[1] > 1.5 * soft[0]
    assert soft[1] <= 2 * SOFTEST + 1


def test_a_slope_does_not_shade_itself():
    x = np.arange(64, dtype=np.float32)
    slope = np.tile(50 + 0.12 * x, (64, 1)).astype(np.float32)
    light = [_shadow(slope, u, 32.0, 50 + 0.12 * u, 0.15, 0.12, 0.0) for u in np.arange(12.5, 50)]
    assert min(light) > 0.95
