"""Metrics in evaluations and runs: by name in files and tables, by class, as what is watched, whatever the batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge import Net, train
from layerforge.arrays.backend import Backend
from layerforge.cli import main
from layerforge.config import dump_yaml
from layerforge.schema.errors import ConfigError, LayerError
from layerforge.training.evaluation import evaluate, score
from layerforge.training.rundir import read_metrics

WORDS = ("bird", "cat", "dog, small")


def layer(name: str, kind: str, *bottoms: str, **params: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "bottom": list(bottoms), "phase": "eval", **params}


@pytest.fixture
def pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A run whose data know the names of its classes; nothing is ever learned."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    points, kinds = rng.normal(size=(30, 2)), rng.permutation(30) % 3
    lines = [f'{a:.3f},{b:.3f},"{WORDS[k]}"' for (a, b), k in zip(points, kinds, strict=True)]
    Path("pets.csv").write_text("\n".join(["a,b,pet", *lines]) + "\n")
    feed = {"type": "CSV", "path": str(tmp_path / "pets.csv"), "label": "pet", "batch_size": 7}
    return {
        "name": "pets",
        "data": {"train": feed, "val": feed, "test": feed},
        "net": [
            {"name": "fc", "type": "Linear", "out_features": 3, "bottom": "x"},
            {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"]},
            layer("f1", "F1", "fc", "label"),
            layer("recall", "Recall", "fc", "label", average="none"),
            layer("precision", "Precision", "fc", "label", average="none"),
            layer("auc", "AUROC", "fc", "label"),
            layer("taken", "ConfusionMatrix", "fc", "label", num_classes=3),
        ],
        "solver": {"lr": 0.1},
        "train": {"epochs": 2},
    }


def test_metrics_of_classes_have_their_names(pets: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    result = train(pets)
    names = [f"val/recall/{word}" for word in WORDS]
    *_, last = [row for row in read_metrics(result.run) if "val/f1" in row]
    table = np.array(result.tables["val/taken"])
    assert [last[name] for name in names] == pytest.approx(table.diagonal() / table.sum(axis=1), rel=1e-15)
    assert last["val/f1"] == pytest.approx(result.final["val/f1"])
    assert {"val/recall/cat", "val/precision/dog, small"} <= result.final.keys()
    assert result.test["test/recall/cat"] == result.best["val/recall/cat"]
    summary = json.loads(Path(result.run, "summary.json").read_text())
    assert summary["tables"] == {"classes": list(WORDS), "val/taken": table.tolist(), "test/taken": table.tolist()}
    told = capsys.readouterr().out
    assert "val/f1 " in told
    assert "val/recall" not in told  # a line for each evaluation is no place for a number of each class
    assert main(["eval", result.run]) == 0
    shown = capsys.readouterr().out.splitlines()[1:]
    assert shown[0].split() == ["class", "val/recall", "val/precision"]
    recall = json.loads(json.dumps(result.best))["val/recall/dog, small"]
    assert shown[3].startswith("dog, small")
    assert shown[3].split()[2] == f"{recall:.4f}"
    assert shown[5].split() == ["label", "\\", "prediction", "bird", "cat", "dog,", "small"]
    assert main(["eval", result.run, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["val/recall/cat"], values["classes"]) == (result.best["val/recall/cat"], list(WORDS))


def test_a_class_can_be_watched(pets: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    result = train({**pets, "checkpoint": {"monitor": "val/recall/cat"}})
    assert result.monitor == "val/recall/cat"
    rows = [row["val/recall/cat"] for row in read_metrics(result.run) if "val/recall/cat" in row]
    assert result.best["val/recall/cat"] == max(rows)
    told = capsys.readouterr().out
    assert told.count("val/recall/cat ") == len(rows) and "val/recall/dog" not in told  # what is watched is shown
    with pytest.raises(ConfigError, match="there is no metric 'val/recall/cot'") as caught:
        train({**pets, "checkpoint": {"monitor": "val/recall/cot"}})
    assert "did you mean 'val/recall/cat'?" in str(caught.value)


@pytest.mark.parametrize("epochs", [5, 6])
def test_the_loss_beside_an_evaluation_is_that_of_its_epoch(
    epochs: int, pets: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows of metrics lie within epochs and at their ends; none takes steps away from what is printed."""
    one = {**pets, "train": {"epochs": epochs, "log_every": 1}}
    rows = [row for row in read_metrics(train(one).run) if "train/loss" in row]
    per_epoch = len(rows) // epochs
    samples = [7, 7, 7, 7, 2]  # of the 30 in batches of 7
    own = [
        np.average([row["train/loss"] for row in rows[start : start + per_epoch]], weights=samples)
        for start in range(0, len(rows), per_epoch)
    ]
    for log_every in (2, 7, 25):
        capsys.readouterr()
        result = train({**pets, "train": {"epochs": epochs, "log_every": log_every}})
        lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
        told = [float(line[line.index("train/loss") + 1]) for line in lines]
        assert told == pytest.approx(own, abs=6e-5), log_every
        assert result.final["train/loss"] == pytest.approx(own[-1], rel=1e-6)


