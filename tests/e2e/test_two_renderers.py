"""Two renderers from one capture, as a user has them: chosen by a word, switched, told apart, looked at, exported."""

import json
import re
import shutil

import pytest
import torch
import yaml

from realtalk_core.audio import write_wav
from realtalk_core.avatar import Avatar
from realtalk_core.cli import run
from realtalk_core.config import load_config
from realtalk_core.drives import silence, tracked
from realtalk_core.plugins import discover
from realtalk_core.testing.avatar import make_avatar, tiny_config
from realtalk_core.testing.synthetic import synthetic_clip

SMALL = {
    "gaussian": {"steps": 12, "size": 32, "gaussians": 500, "max_gaussians": 700},
    "triplane_nerf": {
        "steps": 4, "size": 32, "components": 6, "warp_side": 16, "levels": 4, "coarsest": 8, "finest": 32,
        "log2_entries": 10, "width": 16, "step_cm": 1.5, "cell_cm": 1.5, "samples_per_ray": 12, "chunks_per_step": 2,
        "rays_per_chunk": 128, "patch_size": 16, "static_tolerance": 0, "precision": "float32",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    make_avatar(folder, seconds=3.0, size=48, config=tiny_config(load_config(sets=["renderer=gaussian"])))
    write_wav(folder / "speech.wav", synthetic_clip(0.6))
    return folder


@pytest.fixture
def copy(made, tmp_path):
    shutil.copytree(made / "avatar", tmp_path / "avatar")
    return tmp_path / "avatar"


@pytest.fixture
def realtalk(capsys):
    def ran(*arguments, code=0):
        found = run([str(a) for a in arguments])
        said = capsys.readouterr()
        assert found == code, said.err
        assert "Traceback" not in said.err
        return said.out if code == 0 else said.err

    return ran


def small(renderer):
    return [word for name, value in SMALL[renderer].items() for word in ("--set", f"renderer.{name}={value}")]


def chosen(renderer):
    return ["--set", f"renderer={renderer}", *small(renderer)]


def facts(realtalk, path):
    return json.loads(realtalk("inspect", path, "--json"))


def test_inspect_shows_which(realtalk, made):
    told = facts(realtalk, made / "avatar")["renderer"]
    assert told["component"] == "gaussian"
    assert told["trained"] == "12 of 12 steps"
    assert told["gaussians"]["together"] == told["gaussians"]["face"] + told["gaussians"]["mouth"] > 500
    assert list(told["phases"]) == ["canonical", "motion", "finetune"]
    counts = [re.fullmatch(r"(\d+) of (\d+) steps", phase).groups() for phase in told["phases"].values()]
    assert all(done == all_of for done, all_of in counts)
    assert sum(int(done) for done, _ in counts) == 12
    assert told["emotion"] == "with the landmarks"
    assert told["megabytes"] > 0
    shown = realtalk("inspect", made / "avatar")
    assert re.search(r"renderer:\n  component: gaussian\n  trained: 12 of 12 steps\n", shown)
    assert facts(realtalk, made / "avatar/renderer.safetensors")["gaussians"] == told["gaussians"]


def test_one_stage_switches_the_renderer_and_back(realtalk, made, copy, tmp_path):
    tensors = (copy / "landmarks.safetensors").read_bytes()
    realtalk("train", made / "capture", "-o", copy, "--stage", "renderer", *chosen("triplane_nerf"))
    told = facts(realtalk, copy)
    assert told["renderer"]["component"] == "triplane_nerf"
    assert told["renderer"]["volume"].startswith("three planar hash grids")
    assert told["stages"]["renderer"]["component"] == "triplane_nerf"
    realtalk("synthesize", copy, "--audio", made / "speech.wav", "--emotion", "happy", "-o", tmp_path / "nerf.mp4")
    realtalk("train", made / "capture", "-o", copy, "--stage", "renderer", *chosen("gaussian"))
    assert facts(realtalk, copy)["renderer"]["component"] == "gaussian"
    realtalk("synthesize", copy, "--audio", made / "speech.wav", "--emotion", "happy", "-o", tmp_path / "splats.mp4")
    assert (copy / "landmarks.safetensors").read_bytes() == tensors
    assert (tmp_path / "nerf.mp4").read_bytes() != (tmp_path / "splats.mp4").read_bytes()


def test_several_stages_at_once(realtalk, made, tmp_path):
    """All that are named are trained, in the pipeline's order; what is left out is named in one line."""
    stages = ("--stage", "renderer", "--stage", "emotion", "--set", "emotion.steps=2")
    said = realtalk("train", made / "capture", "-o", tmp_path / "avatar", *stages, *chosen("gaussian"))
    found = {file.stem for file in (tmp_path / "avatar").glob("*.safetensors")}
    assert found == {"emotion", "renderer", "person"}
    assert said.index("\n  emotion") < said.index("\n  renderer")
    assert f"realtalk train {made / 'capture'} -o {tmp_path / 'avatar'} --stage landmarks\n" in said
    said = realtalk("train", made / "capture", "-o", tmp_path / "b", "--stage", "emotion", "--stage", "x", code=2)
    assert "--stage: unknown stage 'x'" in said
    assert not (tmp_path / "b").exists()


def test_another_renderer_than_trained_is_refused_with_the_cure(realtalk, made, copy, tmp_path):
    out = tmp_path / "x.mp4"
    said = realtalk(
        "synthesize", copy, "--audio", made / "speech.wav", "-o", out, "--set", "renderer=triplane_nerf", code=2
    )
    assert f"{copy / 'renderer.safetensors'} holds renderer 'gaussian', not renderer 'triplane_nerf'" in said
    assert "--set renderer=gaussian" in said
    assert f"realtalk train CAPTURE -o {copy} --stage renderer --set renderer=triplane_nerf" in said
    assert not out.exists()


def test_a_switch_that_saved_nothing_yet_is_told(realtalk, copy):
    meta = yaml.safe_load((copy / "avatar.yaml").read_text())
    meta["config"]["pipeline"]["renderer"] = {"use": "triplane_nerf"}
    (copy / "avatar.yaml").write_text(yaml.safe_dump(meta))
    told = facts(realtalk, copy)["renderer"]
    assert told["component"] == "gaussian"
    assert told["trained"] == "not triplane_nerf, which avatar.yaml names: its training has saved nothing yet"
    (copy / "renderer.safetensors").unlink()
    assert facts(realtalk, copy)["renderer"] == {"component": "triplane_nerf", "trained": "no weights"}


@pytest.mark.parametrize("preset", ["talkinggaussian", "emotalkinggaussian"])
def test_the_papers_presets_listen_to_sound(realtalk, made, copy, tmp_path, preset):
    """Wherever faces are rendered from film, a renderer that hears is given sound: measures, previews, maps, export."""
    realtalk("train", made / "capture", "-o", copy, "--stage", "renderer", "--preset", preset, *small("gaussian"))
    told = facts(realtalk, copy)["renderer"]
    assert "sound" in told["moved by"]
    assert ("emotion" in told["phases"]) == (preset == "emotalkinggaussian")
    realtalk("synthesize", copy, "--audio", made / "speech.wav", "--emotion", "happy", "-o", tmp_path / "x.mp4")
    realtalk("inspect", copy, "--attention", tmp_path / "maps", "--frames", "1")
    assert list((tmp_path / "maps").glob("groups_*.png"))
    assert "head_psnr" in realtalk("evaluate", copy, made / "capture", "--frames", "1")
    realtalk("export-ply", copy, "-o", tmp_path / "head.ply", "--frame", "3")


def test_silence_is_a_row_per_frame(made):
    avatar = Avatar.open(made / "avatar", discover())
    for frames in (1, 7):
        quiet = silence(avatar, frames)
        assert len(quiet) == frames
        assert bool(torch.isfinite(quiet.values).all())
    drive = tracked(avatar, slice(2, 5))
    assert len(drive) == 3
    assert (drive.emotion, drive.neutral) == (None, None)
    assert torch.equal(drive.landmarks.points, avatar.person.landmarks[2:5])


def exported(realtalk, made, file, *options):
    said = realtalk("export-ply", made / "avatar", "-o", file, *options)
    assert re.match(r".*\.ply: \d+ Gaussians, .*; harmonics of degree 1, [\d.]+ MB", said)
    return file.read_bytes()


def test_export_of_what_is_stored_filmed_and_spoken(realtalk, made, tmp_path):
    speech = ("--audio", made / "speech.wav", "--time", "0.3")
    ways = {
        "stored": (), "filmed": ("--frame", "3"), "rest": ("--time", "0"), "happy": ("--emotion", "happy"),
        "excited": ("--valence", "0.5", "--arousal", "0.9"), "spoken": speech, "sad": (*speech, "--emotion", "sad"),
    }  # fmt: skip
    files = {name: exported(realtalk, made, tmp_path / f"{name}.ply", *way) for name, way in ways.items()}
    assert len(set(files.values())) == len(files)
    assert b"\ncomment Consent: none recorded" in files["stored"]
    assert len({len(data.partition(b"end_header\n")[2]) for data in files.values()}) == 1
    assert exported(realtalk, made, tmp_path / "again.ply", "--frame", "3") == files["filmed"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--frame", "9999"], "has frames 0 to 74"),
        (["--frame", "-1"], "has frames 0 to 74"),
        (["--frame", "3", "--emotion", "happy"], "--frame and --emotion contradict each other"),
        (["--time", "-1"], "--time -1 is outside 0 to 36000"),
        (["--unit", "inch"], "Write m or cm"),
        (["--emotion", "hapy"], "did you mean 'happy'"),
        (["--audio", "nowhere.wav"], "nowhere.wav does not exist"),
    ],
)
def test_export_refuses_what_is_not_there(realtalk, made, tmp_path, options, words):
    assert words in realtalk("export-ply", made / "avatar", "-o", tmp_path / "x.ply", *options, code=2)
    assert not list(tmp_path.iterdir())


def test_export_refuses_other_places_and_avatars(realtalk, made, copy, tmp_path):
    (tmp_path / "folder.ply").mkdir()
    avatar = made / "avatar"
    assert "does not end in .ply" in realtalk("export-ply", avatar, "-o", tmp_path / "x.obj", code=2)
    assert "is a folder" in realtalk("export-ply", avatar, "-o", tmp_path / "folder.ply", code=2)
    assert "mkdir -p" in realtalk("export-ply", avatar, "-o", tmp_path / "no/x.ply", code=2)
    assert "is a capture" in realtalk("export-ply", made / "capture", "-o", tmp_path / "x.ply", code=2)
    late = ["--audio", made / "speech.wav", "--time", "7"]
    assert "lasts 0.60 s" in realtalk("export-ply", avatar, "-o", tmp_path / "x.ply", *late, code=2)
    meta = yaml.safe_load((copy / "avatar.yaml").read_text())
    meta["config"]["pipeline"]["renderer"] = {"use": "triplane_nerf"}
    (copy / "avatar.yaml").write_text(yaml.safe_dump(meta))
    said = realtalk("export-ply", copy, "-o", tmp_path / "x.ply", code=2)
    assert "its renderer is 'triplane_nerf', and only 'gaussian' has Gaussians to write" in said
    assert "--stage renderer --set renderer=gaussian" in said
    assert not (tmp_path / "x.ply").exists()
