"""The training loop with a small component: it learns, stops, resumes and reports."""

import json
import os
import signal

import pytest
import torch
from torch import Tensor, nn

from realtalk_core import checkpoint
from realtalk_core.errors import UserError
from realtalk_core.spec import ComponentConfig, ComponentSpec
from realtalk_core.training.loop import LoopOptions, StageFiles, StageTraining, TrainingStopped
from realtalk_core.training.observe import notifier
from realtalk_core.training.state import flatten, unflatten


class Config(ComponentConfig):
    """Of the double."""

    steps: int = 24
    """Steps."""
    poison: int = -1
    """Step whose loss is NaN."""


class Learner:
    """A net with dropout (global randomness), two optimizers with a schedule, and a moving average."""

    def __init__(self, config: Config) -> None:
        self.config, self.total_steps = config, config.steps
        torch.manual_seed(7)
        self.net = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1))
        self.average = {k: v.clone() for k, v in self.net.state_dict().items()}
        first, last = self.net[0].parameters(), self.net[3].parameters()
        self._optimizers = [torch.optim.AdamW(first, 0.02, amsgrad=True), torch.optim.SGD(last, 0.02, momentum=0.9)]

    def batch(self, data, step):
        x = torch.randn(32, 3, generator=data.generator(step))
        return {"x": x, "y": x.sum(1, keepdim=True)}

    def training_step(self, batch, step) -> dict[str, Tensor]:
        loss = (self.net(batch["x"]) - batch["y"]).square().mean()
        if step == self.config.poison:
            loss = loss * float("nan")
        return {"loss": loss, "half": loss.detach() / 2}

    def optimizers(self):
        return self._optimizers

    def after_step(self, step):
        for group in self._optimizers[0].param_groups:
            group["lr"] *= 0.99
        for name, value in self.net.state_dict().items():
            self.average[name].lerp_(value, 0.1)

    def training_state(self):
        return {
            **{f"net.{k}": v for k, v in self.net.state_dict().items()},
            **{f"ema.{k}": v for k, v in self.average.items()},
        }

    def load_training_state(self, tensors):
        self.net.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("net.")})
        self.average = {k[4:]: v.clone() for k, v in tensors.items() if k.startswith("ema.")}

    def state(self):
        return dict(self.average)

    @classmethod
    def from_state(cls, config, tensors):
        made = cls(config)
        made.net.load_state_dict(tensors)
        return made


class Growing:
    """Rows that are halved and pruned as they are learnt, and the moments of their optimizer with them."""

    manual_backward = True

    def __init__(self, config: Config) -> None:
        self.total_steps = config.steps
        self.rows = nn.Parameter(torch.linspace(0.1, 2, 6)[:, None].repeat(1, 3))
        self._optimizer = torch.optim.Adam([self.rows], 0.05)

    def batch(self, data, step):
        return {"x": torch.randn(8, 3, generator=data.generator(step))}

    def training_step(self, batch, step) -> dict[str, Tensor]:
        loss = (self.rows.sum(0) * batch["x"] - batch["x"].flip(1)).square().mean()
        loss.backward()
        return {"loss": loss.detach()}

    def optimizers(self):
        return [self._optimizer]

    def after_step(self, step):
        if step % 5 == 4:
            keep = torch.cat((self.rows.detach()[:, 0].argsort(descending=True)[:5], torch.tensor([0, 1])))
            self.rows.data, self.rows.grad = self.rows.data[keep] * 0.9, None
            state = self._optimizer.state[self.rows]
            state["exp_avg"], state["exp_avg_sq"] = state["exp_avg"][keep], state["exp_avg_sq"][keep]

    def training_state(self):
        return {"rows": self.rows.detach()}

    def load_training_state(self, tensors):
        self.rows.data = tensors["rows"].clone()

    def state(self):
        return {"rows": self.rows.detach()}

    @classmethod
    def from_state(cls, config, tensors):
        made = cls(config)
        made.load_training_state(tensors)
        return made


class Data:
    seed = 3

    def generator(self, step):
        return torch.Generator().manual_seed(step)


SPEC = ComponentSpec("landmarks", "learner", "", 1, Config, lambda: Learner, plugin="double")


def training(folder, config=None, **rest):
    return StageTraining(
        SPEC,
        config or Config(),
        Data(),
        "data-1",
        StageFiles(folder, "landmarks"),
        **{"options": LoopOptions(log_every=4), **rest},
    )


def run(folder, config=None, resume=False, **rest):
    return training(folder, config, **rest).run(Learner(config or Config()), resume=resume)


def weights(folder):
    state, raw = (
        checkpoint.load(folder / name)[1] for name in ("training/landmarks/state.safetensors", "landmarks.safetensors")
    )
    return {**state, **raw}


