"""HuBERT (Hsu et al. 2021) and wav2vec 2.0 (Baevski et al. 2020): convolutions over the waveform and a transformer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from realtalk_core import hub
from realtalk_transformers import HUBERT, WAV2VEC2
from realtalk_transformers.encoder import HubEncoder

if TYPE_CHECKING:
    from realtalk_transformers import HubConfig, HubertConfig, Wav2Vec2Config

Config = TypeVar("Config", bound="HubConfig")
QUIETEST = 1e-3
"""Sound whose root mean square is well below this, -60 dBFS, is not lifted to the level of speech."""


class WaveformEncoder(HubEncoder):
    """A stack of convolutions without padding, whose rows lie in the middle of what they span, and a transformer.

    A model that wants its input at zero mean and unit variance (`do_normalize`) gets each block so, with what is heard
    around it; without the floor, silence would be lifted to the level of speech.
    """

    def __init__(self, config: HubConfig, wanted: hub.Wanted, kind: type[Any], settings: type[Any]) -> None:
        from transformers import Wav2Vec2FeatureExtractor

        super().__init__(config, wanted)
        extractor, own = self._prepare(Wav2Vec2FeatureExtractor, settings)
        self.sample_rate, self._normal = int(extractor.sampling_rate), bool(extractor.do_normalize)
        self.hop, self.kernel = span(own.conv_kernel, own.conv_stride)
        layers = int(own.num_hidden_layers)
        own.num_hidden_layers = depth = self._depth(layers)
        own.add_adapter = False  # it would thin out the rows
        # Learning alone uses what replaces masked rows; some published models lack it.
        self._load(kind, own, optional=("masked_spec_embed",))
        if depth < layers and own.do_stable_layer_norm:
            self._model.encoder.layer_norm = torch.nn.Identity()  # belongs to the last hidden state alone

    @torch.no_grad()
    def rows(self, samples: Float32[Tensor, "N"]) -> Float[Tensor, "R D"]:
        """See `RowEncoder`."""
        if self._normal:
            samples = (samples - samples.mean()) / torch.sqrt(samples.var(correction=0) + QUIETEST**2)
        heard = samples.to(self._device, self._dtype)[None]
        return self._checked(self._model(heard).last_hidden_state[0])


class HubertEncoder(WaveformEncoder):
    """The `hubert` audio encoder."""

    def __init__(self, config: HubertConfig) -> None:
        import transformers

        super().__init__(config, HUBERT, transformers.HubertModel, transformers.HubertConfig)

    @classmethod
    def tiny_weights(cls, config: HubertConfig, folder: Path) -> HubertConfig:
        """Writes a model of a few thousand random weights, and gives the configuration that reads it."""
        import transformers

        return _tiny(config, folder, transformers.HubertModel, transformers.HubertConfig)


class Wav2Vec2Encoder(WaveformEncoder):
    """The `wav2vec2` audio encoder."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        import transformers

        super().__init__(config, WAV2VEC2, transformers.Wav2Vec2Model, transformers.Wav2Vec2Config)

    @classmethod
    def tiny_weights(cls, config: Wav2Vec2Config, folder: Path) -> Wav2Vec2Config:
        """Writes a model of a few thousand random weights, and gives the configuration that reads it."""
        import transformers

        return _tiny(config, folder, transformers.Wav2Vec2Model, transformers.Wav2Vec2Config)


def span(kernels: list[int], strides: list[int]) -> tuple[int, int]:
    """How far apart the rows of a stack of convolutions are, and how many samples each spans.

    >>> span([10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2])
    (320, 400)
    """
    hop, kernel = 1, 1
    for size, stride in zip(kernels, strides, strict=True):
        kernel += (size - 1) * hop
        hop *= stride
    return hop, kernel


def _tiny(config: Config, folder: Path, kind: type[Any], settings: type[Any]) -> Config:
    """Random positional convolutions would be louder than what they are added to, unlike learnt ones: these span 1."""
    from transformers import Wav2Vec2FeatureExtractor

    own = settings(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, conv_dim=(64,) * 7,
        num_conv_pos_embeddings=1, num_conv_pos_embedding_groups=4, feat_extract_norm="layer", conv_bias=True,
        do_stable_layer_norm=True,
    )  # fmt: skip
    with hub.reading(folder):
        torch.manual_seed(0)
        kind(own).save_pretrained(folder)
        Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(folder)
    return config.model_copy(update={"folder": folder})
