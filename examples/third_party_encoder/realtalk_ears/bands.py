"""Loudness in bands: a stretch of sound in, a row every 10 ms out."""

import torch

from realtalk_core.hearing import RowEncoder


class Bands(RowEncoder):
    """Loudness of bands in windows of 25 ms: -1 for silence, about 1 for the loudest."""

    hop, kernel = 160, 400
    window = 4
    block_seconds, margin_seconds = 0.2, 0.0

    def __init__(self, config):
        edges = 80 * (7600 / 80) ** (torch.arange(config.bands + 1) / config.bands)
        line = torch.fft.rfftfreq(2048, 1 / self.sample_rate)[:, None]
        self.share = ((line >= edges[:-1]) & (line < edges[1:])).float()

    def rows(self, samples):
        """One row per hop."""
        frames = samples.unfold(0, self.kernel, self.hop) * torch.hann_window(self.kernel)
        power = torch.fft.rfft(frames, 2048).abs().square() @ self.share
        return 0.2 * torch.log10(power + 1e-5)
