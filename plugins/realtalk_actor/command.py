"""`realtalk actor`: a synthetic person performs, and the result is a capture with exact ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from realtalk_core.cli.common import ConfigOption, installed, note, say
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
        voice: Annotated[
            str | None, typer.Option("--voice", help="Language and variant of the voice, such as en-gb+f3.")
        ] = None,
        speaker: Annotated[
            str, typer.Option("--speaker", help="Which voice component speaks; 'none' for a silent performance.")
        ] = "espeak",
        size: Annotated[int, typer.Option("--size", help="Side of the frames in pixels.", min=64, max=2048)] = 512,
        motion: Annotated[
            float, typer.Option("--motion", help="Strength of head motion; 0 for none.", min=0.0, max=3.0)
        ] = 1.0,
        normals: Annotated[bool, typer.Option("--normals/--no-normals", help="Write surface normals.")] = True,
        force: Annotated[bool, typer.Option("--force", help="Replace a capture that is there.")] = False,
        config: ConfigOption = None,
    ) -> None:
        """Performs a text in an emotion and writes frames, sound and the truth behind them."""
        if seconds is not None and not 0.04 <= seconds <= 36000:
            raise UserError(
                f"--seconds {seconds:g} is outside 0.04 to 36000", "Write a duration in seconds, such as 10."
            )
        from realtalk_core.emotion import parse_emotion

        plan = parse_emotion(emotion)
        if text is not None and not text.strip():
            raise UserError("--text is empty", 'Write a sentence, such as --text "Good morning."')
        if speaker == "none" and text is not None:
            raise UserError("--speaker none says nothing, but --text was given", "Leave one of them out.")
        speech = _speech(speaker, voice or VOICES[seed % len(VOICES)], text, seconds, seed, config)
        _record(output, speech, plan, seed, seconds, emotion, size, motion, normals, force)


def _speech(
    speaker: str, voice: str, text: str | None, seconds: float | None, seed: int, config: Path | None
) -> Speech:
    """The spoken text; without one, sentences until the time is filled."""
    import torch

    from realtalk_core.types import AudioClip
    from realtalk_core.voice import Phoneme, Speech

    if speaker == "none":
        length = seconds or 4.0
        return Speech(AudioClip(torch.zeros(round(length * 16000)), 16000), (Phoneme("", 0.0, length),))
    from realtalk_core.build import build

    spec = installed(config).find("voice", speaker)
    settings: dict[str, Any] = {"voice": voice} if "voice" in spec.config.model_fields else {}
    component = build(spec, spec.config(**settings))
    if text is not None:
        return component.speak(text)  # type: ignore[no-any-return]
    wanted, spoken, k = seconds or 8.0, [], seed
    total = 0.0
    while total < wanted:
        spoken.append(component.speak(SENTENCES[k % len(SENTENCES)]))
        total += spoken[-1].clip.seconds
        k += 1
    return _joined(spoken)


def _joined(parts: list[Speech]) -> Speech:
    import torch

    from realtalk_core.types import AudioClip
    from realtalk_core.voice import Phoneme, Speech

    phonemes, at = [], 0.0
    for part in parts:
        phonemes += [Phoneme(p.ipa, p.start + at, p.end + at) for p in part.phonemes]
        at += part.clip.seconds
    samples = torch.cat([part.clip.samples for part in parts])
    return Speech(AudioClip(samples, parts[0].clip.sample_rate), tuple(phonemes))


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
           "size": size, "motion": motion, "normals": normals}  # fmt: skip
    if not force and finished(output, job):
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
