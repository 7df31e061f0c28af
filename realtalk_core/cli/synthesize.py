"""`realtalk synthesize`: avatar and speech to video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from realtalk_core.cli.common import DeviceOption, SetOption, installed, note, say
from realtalk_core.cli.speech import VoiceOption, check_speech, listen, speech_file
from realtalk_core.errors import UserError

if TYPE_CHECKING:
    from realtalk_core.avatar import Avatar
    from realtalk_core.emotion import EmotionPlan
    from realtalk_core.person import Person
    from realtalk_core.pipeline import Pipeline
    from realtalk_core.scene import Background


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command()
    def synthesize(
        avatar: Annotated[Path, typer.Argument(help="An avatar folder (realtalk train).", metavar="AVATAR")],
        output: Annotated[Path, typer.Option("-o", "--output", help="The video.", metavar="OUT.mp4")],
        audio: Annotated[
            Path | None, typer.Option(help="Speech, in any format and of any length.", metavar="FILE")
        ] = None,
        text: Annotated[
            str | None, typer.Option(help="What a voice shall say, in place of --audio.", metavar="TEXT")
        ] = None,
        voice: VoiceOption = None,
        emotion: Annotated[
            str | None,
            typer.Option(
                help="A label (happy), a label with intensity (happy:0.7), a point (valence=0.6,arousal=-0.2), or a "
                "timeline of these ('neutral@0 happy:0.8@1.5 sad@4'). Labels: angry contempt disgust fear happy "
                "neutral sad surprise."
            ),
        ] = None,
        valence: Annotated[float | None, typer.Option(help="-1 (unpleasant) to 1 (pleasant).")] = None,
        arousal: Annotated[float | None, typer.Option(help="-1 (calm) to 1 (excited).")] = None,
        pose: Annotated[
            Path | None,
            typer.Option(help="Replay head motion from this capture or avatar.", metavar="CAPTURE|AVATAR"),
        ] = None,
        background: Annotated[
            str, typer.Option(help="original, plate, or a picture file.", metavar="original|plate|IMG")
        ] = "original",
        torso: Annotated[
            str | None,
            typer.Option(
                help="What is below the head: film, as filmed; model, as learnt, which moves with the head. By default "
                "film, and model with --pose if the avatar has one.",
                metavar="film|model",
            ),
        ] = None,
        size: Annotated[int | None, typer.Option(help="Side of the video in pixels; default as trained.")] = None,
        seed: Annotated[int | None, typer.Option(help="Seed of the generated motion.")] = None,
        device: DeviceOption = "auto",
        sets: SetOption = None,
    ) -> None:
        """Makes a person speak: avatar + speech -> mp4 (H.264 and AAC, marked as synthetic in its metadata)."""
        plan = emotion_plan(emotion, valence, arousal)
        spoken = [each for each in sets or () if each.partition("=")[0].partition(".")[0].strip() == "voice"]
        changes = [each for each in sets or () if each not in spoken]
        check_speech(audio, text, voice, spoken)
        if size is not None and not 32 <= size <= 2160:
            raise UserError(
                f"--size {size} is outside 32 to 2160", "Write the side of the video in pixels, such as 512."
            )

        from realtalk_core.avatar import Avatar
        from realtalk_core.device import resolve

        plugins = installed()
        opened = Avatar.open(avatar, plugins, changes)
        resolve(device)
        if seed is not None:
            changes += seeded(opened, seed)
            opened = Avatar.open(avatar, plugins, changes)
        for stage, state in opened.unfinished.items():
            note(f"{avatar}: the {stage} was not trained to its end ({state}); going on with what it has learnt")

        from realtalk_core.pipeline import Pipeline
        from realtalk_core.video_writer import check_output

        target = check_output(output)
        behind, moves = read_background(background), read_pose(pose, opened)
        pipeline = Pipeline.from_avatar(opened, size=size, background=behind, pose=moves, device=device, torso=torso)
        with speech_file(audio, text, voice, spoken) as sound:
            frames = listen(sound, opened.fps)
            done = _write(opened, pipeline, sound, target, plan, frames)
        say(f"{target}: {done} frames, {done / opened.fps:.1f} s")


def emotion_plan(emotion: str | None, valence: float | None, arousal: float | None) -> EmotionPlan:
    """What `--emotion`, `--valence` and `--arousal` ask for.

    Raises:
        UserError: if both ways are used, or either is not valid.
    """
    from realtalk_core.emotion import parse_emotion, parse_va

    if emotion is not None and (valence is not None or arousal is not None):
        raise UserError("--emotion and --valence/--arousal contradict each other", "Give one or the other.")
    if valence is not None or arousal is not None:
        return parse_va(valence or 0.0, arousal or 0.0)
    return parse_emotion("neutral" if emotion is None else emotion)


def seeded(avatar: Avatar, seed: int) -> list[str]:
    """`--set` texts that give the seed to every part that has one."""
    parts = [
        f"{s}.seed={seed}" for s, chosen in avatar.config.stages.items() if "seed" in type(chosen.config).model_fields
    ]
    return [*[p for p in parts if not p.startswith("tracker")], f"motion.blink_seed={seed}"]


def read_background(background: str) -> Background:
    """The backdrop that `--background` names.

    Raises:
        UserError: if it is neither a word it knows nor a picture.
    """
    if background in ("original", "plate"):
        return background
    from realtalk_core.footage import read_picture

    return read_picture(Path(background), "Give --background original, plate, or a picture file (PNG, JPEG …).")


def read_pose(folder: Path | None, avatar: Avatar) -> Person | None:
    """The person whose head motion is replayed, if not the avatar's own.

    Raises:
        UserError: if the folder is neither a capture nor an avatar.
    """
    if folder is None or folder.resolve() == avatar.path.resolve():
        return None
    from realtalk_core.avatar import Avatar
    from realtalk_core.capture import Capture
    from realtalk_core.person import Person

    if (folder / "avatar.yaml").is_file():
        return Avatar.read(folder, avatar.config.plugins).person
    capture = Capture.open(folder)
    return Person.from_capture(capture, capture.training_frames())


def _write(avatar: Avatar, pipeline: Pipeline, audio: Path, target: Path, plan: EmotionPlan, frames: int) -> int:
    from realtalk_core import __version__
    from realtalk_core.audio import stream_audio
    from realtalk_core.cli.progress import Bars
    from realtalk_core.cli.speech import SPEECH_RATE
    from realtalk_core.video_writer import SOUND_RATE, write_video

    said = {
        "title": f"Synthetic video of {avatar.name}",
        "comment": f"Synthetic video made by RealTalk {__version__} with avatar {avatar.name}"
        f" (trained {avatar.meta.get('created', 'at an unknown time')}). Consent: {avatar.meta.get('consent')}",
    }
    with Bars("frames") as bars:

        def shown() -> object:
            count = 0
            for batch in pipeline.frames(stream_audio(audio, SPEECH_RATE), plan):
                count += len(batch)
                bars("frames", count, max(frames, count))
                yield batch

        return write_video(target, shown(), stream_audio(audio, SOUND_RATE), avatar.fps, metadata=said)  # type: ignore[arg-type]
