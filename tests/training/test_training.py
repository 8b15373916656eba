"""Training runs from end to end, on small synthetic data."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge import Net, train
from layerforge.config.document import Config
from layerforge.data.digits import Digits
from layerforge.schema.errors import ConfigError, DataError, DivergedError
from layerforge.snapshot import read_snapshot
from layerforge.training.console import Console
from layerforge.training.evaluation import evaluate
from layerforge.training.rundir import find_run, weights_of

NET = """
net:
  - {name: flat, type: Flatten, bottom: image}
  - {name: fc1,  type: Linear, out_features: 16}
  - {name: bn1,  type: BatchNorm}
  - {name: act1, type: ReLU}
  - {name: drop, type: Dropout, p: 0.1}
  - {name: fc2,  type: Linear, out_features: 10}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc2, label]}
  - {name: accuracy, type: Accuracy, bottom: [fc2, label], phase: eval}
"""
DATA = """
data:
  train: {type: Digits, split: "train[:330]", batch_size: 32}
  val:   {type: Digits, split: "train[1000:1130]", batch_size: 50}
  test:  {type: Digits, split: "test[:70]", batch_size: 50}
"""
REST = """
solver: {lr: 0.05, momentum: 0.9, schedule: {type: cosine}}
train: {epochs: 3, log_every: 4}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small configuration in an otherwise empty working folder."""
    monkeypatch.chdir(tmp_path)
    return write(tmp_path, DATA + NET + REST)


def write(folder: Path, text: str) -> Path:
    path = folder / "small.yaml"
    path.write_text(text)
    return path


def quiet() -> Console:
    return Console(progress="off", quiet=True)


def run(path: Path, *overrides: str) -> Any:
    return train(path, overrides, console=quiet())


def rows_of(result: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(result.run) / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_everything_behind(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(config)
    folder = Path(result.run)
    assert folder.parent == Path("runs/small")
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert files >= {
        "config.yaml", "config.resolved.yaml", "command.json", "env.json", "train.log", "metrics.csv",
        "metrics.jsonl", "summary.json", "STATUS", "checkpoints/last.h5", "checkpoints/best.h5",
    }  # fmt: skip
    assert (folder / "config.yaml").read_text() == config.read_text()
    assert (folder / "STATUS").read_text() == "finished\n"
    assert find_run("runs/small") is not None
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert summary["steps"] == 33  # 3 epochs of 11 batches, the last of them ragged
    assert summary["exit_code"] == 0
    assert set(summary["test"]) == {"test/loss", "test/accuracy"}
    assert summary["final"]["val/loss"] < 2.3
    out = capsys.readouterr().out
    assert out.count("val/accuracy") == 3
    assert "test/accuracy" in out.splitlines()[-1]


def test_metrics_rows(config: Path) -> None:
    result = run(config)
    rows = rows_of(result)
    logged = [r["step"] for r in rows if "train/loss" in r]
    assert logged == [4, 8, 12, 16, 20, 24, 28, 32, 33]
    assert [r["step"] for r in rows if "val/loss" in r] == [11, 22, 33]
    assert all(r["run_segment"] == 0 for r in rows)
    first = next(r for r in rows if "lr" in r)
    assert first["lr"] == pytest.approx(0.05 * (1 + np.cos(np.pi * 3 / 33)) / 2)
    with (Path(result.run) / "metrics.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(r["train/loss"]) for r in table if r["train/loss"]] == [r["train/loss"] for r in rows if "lr" in r]


def test_the_same_seed_gives_the_same_bits(config: Path) -> None:
    a, b, c = run(config), run(config), run(config, "seed=1")
    arrays = [read_snapshot(Path(r.run) / "checkpoints/last.h5")[0] for r in (a, b, c)]
    assert all(np.array_equal(arrays[0][k], arrays[1][k]) for k in arrays[0])
    assert not np.array_equal(arrays[0]["params/fc1/weight"], arrays[2]["params/fc1/weight"])


def test_the_resolved_config_repeats_the_run(config: Path) -> None:
    first = run(config, "net.fc1.out_features=8")
    again = run(Path(first.run) / "config.resolved.yaml", "name=again")
    one, two = (read_snapshot(Path(r.run) / "checkpoints/last.h5")[0] for r in (first, again))
    assert one["params/fc1/weight"].shape[0] == 8
    assert all(np.array_equal(one[k], two[k]) for k in one)


def test_checkpoints_hold_parameters_statistics_and_history(config: Path) -> None:
    result = run(config, "checkpoint.keep_last=2")
    arrays, meta = read_snapshot(Path(result.run) / "checkpoints/last.h5")
    assert {k.split("/")[0] for k in arrays} == {"params", "state", "history", "transform"}
    assert arrays["history/0/fc1/weight"].shape == arrays["params/fc1/weight"].shape
    assert np.abs(arrays["history/0/fc1/weight"]).max() > 0
    assert meta["kind"] == "checkpoint"
    assert (meta["iteration"], meta["position"]["epoch"], meta["position"]["batch"]) == (33, 2, 11)
    assert meta["position"]["best"] == result.best["val/accuracy"]
    assert sorted(p.name for p in (Path(result.run) / "checkpoints").glob("step-*")) == [
        "step-00000022.h5",
        "step-00000033.h5",
    ]


def test_best_is_chosen_by_val_and_scored_once_on_test(config: Path) -> None:
    result = run(config, "checkpoint.monitor=val/loss", "solver.lr=1.5", "solver.schedule=fixed")
    losses = [r["val/loss"] for r in rows_of(result) if "val/loss" in r]
    assert result.best["val/loss"] == min(losses)
    _, meta = read_snapshot(weights_of(result.run))
    assert meta["iteration"] == 11 * (1 + losses.index(min(losses)))
    net = Net(Config.load(Path(result.run) / "config.resolved.yaml"))
    net.load(weights_of(result.run))
    from layerforge.data.opening import open_data

    loaded = open_data(net.config.data, seed=0, dtype="float32")
    assert evaluate(net, loaded.test.epoch(0))["loss"] == pytest.approx(result.test["test/loss"], rel=1e-6)


def test_metrics_are_aggregated_by_true_counts(config: Path) -> None:
    """130 samples in batches of 50, 50 and 30 give what one batch of 130 gives."""
    values = [run(config, f"data.val.batch_size={n}", "train.max_steps=5").final for n in (50, 130, 1)]
    for other in values[1:]:
        assert other["val/accuracy"] == pytest.approx(values[0]["val/accuracy"], abs=1e-7)
        assert other["val/loss"] == pytest.approx(values[0]["val/loss"], rel=1e-5)


def test_accumulated_batches_are_one_big_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With dropout: masks belong to samples. Without BatchNorm, whose statistics are those of the micro-batch."""
    monkeypatch.chdir(tmp_path)
    text = DATA + NET.replace("  - {name: bn1,  type: BatchNorm}\n", "") + REST
    path = write(tmp_path, "dtype: float64\n" + text)
    whole = run(path, "data.train.batch_size=96")
    parts = run(path, "data.train.batch_size=32", "train.accumulate_grad_batches=3")
    assert whole.steps == parts.steps == 12  # 330 = 3 * 96 + 42 samples an epoch; the last group is 32 + 10
    one, two = (read_snapshot(Path(r.run) / "checkpoints/last.h5")[0] for r in (whole, parts))
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-9, atol=1e-12)


