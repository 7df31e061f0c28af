"""LPIPS: how different two pictures look (Zhang et al. 2018), as a loss and as a measure.

Features of an AlexNet trained on ImageNet, normalised over channels; their squared differences weighted by learnt heads
(version 0.1). Both files come through the model store: the heads are small, the backbone is a download of 244 MB.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from realtalk_core.errors import UserError
from realtalk_core.models import find_model, model_path

BACKBONE = "alexnet-owt-7be5be79.pth"
HEADS = "lpips_alex_v0.1_heads.pth"
CONVOLUTIONS = {"0": (3, 64, 11, 4, 2), "3": (64, 192, 5, 1, 2), "6": (192, 384, 3, 1, 1), "8": (384, 256, 3, 1, 1),
                "10": (256, 256, 3, 1, 1)}  # fmt: skip
"""Inputs, outputs, kernel, stride and padding of the backbone's layers, under torchvision's names."""
POOLED = ("3", "6")
"""Layers whose input is pooled first."""
LEAST_SIDE = 32
"""Smaller pictures are padded to this side; the pools leave nothing of them."""
MEAN = (0.485, 0.456, 0.406)
SPREAD = (0.229, 0.224, 0.225)


class Lpips(nn.Module):
    """The distance with the AlexNet backbone; weights are constants.

    Args:
        backbone: `{layer}.weight` and `.bias` for each layer of `CONVOLUTIONS`.
        heads: One non-negative weight per channel of each layer.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, backbone: dict[str, Tensor], heads: list[Tensor]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleDict({n: nn.Conv2d(i, o, k, s, p) for n, (i, o, k, s, p) in CONVOLUTIONS.items()})
        self.convolutions.load_state_dict(backbone)
        self.heads = nn.ParameterList([nn.Parameter(head) for head in heads])
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("spread", torch.tensor(SPREAD).view(1, 3, 1, 1))
        self.requires_grad_(False)

    @classmethod
    def open(cls, backbone: Path, heads: Path) -> Self:
        """Reads a torchvision AlexNet and heads.

        Raises:
            UserError: if a file cannot be read or is of another network; names it and what is wrong.
        """
        found, names = _tensors(backbone), [f"{n}.{kind}" for n in CONVOLUTIONS for kind in ("weight", "bias")]
        weights = {name: found.get(f"features.{name}") for name in names}
        shapes = {n: (o, i, k, k) for n, (i, o, k, _, _) in CONVOLUTIONS.items()}
        for name, value in weights.items():
            layer, kind = name.split(".")
            _expect(backbone, f"features.{name}", value, shapes[layer] if kind == "weight" else shapes[layer][:1])
        read = _tensors(heads)
        rows = [read.get(f"lin{k}.model.1.weight") for k in range(len(CONVOLUTIONS))]
        for k, (value, layer) in enumerate(zip(rows, CONVOLUTIONS, strict=True)):
            _expect(heads, f"lin{k}.model.1.weight", value, (1, shapes[layer][0], 1, 1))
        return cls(
            {n: v.float() for n, v in weights.items() if v is not None},
            [v.float().flatten() for v in rows if v is not None],
        )

    @classmethod
    def installed(cls) -> Self | None:
        """The distance if both files are on this machine, else None; never downloads.

        Raises:
            UserError: if a file is there but damaged.
        """
        backbone, heads = find_model(BACKBONE), find_model(HEADS)
        return None if backbone is None or heads is None else cls.open(backbone, heads)

    @classmethod
    def fetched(cls) -> Self:
        """The distance; downloads what is missing.

        Raises:
            UserError: as `realtalk_core.models.model_path`.
        """
        return cls.open(model_path(BACKBONE), model_path(HEADS))

    def features(self, picture: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B C h w"]]:
        """Features after each layer, of unit length over channels, of pictures in [0, 1]."""
        down, right = (max(0, LEAST_SIDE - side) for side in picture.shape[-2:])
        x, out = F.pad((picture - self.mean) / self.spread, (0, right, 0, down)), []
        for name, layer in self.convolutions.items():
            if name in POOLED:
                x = F.max_pool2d(x, 3, 2)
            x = torch.relu(layer(x))
            out.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return out

    def forward(self, image: Float[Tensor, "B 3 H W"], truth: Float[Tensor, "B 3 H W"]) -> Float[Tensor, ""]:
        """Mean distance of pictures in [0, 1], 0 for the same; differentiable in `image` alone."""
        with torch.no_grad():
            wanted = self.features(truth)
        total = image.new_zeros(())
        for a, b, head in zip(self.features(image), wanted, self.heads, strict=True):
            total = total + ((a - b).square() * head.view(1, -1, 1, 1)).sum(1).mean()
        return total


def _tensors(file: Path) -> dict[str, Any]:
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        # Most of the backbone's file are layers that are not needed; mapped, they are never read.
        found = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as error:
        raise UserError(f"{file} cannot be read as weights: {error}", "Replace it with the original file.") from error
    if not isinstance(found, dict):
        raise UserError(f"{file} holds no named weights", "Replace it with the original file.")
    return found


def _expect(file: Path, name: str, value: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(value, Tensor) or tuple(value.shape) != shape:
        have = f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else "missing"
        raise UserError(f"{file}: {name} is {have}; LPIPS needs {shape}", "Replace it with the original file.")
