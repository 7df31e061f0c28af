"""`realtalk features`: what an audio encoder hears in a sound, as a file and as a picture."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from realtalk_core.cli.common import (
    ConfigOption,
    DeviceOption,
    JsonOption,
    PresetOption,
    SetOption,
    configuration,
    installed,
    note,
    say,
    say_json,
    table,
)
from realtalk_core.errors import UserError

if TYPE_CHECKING:
    from realtalk_core.config import Selected
    from realtalk_core.stages import AudioEncoder
    from realtalk_core.types import AudioFeatures


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command(short_help="What an audio encoder hears, as a file of features.")
    def features(
        sound: Annotated[Path, typer.Argument(help="A sound or video of any length, or a capture.", metavar="SOUND")],
        output: Annotated[Path, typer.Option("-o", "--output", help="The features (.safetensors).", metavar="FILE")],
        avatar: Annotated[
            Path | None, typer.Option(help="Hear as this avatar does, with its own encoder.", metavar="AVATAR")
        ] = None,
        fps: Annotated[float | None, typer.Option(help="Video frames per second; default as configured.")] = None,
        prosody: Annotated[
            bool, typer.Option("--prosody", help="Pitch, loudness and voice activity beside the features.")
        ] = False,
        plot: Annotated[
            Path | None, typer.Option(help="A picture of the first minute, with prosody.", metavar="PNG")
        ] = None,
        config: ConfigOption = None,
        preset: PresetOption = None,
        sets: SetOption = None,
        device: DeviceOption = "auto",
        as_json: JsonOption = False,
    ) -> None:
        """Hears a sound, row by row in constant memory, and writes one row of features per video frame.

        The file is safetensors: `values` (frames, window, features) and with --prosody `f0`, `voiced`, `loudness`,
        `activity`; its header names encoder, weights and frame rate. `realtalk_core.hearing.load_features` reads it.
        """
        from realtalk_core.atomic import check_target

        target = check_target(output, ".safetensors")
        picture = None if plot is None else check_target(plot, ".png")
        if avatar is not None and (config is not None or preset is not None):
            raise UserError("--avatar has a configuration of its own", "Leave out --config and --preset.")
        chosen, encoder, rate = _encoder(avatar, config, preset, sets or [], device)
        rate = rate if fps is None else fps
        if not 1 <= rate <= 240:
            raise UserError(f"--fps {rate:g} is outside 1 to 240", "Write the video's frames per second, such as 25.")
        source = _source(sound)

        from realtalk_core.cli.speech import listen
        from realtalk_core.config.needs import PROSODY
        from realtalk_core.hearing.activity import remark

        frames = listen(source, rate)
        asked = PROSODY if prosody or plot is not None else frozenset()
        facts = _write(source, target, picture, chosen, encoder, rate, frames, asked, keep_prosody=prosody)
        if facts.get("detector"):
            note(remark(facts["detector"]))
        if as_json:
            say_json(facts)
            return
        say(f"{target}: {facts['rows']} rows of {' x '.join(map(str, facts['shape']))}")
        shown = {
            "encoder": facts["encoder"], "sound": f"{facts['seconds']:.1f} s at {rate:g} frames per second",
            "speed": f"{facts['speed']:.1f} s of sound a second", "look-ahead": f"{facts['lookahead_seconds']:.2f} s",
        }  # fmt: skip
        if picture is not None:
            shown["picture"] = str(picture)
        table([[f"  {name}", value] for name, value in shown.items()])


def _encoder(
    avatar: Path | None, config: Path | None, preset: str | None, sets: list[str], device: str
) -> tuple[Selected, AudioEncoder, float]:
    """The encoder, its declaration and parameters, and the frame rate that goes with it."""
    from realtalk_core.build import build, load_class
    from realtalk_core.device import place, resolve

    resolve(device)
    if avatar is not None:
        from realtalk_core.avatar import Avatar

        opened = Avatar.open(avatar, installed(), sets)
        return opened.config.stages["audio"], opened.component("audio", device), opened.fps
    wanted = configuration(config, preset, sets)
    chosen = wanted.stages["audio"]
    cls = load_class(chosen.spec)
    if hasattr(cls, "for_training"):
        raise UserError(
            f"the audio encoder {chosen.spec.name!r} learns from a capture and cannot hear before that",
            "Name an avatar that has learnt it: --avatar AVATAR",
        )
    return chosen, place(build(chosen.spec, chosen.config), device), wanted.fps


def _source(sound: Path) -> Path:
    """The file to hear: itself, or a capture's sound."""
    if not sound.is_dir():
        return sound
    if (sound / "capture.yaml").is_file():
        if not (sound / "audio.wav").is_file():
            raise UserError(f"{sound} has no sound: its video had none", "Name a capture with sound, or a sound file.")
        return sound / "audio.wav"
    raise UserError(f"{sound} is a folder, and no capture", "Name a sound or video file, or a capture.")


