"""One component's weights in one `.safetensors` file that says what it is; nothing is ever pickled.

The file's metadata holds two strings: `realtalk`, the JSON of `Header`, and `sha256`, the digest of the whole file
taken with those 64 digits as zeros. safetensors itself checks no content, so a flipped bit in a weight would go
unseen; here any changed byte, in header or tensors, is refused.

Reading a header needs neither torch nor a tensor: `read_header` parses the file's own table.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtalk_core import __version__
from realtalk_core.atomic import atomic_file
from realtalk_core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from realtalk_core.spec import ComponentSpec

FORMAT = 1
"""Version of the file's layout, beside the version of the component's own tensors."""

_KEY, _DIGEST, _ZEROS = "realtalk", "sha256", "0" * 64
_UPDATE = "Update realtalk: pip install --upgrade realtalk"
_MAX_TABLE = 100_000_000  # safetensors' own limit
_AGAIN = "Copy it again from where it came, or train that stage again: realtalk train CAPTURE -o AVATAR --stage STAGE"


@dataclass(frozen=True)
class Header:
    """What a checkpoint says about itself.

    Attributes:
        stage: The stage it fills, or `person` for a person's own tracks.
        component: The component's name.
        version: Version of the component's tensors (`ComponentSpec.version`).
        config: The component's parameters, filled.
        plugin: The plugin that declared it.
        core: Version of RealTalk that wrote it.
        created: When, UTC, ISO 8601.
        git: Commit of RealTalk's checkout, empty if it ran from an installed wheel.
        metrics: What was measured, for example steps, seconds, held-out PSNR.
        parents: Names of the files it was made from, with their digests.
        format: Version of the layout.
    """

    stage: str
    component: str
    version: int = 1
    config: Mapping[str, Any] = field(default_factory=dict)
    plugin: str = ""
    core: str = ""
    created: str = ""
    git: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    format: int = FORMAT

    @classmethod
    def of(cls, spec: ComponentSpec, config: Mapping[str, Any], **rest: Any) -> Header:
        """The header of a component's checkpoint written now."""
        return cls(spec.stage, spec.name, spec.version, dict(config), spec.plugin, **rest)

    def stamped(self) -> Header:
        """With core version, time and commit filled in where they are empty."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return replace(self, core=self.core or __version__, created=self.created or now, git=self.git or core_commit())


@cache
def core_commit() -> str:
    """Short commit hash if RealTalk runs from a checkout, else empty."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return ""
    ask = ["git", "-C", str(root), "rev-parse", "--short", "HEAD"]
    try:
        run = subprocess.run(ask, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""


def save(path: str | Path, header: Header, tensors: Mapping[str, Tensor]) -> Header:
    """Writes a checkpoint: whole or not at all, and on the disk before it takes its name.

    Args:
        path: The `.safetensors` file.
        header: What it is; empty `core`, `created` and `git` are filled in.
        tensors: Any dtypes and shapes; copied to the CPU.

    Returns:
        The header as written.

    Raises:
        UserError: if the place is full, read-only or forbidden.
    """
    from safetensors.torch import save as serialize

    header = header.stamped()
    text = json.dumps(asdict(header), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    owned = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    data = bytearray(serialize(owned, {_KEY: text, _DIGEST: _ZEROS}))
    at = _digest_place(data, Path(path))
    data[at : at + 64] = hashlib.sha256(data).hexdigest().encode()
    with atomic_file(path) as partial, partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return header


def load(path: str | Path, spec: ComponentSpec | None = None) -> tuple[Header, dict[str, Tensor]]:
    """Reads a checkpoint, checks every byte of it, and migrates it to the component's present version.

    Args:
        path: The `.safetensors` file.
        spec: The component that shall use it; None takes the tensors as they are.

    Raises:
        UserError: if it is missing, damaged, of a newer format or version, or another component's.
    """
    from safetensors.torch import load as deserialize

    path = Path(path)
    data = _read(path)
    header = _parse(data[: 8 + _table_size(data, path)], path)
    at = _digest_place(data, path)
    found, view = hashlib.sha256(), memoryview(data)  # in parts: a copy of the file would cost its size in memory
    for part in (view[:at], _ZEROS.encode(), view[at + 64 :]):
        found.update(part)
    if found.hexdigest().encode() != data[at : at + 64]:
        raise UserError(f"{path} is damaged: its content does not match its sha256", _AGAIN)
    tensors = dict(deserialize(data))
    return _migrate(header, tensors, spec, path) if spec is not None else (header, tensors)


def load_prior(
    path: str | Path, component: str, version: int, parameter: str, cure: str
) -> tuple[Header, dict[str, Tensor]]:
    """Reads weights that training may start from; halved numbers come back as float32.

    Args:
        path: The `.safetensors` file, a checkpoint of the stage `prior`.
        component: Whose prior it must be.
        version: Newest version of its tensors that the component reads.
        parameter: What named the file, for messages, such as `landmarks.prior`.
        cure: What the user can do about a file that cannot be used.

    Raises:
        UserError: if the file is missing, damaged, newer than `version`, or no prior of the component.
    """
    try:
        header, tensors = load(path)
    except UserError as error:
        raise UserError(f"{parameter}: {error.message}", cure) from error
    if (header.stage, header.component) != ("prior", component):
        raise UserError(
            f"{parameter}: {path} is a {header.stage} of {header.component!r}, no prior of {component}", cure
        )
    if header.version > version:
        raise UserError(
            f"{parameter}: {path} has version {header.version}, this RealTalk reads up to {version}",
            "Update realtalk: pip install --upgrade realtalk",
        )
    return header, {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}


def read_header(path: str | Path) -> Header:
    """The header alone, without torch and without reading a tensor; its digest is not checked.

    Raises:
        UserError: if the file is missing, no RealTalk checkpoint, or of a newer format.
    """
    path = Path(path)
    return _parse(_read_table(path), path)


def tensor_table(path: str | Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name to (dtype, shape) of every tensor, without reading one.

    Raises:
        UserError: if the file is missing or no safetensors file.
    """
    path = Path(path)
    table = _json(_read_table(path)[8:], path)
    return {name: (str(t["dtype"]), tuple(t["shape"])) for name, t in table.items() if name != "__metadata__"}


def digest(path: str | Path) -> str:
    """The digest a checkpoint states; names it among the `parents` of what is made from it.

    Raises:
        UserError: if the file is missing or no RealTalk checkpoint.
    """
    path = Path(path)
    raw = _read_table(path)
    at = _digest_place(raw, path)
    return raw[at : at + 64].decode()


def content(tensors: Mapping[str, Tensor]) -> str:
    """sha256 of tensors by name, type, shape and bytes: not of when or by what they were written."""
    import torch

    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        held = tensor.detach().cpu().contiguous()
        found.update(f"{name} {held.dtype} {tuple(held.shape)};".encode())
        found.update(held.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _migrate(
    header: Header, tensors: dict[str, Tensor], spec: ComponentSpec, path: Path
) -> tuple[Header, dict[str, Tensor]]:
    if (header.stage, header.component) != (spec.stage, spec.name):
        raise UserError(
            f"{path} holds {header.stage} {header.component!r}, not {spec.stage} {spec.name!r}",
            f"Select it with --set {header.stage}={header.component}, or train {spec.name} again.",
        )
    if header.version > spec.version:
        raise UserError(
            f"{path}: version {header.version} of {spec.stage} {spec.name!r} is newer than the installed one reads "
            f"({spec.version})",
            f"Update the plugin {spec.plugin or spec.name}.",
        )
    config = dict(header.config)
    for version in range(header.version, spec.version):
        step = spec.migrate.get(version)
        if step is None:
            raise UserError(
                f"{path}: {spec.stage} {spec.name!r} cannot read version {version} of its own files any more", _AGAIN
            )
        tensors, config = step(tensors, config)
    return replace(header, version=spec.version, config=config), tensors


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing", _AGAIN) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Check the path and its permissions.") from error


def _read_table(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            start = file.read(8)
            return start + file.read(_table_size(start, path))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist", "Check the path.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Check the path and its permissions.") from error


def _table_size(data: bytes | bytearray, path: Path) -> int:
    size = int(struct.unpack("<Q", data[:8])[0]) if len(data) >= 8 else 0
    if not 2 <= size <= _MAX_TABLE:
        raise UserError(f"{path} is no safetensors file, or is damaged at its beginning", _AGAIN)
    return size


def _json(text: bytes, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: its table cannot be read", _AGAIN) from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged: its table is no table", _AGAIN)
    return value


def _digest_place(data: bytes | bytearray, path: Path) -> int:
    """Offset of the 64 digits in the table; the metadata's own key, since JSON inside a string escapes its quotes."""
    mark = f'"{_DIGEST}":"'.encode()
    at = data.find(mark, 8, 8 + _table_size(data, path))
    end = at + len(mark) + 64
    if at < 0 or data[end : end + 1] != b'"':
        raise UserError(f"{path} is damaged or no RealTalk checkpoint: it states no sha256", _AGAIN)
    return at + len(mark)


def _parse(table: bytes, path: Path) -> Header:
    meta = _json(table[8:], path).get("__metadata__")
    text = meta.get(_KEY) if isinstance(meta, dict) else None
    if not isinstance(text, str):
        raise UserError(
            f"{path} is a safetensors file, but no RealTalk checkpoint",
            "Name a checkpoint of an avatar, such as AVATAR/renderer.safetensors.",
        )
    found = _json(text.encode(), path)
    version = found.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise UserError(f"{path}: checkpoint format {version} is newer than this RealTalk reads ({FORMAT})", _UPDATE)
    known = {f.name for f in fields(Header)}
    if not isinstance(version, int) or not {"stage", "component"} <= found.keys() <= known:
        raise UserError(f"{path} is damaged: its header is incomplete", _AGAIN)
    return Header(**{**found, "parents": tuple(found.get("parents", ()))})
