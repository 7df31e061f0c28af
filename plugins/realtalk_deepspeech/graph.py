"""Constants of a frozen TensorFlow graph, read without TensorFlow.

A `GraphDef` is a protobuf message; only the fields that lead to the numbers of a `Const` node are followed (field
numbers from TensorFlow's graph.proto, node_def.proto, attr_value.proto, tensor.proto and tensor_shape.proto). Every
length is checked against what is there before anything is read or allocated, so a damaged or hostile file ends in one
message.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from realtalk_core.errors import UserError

Array = np.ndarray[Any, np.dtype[np.float32]]

MAX_NODES = 200_000
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FLOAT = 1  # TensorFlow's DT_FLOAT


@dataclass(frozen=True)
class Constant:
    """One constant as the file states it; its numbers are not read yet.

    Attributes:
        name: Its node's name.
        shape: As stated, with no more elements than a file can hold.
        dtype: TensorFlow's number of its type; 1 is float32.
        raw: Its numbers as little-endian bytes, empty if they are in `values`.
        values: Its numbers one by one; the last stands for all that are missing.
    """

    name: str
    shape: tuple[int, ...]
    dtype: int
    raw: memoryview
    values: Array

    def numbers(self) -> Array:
        """The numbers in their shape.

        Raises:
            ValueError: if they are no float32, their count does not fit the shape, or one is not finite.
        """
        count = int(np.prod(self.shape, dtype=object))
        if self.dtype != _FLOAT:
            raise ValueError(f"{self.name!r} holds numbers of TensorFlow's type {self.dtype}, not float32")
        if len(self.raw):
            if len(self.raw) != 4 * count:
                raise ValueError(f"{self.name!r} of shape {self.shape} holds {len(self.raw)} bytes, not {4 * count}")
            found = np.frombuffer(self.raw, "<f4")
        elif 0 < len(self.values) <= count:
            found = np.full(count, self.values[-1], np.float32)
            found[: len(self.values)] = self.values
        else:
            raise ValueError(f"{self.name!r} of shape {self.shape} holds {len(self.values)} numbers")
        if not np.isfinite(found).all():
            raise ValueError(f"{self.name!r} holds numbers that are not finite")
        return found.reshape(self.shape)


def read_constants(path: Path) -> dict[str, Constant]:
    """Every `Const` node of a frozen graph, by name; the file stays mapped as long as one of them lives.

    Raises:
        UserError: if the file is none, is damaged, or cannot be read.
    """
    again = "Name a frozen graph (output_graph.pb); if it is one, copy or download it again."
    try:
        with path.open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except ValueError as error:
        raise UserError(f"{path} is empty", again) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", again) from error
    if content[:4] == b"PK\x03\x04":
        raise UserError(f"{path} is a zip archive", f"Unpack it first: unzip {path}")
    if content[:2] == b"\x1f\x8b":
        raise UserError(f"{path} is a gzip archive", f"Unpack it first: tar xf {path}")
    try:
        nodes = [_node(value) for number, wire, value in _fields(content) if (number, wire) == (1, _BYTES)]
    except ValueError as error:
        raise UserError(f"{path} is no frozen TensorFlow graph, or is damaged: {error}", again) from error
    if not nodes:
        raise UserError(f"{path} is no frozen TensorFlow graph: it has no node", again)
    return {node.name: node for node in nodes if node is not None}


def _node(message: memoryview) -> Constant | None:
    name, op, found = "", "", None
    for number, wire, value in _fields(message):
        if wire != _BYTES:
            continue
        if number == 1:
            name = _text(value)
        elif number == 2:
            op = _text(value)
        elif number == 5:
            entry = {n: v for n, w, v in _fields(value) if w == _BYTES}
            if bytes(entry.get(1, b"")) == b"value" and 2 in entry:
                found = next((v for n, w, v in _fields(entry[2]) if (n, w) == (8, _BYTES)), None)
    if not name or not op:
        raise ValueError("a node has no name or no operation")
    return _tensor(name, found) if op == "Const" and found is not None else None


def _tensor(name: str, message: memoryview) -> Constant:
    dtype, shape, raw, values = 0, (), memoryview(b""), []
    for number, wire, value in _fields(message):
        if (number, wire) == (1, _VARINT):
            dtype = value
        elif (number, wire) == (2, _BYTES):
            shape = _shape(value)
        elif (number, wire) == (4, _BYTES):
            raw = value
        elif (number, wire) == (5, _BYTES):
            if len(value) % 4:
                raise ValueError(f"{name!r} holds {len(value)} bytes of float32")
            values.append(np.frombuffer(value, "<f4"))
        elif (number, wire) == (5, _FIXED32):
            values.append(np.frombuffer(value, "<f4"))
    return Constant(name, shape, dtype, raw, np.concatenate(values) if values else np.zeros(0, np.float32))


def _shape(message: memoryview) -> tuple[int, ...]:
    sizes = []
    for number, wire, value in _fields(message):
        if (number, wire) == (2, _BYTES):
            sizes.append(next((v for n, w, v in _fields(value) if (n, w) == (1, _VARINT)), 0))
    return tuple(sizes)


def _text(value: memoryview) -> str:
    return bytes(value[:4096]).decode("utf-8")  # UnicodeDecodeError is a ValueError


def _fields(message: memoryview) -> Iterator[tuple[int, int, Any]]:
    """Field number, wire type, and value (an int, or the bytes) of each field of a message."""
    at, end, count = 0, len(message), 0
    while at < end:
        count += 1
        if count > MAX_NODES:
            raise ValueError(f"a message has more than {MAX_NODES} fields")
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise ValueError("a field has the number 0")
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, wire, value
            continue
        if wire == _BYTES:
            size, at = _varint(message, at)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"a field has the unknown wire type {wire}")
        if size > end - at:
            raise ValueError(f"{size} bytes are announced where {end - at} are left")
        yield number, wire, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("it ends within a number")
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (1 << 64) - 1, at
    raise ValueError("a number has more than ten bytes")
