"""`realtalk schema`: the JSON Schema of registry.yaml for what is installed here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from realtalk_core.cli.common import installed, say_json
from realtalk_core.spec import PIPELINE_STAGES, Stage

if TYPE_CHECKING:
    from realtalk_core.plugins import Plugins


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command(short_help="The JSON Schema of registry.yaml.")
    def schema() -> None:
        """Prints the JSON Schema of registry.yaml, with the components that are installed; editors complete from it."""
        say_json(registry_schema(installed()))


def registry_schema(plugins: Plugins) -> dict[str, Any]:
    """The schema as data."""
    from realtalk_core.config import MotionConfig
    from realtalk_core.config.layers import BESIDE

    definitions: dict[str, Any] = {}

    def take(model: Any, key: str) -> dict[str, str]:
        body = model.model_json_schema(ref_template="#/$defs/{model}")
        definitions.update(body.pop("$defs", {}))
        definitions[key] = body
        return {"$ref": f"#/$defs/{key}"}

    def stage(name: Stage) -> dict[str, Any]:
        choices = [
            {
                "properties": {
                    "use": {"enum": [spec.name, spec.qualified]},
                    "params": take(spec.config, f"{name}.{spec.name}"),
                },
                "required": ["use"],
            }
            for spec in plugins.of(name)
        ]
        return {
            "type": "object",
            "properties": {"use": {"type": "string"}, "when": {"type": "string"}, "params": {"type": "object"}},
            "additionalProperties": False,
            "if": {"required": ["use"]},
            "then": {"anyOf": choices} if choices else {},
        }

    def several(name: Stage) -> dict[str, Any]:
        return {"anyOf": [stage(name), {"type": "array", "items": stage(name)}]}

    layer: dict[str, Any] = {
        "fps": {"type": "number", "minimum": 1, "maximum": 240},
        "pipeline": {
            "type": "object",
            "properties": {s: stage(s) for s in PIPELINE_STAGES},
            "additionalProperties": False,
        },
        **{s: stage(s) for s in BESIDE},
        "motion": take(MotionConfig, "motion"),
    }
    preset: dict[str, Any] = {
        **layer,
        "pipeline": {
            "type": "object",
            "properties": {s: several(s) for s in PIPELINE_STAGES},
            "additionalProperties": False,
        },
        **{s: several(s) for s in BESIDE},
    }
    names = {"type": "array", "items": {"type": "string"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "RealTalk registry",
        "type": "object",
        "required": ["version"],
        "additionalProperties": False,
        "properties": {
            "version": {"const": 1},
            "plugins": {
                "type": "object",
                "properties": {"disabled": names, "required": names},
                "additionalProperties": False,
            },
            **layer,
            "presets": {
                "type": "object",
                "additionalProperties": {"type": "object", "properties": preset, "additionalProperties": False},
            },
        },
        "$defs": definitions,
    }
