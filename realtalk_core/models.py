"""The model store: files RealTalk needs but does not ship, each with a pinned address and sha256.

A file is looked for in the folder named by `REALTALK_MODELS`, then in the cache, then downloaded into the cache.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile

from realtalk_core.errors import MissingDependencyError, UserError, did_you_mean

VARIABLE = "REALTALK_MODELS"
TIMEOUT_SECONDS = 30
_GITHUB = "https://raw.githubusercontent.com/"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of the store.

    Attributes:
        name: File name in `REALTALK_MODELS` and in the cache.
        what: What it is for, in a few words.
        licence: Its licence.
        url: Where it is downloaded from.
        sha256: What its content must hash to.
    """

    name: str
    what: str
    licence: str
    url: str
    sha256: str


_FILES = (
    ModelFile(
        "face_landmarker.task", "MediaPipe face landmarker", "Apache-2.0",
        "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
        "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
    ),
    ModelFile(
        "canonical_face_model.obj", "canonical face mesh in centimetres", "Apache-2.0",
        _GITHUB + "google-ai-edge/mediapipe/v0.10.21/mediapipe/modules/face_geometry/data/canonical_face_model.obj",
        "8bac80443397e113f41a8b565ea72c59390bc031d9defab289dba7bc0c54e618",
    ),
    ModelFile(
        "portrait_segmentation_256.onnx", "person/background segmentation", "MIT",
        _GITHUB + "anilsathyan7/Portrait-Segmentation/master/models/prisma_seg/prisma_nchw.onnx",
        "aeef118740b74a908886f247457c9866b5c002769eda4bb901f049dc7821b1c0",
    ),
    ModelFile(
        "MobileFaceNet.onnx", "face-identity embedding", "Apache-2.0",
        _GITHUB + "foamliu/MobileFaceNet/master/weights/MobileFaceNet.onnx",
        "b7120c095d60094f28a4a54ba6a8bf51b297a6273fb40ef6350dfec1f63d9507",
    ),
    ModelFile(
        "silero_vad.onnx", "voice activity", "MIT",
        _GITHUB + "snakers4/silero-vad/v6.2.1/src/silero_vad/data/silero_vad.onnx",
        "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
    ),
    ModelFile(
        "niqe_pris_params.npz", "NIQE pristine-model parameters", "Apache-2.0",
        _GITHUB + "XPixelGroup/BasicSR/master/basicsr/metrics/niqe_pris_params.npz",
        "2a7c182a68c9e7f1b2e2e5ec723279d6f65d912b6fcaf37eb2bf03d7367c4296",
    ),
    ModelFile(
        "alexnet-owt-7be5be79.pth", "LPIPS backbone, 244 MB", "BSD-3-Clause",
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
    ),
    ModelFile(
        "lpips_alex_v0.1_heads.pth", "LPIPS linear heads", "BSD-2-Clause",
        _GITHUB + "richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/alex.pth",
        "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    ),
)  # fmt: skip
MODELS: dict[str, ModelFile] = {file.name: file for file in _FILES}


def cache_folder() -> Path:
    """Where downloaded model files are kept."""
    from platformdirs import user_cache_path

    return user_cache_path("realtalk") / "models"


def offline(variable: str = "REALTALK_OFFLINE") -> bool:
    """Whether the network is switched off by an environment variable."""
    return os.environ.get(variable, "").upper() in ("1", "ON", "YES", "TRUE")


def model_path(name: str) -> Path:
    """The file on disk, verified; downloaded if it is nowhere.

    Args:
        name: A key of `MODELS`.

    Raises:
        UserError: if the store does not know it, its content is not what it should be, or it cannot be downloaded;
            the cure names the file and the folder to put it in.
    """
    model = _known(name)
    found = _local(model)
    return _download(model) if found is None else found


def find_model(name: str) -> Path | None:
    """The file if it is on this machine already, else None; never downloads.

    Raises:
        UserError: if the store does not know it or its content is not what it should be.
    """
    return _local(_known(name))


def _known(name: str) -> ModelFile:
    if name not in MODELS:
        raise UserError(f"the model store has no {name!r}{did_you_mean(name, MODELS)}")
    return MODELS[name]


def model_folders() -> Iterator[Path]:
    """Where model files are looked for, in this order; the first is where a person puts one."""
    if named := os.environ.get(VARIABLE):
        yield Path(named)
    yield cache_folder()


def _local(model: ModelFile) -> Path | None:
    for folder in model_folders():
        file = folder / model.name
        if file.is_file():
            stat = file.stat()
            if _sha256(file, stat.st_size, stat.st_mtime_ns) != model.sha256:
                raise UserError(
                    f"{file} is damaged or another version ({model.what}; expected sha256 {model.sha256[:16]}…)",
                    f"Delete it, or replace it with the file from {model.url}",
                )
            return file
    return None


@cache
def _sha256(file: Path, size: int, modified: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _explained(model: ModelFile) -> Iterator[None]:
    folder = next(model_folders())
    try:
        yield
    except (OSError, ValueError) as error:  # URLError and timeouts are OSErrors
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise MissingDependencyError(
            f"the model file {model.name} ({model.what}) is not on this machine and could not be downloaded: {reason}",
            f"Put {model.name} into {folder}; it comes from {model.url}",
        ) from error


def _download(model: ModelFile) -> Path:
    folder = cache_folder()
    with _explained(model):
        if offline():
            raise OSError("the network is switched off (REALTALK_OFFLINE)")
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with (
            urllib.request.urlopen(model.url, timeout=TIMEOUT_SECONDS) as response,
            NamedTemporaryFile(dir=folder, prefix=".", delete=False) as partial,
        ):
            try:
                while block := response.read(1 << 16):
                    digest.update(block)
                    partial.write(block)
                partial.close()
                if digest.hexdigest() != model.sha256:
                    raise ValueError(f"{model.url} gave a file with another sha256")
                os.replace(partial.name, folder / model.name)
            except BaseException:
                Path(partial.name).unlink(missing_ok=True)
                raise
    return folder / model.name
