"""What a file of this renderer holds, and a head made of it; said in one sentence where it does not fit."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from realtalk_core.expression import ExpressionBasis
from realtalk_core.nn.weights import check_head_tensors
from realtalk_gaussian.cloud import Cloud
from realtalk_gaussian.condition import AudioScale
from realtalk_gaussian.config import GaussianConfig
from realtalk_gaussian.head import LAYERS, Head
from realtalk_gaussian.rigid import PARTS

ATTRIBUTES = ("means", "scales", "rotations", "opacities", "colours", "normals")
NEEDED = (
    "box", "template", "mouth.follow",
    *(f"basis.{name}" for name in ("neutral", "mean", "components", "readout", "scale")),
    *(f"{layer}.{name}" for layer in LAYERS for name in ATTRIBUTES),
)  # fmt: skip


def tensors_of(head: Head) -> dict[str, Tensor]:
    """Everything `head_of` needs. Centres stay in single precision; a half at 10 cm would be a tenth of a pixel off."""
    tensors = {
        name: value if name.endswith(("means", "bias")) or name.startswith("code.") else value.half()
        for name, value in head.state_dict().items()
    }
    tensors |= head.basis.tensors() | {"template": head.template, "box": head.box}
    if head.audio is not None:
        tensors |= {"audio.mean": head.audio.mean, "audio.scale": head.audio.scale}
    return tensors


def head_of(config: GaussianConfig, tensors: Mapping[str, Tensor]) -> Head:
    """The head of a checkpoint.

    Raises:
        ValueError: naming a tensor that is missing, of another size, or holds NaN, or that is left over.
    """
    check_tensors(tensors)
    clouds = []
    for layer in LAYERS:
        coefficients = tensors[f"{layer}.colours"].shape[1]
        clouds.append(
            Cloud(len(tensors[f"{layer}.means"]), round(coefficients**0.5) - 1, len(PARTS) * (layer == "mouth"))
        )
    audio = (
        AudioScale(tensors["audio.mean"].float(), tensors["audio.scale"].float()) if "audio.mean" in tensors else None
    )
    head = Head(
        config, ExpressionBasis.from_tensors(tensors), tensors["template"], tensors["box"], clouds[0], clouds[1], audio
    )
    _fit(head, tensors)
    return head


def _fit(head: Head, tensors: Mapping[str, Tensor]) -> None:
    """Loads what belongs to the head."""
    own = head.state_dict()
    given = {name: value for name, value in tensors.items() if _of_head(name)}
    for what, names in (("lacks", own.keys() - given.keys()), ("has no use for", given.keys() - own.keys())):
        if names:
            raise ValueError(f"it {what} the tensor{'s' if len(names) > 1 else ''} {', '.join(sorted(names))}")
    for name, value in given.items():
        if value.shape != own[name].shape:
            found, wanted = list(value.shape), list(own[name].shape)
            raise ValueError(f"its tensor {name} is {found}, and by the configuration it would be {wanted}")
    head.load_state_dict({name: value.float() for name, value in given.items()})


def _of_head(name: str) -> bool:
    return not name.startswith(("basis.", "audio.", "torso.")) and name not in ("template", "box")


def check_tensors(tensors: Mapping[str, Tensor]) -> None:
    """Refuses tensors that no head can be made of; sizes that differ from the configuration's are found on loading.

    Raises:
        ValueError: naming the tensor and what is wrong with it.
    """
    check_head_tensors(tensors, NEEDED)
    if tensors["box"].shape != (4,) or float(tensors["box"][3]) <= 0:
        raise ValueError("its tensor box must hold a corner and a side above 0")
    for layer in LAYERS:
        count = len(tensors[f"{layer}.means"])
        inner = {"means": (3,), "scales": (3,), "rotations": (4,), "opacities": (), "normals": (3,)}
        inner |= {"follow": (len(PARTS),)} if layer == "mouth" else {}
        for name, shape in inner.items():
            found = tuple(tensors[f"{layer}.{name}"].shape)
            if found != (count, *shape):
                raise ValueError(f"its tensor {layer}.{name} must be {[count, *shape]}, and is {list(found)}")
        found = tuple(tensors[f"{layer}.colours"].shape)
        if len(found) != 3 or found[0] != count or found[1] not in (1, 4, 9, 16) or found[2] != 3:
            raise ValueError(f"its tensor {layer}.colours must be [{count}, 1 | 4 | 9 | 16, 3], and is {list(found)}")
