"""Models of transformers: found on this machine or fetched at a pinned commit, and loaded as data only.

A model is looked for in the folder that the user names; else as OWNER--NAME in `REALTALK_MODELS` and in the model
store's cache; in the hub's own cache; and on the hub, unless the network is switched off (`REALTALK_OFFLINE`,
`HF_HUB_OFFLINE`). Weights are safetensors and no code of a model's own is run. A commit that has nothing but PyTorch's
pickles is turned into safetensors once (`realtalk_core.pickled`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import shlex
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from realtalk_core.errors import MissingDependencyError, UserError
from realtalk_core.models import cache_folder, model_folders, offline

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED, PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
TIMEOUT_SECONDS = 20
_AGAIN = "Copy or download it again."
_OFF = ("REALTALK_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a component wants to load.

    Attributes:
        what: In words, such as `HuBERT model`.
        kind: `model_type` of its config.json.
        stage: Key of the configuration that holds `folder`, `model` and `revision`, such as `audio`.
        files: What must lie beside the weights; `a|b` is either.
        also: What is taken along where there is such a file.
        elsewhere: The component that takes a model of another type, by that type.
        convert: Name of the component for `realtalk convert`, if it takes pickles over.
    """

    what: str
    kind: str
    stage: str
    files: tuple[str, ...] = ("config.json",)
    also: tuple[str, ...] = ()
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    convert: str | None = None


def located(wanted: Wanted, folder: Path | None, model: str | None, revision: str | None) -> Path:
    """The folder of a model: the one named, or that of a pinned commit, fetched if it must be.

    Args:
        wanted: What must be in it.
        folder: A local folder.
        model: OWNER/NAME on the hub, where there is no folder.
        revision: Its commit, 40 hexadecimal digits.

    Raises:
        UserError: if what is there is no such model.
        MissingDependencyError: if it is not on this machine and cannot be downloaded; names command and folder.
    """
    if folder is not None:
        check(wanted, folder)
        return folder
    assert model is not None
    assert revision is not None
    name = model.replace("/", "--")
    placed = next((there for there in _placed(name) if not _lost(wanted, there)), None)
    if placed is not None:
        _check_commit(wanted, placed, model, revision)
        converted = cache_folder() / f"{name}~{_state(placed)}"  # nobody knows which commit's these are
    else:
        converted = cache_folder() / f"{name}@{revision[:12]}"
        placed = converted if converted.is_dir() else _from_hub(wanted, model, revision)
    if not _has(placed, WEIGHTS, INDEX) and _has(placed, PICKLED, PICKLED_INDEX):
        placed = converted if converted.is_dir() else _taken_over(wanted, placed, converted)
    check(wanted, placed)
    return placed


def check(wanted: Wanted, folder: Path) -> None:
    """Passes a folder that holds such a model, with its weights as safetensors.

    Raises:
        UserError: if it does not: says what is there instead, and who would take it.
    """
    place = f"{wanted.stage}.folder: {folder}"
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UserError(
            f"{place} {what}",
            f"Say with --set {wanted.stage}.folder=FOLDER where the {wanted.what} (config.json, {WEIGHTS} …) is now.",
        )
    check_kind(wanted, folder)
    if not _has(folder, WEIGHTS, INDEX):
        cure = f"Get a revision of the model that has {WEIGHTS}."
        if wanted.convert is not None and _has(folder, PICKLED, PICKLED_INDEX):
            cure = f"Turn it into one that has: realtalk convert {wanted.convert} {shlex.quote(str(folder))}"
        raise UserError(
            f"{place} has no {WEIGHTS}; weights in pickle files are not read, since they can run code", cure
        )
    lost = [file.name for file in weight_files(folder) if not file.is_file()]
    if lost:
        raise UserError(f"{place} lacks {', '.join(lost)}, which {INDEX} names", "Download the model whole.")


