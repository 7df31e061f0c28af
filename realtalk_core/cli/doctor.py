"""`realtalk doctor`: what is here, what is not, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from typing import TYPE_CHECKING, Any

import typer

from realtalk_core import __version__
from realtalk_core.cli.common import ConfigOption, JsonOption, installed, say, say_json, table
from realtalk_core.errors import MissingDependencyError, RealTalkError

if TYPE_CHECKING:
    from pathlib import Path

    from realtalk_core.plugins import Plugins

_PACKAGES = (
    "torch",
    "numba",
    "numpy",
    "av",
    "mediapipe",
    "opencv-contrib-python",
    "librosa",
    "onnxruntime",
    "lightning-fabric",
)
_OPTIONAL = {
    "face-alignment": 'FAN tracker: pip install "realtalk[face-alignment]"',
    "espeakng-loader": 'voice espeak: pip install "realtalk[espeak]" (GPL-3.0)',
    "transformers": 'voice vits: pip install "realtalk[vits]"',
    "gsplat": "CUDA rasteriser of the renderer gaussian, for machines with a GPU: "
    'pip install "realtalk[gsplat]" (compiles with nvcc on first use)',
    "tinycudann": "CUDA hash encoding, for machines with a GPU: pip install "
    '"git+https://github.com/NVlabs/tiny-cuda-nn/#subdirectory=bindings/torch"',
}


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command(short_help="What is here, what is missing, what to do.")
    def doctor(config: ConfigOption = None, as_json: JsonOption = False) -> None:
        """Shows versions, devices, the fast path each component takes, model files, and plugins that failed."""
        from realtalk_core.models import cache_folder

        plugins = installed(config)
        components = _components(plugins)
        facts: dict[str, Any] = {
            "versions": _versions(),
            "optional": {name: _version(name) for name in _OPTIONAL},
            "devices": _devices(),
            "models": _models(),
            "model_cache": str(cache_folder()),
            "voice_activity": _voice_activity(),
            "components": components,
            "failures": [{"name": f.name, "kind": f.kind, "reason": f.reason} for f in plugins.failures],
            "heavy_plugins": {info.name: list(info.heavy) for info in plugins.loaded if info.heavy},
            "configuration": _configuration(plugins, config),
        }
        broken = [f for f in plugins.failures if f.kind != "disabled"]
        working = all(row["works"] for row in (*components, *facts["models"], facts["devices"]))
        facts["healthy"] = facts["configuration"] == "valid" and working and not broken
        if as_json:
            say_json(facts)
        else:
            _show(facts)
        if not facts["healthy"]:
            raise typer.Exit(2)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _versions() -> dict[str, str | None]:
    return {
        "realtalk": __version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
    }


def _devices() -> dict[str, Any]:
    cores = f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"
    try:
        import torch

        from realtalk_core.device import resolve

        threads, capability = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
        cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    except Exception as error:  # doctor is for finding out why an installation does not work
        broken = f"{cores}; torch does not work: {_one_line(error)}"
        return {"cpu": broken, "cuda": None, "auto": "nothing", "works": False}
    cpu, auto = f"{cores}; torch: {threads} threads, {capability}", str(resolve("auto"))
    return {"cpu": cpu, "cuda": cuda or None, "auto": auto, "works": True}


def _models() -> list[dict[str, Any]]:
    from realtalk_core.models import MODELS, find_model

    rows = []
    for name, model in MODELS.items():
        try:
            found, works = find_model(name), True
            state = str(found) if found else "not here; fetched when first needed"
        except RealTalkError as error:
            state, works = _one_line(error), False
        rows.append({"name": name, "what": model.what, "state": state, "works": works})
    return rows


def _voice_activity() -> str:
    """What judges voice activity for the components that listen to it."""
    try:
        from realtalk_core.hearing import activity

        return activity.remark(activity.detector())
    except Exception as error:  # a damaged model file is told among the models
        return f"voice activity cannot be judged: {_one_line(error)}"


def _components(plugins: Plugins) -> list[dict[str, Any]]:
    """Loads every component, so that what would fail later fails here; asks those that know for their fast path."""
    from realtalk_core.build import load_class

    rows = []
    for spec in plugins.specs:
        try:
            ask = getattr(load_class(spec), "fast_path", None)
            state, works = str(ask(spec.config())) if callable(ask) else "has only one way of working", True
        except RealTalkError as error:
            state, works = _one_line(error), isinstance(error, MissingDependencyError)
        except Exception as error:
            state, works = f"its fast_path failed: {_one_line(error)}", False
        rows.append({"stage": spec.stage, "name": spec.name, "fast_path": state, "works": works})
    return rows


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _configuration(plugins: Plugins, file: Path | None) -> str:
    from realtalk_core.config import load_config
    from realtalk_core.errors import UserError

    try:
        load_config(file, plugins=plugins)
    except UserError as error:
        return str(error)
    return "valid"


def _show(facts: dict[str, Any]) -> None:
    say("versions")
    table([(name, version or "not installed") for name, version in facts["versions"].items()], "  ")
    say("optional packages")
    table(
        [(name, version or f"not installed ({_OPTIONAL[name]})") for name, version in facts["optional"].items()], "  "
    )
    say("devices")
    cuda = facts["devices"]["cuda"]
    table(
        [
            ("cpu", facts["devices"]["cpu"]),
            ("cuda", ", ".join(cuda) if cuda else "none; everything runs on the CPU"),
            ("--device auto", facts["devices"]["auto"]),
        ],
        "  ",
    )
    say(f"model files (looked for in REALTALK_MODELS, then {facts['model_cache']})")
    table([(row["name"], row["what"], row["state"]) for row in facts["models"]], "  ")
    say(facts["voice_activity"])
    say("components and the path each takes")
    table([(row["stage"], row["name"], row["fast_path"]) for row in facts["components"]], "  ")
    if facts["failures"]:
        say("plugins left out")
        table([(row["name"], row["kind"], row["reason"]) for row in facts["failures"]], "  ")
    for name, heavy in facts["heavy_plugins"].items():
        say(f"slow: plugin {name!r} imports {', '.join(heavy)} already when it is declared")
    say(f"configuration: {facts['configuration']}")
    say("all is well" if facts["healthy"] else "something above needs mending")
    sys.stdout.flush()
