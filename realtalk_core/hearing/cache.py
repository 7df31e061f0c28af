"""What a capture's sound is to an encoder, worked out once and kept beside it in `CAPTURE/features/`.

A file is named after everything its numbers depend on; changing any of it makes another. The newest `KEPT` stay. A file
that cannot be read is made again, and a folder that cannot be written to costs the time of hearing again, no more.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from realtalk_core import __version__, checkpoint
from realtalk_core.audio import stream_audio
from realtalk_core.capture import Capture
from realtalk_core.config import Selected
from realtalk_core.encoders import encoder_name
from realtalk_core.errors import RealTalkError, UserError
from realtalk_core.hearing.pieces import heard_rows
from realtalk_core.stages import AudioEncoder, StreamingEncoder
from realtalk_core.types import AudioFeatures, Prosody, concat_features, concat_prosody

FORMAT = 1
FOLDER = "features"
KEPT = 16
"""Files in the folder: writing one removes the one that has not been used for longest beyond these."""
LONG_SECONDS = 600.0
"""A longer sound is heard in windows by encoders without a stream; a shorter one whole, which costs no margins."""
WINDOW_SECONDS = 60.0
_OTHERS = ("builtins", "abc", "typing", "torch")
"""Modules of bases whose source makes no encoder's numbers."""
FEATURES, PROSODY = "features", "prosody"
"""What such a checkpoint says that it holds, in place of a pipeline's stage."""


def heard(
    capture: Capture,
    chosen: Selected,
    encoder: AudioEncoder,
    prosody: Collection[str] = (),
    *,
    device: str = "cpu",
    remark: Callable[[str], None] = lambda _: None,
) -> AudioFeatures:
    """A capture's sound as an encoder hears it, out of the capture's folder if it has been heard before.

    Args:
        capture: The capture; its sound is read piece by piece.
        chosen: The encoder's declaration and parameters.
        encoder: The encoder, built.
        prosody: What else to hear: tokens of `realtalk_core.config.needs.PROSODY`; kept in a file of its own.
        device: Where the encoder works: numbers differ between kinds of device in their last digits.
        remark: Told what the user should know.

    Returns:
        One row per frame of the *sound*; see `realtalk_core.training.session.fitted`.

    Raises:
        UserError: if the capture has no sound.
    """
    if not capture.has_audio:
        _ = capture.audio  # says so
    with (capture.path / "audio.wav").open("rb") as file:
        sound = hashlib.file_digest(file, "sha256").hexdigest()
    spec, digest = chosen.spec, weights_of(encoder)
    parameters = chosen.config.model_dump(mode="json")
    about = {
        "encoder": encoder_name(spec.name, chosen.config, digest), "weights_sha256": digest, "fps": capture.fps,
        "audio_sha256": sound,
    }  # fmt: skip
    shelf = _Shelf(capture.path / FOLDER, remark)

    key = _key(spec.qualified, spec.version, code_of(encoder), parameters, about, device.partition(":")[0])
    name = f"{spec.name}-{key}"
    kept = shelf.read(name, FEATURES)
    if kept is None:
        rows = _listen(capture, encoder)
        header = checkpoint.Header(FEATURES, spec.name, spec.version, parameters, spec.plugin, metrics=about)
        shelf.write(name, header, {"values": rows.values})
    else:
        rows = AudioFeatures(kept[1]["values"], capture.fps)
    if not prosody:
        return rows
    return AudioFeatures(rows.values, capture.fps, _prosody(capture, prosody, sound, shelf))


def weights_of(component: Any) -> str:
    """sha256 of a built component's weights, in its own file or outside; empty if it has none."""
    if outside := str(getattr(component, "weights_digest", "")):
        return outside
    return checkpoint.content(component.state()) if hasattr(component, "state") else ""


