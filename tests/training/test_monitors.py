"""What a run watches for its best checkpoint, early stopping and the plateau schedule exists and is understood."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge import train
from layerforge.cli import main
from layerforge.config import dump_yaml
from layerforge.schema.errors import ConfigError
from layerforge.schema.synonyms import is_higher_better
from layerforge.solvers.schedules import Plateau
from layerforge.training.evaluation import Scores

Run = dict[str, Any]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez("d.npz", x=rng.normal(size=(12, 3)).astype("f4"), t=rng.integers(0, 4, 12))
    feed = {"type": "NPZ", "path": str(tmp_path / "d.npz"), "batch_size": 4}
    return {
        "name": "r",
        "data": {"train": feed, "val": feed},
        "net": [
            {"name": "fc", "type": "Linear", "out_features": 4, "bottom": "x"},
            {"name": "ce", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"]},
            {"name": "accuracy", "type": "Accuracy", "bottom": ["fc", "t"], "phase": "eval"},
        ],
        "solver": {"lr": 0.1},
        "train": {"epochs": 2},
    }


def watching(run: Run, key: str, **values: Any) -> Run:
    """The run with one of its watchers."""
    if key == "solver.schedule":
        return {**run, "solver": {"lr": 0.1, "schedule": {"type": "plateau", "patience": 0, **values}}}
    if key == "checkpoint":
        return {**run, "checkpoint": values}
    return {**run, "train": {"epochs": 2, "early_stopping": values}}


KEYS = ("solver.schedule", "checkpoint", "train.early_stopping")


@pytest.mark.parametrize("key", KEYS)
def test_a_metric_that_does_not_exist_is_refused(run: Run, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key}\.monitor: there is no metric 'val/acuracy'") as caught:
        train(watching(run, key, monitor="val/acuracy"))
    assert "did you mean 'val/accuracy'?" in str(caught.value)
    assert not Path("runs").exists()


@pytest.mark.parametrize("key", KEYS)
def test_without_val_data_nothing_can_be_watched(run: Run, key: str) -> None:
    del run["data"]["val"]
    for monitor in ("val/loss", "train/loss"):
        with pytest.raises(ConfigError, match=f"{key}: there are no val data to evaluate") as caught:
            train(watching(run, key, monitor=monitor))
        assert "add data.val, or " in str(caught.value)
    train(run)


def test_a_plateau_without_val_data_is_refused_by_its_default_too(run: Run) -> None:
    del run["data"]["val"]
    with pytest.raises(ConfigError, match="no val data"):
        train(watching(run, "solver.schedule"))


def test_all_watchers_are_reported_at_once_at_their_places(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in KEYS:
        run = {**watching(run, key, monitor="val/los"), "train": run["train"]} if key != KEYS[2] else run
    run["train"] = {"epochs": 2, "early_stopping": {"monitor": "val/los"}}
    (tmp_path / "c.yaml").write_text(dump_yaml(run))
    assert main(["train", str(tmp_path / "c.yaml")]) == 2
    told = capsys.readouterr().err
    assert told.count("did you mean 'val/loss'?") == 3
    assert told.count("c.yaml:") == 3


@pytest.mark.parametrize(
    ("monitor", "falls"), [("val/accuracy", False), ("val/loss", True), ("val/ce", True), ("train/loss", True)]
)
def test_a_plateau_knows_what_is_good(run: Run, monitor: str, falls: bool) -> None:
    result = train(watching(run, "solver.schedule", monitor=monitor))
    recorded = Path(result.run, "config.resolved.yaml").read_text()
    assert f"mode: {'min' if falls else 'max'}" in recorded.split("schedule:")[1].split("\ntrain:")[0]


def test_a_metric_of_any_name_that_is_a_loss_falls(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run["net"][1]["name"] = "score"
    told = iter([1.0, 2.0, 3.0, 4.0])
    scores = (Scores(dict.fromkeys(("score", "loss"), value)) for value in told)
    monkeypatch.setattr("layerforge.training.loop.score_all", lambda *_: next(scores))
    run["train"] = {"epochs": 4, "early_stopping": {"monitor": "val/score", "patience": 2}}
    run["checkpoint"] = {"monitor": "val/score"}
    result = train(run)
    assert (result.best["val/score"], result.steps) == (1.0, 9)


def test_the_plateau_lowers_lr_when_the_accuracy_stops_rising(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter([0.1, 0.2, 0.3, 0.3, 0.3])
    monkeypatch.setattr("layerforge.training.loop.score_all", lambda *_: Scores({"accuracy": next(told), "loss": 1.0}))
    run["train"] = {"epochs": 5, "log_every": 3}
    result = train(watching(run, "solver.schedule", monitor="val/accuracy", factor=0.5))
    rows = Path(result.run, "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("lr")
    rates = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    assert rates == [0.1, 0.1, 0.1, 0.1, 0.05]


def test_a_plateau_of_its_own_follows_the_name_of_its_metric() -> None:
    rising = Plateau(monitor="val/accuracy", patience=0)
    for value in (0.1, 0.2, 0.3):
        rising.observe(value)
    assert rising.value(1.0, 0, 1) == 1
    rising.observe(0.3)
    assert rising.value(1.0, 0, 1) == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["val/loss", "val/aux_loss", "val/top5_error", "val/mse", "val/RMSE.1", "perplexity"])
def test_small_is_good(name: str) -> None:
    assert not is_higher_better(name)


@pytest.mark.parametrize("name", ["val/accuracy", "val/top5", "val/f1", "val/balance", "val/recall", "val/maestro"])
def test_large_is_good(name: str) -> None:
    assert is_higher_better(name)
