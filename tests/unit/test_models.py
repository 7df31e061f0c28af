"""The model store: where files are looked for, what is trusted, what is said when one is missing."""

import hashlib
import urllib.error

import pytest

from realtalk_core import models
from realtalk_core.errors import UserError
from realtalk_core.models import ModelFile, find_model, model_path

CONTENT = b"weights"


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store with one file, an empty cache and an empty REALTALK_MODELS folder."""
    source = tmp_path / "source.bin"
    source.write_bytes(CONTENT)
    file = ModelFile("net.bin", "a test", "MIT", source.as_uri(), hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(models, "MODELS", {"net.bin": file})
    monkeypatch.setattr(models, "cache_folder", lambda: tmp_path / "cache")
    named = tmp_path / "named"
    named.mkdir()
    monkeypatch.setenv("REALTALK_MODELS", str(named))
    return tmp_path


def test_named_folder_comes_first(store):
    (store / "cache").mkdir()
    for folder in ("cache", "named"):
        (store / folder / "net.bin").write_bytes(CONTENT)
    assert model_path("net.bin") == store / "named" / "net.bin"


def test_downloaded_once_into_the_cache(store):
    assert find_model("net.bin") is None
    file = model_path("net.bin")
    assert file == store / "cache" / "net.bin"
    assert file.read_bytes() == CONTENT
    (store / "source.bin").unlink()
    assert model_path("net.bin") == file


def test_a_wrong_download_is_refused_and_leaves_nothing(store):
    (store / "source.bin").write_bytes(b"something else")
    with pytest.raises(UserError, match="another sha256"):
        model_path("net.bin")
    assert list((store / "cache").iterdir()) == []


def test_a_damaged_file_is_refused(store):
    (store / "named" / "net.bin").write_bytes(b"weighty")
    with pytest.raises(UserError, match="is damaged or another version"):
        model_path("net.bin")


def test_without_a_network_the_cure_names_file_and_folder(store, monkeypatch):
    def offline(*args, **kwargs):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(models.urllib.request, "urlopen", offline)
    with pytest.raises(UserError) as caught:
        model_path("net.bin")
    assert "net.bin" in caught.value.message
    assert f"Put net.bin into {store / 'named'}" in caught.value.cure


def test_unknown_name_suggests(store):
    with pytest.raises(UserError, match="did you mean"):
        model_path("net.bim")
