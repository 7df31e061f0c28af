"""Which device a name means, what is moved there, and what the user is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import realtalk_demo
from realtalk_core.cli import run
from realtalk_core.device import place, resolve
from realtalk_core.errors import UserError
from realtalk_core.testing.synthetic import make_capture


class Movable:
    devices = ("cpu", "cuda")

    def __init__(self) -> None:
        self.there = torch.device("cpu")

    def to(self, device: torch.device) -> Movable:
        self.there = device
        return self


class Fixed(torch.nn.Module):
    """Has torch's own `to`, but never said that it works elsewhere."""

    def to(self, device: torch.device) -> Fixed:
        raise AssertionError("moved unasked")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_auto_takes_the_gpu_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch, no_gpu: None) -> None:
    assert resolve("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve("auto") == torch.device("cuda", 0)
    assert resolve("cpu") == torch.device("cpu")


def test_a_gpu_may_be_named_by_number(two_gpus: None) -> None:
    assert [resolve(name).index for name in ("cuda", "cuda:0", "cuda:1")] == [0, 0, 1]
    with pytest.raises(UserError, match="there are 2 CUDA GPUs"):
        resolve("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:1", "auto:0", "", "cuda:-1"])
def test_other_names_are_refused(name: str, two_gpus: None) -> None:
    with pytest.raises(UserError, match="unknown device"):
        resolve(name)


def test_a_gpu_that_is_not_there_is_named(no_gpu: None) -> None:
    with pytest.raises(UserError, match=r"--device cuda: .*CUDA") as error:
        resolve("cuda")
    assert "--device cpu" in str(error.value.cure)


def test_only_what_says_so_is_moved(two_gpus: None) -> None:
    assert place(Movable(), "auto").there == torch.device("cuda", 0)
    place(Fixed(), "auto")
    place(object(), "cuda:1")


def test_train_refuses_an_absent_gpu_before_it_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], no_gpu: None
) -> None:
    make_capture(tmp_path / "capture", seconds=2.5, size=32)
    assert run(["train", str(tmp_path / "capture"), "-o", str(tmp_path / "avatar"), "--device", "cuda"]) == 2
    shown = capsys.readouterr().err
    assert "--device cuda" in shown
    assert "Traceback" not in shown
    assert not (tmp_path / "avatar").exists()


def test_synthesize_refuses_an_absent_gpu_before_it_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], no_gpu: None
) -> None:
    demo = Path(realtalk_demo.__file__).parent / "data"
    sound = demo / "speech.opus"
    assert run(["synthesize", str(demo / "avatar"), "-o", str(tmp_path / "x.mp4"), "--audio", str(sound), "--device",
                "cuda"]) == 2  # fmt: skip
    assert "--device cuda" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
