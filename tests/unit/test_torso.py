"""The torso of the tri-plane renderer: its kernels, its learning on an actor whose body is known, its file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from realtalk_actor.actor import INDEX, Actor, Pose
from realtalk_actor.performance import Performance
from realtalk_actor.picture import Camera
from realtalk_actor.record import write_capture
from realtalk_core.capture import Capture
from realtalk_core.compositing import face_region
from realtalk_core.emotion import parse_emotion
from realtalk_core.evaluation import project
from realtalk_core.nn.torso import PictureLayout, Torso, TorsoField, read_picture, read_picture_reference
from realtalk_core.stages import TorsoLayer
from realtalk_core.testing.synthetic import make_capture
from realtalk_core.training.data import TrainingData
from realtalk_core.training.torso import TorsoTrainer, torso_of
from realtalk_core.types import AudioClip, AudioFeatures, CameraTrack
from realtalk_core.voice import Speech
from realtalk_triplane_nerf.config import TriplaneNerfConfig
from realtalk_triplane_nerf.renderer import TriplaneNerf

SIZE, FRAMES = 96, 48


def test_the_kernel_reads_and_differentiates_as_the_formula_says() -> None:
    layout, generator = PictureLayout.upto(64), torch.Generator().manual_seed(0)
    found = []
    for read in (read_picture, read_picture_reference):
        points = (torch.rand(300, 2, generator=generator.manual_seed(1)) * 1.2 - 0.1).requires_grad_()
        tables = torch.randn(layout.entries, 2, generator=generator.manual_seed(2)).requires_grad_()
        out = read(points, tables, layout)
        out.backward(torch.randn(out.shape, generator=generator.manual_seed(3)))
        found.append((out.detach(), points.grad, tables.grad))
    for mine, wanted in zip(*found, strict=True):
        torch.testing.assert_close(mine, wanted, atol=2e-3, rtol=1e-4)


def random_torso() -> Torso:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        field = TorsoField(32, 3, 50.0)
        for parameter in field.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        torch.nn.init.normal_(field.anchors, mean=1.0, std=0.2)
    return Torso(field, torch.ones(64, 64, dtype=torch.bool))


def cameras(width: int = 40, height: int = 40) -> CameraTrack:
    pose = torch.eye(4).repeat(3, 1, 1)
    pose[:, 2, 3] = -50
    pose[:, 0, 3] = torch.tensor([0.0, 3.0, -4.0])
    intrinsics = torch.tensor([[60.0, 0, width / 2], [0, 60.0, height / 2], [0, 0, 1]])
    return CameraTrack(pose, intrinsics, width, height)


@pytest.mark.parametrize(("width", "height"), [(40, 40), (33, 17)])
def test_the_whole_kernel_gives_the_networks_picture(width: int, height: int) -> None:
    torso, track = random_torso(), cameras(width, height)
    assert isinstance(torso, TorsoLayer)
    made = torso.render(track)
    code, _ = torso.field.frame_code(track.pose, track.intrinsics, (width, height), torch.zeros(3, 8))
    for k in range(3):
        wanted = torso.pixels_reference(torch.arange(width * height), code[k], width, height)
        found = torch.cat((made.rgb[k] * made.alpha[k], made.alpha[k]), -1).view(-1, 4)
        shown = wanted[:, 3] > 0.05
        assert shown.float().mean() > 0.3
        torch.testing.assert_close(found[shown], wanted[shown], atol=1e-4, rtol=1e-3)
    assert (made.rgb[0] - made.rgb[1]).abs().max() > 0.01  # the pose matters


def test_a_frame_depends_neither_on_those_beside_it_nor_on_the_region() -> None:
    torso, track = random_torso(), cameras()
    whole, alone = torso.render(track), torso.render(track[1:2])
    assert torch.equal(whole.rgb[1], alone.rgb[0])
    region = torch.zeros(3, 40, 40, dtype=torch.bool)
    region[:, 5:20, 3:30] = True
    part = torso.render(track, region)
    assert torch.equal(part.rgb[region], whole.rgb[region])
    assert part.alpha[~region].abs().max() == 0


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    """An actor who turns about, breathes, and opens the mouth: the head hides ever other parts of the neck."""
    rng = np.random.default_rng(0)
    turns = np.cumsum(rng.normal(size=(FRAMES, 3)) * [0.02, 0.05, 0.015], 0)
    poses = []
    for k in range(FRAMES):
        shapes = np.zeros(52)
        shapes[INDEX["jawOpen"]] = 0.5 - 0.5 * np.cos(k)
        pitch, yaw, roll = turns[k] - turns.mean(0)
        poses.append(Pose(shapes, turn=(float(pitch), float(yaw), float(roll))))
    speech = Speech(AudioClip(torch.zeros(16000), 16000), ())
    performance = Performance(tuple(poses), speech, parse_emotion("neutral").track(FRAMES, 25.0), 25.0)
    folder = tmp_path_factory.mktemp("torso") / "capture"
    folder.mkdir()
    return write_capture(folder, Actor(3), Camera(SIZE), performance, {}, with_normals=False)


def data_of(capture: Capture, held_out: int) -> TrainingData:
    frames = torch.arange(len(capture))
    features = AudioFeatures(torch.zeros(len(capture), 1), capture.fps)
    later = frames % held_out == held_out // 2  # between the others: poses that are new but not beyond all others
    return TrainingData(capture, features, frames[~later], frames[later])


def test_it_learns_a_torso_that_holds_in_poses_it_has_not_seen(capture: Capture) -> None:
    data, steps = data_of(capture, 6), 250
    trainer = TorsoTrainer(SIZE, steps, data)
    for step in range(steps):
        trainer.optimizer.zero_grad(set_to_none=True)
        loss = trainer.loss(trainer.batch(data, step))
        assert loss is not None
        loss.backward()
        trainer.optimizer.step()
        trainer.after_step(step)
    torso = Torso.from_tensors(SIZE, trainer.torso().tensors())
    assert torso is not None
    plate = capture.background(SIZE).astype(np.float32) / 255
    points = project(capture.landmarks, capture.cameras).numpy()
    pictures = torso.render(capture.cameras[data.held_out.tolist()[0] :])
    errors, still, necks = [], [], []
    first = capture.frame(int(data.train[0])).astype(np.float32) / 255
    for frame in data.held_out.tolist():
        truth = capture.frame(frame).astype(np.float32) / 255
        k = frame - int(data.held_out[0])
        rgb, alpha = pictures.rgb[k].numpy(), pictures.alpha[k].numpy()
        wanted, known = torso_of(capture, frame, plate, face_region(points[frame], points[frame], SIZE))
        shown = (known[..., 0] > 0.99) & (np.maximum(wanted[..., 3], alpha[..., 0]) > 0.05)
        errors.append(np.square(rgb * alpha + (1 - alpha) * plate - truth)[shown].mean())
        still.append(np.square(first - truth)[shown].mean())
        x, y = points[frame, 152].round().astype(int)  # the chin: behind it the neck goes on
        necks.append(alpha[y - 3, x, 0])
    assert -10 * np.log10(np.mean(errors)) > 28
    assert np.mean(errors) < 0.8 * np.mean(still)
    assert min(necks) > 0.8


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return make_capture(tmp_path_factory.mktemp("drawn") / "capture", seconds=0.6, size=48, with_audio=False)


def trained(config: TriplaneNerfConfig, data: TrainingData) -> TriplaneNerf:
    component = TriplaneNerf.for_training(config, data)
    for step in range(3):
        loss = component.training_step(component.batch(data, step), step)["loss"]
        loss.backward()
        for optimizer in component.optimizers():
            optimizer.step()
            optimizer.zero_grad()
        component.after_step(step)
    return component


def test_the_renderer_hands_it_out_and_keeps_it_in_its_file(drawn: Capture) -> None:
    config, data = TriplaneNerfConfig.tiny(), data_of(drawn, 5)
    component = trained(config, data)
    again = TriplaneNerf.from_state(config, component.state())
    assert component.torso is not None
    assert again.torso is not None
    track = drawn.cameras.resized(32, 32)[:2]
    before, after = component.torso.render(track), again.torso.render(track)
    # The file has the picture in half precision.
    torch.testing.assert_close(before.alpha, after.alpha, atol=5e-3, rtol=0)
    assert again.torso.seen.float().mean() < 0.9


def test_without_it_there_is_none(drawn: Capture) -> None:
    config = TriplaneNerfConfig.tiny().model_copy(update={"torso": False})
    component = trained(config, data_of(drawn, 5))
    assert component.torso is None
    assert not [name for name in component.state() if name.startswith("torso")]
    assert TriplaneNerf.from_state(config, component.state()).torso is None


def test_the_head_learns_the_same_with_and_without_it(drawn: Capture) -> None:
    config, data = TriplaneNerfConfig.tiny(), data_of(drawn, 5)
    with_it, without = (trained(config.model_copy(update={"torso": has}), data).state() for has in (True, False))
    for name, value in without.items():
        assert torch.equal(value, with_it[name]), name


def test_anchors_ride_on_the_head_and_are_seen_by_the_camera() -> None:
    field = TorsoField(32, 1, 50.0)
    track = replace(cameras())
    code, depth = field.frame_code(track.pose, track.intrinsics, (40, 40), torch.zeros(3, 8))
    anchors: Tensor = 10 * field.anchors[:, :3]
    for k in range(3):
        seen = anchors - track.pose[k, :3, 3]
        flat = (60 * seen[:, :2] / seen[:, 2:] + 20) / 40 * 2 - 1
        torch.testing.assert_close(code[k, :6], flat.flatten())
        torch.testing.assert_close(depth[k], seen[:, 2] / 50)
