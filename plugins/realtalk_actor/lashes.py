"""Upper eyelashes: curved ribbons, each a few hairs together, whose roots follow the lids' edges.

Lower lashes are painted with the lid's edge: as ribbons they would be narrower than a sample and break into dots.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from realtalk_actor.identity import Identity
from realtalk_actor.part import Part, grid_triangles, part
from realtalk_actor.shade import LASH
from realtalk_actor.topology import topology
from realtalk_core.capture import PARTS

Array = NDArray[np.float64]
STEPS = 4
"""Places along a lash, two vertices at each."""


@dataclass(frozen=True)
class Lashes:
    """All lashes of one actor, one row each.

    Attributes:
        before, after: Vertices of the lid's edge between which the root lies.
        between: Where between them, 0 to 1.
        eye: 0 right, 1 left.
        up: 1 on the upper lid, -1 on the lower.
        fan: How far it leans outwards.
        reach: Length, cm.
        curl: How strongly it bends away from the eye.
    """

    before: NDArray[np.int64]
    after: NDArray[np.int64]
    between: Array
    eye: NDArray[np.int64]
    up: Array
    fan: Array
    reach: Array
    curl: Array

    def place(self, head: Array, eyes: Array) -> Array:
        """Vertices of all lashes for a posed head and its eyeballs' centres `2 3`."""
        root = head[self.before] + (head[self.after] - head[self.before]) * self.between[:, None]
        radial = root - eyes[self.eye]
        radial /= np.linalg.norm(radial, axis=1, keepdims=True)
        zero = np.zeros_like(self.fan)
        way = np.stack([self.fan, 0.30 * self.up, zero + 0.75], 1) + radial * 0.6
        bend = np.stack([self.fan * 0.3, 0.62 * self.up * self.curl, zero], 1)
        out = np.zeros((len(root), STEPS, 2, 3))
        thick = np.full(len(root), 0.027)
        for s in range(STEPS):
            f = s / (STEPS - 1)
            middle = root + (way * 0.62 * f + bend * f * f) * (self.reach * 0.75)[:, None]
            half = np.stack([thick * (1 - f**1.5) + 0.004, zero, zero], 1)
            out[:, s, 0], out[:, s, 1] = middle - half, middle + half
        return out.reshape(-1, 3)

    def mesh(self, head: Array, eyes: Array) -> Part:
        """The lashes of a head at rest as a part."""
        one = grid_triangles(STEPS, 2)
        faces = (one[None] + (np.arange(len(self.eye)) * STEPS * 2)[:, None, None]).reshape(-1, 3)
        return part(
            self.place(head, eyes), faces, LASH, PARTS["eyes"], colour=(0.012, 0.009, 0.008), shadow=False, ao=1.0
        )


def lashes(who: Identity) -> Lashes:
    """The lashes of an identity."""
    rng = np.random.default_rng([who.seed, 4])
    longer = 0.85 + 0.3 * who.female + 0.25 * who.numbers["liner"]
    shape = topology()
    rows = []
    for eye, hole in enumerate((shape.right_eye, shape.left_eye)):
        corner = int(hole.upper.sum()) - 1
        for up, count, reach in ((1, 44, 0.42),):
            t = 0.16 + 0.78 * (np.arange(count) + rng.uniform(0.2, 0.8, count)) / count
            at = t * corner if up > 0 else len(hole.edge) - t * (len(hole.edge) - corner)
            k = at.astype(int)
            n = len(hole.edge)
            rows.append((hole.edge[k % n], hole.edge[(k + 1) % n], at - k, np.full(count, eye), np.full(count,
                float(up)),
                         (t - 0.5) * 0.9, reach * longer * rng.uniform(0.75, 1.1, count), rng.uniform(0.8, 1.1,
                             count)))  # fmt: skip
    return Lashes(*(np.concatenate(column) for column in zip(*rows, strict=True)))
