"""`realtalk convert`: finds the converter, writes all or nothing, replaces nothing unasked."""

from pathlib import Path

import pytest

from realtalk_core.cli import convert, run
from realtalk_core.declare import DeclarationError, audio_encoder
from realtalk_core.errors import UserError
from realtalk_core.plugins import Plugins
from realtalk_core.spec import Converter, NoConfig


def declared(converter=None, name="ears", plugin="one"):
    from dataclasses import replace

    options = {} if converter is None else {"convert": converter}
    spec = audio_encoder(name, summary="Ears.", api=1, config=NoConfig, load=lambda: object, **options)
    return replace(spec, plugin=plugin)


def into_file(source: Path, target: Path) -> None:
    if source.read_text() == "bad":
        target.write_text("half")
        raise UserError(f"{source} is no such graph", "Name another.")
    target.write_text(source.read_text().upper())


def into_folder(source: Path, target: Path) -> None:
    target.mkdir()
    (target / "a").write_text(source.read_text())
    if source.read_text() == "bad":
        raise UserError("no")


@pytest.fixture
def realtalk(monkeypatch, tmp_path, capsys):
    """`realtalk convert` with one converter, `ears`, whose default place is tmp_path/models/ears.out."""

    def ran(*arguments, write=into_file):
        able = declared(Converter("a graph", lambda source: tmp_path / "models" / "ears.out", write))
        plugins = Plugins((able, declared(name="mute")), (), (), None)
        monkeypatch.setattr(convert, "installed", lambda config: plugins)
        code = run(["convert", *map(str, arguments)])
        out = capsys.readouterr()
        assert "Traceback" not in out.err
        return code, out.out, out.err

    return ran


@pytest.fixture
def source(tmp_path):
    file = tmp_path / "graph.pb"
    file.write_text("abc")
    return file


def everything(folder):
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*"))


def test_the_default_place_is_made_and_named(realtalk, source, tmp_path):
    code, out, err = realtalk("ears", source)
    target = tmp_path / "models" / "ears.out"
    assert (code, out, err) == (0, f"{target}\n", "")
    assert target.read_text() == "ABC"
    assert everything(tmp_path) == ["graph.pb", "models", "models/ears.out"]


def test_in_full_and_elsewhere(realtalk, source, tmp_path):
    assert realtalk("one:ears", source, "-o", tmp_path / "here")[0] == 0
    assert everything(tmp_path) == ["graph.pb", "here"]


@pytest.mark.parametrize("write", [into_file, into_folder])
def test_nothing_is_replaced_unasked_and_all_of_it_when_asked(realtalk, source, tmp_path, write):
    target = tmp_path / "t"
    assert realtalk("ears", source, "-o", target, write=write)[0] == 0
    before = everything(tmp_path)
    source.write_text("new")
    code, out, err = realtalk("ears", source, "-o", target, write=write)
    assert (code, out) == (2, "")
    assert f"{target} is there already" in err
    assert "--force" in err
    assert realtalk("ears", source, "-o", target, "--force", write=write)[0] == 0
    assert (target / "a" if target.is_dir() else target).read_text().lower() == "new"
    assert everything(tmp_path) == before


@pytest.mark.parametrize("write", [into_file, into_folder])
def test_a_bad_source_leaves_nothing_and_keeps_what_was_there(realtalk, source, tmp_path, write):
    target = tmp_path / "t"
    assert realtalk("ears", source, "-o", target, write=write)[0] == 0
    before = everything(tmp_path)
    source.write_text("bad")
    assert realtalk("ears", source, "-o", target, "--force", write=write)[0] == 2
    assert (target / "a" if target.is_dir() else target).read_text().lower() == "abc"
    assert everything(tmp_path) == before
    assert realtalk("ears", source, "-o", tmp_path / "fresh", write=write)[0] == 2
    assert everything(tmp_path) == before


def test_a_file_gives_way_to_a_folder_and_a_folder_to_a_file(realtalk, source, tmp_path):
    target = tmp_path / "t"
    for write in (into_file, into_folder, into_file):
        assert realtalk("ears", source, "-o", target, "--force", write=write)[0] == 0
        assert target.is_dir() == (write is into_folder)


def test_the_source_is_never_the_target(realtalk, source):
    code, _, err = realtalk("ears", source, "-o", source, "--force")
    assert code == 2
    assert "is the source itself" in err
    assert source.read_text() == "abc"


def test_a_missing_source(realtalk, tmp_path):
    code, _, err = realtalk("ears", tmp_path / "nowhere.pb")
    assert code == 2
    assert "nowhere.pb does not exist" in err
    assert "Name a graph." in err
    assert everything(tmp_path) == []


def test_a_missing_folder(realtalk, source, tmp_path):
    code, _, err = realtalk("ears", source, "-o", tmp_path / "no" / "file")
    assert code == 2
    assert str(tmp_path / "no") in err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("eers", "no component is called 'eers' - did you mean 'ears'? (known: ears)"),
        ("mute", "audio 'mute' takes over no weights from other programs"),
        ("two:ears", "no component is called 'two:ears'"),
    ],
)
def test_unknown_names_and_components_without_converter(realtalk, source, name, message):
    code, _, err = realtalk(name, source)
    assert code == 2
    assert message in err
    assert "These do: ears reads a graph." in err


def test_two_plugins_with_one_name():
    ears = Converter("a graph", Path, into_file)
    plugins = Plugins((declared(ears), declared(ears, plugin="two")), (), (), None)
    with pytest.raises(UserError, match="offered by 2 plugins\n  Name one of them in full: one:ears or two:ears"):
        convert.find("ears", plugins)
    assert convert.find("two:ears", plugins) is ears
    with pytest.raises(UserError, match="No installed plugin does"):
        convert.find("ears", Plugins((), (), (), None))


def test_a_converter_is_declared_as_one():
    with pytest.raises(DeclarationError, match="convert must be a realtalk_core"):
        declared(into_file)
