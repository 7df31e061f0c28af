"""HuBERT, wav2vec 2.0 and Whisper models of a few thousand random weights, saved as transformers saves them."""

from pathlib import Path

SIZES = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32,
    "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
LARGE = {"feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True}
"""How the large models differ from the base ones, beside their size."""


def waveform(folder, family="Hubert", head="Model", *, normalise=True, seed=0, shard="5GB", **options):
    """Writes config.json, preprocessor_config.json and weights; gives the model."""
    import torch
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    config = getattr(transformers, f"{family}Config")(**(SIZES | options))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, f"{family}{head}")(config).eval()
    model.save_pretrained(folder, max_shard_size=shard)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise).save_pretrained(folder)
    return model


def whisper(folder, head="ForConditionalGeneration", *, bands=80, positions=1500, seed=0):
    """Writes the same for Whisper."""
    import torch
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    config = transformers.WhisperConfig(
        d_model=32, encoder_layers=3, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, vocab_size=16, max_target_positions=8, num_mel_bins=bands,
        max_source_positions=positions, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=3,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, f"Whisper{head}")(config).eval()
    model.save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=bands).save_pretrained(folder)
    return model


def pickled(folder, *, shards=1, old_names=False):
    """Turns the weights of a folder into what it would have if it had been published as pickles."""
    import json

    import torch
    from safetensors.torch import load_file

    folder = Path(folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if old_names:
        names = {f"parametrizations.weight.original{k}": f"weight_{letter}" for k, letter in enumerate("gv")}
        for new, old in names.items():
            tensors = {name.replace(new, old): tensor for name, tensor in tensors.items()}
    if shards == 1:
        torch.save(tensors, folder / "pytorch_model.bin")
        return folder
    places = {name: f"pytorch_model-0000{1 + k % shards}-of-0000{shards}.bin" for k, name in enumerate(tensors)}
    for place in set(places.values()):
        torch.save({name: tensors[name] for name in tensors if places[name] == place}, folder / place)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}), "utf-8")
    return folder
