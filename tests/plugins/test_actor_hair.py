"""Hair, clothes and the room behind the actor: what has to hold for every style and collar."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from realtalk_actor import body
from realtalk_actor.backdrop import backdrop
from realtalk_actor.hair import STYLES, behind_hairline, hair, scalp_texture
from realtalk_actor.head import EYE_CENTRE
from realtalk_actor.identity import identity

BUILD = (1.0, 1.0, 0.5)


@pytest.mark.parametrize("style", STYLES)
def test_hair_is_sound_cheap_and_leaves_the_eyes_free(style: str) -> None:
    who = replace(identity(3), style=style, age=0.9, female=0.0)
    parts = hair(who, BUILD)
    assert bool(parts) == (style != "buzz")
    for piece in parts:
        assert np.isfinite(piece.points).all()
        assert np.isfinite(piece.tangents).all()
        assert len(piece.points) < 26000
        assert piece.triangles.max() < len(piece.points)
        for side in (-1, 1):
            away = np.abs(piece.points[:, :2] - EYE_CENTRE[:2] * [side, 1])
            before = (away < [1.5, 0.7]).all(1) & (piece.points[:, 2] > 1)
            assert not before.any()


def test_hair_is_the_same_every_time() -> None:
    who = replace(identity(5), style="side")
    a, b = hair(who, BUILD)[0], hair(who, BUILD)[0]
    assert np.array_equal(a.points, b.points)
    assert np.array_equal(a.colour, b.colour)


def test_scalp_is_tinted_behind_the_hairline_and_bare_on_the_face() -> None:
    who = replace(identity(1), style="side")
    cover = scalp_texture(who, 256)
    v, u = np.mgrid[0:256, 0:256]
    q = (np.stack([(u + 0.5) / 128 - 1, 1 - (v + 0.5) / 128], -1) * 2).reshape(-1, 2)
    depth = behind_hairline(q, who).reshape(256, 256)
    assert cover.min() >= 0
    assert cover.max() < 1
    assert cover[depth < -0.15].max() == 0
    assert cover[depth > 0.15].min() > 0.9
    edge = cover[np.abs(depth - 0.03) < 0.03]
    assert 0.1 < edge.mean() < 0.9  # it grows in, with no line


@pytest.mark.parametrize("collar", ["crew", "vee", "scoop", "turtle", "shirt"])
def test_cloth_covers_the_skin_below_the_neckline(collar: str) -> None:
    skin = body.neck(np.full(3, 0.5), collar, BUILD).points
    cloth = body.clothes(collar, np.full(3, 0.2), np.full(3, 0.6), BUILD, np.random.default_rng(0))
    assert all(np.isfinite(piece.points).all() for piece in cloth)
    shell = cloth[0].points
    low = skin[(skin[:, 1] < -19.5) & (skin[:, 1] > -23) & (skin[:, 2] > 0)]
    for p in low:
        near = shell[(np.abs(shell[:, 0] - p[0]) < 1.0) & (np.abs(shell[:, 1] - p[1]) < 1.2) & (shell[:, 2] > 0)]
        assert len(near)
        assert near[:, 2].max() > p[2]


def test_backdrop_is_the_same_room_at_every_size() -> None:
    for seed in range(4):
        who = replace(identity(seed), backdrop=(*identity(seed).backdrop[:2], seed))
        small, large = backdrop(who, 64), backdrop(who, 128)
        assert small.shape == (64, 64, 3)
        assert small.min() > 0
        assert np.abs(large.reshape(64, 2, 64, 2, 3).mean((1, 3)) - small).mean() < 0.01
