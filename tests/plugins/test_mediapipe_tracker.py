"""The trackers: MediaPipe on a real clip where there is one, face_alignment through a double of its module."""

import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from realtalk_core.build import build
from realtalk_core.errors import MissingDependencyError, UserError
from realtalk_core.plugins import discover


@pytest.fixture(scope="module")
def specs():
    plugins = discover(only={"mediapipe", "face_alignment"})
    return {name: plugins.find("tracker", name) for name in ("mediapipe", "face_alignment")}


def test_declaring_imports_nothing_heavy():
    heavy = "('torch', 'numpy', 'cv2', 'mediapipe', 'face_alignment')"
    code = f"import sys, realtalk_mediapipe, realtalk_face_alignment; sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.models
def test_mediapipe_finds_nothing_in_nothing(specs, capfd):
    tracker = build(specs["mediapipe"], specs["mediapipe"].config())
    pictures = [np.full((120, 160, 3), 80, np.uint8)] * 3
    assert [list(faces) for faces in tracker.track(iter(pictures), 25.0)] == [[], [], []]
    assert capfd.readouterr().err == ""  # its start-up log is kept off the terminal


@pytest.mark.models
@pytest.mark.data
def test_mediapipe_on_a_real_clip(specs, capfd):
    from realtalk_core.video import VideoReader

    clip = Path(os.environ["REALTALK_DATA"]) / "video" / "studio_man_71s.mp4"
    tracker = build(specs["mediapipe"], specs["mediapipe"].config())
    found = [list(faces) for faces in tracker.track(VideoReader(clip, end=0.4), 25.0)]
    assert [len(faces) for faces in found] == [1] * 10
    face = found[5][0]
    assert face.scheme == "mediapipe478"
    points = face.points.numpy()
    assert 200 < np.ptp(points[:, 0]) < 280
    assert points[4, 2] < points[234, 2]  # the tip of the nose is nearer than the temple
    assert points[152, 1] > points[10, 1]
    assert face.blendshapes.shape == (52,)
    assert 0 <= face.blendshapes.min() <= face.blendshapes.max() <= 1
    rotation, place = face.transform[:3, :3].numpy(), face.transform[:3, 3].numpy()
    assert np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-3
    assert place[2] > 10  # in front of the camera, OpenCV's axes
    assert rotation[1, 1] < -0.8  # the head's up is the picture's up
    assert capfd.readouterr().err == ""


def test_without_its_package_face_alignment_names_the_install_line(specs):
    if "face_alignment" in sys.modules:
        pytest.skip("face_alignment is installed here")
    with pytest.raises(MissingDependencyError) as caught:
        build(specs["face_alignment"], specs["face_alignment"].config())
    assert "realtalk[face-alignment]" in str(caught.value)


@pytest.fixture
def fake(monkeypatch):
    """A double of the face_alignment module that remembers how it was asked."""
    asked = {}

    class FaceAlignment:
        def __init__(self, landmarks_type, device, face_detector):
            asked.update(type=landmarks_type, device=device, detector=face_detector)

        def get_landmarks_from_image(self, picture, return_bboxes=False, return_landmark_score=False):
            assert return_bboxes
            assert return_landmark_score
            if picture.mean() < 10:
                return None, None, None
            points = np.stack([np.linspace(0, 67, 68), np.linspace(10, 77, 68)], 1)
            boxes = [np.array([0, 0, 70, 80, 0.99]), np.array([0, 0, 9, 9, 0.2])]
            return [points, points], [np.ones(68), np.ones(68)], boxes

    module = types.ModuleType("face_alignment")
    module.FaceAlignment = FaceAlignment
    module.LandmarksType = types.SimpleNamespace(TWO_D="2D")
    monkeypatch.setitem(sys.modules, "face_alignment", module)
    monkeypatch.delitem(sys.modules, "realtalk_face_alignment.tracker", raising=False)
    yield asked, module
    sys.modules.pop("realtalk_face_alignment.tracker", None)


def test_face_alignment_adapter(specs, fake):
    tracker = build(specs["face_alignment"], specs["face_alignment"].config(detector="blazeface", device="cpu"))
    pictures = [np.full((80, 80, 3), 100, np.uint8), np.zeros((80, 80, 3), np.uint8)]
    first, second = list(tracker.track(iter(pictures), 25.0))
    assert fake[0] == {"type": "2D", "device": "cpu", "detector": "blazeface"}
    assert second == []
    (face,) = first  # the unsure one is left out
    assert face.scheme == "ibug68"
    assert face.points[3].tolist() == [3.0, 13.0, 0.0]
    assert face.score == pytest.approx(0.99)
    assert face.blendshapes is None


def test_face_alignment_without_weights_says_so(specs, fake):
    def offline(*args, **kwargs):
        raise OSError("no network")

    fake[1].FaceAlignment = offline
    tracker = build(specs["face_alignment"], specs["face_alignment"].config(device="cpu"))
    with pytest.raises(UserError, match="face_alignment cannot start: no network"):
        next(tracker.track(iter([np.zeros((80, 80, 3), np.uint8)]), 25.0))


def test_face_alignment_fetches_nothing_offline(specs, fake, monkeypatch, tmp_path):
    import torch

    def weights(*args, **kwargs):
        torch.hub.load_state_dict_from_url("https://somewhere/a/s3fd-619a316812.pth")

    fake[1].FaceAlignment = weights
    monkeypatch.setattr(torch.hub, "urlopen", lambda *_, **__: pytest.fail("asked the network"))
    theirs = torch.hub.urlopen
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("REALTALK_OFFLINE", "1")
    tracker = build(specs["face_alignment"], specs["face_alignment"].config(device="cpu"))
    with pytest.raises(MissingDependencyError, match=r"^s3fd-619a316812.pth, .* switched off") as caught:
        next(tracker.track(iter([np.zeros((80, 80, 3), np.uint8)]), 25.0))
    assert f"Put it into {tmp_path / 'hub' / 'checkpoints'}; it comes from https://somewhere" in str(caught.value)
    assert torch.hub.urlopen is theirs
