"""Reads YAML as data only: a tag whitelist, no duplicate keys, bounded depth and size, and a place for every value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from realtalk_core.errors import Problem

MAX_BYTES = 256_000
MAX_DEPTH = 32
MAX_NODES = 20_000

Path = tuple[str | int, ...]
Mark = tuple[str, int, int]
"""Source, line and column, the last two counted from 1."""

_STR, _INT, _FLOAT, _BOOL, _NULL, _TIMESTAMP = (
    f"tag:yaml.org,2002:{t}" for t in ("str", "int", "float", "bool", "null", "timestamp")
)
_PLAIN = frozenset({_INT, _FLOAT, _BOOL, _NULL})
_DECIMAL = re.compile(r"[-+]?\d[\d_]*")
_EXPONENT = re.compile(r"[-+]?(\d[\d_]*(\.\d*)?|\.\d+)[eE][-+]?\d+")
_WORD_BOOLEANS = frozenset({"yes", "no", "on", "off", "y", "n"})


_REFUSED = object()
"""Stands for a value that was reported already, until its parent leaves it out."""


class _TooMuchError(Exception):
    """Stops the walk at the first bound that is crossed."""


@dataclass(slots=True)
class Document:
    """Plain data, where each part of it was written, and what was wrong with it."""

    data: Any = None
    marks: dict[Path, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    words: dict[Path, str] = field(default_factory=dict)
    """Booleans that were written as a word such as `no`, by path: YAML turns them into true and false."""

    def mark(self, path: Path) -> Mark:
        """Place of the value at `path`, or of the nearest parent that has one."""
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path, ("", 0, 0))

    def problem(self, path: Path, message: str) -> Problem:
        """A problem at the place of `path`."""
        source, line, column = self.mark(path)
        return Problem(message, dotted(path), source, line, column)


def dotted(path: Path) -> str:
    """A path as users write it.

    >>> dotted(("presets", "quick", "fps")), dotted(("a", 0, "b"))
    ('presets.quick.fps', 'a[0].b')
    """
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def read_yaml(text: str | bytes, source: str) -> Document:
    """Parses one YAML document; never raises for its content: what is wrong is in `problems`."""
    document = Document(marks={(): (source, 1, 1)})
    fault = document.problems.append
    if isinstance(text, bytes):
        if len(text) > MAX_BYTES:
            fault(Problem(f"the file is larger than {MAX_BYTES} bytes", source=source))
            return document
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            fault(Problem(f"this is not UTF-8 text (byte {error.start}); save it as UTF-8", "", source, line, 1))
            return document
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        hint = " - indent with spaces, not tabs" if "\\t" in str(error.problem) else ""
        if "another document" in str(error.problem):
            what = "a registry is one YAML document; remove what follows ---"
        else:
            what = f"this is no valid YAML: {error.problem or error.context}{hint}"
        fault(Problem(what, "", source, *place))
        return document
    except (yaml.YAMLError, ValueError) as error:
        what = " ".join(str(error).split()).partition(' in "<')[0]
        fault(Problem(f"this is no valid YAML: {what}", source=source))
        return document
    except RecursionError:
        fault(Problem(f"nested deeper than {MAX_DEPTH} levels", source=source))
        return document
    if node is None:
        fault(Problem("the file is empty; a registry needs at least: version: 1", source=source))
        return document
    try:
        data = _value(node, (), document, source, iter(range(MAX_NODES)))
        document.data = None if data is _REFUSED else data
    except _TooMuchError as error:
        fault(Problem(str(error), "", source, node.start_mark.line + 1, node.start_mark.column + 1))
    return document


def _value(node: yaml.Node, path: Path, document: Document, source: str, budget: Iterator[int]) -> Any:
    document.marks[path] = (source, node.start_mark.line + 1, node.start_mark.column + 1)

    def fault(message: str) -> None:
        document.problems.append(document.problem(path, message))

    if next(budget, None) is None:
        raise _TooMuchError(f"more than {MAX_NODES} values, counting an alias each time it is used")
    if len(path) > MAX_DEPTH:
        raise _TooMuchError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(node, yaml.MappingNode) and node.tag.endswith(":map"):
        return _mapping(node, path, document, source, budget)
    if isinstance(node, yaml.SequenceNode) and node.tag.endswith(":seq"):
        items = [_value(child, (*path, i), document, source, budget) for i, child in enumerate(node.value)]
        return [item for item in items if item is not _REFUSED]
    if isinstance(node, yaml.ScalarNode):
        ok, value = _scalar(node)
        if ok:
            if node.tag == _BOOL and node.value.lower() in _WORD_BOOLEANS:
                document.words[path] = node.value
            return value
    tag = node.tag.replace("tag:yaml.org,2002:", "!!")
    if node.tag in _PLAIN:
        fault(f"this is no {tag}; write a plain value")
    else:
        fault(f"the tag {tag} is not allowed; write plain values")
    return _REFUSED


def _scalar(node: yaml.ScalarNode) -> tuple[bool, Any]:
    text = node.value
    if node.tag == _STR:
        # YAML 1.1 reads 1e-3 as text; everyone else means a number
        if node.style is None and _EXPONENT.fullmatch(text):
            return True, float(text.replace("_", ""))
        return True, text
    if node.tag in (_INT, _FLOAT) and ":" in text:
        return True, text  # YAML 1.1 reads 1:30 as 90, in base sixty
    if node.tag in _PLAIN:
        try:
            if node.tag == _INT and _DECIMAL.fullmatch(text):
                return True, int(text.replace("_", ""))  # YAML 1.1 reads 010 as 8
            return True, yaml.SafeLoader("").construct_object(node)
        except (yaml.YAMLError, ValueError, KeyError):  # an explicit tag on a word that does not fit it
            return False, None
    return node.tag == _TIMESTAMP, text


def _mapping(
    node: yaml.MappingNode, path: Path, document: Document, source: str, budget: Iterator[int]
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    first_line: dict[str, int] = {}
    for key_node, value_node in node.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        line, column = key_node.start_mark.line + 1, key_node.start_mark.column + 1
        if key is None or key == "<<":
            what = "merging with << is not supported" if key else "a key must be a plain word"
            document.problems.append(Problem(what, dotted(path), source, line, column))
            continue
        if key in result:
            here = dotted((*path, key))
            message = f"written twice (first on line {first_line[key]}); keep one"
            document.problems.append(Problem(message, here, source, line, column))
            continue
        first_line[key] = line
        value = _value(value_node, (*path, key), document, source, budget)
        document.marks[*path, key] = (source, line, column)
        if value is not _REFUSED:
            result[key] = value
    return result


def parse_set(text: str) -> tuple[Path, Any] | Problem:
    """Parses one `--set KEY=VALUE`; the value is YAML, so `--set a.b=1e-3` and `--set a.c=[1, 2]` work."""
    key, equals, value = text.partition("=")
    parts = tuple(key.strip().split("."))
    if not equals or not all(parts):
        return Problem(f"{text!r} is not of the form KEY=VALUE", source="--set")
    document = read_yaml(value, "--set") if value.strip() else Document(data="")
    if document.problems:
        return Problem(document.problems[0].message, key.strip(), "--set")
    word = document.words.get(())
    return parts, word if word is not None else document.data
