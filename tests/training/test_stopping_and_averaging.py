"""Early stopping, averaged weights, metrics of layers, overfitting on purpose: alone, and killed and resumed."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.killing import Killed, killed

from layerforge import Net, train
from layerforge.cli import main
from layerforge.config.document import Config
from layerforge.inference.trained import open_trained
from layerforge.schema.errors import ConfigError
from layerforge.snapshot import read_snapshot
from layerforge.solvers.solver import Solver
from layerforge.training.averaging import Average
from layerforge.training.console import Console
from layerforge.training.evaluation import Scores

CONFIG = """\
name: small
data:
  train: {type: Digits, split: "train[:330]", batch_size: 32, augment: {shift: 2}}
  val:   {type: Digits, split: "train[1000:1130]", batch_size: 50}
net:
  - {name: flat, type: Flatten, bottom: image}
  - {name: fc1,  type: Linear, out_features: 16}
  - {name: bn1,  type: BatchNorm}
  - {name: act1, type: ReLU}
  - {name: drop, type: Dropout, p: 0.2}
  - {name: fc2,  type: Linear, out_features: 10}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc2, label]}
  - {name: accuracy, type: Accuracy, bottom: [fc2, label], phase: eval}
solver: {type: Adam, lr: 0.02}
train: {epochs: 4, log_every: 4, eval_every: {steps: 6}}
checkpoint: {every: {steps: 5}}
"""
STOPS = "train.early_stopping={patience: 2, monitor: val/loss, min_delta: 0.02}"
AVERAGES = "train.ema_decay=0.9"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(CONFIG)
    return tmp_path


def run(*overrides: str, **options: Any) -> Any:
    return train("small.yaml", overrides, console=Console(progress="off", quiet=True), **options)


def rows_of(run: str | Path) -> dict[tuple[int, bool], dict[str, Any]]:
    """The last segment's row for each step, without times."""
    rows = {}
    for line in (Path(run) / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        timeless = {k: v for k, v in row.items() if k not in ("seconds", "time/step_ms", "run_segment")}
        rows[row["step"], "lr" in row] = timeless
    return rows


def state_of(run: str | Path, name: str = "last.h5") -> dict[str, np.ndarray]:
    return read_snapshot(Path(run) / "checkpoints" / name)[0]


def assert_same(one: str | Path, two: str | Path) -> None:
    for name in ("last.h5", "best.h5"):
        a, b = state_of(one, name), state_of(two, name)
        assert set(a) == set(b)
        assert all(np.array_equal(a[k], b[k]) for k in a)
    assert rows_of(one) == rows_of(two)


# Early stopping -----------------------------------------------------------------------------------------------------


def test_a_run_stops_early_and_says_why() -> None:
    result = run("train.epochs=50", STOPS)
    losses = [row["val/loss"] for (_, training), row in rows_of(result.run).items() if not training]
    assert (result.status, result.exit_code) == ("finished", 0)
    assert result.reason.startswith("early stopping: val/loss has not improved for 2 evaluations (best ")
    assert result.steps == 6 * len(losses) < 50 * 11
    assert min(losses[:-2]) - min(losses[-2:]) <= 0.02
    assert state_of(result.run, "best.h5") is not None
    assert json.loads((Path(result.run) / "summary.json").read_text())["reason"] == result.reason
    assert (Path(result.run) / "STATUS").read_text() == "finished\n"


def test_the_steps_before_the_end_are_logged_too() -> None:
    result = run("train.epochs=50", "train.log_every=1000", STOPS)
    trained = [row for (_, training), row in rows_of(result.run).items() if training]
    assert [row["step"] for row in trained] == [result.steps]
    assert np.isfinite(trained[0]["train/loss"])


@pytest.mark.parametrize(
    ("values", "mode", "min_delta", "steps"),
    [
        ([3, 2, 1, 1, 1, 1], "min", 0, 5),
        ([3, 2, 1, 0.5, 0.2, 0.1], "min", 1.0, 5),
        ([1, 2, 3, 3, 2, 4], "max", 0, 5),
        ([1, float("nan"), 2, float("nan"), float("nan"), 9], "max", 0, 5),
        ([float("nan")] * 6, "min", 0, 2),
    ],
    ids=str,
)
def test_when_it_stops(
    monkeypatch: pytest.MonkeyPatch, values: list[float], mode: str, min_delta: float, steps: int
) -> None:
    """With patience 2: after the second evaluation in a row that is no improvement by more than min_delta."""
    told = iter(values)
    names = ("loss", "accuracy")
    monkeypatch.setattr("layerforge.training.loop.score_all", lambda *_: Scores(dict.fromkeys(names, next(told))))
    stopping = f"train.early_stopping={{patience: 2, mode: {mode}, min_delta: {min_delta}, monitor: val/loss}}"
    assert run("train.eval_every={steps: 1}", stopping, "train.max_steps=6").steps == steps


def test_the_metric_is_that_of_the_best_checkpoint_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter([0.5, 0.4, 0.3, 0.2])
    monkeypatch.setattr("layerforge.training.loop.score_all", lambda *_: Scores({"loss": 1.0, "accuracy": next(told)}))
    result = run("train.eval_every={steps: 1}", "train.early_stopping={patience: 2}", "train.max_steps=4")
    assert result.steps == 3
    assert "val/accuracy" in result.reason


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.early_stopping={monitor: val/los}", "there is no metric 'val/los'"),
        ("train.early_stopping={patience: 0}", "patience must be >= 1"),
        ("train.early_stopping={min_delta: -1}", "min_delta must be >= 0"),
        ("train.early_stopping={mode: up}", "mode must be one of min, max"),
        ("train.early_stopping={threshold: 1}", "did you mean 'min_delta'"),
        ("train.early_stopping=3", "early_stopping must be"),
        ("train.ema_decay=1", "ema_decay must be < 1"),
        ("train.ema=0.9", "did you mean 'ema_decay'"),
        ("train.on_nan=skip", "did you mean 'on_nonfinite'"),
        ("train.on_nonfinite=skp", "on_nonfinite must be one of stop, skip, ignore"),
        ("train.callbacks=x", "unknown key 'callbacks'"),
        ("train.track_grad_norm=true", "did you mean 'log_layers'"),
        ("train.overfit_batches=12", "an epoch has 11 batches"),
    ],
)
def test_bad_values(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run(override)
    assert message in str(caught.value)
    assert not Path("runs").exists()


def test_early_stopping_needs_val_data() -> None:
    text = "".join(line for line in CONFIG.splitlines(keepends=True) if "val:" not in line)
    Path("small.yaml").write_text(text)
    with pytest.raises(ConfigError, match="no val data"):
        run(STOPS)


def test_a_run_that_stopped_early_stays_stopped() -> None:
    first = run("train.epochs=50", STOPS)
    again = run("train.epochs=50", STOPS, resume_from=first.run)
    assert (again.steps, again.reason) == (first.steps, first.reason)
    patient = STOPS.replace("patience: 2", "patience: 3")
    more = run("train.epochs=50", patient, resume_from=first.run, allow_config_change=True)
    assert more.steps > first.steps


# Averages -----------------------------------------------------------------------------------------------------------


def test_the_average_is_the_weighted_mean_of_all_weights() -> None:
    net = Net.from_config(
        {
            "dtype": "float64",
            "inputs": {"x": {"shape": [8, 3]}, "t": {"shape": [8, 2]}},
            "net": [
                {"name": "fc", "type": "Linear", "out_features": 2, "bottom": "x"},
                {"name": "bn", "type": "BatchNorm"},
                {"name": "loss", "type": "MSELoss", "bottom": ["bn", "t"]},
            ],
        }
    )
    rng = np.random.default_rng(0)
    solver, average, decay = Solver(net, lr=0.1), Average(net, 0.8), 0.8
    weights, means = [], []
    for _ in range(7):
        solver.step(x=rng.normal(size=(8, 3)), t=rng.normal(size=(8, 2)))
        average.update(solver.updates)
        weights.append(net.parameters.data.copy())
        means.append(net.state["bn"]["running_mean"].copy())
    factors = decay ** np.arange(6, -1, -1.0)
    expected = sum(f * w for f, w in zip(factors, weights, strict=True)) / factors.sum()
    np.testing.assert_allclose(average.flat, expected, rtol=1e-13, atol=1e-15)
    expected = sum(f * m for f, m in zip(factors, means, strict=True)) / factors.sum()
    np.testing.assert_allclose(average.state["bn", "running_mean"], expected, rtol=1e-13, atol=1e-15)


def test_the_first_average_is_the_first_weights() -> None:
    arrays = state_of(run("train.max_steps=1", AVERAGES).run)
    assert np.array_equal(arrays["params/fc1/weight"], arrays["training/params/fc1/weight"])


def test_training_does_not_see_the_average() -> None:
    plain, averaged = (state_of(run(*more).run) for more in ((), (AVERAGES,)))
    own = {k.removeprefix("training/"): v for k, v in averaged.items() if k.startswith("training/")}
    assert set(own) == {k for k in plain if k.startswith(("params/", "state/"))}
    assert all(np.array_equal(own[k], plain[k]) for k in own)
    assert not np.array_equal(averaged["params/fc1/weight"], plain["params/fc1/weight"])
    assert not np.array_equal(averaged["state/bn1/running_mean"], plain["state/bn1/running_mean"])


def test_evaluations_and_everything_after_use_the_average(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(AVERAGES, "solver.lr=0.1")
    trained = open_trained(result.run, [], str(Path(result.run) / "checkpoints/last.h5"), False)
    arrays = state_of(result.run)
    assert np.array_equal(trained.net.params["fc1"]["weight"].data, arrays["params/fc1/weight"])
    last = rows_of(result.run)[44, False]
    capsys.readouterr()
    assert main(["eval", result.run, "--weights", f"{result.run}/checkpoints/last.h5", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["val/loss"] == pytest.approx(last["val/loss"], rel=1e-6)
    assert last["val/loss"] != rows_of(run("solver.lr=0.1").run)[44, False]["val/loss"]


def test_a_skipped_step_does_not_move_the_average() -> None:
    data = np.random.default_rng(0).normal(size=(8, 3))
    data[4:] = 1e39  # the second batch
    np.savez("data.npz", x=data, t=np.zeros((8, 2)))
    config = {
        "data": {"train": {"type": "NPZ", "path": "data.npz", "batch_size": 4, "shuffle": False}},
        "net": [
            {"name": "fc", "type": "Linear", "out_features": 2, "bottom": "x"},
            {"name": "loss", "type": "MSELoss", "bottom": ["fc", "t"]},
        ],
        "solver": {"lr": 0.1},
        "train": {"epochs": 1, "ema_decay": 0.5, "on_nonfinite": "skip"},
    }
    whole = train(config, console=Console(progress="off", quiet=True))
    half = train(config, ["train.max_steps=1"], console=Console(progress="off", quiet=True))
    a, b = state_of(whole.run), state_of(half.run)
    assert whole.nonfinite == 1
    assert all(np.array_equal(a[k], b[k]) for k in a)


# Layers -------------------------------------------------------------------------------------------------------------


def test_metrics_of_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, np.ndarray]] = []
    update = Solver.update

    def watching(self: Solver, **options: Any) -> None:
        before = {k: v.copy() for k, v in self.net.arrays().items()}
        update(self, **options)
        after = self.net.arrays()
        grads = {
            f"{layer}/{name}": self.average * self.net.params[layer][name].grad
            for layer in self.net.params
            for name in self.net.params[layer]
        }
        seen.append({"before": before, "after": {k: v.copy() for k, v in after.items()}, "grads": grads})

    monkeypatch.setattr(Solver, "update", watching)
    result = run("train.log_layers=true", "train.max_steps=9")
    rows = [row for (_, training), row in rows_of(result.run).items() if training]
    assert [row["step"] for row in rows] == [4, 8, 9]
    for row in rows:
        step = seen[row["step"] - 1]
        for layer in ("fc1", "bn1", "fc2"):
            parts = [f"params/{layer}/{name}" for name in ("weight", "bias")]
            old = np.sqrt(sum((step["before"][p].astype(float) ** 2).sum() for p in parts))
            moved = np.sqrt(sum(((step["after"][p] - step["before"][p]).astype(float) ** 2).sum() for p in parts))
            grad = np.sqrt(sum((step["grads"][f"{layer}/{n}"].astype(float) ** 2).sum() for n in ("weight", "bias")))
            assert row[f"update_ratio/{layer}"] == pytest.approx(moved / old, rel=1e-5)
            assert row[f"grad_norm/{layer}"] == pytest.approx(grad, rel=1e-5)
        together = np.sqrt(sum(row[f"grad_norm/{layer}"] ** 2 for layer in ("fc1", "bn1", "fc2")))
        assert together == pytest.approx(row["grad_norm"], rel=1e-5)
    header = (Path(result.run) / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"grad_norm/fc1", "update_ratio/fc2"} <= set(header)


def test_without_log_layers_there_are_no_such_columns() -> None:
    result = run("train.max_steps=4")
    assert not [k for row in rows_of(result.run).values() for k in row if "/fc" in k]


# Overfitting --------------------------------------------------------------------------------------------------------


def test_overfitting_learns_a_batch_by_heart(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "small.yaml", "--overfit-batches", "1", "train.epochs=20", "net.drop.p=0", "--progress", "off"]
    assert main([*words, "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["final"]["train/loss"] < 0.05
    assert "the same 32 samples again and again" in said.err


def test_overfitting_repeats_the_first_batches_of_the_first_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    def fed(*overrides: str) -> list[np.ndarray]:
        batches: list[np.ndarray] = []
        accumulate = Solver.accumulate

        def noting(self: Solver, **batch: Any) -> float:
            batches.append(np.array(batch["image"]))
            return accumulate(self, **batch)

        with monkeypatch.context() as patch:
            patch.setattr(Solver, "accumulate", noting)
            run("train.epochs=2", *overrides)
        return batches

    usual, same = fed(), fed("train.overfit_batches=2")
    assert len(usual) == len(same) == 22
    assert all(np.array_equal(same[k], usual[k % 11 % 2]) for k in range(22))


# Killed and resumed -------------------------------------------------------------------------------------------------


EVERYTHING = ("train.epochs=50", STOPS, AVERAGES, "train.log_layers=true")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A run that nobody kills: why it ended, and its folder."""
    place = tmp_path_factory.mktemp("whole")
    with contextlib.chdir(place):
        Path("small.yaml").write_text(CONFIG)
        result = run("name=whole", *EVERYTHING)
    assert result.steps > 30
    return result.reason, place / result.run


@pytest.mark.parametrize("step", [5, 7, 12, 23, 29])
def test_resumed_with_early_stopping_and_averages(
    monkeypatch: pytest.MonkeyPatch, whole: tuple[str, Path], step: int
) -> None:
    reason, folder = whole
    broken = killed(monkeypatch, step, *EVERYTHING)
    resumed = run(*EVERYTHING, resume_from=broken)
    assert resumed.reason == reason
    assert_same(folder, broken)


def test_resumed_where_it_had_just_decided_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    more = ("train.epochs=50", STOPS, AVERAGES)
    whole = run("name=whole", *more)
    with monkeypatch.context() as patch:  # dies after the last checkpoint and before the summary
        patch.setattr("layerforge.training.loop.warn", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            run(*more)
    broken = Path("runs/small/latest").resolve()
    assert run(*more, resume_from=broken).reason == whole.reason
    assert_same(whole.run, broken)


def test_averages_may_come_and_go_on_resume() -> None:
    """With --allow-config-change: the weights that training goes on with are always its own."""
    first = run("train.max_steps=20", "solver.schedule=fixed", AVERAGES)
    own = state_of(first.run)["training/params/fc1/weight"]
    kept = Path(first.run) / "checkpoints/last.h5"
    content = kept.read_bytes()
    still = ("train.max_steps=21", "solver.lr=1e-30", "solver.schedule=fixed")
    run(*still, resume_from=first.run, allow_config_change=True)
    arrays = state_of(first.run)
    np.testing.assert_allclose(arrays["params/fc1/weight"], own, atol=1e-7)
    assert not [k for k in arrays if k.startswith("training/")]
    kept.write_bytes(content)
    run(*still, AVERAGES, resume_from=first.run, allow_config_change=True)
    np.testing.assert_allclose(state_of(first.run)["training/params/fc1/weight"], own, atol=1e-7)


def test_verify_resume_with_everything(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train.epochs=12", STOPS, AVERAGES, "train.on_nonfinite=skip", "--kills", "2"]
    assert main(["verify", "resume", "small.yaml", *words]) == 0
    assert "the same bits" in capsys.readouterr().out


def test_all_of_it_is_in_the_resolved_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "small.yaml", STOPS, AVERAGES]) == 0
    out = capsys.readouterr().out
    keys = ("on_nonfinite", "early_stopping", "ema_decay", "log_layers", "overfit_batches", "patience", "min_delta")
    assert all(key in out for key in keys)
    Path("again.yaml").write_text(out)
    again = Config.load("again.yaml")
    assert not again.errors
    assert again.train.early_stopping is not None
    assert (again.train.early_stopping.patience, again.train.early_stopping.min_delta) == (2, 0.02)


def test_a_table_keeps_its_columns_when_the_resumed_run_has_more() -> None:
    first = run("train.max_steps=4", "solver.schedule=fixed")
    more = ("train.max_steps=8", "solver.schedule=fixed", "train.log_layers=true")
    run(*more, resume_from=first.run, allow_config_change=True)
    header, *lines = (Path(first.run) / "metrics.csv").read_text().splitlines()
    assert {line.count(",") for line in lines} == {header.count(",")}
    assert "grad_norm/fc1" not in header
    assert rows_of(first.run)[8, True]["grad_norm/fc1"] > 0


def test_verify_resume_with_skipped_steps(capsys: pytest.CaptureFixture[str]) -> None:
    """Rows that say nan are the same in both runs."""
    data = np.random.default_rng(0).normal(size=(60, 3))
    data[20:24] = 1e39
    np.savez("data.npz", x=data, t=np.zeros((60, 2)))
    Path("skips.yaml").write_text(
        "data: {train: {type: NPZ, path: data.npz, batch_size: 4}}\n"
        "net:\n"
        "  - {name: fc, type: Linear, out_features: 2, bottom: x}\n"
        "  - {name: loss, type: MSELoss, bottom: [fc, t]}\n"
        "solver: {type: Adam, lr: 0.01}\n"
        "train: {epochs: 40, log_every: 1, on_nonfinite: skip}\n"
        "checkpoint: {every: {steps: 7}}\n"
    )
    assert main(["verify", "resume", "skips.yaml", "--kills", "1"]) == 0
    assert "the same bits" in capsys.readouterr().out
