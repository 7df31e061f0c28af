"""MediaPipe's canonical face: where each of the 478 points lies on an average head, in centimetres."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from realtalk_core.errors import UserError
from realtalk_core.landmarks import LEFT_EYE, RIGHT_EYE
from realtalk_core.models import model_path

MODEL = "canonical_face_model.obj"
IRIS_RADIUS_CM = 0.59
"""Half the visible iris: 11.8 mm across in nearly every adult."""

RIGID478: tuple[int, ...] = (
    # forehead and temples
    10, 338, 297, 332, 284, 251, 389, 109, 67, 103, 54, 21, 162, 151, 108, 69, 104, 68, 71, 139, 337, 299, 333, 298,
    301, 368, 9, 34, 264, 127, 356, 143, 372, 156, 383,
    # bridge, ridge, tip and sides of the nose
    8, 168, 6, 197, 195, 5, 4, 1, 19, 94, 193, 417, 122, 351, 196, 419, 3, 248, 51, 281, 45, 275, 174, 399, 188, 412,
    236, 456, 198, 420, 131, 360, 217, 437, 44, 274, 2,
    # corners of the eyes and the orbit's rim beside them
    33, 133, 362, 263, 130, 359, 243, 463, 226, 446, 35, 265, 245, 465,
    # cheekbones
    116, 345, 123, 352, 111, 340, 117, 346, 234, 454, 93, 323, 227, 447, 137, 366,
)  # fmt: skip
"""Points that follow the skull rather than the expression; what little they move is left to robust weights."""

RIGID68: tuple[int, ...] = (0, 1, 15, 16, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 39, 42, 45)
"""The same for 68 points: temples, nose, corners of the eyes."""


@cache
def canonical_face() -> NDArray[np.float64]:
    """The canonical face, `478 3` in head space (cm).

    The mesh file has 468 points; the ten iris points are put in the middle of each eye's outline.

    Raises:
        UserError: if the file can be found nowhere, or is no such mesh.
    """
    return parse_canonical(model_path(MODEL))


def parse_canonical(file: Path) -> NDArray[np.float64]:
    """Reads the vertices of the mesh file and adds the irises.

    Raises:
        UserError: if the file does not hold 468 vertices.
    """
    rows = [line.split()[1:4] for line in file.read_text("ascii").splitlines() if line.startswith("v ")]
    if len(rows) != 468:
        raise UserError(f"{file} holds {len(rows)} vertices, not the canonical face's 468", "Download it again.")
    mesh = np.array(rows, np.float64)
    ring = IRIS_RADIUS_CM * np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (-1, 0, 0), (0, -1, 0)], np.float64)
    right = mesh[list(RIGHT_EYE)].mean(0) + ring
    left = mesh[list(LEFT_EYE)].mean(0) + ring
    return np.concatenate([mesh, right, left])
