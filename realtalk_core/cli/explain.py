"""`realtalk explain`: one component's parameters, in its own words."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from realtalk_core.cli.common import ConfigOption, JsonOption, field_help, installed, say, say_json, terminal_width
from realtalk_core.errors import UserError, did_you_mean
from realtalk_core.spec import STAGES, ComponentConfig

if TYPE_CHECKING:
    from realtalk_core.plugins import Plugins
    from realtalk_core.spec import ComponentSpec


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command(short_help="One component's parameters.")
    def explain(
        stage: Annotated[str, typer.Argument(help="A stage, such as renderer; or motion.")],
        name: Annotated[str | None, typer.Argument(help="A component of it, such as triplane_nerf.")] = None,
        config: ConfigOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Explains one component: what it is, what it needs and gives, and each parameter with default and range.

        Every parameter can be written in registry.yaml, or on the command line as --set STAGE.PARAM=VALUE.
        """
        if stage == "motion":
            from realtalk_core.config import MotionConfig

            facts: dict[str, Any] = {"stage": "motion", "summary": "what happens between emotion and renderer"}
            _answer({**facts, "parameters": parameters(MotionConfig)}, as_json)
            return
        plugins = installed(config)
        known = next((s for s in STAGES if s == stage), None)
        if known is None:
            raise _no_such_stage(stage, plugins)
        if name is None:
            names = ", ".join(s.name for s in plugins.of(known)) or "none is installed"
            raise UserError(f"which {stage}? known: {names}", f"Write: realtalk explain {stage} NAME")
        _answer(component_facts(plugins.find(known, name)), as_json)


def _no_such_stage(word: str, plugins: Plugins) -> UserError:
    spec = next((spec for spec in plugins.specs if word in (spec.name, spec.qualified)), None)
    if spec is not None:
        return UserError(f"{word!r} is a component, not a stage", f"Write: realtalk explain {spec.stage} {word}")
    return UserError(f"unknown stage {word!r}{did_you_mean(word, (*STAGES, 'motion'))}")


def component_facts(spec: ComponentSpec) -> dict[str, Any]:
    """What there is to know about a component, as plain data."""
    defaults = spec.config()
    return {
        "stage": spec.stage, "name": spec.name, "plugin": spec.plugin, "summary": spec.summary, "api": spec.api,
        "version": spec.version, "needs": sorted(spec.tokens_needed(defaults)),
        "gives": sorted(spec.tokens_given(defaults)), "requires": list(spec.requires), "extra": spec.extra,
        "expected_failures": dict(spec.expected_failures), "parameters": parameters(spec.config),
    }  # fmt: skip


def parameters(model: type[ComponentConfig]) -> list[dict[str, Any]]:
    """Name, type, default, range and sentence of each parameter."""
    return [
        {
            "name": name,
            "type": _type(info.annotation),
            "default": model().model_dump(mode="json")[name],
            "range": _range(info.metadata),
            "help": field_help(model, name),
        }
        for name, info in model.model_fields.items()
    ]


def _answer(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        say_json(facts)
        return
    say(" ".join(filter(None, (facts["stage"], facts.get("name")))) + f" - {facts['summary']}")
    if "plugin" in facts:
        say(f"  from plugin {facts['plugin']}, interface version {facts['api']}, checkpoint version {facts['version']}")
    for word in ("needs", "gives", "requires"):
        if facts.get(word):
            install = f'; install with: pip install "{facts["extra"]}"' if word == "requires" and facts["extra"] else ""
            say(f"  {word} {', '.join(facts[word])}{install}")
    say()
    if not facts["parameters"]:
        say("no parameters")
    elif terminal_width():
        _as_table(facts["stage"], facts["parameters"])
    else:
        _as_text(facts["stage"], facts["parameters"])


def _as_table(stage: str, rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("parameter", no_wrap=True, style="bold")
    table.add_column("default", max_width=20)
    table.add_column("type", max_width=28)
    table.add_column("what it does", ratio=1)
    for row in rows:
        table.add_row(f"{stage}.{row['name']}", _plain(row["default"]), _kind(row), row["help"])
    Console(markup=False, highlight=False).print(table)


def _as_text(stage: str, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        say(f"{stage}.{row['name']} = {_plain(row['default'])}  ({_kind(row)})")
        say(textwrap.fill(row["help"], 100, initial_indent="    ", subsequent_indent="    "))


def _kind(row: dict[str, Any]) -> str:
    return ", ".join(filter(None, (row["type"], row["range"])))


def _plain(value: Any) -> str:
    words = {True: "true", False: "false", None: "none"}
    return words[value] if isinstance(value, bool) or value is None else str(value)


def _type(annotation: Any) -> str:
    words = get_args(annotation)
    if words and all(isinstance(word, str) for word in words):
        return "one of " + ", ".join(words)
    plain = getattr(annotation, "__name__", None) if not words else None
    return plain or str(annotation).replace("typing.", "").replace("pathlib.", "").replace("NoneType", "None")


def _range(metadata: list[Any]) -> str:
    names = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥", "max_length": "length ≤"}
    limits = [(sign, getattr(item, key, None)) for item in metadata for key, sign in names.items()]
    return ", ".join(f"{sign} {limit}" for sign, limit in limits if limit is not None)