def check_kind(wanted: Wanted, folder: Path) -> None:
    """Passes a folder with the files beside the weights, and a config.json of the right type.

    Raises:
        UserError: otherwise.
    """
    place = f"{wanted.stage}.folder: {folder}"
    missing = _lacking(wanted, folder)
    if missing:
        raise UserError(
            f"{place} is no {wanted.what}: it lacks {', '.join(missing)}",
            "Save a model there with save_pretrained, with what prepares its input, or download it whole.",
        )
    try:
        kind = json.loads((folder / "config.json").read_text("utf-8")).get("model_type")
    except (ValueError, AttributeError) as error:
        raise UserError(f"{folder / 'config.json'} is damaged: {error}", _AGAIN) from error
    if kind != wanted.kind:
        other = wanted.elsewhere.get(kind)
        cure = f"Name a {wanted.what}." if other is None else f"Name a {wanted.what}, or choose --set {other}."
        raise UserError(f"{place} holds a model of type {kind!r}, not {wanted.kind!r}", cure)


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers reads a model's weights from, in the order of their names.

    Raises:
        UserError: if the list of shards is damaged or names files elsewhere.
    """
    if (folder / WEIGHTS).is_file() or not (folder / INDEX).is_file():
        return [folder / WEIGHTS]
    return [folder / name for name in shards(folder / INDEX)]


def shards(index: Path) -> list[str]:
    """The names of the files that a list of shards names.

    Raises:
        UserError: if the list is damaged, or names files elsewhere or of another kind: what is listed as safetensors
            and is not, transformers would read as a pickle.
    """
    try:
        names = sorted({str(name) for name in json.loads(index.read_text("utf-8"))["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index} is damaged: {error}", _AGAIN) from error
    trust, ending = "Get the model from where you trust it.", ".safetensors" if index.name == INDEX else ".bin"
    if not names:
        raise UserError(f"{index} is damaged: it names no file", _AGAIN)
    if any(name in ("", ".", "..") or set(name) & set("/\\") for name in names):
        raise UserError(f"{index} names files outside its folder", trust)
    if strange := next((name for name in names if not name.endswith(ending)), None):
        raise UserError(f"{index} names {strange}, which is no {ending} file", trust)
    return names


def weights_digest(folder: Path) -> str:
    """sha256, hexadecimal, over names, types, shapes and numbers of all weights.

    It does not depend on how the weights are spread over files, nor on what else the files say; two copies of a model
    have the same one. Files that did not change are read once per process.
    """
    return _digest(tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in weight_files(folder)))


@cache
def _digest(files: Sequence[tuple[Path, int, int]]) -> str:
    from mmap import ACCESS_READ, mmap

    tensors: dict[str, tuple[Path, dict[str, Any], int]] = {}
    for file, _, _ in files:
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(size))
        tensors |= {name: (file, said, 8 + size) for name, said in header.items() if name != "__metadata__"}
    digest = hashlib.sha256()
    maps = {}
    for file, _, _ in files:
        with file.open("rb") as stream:
            maps[file] = mmap(stream.fileno(), 0, access=ACCESS_READ)
    for name, (file, said, base) in sorted(tensors.items()):
        begin, end = said["data_offsets"]
        digest.update(json.dumps([name, said["dtype"], said["shape"]]).encode())
        with memoryview(maps[file]) as view, view[base + begin : base + end] as part:
            digest.update(part)
    for each in maps.values():
        each.close()
    return digest.hexdigest()


def loaded(kind: type[Any], folder: Path, *, optional: tuple[str, ...] = (), config: Any = None) -> Any:
    """A model, ready for inference, in float32 on the CPU.

    Args:
        kind: The class of transformers.
        folder: One that `check` passed.
        optional: How the names of weights begin that may be missing.
        config: Other than its own config.json, such as one with fewer layers.

    Raises:
        UserError: if a file is damaged, or weights are missing or of another shape.
    """
    import torch

    options: dict[str, Any] = {} if config is None else {"config": config}
    with reading(folder):
        model, found = kind.from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
    lost = sorted(name for name in found["missing_keys"] if not name.startswith(optional))
    if lost:
        raise UserError(f"{folder} lacks {len(lost)} of the model's weights, such as {lost[0]}", _AGAIN)
    return model.to(torch.float32).eval().requires_grad_(False)


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Around calls to transformers that read a folder: quiet, errors in our words, random state as it was.

    Raises:
        UserError: if what is there cannot be read.
    """
    import torch
    from safetensors import SafetensorError
    from transformers.utils import logging as theirs

    level, bar = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    theirs.set_verbosity(logging.CRITICAL)
    theirs.disable_progress_bar()
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):  # weights are drawn before they are read
            warnings.simplefilter("ignore")
            yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{folder} cannot be loaded: {reason}", _AGAIN) from error
    finally:
        theirs.set_verbosity(level)
        if bar:
            theirs.enable_progress_bar()


def _has(folder: Path, *names: str) -> bool:
    return any((folder / name).is_file() for name in names)


def _lacking(wanted: Wanted, folder: Path) -> list[str]:
    return [names.split("|")[0] for names in wanted.files if not _has(folder, *names.split("|"))]


