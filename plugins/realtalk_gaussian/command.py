"""`realtalk export-ply`: a head of Gaussians as a file for public viewers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from realtalk_core.cli.common import installed, say
from realtalk_core.errors import UserError

if TYPE_CHECKING:
    from realtalk_core.avatar import Avatar
    from realtalk_core.emotion import EmotionPlan
    from realtalk_gaussian.head import Posed
    from realtalk_gaussian.renderer import GaussianRenderer

NAME = "gaussian"
REST_SECONDS = 1.0
"""Of silence after the moment that is exported, where there is no speech."""


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command("export-ply", short_help="Write a head of Gaussians as a .ply that public viewers open.")
    def export_ply(
        avatar: Annotated[Path, typer.Argument(help="An avatar trained with renderer gaussian.", metavar="AVATAR")],
        output: Annotated[Path, typer.Option("-o", "--output", help="The file.", metavar="HEAD.ply")],
        frame: Annotated[
            int | None, typer.Option(help="A frame of the film, as tracked; the first is 0.", metavar="K")
        ] = None,
        audio: Annotated[
            Path | None, typer.Option(help="Speech: the head as it speaks it, at --time.", metavar="FILE")
        ] = None,
        time: Annotated[
            float | None, typer.Option(help="Second of the speech, or of silence without --audio.", metavar="S")
        ] = None,
        emotion: Annotated[str | None, typer.Option(help="happy, sad:0.7 or 'neutral@0 happy@2'.", metavar="E")] = None,
        valence: Annotated[float | None, typer.Option(help="-1 (unpleasant) to 1 (pleasant).")] = None,
        arousal: Annotated[float | None, typer.Option(help="-1 (calm) to 1 (excited).")] = None,
        unit: Annotated[str, typer.Option(help="What a unit in the file is.", metavar="m|cm")] = "m",
    ) -> None:
        """Writes the head's Gaussians in the format of 3D Gaussian Splatting: as stored, or as a frame has them.

        Stored is the template: mouth and eyes open, nothing moved. --frame takes a frame of the film; --audio, --time,
        --emotion and --valence/--arousal a moment of a synthesis. The torso is a picture, and is not in the file.
        """
        from realtalk_core.cli.synthesize import emotion_plan

        spoken = {"--audio": audio, "--time": time, "--emotion": emotion, "--valence": valence, "--arousal": arousal}
        given = [name for name, value in spoken.items() if value is not None]
        if frame is not None and given:
            raise UserError(
                f"--frame and {given[0]} contradict each other", "Give a frame of the film, or a moment of a synthesis."
            )
        if time is not None and not 0 <= time <= 36000:
            raise UserError(f"--time {time:g} is outside 0 to 36000", "Write the second, such as 1.5.")
        plan = emotion_plan(emotion, valence, arousal)
        _check_unit(unit)

        from realtalk_core.atomic import check_target

        target = check_target(output, ".ply")
        opened = _opened(avatar)
        if given:
            layers, what = _spoken(opened, audio, time or 0.0, plan)
        else:
            layers, what = _filmed(opened, frame)
        _write(opened, layers, what, target, unit)


def _check_unit(unit: str) -> None:
    if unit not in ("m", "cm"):
        raise UserError(f"--unit {unit}: unknown", "Write m or cm.")


def _opened(avatar: Path) -> Avatar:
    """The avatar, if its renderer is this plugin's."""
    from realtalk_core.avatar import Avatar

    opened = Avatar.open(avatar, installed())
    spec = opened.config.stages["renderer"].spec
    if spec.name != NAME:
        raise UserError(
            f"{avatar}: its renderer is {spec.name!r}, and only {NAME!r} has Gaussians to write",
            f"Train that renderer from the same capture: realtalk train CAPTURE -o {avatar} --stage renderer "
            f"--set renderer={NAME}",
        )
    return opened


def _filmed(avatar: Avatar, frame: int | None) -> tuple[list[Posed], str]:
    """What is stored, or a frame of the film."""
    renderer: GaussianRenderer = avatar.component("renderer")
    if frame is None:
        return renderer.stored(), "as stored"
    count = len(avatar.person)
    if not 0 <= frame < count:
        raise UserError(f"--frame {frame}: {avatar.path} has frames 0 to {count - 1}", "Name one of these.")
    from realtalk_core.drives import tracked
    from realtalk_core.windows import context_frames

    reach = context_frames(renderer, avatar.fps)
    span = slice(max(0, frame - reach), min(count, frame + reach + 1))
    return renderer.posed(tracked(avatar, span), frame - span.start), f"frame {frame} of the film"


def _spoken(avatar: Avatar, audio: Path | None, time: float, plan: EmotionPlan) -> tuple[list[Posed], str]:
    """A moment of a synthesis."""
    import torch

    from realtalk_core.audio import stream_audio
    from realtalk_core.cli.speech import SPEECH_RATE
    from realtalk_core.pipeline import Pipeline
    from realtalk_core.types import AudioClip

    pipeline = Pipeline.from_avatar(avatar, device="cpu")
    wanted, frames = int(time * avatar.fps), 0
    rest = AudioClip(torch.zeros(round((time + REST_SECONDS) * SPEECH_RATE)), SPEECH_RATE)
    for cut in pipeline.cuts(rest if audio is None else stream_audio(audio, SPEECH_RATE), plan):
        frames = cut.start + cut.last
        if wanted < frames:
            renderer: GaussianRenderer = pipeline.renderer  # type: ignore[assignment]
            where = f"{time:g} s of {'silence' if audio is None else audio.name}"
            return renderer.posed(cut.drive, wanted - cut.start), where
    raise UserError(f"--time {time:g}: {audio} lasts {frames / avatar.fps:.2f} s", "Name a second before its end.")


def _write(avatar: Avatar, layers: list[Posed], what: str, target: Path, unit: str) -> None:
    from realtalk_core import __version__
    from realtalk_gaussian.ply import Splats, write_ply

    splats = Splats.of(layers)
    comments = (
        f"Synthetic head made by RealTalk {__version__} with avatar {avatar.name}, {what}",
        f"Consent: {avatar.meta.get('consent')}",
        f"unit {unit}; axes: x left, y down, z out of the face",
    )
    write_ply(target, splats, unit, comments)
    degree = round(splats.colours.shape[1] ** 0.5) - 1
    size = target.stat().st_size / 1e6
    say(f"{target}: {len(splats)} Gaussians, {what}; harmonics of degree {degree}, {size:.1f} MB")