def code_of(component: Any) -> str:
    """sha256 of the Python source that a component's class and its bases stand in; empty if there is none to read.

    Of a class in a package, all modules of its folder count: helpers beside it make its numbers too.
    """
    files: set[Path] = set()
    for one in type(component).__mro__:
        module = sys.modules.get(one.__module__)
        if module is None or one.__module__.partition(".")[0] in _OTHERS:
            continue
        with contextlib.suppress(TypeError, OSError):
            source = inspect.getsourcefile(one)
            files |= (
                set(Path(source).parent.glob("*.py") if module.__package__ else [Path(source)]) if source else set()
            )
    digest = hashlib.sha256()
    for file in sorted(files):
        with contextlib.suppress(OSError):
            digest.update(f"{file.parent.name}/{file.name};".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest() if files else ""


def kept_features(capture: Path) -> list[dict[str, Any]]:
    """What lies in a capture's folder of features, for `realtalk inspect`: newest first, damaged files too."""
    found = []
    for file in sorted(_files(capture / FOLDER), key=_used, reverse=True):
        facts: dict[str, Any] = {"file": file.name, "megabytes": round(file.stat().st_size / 1e6, 3)}
        try:
            header = checkpoint.read_header(file)
            facts |= {"encoder": header.metrics.get("encoder", header.component), "created": header.created}
        except RealTalkError:
            facts["damaged"] = "made again when it is needed"
        found.append(facts)
    return found


def _listen(capture: Capture, encoder: AudioEncoder) -> AudioFeatures:
    file = capture.path / "audio.wav"
    if isinstance(encoder, StreamingEncoder):
        return concat_features(list(heard_rows(encoder, stream_audio(file), capture.fps)))
    if len(capture) / capture.fps > LONG_SECONDS:  # sound and pictures differ by a second at most
        return concat_features(list(heard_rows(encoder, stream_audio(file), capture.fps, chunk_seconds=WINDOW_SECONDS)))
    with torch.no_grad():
        return encoder.encode(capture.audio, capture.fps)


def _prosody(capture: Capture, asked: Collection[str], sound: str, shelf: _Shelf) -> Prosody:
    from realtalk_core.hearing.prosody import ProsodyStream, prosody_key

    about = {"prosody": sorted(asked), "fps": capture.fps, "audio_sha256": sound}
    name = f"{PROSODY}-{_key(prosody_key(frozenset(asked)), about)}"
    kept = shelf.read(name, PROSODY)
    if kept is not None:
        return Prosody(**kept[1], detector=str(kept[0].metrics.get("detector", "")))
    stream, parts = None, []
    for clip in stream_audio(capture.path / "audio.wav"):
        stream = stream or ProsodyStream(sample_rate=clip.sample_rate, fps=capture.fps, asked=frozenset(asked))
        parts.append(stream.feed(clip.samples))
    if stream is None:
        raise UserError(f"{capture.path / 'audio.wav'} is empty", "Make the capture again.")
    found = concat_prosody([part for part in (*parts, stream.close()) if len(part)])
    tensors = {part: getattr(found, part) for part in ("f0", "voiced", "loudness", "activity")}
    header = checkpoint.Header(PROSODY, PROSODY, metrics={**about, "detector": found.detector})
    shelf.write(name, header, {part: rows for part, rows in tensors.items() if rows is not None})
    return found


def _key(*parts: Any) -> str:
    text = json.dumps([FORMAT, __version__, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Shelf:
    """The folder of features; everything that can fail with it is only worth a remark."""

    def __init__(self, folder: Path, remark: Callable[[str], None]) -> None:
        self._folder, self._remark = folder, remark

    def read(self, name: str, kind: str) -> tuple[checkpoint.Header, dict[str, Tensor]] | None:
        file = self._folder / f"{name}.safetensors"
        if not file.is_file():
            return None
        try:
            header, tensors = checkpoint.load(file)
        except UserError as error:
            self._remark(f"{error.message}; hearing the sound again")
            return None
        if header.stage != kind:
            return None
        with contextlib.suppress(OSError):
            os.utime(file)  # used last now
        return header, tensors

    def write(self, name: str, header: checkpoint.Header, tensors: dict[str, Tensor]) -> None:
        try:
            self._folder.mkdir(exist_ok=True)
            checkpoint.save(self._folder / f"{name}.safetensors", header, tensors)
            for old in sorted(_files(self._folder), key=_used, reverse=True)[KEPT:]:
                old.unlink(missing_ok=True)
        except (UserError, OSError) as error:
            why = error.message if isinstance(error, UserError) else f"{self._folder}: {error.strerror}"
            self._remark(f"what was heard is not kept for the next time: {why}")


def _files(folder: Path) -> list[Path]:
    return [file for file in folder.glob("*.safetensors") if file.is_file()]


def _used(file: Path) -> int:
    with contextlib.suppress(OSError):
        return file.stat().st_mtime_ns
    return 0
