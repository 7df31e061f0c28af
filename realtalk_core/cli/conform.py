"""`realtalk conform`: does a plugin keep the contract?"""

from __future__ import annotations

from typing import Annotated, get_args

import typer

from realtalk_core.cli.common import JsonOption, installed, say, say_json, table


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command(short_help="Does a plugin keep the contract?")
    def conform(
        plugin: Annotated[str, typer.Argument(help="A plugin or component, such as triplane_nerf.")],
        as_json: JsonOption = False,
    ) -> None:
        """Runs the conformance kit on a plugin and lists what came of every check."""
        from realtalk_core.testing import run_conformance
        from realtalk_core.testing.kit import Outcome

        report = run_conformance(plugin, installed())
        if as_json:
            say_json({"plugin": plugin, **report.to_dict()})
        else:
            table([(r.outcome, r.component, r.id, " ".join(r.detail.split())) for r in report.results])
            words: tuple[Outcome, ...] = get_args(Outcome)
            say(f"{plugin}: " + ", ".join(f"{report.count(word)} {word}" for word in words))
        if not report.ok:
            raise typer.Exit(2)
