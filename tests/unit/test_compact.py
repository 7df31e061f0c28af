"""`realtalk compact`: smaller, speaks alike, and refuses what it cannot do."""

import av
import pytest
import torch

from realtalk_core.avatar import Avatar
from realtalk_core.checkpoint import tensor_table
from realtalk_core.cli import run
from realtalk_core.compact import stretch
from realtalk_core.pipeline import Pipeline
from realtalk_core.plugins import discover
from realtalk_core.testing.avatar import make_avatar
from realtalk_core.testing.synthetic import synthetic_clip


@pytest.fixture(scope="module")
def avatar(tmp_path_factory):
    return make_avatar(tmp_path_factory.mktemp("avatar"), seconds=4.0, size=64)


@pytest.fixture(scope="module")
def small(avatar, tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "small"
    assert run(["compact", str(avatar), "-o", str(folder), "--seconds", "2", "--from", "1"]) == 0
    return folder


def size(folder):
    return sum(f.stat().st_size for f in folder.iterdir() if f.is_file())


def test_the_copy_is_smaller_and_complete(avatar, small):
    assert size(small) < 0.7 * size(avatar)
    assert {f.name for f in small.iterdir()} == {f.name for f in avatar.iterdir()} - {"training"}
    with av.open(str(small / "base.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 50
    kinds = {kind for kind, _ in tensor_table(small / "person.safetensors").values()}
    assert "F16" in kinds


def test_its_tracks_are_those_of_the_kept_film(avatar, small):
    whole, part = (Avatar.open(folder, discover()).person for folder in (avatar, small))
    assert part.landmarks.dtype == torch.float32
    assert torch.allclose(part.landmarks[:50], whole.landmarks[25:75], atol=5e-4)
    assert torch.equal(part.poses[:50], whole.poses[25:75])
    assert part.spans.tolist() == [[0, 50]]
    assert int(part.bank.min()) == 50
    assert torch.allclose(part.quantiles(0.0)[0], whole.quantiles(0.0)[0], atol=0.1)


def test_it_speaks_alike(avatar, small):
    clip = synthetic_clip(1.0)
    said = []
    for folder, start in ((avatar, 25), (small, 0)):
        pipeline = Pipeline.from_avatar(Avatar.open(folder, discover(), [f"motion.start={start}"]))
        cut = next(pipeline.cuts(clip, "happy"))
        said.append((cut.kept_landmarks.points, torch.cat(list(pipeline.pictures(cut))).float()))
    (points, pictures), (small_points, small_pictures) = said
    assert (points - small_points).norm(dim=-1).mean() < 0.02  # cm
    assert (pictures - small_pictures).abs().mean() < 4  # of 255: mostly the film's compression


def test_the_calmest_stretch_is_kept_unless_asked(avatar):
    person = Avatar.open(avatar, discover()).person
    kept = stretch(person, 1.0, None)
    moved = (person.landmarks - person.neutral).norm(dim=-1).mean(1)
    means = moved.unfold(0, 25, 1).mean(1)
    assert kept.count == 25
    assert float(means[kept.first]) == pytest.approx(float(means.min()), rel=1e-4)
    assert stretch(person, 1e6, None).count == len(person)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seconds", "0.2"], "--seconds 0.2 is below 1"),
        (["--seconds", "nan"], "--seconds nan is below 1"),
        (["--from", "99"], "no face at that second"),
        (["--crf", "77"], "--crf 77 is outside 0 to 51"),
    ],
)
def test_bad_options(avatar, tmp_path, capsys, options, message):
    assert run(["compact", str(avatar), "-o", str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_a_folder_in_use_is_left_alone(avatar, tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("dear")
    assert run(["compact", str(avatar), "-o", str(tmp_path)]) == 2
    assert "is not an empty folder" in capsys.readouterr().err
    assert [f.name for f in tmp_path.iterdir()] == ["letter.txt"]
    assert run(["compact", str(avatar), "-o", str(tmp_path / "letter.txt")]) == 2