def test_a_resumed_run_keeps_the_tables_of_its_last_evaluation(pets: dict[str, Any]) -> None:
    Path("pets.yaml").write_text(dump_yaml(pets))
    result = train("pets.yaml")
    again = train("pets.yaml", resume_from=result.run)
    assert again.tables == result.tables


@pytest.mark.parametrize(("kind", "falls"), [("MAE", True), ("R2", False)])
def test_the_mode_follows_from_the_metric_and_not_from_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, falls: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez("d.npz", x=rng.normal(size=(12, 3)).astype("f4"), t=rng.normal(size=(12, 1)).astype("f4"))
    feed = {"type": "NPZ", "path": str(tmp_path / "d.npz"), "batch_size": 5}
    name = "quality" if falls else "error"  # the name alone would say the contrary
    config = {
        "data": {"train": feed, "val": feed},
        "net": [
            {"name": "fc", "type": "Linear", "out_features": 1, "bottom": "x"},
            {"name": "loss", "type": "MSELoss", "bottom": ["fc", "t"]},
            layer(name, kind, "fc", "t"),
        ],
        "solver": {"lr": 0.1, "schedule": {"type": "plateau", "monitor": f"val/{name}"}},
        "train": {"epochs": 3, "early_stopping": {"monitor": f"val/{name}"}},
        "checkpoint": {"monitor": f"val/{name}"},
    }
    result = train(config)
    rows = [row[f"val/{name}"] for row in read_metrics(result.run) if f"val/{name}" in row]
    assert result.best[f"val/{name}"] == (min(rows) if falls else max(rows))
    recorded = Path(result.run, "config.resolved.yaml").read_text()
    assert f"mode: {'min' if falls else 'max'}" in recorded.split("schedule:")[1].split("\ntrain:")[0]


class Batch:
    """As a loader gives it."""

    def __init__(self, blobs: dict[str, np.ndarray]) -> None:
        self.blobs = blobs


ONE_SCORE = [
    {"name": "fc", "type": "Linear", "out_features": 1, "bottom": "x"},
    {"name": "loss", "type": "BCEWithLogitsLoss", "bottom": ["fc", "t"]},
    layer("accuracy", "Accuracy", "fc", "t", threshold=0),
    layer("f1", "F1", "fc", "t", threshold=0),
    layer("auc", "AUROC", "fc", "t"),
    layer("ap", "AveragePrecision", "fc", "t"),
    layer("mcc", "MatthewsCorrelation", "fc", "t", threshold=0),
    layer("kappa", "CohenKappa", "fc", "t", threshold=0),
    layer("balanced", "BalancedAccuracy", "fc", "t", threshold=0),
    layer("iou", "IoU", "fc", "t", threshold=0),
    layer("ece", "CalibrationError", "fc", "t", from_logits=True),
    layer("taken", "ConfusionMatrix", "fc", "t", threshold=0, num_classes=2),
    layer("mae", "MAE", "fc", "t"),
    layer("r2", "R2", "fc", "t"),
]


@pytest.mark.parametrize("where", ["host", "device"])
def test_a_binary_net_of_one_score_is_scored_whatever_the_batches(where: str, device_backend: Backend) -> None:
    backend = device_backend if where == "device" else None
    inputs = {"x": {"shape": [8, 3]}, "t": {"shape": [8, 1]}}
    net = Net.from_config({"inputs": inputs, "net": ONE_SCORE, "engine": "reference"}, backend=backend)
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(37, 3)).astype("f4"), rng.integers(0, 2, (37, 1)).astype("f4")
    found = {}
    for size in (37, 8, 1):
        parts = [Batch({"x": x[i : i + size], "t": t[i : i + size]}) for i in range(0, 37, size)]
        found[size] = score(net, parts)
    assert list(found[37].numbers) == [each["name"] for each in ONE_SCORE[1:] if each["name"] != "taken"]
    for size in (8, 1):
        assert found[size].numbers == pytest.approx(found[37].numbers, rel=1e-6)
        np.testing.assert_array_equal(found[size].tables["taken"], found[37].tables["taken"])
    table = found[37].tables["taken"]
    assert found[37].numbers["accuracy"] == table.trace() / 37
    assert evaluate(net, [Batch({"x": x, "t": t})]) == found[37].numbers


def test_one_score_without_a_threshold_is_refused_before_the_training() -> None:
    net = [*ONE_SCORE[:2], {key: value for key, value in ONE_SCORE[2].items() if key != "threshold"}]
    with pytest.raises(LayerError, match="above which is it class 1") as caught:
        Net.from_config({"inputs": {"x": {"shape": [8, 3]}, "t": {"shape": [8, 1]}}, "net": net})
    assert "threshold: 0 for logits, threshold: 0.5 for probabilities" in str(caught.value)
