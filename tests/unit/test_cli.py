"""The command line: exit codes, what goes where, and that nothing a plugin does takes it down."""

import json
import os
import re
import subprocess
import sys
import textwrap

import pytest

from realtalk_core import cli
from realtalk_core.cli import COMMANDS, run
from realtalk_core.errors import UserError


@pytest.fixture(autouse=True)
def _plain(monkeypatch):
    monkeypatch.delenv("REALTALK_CONFIG", raising=False)
    monkeypatch.delenv("REALTALK_PLUGINS", raising=False)


@pytest.fixture
def realtalk(capsys):
    """Runs a command line; gives exit code, stdout, stderr."""

    def ran(*arguments):
        code = run(arguments)
        out = capsys.readouterr()
        assert "Traceback" not in out.err
        return code, out.out, out.err

    return ran


@pytest.fixture
def failing(monkeypatch, capsys):
    """Runs a command whose body raises; gives exit code and stderr."""

    def ran(error):
        real = cli.build_app

        def with_boom(names=COMMANDS):
            app = real(names)

            @app.command()
            def boom() -> None:
                raise error

            return app

        monkeypatch.setattr(cli, "build_app", with_boom)
        return run(["boom"]), capsys.readouterr().err

    return ran


def test_help_names_every_command(realtalk):
    code, out, err = realtalk("--help")
    assert (code, err) == (0, "")
    assert re.findall(r"^  (\w+)  ", out, re.M)[: len(COMMANDS)] == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_of_its_own(realtalk, command):
    code, out, _ = realtalk(command, "--help")
    assert code == 0
    assert f"realtalk {command}" in out


def test_version(realtalk):
    assert realtalk("--version") == (0, "realtalk 0.1.0\n", "")


