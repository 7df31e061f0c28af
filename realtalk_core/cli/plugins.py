"""`realtalk plugins`: what is installed, and what was left out and why."""

from __future__ import annotations

import typer

from realtalk_core.cli.common import ConfigOption, JsonOption, installed, say, say_json, table
from realtalk_core.spec import STAGES


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command(short_help="What is installed, and what was left out.")
    def plugins(config: ConfigOption = None, as_json: JsonOption = False) -> None:
        """Lists the installed components by stage, and the plugins that were left out, each with its reason."""
        found = installed(config)
        if as_json:
            keys = ("stage", "name", "plugin", "summary", "api", "version", "requires", "extra")
            parts = ("name", "module", "distribution", "heavy")
            why = ("name", "kind", "reason", "distribution")
            say_json(
                {
                    "components": [{key: getattr(spec, key) for key in keys} for spec in found.specs],
                    "plugins": [{key: getattr(info, key) for key in parts} for info in found.loaded],
                    "failures": [{key: getattr(failure, key) for key in why} for failure in found.failures],
                }
            )
            return
        home = {info.name: info.distribution for info in found.loaded}
        for stage in STAGES:
            specs = found.of(stage)
            if specs:
                say(stage)
                names = [spec.name for spec in specs]
                table(
                    [
                        (spec.name if names.count(spec.name) == 1 else spec.qualified, home[spec.plugin], spec.summary)
                        for spec in specs
                    ],
                    "  ",
                )
        if found.failures:
            say("left out")
            table([(f.name, f.kind, f.reason) for f in found.failures], "  ")
        for info in found.loaded:
            if info.heavy:
                say(f"slow: plugin {info.name!r} imports {', '.join(info.heavy)} already when it is declared")
