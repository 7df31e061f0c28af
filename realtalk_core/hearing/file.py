"""Features as a file, written row by row: a checkpoint like any other, however long the sound."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from realtalk_core import checkpoint
from realtalk_core.atomic import atomic_file
from realtalk_core.errors import ShapeError, UserError
from realtalk_core.types import AudioFeatures, Prosody

STAGE = "features"
"""What such a checkpoint says that it holds, in place of a pipeline's stage."""
_PARTS = ("f0", "voiced", "loudness", "activity")
_ZEROS = "0" * 64


class FeatureWriter:
    """Takes rows as they come; memory holds one piece of them.

    Attributes:
        rows: How many have come.
        shape: Of one row.
    """

    def __init__(self, folder: Path) -> None:
        self.rows, self.shape = 0, tuple[int, ...]()
        self.detector = ""
        self._folder, self._files = folder, dict[str, BinaryIO]()

    def add(self, features: AudioFeatures) -> None:
        """Writes the next rows, and the prosody that comes with them.

        Raises:
            ShapeError: if they differ in shape from those before.
        """
        shape = tuple(features.values.shape[1:])
        if self.rows and shape != self.shape:
            raise ShapeError(f"FeatureWriter: rows of {shape} after rows of {self.shape}")
        self.shape = shape
        self._write("values", features.values)
        if features.prosody is not None:
            self.detector = features.prosody.detector
            for name in _PARTS:
                part = getattr(features.prosody, name)
                if part is not None:
                    self._write(name, part)
        self.rows += len(features)

    def _write(self, name: str, rows: Tensor) -> None:
        if name not in self._files:
            self._files[name] = (self._folder / name).open("w+b")
        self._files[name].write(rows.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())

    def join(self, target: Path, header: checkpoint.Header) -> None:
        """Writes the whole file to `target`."""
        table: dict[str, Any] = {}
        at = 0
        for name, file in sorted(self._files.items()):
            size = file.tell()
            shape = [self.rows, *self.shape] if name == "values" else [self.rows]
            table[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
            at += size
        about = json.dumps(asdict(header.stamped()), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
        text = json.dumps({"__metadata__": {"realtalk": about, "sha256": _ZEROS}, **table}, separators=(",", ":"))
        raw = text.encode()
        raw += b" " * (-len(raw) % 8)
        start = struct.pack("<Q", len(raw)) + raw
        digest = hashlib.sha256(start)
        with target.open("w+b") as out:
            out.write(start)
            for _, file in sorted(self._files.items()):
                file.seek(0)
                while block := file.read(1 << 20):
                    digest.update(block)
                    out.write(block)
            mark = b'"sha256":"'
            out.seek(start.index(mark + _ZEROS.encode()) + len(mark))
            out.write(digest.hexdigest().encode())
            out.flush()
            os.fsync(out.fileno())

    def close(self) -> None:
        """Closes and removes what was written on the way."""
        for file in self._files.values():
            file.close()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def writing_features(target: Path) -> Iterator[tuple[FeatureWriter, Path]]:
    """Gives a writer, and the place that `FeatureWriter.join` shall fill; it becomes `target` on success only.

    Raises:
        UserError: if the place is full, read-only or forbidden.
    """
    with atomic_file(target) as partial:
        folder = partial.with_suffix(".rows")
        folder.mkdir()
        writer = FeatureWriter(folder)
        try:
            yield writer, partial
        finally:
            writer.close()


def load_features(path: str | Path) -> tuple[AudioFeatures, Mapping[str, Any]]:
    """Features as `realtalk features` wrote them, with what the file says about them.

    Returns:
        The rows, with prosody where it was asked for; and `encoder`, `weights_sha256`, `fps`, `seconds`, `source`.

    Raises:
        UserError: if the file is missing, damaged, or holds no features.
    """
    header, tensors = checkpoint.load(path)
    if header.stage != STAGE or "values" not in tensors:
        raise UserError(
            f"{path} holds {header.stage} of {header.component!r}, not features", "Name a file of features."
        )
    parts = {name: tensors[name] for name in _PARTS if name in tensors}
    said = Prosody(**parts, detector=str(header.metrics.get("detector", ""))) if parts else None
    return AudioFeatures(tensors["values"], float(header.metrics["fps"]), said), header.metrics