def stop_at(step):
    """A progress callback that presses Ctrl-C."""
    return lambda now, total, metrics: os.kill(os.getpid(), signal.SIGINT) if now == step else None


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_it_learns_and_writes_what_it_promises(tmp_path):
    shown = []
    header = run(
        tmp_path,
        preview=lambda made, file: shown.append((type(made), file.name)),
        measure=lambda made: {"held_out": 1.5},
    )
    rows = [json.loads(line) for line in (tmp_path / "training/landmarks/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [4, 8, 12, 16, 20, 24]
    assert rows[-1]["loss"] < rows[0]["loss"] / 2
    assert rows[-1]["half"] == pytest.approx(rows[-1]["loss"] / 2, rel=1e-4)
    assert (tmp_path / "training/landmarks/loss.png").stat().st_size > 1000
    assert shown == [(Learner, f"preview_{n:06d}.png") for n in (6, 12, 18, 24)]
    assert header.metrics["step"] == header.metrics["total"] == 24
    assert header.metrics["held_out"] == 1.5
    assert checkpoint.read_header(tmp_path / "landmarks.safetensors") == header


@pytest.mark.parametrize("stop", [1, 9, 23])
def test_interrupted_and_resumed_equals_never_interrupted(tmp_path, stop):
    run(tmp_path / "straight")
    with pytest.raises(TrainingStopped, match=f"after step {stop} of 24"):
        run(tmp_path / "broken", progress=stop_at(stop))
    torch.rand(1000)  # whatever happens in between
    run(tmp_path / "broken", resume=True)
    straight, broken = weights(tmp_path / "straight"), weights(tmp_path / "broken")
    assert straight.keys() == broken.keys()
    assert len(straight) > 15
    assert all(torch.equal(straight[k], broken[k]) for k in straight)
    logs = [
        [
            (r["step"], r["loss"])
            for r in map(json.loads, (tmp_path / n / "training/landmarks/metrics.jsonl").read_text().splitlines())
        ]
        for n in ("straight", "broken")
    ]
    assert logs[0] == logs[1]


@pytest.mark.parametrize("stop", [4, 5, 6, 17])
def test_parameters_that_change_their_size_resume_to_the_same_bits(tmp_path, stop):
    training(tmp_path / "straight").run(Growing(Config()), resume=False)
    with pytest.raises(TrainingStopped):
        training(tmp_path / "broken", progress=stop_at(stop)).run(Growing(Config()), resume=False)
    training(tmp_path / "broken").run(Growing(Config()), resume=True)
    straight, broken = weights(tmp_path / "straight"), weights(tmp_path / "broken")
    assert len(straight["component/rows"]) == 7
    assert straight.keys() == broken.keys()
    assert all(torch.equal(straight[k], broken[k]) for k in straight)


def test_a_checkpoint_saved_midway_can_already_be_used(tmp_path):
    with pytest.raises(TrainingStopped):
        run(tmp_path, progress=stop_at(10))
    header, tensors = checkpoint.load(tmp_path / "landmarks.safetensors", SPEC)
    assert (header.metrics["step"], header.metrics["total"]) == (10, 24)
    Learner.from_state(Config(), tensors)


def test_a_finished_stage_resumes_to_itself(tmp_path):
    run(tmp_path)
    before = weights(tmp_path)
    run(tmp_path, resume=True)
    assert all(torch.equal(before[k], v) for k, v in weights(tmp_path).items())


def test_resuming_with_other_parameters_or_data_is_refused(tmp_path):
    with pytest.raises(TrainingStopped):
        run(tmp_path, progress=stop_at(5))
    with pytest.raises(UserError, match=r"other parameters \(steps\)"):
        run(tmp_path, Config(steps=30), resume=True)
    other = training(tmp_path)
    other.data_digest = "data-2"
    with pytest.raises(UserError, match="another capture, split or seed"):
        other.run(Learner(Config()), resume=True)


def test_a_loss_that_is_not_finite_stops_with_what_to_do(tmp_path):
    with pytest.raises(UserError, match=r"no longer finite at step 6 .*loss nan") as error:
        run(tmp_path, Config(poison=5))
    assert "learning rate" in str(error.value)
    assert not (tmp_path / "landmarks.safetensors").exists()


def test_hooks_are_told_and_cannot_disturb(tmp_path):
    import pluggy

    from realtalk_core.hookspecs import hookimpl

    class Watcher:
        def __init__(self):
            self.seen = []

        @hookimpl
        def realtalk_training_step(self, stage, step, total, metrics):
            self.seen.append((stage, step, total))

        @hookimpl
        def realtalk_checkpoint_saved(self, path, header):
            self.seen.append((path.name, header.component))

        @hookimpl
        def realtalk_stage_finished(self, stage, component, seconds):
            self.seen.append((stage, component, seconds > 0))
            raise RuntimeError("oops")

    from realtalk_core import hookspecs

    manager = pluggy.PluginManager("realtalk")
    manager.add_hookspecs(hookspecs)
    watcher = Watcher()
    manager.register(watcher)
    with pytest.warns(UserWarning, match="realtalk_stage_finished raised RuntimeError: oops"):
        run(tmp_path, Config(steps=2), notify=notifier(manager))
    assert watcher.seen == [
        ("landmarks", 1, 2),
        ("landmarks", 2, 2),
        ("landmarks.safetensors", "learner"),
        ("landmarks", "learner", True),
    ]


def test_state_trees_come_back_with_their_key_types():
    tree = {"state": {0: {"step": torch.tensor(3.0)}}, "groups": [{"lr": 0.1, "betas": (0.9, 0.99), "on": None}]}
    held = {}
    back = unflatten(json.loads(json.dumps(flatten(tree, held))), held)
    assert back["state"][0]["step"] == 3
    assert back["groups"] == [{"lr": 0.1, "betas": [0.9, 0.99], "on": None}]
    with pytest.raises(TypeError, match="without pickling"):
        flatten({"x": object()}, {})
