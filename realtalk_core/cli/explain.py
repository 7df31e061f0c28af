"""`realtalk explain`: one component's parameters, in its own words."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from realtalk_core.cli.common import JsonOption, installed, say, say_json
from realtalk_core.errors import UserError, did_you_mean
from realtalk_core.spec import STAGES, ComponentConfig, Stage

if TYPE_CHECKING:
    from realtalk_core.spec import ComponentSpec


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command()
    def explain(
        stage: Annotated[str, typer.Argument(help="A stage, such as renderer; or motion.")],
        name: Annotated[str | None, typer.Argument(help="A component of it, such as triplane_nerf.")] = None,
        as_json: JsonOption = False,
    ) -> None:
        """Explains one component: what it is, needs and gives, and each parameter with its default."""
        if stage == "motion":
            from realtalk_core.config import MotionConfig

            say("motion: what happens between emotion and renderer\n")
            _parameters(MotionConfig, "motion")
            return
        if stage not in STAGES:
            raise UserError(f"unknown stage {stage!r}{did_you_mean(stage, (*STAGES, 'motion'))}")
        plugins = installed()
        known: Stage = next(s for s in STAGES if s == stage)
        if name is None:
            names = ", ".join(s.name for s in plugins.of(known)) or "none is installed"
            raise UserError(f"which {stage}? known: {names}", f"Write: realtalk explain {stage} NAME")
        spec = plugins.find(known, name)
        if as_json:
            say_json(_facts(spec))
            return
        say(f"{spec.stage} {spec.name} - {spec.summary}")
        say(f"  from plugin {spec.plugin}, interface version {spec.api}, checkpoint version {spec.version}")
        defaults = spec.config()
        for word, tokens in (("needs", spec.tokens_needed(defaults)), ("gives", spec.tokens_given(defaults))):
            if tokens:
                say(f"  {word} {', '.join(sorted(tokens))}")
        if spec.requires:
            cure = f'; install with: pip install "{spec.extra}"' if spec.extra else ""
            say(f"  requires {', '.join(spec.requires)}{cure}")
        say()
        _parameters(spec.config, spec.stage)


def _facts(spec: ComponentSpec) -> dict[str, Any]:
    defaults = spec.config()
    return {
        "stage": spec.stage, "name": spec.name, "plugin": spec.plugin, "summary": spec.summary, "api": spec.api,
        "version": spec.version,
        "needs": sorted(spec.tokens_needed(defaults)), "gives": sorted(spec.tokens_given(defaults)),
        "requires": list(spec.requires), "extra": spec.extra, "parameters": spec.config.model_json_schema(),
    }  # fmt: skip


def _parameters(model: type[ComponentConfig], prefix: str) -> None:
    if not model.model_fields:
        say("no parameters")
        return
    for field, info in model.model_fields.items():
        default = info.get_default(call_default_factory=True)
        say(f"{prefix}.{field} = {default!r}  ({_type(info.annotation)}{_limits(info.metadata)})")
        say(
            textwrap.fill(
                " ".join((info.description or "").split()), 100, initial_indent="    ", subsequent_indent="    "
            )
        )


def _type(annotation: Any) -> str:
    words = get_args(annotation)
    if words and all(isinstance(word, str) for word in words):
        return "one of " + ", ".join(words)
    plain = getattr(annotation, "__name__", None) if not words else None
    return plain or str(annotation).replace("typing.", "").replace("pathlib.", "").replace("NoneType", "None")


def _limits(metadata: list[Any]) -> str:
    names = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥", "max_length": "length ≤"}
    parts = [f"{sign} {getattr(item, key)}" for item in metadata for key, sign in names.items() if hasattr(item, key)]
    return ", " + ", ".join(parts) if parts else ""
