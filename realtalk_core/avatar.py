"""The avatar folder: one trained person, self-contained.

avatar.yaml              what it is: filled configuration, what it was trained on, consent, versions
STAGE.safetensors        one checkpoint for each stage that has weights
person.safetensors       neutral face, ranges, poses, blendshapes
base.mp4, matte.mp4, background.png    the person's own pictures, for compositing
training/STAGE/          state to resume from, metrics, loss plot, previews; may be deleted
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from realtalk_core import __version__, checkpoint
from realtalk_core.atomic import write_text
from realtalk_core.build import build, load_class
from realtalk_core.config import Config
from realtalk_core.encoders import WEIGHTS, encoder_name, learnt_from, own_encoder, refuse_strangers
from realtalk_core.errors import UserError
from realtalk_core.plugins import Plugins
from realtalk_core.spec import PIPELINE_STAGES, Stage

if TYPE_CHECKING:
    from torch import Tensor

    from realtalk_core.capture import Capture
    from realtalk_core.footage import Footage
    from realtalk_core.person import Person

FORMAT = 1
NO_CONSENT = "none recorded; make avatars only of yourself or of people who agreed to it (realtalk train --consent)"
HALVED = "halved"
"""Key in a checkpoint's metrics: which float32 tensors are stored in half precision (`realtalk_core.compact`), each
with the name of the tensor that its values are differences from, or an empty name."""
_AGAIN = "Copy the avatar again, or train it again: realtalk train CAPTURE -o AVATAR"


@dataclass(frozen=True)
class Avatar:
    """An opened avatar folder; weights are read when a component is built.

    Attributes:
        path: The folder.
        meta: The content of `avatar.yaml`.
        config: What it was trained with, with the caller's `--set` on top.
        sets: That `--set`.
    """

    path: Path
    meta: Mapping[str, Any]
    config: Config
    sets: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: str | Path, plugins: Plugins, sets: Sequence[str] = ()) -> Avatar:
        """Opens an avatar folder to use it.

        Args:
            path: The folder.
            plugins: What is installed.
            sets: Changes of its configuration, as `--set` takes them.

        Raises:
            UserError: if it is none, is damaged or from a newer RealTalk, needs a component that is not installed, or
                would hear an audio encoder that its stages have not learnt from.
        """
        avatar = cls.read(path, plugins, sets)
        audio = avatar.config.stages["audio"]
        avatar._refuse_strangers(encoder_name(audio.spec.name, audio.config))
        return avatar

    @classmethod
    def read(cls, path: str | Path, plugins: Plugins, sets: Sequence[str] = ()) -> Avatar:
        """The same for whoever does not make it speak: stages that learnt from another encoder are not refused."""
        folder = Path(path)
        meta = read_meta(folder)
        parts = meta["config"].get("pipeline", {})
        replaced = {text.partition("=")[0].strip() for text in sets}
        for stage in PIPELINE_STAGES:
            if stage not in replaced:
                _installed(folder, meta, stage, str(parts.get(stage, {}).get("use")), plugins)
        return cls(
            folder,
            meta,
            Config.from_dict(_usable(meta["config"], plugins), plugins, source=str(folder / "avatar.yaml"), sets=sets),
            tuple(sets),
        )

    @cached_property
    def learnt_from(self) -> dict[Stage, str]:
        """The audio encoder that each stage that listens has learnt from; see `realtalk_core.encoders`."""
        return learnt_from(self.path, self.meta, self.config)

    def _refuse_strangers(self, name: str) -> None:
        refuse_strangers(self.path, self.learnt_from, name, self.sets, own_encoder(self.meta, self.config.plugins))

    @property
    def name(self) -> str:
        """What the avatar is called: the name it was trained under."""
        return str(self.meta["name"])

    @property
    def fps(self) -> float:
        """Frames per second."""
        return float(self.meta["fps"])

    @property
    def size(self) -> int:
        """Side of its pictures in pixels."""
        return int(self.meta["size"])

    @property
    def unfinished(self) -> dict[str, str]:
        """Stages whose training was interrupted, each with how far it came."""
        found: dict[str, str] = {}
        for stage in PIPELINE_STAGES:
            file = self.path / f"{stage}.safetensors"
            if file.is_file():
                metrics = checkpoint.read_header(file).metrics
                step, total = metrics.get("step", 0), metrics.get("total", 0)
                if step < total:
                    found[stage] = f"step {step} of {total}"
        return found

    @cached_property
    def person(self) -> Person:
        """The person's own tracks.

        Raises:
            UserError: if the file is missing or damaged.
        """
        from realtalk_core.person import Person

        header, tensors = checkpoint.load(self.path / "person.safetensors")
        if header.stage != "person":
            raise UserError(f"{self.path / 'person.safetensors'} holds {header.stage}, not a person", _AGAIN)
        return Person.from_tensors(self.widened(header, tensors))

    @property
    def footage(self) -> Footage:
        """The person's own pictures.

        Raises:
            UserError: if the films are missing or damaged.
        """
        from realtalk_core.footage import AvatarFootage

        return AvatarFootage(self.path, self.fps)

    def component(self, stage: Stage, device: str = "cpu") -> Any:
        """The component of a stage, with its weights.

        Args:
            stage: The stage.
            device: Where it shall work, if it can; see `realtalk_core.device`.

        Raises:
            UserError: if its checkpoint is missing, damaged, newer, or another component's; of the stage audio, if its
                weights are not those that other stages have learnt from.
        """
        from realtalk_core.device import place

        made, header = self.built(stage)
        if stage == "audio":
            chosen = self.config.stages[stage]
            self._refuse_strangers(encoder_name(chosen.spec.name, chosen.config, known_weights(made, header)))
        return place(made, device)

    def built(self, stage: Stage) -> tuple[Any, checkpoint.Header | None]:
        """The component on the CPU whatever others have learnt from it, and the header of its checkpoint if any."""
        chosen = self.config.stages[stage]
        file = self.path / f"{stage}.safetensors"
        if not hasattr(load_class(chosen.spec), "from_state"):
            return build(chosen.spec, chosen.config), None
        if not file.is_file() and not hasattr(load_class(chosen.spec), "for_training"):
            return build(chosen.spec, chosen.config), None
        if not file.is_file():
            raise UserError(
                f"{self.path}: the stage {stage} has not been trained ({file.name} is missing)",
                f"Train it: realtalk train CAPTURE -o {self.path} --stage {stage}",
            )
        held = checkpoint.read_header(file)
        if held.stage == stage and held.component != chosen.spec.name:
            raise UserError(
                f"{file} holds {stage} {held.component!r}, not {stage} {chosen.spec.name!r}",
                f"Use what it has (--set {stage}={held.component}), or train the other: "
                f"realtalk train CAPTURE -o {self.path} --stage {stage} --set {stage}={chosen.spec.name}",
            )
        header, tensors = checkpoint.load(file, chosen.spec)
        for name in chosen.config.TRAINED:
            trained, asked = header.config.get(name), chosen.config.model_dump(mode="json")[name]
            if name in header.config and trained != asked:
                raise UserError(
                    f"{file}: {stage}.{name} is {asked}, and it was trained with {trained}",
                    f"Leave out --set {stage}.{name}, or train it again: "
                    f"realtalk train CAPTURE -o {self.path} --stage {stage} --set {stage}.{name}={asked}",
                )
        try:
            made = build(chosen.spec, chosen.config, tensors=self.widened(header, tensors))
        except (RuntimeError, KeyError, ValueError) as error:  # what torch and dictionaries say of other tensors
            raise UserError(
                f"{file} does not fit the installed {stage} {chosen.spec.name!r}: {' '.join(str(error).split())[:200]}",
                f"Leave out --set {stage}.…, or train it again: realtalk train CAPTURE -o {self.path} --stage {stage}",
            ) from error
        return made, header

    @staticmethod
    def widened(header: checkpoint.Header, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of a checkpoint as they were before `realtalk_core.compact` halved some of them."""
        out = dict(tensors)
        for name, base in header.metrics.get(HALVED, {}).items():
            out[name] = tensors[name].float() + (tensors[base].float() if base else 0)
        return out


