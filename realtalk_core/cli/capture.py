"""`realtalk capture`: a video of a person becomes a capture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from realtalk_core.cli.common import ConfigOption, JsonOption, SetOption, configuration, installed, note, say, say_json
from realtalk_core.errors import UserError

if TYPE_CHECKING:
    from realtalk_core.capturing import Progress, Result


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command(short_help="Turn a video of a person into a capture to train from.")
    def capture(
        video: Annotated[Path, typer.Argument(help="The video: any format, one person speaking, 1 to 5 minutes.")],
        output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the capture.", metavar="DIR")],
        tracker: Annotated[
            str | None, typer.Option("--tracker", help="Which tracker finds the face.", metavar="NAME")
        ] = None,
        size: Annotated[int, typer.Option("--size", help="Side of the square frames in pixels.")] = 512,
        start: Annotated[float, typer.Option("--start", help="Second of the video at which to begin.", min=0.0)] = 0.0,
        end: Annotated[float | None, typer.Option("--end", help="Second of the video at which to stop.")] = None,
        force: Annotated[bool, typer.Option("--force", help="Replace a capture that is there.")] = False,
        config: ConfigOption = None,
        sets: SetOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Tracks the face, solves poses and camera, cuts out the person, and reports what will hurt.

        An interrupted run goes on where it stopped when it is started again.
        """
        if end is not None and end <= start:
            raise UserError(f"--end {end:g} does not come after --start {start:g}", "Give both in seconds.")
        plugins = installed(config)
        wanted = [*(sets or ()), *([f"tracker={tracker}"] if tracker else [])]
        selected = configuration(config, None, wanted, plugins).stages["tracker"]

        from realtalk_core.build import build
        from realtalk_core.capturing import Options, run

        settings = selected.config.model_dump(mode="json")
        options = Options(video, selected.spec.name, settings, size, start, end)
        try:
            with _bar(quiet=as_json) as progress:
                component = build(selected.spec, selected.config)
                result = run(options, output, component, force=force, progress=progress)
        except KeyboardInterrupt:
            note(f"\nInterrupted; {output} was not touched. The same command goes on from here.")
            raise
        _tell(result, output, as_json)


@contextmanager
def _bar(quiet: bool) -> Iterator[Progress]:
    """A progress bar on stderr, one line a step, with the time left."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:28}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    steps: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bars:

        def progress(step: str, done: int, total: int) -> None:
            if step not in steps:
                steps[step] = bars.add_task(step, total=total or None)
            bars.update(steps[step], completed=done, total=total or None)

        yield progress


def _tell(result: Result, output: Path, as_json: bool) -> None:
    if as_json:
        warnings = [{"name": f.name, "text": f.text, "cure": f.cure} for f in result.findings]
        say_json({"path": str(output), "made": result.fresh, "warnings": warnings})
        return
    if not result.fresh:
        say(f"{output} is done already; --force makes it again.")
        return
    for finding in result.findings:
        say(f"{finding.name}: {finding.text}.\n    {finding.cure}")
    say(f"Capture: {output}  (look at {output / 'overview.png'} and {output / 'report.md'})")
    say(f"Next:    realtalk train {output} -o AVATAR")
