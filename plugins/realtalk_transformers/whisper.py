"""Whisper's encoder (Radford et al. 2022): log-mel spectrum of 30 s, two convolutions, a transformer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from realtalk_core import hub
from realtalk_core.errors import UserError
from realtalk_core.hearing.encoder import Blocks
from realtalk_transformers import WHISPER
from realtalk_transformers.encoder import HubEncoder, weight_names

if TYPE_CHECKING:
    from realtalk_transformers import WhisperConfig

RANGE = 8.0
"""Decades of power below the loudest, beneath which Whisper hears nothing."""
SPEECH = 0.0
"""The loudest of a block counts at least this, soft speech's, so that silence is no louder for being alone."""
QUIETEST = 1e-10


class WhisperEncoder(HubEncoder):
    """The `whisper` audio encoder.

    The second convolution takes every second frame of the spectrum, so row j lies where frame 2 j does. Frames here
    begin with the sound instead of being centred on its first sample: frame 0, and with it row 0, lies in the middle of
    the first `kernel` samples.
    """

    def __init__(self, config: WhisperConfig) -> None:
        import transformers
        from transformers.models.whisper.modeling_whisper import WhisperEncoder as Theirs

        super().__init__(config, WHISPER)
        self.config: WhisperConfig = config
        extractor, own = self._prepare(transformers.WhisperFeatureExtractor, transformers.WhisperConfig)
        self.sample_rate, self._frame, self.kernel = extractor.sampling_rate, extractor.hop_length, extractor.n_fft
        self.hop = 2 * self._frame
        self._filters = torch.from_numpy(extractor.mel_filters).float().T.contiguous()
        self._hann = torch.hann_window(self.kernel)
        self._longest = int(own.max_source_positions)
        self._check_blocks()
        layers = int(own.encoder_layers)
        own.encoder_layers = depth = self._depth(layers)
        # Published models keep the encoder beside a decoder, which is left unread: this is where it lies in theirs.
        inside = any(name.startswith("model.encoder.") for name in weight_names(self._folder))
        kind = type("Encoder", (Theirs,), {"base_model_prefix": "model.encoder" if inside else "encoder"})
        self._load(kind, own)
        if depth < layers:
            self._model.layer_norm = nn.Identity()  # belongs to the last hidden state alone
        self._positions = self._model.embed_positions.weight

    @torch.no_grad()
    def rows(self, samples: Float32[Tensor, "N"]) -> Float[Tensor, "R D"]:
        """See `RowEncoder`."""
        count = 1 + (samples.numel() - self.kernel) // self.hop
        places = self._longest if self.config.padded else count
        spectrum = self._spectrum(samples, 2 * places).to(self._device, self._dtype)
        self._model.config.max_source_positions = places
        positions = self._positions[:places].to(self._device)
        self._model.embed_positions = nn.Embedding(places, positions.shape[1], _weight=positions, _freeze=True)
        return self._checked(self._model(spectrum[None]).last_hidden_state[0, :count])

    def _spectrum(self, samples: Tensor, frames: int) -> Float[Tensor, "M F"]:
        """Log-mel spectrum, filled up with silence to a number of frames."""
        windows = torch.stft(samples, self.kernel, self._frame, window=self._hann, center=False, return_complex=True)
        power = self._filters @ windows.abs().square()
        log = torch.log10(power.clamp_min(QUIETEST))
        floor = max(float(log.max()), SPEECH) - RANGE
        log = nn.functional.pad(log.clamp_min(floor), (0, frames - log.shape[1]), value=floor)
        return (log + 4) / 4

    def _check_blocks(self) -> None:
        blocks = Blocks(self)
        heard = blocks.past + blocks.size + blocks.future
        if heard > self._longest:
            raise UserError(
                f"audio.block_seconds: a block with what is heard around it has {heard} rows, the model's longest input"
                f" {self._longest}",
                "Make block_seconds, margin_seconds or past_seconds shorter.",
            )

    @classmethod
    def tiny_weights(cls, config: WhisperConfig, folder: Path) -> WhisperConfig:
        """Writes a model of a few thousand random weights, and gives the configuration that reads it."""
        import transformers

        sides = {
            f"{side}_{what}": number
            for side in ("encoder", "decoder")
            for what, number in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 64))
        }
        own = transformers.WhisperConfig(
            d_model=32, vocab_size=16, num_mel_bins=16, max_source_positions=256, max_target_positions=8,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=3, **sides,
        )  # fmt: skip
        with hub.reading(folder):
            torch.manual_seed(0)
            transformers.WhisperForConditionalGeneration(own).save_pretrained(folder)
            transformers.WhisperFeatureExtractor(feature_size=16).save_pretrained(folder)
        return config.model_copy(update={"folder": folder})
