"""The generator's networks: gated convolution stacks, the flow prior, encoder and decoder (reference notes §1.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, pad
from torch.nn.utils.parametrizations import weight_norm

if TYPE_CHECKING:
    from realtalk_vae import VaeConfig

STRIDE = 4
"""Frames per latent step."""


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each time step, so that no step depends on how long the sound is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalises `B C T`."""
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


class WaveNet(nn.Module):
    """Non-causal gated convolutions (tanh · sigmoid) with residual and skip paths, conditioned on a signal.

    Args:
        channels: Of input and output.
        kernel: Odd width of each convolution; dilation is 1.
        layers: How many.
        condition: Channels of the condition.
        rate: Dropout between layers.
    """

    def __init__(self, channels: int, kernel: int, layers: int, condition: int, rate: float) -> None:
        super().__init__()
        self.channels, self.rate = channels, rate
        self.gates = nn.ModuleList(
            weight_norm(nn.Conv1d(channels, 2 * channels, kernel, padding=kernel // 2)) for _ in range(layers)
        )
        self.conditions = weight_norm(nn.Conv1d(condition, 2 * channels * layers, 1))
        self.mixes = nn.ModuleList(weight_norm(nn.Conv1d(channels, 2 * channels, 1)) for _ in range(layers))

    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        """`B C T` with condition `B G T` to `B C T`."""
        skips = torch.zeros_like(x)
        for gate, mix, condition in zip(
            self.gates, self.mixes, self.conditions(g).chunk(len(self.gates), 1), strict=True
        ):
            a, b = (gate(dropout(x, self.rate, self.training)) + condition).chunk(2, 1)
            step, skip = mix(torch.tanh(a) * torch.sigmoid(b)).chunk(2, 1)
            x, skips = x + step, skips + skip
        return skips


class Coupling(nn.Module):
    """Mean-only residual coupling: shifts one half of the channels by a function of the other; volume preserving."""

    def __init__(self, latent: int, hidden: int, condition: int) -> None:
        super().__init__()
        self.kept = latent // 2
        self.enter = nn.Conv1d(max(1, self.kept), hidden, 1)
        self.net = WaveNet(hidden, 3, 4, condition, 0.0)
        self.leave = nn.Conv1d(hidden, latent - self.kept, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, z: Tensor, g: Tensor, sign: float) -> Tensor:
        """Adds (`sign` 1) or takes away (-1) the shift."""
        kept, moved = z[:, : self.kept], z[:, self.kept :]
        seen = kept if self.kept else torch.zeros_like(z[:, :1])
        return torch.cat([kept, moved + sign * self.leave(self.net(self.enter(seen), g))], 1)


class FlowPrior(nn.Module):
    """Couplings alternating with channel flips: `forward` maps latents to a standard normal, `inverse` back."""

    def __init__(self, latent: int, hidden: int, layers: int, condition: int) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(Coupling(latent, hidden, condition) for _ in range(layers))

    def forward(self, z: Tensor, g: Tensor) -> Tensor:
        """Latents `B L S` to normal noise."""
        for coupling in self.couplings:
            z = coupling(z, g, 1.0).flip(1)
        return z

    def inverse(self, noise: Tensor, g: Tensor) -> Tensor:
        """Normal noise `B L S` to latents."""
        for coupling in reversed(self.couplings):
            noise = coupling(noise.flip(1), g, -1.0)
        return noise


class FlowVae(nn.Module):
    """Sound and motion to latents and back; time is cut by four in the latents.

    Args:
        config: Sizes.
        features: Numbers per frame of sound.
        outputs: Coefficients per frame of motion.
    """

    def __init__(self, config: VaeConfig, features: int, outputs: int) -> None:
        super().__init__()
        hidden, latent, sound, rate = config.hidden, config.latent, config.condition, config.dropout
        self.rate = rate
        self.hear = nn.Conv1d(features, sound, 3, padding=1, bias=False)
        self.hear_norm = ChannelNorm(sound)
        self.hear_more = nn.Conv1d(sound, sound, 3, padding=1)
        self.slow = nn.Conv1d(sound, sound, 2 * STRIDE, STRIDE, STRIDE // 2)
        self.enter = nn.Conv1d(outputs, hidden, 2 * STRIDE, STRIDE, STRIDE // 2)
        self.encoder = WaveNet(hidden, 5, config.encoder_layers, sound, rate)
        self.posterior = nn.Conv1d(hidden, 2 * latent, 1)
        self.prior = FlowPrior(latent, config.flow_hidden, config.flow_layers, sound)
        self.rise = nn.ConvTranspose1d(latent, hidden, STRIDE, STRIDE)
        self.decoder = WaveNet(hidden, 5, config.decoder_layers, sound, rate)
        self.leave = nn.Conv1d(hidden, outputs, 1)
        self.direct = nn.Conv1d(sound, outputs, 1)
        self.receptive = (
            2 + max(2 * config.decoder_layers, STRIDE * (1 + 4 * config.flow_layers) + STRIDE // 2) + STRIDE
        )

    def set_dropout(self, rate: float) -> None:
        """Another rate of dropout, throughout."""
        self.rate = self.encoder.rate = self.decoder.rate = rate

    def listen(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features `B D T` to the condition `B G T` and its slow version `B G T/4`."""
        g = gelu(self.hear_norm(self.hear(dropout(features, self.rate / 2, self.training))))
        g = self.hear_more(dropout(g, self.rate, self.training))
        return g, self.slow(g)

    def encode(self, motion: Tensor, slow: Tensor) -> tuple[Tensor, Tensor]:
        """Motion `B C T` to mean and log standard deviation of the posterior, each `B L T/4`."""
        hidden = self.encoder(self.enter(motion), slow)
        mean, log_std = self.posterior(hidden).chunk(2, 1)
        return mean, log_std.clamp(-6, 2)

    def decode(self, z: Tensor, g: Tensor) -> Tensor:
        """Latents `B L T/4` and condition `B G T` to motion `B C T`."""
        return self.leave(self.decoder(self.rise(z), g)) + self.direct(g)

    def sample(self, features: Tensor, noise: Tensor) -> Tensor:
        """Motion `B C T` of features `B D T` (T a multiple of four) and noise `B L T/4`."""
        g, slow = self.listen(features)
        return self.decode(self.prior.inverse(noise, slow), g)


def to_whole_steps(x: Tensor, front: int = 0) -> Tensor:
    """Repeats the ends of `B D T` so that it begins `front` frames earlier and is a multiple of four long."""
    return pad(x, (front, -(x.shape[2] + front) % STRIDE), mode="replicate")