def test_max_steps_ends_a_run_early(config: Path) -> None:
    result = run(config, "train.max_steps=7")
    assert result.steps == 7
    assert [r["step"] for r in rows_of(result) if "val/loss" in r] == [7]


def test_training_without_val_and_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data = 'data: {train: {type: Digits, split: "train[:64]", batch_size: 32}}\n'
    result = train(write(tmp_path, data + NET + REST))
    assert result.status == "finished"
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert lines and all("train/loss" in line and "val/" not in line for line in lines)
    assert f"train/loss {result.final['train/loss']:.4f}" in lines[-1]
    assert result.test == {}
    assert (Path(result.run) / "checkpoints/last.h5").exists()


def test_plateau_lowers_lr_from_the_val_metric(config: Path) -> None:
    result = run(
        config, "solver.schedule={type: plateau, patience: 0, factor: 0.1, monitor: val/loss, mode: max}"
    )  # a falling loss never improves upwards
    rates = [r["lr"] for r in rows_of(result) if "lr" in r]
    assert rates[0] == 0.05
    assert rates[-1] < 0.05


# Things that go wrong -----------------------------------------------------------------------------------------------


def test_divergence_keeps_the_folder_and_says_so(config: Path) -> None:
    with pytest.raises(DivergedError, match="diverged at iteration") as caught:
        run(config, "solver.lr=1e38", "solver.schedule=fixed")
    assert caught.value.exit_code == 4
    folder = find_run("runs/small")
    assert folder is not None
    assert (folder.path / "STATUS").read_text() == "diverged\n"
    assert json.loads((folder.path / "summary.json").read_text())["exit_code"] == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (NET + REST, "training needs a 'data' section"),
        (DATA + NET, "training needs a 'solver' section"),
        (DATA + NET + REST + "checkpoint: {monitor: val/acuracy}\n", "no metric 'val/acuracy'"),
        (DATA + NET.replace("bottom: image", "bottom: imaeg") + REST, "bottom 'imaeg' is not produced"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        run(write(tmp_path, text))
    assert not (tmp_path / "runs").exists()


def test_labels_out_of_range_stop_the_run_with_exit_3(config: Path) -> None:
    from layerforge.schema.errors import LayerError

    np.savez("d.npz", **Digits(split="train[:64]").load())  # a set that does not say how many classes it has
    with pytest.raises(LayerError, match="out of range for 5 classes") as caught:
        run(config, "net.fc2.out_features=5", "data={train: {type: NPZ, path: d.npz, batch_size: 32}}")
    assert caught.value.exit_code == 3
    folder = find_run("runs/small")
    assert folder is not None
    assert (folder.path / "STATUS").read_text() == "failed\n"


def test_an_output_folder_that_cannot_be_made(config: Path) -> None:
    Path("occupied").write_text("a file")
    with pytest.raises(DataError, match="cannot make"):
        run(config, "train.output_dir=occupied")


def test_the_fallback_cannot_be_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAYERFORGE_OFFLINE", "1")
    monkeypatch.setenv("LAYERFORGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LAYERFORGE_DATA", raising=False)
    data = DATA.replace("Digits", "MNIST") + "  fallback: {type: Digits}\n"
    result = train(write(tmp_path, data + NET + REST), console=Console(progress="off"))
    said = capsys.readouterr()
    assert "MNIST" in said.err
    assert "!!!!!" in said.err
    assert "Digits" in said.out.splitlines()[-1]
    folder = Path(result.run)
    assert "Digits" in (folder / "train.log").read_text()
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["data"]["fallback"] is True
    assert "Digits" in summary["data"]["notice"]
    resolved = (folder / "config.resolved.yaml").read_text()
    assert "MNIST" not in resolved.replace("small", "")
    assert "type: Digits" in resolved


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_after_the_step_and_saves(config: Path, number: int, code: int) -> None:
    command = [sys.executable, "-m", "layerforge", "train", str(config), "train.epochs=100000", "--progress=off"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = Path("runs/small/latest/metrics.jsonl")
    deadline = time.monotonic() + 60
    while not (log.exists() and log.read_text().count("\n") > 2):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert Path("runs/small/latest/STATUS").read_text() == "interrupted\n"
    _, meta = read_snapshot(Path("runs/small/latest/checkpoints/last.h5"))
    summary = json.loads(Path("runs/small/latest/summary.json").read_text())
    assert meta["iteration"] == summary["steps"] > 0
