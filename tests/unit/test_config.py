"""Layers of the configuration: which one wins, what starts afresh, and what may be relied upon of the result."""

import json
import sys
from pathlib import Path

import pytest

from realtalk_core import config as configuration
from realtalk_core.config import Config, disabled_plugins, load_config
from realtalk_core.config.reader import read_yaml
from realtalk_core.errors import ConfigError
from realtalk_core.plugins import discover

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))
import fake_plugins

SHIPPED = Path(__file__).parents[1] / "golden" / "shipped.yaml"
PLUGINS = fake_plugins.plugins()


@pytest.fixture(autouse=True)
def _shipped(monkeypatch):
    monkeypatch.delenv("REALTALK_CONFIG", raising=False)
    monkeypatch.setattr(configuration.resolve, "default_registry", lambda: SHIPPED)


@pytest.fixture
def load(tmp_path):
    def loaded(text="", **options):
        file = None
        if text:
            file = tmp_path / "mine.yaml"
            file.write_text("version: 1\n" + text, "utf-8")
        return load_config(file, plugins=PLUGINS, **options)

    return loaded


def renderer(config):
    return config.stages["renderer"].spec.name, config.stages["renderer"].config.model_dump()


MINE = "pipeline: {renderer: {params: {steps: 300}}}\n"
MY_PRESET = "presets: {quick: {pipeline: {renderer: {params: {steps: 60}}}}}\n"


@pytest.mark.parametrize(
    ("text", "options", "steps"),
    [
        ("", {}, 200),
        (MINE, {}, 300),
        (MINE, {"preset": "quick"}, 50),
        (MINE + MY_PRESET, {"preset": "quick"}, 60),
        (MINE, {"preset": "quick", "sets": ["renderer.steps=70"]}, 70),
        (MINE, {"sets": ["renderer.steps=70", "renderer.steps=80"]}, 80),
        (MINE, {"sets": ["pipeline.renderer.params.steps=90"]}, 90),
    ],
    ids=["shipped", "file", "preset", "own preset", "set", "last set", "long set"],
)
def test_the_later_layer_wins(load, text, options, steps):
    assert renderer(load(text, **options)) == ("brush", {"steps": steps, "first": 10})


def test_naming_another_component_starts_from_its_defaults(load):
    assert renderer(load("pipeline: {renderer: {use: pencil}}")) == ("pencil", {})
    # back again: the shipped 200 is gone, too
    config = load("pipeline: {renderer: {use: pencil}}", sets=["renderer=brush"])
    assert renderer(config) == ("brush", {"steps": 100, "first": 10})


def test_naming_the_same_component_keeps_what_lower_layers_say(load):
    assert renderer(load("pipeline: {renderer: {use: brush}}"))[1]["steps"] == 200
    assert renderer(load("pipeline: {renderer: {use: 'face:brush'}}"))[1]["steps"] == 200


def test_a_preset_meant_for_another_component_is_passed_over(load):
    assert renderer(load("pipeline: {renderer: {use: pencil}}", preset="quick")) == ("pencil", {})


BOTH = (
    "presets: {mine: {pipeline: {renderer: [{when: brush, params: {steps: 60}}, "
    "{when: 'rival_b:double', params: {}}]}}}\n"
)


def test_a_preset_holds_parameters_for_several_components(load):
    assert renderer(load(BOTH, preset="mine")) == ("brush", {"steps": 60, "first": 10})
    assert renderer(load(BOTH + "pipeline: {renderer: {use: pencil}}", preset="mine")) == ("pencil", {})
    # a component chosen after the preset finds its parameters there
    text = BOTH + "pipeline: {renderer: {use: pencil}}"
    assert renderer(load(text, preset="mine", sets=["renderer=brush"])) == ("brush", {"steps": 60, "first": 10})


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("{params: {steps: 60}}", r"renderer\[0\]: in a list, each entry names the component it is meant for"),
        ("{when: brush, use: brush}", r"renderer\[0\]: in a list, each entry names the component it is meant for"),
        ("{when: brush, params: {stps: 60}}", r"renderer\[0\].params.stps: renderer 'brush' has no such parameter"),
        ("{when: bruch}", r"renderer\[0\].when: no renderer is called 'bruch'"),
        ("3", r"renderer\[0\]: must be a mapping"),
    ],
)
def test_entries_of_a_presets_list_are_checked_whichever_component_is_chosen(load, entry, told):
    text = f"presets: {{mine: {{pipeline: {{renderer: [{entry}]}}}}}}\npipeline: {{renderer: {{use: pencil}}}}"
    with pytest.raises(ConfigError, match=told):
        load(text, every_preset=True)


def test_a_list_outside_of_presets_is_refused(load):
    with pytest.raises(ConfigError, match=r"pipeline.renderer: must be a mapping such as \{use: NAME\}"):
        load("pipeline: {renderer: [{use: pencil}]}")


def test_a_qualified_name_chooses_between_rivals(load):
    config = load("pipeline: {renderer: {use: 'rival_b:double'}}")
    assert config.stages["renderer"].spec.plugin == "rival_b"
    assert config.to_dict()["pipeline"]["renderer"]["use"] == "rival_b:double"


def test_paths_resolve_against_the_file_they_stand_in(load, tmp_path):
    config = load("pipeline: {landmarks: {params: {weights: w/a.bin}}}")
    assert config.stages["landmarks"].config.weights == tmp_path / "w" / "a.bin"


