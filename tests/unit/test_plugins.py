"""Discovery: what is registered, what is left out, and that a broken plugin never breaks the host."""

import sys
import types
from importlib.metadata import EntryPoint

import pytest

from realtalk_core import declare
from realtalk_core.build import PluginBugError, build
from realtalk_core.declare import DeclarationError
from realtalk_core.errors import MissingDependencyError, UserError
from realtalk_core.hookspecs import hookimpl
from realtalk_core.plugins import discover, discover_from
from realtalk_core.spec import ComponentConfig, NoConfig


class Echo:
    def __init__(self, config):
        self.config = config


def spec(name="echo", api=1, load=lambda: Echo, **options):
    return declare.component("metric", name, summary="Says it back.", api=api, config=NoConfig, load=load, **options)


def none():
    return []


@pytest.fixture
def install(monkeypatch):
    """Makes a module importable and returns its entry point."""

    def make(name, body=None, **functions):
        module = types.ModuleType(f"fake_{name}")
        for key, function in functions.items():
            setattr(module, key, hookimpl(function))
        if body is not None:
            body(module)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return EntryPoint(name=name, value=module.__name__, group="realtalk")

    return make


def test_first_party_plugins_enter_by_entry_point():
    found = discover()
    names = {(s.stage, s.name) for s in found.specs}
    assert {("audio", "mel"), ("landmarks", "vae"), ("emotion", "ldm"), ("renderer", "triplane_nerf")} <= names
    assert {("tracker", "mediapipe"), ("tracker", "face_alignment")} <= names
    assert not [f for f in found.failures if f.kind != "disabled"]


def test_a_component_is_found_by_name_and_in_full(install):
    found = discover_from([install("one", realtalk_components=lambda: [spec()])])
    assert found.find("metric", "echo") is found.find("metric", "one:echo")
    assert found.find("metric", "echo").plugin == "one"


def test_an_unknown_name_suggests_the_nearest(install):
    found = discover_from([install("one", realtalk_components=lambda: [spec()])])
    with pytest.raises(UserError, match=r"unknown metric 'ecko' - did you mean 'echo'\? \(known: echo\)"):
        found.find("metric", "ecko")


def test_two_plugins_offering_one_name_nobody_wins(install):
    found = discover_from([install(n, realtalk_components=lambda: [spec()]) for n in ("one", "two")])
    with pytest.raises(UserError, match="one:echo or two:echo"):
        found.find("metric", "echo")
    assert found.find("metric", "two:echo").plugin == "two"


@pytest.mark.parametrize(
    ("functions", "kind", "words"),
    [
        ({"realtalk_components": lambda: 1 / 0}, "bad declaration", "ZeroDivisionError"),
        ({"realtalk_components": lambda: [spec(api=2)]}, "wrong api", "update realtalk"),
        ({"realtalk_components": lambda: [spec(api=0)]}, "wrong api", "update the plugin"),
        ({"realtalk_components": lambda: [spec(), spec()]}, "name clash", "echo"),
        ({"realtalk_componnents": none}, "misspelt hook", "realtalk_components"),
        ({"realtalk_commands": lambda application: None}, "misspelt hook", "application"),
    ],
)
def test_a_broken_plugin_is_left_out_with_its_reason_and_the_others_stay(install, functions, kind, words):
    good = install("good", realtalk_components=lambda: [spec("fine")])
    found = discover_from([install("bad", **functions), good])
    assert [s.name for s in found.specs] == ["fine"]
    (failure,) = found.failures
    assert (failure.name, failure.kind) == ("bad", kind)
    assert words in failure.reason
    assert not found.manager.has_plugin("bad")


def test_a_plugin_that_cannot_be_imported(install):
    points = [EntryPoint("gone", "no_such_module_anywhere", "realtalk"), install("good", realtalk_components=none)]
    (failure,) = discover_from(points).failures
    assert failure.kind in ("missing package", "broken")
    assert "no_such_module_anywhere" in failure.reason


def test_two_packages_with_one_plugin_name_nobody_wins(install):
    point = install("one", realtalk_components=lambda: [spec()])
    found = discover_from([point, point])
    assert found.specs == ()
    assert found.failures[0].kind == "name clash"


def test_disabled_and_not_listed(install, monkeypatch):
    point = install("one", realtalk_components=lambda: [spec()])
    assert discover_from([point], disabled=["one"]).failures[0].kind == "disabled"
    monkeypatch.setenv("REALTALK_PLUGINS", "mel")
    found = discover()
    assert {s.plugin for s in found.specs} == {"mel"}


class Undocumented(ComponentConfig):
    size: int = 3


class Required(ComponentConfig):
    size: int
    """How big."""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Echo-1"}, "name must be lower-case"),
        ({"summary": "two\nlines"}, "one line"),
        ({"api": "1"}, "api must be an integer"),
        ({"config": Undocumented}, "'size' has no docstring"),
        ({"config": Required}, "'size' has no default"),
        ({"config": dict}, "ComponentConfig"),
        ({"load": None}, "load must be callable"),
    ],
)
def test_a_declaration_that_breaks_a_rule_says_which(changes, words):
    good = {"name": "echo", "summary": "x", "api": 1, "config": NoConfig, "load": lambda: Echo}
    with pytest.raises(DeclarationError, match=words):
        declare.metric(**(good | changes))


def test_building_tells_a_missing_package_from_a_bug():
    missing = spec(requires=("no_such_package",), extra="realtalk[none]")
    with pytest.raises(MissingDependencyError, match=r'pip install "realtalk\[none\]"'):
        build(missing, NoConfig())

    def broken():
        raise ZeroDivisionError("oops")

    with pytest.raises(PluginBugError, match="ZeroDivisionError: oops"):
        build(spec(load=broken), NoConfig())
    assert isinstance(build(spec(), NoConfig()), Echo)
