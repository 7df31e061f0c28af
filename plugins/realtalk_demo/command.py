"""`realtalk demo`: the shipped avatar speaks; a film and a contact sheet show how."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from realtalk_core.cli.common import SetOption, installed, note, say
from realtalk_core.cli.speech import VoiceOption, check_speech, speech_file
from realtalk_core.errors import MissingDependencyError, UserError
from realtalk_demo import AVATAR

if TYPE_CHECKING:
    from realtalk_core.avatar import Avatar
    from realtalk_core.emotion import EmotionPlan

EMOTIONS = "neutral@0 happy@1 surprise@3 sad@5 angry@7"
"""What is shown where a speech is given without emotions."""


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
        voice: VoiceOption = None,
        audio: Annotated[
            Path | None, typer.Option("--audio", help="Speech to say instead, in any format.", metavar="FILE")
        ] = None,
        emotion: Annotated[
            str | None,
            typer.Option("--emotion", help="happy, sad:0.7 or 'happy@0 sad:0.8@3'.", metavar="E"),
        ] = None,
        avatar: Annotated[
            Path | None, typer.Option("--avatar", help="Another avatar (realtalk train).", metavar="AVATAR")
        ] = None,
        size: Annotated[
            int | None, typer.Option("--size", help="Side of the film in pixels.", min=32, max=2160)
        ] = None,
        sets: SetOption = None,
    ) -> None:
        """Makes a synthetic person speak with emotion: DIR/demo.mp4 and DIR/demo.png, in about a minute."""
        from realtalk_core.avatar import Avatar
        from realtalk_core.emotion import parse_emotion

        began = time.monotonic()
        plan = None if emotion is None else parse_emotion(emotion)
        spoken = [each for each in sets or () if each.partition("=")[0].partition(".")[0].strip() == "voice"]
        if text is not None and not text.strip():
            raise UserError("--text is empty", 'Write a sentence, such as --text "Good morning."')
        if (audio, text, voice, spoken) != (None, None, None, []):
            check_speech(audio, text, voice, spoken)
        folder = _folder(output)
        opened = Avatar.open(avatar or AVATAR, installed(), [each for each in sets or () if each not in spoken])
        with _speech(audio, text, voice, spoken) as (sound, timeline):
            _make(opened, sound, plan or parse_emotion(timeline), folder, size)
        _farewell(folder, avatar, time.monotonic() - began)


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


@contextmanager
def _speech(audio: Path | None, text: str | None, voice: str | None, sets: list[str]) -> Iterator[tuple[Path, str]]:
    """The sound, and the emotions it is shown with unless others are asked for."""
    if audio is not None or text is not None:
        try:
            with speech_file(audio, text, voice, sets) as file:
                yield file, EMOTIONS
        except MissingDependencyError as error:
            pip = f"{_shortened(Path(sys.executable))} -m pip"
            raise MissingDependencyError(
                str(error).splitlines()[0], (error.cure or "").replace(": pip", f": {pip}") + "  (or give --audio FILE)"
            ) from error
        return
    import tempfile

    from realtalk_core.audio import write_wav
    from realtalk_demo.recorded import demo_speech

    speech, timeline = demo_speech()
    with tempfile.TemporaryDirectory(prefix="realtalk-") as place:
        file = Path(place) / "speech.wav"
        write_wav(file, speech.clip)
        yield file, timeline


def _shortened(path: Path) -> Path:
    """Relative to here if it is below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _make(opened: Avatar, sound: Path, plan: EmotionPlan, folder: Path, size: int | None) -> None:
    import torch

    from realtalk_core import __version__
    from realtalk_core.atomic import writing
    from realtalk_core.audio import read_audio, stream_audio
    from realtalk_core.cli.progress import Bars
    from realtalk_core.cli.speech import SPEECH_RATE, listen
    from realtalk_core.pipeline import Pipeline
    from realtalk_core.video_writer import SOUND_RATE, check_output, write_video
    from realtalk_demo.sheet import Sheet

    frames = listen(sound, opened.fps)
    pipeline = Pipeline.from_avatar(opened, size=size)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    target = check_output(folder / "demo.mp4")
    sheet = Sheet(frames, opened.fps, plan.track(frames, opened.fps))
    said = {
        "title": f"Synthetic video of {opened.name}",
        "comment": f"Synthetic video made by RealTalk {__version__} with avatar {opened.name}."
        f" Consent: {opened.meta.get('consent')}",
    }
    with Bars("frames") as bars:

        def shown() -> Iterator[torch.Tensor]:
            done = 0
            for cut in pipeline.cuts(stream_audio(sound, SPEECH_RATE), plan):
                sheet.moves(cut.kept_landmarks)
                for batch in pipeline.pictures(cut):
                    sheet.shows(batch, done)
                    done += len(batch)
                    bars("frames", done, frames)
                    yield batch

        write_video(target, shown(), stream_audio(sound, SOUND_RATE), opened.fps, metadata=said)
    sheet.draw(read_audio(sound, SPEECH_RATE).samples, SPEECH_RATE, folder / "demo.png")


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
