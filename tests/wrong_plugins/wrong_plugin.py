"""Declares components that break one rule each; each is named after the check that must notice it."""

from pydantic import ConfigDict, Field, field_serializer
from right_plugin import SeedConfig, StrengthConfig, loader

from realtalk_core.hookspecs import hookimpl
from realtalk_core.spec import ComponentSpec, NoConfig

CLASSES = {
    "audio": (
        "chunks/agree", "audio/rows", "audio/silence-finite", "audio/any-rate", "audio/impulse-alignment",
        "audio/lands-on-frames", "audio/any-sound", "audio/input-nan", "audio/streaming", "audio/look-ahead",
    ),
    "landmarks": ("landmarks/rows", "landmarks/obeys-seed", "landmarks/hears"),
    "emotion": (
        "spec/protocol", "build/succeeds", "run/succeeds", "emotion/rows", "emotion/neutral-identity",
        "emotion/grows-with-intensity", "emotion/tells-apart",
    ),
    "renderer": (
        "output/finite", "output/detached", "output/repeatable", "state/round-trip", "renderer/order", "renderer/range",
        "renderer/size", "renderer/batching", "train/stateful", "train/pure-batch", "train/gradients-reach-all",
        "train/loss-falls", "train/resume", "renderer/follows-landmarks", "renderer/follows-camera",
        "renderer/filmed-faces", "renderer/emotion-once", "renderer/render-size", "renderer/region", "renderer/torso",
        "renderer/attention-maps",
    ),
    "tracker": ("input/unmodified", "tracker/rows", "tracker/lazy", "tracker/empty-picture", "tracker/finds-the-face"),
    "voice": (
        "voice/covers-the-clip", "voice/says-the-text", "voice/longer-text", "voice/refuses-nothing", "voice/any-text",
    ),
}  # fmt: skip
CONFIGS = {
    "audio": NoConfig,
    "landmarks": SeedConfig,
    "emotion": StrengthConfig,
    "renderer": NoConfig,
    "tracker": NoConfig,
    "voice": NoConfig,
}


class NoDefault(StrengthConfig):
    power: float
    """A parameter without default."""

    @classmethod
    def tiny(cls):
        return cls(power=2)


class Undocumented(StrengthConfig):
    power: float = 1.0


class Lenient(StrengthConfig):
    model_config = ConfigDict(extra="ignore")


class Rounded(StrengthConfig):
    power: float = Field(0.25)
    """Written to JSON without its decimals."""

    @field_serializer("power")
    def shorten(self, power):
        return round(power)


def name_of(check):
    return check.replace("/", "_").replace("-", "_")


def class_of(check):
    return "".join(word.capitalize() for word in name_of(check).split("_"))


def emotion(check, config=StrengthConfig, **more):
    return ComponentSpec("emotion", name_of(check), f"Fails {check}.", 1, config, loader("Emotion"), **more)


@hookimpl
def realtalk_components():
    for stage, checks in CLASSES.items():
        for check in checks:
            load = loader(class_of(check), "wrong_components")
            yield ComponentSpec(stage, name_of(check), f"Fails {check}.", 1, CONFIGS[stage], load)
    yield emotion("config/defaulted", NoDefault)
    yield emotion("config/documented", Undocumented)
    yield emotion("config/refuses-unknown", Lenient)
    yield emotion("config/json-round-trip", Rounded)
    yield emotion("spec/expected-failures", expected_failures={"no/such-check": "no reason"})
