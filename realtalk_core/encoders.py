"""Which audio encoder each stage of an avatar has learnt from, and refusing every other one. Needs no torch.

A stage that listens takes an encoder's numbers for what they meant when it learnt: those of another encoder, of other
parameters or other weights would move a mouth too, only wrongly. So each records the encoder's name beside its weights.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from realtalk_core import checkpoint
from realtalk_core.config import Config, Selected
from realtalk_core.errors import UserError
from realtalk_core.plugins import Plugins
from realtalk_core.spec import PIPELINE_STAGES, ComponentConfig, Stage

ENCODER = "encoder"
"""Key of the record: in a stage's entry in `avatar.yaml`, and among its checkpoint's metrics."""
WEIGHTS = "weights"
"""Key among a checkpoint's metrics: digest that its encoder had before `realtalk_core.compact` halved its weights."""


def encoder_name(name: str, config: ComponentConfig, weights: str = "") -> str:
    """Names an audio encoder with its parameters and weights; features of equal names mean the same.

    Args:
        name: The component's name.
        config: Its parameters; those in its `PLACES` are no part of the name.
        weights: sha256 of its weights, hexadecimal; empty if it has none.

    >>> encoder_name("mel", ComponentConfig())
    'mel:44136fa3'
    >>> encoder_name("mel", ComponentConfig(), "0123456789abcdef")
    'mel:44136fa3:01234567'
    """
    return _name(name, config.model_dump(mode="json"), config.PLACES) + (f":{weights[:8]}" if weights else "")


def _name(name: str, params: Mapping[str, Any], places: Collection[str]) -> str:
    text = json.dumps({key: value for key, value in params.items() if key not in places}, sort_keys=True)
    return f"{name}:{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def without_weights(name: str) -> str:
    """The name of an encoder before its weights are known."""
    return ":".join(name.split(":")[:2])


def listens(stage: Stage, chosen: Selected) -> bool:
    """Whether a stage depends on which encoder it is: every landmark generator, and what needs the token `audio`."""
    return stage == "landmarks" or (stage != "audio" and "audio" in chosen.spec.tokens_needed(chosen.config))


def learnt_from(folder: Path, meta: Mapping[str, Any], config: Config) -> dict[Stage, str]:
    """The encoder that each listening stage of an avatar has learnt from, by name.

    A checkpoint's own record counts before the one in `avatar.yaml`, which is written when training ends. Where there
    is none (an avatar from before there were records) it is the encoder that `avatar.yaml` names.

    Args:
        folder: The avatar.
        meta: What its `avatar.yaml` says.
        config: What it shall be used with: stages whose component is not the one that was trained are left out.
    """
    written, now = _written(meta, config.plugins), own_encoder(meta, config.plugins)
    found: dict[Stage, str] = {}
    for stage in PIPELINE_STAGES:
        file, chosen = folder / f"{stage}.safetensors", config.stages.get(stage)
        if chosen is None or not listens(stage, chosen) or not file.is_file():
            continue
        try:
            header = checkpoint.read_header(file)
        except UserError:  # said by whoever needs it
            continue
        if (header.stage, header.component) != (stage, chosen.spec.name):
            continue
        entry = meta["stages"].get(stage) or {}  # not there while its first training runs
        name = str(header.metrics.get(ENCODER) or entry.get(ENCODER) or written)
        found[stage] = now + name.removeprefix(written) if name.startswith(written) else name
    return found


def own_encoder(meta: Mapping[str, Any], plugins: Plugins) -> str:
    """The encoder that an `avatar.yaml` names, with the parameters that it has by now and their defaults."""
    audio = _audio(meta)
    try:
        spec = plugins.find("audio", str(audio.get("use")))
        return encoder_name(spec.name, spec.config.model_validate(audio.get("params") or {}))
    except (UserError, ValueError):  # it is not installed, or has other parameters
        return _written(meta, plugins)


def _written(meta: Mapping[str, Any], plugins: Plugins) -> str:
    """The same with the parameters that are written there: the name it had when they were."""
    audio = _audio(meta)
    spec = next((s for s in plugins.of("audio") if audio.get("use") in (s.name, s.qualified)), None)
    name = str(audio.get("use")).rpartition(":")[2]
    return _name(name, audio.get("params") or {}, spec.config.PLACES if spec else ())


def _audio(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    found = meta["config"].get("pipeline", {}).get("audio")
    return found if isinstance(found, dict) else {}


def strangers(learnt: Mapping[Stage, str], name: str) -> tuple[Stage, ...]:
    """The stages that have learnt from another encoder than this one, as far as both say which."""
    return tuple(stage for stage, theirs in learnt.items() if not _same(theirs, name))


def _same(one: str, other: str) -> bool:
    """Whether two names may be the same encoder's; weights count where both name them."""
    return one == other if one.count(":") == other.count(":") else without_weights(one) == without_weights(other)


def audio_sets(sets: Sequence[str]) -> tuple[str, ...]:
    """Those `--set` texts that concern the audio encoder."""
    keys = {text: text.partition("=")[0].strip().removeprefix("pipeline.") for text in sets}
    return tuple(text for text in sets if keys[text] == "audio" or keys[text].startswith("audio."))


def training_command(
    folder: Path, stages: Collection[Stage], sets: Sequence[str] = (), capture: str | Path = "CAPTURE"
) -> str:
    """The command that trains these stages of an avatar."""
    flags = "".join(f" --stage {stage}" for stage in PIPELINE_STAGES if stage in stages)
    places = f"{shlex.quote(str(capture))} -o {shlex.quote(str(folder))}"
    return f"realtalk train {places}{flags}" + "".join(f" --set {shlex.quote(text)}" for text in sets)


def refuse_strangers(
    folder: Path, learnt: Mapping[Stage, str], name: str, sets: Sequence[str] = (), own: str | None = None
) -> None:
    """Raises if a stage of an avatar has learnt from another encoder than the one it shall hear.

    Args:
        folder: The avatar.
        learnt: See `learnt_from`.
        name: The encoder that it shall hear (`encoder_name`), with or without its weights.
        sets: The `--set` texts that chose it.
        own: The encoder in `avatar.yaml`; if it is that one, training need not be told of the stage audio.

    Raises:
        UserError: naming the encoders, and the one command that trains exactly what depends on them.
    """
    stale = strangers(learnt, name)
    if not stale:
        return
    said, theirs = " and ".join(stale), learnt[stale[0]]
    chosen = audio_sets(sets)
    if without_weights(theirs) == without_weights(name):
        message = (
            f"{folder}: its {said} learnt from {theirs.split(':')[0]!r} with weights {_weights(theirs)}, and those it "
            f"would hear now are {_weights(name)}: its features have another meaning"
        )
        back = "Put back the weights that it was trained with"
    else:
        message = (
            f"{folder}: its {said} learnt from the audio encoder {theirs}, and would hear {name}: its features have "
            "another meaning"
        )
        back = f"Leave out {' '.join(f'--set {text}' for text in chosen)}" if chosen else f"Use {theirs.split(':')[0]}"
    stages: tuple[Stage, ...] = stale if own is not None and _same(own, name) else ("audio", *stale)
    raise UserError(message, f"{back}, or train what listens to it again: {training_command(folder, stages, chosen)}")


def _weights(name: str) -> str:
    return f"{name.split(':')[2]}…" if name.count(":") == 2 else "unknown"
