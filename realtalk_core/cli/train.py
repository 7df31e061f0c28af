"""`realtalk train`: capture to avatar."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from realtalk_core.cli.common import (
    ConfigOption,
    DeviceOption,
    PresetOption,
    SetOption,
    configuration,
    installed,
    note,
    say,
)
from realtalk_core.errors import UserError, did_you_mean
from realtalk_core.spec import PIPELINE_STAGES, Stage

if TYPE_CHECKING:
    from realtalk_core.capture import Capture
    from realtalk_core.config import Config
    from realtalk_core.config.needs import Selected
    from realtalk_core.training.session import Session


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command()
    def train(
        capture: Annotated[Path, typer.Argument(help="A capture folder (realtalk capture).", metavar="CAPTURE")],
        output: Annotated[Path, typer.Option("-o", "--output", help="The avatar's folder.", metavar="AVATAR")],
        stage: Annotated[
            list[str] | None,
            typer.Option(
                help="audio, landmarks, emotion or renderer; repeatable. All of them by default.", metavar="STAGE"
            ),
        ] = None,
        config: ConfigOption = None,
        preset: PresetOption = None,
        sets: SetOption = None,
        split: Annotated[
            float | None, typer.Option(help="Share of the capture to learn from; the rest measures. Default 0.9.")
        ] = None,
        seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
        consent: Annotated[
            str | None, typer.Option(help="What to record about the person's consent.", metavar="TEXT")
        ] = None,
        resume: Annotated[bool, typer.Option("--resume", help="Go on from where training stopped.")] = False,
        force: Annotated[bool, typer.Option("--force", help="Train an existing avatar anew.")] = False,
        device: DeviceOption = "auto",
    ) -> None:
        """Trains every stage on a capture and writes the avatar. Ctrl-C saves; --resume goes on to the same result."""
        named = [] if "all" in (stage or []) else stage or []
        stages = _stages(stage or [])
        _check_output(output, resume, force, partial=bool(named))
        existing = (output / "avatar.yaml").is_file() and not force and (resume or bool(named))
        chosen = _merged(capture, output, config, preset, sets or [], stages, resume) if existing else None
        chosen = chosen or configuration(config, preset, sets)

        from realtalk_core.capture import Capture
        from realtalk_core.cli.progress import Bars, spoken
        from realtalk_core.device import resolve
        from realtalk_core.training.loop import LoopOptions, TrainingStopped
        from realtalk_core.training.session import Session

        resolve(device)
        opened = Capture.open(capture)
        if abs(opened.fps - chosen.fps) > 1e-6:
            raise UserError(
                f"{capture} has {opened.fps:g} frames per second, the configuration {chosen.fps:g}",
                f"Train with --set fps={opened.fps:g}",
            )
        _same_capture(output, opened, existing)
        with Bars("steps") as bars:
            session = Session(
                opened,
                output,
                chosen,
                stages,
                _split(output, split, existing),
                seed,
                consent,
                resume,
                LoopOptions(device=device),
                progress=bars,
                remark=note,
                sets=sets or (),
            )
            try:
                session.run()
            except TrainingStopped as stopped:
                note(f"\n{stopped}\n  Go on with: realtalk train {capture} -o {output}{_stage_flags(named)} --resume")
                raise typer.Exit(130) from None
        _summary(session, spoken)


def _stages(named: Sequence[str]) -> tuple[Stage, ...]:
    """The stages to train, in the pipeline's order."""
    for stage in named:
        if stage not in (*PIPELINE_STAGES, "all"):
            raise UserError(f"--stage: unknown stage {stage!r}{did_you_mean(stage, [*PIPELINE_STAGES, 'all'])}")
    return tuple(s for s in PIPELINE_STAGES if s in named) if named and "all" not in named else PIPELINE_STAGES


def _stage_flags(named: Sequence[str]) -> str:
    return "".join(f" --stage {stage}" for stage in named)


def _check_output(output: Path, resume: bool, force: bool, partial: bool) -> None:
    """Refuses to overwrite anything unasked, or what is no avatar at all."""
    if resume and force:
        raise UserError("--resume and --force contradict each other", "Give one of them.")
    if output.exists() and not output.is_dir():
        raise UserError(f"{output} is a file", "Name a folder for the avatar (-o AVATAR).")
    if not output.is_dir() or not any(output.iterdir()):
        return
    if not (output / "avatar.yaml").is_file():
        raise UserError(f"{output} is not empty, and no avatar", "Name a new folder for the avatar (-o AVATAR).")
    if not (resume or force or partial):
        raise UserError(
            f"{output} exists already",
            "Go on with --resume, begin anew with --force, or retrain one stage with --stage STAGE.",
        )


