"""`realtalk demo`: the shipped avatar speaks; a film and a contact sheet show how."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from realtalk_core.cli.common import installed, note, say
from realtalk_core.errors import MissingDependencyError, UserError
from realtalk_demo import AVATAR

if TYPE_CHECKING:
    from realtalk_core.emotion import EmotionPlan
    from realtalk_core.types import AudioClip

EMOTIONS = "neutral@0 happy@1 surprise@3 sad@5 angry@7"
"""What is shown where sound is given without an emotion."""


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command("demo", short_help="Let the shipped avatar speak; writes demo.mp4 and demo.png.")
    def demo(
        output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the two files.", metavar="DIR")] = Path(
            "out"
        ),
        text: Annotated[
            str | None,
            typer.Option("--text", help="What to say (needs a voice); by default a recorded speech.", metavar="TEXT"),
        ] = None,
        audio: Annotated[
            Path | None, typer.Option("--audio", help="Speech to say instead, in any format.", metavar="FILE")
        ] = None,
        emotion: Annotated[
            str | None,
            typer.Option("--emotion", help="happy, sad:0.7 or 'happy@0 sad:0.8@3'.", metavar="E"),
        ] = None,
        voice: Annotated[
            str | None,
            typer.Option("--voice", help="Language and variant of the voice, such as en-gb+f3; with --text."),
        ] = None,
        speaker: Annotated[
            str, typer.Option("--speaker", help="Which voice component speaks (realtalk plugins).")
        ] = "espeak",
        avatar: Annotated[
            Path | None, typer.Option("--avatar", help="Another avatar (realtalk train).", metavar="AVATAR")
        ] = None,
        size: Annotated[
            int | None, typer.Option("--size", help="Side of the film in pixels.", min=32, max=2160)
        ] = None,
    ) -> None:
        """Makes a synthetic person speak with emotion: OUT/demo.mp4 and OUT/demo.png, in about a minute."""
        from realtalk_core.emotion import parse_emotion

        began = time.monotonic()
        plan = None if emotion is None else parse_emotion(emotion)
        if text is not None and audio is not None:
            raise UserError("--text and --audio contradict each other", "Give one of them.")
        if text is not None and not text.strip():
            raise UserError("--text is empty", 'Write a sentence, such as --text "Good morning."')
        if voice is not None and text is None:
            raise UserError("--voice is given without a --text to speak", 'Add one, such as --text "Good morning."')
        folder = _folder(output)
        sound, default = _sound(text, audio, speaker, voice)
        plan = plan or parse_emotion(default)
        _make(avatar or AVATAR, sound, plan, folder, size)
        _farewell(folder, avatar, time.monotonic() - began)


@dataclass(frozen=True)
class Sound:
    """Speech that can be read more than once.

    Attributes:
        at: Gives its chunks at a sample rate.
        frames: How many video frames it spans at a frame rate.
    """

    at: Callable[[int], Iterator[AudioClip]]
    frames: Callable[[float], int]


def _folder(output: Path) -> Path:
    """The output folder, looked at but not made yet.

    Raises:
        UserError: if no folder can be there.
    """
    for place in (output, *output.parents):
        if place.is_dir():
            return output
        if place.exists():
            raise UserError(f"-o {output}: {place} is a file", "Name a folder, such as -o out.")
    return output


def _sound(text: str | None, audio: Path | None, speaker: str, voice: str | None) -> tuple[Sound, str]:
    """The speech, and the emotions it is shown with unless others are asked for."""
    from realtalk_core.audio import resample, stream_audio

    if audio is not None:
        from realtalk_core.cli.speech import listen

        listen(audio, 25.0)
        return Sound(lambda rate: stream_audio(audio, rate), lambda fps: listen(audio, fps)), EMOTIONS
    if text is not None:
        clip, timeline = _spoken(text, speaker, voice), EMOTIONS
    else:
        from realtalk_demo.recorded import demo_speech

        speech, timeline = demo_speech()
        clip = speech.clip
    return Sound(lambda rate: iter([resample(clip, rate)]), clip.frames), timeline


def _spoken(text: str, speaker: str, voice: str | None) -> AudioClip:
    from realtalk_core.build import build

    spec = installed().find("voice", speaker)
    settings: dict[str, Any] = {}
    if voice is not None:
        if "voice" not in spec.config.model_fields:
            raise UserError(f"--voice: the voice component {speaker!r} has only one voice", "Leave --voice out.")
        settings["voice"] = voice
    try:
        return build(spec, spec.config(**settings)).speak(text).clip  # type: ignore[no-any-return]
    except MissingDependencyError as error:
        pip = f"{_shortened(Path(sys.executable))} -m pip install"
        raise MissingDependencyError(
            f"--text needs a voice, and {str(error).splitlines()[0]}",
            f'Install it with: {pip} "{spec.extra or " ".join(spec.requires)}"  (or give --audio FILE)',
        ) from error


def _shortened(path: Path) -> Path:
    """Relative to here if it is below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _make(avatar: Path, sound: Sound, plan: EmotionPlan, folder: Path, size: int | None) -> None:
    import torch

    from realtalk_core import __version__
    from realtalk_core.atomic import writing
    from realtalk_core.avatar import Avatar
    from realtalk_core.cli.progress import Bars
    from realtalk_core.cli.speech import SPEECH_RATE
    from realtalk_core.pipeline import Pipeline
    from realtalk_core.video_writer import SOUND_RATE, check_output, write_video
    from realtalk_demo.sheet import Sheet

    opened = Avatar.open(avatar, installed())
    pipeline = Pipeline.from_avatar(opened, size=size)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    target = check_output(folder / "demo.mp4")
    frames = sound.frames(opened.fps)
    sheet = Sheet(frames, opened.fps, plan.track(frames, opened.fps))
    said = {
        "title": f"Synthetic video of {opened.name}",
        "comment": f"Synthetic video made by RealTalk {__version__} with avatar {opened.name}."
        f" Consent: {opened.meta.get('consent')}",
    }
    with Bars("frames") as bars:

        def shown() -> Iterator[torch.Tensor]:
            done = 0
            for cut in pipeline.cuts(sound.at(SPEECH_RATE), plan):
                sheet.moves(cut.kept_landmarks)
                for batch in pipeline.pictures(cut):
                    sheet.shows(batch, done)
                    done += len(batch)
                    bars("frames", done, frames)
                    yield batch

        write_video(target, shown(), sound.at(SOUND_RATE), opened.fps, metadata=said)
    clip = torch.cat([chunk.samples for chunk in sound.at(SPEECH_RATE)])
    sheet.draw(clip, SPEECH_RATE, folder / "demo.png")


def _farewell(folder: Path, avatar: Path | None, seconds: float) -> None:
    note(f"made in {seconds:.0f} s")
    command = str(_shortened(Path(sys.argv[0]))) if Path(sys.argv[0]).name == "realtalk" else "realtalk"
    other = "" if avatar is None else f" --avatar {avatar}"
    say(f"Film:          {folder / 'demo.mp4'}")
    say(f"Contact sheet: {folder / 'demo.png'}")
    say("Try next:")
    say(f'  {command} demo{other} --emotion "happy@0 sad:0.8@3"      the same speech in other emotions')
    say(f"  {command} demo{other} --audio SPEECH.wav                 any speech of yours")
    say(f'  {command} demo{other} --text "Good morning."             any text (needs realtalk[espeak])')
    say("  make demo-train                                    a new person, from nothing to a talking avatar")
