"""Every hook is documented with its exact signature."""

import inspect
from pathlib import Path

import pytest

from realtalk_core import hookspecs

HOOKS = [name for name in vars(hookspecs) if name.startswith("realtalk_")]
DOC = Path(__file__).parents[2] / "docs" / "hooks.md"


def test_there_are_five():
    assert len(HOOKS) == 5


@pytest.mark.parametrize("name", HOOKS)
def test_documented_with_its_signature(name):
    signature = inspect.signature(getattr(hookspecs, name))
    text = f"{name}{signature}".replace("'", "").replace("typer.Typer", "typer.Typer")
    assert f"## {name}" in DOC.read_text("utf-8")
    assert text in DOC.read_text("utf-8"), text