def _merged(
    capture: Path,
    output: Path,
    file: Path | None,
    preset: str | None,
    sets: list[str],
    stages: tuple[Stage, ...],
    resume: bool,
) -> Config:
    """The avatar's own configuration, with what is asked for now put into the stages that are to be trained."""
    from dataclasses import replace

    from realtalk_core.avatar import Avatar
    from realtalk_core.config import names_stage
    from realtalk_core.encoders import audio_sets

    plugins = installed()
    avatar = Avatar.read(output, plugins)
    own = avatar.config
    if file is not None or preset is not None:
        wanted = configuration(file, preset, sets, plugins)
    else:
        wanted = Avatar.read(output, plugins, sets).config
    said = bool(audio_sets(sets)) or names_stage(own.stages["audio"], file, preset)  # not by the shipped registry alone
    if said and "audio" not in stages and wanted.stages["audio"] != own.stages["audio"]:
        listen = {*stages, *avatar.learnt_from, "audio"}
        before, after = (config.stages["audio"].spec.name for config in (own, wanted))
        change = f"be {after}, not {before}" if before != after else f"({before}) have other parameters"
        raise UserError(
            f"the audio encoder would {change}, and the stage audio is not among those to be trained",
            "Train it with all that listens to it: " + _again(capture, output, listen, file, preset, sets),
        )
    changed = [s for s in stages if wanted.stages[s] != own.stages[s]]
    if resume and changed:
        raise UserError(
            f"--resume: {', '.join(changed)} began with other parameters than those asked for now",
            "Leave out --config, --preset and --set to go on as it began, or begin anew with --force.",
        )
    return replace(own, stages={**own.stages, **{s: wanted.stages[s] for s in stages}})


def _again(
    capture: Path, output: Path, stages: Collection[Stage], file: Path | None, preset: str | None, sets: Sequence[str]
) -> str:
    """This command with other stages."""
    from realtalk_core.encoders import training_command

    command = training_command(output, stages, sets, capture)
    return command + (f" -c {file}" if file else "") + (f" --preset {preset}" if preset else "")


def _same_capture(output: Path, capture: Capture, existing: bool) -> None:
    if not existing:
        return
    from realtalk_core.avatar import read_meta, tracks_digest

    learnt = read_meta(output).get("trained_on", {})
    if learnt.get("tracks_sha256") != tracks_digest(capture):
        raise UserError(
            f"{output} was trained on another capture ({learnt.get('capture')})",
            "Name that capture, or begin anew with --force.",
        )


def _split(output: Path, split: float | None, existing: bool) -> float:
    from realtalk_core.avatar import read_meta

    before = float(read_meta(output).get("trained_on", {}).get("split", 0.9)) if existing else None
    if split is not None and before is not None and split != before:
        raise UserError(
            f"--split {split:g}: {output} was trained with --split {before:g}",
            "Leave it out, or begin anew with --force.",
        )
    return before if before is not None else (0.9 if split is None else split)


def _summary(session: Session, spoken: object) -> None:
    from realtalk_core.checkpoint import read_header

    assert callable(spoken)
    say(f"{session.folder}: trained on {len(session.capture)} frames")
    for stage in ("person", "sound", *session.stages):
        file = session.folder / f"{stage}.safetensors"
        if stage not in session.seconds:
            continue
        line = f"  {stage:<10} {spoken(session.seconds[stage]):>12}"
        if file.is_file():
            line += f"  {file.stat().st_size / 1e6:6.1f} MB"
            measured = {
                k: v for k, v in read_header(file).metrics.items()
                if k.startswith(("held_out", "training_", "mouth_", "landmark_"))
            }  # fmt: skip
            line += "  " + ", ".join(f"{k} {v:g}" for k, v in measured.items())
        say(line.rstrip())
    whole = sum(f.stat().st_size for f in session.folder.rglob("*") if f.is_file() and "training" not in f.parts)
    say(f"  in all     {spoken(sum(session.seconds.values())):>12}  {whole / 1e6:6.1f} MB")
    missing = [stage for stage, chosen in session.config.stages.items() if _untrained(session.folder, stage, chosen)]
    if missing:
        say(f"It cannot speak yet: {', '.join(missing)} not trained. Next:")
        say(f"  realtalk train {session.capture.path} -o {session.folder}{_stage_flags(missing)}")
        return
    say(f"Next: realtalk synthesize {session.folder} --audio SPEECH --emotion happy:0.7 -o out.mp4")


def _untrained(folder: Path, stage: str, chosen: Selected) -> bool:
    from realtalk_core.build import load_class

    learns = stage in PIPELINE_STAGES and hasattr(load_class(chosen.spec), "for_training")
    return learns and not (folder / f"{stage}.safetensors").is_file()
