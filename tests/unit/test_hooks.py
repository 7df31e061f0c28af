"""Every hook is documented with its exact signature, and called."""

import inspect
import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import typer

from realtalk_core import declare, hookspecs
from realtalk_core.hookspecs import hookimpl
from realtalk_core.plugins import discover_from
from realtalk_core.spec import NoConfig
from realtalk_core.training.observe import notifier

HOOKS = [name for name in vars(hookspecs) if name.startswith("realtalk_")]
DOC = Path(__file__).parents[2] / "docs" / "hooks.md"


def test_there_are_five():
    assert len(HOOKS) == 5


@pytest.mark.parametrize("name", HOOKS)
def test_documented_with_its_signature(name):
    signature = inspect.signature(getattr(hookspecs, name))
    text = f"{name}{signature}".replace("'", "")
    assert f"## {name}" in DOC.read_text("utf-8")
    assert text in DOC.read_text("utf-8"), text


WATCHED = {
    "realtalk_stage_finished": {"stage": "audio", "component": "ear", "seconds": 1.5},
    "realtalk_training_step": {"stage": "audio", "step": 1, "total": 2, "metrics": {"loss": 0.5}},
    "realtalk_checkpoint_saved": {"path": Path("a.safetensors"), "header": object()},
}


def plugin_with(name, function):
    module = types.ModuleType("fake_watcher")
    setattr(module, name, hookimpl(function))
    sys.modules[module.__name__] = module
    found = discover_from([EntryPoint("watcher", module.__name__, "realtalk")])
    assert found.failures == ()
    return found


def test_every_hook_is_tested():
    assert {*WATCHED, "realtalk_components", "realtalk_commands"} == set(HOOKS)


@pytest.mark.parametrize("name", WATCHED)
def test_watchers_are_told(name):
    told = {}
    watchers = {
        "realtalk_stage_finished": lambda stage, component, seconds: told.update(
            stage=stage, component=component, seconds=seconds
        ),
        "realtalk_training_step": lambda stage, step, total, metrics: told.update(
            stage=stage, step=step, total=total, metrics=metrics
        ),
        "realtalk_checkpoint_saved": lambda path, header: told.update(path=path, header=header),
    }
    notifier(plugin_with(name, watchers[name]).manager)(name, **WATCHED[name])
    assert told == WATCHED[name]


@pytest.mark.parametrize("name", WATCHED)
def test_a_watcher_that_fails_costs_nothing(name):
    calls = []

    def watcher():
        calls.append(name)
        raise ZeroDivisionError("oops")

    notify = notifier(plugin_with(name, watcher).manager)
    with pytest.warns(UserWarning, match=f"{name} raised ZeroDivisionError: oops"):
        notify(name, **WATCHED[name])
    notify(name, **WATCHED[name])
    assert calls == [name]


def test_components_and_commands():
    spec = declare.metric("echo", summary="Says it back.", api=1, config=NoConfig, load=lambda: object)
    assert plugin_with("realtalk_components", lambda: [spec]).find("metric", "watcher:echo").name == "echo"
    app = typer.Typer()
    plugin_with("realtalk_commands", lambda app: app.command("hi")(lambda: None)).manager.hook.realtalk_commands(
        app=app
    )
    assert [command.name for command in app.registered_commands] == ["hi"]
