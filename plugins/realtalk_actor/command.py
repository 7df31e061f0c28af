"""`realtalk actor`: a synthetic person performs, and the result is a capture with exact ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from realtalk_core.cli.common import ConfigOption, SetOption, note, say
from realtalk_core.cli.speech import VoiceOption
from realtalk_core.errors import UserError

if TYPE_CHECKING:
    from realtalk_core.voice import Speech

SENTENCES = (
    "The boy was there when the sun rose, and the smell of fresh bread came up from the street.",
    "She had your dark suit in greasy wash water all year, but nobody asked her why.",
    "Maybe Bob will move the big piano before the people come in.",
    "We talked about the weather, the price of coffee, and what to do with the old house.",
    "Please put the paper cups on top of the brown box by the window.",
    "I never thought that five very thin wires could hold so much weight.",
    "Who would choose to live in a room without a view of the sea?",
    "My mother makes apple pie with plums, pepper and a pinch of brown sugar.",
)
VOICES = ("en-us", "en-gb", "en-us+m3", "en-gb+f2", "en-us+f4", "en-gb+m7", "en-us+f3", "en-gb+m4")
FPS = 25.0


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command("actor", short_help="Let a synthetic person perform; writes a capture with exact ground truth.")
    def actor(
        output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the capture.", metavar="CAPTURE")],
        seed: Annotated[int, typer.Option("--seed", help="Who it is: face, hair, voice, light.", min=0)] = 0,
        seconds: Annotated[
            float | None, typer.Option("--seconds", help="Duration; by default that of the speech.", metavar="S")
        ] = None,
        emotion: Annotated[
            str, typer.Option("--emotion", help="happy, sad:0.7 or 'neutral@0 happy@2'.", metavar="E")
        ] = "neutral",
        text: Annotated[
            str | None, typer.Option("--text", help="What is said; by default some sentences.", metavar="TEXT")
        ] = None,
        voice: VoiceOption = None,
        audio: Annotated[
            Path | None, typer.Option("--audio", help="Recorded speech in place of a voice's.", metavar="FILE")
        ] = None,
        phonemes: Annotated[
            Path | None,
            typer.Option(
                "--phonemes", help="When each sound of --audio is: JSON as a capture's phonemes.json.", metavar="FILE"
            ),
        ] = None,
        silent: Annotated[bool, typer.Option("--silent", help="Nothing is said.")] = False,
        size: Annotated[int, typer.Option("--size", help="Side of the frames in pixels.", min=64, max=2048)] = 512,
        motion: Annotated[
            float, typer.Option("--motion", help="Strength of head motion; 0 for none.", min=0.0, max=3.0)
        ] = 1.0,
        normals: Annotated[bool, typer.Option("--normals/--no-normals", help="Write surface normals.")] = True,
        force: Annotated[bool, typer.Option("--force", help="Replace a capture that is there.")] = False,
        config: ConfigOption = None,
        sets: SetOption = None,
    ) -> None:
        """Performs a text in an emotion and writes frames, sound and the truth behind them."""
        if seconds is not None and not 0.04 <= seconds <= 36000:
            raise UserError(
                f"--seconds {seconds:g} is outside 0.04 to 36000", "Write a duration in seconds, such as 10."
            )
        from realtalk_core.emotion import parse_emotion

        plan = parse_emotion(emotion)
        _one_speech(text, voice, audio, phonemes, silent, sets)
        if audio is not None and phonemes is not None:
            from realtalk_actor.recorded import recorded_speech

            speech = recorded_speech(audio, phonemes)
        elif silent:
            speech = _silence(seconds or 4.0)
        else:
            speech = _spoken(text, voice, seconds, seed, config, sets or ())
        _record(output, speech, plan, seed, seconds, emotion, size, motion, normals, force)


def _one_speech(
    text: str | None, voice: str | None, audio: Path | None, phonemes: Path | None, silent: bool,
    sets: Sequence[str] | None,
) -> None:  # fmt: skip
    """Whether the options name one speech.

    Raises:
        UserError: if they name two, or half of one.
    """
    given = {"--silent": silent, "--text": text is not None, "--audio": audio is not None}
    named = [name for name, there in given.items() if there]
    if len(named) > 1:
        raise UserError(f"{' and '.join(named)} contradict each other", "Give one of them.")
    chosen = [name for name, there in (("--voice", voice is not None), ("--set", bool(sets))) if there]
    if chosen and (silent or audio is not None):
        raise UserError(f"{chosen[0]} chooses a voice, but with {named[0]} none speaks", "Leave one of them out.")
    if (audio is None) != (phonemes is None):
        has, lacks = ("--audio", "--phonemes") if phonemes is None else ("--phonemes", "--audio")
        raise UserError(
            f"{has} was given without {lacks}",
            "Give both: the sound, and a JSON file that says when each phoneme is (as a capture's phonemes.json).",
        )


def _silence(seconds: float) -> Speech:
    import torch

    from realtalk_core.types import AudioClip
    from realtalk_core.voice import Phoneme, Speech

    return Speech(AudioClip(torch.zeros(round(seconds * 16000)), 16000), (Phoneme("", 0.0, seconds),))


def _spoken(
    text: str | None, voice: str | None, seconds: float | None, seed: int, config: Path | None, sets: Sequence[str]
) -> Speech:
    """The spoken text; without one, sentences until the time is filled."""
    from realtalk_core.cli.speech import chosen_voice
    from realtalk_core.voice import join, speak

    component = chosen_voice(config, sets, voice, otherwise={"espeak": VOICES[seed % len(VOICES)]})
    if text is not None:
        return speak(component, text)
    spoken: list[Speech] = []
    while sum(part.clip.seconds for part in spoken) < (seconds or 8.0):
        spoken.append(speak(component, SENTENCES[(seed + len(spoken)) % len(SENTENCES)]))
    return join(spoken)


def _record(
    output: Path, speech: Speech, plan: Any, seed: int, seconds: float | None, emotion: str, size: int, motion: float,
    normals: bool, force: bool,
) -> None:  # fmt: skip
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from realtalk_actor.actor import Actor
    from realtalk_actor.performance import perform
    from realtalk_actor.picture import Camera
    from realtalk_actor.record import write_capture
    from realtalk_core.capturing.workplace import finished, workplace

    frames = max(1, round((seconds or speech.clip.seconds) * FPS))
    job = {"actor": seed, "emotion": emotion, "said": " ".join(p.ipa for p in speech.phonemes), "frames": frames,
           "sound": _digest(speech), "size": size, "motion": motion, "normals": normals}  # fmt: skip
    if finished(output, job, force):
        say(f"{output} is done already; --force makes it again.")
        return
    performance = perform(speech, plan.track(frames, FPS), seed, motion=motion)
    columns = (TextColumn("rendering"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with workplace(output, job) as place, Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("rendering", total=frames)
            write_capture(
                place.folder, Actor(seed), Camera(size), performance, job, with_normals=normals,
                progress=lambda done, _: bar.update(task, completed=done),
            )  # fmt: skip
            place.finish()
    except KeyboardInterrupt:
        note(f"\nInterrupted; {output} was not touched.")
        raise
    say(f"Capture: {output}  (look at {output / 'overview.png'})")
    say(f"Next:    realtalk train {output} -o AVATAR")


def _digest(speech: Speech) -> str:
    """Tells one speech from another in which the same is said."""
    import hashlib

    times = repr([(p.start, p.end) for p in speech.phonemes]).encode()
    return hashlib.sha256(speech.clip.samples.numpy().tobytes() + times).hexdigest()[:16]
