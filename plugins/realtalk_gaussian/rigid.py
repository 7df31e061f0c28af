"""The rigid parts of a head that show behind lips and lids: what is not skin does not stretch with the landmarks.

Upper teeth are part of the skull and do not move in head space. Lower teeth and tongue go with the chin, eyeballs turn
about their centres with the irises.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from realtalk_core.landmarks import LEFT_IRIS, RIGHT_IRIS

PARTS = ("jaw", "right_eye", "left_eye")
"""Columns of `Cloud.follow`; what no part claims stays with the skull."""
CHIN478, CHIN68 = (152, 148, 377, 176, 400), (6, 7, 8, 9, 10)
TEETH_SHARE = 0.9
"""How far the lower teeth go when the chin goes 1: they are nearer to the hinge."""
EYE_RADIUS = 1.15
"""Of an eyeball from its centre to the iris, cm."""


def eye_centres(template: Float[Tensor, "K 3"]) -> Float[Tensor, "2 3"]:
    """Centres of the right and the left eyeball, behind the irises (or between the lids where there are no irises)."""
    if len(template) == 478:
        irises = torch.stack([template[list(iris)].mean(0) for iris in (RIGHT_IRIS, LEFT_IRIS)])
    else:
        irises = torch.stack([template[36:42].mean(0), template[42:48].mean(0)])
    return (irises - irises.new_tensor([0.0, 0.0, EYE_RADIUS])).float()


def motions(landmarks: Float[Tensor, "K 3"], template: Float[Tensor, "K 3"]) -> Float[Tensor, "3 3 4"]:
    """How each of `PARTS` moves from the template to this face: rotation minus identity, and displacement.

    A place x goes to x + Σ follow · (motion[:, :3] @ x + motion[:, 3]).
    """
    moved = (landmarks - template).float()
    out = torch.zeros(len(PARTS), 3, 4)
    dense = len(template) == 478
    out[0, :, 3] = TEETH_SHARE * moved[list(CHIN478 if dense else CHIN68)].mean(0)
    if dense:  # 68 landmarks hold no irises: the branch learns gaze from blendshapes
        for part, (iris, centre) in enumerate(zip((RIGHT_IRIS, LEFT_IRIS), eye_centres(template), strict=True), 1):
            across, up = (moved[list(iris)].mean(0)[:2] / EYE_RADIUS).clamp(-0.8, 0.8)
            turned = _turn(across, up) - torch.eye(3)
            out[part, :, :3], out[part, :, 3] = turned, -turned @ centre
    return out


def _turn(across: Tensor, up: Tensor) -> Float[Tensor, "3 3"]:
    """The rotation that takes (0, 0, 1) by these angles along x and y."""
    (ca, sa), (cu, su) = (across.cos(), across.sin()), (up.cos(), up.sin())
    zero, one = torch.zeros(()), torch.ones(())
    about_y = torch.stack((ca, zero, sa, zero, one, zero, -sa, zero, ca)).reshape(3, 3)
    about_x = torch.stack((one, zero, zero, zero, cu, su, zero, -su, cu)).reshape(3, 3)
    return about_y @ about_x


def moved_rigidly(
    points: Float[Tensor, "N 3"], follow: Float[Tensor, "N 3"], motion: Float[Tensor, "3 3 4"]
) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 3 3"]]:
    """Displacement and Jacobian of points that follow the parts."""
    blended = torch.einsum("np,pij->nij", follow, motion)
    turned = blended[..., :3]
    moved = (turned @ points[..., None])[..., 0] + blended[..., 3]
    return moved, torch.eye(3, device=points.device) + turned