@pytest.mark.parametrize("text", ["1e-3", "1E-3", ".001", "0.001", "1.0e-03"])
def test_numbers_as_people_write_them(load, text):
    assert load(sets=[f"landmarks.temperature={text}"]).stages["landmarks"].config.temperature == 0.001


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10), ("1_000", 1000), ("0x1F", 31), ("1:30", "1:30"), ("2026-01-02", "2026-01-02"), ("~", None),
        ("'1e3'", "1e3"),
    ],
)  # fmt: skip
def test_scalars_that_yaml_is_known_to_twist(text, value):
    document = read_yaml(f"a: {text}", "FILE")
    assert (document.data, document.problems) == ({"a": value}, [])


def test_words_that_yaml_takes_for_booleans_stay_words_in_set(load):
    assert load(sets=["audio.accent=no"]).stages["audio"].config.accent == "no"
    assert load(sets=["audio.pitch=no"]).stages["audio"].config.pitch is False
    assert load("pipeline: {audio: {params: {accent: 'no', pitch: no}}}").stages["audio"].config.accent == "no"


def test_a_key_that_yaml_takes_for_a_boolean_stays_a_word():
    assert read_yaml("on: 1\nno: 2", "FILE").data == {"on": 1, "no": 2}


def test_anchors_are_allowed_where_they_are_few():
    assert read_yaml("a: &x [1]\nb: *x", "FILE").data == {"a": [1], "b": [1]}


def test_the_environment_names_a_file(load, tmp_path, monkeypatch):
    (tmp_path / "env.yaml").write_text("version: 1\nfps: 30\n", "utf-8")
    monkeypatch.setenv("REALTALK_CONFIG", str(tmp_path / "env.yaml"))
    assert load().fps == 30
    assert load("fps: 50").fps == 50  # -c goes first


def test_a_registry_in_the_current_folder_is_not_picked_up(load, tmp_path, monkeypatch):
    (tmp_path / "registry.yaml").write_text("version: 1\nfps: 30\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    assert load().fps == 25


def test_disabled_plugins_are_known_even_if_the_rest_is_wrong(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("version: 1\nfsp: 3\nplugins: {disabled: [senses]}\n", "utf-8")
    assert disabled_plugins(file) == {"senses"}


def test_a_filled_configuration_survives_json(load):
    config = load(MINE, preset="quick", sets=["landmarks.weights=/w.bin", "motion.start=3", "fps=30"])
    again = Config.from_dict(json.loads(json.dumps(config.to_dict())), PLUGINS)
    assert again.to_dict() == config.to_dict()
    assert (again.fps, again.motion.start, renderer(again)) == (30, 3, renderer(config))


def test_a_path_given_by_set_starts_from_the_current_folder(load, tmp_path, monkeypatch):
    """It is written into avatars, which are used from other folders."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    meant = {"w.bin": tmp_path / "here/w.bin", "/w.bin": Path("/w.bin"), "~/w.bin": Path.home() / "w.bin"}
    for given, path in meant.items():
        assert load(sets=[f"landmarks.weights={given}"]).stages["landmarks"].config.weights == path
    assert load(sets=["landmarks.weights=null"]).stages["landmarks"].config.weights is None


def test_set_goes_on_top_of_a_filled_configuration(load):
    again = Config.from_dict(load().to_dict(), PLUGINS, sets=["motion.start=3"])
    assert again.motion.start == 3


def test_a_voice_is_optional_and_no_part_of_what_an_avatar_keeps(load):
    assert "voice" not in load().stages
    config = load("voice: {use: larynx, params: {pitch: 3}}", sets=["voice.voice=alto"])
    assert config.stages["voice"].config.model_dump() == {"voice": "alto", "pitch": 3}
    assert config.to_dict(voice=True)["voice"] == {"use": "larynx", "params": {"voice": "alto", "pitch": 3}}
    assert "voice" not in config.to_dict()
    assert "voice" not in Config.from_dict(config.to_dict(), PLUGINS).stages


def test_parameters_of_a_voice_that_nobody_named_are_refused(load):
    with pytest.raises(ConfigError, match="nothing fills the stage voice; choose one: larynx"):
        load(sets=["voice.pitch=3"])


def test_the_chain_of_the_shipped_registry(monkeypatch):
    monkeypatch.undo()
    config = load_config(every_preset=True)
    names = {stage: chosen.spec.name for stage, chosen in config.stages.items()}
    assert names == {
        "audio": "mel",
        "landmarks": "vae",
        "emotion": "ldm",
        "renderer": "triplane_nerf",
        "tracker": "mediapipe",
        "voice": "espeak",
    }
    for preset in ("quick", "standard", "paper"):
        load_config(preset=preset)
    chosen = [load_config(preset=p, sets=["renderer=gaussian"]).stages["renderer"] for p in ("quick", "standard")]
    assert [c.spec.name for c in chosen] == ["gaussian"] * 2
    assert chosen[1].config.steps > 4 * chosen[0].config.steps  # a preset's, wherever the component is chosen
    for preset, condition in (("talkinggaussian", "audio"), ("emotalkinggaussian", "both")):
        papers = load_config(preset=preset).stages["renderer"]
        assert (papers.spec.name, papers.config.condition) == ("gaussian", condition)


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[2] / "examples").glob("*.yaml")), ids=lambda f: f.name)
def test_every_example_is_valid(file, monkeypatch):
    monkeypatch.undo()
    plugins = discover()
    if file.name == "mesh_shader.yaml" and not any(spec.name == "mesh_shader" for spec in plugins.specs):
        pytest.skip("the plugin of examples/third_party_renderer is not installed here")
    load_config(file, every_preset=True, plugins=plugins)