def test_no_arguments_show_the_help(realtalk):
    code, out, err = realtalk()
    assert code == 2
    assert "Commands:" in out + err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chek"], "realtalk: no such command 'chek' - did you mean 'check'? "),
        (["check", "--jsno"], "realtalk: no such option '--jsno' - did you mean '--json'? "),
        (["explain"], "realtalk: Missing argument '"),
        (["explain", "rendrer"], "realtalk: unknown stage 'rendrer' - did you mean 'renderer'? "),
        (["explain", "renderer"], "realtalk: which renderer? known: "),
        (["explain", "mel"], "realtalk: 'mel' is a component, not a stage\n  Write: realtalk explain audio mel"),
        (["explain", "audio", "mell"], "realtalk: unknown audio 'mell' - did you mean 'mel'? "),
        (["check", "-c", "no-such.yaml"], "realtalk: no-such.yaml cannot be read: No such file"),
        (["check", "--set", "audio.n_mels=1"], "--set: audio.n_mels: must be at least 8, got 1"),
        (["inspect", "no-such"], "realtalk: no-such does not exist"),
        (["conform", "mell"], "realtalk: no plugin is called 'mell' - did you mean 'mel'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_the_user_can_mend_gives_one_message_and_2(realtalk, arguments, said):
    code, out, err = realtalk(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(said), err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("the picture is upside down", "Turn it."), 2, "realtalk: the picture is upside down\n  Turn it.\n"),
        (KeyboardInterrupt(), 130, "\nrealtalk: stopped\n"),
        (OSError(28, "No space left on device", "/out.mp4"), 2, "realtalk: /out.mp4: No space left on device\n  Free"),
        (PermissionError(13, "Permission denied", "/out.mp4"), 2, "realtalk: /out.mp4: Permission denied\n  Choose"),
        (OSError(30, "Read-only file system", "/out.mp4"), 2, "realtalk: /out.mp4: Read-only file system\n  Write"),
        (MemoryError(), 2, "realtalk: out of memory\n"),
        (BrokenPipeError(), 0, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_how_errors_end(failing, error, code, said):
    got, err = failing(error)
    assert got == code
    assert err.startswith(said)
    assert "Traceback" not in err


def test_our_bug_keeps_its_traceback(failing):
    code, err = failing(ZeroDivisionError("oops"))
    assert code == 1
    assert "Traceback" in err
    assert err.endswith("realtalk: this is a bug in RealTalk; please report it with the lines above.\n")


def test_check_says_what_fills_each_stage(realtalk):
    code, out, _ = realtalk("check", "--preset", "quick")
    assert code == 0
    filled = dict(line.split()[:2] for line in out.splitlines()[1:])
    assert filled["audio"] == "mel"
    assert list(filled) == ["audio", "landmarks", "emotion", "renderer", "tracker", "voice"]


def test_check_as_json(realtalk):
    code, out, _ = realtalk("check", "--json", "--set", "audio.n_mels=40")
    assert code == 0
    assert json.loads(out)["configuration"]["pipeline"]["audio"]["params"]["n_mels"] == 40
    code, out, err = realtalk("check", "--json", "--set", "fsp=40", "--set", "audio.n_mels=1")
    assert (code, err) == (2, "")
    assert [(p["source"], p["path"]) for p in json.loads(out)["problems"]] == [
        ("--set", "fsp"), ("--set", "audio.n_mels"),
    ]  # fmt: skip


def test_explain_says_what_the_docstrings_say(realtalk):
    from realtalk_mel import MelConfig

    _, out, _ = realtalk("explain", "audio", "mel")
    facts = json.loads(realtalk("explain", "audio", "mel", "--json")[1])
    flat = " ".join(out.split())
    for row in facts["parameters"]:
        assert row["help"] == MelConfig.model_fields[row["name"]].description
        assert f"audio.{row['name']} = " in out
        assert row["help"] in flat
    assert "audio.n_mels = 32 (int, ≥ 8, ≤ 128) Mel bands" in flat
    assert json.loads(realtalk("explain", "motion", "--json")[1])["parameters"]


def test_explain_is_a_table_in_a_terminal(monkeypatch, realtalk):
    monkeypatch.setattr(sys.stdout.__class__, "isatty", lambda self: True, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    _, out, _ = realtalk("explain", "audio", "mel")
    assert re.search(r"parameter\s+default\s+type\s+what it does", re.sub(r"\x1b\[[0-9;]*m", "", out))


def test_plugins_as_json(realtalk):
    found = json.loads(realtalk("plugins", "--json")[1])
    assert {"stage": "audio", "name": "mel"}.items() <= next(
        row for row in found["components"] if row["name"] == "mel"
    ).items()
    assert all(plugin["heavy"] == [] for plugin in found["plugins"])


def test_a_plugin_that_the_configuration_disables_is_gone(realtalk, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("version: 1\nplugins: {disabled: [mel]}\n", "utf-8")
    found = json.loads(realtalk("plugins", "-c", str(file), "--json")[1])
    assert "mel" not in [plugin["name"] for plugin in found["plugins"]]
    assert {"name": "mel", "kind": "disabled"}.items() <= found["failures"][0].items()
    code, _, err = realtalk("check", "-c", str(file))
    assert code == 2
    assert "The plugin 'mel' was left out: disabled in the configuration." in err


def test_the_schema_describes_what_is_installed(realtalk):
    schema = json.loads(realtalk("schema")[1])
    assert schema["$defs"]["audio.mel"]["properties"]["n_mels"]["maximum"] == 128
    assert schema["$defs"]["audio.mel"]["additionalProperties"] is False
    assert "description" in schema["$defs"]["motion"]["properties"]["start"]
    references = set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(schema)))
    assert references <= set(schema["$defs"])


# ---- plugins from outside, in a process of their own ----------------------------------------------------------------

GUEST = """
    import sys
    from realtalk_core.hookspecs import hookimpl
    {top}

    @hookimpl
    def realtalk_commands(app):
        {body}
"""


@pytest.fixture
def with_guest(tmp_path):
    """Runs `realtalk` with a plugin installed from outside."""

    def ran(*arguments, top="", body="pass"):
        site = tmp_path / "site"
        info = site / "guest-1.0.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guest\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[realtalk]\nguest = guest_plugin\n")
        source = textwrap.dedent(GUEST).format(top=top, body=textwrap.indent(textwrap.dedent(body), "    " * 1).strip())
        (site / "guest_plugin.py").write_text(source)
        environment = {**os.environ, "PYTHONPATH": str(site)}
        environment.pop("REALTALK_PLUGINS", None)
        return subprocess.run(
            [sys.executable, "-m", "realtalk_core", *arguments], capture_output=True, text=True, env=environment
        )

    return ran


COMMAND = """
@app.command()
def {name}() -> None:
    'Says hello.'
    {does}
"""


def test_a_plugin_adds_a_command(with_guest):
    body = COMMAND.format(name="hello", does="print('hello')")
    assert with_guest("hello", body=body).stdout == "hello\n"
    assert "hello" in with_guest("--help", body=body).stdout


def test_a_bug_in_a_plugin_is_blamed_on_the_plugin(with_guest):
    done = with_guest("hello", body=COMMAND.format(name="hello", does="1 / 0"))
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "this is a bug in the plugin 'guest'; please report it there" in done.stderr


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("1 / 0", "plugin 'guest': its commands were left out: ZeroDivisionError"),
        ("sys.exit(3)", "plugin 'guest': its commands were left out: SystemExit"),
        (
            COMMAND.format(name="check", does="pass"),
            "plugin 'guest': its commands were left out: the name check",
        ),
    ],
    ids=["raises", "exits", "takes a name"],
)
def test_a_plugin_whose_commands_fail_is_reported_and_the_rest_works(with_guest, body, said):
    done = with_guest("--help", body=body)
    assert done.returncode == 0
    assert said in done.stderr
    assert "Says hello" not in done.stdout