def _write(
    source: Path,
    target: Path,
    picture: Path | None,
    chosen: Selected,
    encoder: AudioEncoder,
    fps: float,
    frames: int,
    asked: frozenset[str],
    *,
    keep_prosody: bool,
) -> dict[str, Any]:
    """Hears the sound into the file, and the beginning into the picture; returns what is worth telling."""
    from dataclasses import replace

    from realtalk_core.atomic import atomic_file
    from realtalk_core.checkpoint import Header
    from realtalk_core.cli.progress import Bars
    from realtalk_core.encoders import encoder_name
    from realtalk_core.hearing.cache import weights_of
    from realtalk_core.hearing.file import STAGE, writing_features
    from realtalk_core.hearing.pieces import heard_rows
    from realtalk_core.hearing.plot import SECONDS, plot_features
    from realtalk_core.hearing.stream import open_stream

    digest = weights_of(encoder)
    began, shown, heard = time.monotonic(), [], _Heard(source)
    with Bars("frames") as bars, writing_features(target) as (writer, partial):
        for rows in heard_rows(encoder, heard.chunks(), fps, asked):
            if picture is not None and writer.rows < SECONDS * fps:
                shown.append(rows)
            writer.add(rows if keep_prosody else replace(rows, prosody=None))
            bars("features", writer.rows, max(frames, writer.rows))
        facts: dict[str, Any] = {
            "encoder": encoder_name(chosen.spec.name, chosen.config, digest), "weights_sha256": digest, "fps": fps,
            "seconds": round(heard.samples / heard.rate, 3), "source": source.name,
        }  # fmt: skip
        if writer.detector:
            facts["detector"] = writer.detector
        parameters = chosen.config.model_dump(mode="json")
        spec = chosen.spec
        writer.join(partial, Header(STAGE, spec.name, spec.version, parameters, spec.plugin, metrics=facts))
        rows_written, shape = writer.rows, list(writer.shape)
    seconds = time.monotonic() - began
    if picture is not None:
        with atomic_file(picture) as partial:
            plot_features(_first(shown, round(SECONDS * fps)), partial, f"{spec.name}: {source.name}")
    lookahead = open_stream(encoder, heard.rate, fps).lookahead_seconds
    return {
        "file": str(target), "rows": rows_written, "shape": shape, **facts,
        "speed": round(facts["seconds"] / max(seconds, 1e-6), 2), "lookahead_seconds": round(lookahead, 3),
    }  # fmt: skip


class _Heard:
    """A sound's chunks, and how much of it there was."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self.samples, self.rate = 0, 1

    def chunks(self) -> Iterator[Any]:
        from realtalk_core.audio import stream_audio

        for chunk in stream_audio(self._source):
            self.samples, self.rate = self.samples + chunk.samples.numel(), chunk.sample_rate
            yield chunk


def _first(parts: list[AudioFeatures], rows: int) -> list[AudioFeatures]:
    from realtalk_core.types import concat_features

    return [concat_features(parts)[:rows]]
