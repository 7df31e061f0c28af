"""Checks of what a plugin declares: nothing is built, nothing heavy is imported here."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from types import ModuleType

from pydantic import ValidationError

from realtalk_core.spec import STAGE_API, ComponentConfig
from realtalk_core.testing.checks import CheckFailure, CheckSkipped, all_checks, check, require
from realtalk_core.testing.subject import Subject

HEAVY: tuple[str, ...] = (
    "torch", "numpy", "scipy", "cv2", "librosa", "numba", "mediapipe", "av", "onnxruntime", "tinycudann", "gsplat",
    "torchaudio", "torchvision", "transformers", "tensorflow", "matplotlib", "sklearn", "skimage", "pandas",
    "lightning", "lightning_fabric", "face_alignment", "PIL",
)  # fmt: skip
"""Packages that take long to import; a declaring module imports none of them."""

METHODS: dict[str, dict[str, tuple[str, ...]]] = {
    "audio": {"encode": ("clip", "fps")},
    "landmarks": {"generate": ("audio",)},
    "emotion": {"deform": ("landmarks", "emotion")},
    "renderer": {"render": ("drive", "cameras")},
    "tracker": {"track": ("pictures", "fps")},
    "voice": {"speak": ("text",)},
}

_PROBE = """
import importlib, json, sys
module = importlib.import_module(sys.argv[1])
for declare in (getattr(module, "realtalk_components", None),):
    list(declare() if declare else ())
print(json.dumps(sorted(name for name in json.loads(sys.argv[2]) if name in sys.modules)))
"""


@check("import/light")
def import_light(subject: Subject) -> None:
    """Declaring the component imports no heavy package; `load` does that."""
    plugin = subject.plugins.manager.get_plugin(subject.spec.plugin)
    name = plugin.__name__ if isinstance(plugin, ModuleType) else type(plugin).__module__
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, name, json.dumps(HEAVY)], capture_output=True, text=True, env=environment
    )
    require(done.returncode == 0, f"importing {name} in a fresh interpreter fails:\n{done.stderr.strip()[-800:]}")
    heavy = json.loads(done.stdout.splitlines()[-1])
    require(not heavy, f"importing {name} also imports {', '.join(heavy)}")


@check("spec/protocol")
def spec_protocol(subject: Subject) -> None:
    """`load` returns a class with its stage's methods, written for an interface this core speaks."""
    spec = subject.spec
    spoken = STAGE_API[spec.stage]
    require(spec.api == spoken, f"it declares api={spec.api}, the {spec.stage} interface is at {spoken}")
    cls = subject.cls
    require(isinstance(cls, type), f"load() returns {cls!r}, which is no class")
    for method, wanted in METHODS.get(spec.stage, {}).items():
        function = getattr(cls, method, None)
        require(callable(function), f"{cls.__name__} has no method {method}")
        parameters = list(inspect.signature(function).parameters.values())[1:]  # type: ignore[arg-type]
        names = tuple(p.name for p in parameters[: len(wanted)])
        require(names == wanted, f"{cls.__name__}.{method} takes {names}, the protocol {wanted}")
        for extra in parameters[len(wanted) :]:
            optional = extra.default is not inspect.Parameter.empty or extra.kind is extra.VAR_KEYWORD
            require(optional, f"{cls.__name__}.{method} demands {extra.name!r}, which no caller knows")


@check("spec/expected-failures")
def spec_expected_failures(subject: Subject) -> None:
    """`expected_failures` names checks that exist, each with a reason."""
    known = {c.id for c in all_checks()}
    for name, reason in subject.spec.expected_failures.items():
        require(name in known, f"no check is called {name!r}")
        require(reason.strip(), f"no reason is given for {name!r}")


@check("config/defaulted")
def config_defaulted(subject: Subject) -> None:
    """Every parameter has a default, so that a component can be named without parameters."""
    for make in (subject.spec.config, subject.spec.config.tiny):
        try:
            made = make()
        except ValidationError as error:
            raise CheckFailure(f"{subject.spec.config.__name__} cannot be made without arguments:\n{error}") from error
        require(isinstance(made, ComponentConfig), f"{subject.spec.config.__name__} is no ComponentConfig")


@check("config/documented")
def config_documented(subject: Subject) -> None:
    """Every parameter has a sentence of documentation under its field."""
    fields = subject.spec.config.model_fields
    bare = [name for name, field in fields.items() if not (field.description or "").strip()]
    require(not bare, f"undocumented: {', '.join(bare)}")


@check("config/refuses-unknown")
def config_refuses_unknown(subject: Subject) -> None:
    """An unknown parameter is refused, never ignored."""
    try:
        subject.spec.config.model_validate({"no_such_parameter": 1})
    except ValidationError as error:
        if any(problem["type"] == "extra_forbidden" for problem in error.errors()):
            return
    raise CheckFailure(f"{subject.spec.config.__name__} accepts a parameter it does not have")


@check("config/json-round-trip")
def config_json_round_trip(subject: Subject) -> None:
    """A configuration written as JSON and read back is the same configuration."""
    try:
        configs = [subject.spec.config(), subject.spec.config.tiny()]
    except ValidationError as error:
        raise CheckSkipped("it has no default configuration (see config/defaulted)") from error
    for config in configs:
        text = config.model_dump_json()
        try:
            back = type(config).model_validate_json(text)
        except ValidationError as error:
            raise CheckFailure(f"its own JSON is refused: {text}\n{error}") from error
        require(back == config, f"{text} is read back as {back.model_dump_json()}")
