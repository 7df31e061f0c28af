"""The main job from end to end through the command line: capture, train, synthesize; and what the files say."""

import json
import shutil

import av
import numpy as np
import pytest
import yaml

from realtalk_core import checkpoint
from realtalk_core.audio import write_wav
from realtalk_core.cli import run
from realtalk_core.footage import AvatarFootage, CaptureFootage
from realtalk_core.testing.avatar import make_avatar, tiny_config
from realtalk_core.testing.synthetic import make_capture, synthetic_clip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An avatar trained by `realtalk train`."""
    folder = tmp_path_factory.mktemp("chain")
    make_capture(folder / "cap", seconds=4.0, size=64)
    config = {k: v for k, v in tiny_config().to_dict().items() if k != "tracker"}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    arguments = ["train", str(folder / "cap"), "-o", str(folder / "anna"), "-c", str(folder / "tiny.yaml")]
    assert run([*arguments, "--split", "0.8", "--consent", "nobody: a drawing"]) == 0
    return folder


def speak(avatar, out, *options, seconds=2.0, rate=22_050):
    speech = out.with_suffix(".wav")
    write_wav(speech, synthetic_clip(seconds, rate, seed=5))
    code = run(["synthesize", str(avatar), "--audio", str(speech), "-o", str(out), *options])
    assert code == 0
    with av.open(str(out)) as file:
        pictures = np.stack([f.to_ndarray(format="rgb24") for f in file.decode(video=0)])
        durations = {s.type: float(s.duration * s.time_base) for s in file.streams}
        return pictures, durations, dict(file.metadata)


def test_an_avatar_says_what_it_is(made):
    meta = yaml.safe_load((made / "anna" / "avatar.yaml").read_text())
    assert (meta["format"], meta["name"], meta["fps"], meta["size"]) == (1, "anna", 25.0, 64)
    assert meta["consent"] == "nobody: a drawing"
    assert meta["trained_on"]["split"] == 0.8
    assert len(meta["trained_on"]["tracks_sha256"]) == 64
    assert list(meta["stages"]) == ["audio", "landmarks", "emotion", "renderer"]
    assert meta["config"]["pipeline"]["renderer"]["params"]["size"] == 32
    assert str(made) not in (made / "anna" / "avatar.yaml").read_text()


def test_checkpoints_carry_held_out_measures_and_previews_exist(made):
    metrics = {s: checkpoint.read_header(made / "anna" / f"{s}.safetensors").metrics for s in ("landmarks", "renderer")}
    assert metrics["renderer"]["held_out_psnr"] > 5
    assert {"mouth_correlation", "mouth_amplitude"} <= metrics["landmarks"].keys()
    for stage in ("landmarks", "emotion", "renderer"):
        work = made / "anna" / "training" / stage
        assert json.loads((work / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 12
        assert (work / "loss.png").is_file()
    assert list((made / "anna/training/renderer").glob("preview_*.png"))


def test_the_film_shows_the_captures_frames(made):
    from realtalk_core.capture import Capture

    film, capture = AvatarFootage(made / "anna", 25.0), CaptureFootage(Capture.open(made / "cap"))
    for index in (0, 13, 12, 11, 50, 99, 98):
        assert np.abs(film.frame(index).astype(int) - capture.frame(index)).mean() < 6
        assert np.abs(film.matte(index).astype(int) - capture.matte(index)).mean() < 3


def test_the_torso_is_the_films_or_the_models(made, tmp_path):
    """With the film's poses the film is the default; with another's, the model, which --torso film overrules."""
    pictures, moved = {}, ("--pose", str(make_capture(tmp_path / "other", seconds=1.0, size=64, seed=3).path))
    for torso in (None, "film", "model"):
        options = () if torso is None else ("--torso", torso)
        for name, more in (("own", ()), ("moved", moved)):
            pictures[torso, name], *_ = speak(made / "anna", tmp_path / "x.mp4", *options, *more, seconds=0.4)
    assert np.array_equal(pictures[None, "own"], pictures["film", "own"])
    assert np.array_equal(pictures[None, "moved"], pictures["model", "moved"])
    below = np.s_[:, 48:, :]
    for name in ("own", "moved"):
        film, model = (pictures[torso, name][below].astype(int) for torso in ("film", "model"))
        assert np.abs(film - model).mean() > 1


def test_it_speaks(made, tmp_path):
    pictures, durations, metadata = speak(made / "anna", tmp_path / "x.mp4", "--emotion", "neutral@0 happy:0.8@1")
    assert pictures.shape == (50, 64, 64, 3)
    assert durations["video"] == pytest.approx(2.0, abs=1e-3)
    assert abs(durations["audio"] - durations["video"]) < 0.04
    assert "Synthetic video made by RealTalk" in metadata["comment"]
    assert "avatar anna" in metadata["comment"]
    assert "Synthetic" in metadata["title"]
    assert pictures.std((1, 2, 3)).min() > 10
    assert np.abs(np.diff(pictures.astype(int), axis=0)).mean() > 0.1


def test_a_moved_avatar_speaks_on_its_own(made, tmp_path):
    """Self-contained: neither the capture nor the training folder is needed."""
    shutil.copytree(made / "anna", tmp_path / "moved", ignore=shutil.ignore_patterns("training"))
    here = speak(made / "anna", tmp_path / "a.mp4", seconds=0.4)[0]
    there = speak(tmp_path / "moved", tmp_path / "b.mp4", seconds=0.4)[0]
    assert np.array_equal(here, there)


def test_size_background_seed_and_valence(made, tmp_path):
    green = np.zeros((40, 60, 3), np.uint8)
    green[..., 1] = 255
    import cv2

    cv2.imwrite(str(tmp_path / "green.png"), green)
    options = ["--size", "97", "--background", str(tmp_path / "green.png"), "--seed", "4", "--valence", "0.8"]
    pictures, _, _ = speak(made / "anna", tmp_path / "x.mp4", *options, seconds=0.2)
    assert pictures.shape == (5, 96, 96, 3)
    corner = pictures[:, :8, :8].reshape(-1, 3).mean(0)
    assert corner[1] > 200
    assert corner[0] < 60


def test_pose_from_another_capture(made, tmp_path):
    make_capture(tmp_path / "other", seconds=2.0, size=64, seed=3)
    plain = speak(made / "anna", tmp_path / "a.mp4", seconds=0.4)[0]
    posed = speak(made / "anna", tmp_path / "b.mp4", "--pose", str(tmp_path / "other"), seconds=0.4)[0]
    assert plain.shape == posed.shape
    assert np.abs(plain.astype(int) - posed).mean() > 1


def test_one_stage_can_be_trained_anew(made, tmp_path):
    shutil.copytree(made / "anna", tmp_path / "anna")
    before = {s: checkpoint.digest(tmp_path / "anna" / f"{s}.safetensors") for s in ("landmarks", "emotion")}
    code = run(
        ["train", str(made / "cap"), "-o", str(tmp_path / "anna"), "--stage", "emotion", "--set", "emotion.steps=5"]
    )
    assert code == 0
    assert checkpoint.digest(tmp_path / "anna/landmarks.safetensors") == before["landmarks"]
    assert checkpoint.digest(tmp_path / "anna/emotion.safetensors") != before["emotion"]
    assert checkpoint.read_header(tmp_path / "anna/emotion.safetensors").metrics["total"] == 5


def test_a_capture_library_makes_avatars_in_python(tmp_path):
    avatar = make_avatar(tmp_path, seconds=3.0, size=48)
    assert sorted(f.name for f in avatar.glob("*.safetensors")) == [
        "emotion.safetensors", "landmarks.safetensors", "person.safetensors", "renderer.safetensors",
    ]  # fmt: skip


def test_evaluate_measures_the_held_out_part(made, capsys):
    assert run(["evaluate", str(made / "anna"), str(made / "cap"), "--frames", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["split"] == 0.8
    assert found["frame_psnr"] > found["face_psnr"] > 5
    assert -1 <= found["mouth_correlation"] <= 1
    header = checkpoint.read_header(made / "anna" / "renderer.safetensors")
    assert found["head_psnr"] == pytest.approx(header.metrics["held_out_psnr"], abs=0.01)
