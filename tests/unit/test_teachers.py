"""A component that learns from the avatar's emotion stage, or from a generator of faces, is given it."""

import sys
import types
from importlib.metadata import EntryPoint, entry_points

import pytest
import torch
from torch import nn

from realtalk_core import checkpoint, declare
from realtalk_core.config import load_config
from realtalk_core.emotion import parse_emotion
from realtalk_core.errors import UserError
from realtalk_core.hookspecs import hookimpl
from realtalk_core.plugins import discover_from
from realtalk_core.spec import ComponentConfig, NoConfig
from realtalk_core.testing.synthetic import make_capture
from realtalk_core.training.session import Session


class PupilConfig(ComponentConfig):
    steps: int = 3
    """Steps."""
    teacher: str = "emotion"
    """Whom to learn from."""


class Pupil:
    """A renderer that learns one number and remembers what it was given."""

    given: list = []  # noqa: RUF012

    def __init__(self, config, value=0.0):
        self.config, self.total_steps = config, config.steps
        self.value = nn.Parameter(torch.tensor(float(value)))
        self.adam = torch.optim.Adam([self.value], 0.1)

    @classmethod
    def learns_from(cls, config):
        return () if config.teacher == "none" else (config.teacher,)

    @classmethod
    def for_training(cls, config, data):
        cls.given.append(data)
        return cls(config)

    def batch(self, data, step):
        return {}

    def training_step(self, batch, step):
        return {"loss": (self.value - 1).square()}

    def optimizers(self):
        return [self.adam]

    def after_step(self, step):
        pass

    def training_state(self):
        return {"value": self.value.detach().clone()}

    def load_training_state(self, tensors):
        self.value.data.copy_(tensors["value"])

    state = training_state

    @classmethod
    def from_state(cls, config, tensors):
        return cls(config, tensors["value"])

    def render(self, drive, cameras):
        size = (len(drive), cameras.height, cameras.width, 3)
        from realtalk_core.types import FrameBatch

        yield FrameBatch(self.value.detach().clamp(0, 1).expand(size), None, 0)


class Editor:
    def __init__(self, config):
        pass

    def edit(self, pictures, landmarks, emotion):
        return pictures, torch.zeros(pictures.shape[:3])


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    return make_capture(tmp_path_factory.mktemp("capture") / "c", seconds=4.0, size=48)


@pytest.fixture(scope="module")
def plugins():
    module = types.ModuleType("fake_pupil")
    common = {"summary": "Of a test.", "api": 1}
    module.realtalk_components = hookimpl(
        lambda: [
            declare.renderer("pupil", config=PupilConfig, load=lambda: Pupil, **common),
            declare.face_generator("editor", config=NoConfig, load=lambda: Editor, **common),
        ]
    )
    sys.modules[module.__name__] = module
    real = list(entry_points(group="realtalk"))
    return discover_from([*real, EntryPoint("pupil", "fake_pupil", "realtalk")])


@pytest.fixture
def train(capture, plugins, tmp_path):
    Pupil.given.clear()

    def run(*stages, resume=False, sets=()):
        config = load_config(sets=["renderer=pupil", *sets], plugins=plugins)
        Session(capture, tmp_path / "avatar", config, stages, 0.8, resume=resume).run()
        return tmp_path / "avatar"

    return run


def test_the_deformer_is_the_one_that_was_trained(train, capture):
    train("emotion", "renderer")
    deformer = Pupil.given[0].deformer
    track = capture.landmarks[:4]
    assert deformer.deform(track, parse_emotion("neutral").track(4, 25.0)) is track
    assert not torch.equal(deformer.deform(track, parse_emotion("happy").track(4, 25.0)).points, track.points)
    assert Pupil.given[0].faces is None


def test_one_that_lies_in_the_avatar_already_will_do(train):
    train("emotion")
    assert Pupil.given == []
    train("renderer")
    assert Pupil.given[0].deformer is not None


def test_without_it_the_command_to_run_is_named(train, capture, tmp_path):
    with pytest.raises(UserError, match="'pupil' learns its emotions from the avatar's emotion stage") as error:
        train("renderer")
    assert error.value.cure.endswith(f"realtalk train {capture.path} -o {tmp_path / 'avatar'} --stage emotion")
    assert not (tmp_path / "avatar" / "renderer.safetensors").exists()


def test_who_learns_from_nobody_is_given_nobody(train):
    train("emotion", "renderer", sets=["renderer.teacher=none"])
    assert Pupil.given[0].deformer is None


def test_resuming_with_another_emotion_stage_is_refused(train):
    folder = train("emotion", "renderer")
    state = folder / "training" / "renderer" / "state.safetensors"
    began = state.read_bytes()
    header = checkpoint.read_header(folder / "renderer.safetensors")

    train("emotion")  # again, to the same weights: the same teacher
    train("renderer", resume=True)
    assert checkpoint.read_header(folder / "renderer.safetensors") == header

    file = folder / "emotion.safetensors"
    head, tensors = checkpoint.load(file)
    checkpoint.save(file, head, {**tensors, "centre": tensors["centre"] * 0.5})
    state.write_bytes(began)
    with pytest.raises(UserError, match="another emotion stage to learn from"):
        train("renderer", resume=True)


def test_a_generator_of_faces_is_built_by_its_name(train):
    train("renderer", sets=["renderer.teacher=face_generator:editor"])
    assert isinstance(Pupil.given[0].faces, Editor)
    assert Pupil.given[0].deformer is None
    with pytest.raises(UserError, match="unknown face_generator 'editr'"):
        train("renderer", sets=["renderer.teacher=face_generator:editr"])
