"""A drawn video, whose truth is known, through the whole capture; and real clips where they are at hand."""

import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from realtalk_core.audio import read_audio
from realtalk_core.capture import PARTS, Capture
from realtalk_core.capturing import Options, run
from realtalk_core.capturing.segment import GraphCutSegmenter

sys.path.insert(0, str(Path(__file__).parents[1]))
from capture_doubles import TruthTracker, drawn_video, quick

LOST = (*range(10), 30, 31)


class Patient:
    """Counts what it is told; can interrupt at a step."""

    def __init__(self, stop_at: tuple[str, int] | None = None) -> None:
        self.stop_at, self.told = stop_at, []

    def __call__(self, step: str, done: int, total: int) -> None:
        self.told.append((step, done, total))
        if self.stop_at and step == self.stop_at[0] and done >= self.stop_at[1]:
            raise KeyboardInterrupt


@pytest.fixture
def patched(monkeypatch):
    quick(monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished capture, its truth, and what the run said."""
    folder = tmp_path_factory.mktemp("made")
    file, truth = drawn_video(folder, seconds=4.0, size=160)
    tracker, told = TruthTracker(truth, LOST, extra=True), Patient()
    with pytest.MonkeyPatch.context() as patch:
        quick(patch, GraphCutSegmenter, overview=True)
        result = run(Options(file, size=128), folder / "out", tracker, progress=told)
    return Capture.open(result.path), truth, result, told, file


def test_the_folder_is_whole(made):
    capture, _, result, told, _ = made
    assert result.fresh
    names = {p.name for p in capture.path.iterdir()}
    assert names == {
        "capture.yaml", "audio.wav", "frames", "masks", "tracks.safetensors", "background.png", "overview.png",
        "report.md",
    }  # fmt: skip
    assert len(list((capture.path / "frames").iterdir())) == len(capture) == 100
    assert len(list((capture.path / "masks").iterdir())) == 100
    assert [p.name for p in capture.path.parent.glob(".*")] == []
    assert told.told[-1] == ("reporting", 1, 1)
    assert cv2.imread(str(capture.path / "overview.png")).shape[1] > 1000


def cropped(capture, picture, interpolation=cv2.INTER_AREA):
    """A picture of the truth as the capture's box shows it."""
    box = capture.meta["box"]
    assert 0 <= box["left"] <= picture.shape[1] - box["side"]
    assert 0 <= box["top"] <= picture.shape[0] - box["side"]
    part = picture[box["top"] : box["top"] + box["side"], box["left"] : box["left"] + box["side"]]
    return cv2.resize(part, (capture.size, capture.size), interpolation=interpolation)


def test_frames_are_the_videos(made):
    capture, truth, *_ = made
    assert capture.size == 128
    assert capture.frame(50).shape == (128, 128, 3)
    assert np.abs(cropped(capture, truth.frame(50)).astype(float) - capture.frame(50)).mean() < 8


def test_poses_and_landmarks_meet_the_truth(made):
    capture, truth, *_ = made
    valid = capture.tracks.valid.numpy()
    assert sorted(np.flatnonzero(~valid)) == sorted(LOST)
    mine, theirs = capture.tracks.pose[valid, :3, :3], truth.tracks.pose[valid, :3, :3]
    apart = np.degrees(np.arccos(np.clip(((mine.mT @ theirs).diagonal(dim1=1, dim2=2).sum(1).numpy() - 1) / 2, -1, 1)))
    assert np.median(apart) < 3  # a constant part is the focal length's, which a clip hardly tells
    gap = capture.tracks.landmarks[:, 13, 1] - capture.tracks.landmarks[:, 14, 1]
    wanted = truth.tracks.landmarks[:, 13, 1] - truth.tracks.landmarks[:, 14, 1]
    assert np.corrcoef(gap[valid], wanted[valid])[0, 1] > 0.97
    assert np.isfinite(capture.tracks.landmarks.numpy()).all()


def test_landmarks_project_onto_the_tracked_points(made):
    capture, *_ = made
    tracks = capture.tracks
    camera = (tracks.landmarks - tracks.pose[:, None, :3, 3]) @ tracks.pose[:, :3, :3]
    pixels = camera[..., :2] / camera[..., 2:] * tracks.intrinsics[0, 0] + tracks.intrinsics[:2, 2]
    off = (pixels - tracks.image_points[..., :2]).norm(dim=-1)[tracks.valid]
    assert off.square().mean().sqrt() < 0.5


def test_masks_make_sense(made):
    capture, truth, *_ = made
    masks, wanted = capture.masks(60), cropped(capture, truth.masks(60), cv2.INTER_NEAREST)
    person, true = masks[..., 0] > 127, wanted[..., 0] > 127
    assert (person & true).sum() / (person | true).sum() > 0.75
    for name in ("skin", "eyes", "nose", "lips", "hair_ears"):
        assert (masks[..., 2] == PARTS[name]).any(), name
    assert masks[..., 2].max() <= max(PARTS.values())
    head = masks[..., 1] > 127
    assert (masks[..., 2][head] >= PARTS["hair_ears"]).mean() > 0.98


def test_sound_is_the_videos(made):
    capture, truth, *_ = made
    mine, theirs = capture.audio.samples, truth.audio.samples
    assert mine.shape == theirs.shape
    assert (mine - theirs).abs().max() < 1e-3


def test_the_report_says_what_was_wrong(made):
    capture, _, result, *_ = made
    found = {f.name for f in result.findings}
    assert {"face_missing", "several_people", "too_short", "small_face", "graph_cut"} <= found
    report = capture.meta["report"]
    assert report["missing"] == len(LOST)
    assert report["first_face"] == pytest.approx(0.4)
    assert report["people"] == 2
    assert report["reprojection"] < 1.0
    assert report["jitter_deg"] < report["raw_jitter_deg"]
    text = (capture.path / "report.md").read_text("utf-8")
    for finding in result.findings:
        assert finding.text in text


def test_done_already(made):
    capture, truth, _, _, file = made
    tracker = TruthTracker(truth)
    assert not run(Options(file, size=128), capture.path, tracker).fresh
    assert tracker.tracked == 0


def test_another_video_or_options_are_refused_there(made):
    from realtalk_core.errors import UserError

    capture, truth, _, _, file = made
    with pytest.raises(UserError, match=r"already holds a capture made differently \(size\)"):
        run(Options(file, size=96), capture.path, TruthTracker(truth))


@pytest.mark.parametrize("stop_at", [("tracking", 20), ("writing frames and masks", 8)])
def test_interrupted_and_resumed(tmp_path, patched, stop_at):
    file, truth = drawn_video(tmp_path, seconds=1.2, size=96)
    options, out = Options(file, size=96), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(options, out, TruthTracker(truth), progress=Patient(stop_at))
    assert not out.exists()
    written = {p: p.stat().st_mtime_ns for p in (tmp_path / ".out.partial").glob("masks/*.png")}
    tracker = TruthTracker(truth)
    assert run(options, out, tracker).fresh
    assert not (tmp_path / ".out.partial").exists()
    if stop_at[0] == "tracking":
        assert tracker.tracked == 30
    else:
        assert tracker.tracked == 0  # the first pass was kept, and so were the frames that were whole
        assert len(written) >= 8
        assert all((out / "masks" / p.name).stat().st_mtime_ns == t for p, t in written.items())
    straight = run(options, tmp_path / "straight", TruthTracker(truth)).path
    for name in ("frames/000007.jpg", "masks/000020.png", "background.png"):
        assert (out / name).read_bytes() == (straight / name).read_bytes()


def test_without_sound_it_goes_on(tmp_path, patched):
    from realtalk_core.errors import UserError

    file, truth = drawn_video(tmp_path, seconds=1.0, size=96, sound=False)
    result = run(Options(file, size=96), tmp_path / "out", TruthTracker(truth))
    assert "no_sound" in {f.name for f in result.findings}
    capture = Capture.open(result.path)
    assert not capture.has_audio
    with pytest.raises(UserError, match="has no sound"):
        _ = capture.audio


def test_force_replaces(tmp_path, patched):
    file, truth = drawn_video(tmp_path, seconds=0.6, size=96)
    run(Options(file, size=96), tmp_path / "out", TruthTracker(truth))
    assert run(Options(file, size=64), tmp_path / "out", TruthTracker(truth), force=True).fresh
    assert Capture.open(tmp_path / "out").size == 64
    assert {p.name for p in tmp_path.iterdir()} == {"out", "truth", "video.mkv"}


@pytest.mark.data
@pytest.mark.models
@pytest.mark.slow
def test_late_sound_is_found_in_a_real_clip(tmp_path):
    from realtalk_core.cli import run as command

    clip = Path(os.environ["REALTALK_DATA"]) / "video" / "address_man_20s_late_audio.mp4"
    assert command(["capture", str(clip), "-o", str(tmp_path / "out"), "--size", "256", "--end", "12"]) == 0
    capture = Capture.open(tmp_path / "out")
    report = capture.meta["report"]
    assert report["lag_ms"] == pytest.approx(-200, abs=50)
    assert "sound_late" in {w["name"] for w in capture.meta["warnings"]}
    assert report["reprojection"] < 1.0
    assert report["jitter_deg"] < 0.6
    assert "network" in report["segmentation"]
    assert read_audio(tmp_path / "out" / "audio.wav").seconds == pytest.approx(20.0, abs=0.1)
