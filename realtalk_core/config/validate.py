"""Values to a checked pydantic model; what pydantic finds is said in the words of a registry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from realtalk_core.config.layers import Value, word_hint
from realtalk_core.errors import Problem, did_you_mean

M = TypeVar("M", bound=BaseModel)

_WORDS = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text; put it in quotes",
    "path_type": "must be a path",
    "literal_error": "must be {expected}",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
}
"""pydantic's error types, as a user of a registry would say them; its own message for all others."""


def validate(
    model: type[M], values: Mapping[str, Value], problems: list[Problem], place: Value | None, owner: str
) -> M | None:
    """Builds a model out of values.

    Args:
        model: A component's configuration.
        values: Its parameters, each with the place where it was written.
        problems: What is wrong is added here.
        place: Where the component was named, for problems that belong to no single parameter.
        owner: What the parameters belong to, such as `renderer 'triplane_nerf'`.

    Returns:
        The model, or None if anything is wrong.
    """
    before = len(problems)
    data: dict[str, Any] = {}
    for name, value in values.items():
        field = model.model_fields.get(name)
        if field is None:
            problems.append(value.problem(f"{owner} has no such parameter{did_you_mean(name, model.model_fields)}"))
        elif isinstance(value.value, bool) and not _mentions(field.annotation, bool):
            hint = word_hint(value) if _takes_text(field.annotation) else ""
            problems.append(value.problem(f"must not be true or false{hint}"))
        elif value.base is not None and _mentions(field.annotation, FilePath):
            data[name] = _against(value.base, value.value)
        else:
            data[name] = value.value
    try:
        made = model(**data)
    except ValidationError as error:
        problems += [_problem(item, values, place, owner) for item in error.errors(include_url=False)]
        return None
    return made if len(problems) == before else None


def _problem(item: Any, values: Mapping[str, Value], place: Value | None, owner: str) -> Problem:
    name = str(item["loc"][0]) if item["loc"] else ""
    inner = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"][1:])
    text = _words(item)
    if name in values:
        return values[name].problem(f"{inner.lstrip('.')}: {text}" if inner else text)
    culprit = next(iter(values.values()), place)  # a rule between parameters: point at the first that was written
    return culprit.problem(f"{owner}: {text}") if culprit else Problem(f"{owner}: {text}")


def _words(item: Any) -> str:
    kind, got, context = str(item["type"]), item["input"], item.get("ctx", {})
    if kind == "value_error":
        return str(context.get("error", item["msg"]))
    text = _WORDS[kind].format(**context) if kind in _WORDS else f"{item['msg'][0].lower()}{item['msg'][1:]}"
    if kind == "literal_error" and isinstance(got, str):
        hint = did_you_mean(got, [word for word in str(context["expected"]).split("'") if word.isidentifier()])
        text += f", got {got!r}{hint.partition(' (known')[0]}"
        return text
    return f"{text}, got {got!r}"


def _mentions(annotation: Any, wanted: type) -> bool:
    if isinstance(annotation, type) and not get_args(annotation):
        return issubclass(annotation, wanted)
    return annotation is Any or any(_mentions(part, wanted) for part in get_args(annotation))


def _takes_text(annotation: Any) -> bool:
    parts = get_args(annotation)
    return _mentions(annotation, str) or any(isinstance(part, str) or _takes_text(part) for part in parts)


def _against(base: FilePath, value: Any) -> Any:
    """Paths inside a parameter, resolved against the folder of the file they stand in (`--set`: the current one)."""
    if isinstance(value, str):
        return base / FilePath(value).expanduser()
    if isinstance(value, list):
        return [_against(base, item) for item in value]
    if isinstance(value, dict):
        return {key: _against(base, item) for key, item in value.items()}
    return value
