"""WavLM through transformers: published weights, loaded as data only."""

from transformers import WavLMConfig, WavLMModel

from realtalk_core import hub
from realtalk_core.hearing import RowEncoder

WANTED = hub.Wanted("WavLM model", "wavlm", "audio")


class WavLm(RowEncoder):
    """The last hidden state of WavLM: 50 rows a second, each of 400 samples and of what attention brings."""

    def __init__(self, config):
        hub.check(WANTED, config.folder)
        self.net = hub.loaded(WavLMModel, config.folder)
        self.weights_digest = hub.weights_digest(config.folder)

    def rows(self, samples):
        """One row per hop, of sound at one level; silence, which has none, stays silent."""
        level = samples.square().mean().sqrt()
        return self.net((samples / (level + 1e-3))[None]).last_hidden_state[0]

    @classmethod
    def tiny_weights(cls, config, folder):
        """A small model with random weights, for the conformance kit."""
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        norm = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
        WavLMModel(WavLMConfig(conv_dim=(32,) * 7, num_conv_pos_embeddings=16, **sizes, **norm)).save_pretrained(folder)
        return config.model_copy(update={"folder": folder})