def _placed(name: str) -> list[Path]:
    return [there for each in model_folders() if (there := each / name).is_dir()]


def _lost(wanted: Wanted, folder: Path) -> list[str]:
    """What is not there yet, as when a download was interrupted."""
    lost = _lacking(wanted, folder)
    if _has(folder, WEIGHTS, PICKLED):
        return lost
    index = next((folder / name for name in (INDEX, PICKLED_INDEX) if _has(folder, name)), None)
    parts = [WEIGHTS] if index is None else shards(index)
    return lost + [name for name in parts if not (folder / name).is_file()]


def _state(folder: Path) -> str:
    """Changes when a file that is converted or taken along does; cheaper than reading gigabytes at each start."""
    files = sorted(file for pattern in ("*.json", "*.bin") for file in folder.glob(pattern))
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()[:12]


def _check_commit(wanted: Wanted, folder: Path, model: str, revision: str) -> None:
    """Refuses a folder that was downloaded at another commit; `hf download` notes it beside the files."""
    note = folder / ".cache" / "huggingface" / "download" / "config.json.metadata"
    if not note.is_file():
        return
    commit = note.read_text("utf-8", "replace").split("\n", 1)[0].strip()
    if commit != revision:
        raise UserError(
            f"{folder} is {model} at commit {commit[:12]}, not {revision[:12]}",
            f"Replace it: {_command(model, revision, folder)}\n"
            f"  or use it as it is: --set {wanted.stage}.revision={commit}",
        )


def _command(model: str, revision: str, folder: Path) -> str:
    return f"hf download {shlex.quote(model)} --revision {revision} --local-dir {shlex.quote(str(folder))}"


def _from_hub(wanted: Wanted, model: str, revision: str) -> Path:
    """The folder of a commit in the hub's cache, downloaded if it must be."""
    import huggingface_hub

    beside = [name for names in (*wanted.files, *wanted.also) for name in names.split("|")]
    safe, pickled = [WEIGHTS, INDEX, "model-*.safetensors"], [PICKLED, PICKLED_INDEX, "pytorch_model-*.bin"]
    asked: dict[str, Any] = {"repo_id": model, "revision": revision}
    try:
        there = Path(huggingface_hub.snapshot_download(**asked, allow_patterns=[*beside, *safe], local_files_only=True))
        if not _lacking(wanted, there) and _has(there, WEIGHTS, INDEX, PICKLED, PICKLED_INDEX):
            return there
    except OSError:  # LocalEntryNotFoundError is one
        pass
    if off := next((name for name in _OFF if offline(name)), None):
        raise _missing(wanted, model, revision, f"the network is switched off ({off})")
    try:
        info = huggingface_hub.HfApi().model_info(model, revision=revision, timeout=TIMEOUT_SECONDS)
        named = {each.rfilename for each in info.siblings or ()}  # asked first: the download itself tries for long
        weights = safe if named & {WEIGHTS, INDEX} else pickled
        return Path(huggingface_hub.snapshot_download(**asked, allow_patterns=[*beside, *weights]))
    except Exception as error:  # its HTTP library, and so the classes of its errors, change with its version
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise _missing(wanted, model, revision, f"could not be downloaded: {reason}") from error


def _missing(wanted: Wanted, model: str, revision: str, why: str) -> MissingDependencyError:
    name, found = model.replace("/", "--"), "is not on this machine"
    folder = next(iter(_placed(name)), next(model_folders()) / name)
    if folder.is_dir():
        found = f"is incomplete on this machine ({folder} lacks {', '.join(_lost(wanted, folder))})"
    why = why if why.startswith("could") else f"cannot be downloaded: {why}"
    return MissingDependencyError(
        f"the {wanted.what} {model} (revision {revision[:12]}) {found} and {why}",
        f"Where there is a network: {_command(model, revision, folder)}\n"
        f"  It is found in that folder; any other can be named: --set {wanted.stage}.folder=FOLDER",
    )


def _taken_over(wanted: Wanted, source: Path, target: Path) -> Path:
    """Turns a folder of pickles into one of safetensors, which appears whole or not at all."""
    import shutil
    from tempfile import mkdtemp

    from realtalk_core.atomic import writing
    from realtalk_core.pickled import convert

    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(mkdtemp(dir=target.parent, prefix=f".{target.name}.")) / "model"
    try:
        convert(wanted, source, partial)
        with writing(target):
            if not target.is_dir():  # another process may have been faster
                partial.rename(target)
    finally:
        shutil.rmtree(partial.parent, ignore_errors=True)
    return target
