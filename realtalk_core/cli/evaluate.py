"""`realtalk evaluate`: how well an avatar repeats what its person was filmed doing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from realtalk_core.cli.common import JsonOption, installed, say, say_json, table
from realtalk_core.errors import UserError

MEANING = {
    "frame_psnr": "dB, whole finished picture",
    "frame_ssim": "the same, structural similarity",
    "frame_lpips": "the same, LPIPS: 0 looks alike",
    "face_psnr": "dB, finished picture within the face's box",
    "face_ssim": "the same, structural similarity",
    "face_lpips": "the same, LPIPS: 0 looks alike",
    "head_psnr": "dB, rendered head alone within the face's box",
    "mouth_correlation": "mouth opening from sound against film, 1 is perfect",
    "mouth_amplitude": "its liveliness, 1 is as lively as the person",
    "landmark_error_cm": "mean distance of landmarks from sound to film",
}


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command()
    def evaluate(
        avatar: Annotated[Path, typer.Argument(help="An avatar folder.", metavar="AVATAR")],
        capture: Annotated[Path, typer.Argument(help="The capture it was trained on.", metavar="CAPTURE")],
        split: Annotated[
            float | None, typer.Option(help="Share of the capture to pass over; default: what was learnt from.")
        ] = None,
        frames: Annotated[int, typer.Option(help="Frames to render.", min=1)] = 24,
        as_json: JsonOption = False,
    ) -> None:
        """Self-reconstruction: the held-out part of a capture, rendered from its tracks and from its sound alone."""
        from realtalk_core.avatar import Avatar, tracks_digest
        from realtalk_core.capture import Capture
        from realtalk_core.cli.progress import Bars
        from realtalk_core.reconstruction import reconstruct

        opened, learnt = Avatar.open(avatar, installed()), Capture.open(capture)
        trained_on = opened.meta.get("trained_on", {})
        same = trained_on.get("tracks_sha256") == tracks_digest(learnt)
        passed = split if split is not None else (float(trained_on.get("split", 0)) if same else 0.0)
        if not 0 <= passed <= 1:
            raise UserError(f"--split {passed:g} is outside 0 to 1", "Write the share to pass over, such as 0.8.")
        with Bars("frames") as bars:
            found = reconstruct(opened, learnt, split=passed, count=frames, progress=bars)
        if as_json:
            say_json({"split": passed, "frames": frames, **found})
            return
        part = f"the last {(1 - passed) * 100:.0f} %" if 0 < passed < 1 else "all"
        say(f"{avatar} on {part} of {capture}{'' if passed < 1 or not same else ', which it has learnt from'}:")
        table([(name, f"{value:g}", MEANING[name]) for name, value in found.items()], "  ")