def known_weights(encoder: Any, header: checkpoint.Header | None) -> str:
    """The digest by which others know a built encoder's weights: the one from before `realtalk_core.compact`."""
    from realtalk_core.hearing.cache import weights_of

    before = None if header is None else header.metrics.get(WEIGHTS)
    return weights_of(encoder) if before is None else str(before)


def read_meta(folder: Path) -> dict[str, Any]:
    """The content of `avatar.yaml`, without torch.

    Raises:
        UserError: if the folder is no avatar, is damaged, or from a newer RealTalk.
    """
    file = folder / "avatar.yaml"
    if not file.is_file():
        if (folder / "capture.yaml").is_file():
            raise UserError(
                f"{folder} is a capture, not an avatar", f"Train it first: realtalk train {folder} -o AVATAR"
            )
        what = "is no avatar" if folder.is_dir() else "does not exist"
        raise UserError(f"{folder} {what}: no avatar.yaml there", "Make one with: realtalk train CAPTURE -o AVATAR")
    try:
        meta = yaml.safe_load(file.read_text("utf-8"))
        version = int(meta["format"])
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError, ValueError) as error:
        raise UserError(f"{file} is damaged: {' '.join(str(error).split())}", _AGAIN) from error
    if version > FORMAT:
        raise UserError(
            f"{file}: avatar format {version} is newer than this RealTalk reads ({FORMAT})",
            "Update realtalk: pip install --upgrade realtalk",
        )
    missing = sorted({"name", "fps", "size", "config", "stages"} - meta.keys())
    if missing or not isinstance(meta["config"], dict):
        raise UserError(f"{file} is damaged: it lacks {', '.join(missing) or 'a configuration'}", _AGAIN)
    return dict(meta)


