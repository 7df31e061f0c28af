"""A VITS model of a few thousand random weights, saved as transformers saves one."""

import json
from pathlib import Path

LETTERS = "k' abcdefghijlmnopqrstuvwxyz"


def save(folder, signs=LETTERS, *, stochastic=False, speakers=1, language="eng", seed=0, **tokenizer):
    """Writes config.json, model.safetensors, vocab.json and tokenizer_config.json; the blank is the first sign."""
    import torch
    from transformers import VitsConfig, VitsModel, VitsTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = Path(folder)
    folder.mkdir(parents=True)
    vocabulary = {sign: k for k, sign in enumerate([*signs, "<unk>"])}
    file = folder / "words.json"
    file.write_text(json.dumps(vocabulary), "utf-8")
    options = {"phonemize": False, "pad_token": signs[0], "unk_token": "<unk>", "language": language}
    VitsTokenizer(str(file), **(options | tokenizer)).save_pretrained(folder)
    file.unlink()
    config = VitsConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=16,
        flow_size=16, spectrogram_bins=9, upsample_initial_channel=16, upsample_rates=[4, 4],
        upsample_kernel_sizes=[8, 8],
        resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1]], prior_encoder_num_flows=2,
        prior_encoder_num_wavenet_layers=1, posterior_encoder_num_wavenet_layers=1, duration_predictor_num_flows=2,
        depth_separable_num_layers=1, wavenet_kernel_size=3, duration_predictor_filter_channels=16,
        use_stochastic_duration_prediction=stochastic, num_speakers=speakers,
        speaker_embedding_size=4 if speakers > 1 else 0, sampling_rate=1600, layerdrop=0.0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        VitsModel(config).save_pretrained(folder)
    return folder
