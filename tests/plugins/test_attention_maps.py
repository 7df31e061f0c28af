"""Which region listens to what: the maps themselves, their pictures and table, and what cannot be shown."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import realtalk_demo
from realtalk_core.attention import REGIONS, Attention, check_folder, face_regions, write_attention
from realtalk_core.avatar import Avatar
from realtalk_core.cli import run
from realtalk_core.errors import UserError
from realtalk_core.stages import AttentionMaps
from realtalk_core.types import Blendshapes, CameraTrack, Drive, LandmarkTrack
from realtalk_triplane_nerf.config import TriplaneNerfConfig
from realtalk_triplane_nerf.field import FrameCondition
from realtalk_triplane_nerf.renderer import TriplaneNerf

DEMO = Path(realtalk_demo.__file__).parent / "data/avatar"


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    from realtalk_core.plugins import discover

    return Avatar.open(DEMO, discover())


@pytest.fixture(scope="module")
def renderer(avatar: Avatar) -> TriplaneNerf:
    made: TriplaneNerf = avatar.component("renderer")
    return made


@pytest.fixture(scope="module")
def shown(avatar: Avatar) -> tuple[Drive, CameraTrack]:
    person, span = avatar.person, slice(10, 12)
    drive = Drive(
        LandmarkTrack(person.landmarks[span], person.scheme, person.fps),
        blendshapes=Blendshapes(person.blendshapes[span]),
    )
    return drive, person.cameras[span].resized(40, 40)


def test_maps_lie_where_the_head_is(renderer: TriplaneNerf, shown: tuple[Drive, CameraTrack]) -> None:
    assert isinstance(renderer, AttentionMaps)
    maps = renderer.attention_maps(*shown)
    alpha = torch.cat([b.alpha for b in renderer.render(*shown) if b.alpha is not None])[..., 0]
    assert list(maps)[:2] == ["landmarks", "blendshapes"]
    assert "blendshapes/eyeBlinkLeft" in maps
    for values in maps.values():
        assert values.shape == (2, 40, 40)
        assert values.min() >= 0
        assert values[alpha == 0].amax() < 0.05 * max(1.0, float(values.max()))
    parts = torch.stack([v for name, v in maps.items() if "/" in name])
    assert (maps["blendshapes"] <= parts.sum(0) + 1e-4).all()  # a norm is at most the sum of its parts …
    assert (maps["blendshapes"] >= parts.amax(0) - 1e-4).all()  # … and at least each of them
    assert maps["landmarks"][alpha > 0.9].min() > 0


def test_a_map_is_what_the_gates_let_through(renderer: TriplaneNerf, shown: tuple[Drive, CameraTrack]) -> None:
    """Twice the condition, twice the map; gates that are shut, none."""
    from realtalk_triplane_nerf.attention_maps import let_through

    field, points = renderer.field, torch.rand(3, 50)
    features, scores = torch.zeros(len(renderer.head.basis.scale)), torch.rand(15)
    once = let_through(field, points, FrameCondition(features, scores))
    twice = let_through(field, points, FrameCondition(features, 2 * scores))
    torch.testing.assert_close(twice[:, 1:], 2 * once[:, 1:])
    gates = field.eyes.gates(field.geometry(points).float()) + field.gate_offset
    torch.testing.assert_close(once[:, 2], (gates[:, 0] * scores[0]).abs())
    assert let_through(field, points, FrameCondition(features, 0 * scores))[:, 1:].abs().max() == 0


def test_a_renderer_without_gates_says_so(shown: tuple[Drive, CameraTrack], renderer: TriplaneNerf) -> None:
    config = TriplaneNerfConfig.tiny().model_copy(update={"attention": False})
    from realtalk_triplane_nerf.field import TriplaneField

    bare = TriplaneNerf(config, renderer.head, TriplaneField(config, 6, 1), renderer.shell)
    with pytest.raises(UserError, match="without attention"):
        bare.attention_maps(*shown)


def test_regions_of_a_face() -> None:
    from realtalk_core.landmarks import REGIONS68

    points = np.full((68, 2), 50.0)
    angle = np.linspace(np.pi, 0, 17)
    points[:17] = np.stack((50 + 30 * np.cos(angle), 45 + 40 * np.sin(angle)), 1)
    places = {"right_brow": (35, 32), "left_brow": (65, 32), "nose": (50, 52), "right_eye": (37, 42),
              "left_eye": (63, 42), "outer_lips": (50, 70)}  # fmt: skip
    for name, (x, y) in places.items():
        count = len(REGIONS68[name])
        turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
        points[list(REGIONS68[name])] = np.stack((x + 6 * np.cos(turn), y + 2 * np.sin(turn)), 1)
    alpha = np.ones((100, 100))
    alpha[:5] = 0
    regions = face_regions(points, alpha)
    named = {(x, y): REGIONS[regions[y, x]] for x, y in ((50, 70), (37, 42), (65, 32), (50, 52), (50, 80), (50, 25))}
    assert list(named.values()) == ["mouth", "eyes", "brows", "nose", "cheeks and chin", "forehead"]
    assert REGIONS[regions[95, 5]] == "hair, ears, neck"
    assert (regions[:5] == -1).all()


@pytest.fixture
def found() -> Attention:
    maps = {"voice": torch.ones(2, 8, 8), "brow": torch.rand(2, 8, 8), "brow/left": torch.rand(2, 8, 8)}
    regions = torch.zeros(2, 8, 8, dtype=torch.long)
    regions[:, 4:] = 1
    regions[:, 0] = -1
    maps["voice"][:, 4:] = 3.0
    maps["voice"][:, 0] = 100.0
    return Attention((4, 9), torch.rand(2, 8, 8, 3), torch.ones(2, 8, 8), maps, regions)


def test_pictures_and_table_are_written_whole(found: Attention, tmp_path: Path) -> None:
    names = [file.name for file in write_attention(found, tmp_path / "a" / "maps")]
    assert names == [*(f"{kind}_{n:06d}.png" for kind in ("groups", "parts") for n in (4, 9)), "regions.csv"]
    rows = list(csv.DictReader((tmp_path / "a" / "maps" / "regions.csv").read_text("utf-8").splitlines()))
    assert [row["map"] for row in rows] == ["voice", "brow", "brow/left"]
    assert (rows[0]["mouth"], rows[0]["eyes"], rows[0]["brows"]) == ("1.0", "3.0", "")
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["maps"]


def test_nothing_is_left_of_a_failed_writing(found: Attention, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("realtalk_core.attention._write_pictures", full)
    with pytest.raises(UserError, match="disk is full"):
        write_attention(found, tmp_path / "maps")
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_may_be_used(found: Attention, tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    check_folder(tmp_path / "maps")
    assert len(write_attention(found, tmp_path / "maps")) == 5


def test_the_command_writes_and_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(DEMO), "--attention", str(tmp_path / "maps"), "--frames", "1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert len(said["files"]) == 3
    eyes = said["regions"]["blendshapes"]
    assert eyes["eyes"] > eyes["hair, ears, neck"]


@pytest.mark.parametrize("options", [["--frames", "2"], ["--device", "cpu"]])
def test_options_without_effect_are_refused(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(DEMO), *options]) == 2
    assert f"{options[0]} has no effect without --attention" in capsys.readouterr().err


@pytest.mark.parametrize("case", ["file", "below a file", "full", "capture", "checkpoint"])
def test_bad_inputs_are_named(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = DEMO, tmp_path / "maps"
    if case == "file":
        target.write_text("mine")
    elif case == "below a file":
        (tmp_path / "mine.txt").write_text("mine")
        target = tmp_path / "mine.txt" / "maps"
    elif case == "full":
        target.mkdir()
        (target / "mine.txt").write_text("mine")
    elif case == "checkpoint":
        source = DEMO / "renderer.safetensors"
    else:
        source = tmp_path / "capture"
        source.mkdir()
        (source / "capture.yaml").write_text("format: 1\n")
    before = sorted(tmp_path.rglob("*"))
    assert run(["inspect", str(source), "--attention", str(target)]) == 2
    said = capsys.readouterr().err
    wanted = {"file": "is a file", "below a file": "cannot be written", "full": "is not empty",
              "capture": "is a capture, not an avatar",
              "checkpoint": "is a checkpoint, not an avatar"}[case]  # fmt: skip
    assert wanted in said
    assert "Traceback" not in said
    assert sorted(tmp_path.rglob("*")) == before


def test_a_renderer_without_maps_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Plain:
        def render(self, drive: Drive, cameras: CameraTrack) -> object:
            raise AssertionError("not asked")

    monkeypatch.setattr(Avatar, "component", lambda *_: Plain())
    assert run(["inspect", str(DEMO), "--attention", str(tmp_path / "maps")]) == 2
    assert "its renderer 'triplane_nerf' has no attention maps" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
