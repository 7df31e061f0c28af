"""Before an avatar is trained: no stage may be left with an audio encoder that it has not learnt from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from realtalk_core.atomic import write_text
from realtalk_core.avatar import read_meta
from realtalk_core.config import Config
from realtalk_core.encoders import encoder_name, learnt_from, listens, own_encoder, strangers
from realtalk_core.errors import UserError
from realtalk_core.spec import PIPELINE_STAGES, Stage


@dataclass(frozen=True)
class Before:
    """An avatar as it was before it is trained again.

    Attributes:
        folder: The avatar.
        text: Its `avatar.yaml`.
        meta: What that says.
        written: When each checkpoint was written, and its size.
    """

    folder: Path
    text: str
    meta: Mapping[str, Any]
    written: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, folder: Path) -> Before | None:
        """What is there; None if there is no avatar.

        Raises:
            UserError: if it is damaged.
        """
        file = folder / "avatar.yaml"
        if not file.is_file():
            return None
        meta = read_meta(folder)
        return cls(folder, file.read_text("utf-8"), meta, _written(folder))

    def restore(self) -> None:
        """Puts `avatar.yaml` back if no weights were written since: then nothing has become of the training."""
        if _written(self.folder) == self.written:
            write_text(self.folder / "avatar.yaml", self.text)


def _written(folder: Path) -> dict[str, tuple[int, int]]:
    files = [folder / f"{stage}.safetensors" for stage in PIPELINE_STAGES]
    return {file.name: (file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.is_file()}


def check_listeners(
    before: Before | None,
    folder: Path,
    config: Config,
    stages: Collection[Stage],
    name: str | None,
    *,
    resume: bool,
    again: Callable[[Collection[Stage]], str],
) -> None:
    """Refuses a training after which a stage would hear another encoder than it learnt from.

    Args:
        before: The avatar; None if there is none yet.
        folder: Its folder.
        config: What it shall be.
        stages: Which stages are trained.
        name: The encoder that they will hear, with its weights; None if it is itself trained, so that its weights will
            be others.
        resume: Whether an interrupted training goes on, which began with this check.
        again: The command that trains some stages.

    Raises:
        UserError: with the command that trains all that listen.
    """
    concerned = {stage for stage in stages if stage == "audio" or listens(stage, config.stages[stage])}
    if before is None or not concerned or (resume and name is None):
        return
    learnt = learnt_from(folder, before.meta, config)
    left = {stage: theirs for stage, theirs in learnt.items() if stage not in stages}
    audio, own = config.stages["audio"], own_encoder(before.meta, config.plugins)
    bare = encoder_name(audio.spec.name, audio.config)
    others = tuple(left) if name is None else strangers(left, name)
    unsaid = bare != own and "audio" not in stages
    if not others and not unsaid:
        return
    if unsaid and not others:
        message = f"{folder}: the audio encoder would change from {own} to {bare}, and the stage audio is not trained"
    else:
        now = f"{bare} with new weights" if name is None else name
        message = (
            f"{folder}: its {' and '.join(others)} learnt from the audio encoder {left[others[0]]} and would be left "
            f"to hear {now}, whose features have another meaning"
        )
    changed: set[Stage] = {"audio"} if bare != own or "audio" in stages else set()
    raise UserError(message, f"Train all that listens together: {again({*stages, *learnt, *changed})}")