@pytest.mark.parametrize("top", ["raise RuntimeError('broken')", "sys.exit(1)", "import no_such_package", "def"])
def test_a_plugin_that_breaks_on_import_leaves_the_host_alone(with_guest, top):
    done = with_guest("plugins", "--json", top=top)
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert [failure["name"] for failure in found["failures"]] == ["guest"]
    assert "mel" in [component["name"] for component in found["components"]]


def test_what_a_plugin_prints_on_import_does_not_spoil_json(with_guest):
    done = with_guest("plugins", "--json", top="print('look at me')")
    assert "guest" in [plugin["name"] for plugin in json.loads(done.stdout)["plugins"]]
    assert "look at me" in done.stderr


def test_a_heavy_plugin_is_named(with_guest):
    done = with_guest("plugins", top="import numpy")
    assert "slow: plugin 'guest' imports numpy already when it is declared" in done.stdout


def test_a_full_disk_on_stdout():
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "realtalk_core", "check"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr.startswith("realtalk: No space left on device\n  Free some space")
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m realtalk_core schema | head -c 10"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_doctor_names_versions_models_paths_and_failures(realtalk, tmp_path, monkeypatch):
    monkeypatch.setenv("REALTALK_MODELS", str(tmp_path))
    (tmp_path / "face_landmarker.task").write_bytes(b"not what it should be")
    code, out, _ = realtalk("doctor", "--json")
    facts = json.loads(out)
    assert code == 2  # a model file with the wrong content is something to mend
    assert facts["healthy"] is False
    damaged = next(row for row in facts["models"] if row["name"] == "face_landmarker.task")
    assert damaged["works"] is False
    assert {"realtalk", "python", "torch", "numba"} <= set(facts["versions"])
    paths = {row["name"]: row["fast_path"] for row in facts["components"]}
    assert "numba" in paths["triplane_nerf"]
    assert facts["configuration"] == "valid"


@pytest.mark.slow
def test_doctor_says_what_a_broken_guest_does(with_guest):
    done = with_guest("doctor", top="import no_such_package")
    assert done.returncode == 2
    assert "it imports 'no_such_package', which is not installed" in done.stdout
    assert "something above needs mending" in done.stdout


def test_inspect_tells_what_things_are(realtalk, tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    (tmp_path / "empty").mkdir()
    for path in (text, tmp_path / "empty"):
        code, out, err = realtalk("inspect", str(path))
        assert (code, out) == (2, "")
        assert err.startswith(f"realtalk: {path} is n")
    (tmp_path / "empty" / "capture.yaml").write_text("format: [")
    assert "is damaged" in realtalk("inspect", str(tmp_path / "empty"))[2]


@pytest.mark.slow
def test_inspect_a_capture_and_a_checkpoint(realtalk, tmp_path):
    import torch

    from realtalk_core.checkpoint import Header, save
    from realtalk_core.plugins import discover
    from realtalk_core.testing import make_capture

    make_capture(tmp_path / "capture", seconds=0.4, size=64)
    facts = json.loads(realtalk("inspect", str(tmp_path / "capture"), "--json")[1])
    assert (facts["kind"], facts["size"], facts["frames"]) == ("capture", 64, 10)
    spec = discover().find("landmarks", "vae")
    save(tmp_path / "landmarks.safetensors", Header.of(spec, {"steps": 3}), {"weight": torch.zeros(2, 3)})
    facts = json.loads(realtalk("inspect", str(tmp_path / "landmarks.safetensors"), "--json")[1])
    assert (facts["kind"], facts["stage"], facts["component"]) == ("checkpoint", "landmarks", "vae")
    assert facts["tensors"] == {"weight": "F32 [2, 3]"}