def new_meta(
    name: str, capture: Capture, config: Config, *, split: float, seed: int, consent: str | None
) -> dict[str, Any]:
    """What `avatar.yaml` says of an avatar whose training begins."""
    return {
        "format": FORMAT,
        "name": name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "core": __version__,
        "git": checkpoint.core_commit(),
        "fps": capture.fps,
        "size": capture.size + capture.size % 2,
        "trained_on": {
            "capture": capture.path.resolve().name,
            "source": capture.meta.get("source"),
            "tracks_sha256": tracks_digest(capture),
            "frames": len(capture),
            "split": split,
            "seed": seed,
        },
        "consent": consent or NO_CONSENT,
        "parents": [],
        "config": config.to_dict(),
        "stages": {},
    }


def write_meta(folder: Path, meta: Mapping[str, Any]) -> None:
    """Writes `avatar.yaml`, atomically."""
    write_text(folder / "avatar.yaml", yaml.safe_dump(dict(meta), sort_keys=False, allow_unicode=True, width=100))


def tracks_digest(capture: Capture) -> str:
    """sha256 of a capture's tracks and sound: names what was learnt from."""
    digest = hashlib.sha256()
    for name in ("tracks.safetensors", "audio.wav"):
        file = capture.path / name
        if file.is_file():
            with file.open("rb") as data:
                digest.update(hashlib.file_digest(data, "sha256").digest())
    return digest.hexdigest()


def _installed(folder: Path, meta: Mapping[str, Any], stage: Stage, name: str, plugins: Plugins) -> None:
    """Raises unless the component an avatar needs is there, naming the plugin that has it."""
    try:
        plugins.find(stage, name)
    except UserError as error:
        plugin = (meta["stages"].get(stage) or {}).get("plugin") or "another plugin"
        cure = error.cure or f"Install the plugin {plugin!r}, or choose another {stage}: --set {stage}=NAME"
        raise UserError(
            f"{folder}: its {stage} is {name!r} of the plugin {plugin!r}, which is not installed", cure
        ) from error


def _usable(config: Mapping[str, Any], plugins: Plugins) -> dict[str, Any]:
    """The configuration without a tracker that is not installed: speaking needs none."""
    out = dict(config)
    tracker = out.get("tracker") or {}
    known = plugins.of("tracker")
    if known and tracker.get("use") not in {name for spec in known for name in (spec.name, spec.qualified)}:
        out["tracker"] = {"use": known[0].qualified, "params": {}}
    return out
