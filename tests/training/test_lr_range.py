"""The learning-rate range test, as `layerforge find-lr` runs it."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import threading
from pathlib import Path

import numpy as np
import pytest

from layerforge import Net, Solver, train
from layerforge.cli import main
from layerforge.config.document import Config
from layerforge.data.opening import open_data
from layerforge.schema.errors import ConfigError
from layerforge.training.lr_range import Tried, lr_range, steepest

CONFIG = """\
name: small
data:
  train: {type: Digits, split: "train[:200]", batch_size: 40, shuffle: true}
net:
  - {name: flat, type: Flatten, bottom: image}
  - {name: fc,   type: Linear, out_features: 10}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, label]}
solver: {lr: 0.1, momentum: 0.9, schedule: {type: cosine, warmup: 3}}
train: {epochs: 1}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(CONFIG)
    return tmp_path / "c.yaml"


def loaded(path: Path, *overrides: str) -> Config:
    return Config.load(path, ["solver.schedule=fixed", *overrides])


def curve(losses: list[float]) -> list[Tried]:
    return [Tried(k, 10 ** (k / 10 - 7), loss, loss) for k, loss in enumerate(losses)]


def test_the_rate_of_the_steepest_descent() -> None:
    falls = curve([2 - 1 / (1 + math.exp(-(k - 40) / 3)) for k in range(80)])
    assert steepest(falls) == pytest.approx(10 ** (40 / 10 - 7))
    assert steepest(curve([1 + k / 80 for k in range(80)])) is None
    assert steepest(curve([2.0] * 80)) is None
    assert steepest(curve([3.0])) is None


def test_noise_is_no_descent() -> None:
    rng, average, tried = np.random.default_rng(0), 0.0, []
    for k, loss in enumerate(2 + 0.1 * rng.normal(size=100)):
        average = 0.9 * average + 0.1 * loss
        tried.append(Tried(k, 1.1**k, loss, average / (1 - 0.9 ** (k + 1))))
    assert steepest(tried) is None


def test_each_step_is_one_of_a_training_with_its_rate(config: Path) -> None:
    """By hand: the same net, the same batches of several epochs, and lr set before every step."""
    found = lr_range(loaded(config), min_lr=1e-3, max_lr=1.0, steps=7, smoothing=0.5)
    assert [each.lr for each in found.tried] == pytest.approx(np.geomspace(1e-3, 1.0, 7).tolist())
    net = Net(Config.load(config))
    solver, loader = Solver(net, lr=1.0, momentum=0.9), open_data(net.config.data).loaders["train"]
    batches = [batch for epoch in (0, 1) for batch in loader.epoch(epoch)]
    average, losses = 0.0, []
    for each, batch in zip(found.tried, batches, strict=False):
        solver.lr = each.lr
        losses.append(solver.step(**batch.blobs))
        average = 0.5 * average + 0.5 * losses[-1]
        assert each.smoothed == pytest.approx(average / (1 - 0.5 ** len(losses)), rel=1e-6)
    assert [each.loss for each in found.tried] == pytest.approx(losses, rel=1e-6)
    assert found.stopped == ""


def test_micro_batches_make_the_steps_of_whole_ones(config: Path) -> None:
    whole = lr_range(loaded(config), min_lr=1e-3, steps=4)
    halves = loaded(config, "data.train.batch_size=20", "train.accumulate_grad_batches=2")
    parts = lr_range(halves, min_lr=1e-3, steps=4)
    assert [each.loss for each in parts.tried] == pytest.approx([each.loss for each in whole.tried], rel=1e-5)


def test_no_thread_outlives_a_step_that_fails(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Solver, **_: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(Solver, "update", fails)
    with pytest.raises(RuntimeError, match="planted") as caught:  # which holds all frames
        lr_range(loaded(config), min_lr=1e-3, steps=4)
    assert caught.tb is not None
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("layerforge")]


def test_it_ends_where_the_loss_explodes(config: Path) -> None:
    found = lr_range(loaded(config), min_lr=1e-2, max_lr=1e6, steps=50)
    assert "times its lowest" in found.stopped
    assert len(found.tried) < 50
    found = lr_range(loaded(config), min_lr=2e38, max_lr=3e38, steps=9)
    assert "not finite" in found.stopped


@pytest.mark.parametrize(
    ("options", "message"),
    [({"min_lr": 1.0, "max_lr": 0.1}, "are no range"), ({"min_lr": 0.0}, "are no range"), ({"steps": 1}, "steps 1"),
     ({"smoothing": 1.0}, "smoothing 1")],
)  # fmt: skip
def test_bad_bounds(config: Path, options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        lr_range(loaded(config), **options)  # type: ignore[arg-type]


def test_a_schedule_would_change_the_rates(config: Path) -> None:
    with pytest.raises(ConfigError, match="sets lr in every step") as caught:
        lr_range(Config.load(config))
    assert "solver.schedule=fixed" in str(caught.value)


def digest(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_command_leaves_a_run_alone(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(config).run
    before = digest(Path("runs"))
    capsys.readouterr()
    assert main(["find-lr", run, "--min-lr", "1e-4", "--steps", "60", "-o", "lr.csv"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert digest(Path("runs")) == before
    assert shown[0].split() == ["step", "lr", "loss", "smoothed"]
    [steep] = [line for line in shown if "<- steepest" in line]
    assert main(["find-lr", str(config), "--min-lr", "1e-4", "--steps", "60", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert float(steep.split()[1]) == pytest.approx(result["suggestion"], rel=0.01)
    assert shown[-1].startswith(f"suggestion: solver.lr={result['suggestion']:.2g} ")
    with open("lr.csv") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert rows == result["tried"]
    assert 1e-3 < result["suggestion"] < 1


def test_the_command_without_a_suggestion(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["find-lr", str(config), "--max-lr", "1e-6", "--steps", "30"]) == 1
    assert "no suggestion" in capsys.readouterr().out
    assert main(["find-lr", str(config), "--min-lr", "x"]) == 2
    assert "must be a number, got 'x'" in capsys.readouterr().err
    assert main(["find-lr", str(config), "--min-lr", "20"]) == 2
    assert "min_lr 20 and max_lr 10 are no range" in capsys.readouterr().err
