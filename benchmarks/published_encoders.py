"""Audio encoders at their published sizes with random weights, written as the real ones are and loaded the real way.

Weights change neither speed nor memory, so these stand in for the published ones where only cost is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from realtalk_core import checkpoint, hub
from realtalk_core.build import build, load_class
from realtalk_core.cli.common import configuration, installed
from realtalk_core.spec import ComponentConfig, ComponentSpec
from realtalk_core.testing.tiny import tiny_config_of

LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
         "feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True}  # fmt: skip
"""What large HuBERT and wav2vec 2.0 have otherwise than the base ones, which are transformers' defaults."""
WHISPER = {"tiny": (384, 4, 6), "base": (512, 6, 8), "small": (768, 12, 12)}
"""Width, layers of encoder and decoder, heads (Radford et al. 2022, table 1)."""


def _waveform(family: str, **sizes: Any) -> Callable[[Path], list[str]]:
    def save(folder: Path) -> list[str]:
        import transformers

        with hub.reading(folder):
            model = getattr(transformers, f"{family}Model")(getattr(transformers, f"{family}Config")(**sizes))
            model.save_pretrained(folder)
            transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
        return [f"audio={family.lower()}", f"audio.folder={folder}"]

    return save


def _whisper(size: str) -> Callable[[Path], list[str]]:
    def save(folder: Path) -> list[str]:
        import transformers

        width, layers, heads = WHISPER[size]
        both = {
            f"{side}_{what}": n
            for side in ("encoder", "decoder")
            for what, n in (("layers", layers), ("attention_heads", heads), ("ffn_dim", 4 * width))
        }
        with hub.reading(folder):
            config = transformers.WhisperConfig(d_model=width, **both)
            transformers.WhisperForConditionalGeneration(config).save_pretrained(folder)
            transformers.WhisperFeatureExtractor().save_pretrained(folder)
        return ["audio=whisper", f"audio.folder={folder}"]

    return save


def _deepspeech(folder: Path) -> list[str]:
    from realtalk_deepspeech.encoder import FILE, save_random

    folder.mkdir(exist_ok=True)
    save_random(folder / FILE, hidden=2048)
    return ["audio=deepspeech", f"audio.weights={folder / FILE}"]


def _ave(folder: Path) -> list[str]:
    from realtalk_ave import AveConfig
    from realtalk_ave.encoder import AveEncoder
    from realtalk_ave.networks import Listener

    file = folder / "audio.safetensors"
    torch.manual_seed(0)
    state = AveEncoder(AveConfig(), Listener(32, 512)).state()
    checkpoint.save(file, checkpoint.Header("audio", "ave", plugin="ave"), state)
    return ["audio=ave", f"audio.weights={file}"]


MAKERS: dict[str, Callable[[Path], list[str]]] = {
    "mel": lambda folder: ["audio=mel"],
    "deepspeech": _deepspeech,
    "ave": _ave,
    "hubert-base": _waveform("Hubert"),
    "hubert-large": _waveform("Hubert", **LARGE),
    "wav2vec2-base": _waveform("Wav2Vec2"),
    "wav2vec2-large": _waveform("Wav2Vec2", **LARGE),
    **{f"whisper-{size}": _whisper(size) for size in WHISPER},
}
"""What writes a model into a folder and gives the words of `--set` that choose it."""


def tiny_hubert(folder: Path) -> list[str]:
    """A HuBERT with hardly any weights, for measuring what the machinery around a network costs."""
    folder.mkdir()
    tiny_config_of(installed().find("audio", "hubert"), folder)
    return ["audio=hubert", f"audio.folder={folder}"]


def chosen(sets: list[str]) -> tuple[ComponentSpec, ComponentConfig]:
    """The encoder that words of `--set` choose, as every command finds it."""
    stage = configuration(None, None, sets).stages["audio"]
    return stage.spec, stage.config


def built(spec: ComponentSpec, config: Any) -> Any:
    """That encoder; one whose weights belong to an avatar takes them from the file its parameter `weights` names."""
    learns = hasattr(load_class(spec), "from_state")
    return build(spec, config, tensors=checkpoint.load(config.weights)[1] if learns else None)
