"""Speech for a command: listening to a sound file once before any work, or having a text spoken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from realtalk_core.cli.common import configuration, note
from realtalk_core.errors import UserError

if TYPE_CHECKING:
    from realtalk_core.plugins import Plugins
    from realtalk_core.voice import Voice

VoiceOption = Annotated[
    str | None,
    typer.Option(
        "--voice",
        help="Who speaks, such as en-gb or de+f3: realtalk voices lists them. Another kind of voice: --set voice=NAME.",
        metavar="NAME",
    ),
]

SPEECH_RATE = 16_000
SILENCE = 10 ** (-60 / 20)
"""-60 dB of full scale."""
LEVEL_SAMPLES = SPEECH_RATE // 20
NEVER_PAUSES_SECONDS = 3.0
NEVER_PAUSES = 10 ** (-16 / 20)
"""Even the quietest twentieth lies within 16 dB of the loud parts: so with noise at 0 dB, not with plain speech."""


def listen(audio: Path, fps: float) -> int:
    """The number of video frames a sound spans; says what about it will show.

    Raises:
        UserError: if it is missing, empty, unreadable or has no sound.
    """
    import numpy as np

    from realtalk_core.audio import stream_audio

    samples, loudest, levels = 0, 0.0, []
    for chunk in stream_audio(audio, SPEECH_RATE):
        values = chunk.samples.numpy()
        samples += values.size
        loudest = max(loudest, float(np.abs(values).max(initial=0)))
        whole = values[: values.size // LEVEL_SAMPLES * LEVEL_SAMPLES].reshape(-1, LEVEL_SAMPLES)
        levels.append(np.sqrt(np.square(whole).mean(1)))
    if samples == 0:
        raise UserError(f"{audio}: its sound track is empty", "Check that the file plays, or record it again.")
    seconds = samples / SPEECH_RATE
    if loudest < SILENCE:
        note(f"{audio} is silent: the mouth will stay at rest")
    elif seconds > NEVER_PAUSES_SECONDS:
        quiet, loud = np.percentile(np.concatenate(levels), (5, 90))
        if quiet > NEVER_PAUSES * loud:
            note(f"{audio} never pauses: noise or music beneath a voice moves the mouth too; going on")
    if seconds < 1 / fps:
        note(f"{audio} is shorter than a frame: it is filled with silence to one")
    return max(1, round(seconds * fps))


def chosen_voice(
    file: Path | None,
    sets: Sequence[str] = (),
    name: str | None = None,
    plugins: Plugins | None = None,
    *,
    otherwise: Mapping[str, str] | None = None,
) -> Voice:
    """The voice that the configuration names, ready to speak.

    Args:
        file: What `-c` names.
        sets: `--set` texts.
        name: What `--voice` names: the component's parameter `voice`.
        plugins: What is installed; discovered if not given.
        otherwise: For components by name, the voice they take where neither `--voice` nor the configuration names one.

    Raises:
        UserError: if the configuration is wrong, the component or its model is not installed, or has no such voice.
    """
    from realtalk_core.build import build
    from realtalk_core.config.layers import Value
    from realtalk_core.config.validate import validate
    from realtalk_core.errors import ConfigError, Problem

    resolved = configuration(file, None, sets, plugins)
    if "voice" not in resolved.stages:
        raise UserError("nothing fills the stage voice", "Choose a component: --set voice=NAME (realtalk plugins).")
    spec, config = resolved.stages["voice"].spec, resolved.stages["voice"].config
    if name is None and "voice" not in config.model_fields_set:
        name = (otherwise or {}).get(spec.name)
    if name is not None:
        kinds = [kind.name for kind in resolved.plugins.of("voice")]
        if "voice" not in spec.config.model_fields:
            others = ", ".join(kind for kind in kinds if kind != spec.name)
            raise UserError(
                f"--voice {name}: {spec.name!r} has one voice only",
                f"Leave --voice out, or choose another kind of voice with --set voice=NAME ({others}).",
            )
        if name in kinds:
            raise UserError(f"--voice {name}: that is a kind of voice", f"Choose it with --set voice={name}")
        problems: list[Problem] = []
        given = {key: Value(getattr(config, key), ("voice", key), ("", 0, 0)) for key in config.model_fields_set}
        given["voice"] = Value(name, (), ("--voice", 0, 0))
        made = validate(spec.config, given, problems, None, f"voice {spec.name!r}")
        if made is None:
            raise ConfigError(problems)
        config = made
    return build(spec, config)  # type: ignore[no-any-return]


def check_speech(audio: Path | None, text: str | None, voice: str | None, sets: Sequence[str]) -> None:
    """Whether the options name one speech.

    Raises:
        UserError: if not exactly one of a sound and a text is given, or a voice beside a sound.
    """
    if (audio is None) == (text is None):
        raise UserError(
            "give the speech as a sound file or as a text" + ("" if audio is None else ", not both"),
            'Write --audio FILE, or --text "Good morning."',
        )
    if audio is not None and (voice is not None or sets):
        raise UserError("a voice was chosen, but --audio is spoken already", "Leave the voice out, or give --text.")


@contextmanager
def speech_file(audio: Path | None, text: str | None, voice: str | None, sets: Sequence[str]) -> Iterator[Path]:
    """The sound to speak with: the file that was given, or the text spoken into a file that is gone afterwards.

    Raises:
        UserError: if the text cannot be spoken.
    """
    if audio is not None:
        yield audio
        return
    import tempfile

    from realtalk_core.audio import write_wav
    from realtalk_core.voice import speak

    with tempfile.TemporaryDirectory(prefix="realtalk-") as folder:
        file = Path(folder) / "speech.wav"
        write_wav(file, speak(chosen_voice(None, sets, voice), text or "").clip)
        yield file
