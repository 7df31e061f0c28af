import subprocess
import sys

import pytest
import torch

from realtalk_core.checkpoint import FORMAT, Header, load, read_header, save, tensor_table
from realtalk_core.errors import UserError
from realtalk_core.spec import ComponentSpec, NoConfig


def spec(version=1, **rest):
    return ComponentSpec("renderer", "tiny", "", 1, NoConfig, lambda: object, version=version, plugin="tiny", **rest)


def tensors():
    return {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2], dtype=torch.int16), "c": torch.zeros(0, 4)}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "renderer.safetensors"
    save(path, Header.of(spec(), {"size": 3}, metrics={"psnr": 30.5}, parents=("abc",)), tensors())
    return path


def test_a_checkpoint_comes_back_bit_for_bit(file):
    header, back = load(file, spec())
    assert (header.stage, header.component, header.plugin) == ("renderer", "tiny", "tiny")
    assert header.config == {"size": 3}
    assert header.metrics == {"psnr": 30.5}
    assert header.parents == ("abc",)
    assert header.created.endswith("+00:00")
    assert back.keys() == tensors().keys()
    assert all(torch.equal(back[k], t) and back[k].dtype == t.dtype for k, t in tensors().items())


def test_a_plain_safetensors_reader_reads_it_too(file):
    from safetensors.torch import load_file

    assert torch.equal(load_file(file)["a"], tensors()["a"])


def test_every_changed_byte_is_refused(file):
    good = file.read_bytes()
    for at in range(len(good)):
        file.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(UserError, match=r"damaged|newer|no RealTalk checkpoint") as error:
            load(file)
        assert str(file) in str(error.value)
        assert error.value.cure


@pytest.mark.parametrize("keep", [0, 4, 50, -1])
def test_a_cut_off_file_is_refused(file, keep):
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(UserError, match="damaged"):
        load(file)


def test_views_and_shared_memory_are_saved(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    save(tmp_path / "x.safetensors", Header("person", "person"), {"t": base.T, "row": base[1], "all": base})
    back = load(tmp_path / "x.safetensors")[1]
    assert torch.equal(back["t"], base.T)
    assert torch.equal(back["row"], base[1])


def test_a_header_is_read_without_torch(file):
    code = (
        "import sys; from realtalk_core.checkpoint import read_header, tensor_table; "
        f"print(read_header({str(file)!r}).component, tensor_table({str(file)!r})['a']); "
        "assert not {'torch', 'numpy', 'safetensors'} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr == ""
    assert run.stdout.split(maxsplit=1) == ["tiny", "('F32', (2, 3))\n"]


def test_the_table_names_every_tensor(file):
    assert tensor_table(file) == {"a": ("F32", (2, 3)), "b": ("I16", (2,)), "c": ("F32", (0, 4))}
    assert read_header(file).metrics["psnr"] == 30.5


def test_a_newer_version_is_refused_and_an_older_one_migrated(tmp_path, file):
    def add_one(tensors, config):
        return {**tensors, "a": tensors["a"] + 1}, {**config, "new": True}

    header, back = load(file, spec(version=3, migrate={1: add_one, 2: add_one}))
    assert torch.equal(back["a"], tensors()["a"] + 2)
    assert header.version == 3
    assert header.config["new"] is True
    save(tmp_path / "new.safetensors", Header.of(spec(version=4), {}), {})
    with pytest.raises(UserError, match="version 4 of renderer 'tiny' is newer") as error:
        load(tmp_path / "new.safetensors", spec(version=3))
    assert "Update the plugin tiny" in str(error.value)
    with pytest.raises(UserError, match="cannot read version 1"):
        load(file, spec(version=2))


def test_a_newer_format_is_refused_before_its_content_is_judged(tmp_path):
    path = tmp_path / "x.safetensors"
    save(path, Header("renderer", "tiny", format=FORMAT + 1), {})
    with pytest.raises(UserError, match=f"format {FORMAT + 1} is newer"):
        load(path)
    with pytest.raises(UserError, match="newer"):
        read_header(path)


def test_another_components_file_is_refused(file):
    other = ComponentSpec("renderer", "other", "", 1, NoConfig, lambda: object)
    with pytest.raises(UserError, match="holds renderer 'tiny', not renderer 'other'"):
        load(file, other)


def test_foreign_files_are_named(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "foreign.safetensors"
    save_file({"a": torch.ones(1)}, path)
    with pytest.raises(UserError, match="no RealTalk checkpoint"):
        read_header(path)
    path.write_text("not a checkpoint at all")
    with pytest.raises(UserError, match="no safetensors file"):
        read_header(path)
    with pytest.raises(UserError, match="missing"):
        load(tmp_path / "none.safetensors")


def test_nothing_is_left_when_writing_fails(tmp_path, monkeypatch):
    import errno
    import os

    def full(_fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="disk is full"):
        save(tmp_path / "x.safetensors", Header("renderer", "tiny"), tensors())
    assert list(tmp_path.iterdir()) == []


def test_metrics_must_be_json(tmp_path):
    with pytest.raises(ValueError, match=r"JSON|nan"):
        save(tmp_path / "x.safetensors", Header("renderer", "tiny", metrics={"psnr": float("nan")}), {})
