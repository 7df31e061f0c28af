"""Where models of transformers are found, what is read of them, and what is said when one is missing."""

import json
import os
import shutil
import socket
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers", reason="needs the extra realtalk[transformers]")
sys.path.insert(0, str(Path(__file__).parents[1] / "plugins"))

import tiny_audio
import transformers

from realtalk_core import hub, models, pickled
from realtalk_core.cli import run
from realtalk_core.errors import MissingDependencyError, UserError
from realtalk_core.hub import Wanted, located, weights_digest

REVISION, OTHER = "0123456789" * 4, "9876543210" * 4
WANTED = Wanted(
    "HuBERT model", "hubert", "audio", ("config.json", "preprocessor_config.json|processor_config.json"),
    elsewhere={"whisper": "audio=whisper"}, convert="hubert",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "tiny"
    tiny_audio.waveform(folder, head="ForCTC")
    return folder


@pytest.fixture
def touched():
    """Attempts to use the network."""
    return []


@pytest.fixture
def places(monkeypatch, tmp_path, touched):
    """Empty folders where models are looked for, and no network."""
    from huggingface_hub import constants

    for name in ("named", "cache", "hub"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("REALTALK_MODELS", str(tmp_path / "named"))
    for module in (models, hub):
        monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def refuse(*address, **_):
        touched.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for variable in ("REALTALK_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def snapshot(places, model="a/b", revision=REVISION):
    """Where a commit lies in the hub's own cache."""
    folder = places / "hub" / f"models--{model.replace('/', '--')}" / "snapshots" / revision
    folder.mkdir(parents=True)
    return folder


def copied(made, target):
    return Path(shutil.copytree(made, target, dirs_exist_ok=True))


def find(**options):
    return located(WANTED, **({"folder": None, "model": "a/b", "revision": REVISION} | options))


def read(folder):
    return hub.loaded(transformers.HubertModel, folder)


def test_a_named_folder_comes_first_then_models_then_cache_then_the_hubs_own(places, made):
    in_hub = copied(made, snapshot(places))
    assert find() == in_hub
    assert find(folder=made) == made
    in_cache = copied(made, places / "cache" / "a--b")
    assert find() == in_cache
    in_models = copied(made, places / "named" / "a--b")
    assert find() == in_models


@pytest.mark.parametrize("variable", ["REALTALK_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_touches_no_network_and_names_command_and_folder(places, monkeypatch, variable, touched):
    monkeypatch.setenv(variable, "1")
    with pytest.raises(MissingDependencyError) as caught:
        find()
    said = str(caught.value)
    assert f"the network is switched off ({variable})" in said
    assert f"hf download a/b --revision {REVISION} --local-dir {places / 'named' / 'a--b'}\n" in said
    assert "--set audio.folder=FOLDER" in said
    assert touched == []


def test_without_a_network_the_reason_is_said(places, touched):
    with pytest.raises(MissingDependencyError, match=r"a/b \(revision 012345678901\).* could not be downloaded: ..*\n"):
        find()
    assert touched


def test_a_download_takes_what_is_needed_and_pickles_only_where_there_is_nothing_else(places, made, monkeypatch):
    import huggingface_hub
    from huggingface_hub.hf_api import RepoSibling

    asked = []

    def download(**wanted):
        if wanted.get("local_files_only"):
            raise FileNotFoundError
        asked.append(wanted["allow_patterns"])
        return str(made)

    there = ["config.json", "flax_model.msgpack", "pytorch_model.bin", "model.safetensors"]
    info = type("Info", (), {"siblings": [RepoSibling(name) for name in there]})
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: info)
    assert find() == made
    info.siblings.pop()
    assert find() == made
    assert [any("bin" in pattern for pattern in each) for each in asked] == [False, True]
    assert all("preprocessor_config.json" in each and "flax_model.msgpack" not in each for each in asked)


def test_a_commit_of_pickles_is_turned_into_safetensors_once(places, made, monkeypatch):
    source = tiny_audio.pickled(copied(made, snapshot(places)), old_names=True)
    found = find()
    assert found == places / "cache" / f"a--b@{REVISION[:12]}"
    assert sorted(file.name for file in found.iterdir()) == [
        "config.json", "model.safetensors", "preprocessor_config.json",
    ]  # fmt: skip
    monkeypatch.setattr(pickled, "convert", lambda *_: pytest.fail("converted again"))
    shutil.rmtree(source)
    assert find() == found
    ours, theirs = read(found).state_dict(), read(made).state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_pickles_put_there_by_hand_are_turned_too(places, made):
    source = tiny_audio.pickled(copied(made, places / "named" / "a--b"), shards=3)
    found = find()
    assert found.parent == places / "cache"
    assert weights_digest(found) == weights_digest(made)
    assert not (source / "model.safetensors").exists()


def test_pickles_put_there_by_hand_are_turned_again_when_they_change(places, made):
    snapshot_of = tiny_audio.pickled(copied(made, snapshot(places)))
    from_hub = find()
    source = Path(shutil.copytree(snapshot_of, places / "named" / "a--b"))
    file = source / "pytorch_model.bin"
    tensors = torch.load(file, weights_only=True)
    changed = {name: tensor + 1 for name, tensor in tensors.items()}
    torch.save(changed, file)
    first = find()
    assert first != from_hub  # whose commit is known
    assert find() == first
    assert weights_digest(first) != weights_digest(made)
    torch.save(tensors, file)
    os.utime(file, ns=(1, 1))
    assert weights_digest(find()) == weights_digest(made)


@pytest.mark.parametrize("lost", ["model.safetensors", "preprocessor_config.json"])
def test_a_folder_that_was_not_downloaded_whole(places, made, monkeypatch, lost, touched):
    folder = copied(made, places / "named" / "a--b")
    (folder / lost).unlink()
    with pytest.raises(MissingDependencyError, match=r"is incomplete on this machine .* could not be downloaded"):
        find()
    assert touched
    monkeypatch.setenv("REALTALK_OFFLINE", "1")
    with pytest.raises(MissingDependencyError) as caught:
        find()
    said = str(caught.value)
    assert f"is incomplete on this machine ({folder} lacks {lost}) and cannot be downloaded: the network" in said
    assert f"hf download a/b --revision {REVISION} --local-dir {folder}\n" in said
    in_cache = copied(made, places / "cache" / "a--b")
    assert find() == in_cache


def test_a_folder_that_lacks_a_shard_is_incomplete(places, monkeypatch):
    folder = places / "named" / "a--b"
    tiny_audio.waveform(folder, head="ForCTC", shard="60KB")
    assert find() == folder
    lost = sorted(folder.glob("model-*.safetensors"))[1]
    lost.unlink()
    monkeypatch.setenv("REALTALK_OFFLINE", "1")
    with pytest.raises(MissingDependencyError, match=f"is incomplete on this machine .* lacks {lost.name}"):
        find()


def test_commands_can_be_run_where_paths_have_blanks(places, made, monkeypatch):
    monkeypatch.setenv("REALTALK_MODELS", str(places / "my models"))
    monkeypatch.setenv("REALTALK_OFFLINE", "1")
    with pytest.raises(MissingDependencyError, match=rf"--local-dir '{places}/my models/a--b'"):
        find()
    source = tiny_audio.pickled(copied(made, places / "my model"))
    with pytest.raises(UserError, match=rf"realtalk convert hubert '{source}'"):
        find(folder=source)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("weights.bin", r"names weights.bin, which is no .safetensors file"),
        ("", "outside its folder"), (".", "outside its folder"), ("..", "outside its folder"),
        ("a\\b.safetensors", "outside its folder"), ("/tmp/a.safetensors", "outside its folder"),
        (None, "it names no file"),
    ],
)  # fmt: skip
def test_a_list_of_shards_names_safetensors_beside_it_and_nothing_else(tmp_path, made, name, message):
    folder = copied(made, tmp_path / "m")
    (folder / "model.safetensors").unlink()
    torch.save({"weight": torch.zeros(2)}, folder / "weights.bin")
    names = {} if name is None else {"weight": name}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    with pytest.raises(UserError, match=message):
        hub.check(WANTED, folder)


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_a_pickle_that_holds_code_is_refused_and_not_run(places, made):
    folder = tiny_audio.pickled(copied(made, snapshot(places)))
    mark = places / "run"
    torch.save({"weight": torch.zeros(2), "more": Evil(mark)}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"holds more than tensors and is not read: such a file can run code"):
        find()
    assert not mark.exists()
    assert list((places / "cache").iterdir()) == []
    (folder / "pytorch_model.bin").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(UserError, match=r"pytorch_model.bin is damaged"):
        find()
    assert list((places / "cache").iterdir()) == []


def test_the_command_converts_a_folder(places, made, capsys):
    source = tiny_audio.pickled(copied(made, places / "mine"))
    with pytest.raises(UserError, match=rf"can run code\n  Turn it .*: realtalk convert hubert {source}"):
        find(folder=source)
    assert run(["convert", "hubert", str(source)]) == 0
    written = Path(capsys.readouterr().out.strip())
    assert written == places / "mine-safetensors"
    assert find(folder=written) == written
    assert weights_digest(written) == weights_digest(made)
    assert run(["convert", "hubert", str(written), "-o", str(places / "again")]) == 2
    assert "as safetensors already" in capsys.readouterr().err
    assert run(["convert", "whisper", str(source), "-o", str(places / "again")]) == 2
    assert "holds a model of type 'hubert', not 'whisper'\n  Name a Whisper model, or choose --set audio=hubert" in (
        capsys.readouterr().err
    )
    assert not (places / "again").exists()


def test_weights_in_shards(tmp_path, made):
    folder = tmp_path / "shards"
    tiny_audio.waveform(folder, head="ForCTC", shard="60KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    hub.check(WANTED, folder)
    assert weights_digest(folder) == weights_digest(made)
    assert torch.equal(
        read(folder).feature_projection.projection.weight, read(made).feature_projection.projection.weight
    )
    lost = sorted(folder.glob("model-*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(UserError, match=f"lacks {lost.name}, which model.safetensors.index.json names"):
        hub.check(WANTED, folder)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../tiny/model.safetensors"}}))
    with pytest.raises(UserError, match="names files outside its folder"):
        hub.check(WANTED, folder)
    index.write_text("{")
    with pytest.raises(UserError, match=r"index.json is damaged"):
        hub.check(WANTED, folder)


def test_the_digest_is_of_the_weights_and_of_nothing_else(tmp_path, made):
    from safetensors.torch import load_file, save_file

    tensors = load_file(made / "model.safetensors")
    folder = tmp_path / "m"
    folder.mkdir()
    save_file(dict(reversed(tensors.items())), folder / "model.safetensors", {"format": "pt", "note": "again"})
    assert weights_digest(folder) == weights_digest(made)
    next(iter(tensors.values()))[0] += 1
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert weights_digest(folder) != weights_digest(made)
    assert len(weights_digest(folder)) == 64


def test_a_folder_of_another_commit_is_refused(places, made):
    folder = copied(made, places / "named" / "a--b")
    note = folder / ".cache" / "huggingface" / "download" / "config.json.metadata"
    note.parent.mkdir(parents=True)
    note.write_text(f"{OTHER}\netag\n1.0\n")
    with pytest.raises(UserError, match=rf"at commit {OTHER[:12]}, not {REVISION[:12]}(.|\n)*audio.revision={OTHER}"):
        find()
    assert find(revision=OTHER) == folder


def test_loading_leaves_no_trace(made, monkeypatch, capfd):
    from transformers.utils import logging

    level = logging.get_verbosity()
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    model = read(made)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert logging.get_verbosity() == level
    assert capfd.readouterr() == ("", "")
    assert not model.training
    assert not any(weight.requires_grad for weight in model.parameters())


def test_code_in_a_folder_is_not_run(tmp_path, made):
    folder = copied(made, tmp_path / "m")
    mark = tmp_path / "run"
    (folder / "mine.py").write_text(f"open({str(mark)!r}, 'w')\nfrom transformers import HubertModel as Mine\n")
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"auto_map": {"AutoModel": "mine.Mine"}}))
    read(folder)
    assert not mark.exists()


def test_folders_that_hold_no_such_model(tmp_path, made):
    folder = copied(made, tmp_path / "m")

    def complaint(words, place=folder):
        with pytest.raises(UserError, match=words):
            find(folder=place)

    complaint(r"audio.folder: .*nowhere does not exist\n.*--set audio.folder=FOLDER where", tmp_path / "nowhere")
    complaint(r"config.json is a file", folder / "config.json")
    config = folder / "config.json"
    whole = config.read_text()
    config.write_text(whole.replace('"hubert"', '"whisper"'))
    complaint(r"type 'whisper', not 'hubert'\n  Name a HuBERT model, or choose --set audio=whisper")
    config.write_text(whole.replace('"hubert"', '"bert"'))
    complaint(r"type 'bert', not 'hubert'\n  Name a HuBERT model\.$")
    config.write_text("[1]")
    complaint(r"config.json is damaged")
    config.write_text(whole)
    (folder / "preprocessor_config.json").rename(folder / "processor_config.json")
    assert find(folder=folder) == folder
    (folder / "processor_config.json").unlink()
    complaint(r"is no HuBERT model: it lacks preprocessor_config.json")


def test_damaged_and_missing_weights(tmp_path, made):
    from safetensors.torch import load_file, save_file

    folder = copied(made, tmp_path / "m")
    weights = folder / "model.safetensors"
    tensors = load_file(made / "model.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"m cannot be loaded: .*\n  Copy or download it again"):
        read(folder)
    name = "hubert.encoder.layers.1.attention.k_proj.weight"
    save_file({k: v for k, v in tensors.items() if k != name}, weights, {"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 of the model's weights, such as encoder\.layers\.1\.attention"):
        read(folder)
    save_file({**tensors, name: torch.zeros(2)}, weights, {"format": "pt"})
    with pytest.raises(UserError, match="cannot be loaded"):
        read(folder)


def test_the_model_store_is_offline_too(places, monkeypatch, touched):
    monkeypatch.setenv("REALTALK_OFFLINE", "1")
    with pytest.raises(MissingDependencyError, match=r"silero_vad.onnx .* the network is switched off \(REALTALK_OFF"):
        models.model_path("silero_vad.onnx")
    assert touched == []
