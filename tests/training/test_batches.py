"""Batches that a net will not take are seen before the first step; what was trained before a failure is saved."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.data_files import write_mnist

from layerforge import train
from layerforge.cli import main
from layerforge.data.arrays import Arrays
from layerforge.schema.errors import ConfigError
from layerforge.schema.registry import SOURCES
from layerforge.snapshot import read_snapshot
from layerforge.solvers.solver import Solver
from layerforge.solvers.updater import Updater
from layerforge.training.batches import sizes_of
from layerforge.training.console import Console
from layerforge.training.rundir import read_metrics

CONFIG = """\
name: small
data:
  train: {type: NPZ, path: d.npz, batch_size: 8}
  val: {type: NPZ, path: v.npz, batch_size: 8}
net:
  - {name: bn,   type: BatchNorm, bottom: x}
  - {name: fc,   type: Linear, out_features: 3}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, t]}
solver: {lr: 0.1}
train: {epochs: 2}
"""


def write(train: int = 41, val: int = 17) -> None:
    rng = np.random.default_rng(0)
    for name, count in (("d", train), ("v", val)):
        np.savez(f"{name}.npz", x=rng.normal(size=(count, 5)).astype("f4"), t=rng.integers(0, 3, count))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(CONFIG)
    write()
    return tmp_path


def run(*overrides: str, **options: Any) -> Any:
    return train("small.yaml", overrides, console=Console(progress="off", quiet=True), **options)


COMMANDS = [["check"], ["train", "--progress=off", "-q"], ["train", "--dry-run"]]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("more", [[], ["train.accumulate_grad_batches=4"], ["train.max_steps=6"]])
def test_a_last_batch_that_a_layer_refuses(
    command: list[str], more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command[0], "small.yaml", *command[1:], *more]) == 2
    said = capsys.readouterr().err
    assert "the last batch of data.train has 1 of its 41 samples (batch_size 8)" in said
    assert "layer 'bn' (BatchNorm)" in said
    assert "small.yaml:6:" in said
    assert "data.train.drop_last: true" in said
    assert not Path("runs").exists()


FIXES = ["data.train.drop_last=true", "data.train.batch_size=9", "train.max_steps=5", "net.bn.use_running_stats=true"]


@pytest.mark.parametrize("fix", [*FIXES, "train.overfit_batches=5"])
def test_what_does_not_meet_it_is_not_refused(fix: str) -> None:
    assert main(["check", "small.yaml", fix, "-q"]) == 0
    assert run(fix).status == "finished"


def test_val_is_looked_at_in_eval(capsys: pytest.CaptureFixture[str]) -> None:
    write(40)
    assert main(["check", "small.yaml", "-q"]) == 0, "running statistics need no batch"
    more = "net.bn.track_running_stats=false"
    assert main(["check", "small.yaml", "-q", more]) == 2
    assert "the last batch of data.val has 1 of its 17 samples" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"the last batch of data\.val"):
        run(more)


def test_a_setup_that_refuses_a_small_batch(capsys: pytest.CaptureFixture[str]) -> None:
    net = Path("small.yaml").read_text().replace("{name: bn,   type: BatchNorm, bottom: x}", PAIRS)
    Path("small.yaml").write_text(net)
    assert main(["check", "small.yaml"]) == 2
    assert "the last batch of data.train has 1 of its 41 samples" in capsys.readouterr().err


PAIRS = """{name: two, type: Slice, bottom: x, dim: 0, points: [2], top: [x1, x2]}
  - {name: bn, type: Concat, dim: 0, bottom: [x1, x2]}"""


def test_a_batch_size_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "small.yaml", "data.train.batch_size=1", "--progress=off"]) == 2
    assert "the net does not take a batch of data.train, of 1 samples" in capsys.readouterr().err


def test_the_sizes_of_an_epoch() -> None:
    class Fed:
        batch_size, drop_last = 8, False

    feed: Any = Fed()
    assert sizes_of(feed, 41) == [8, 1]
    assert sizes_of(feed, 40) == [8]
    assert sizes_of(feed, 5) == [5]
    assert sizes_of(feed, 41, most=5) == [8]
    assert sizes_of(feed, 41, most=6) == [8, 1]
    feed.drop_last = True
    assert sizes_of(feed, 41) == [8]


# Failures in the middle -----------------------------------------------------------------------------------------------


class Fails:
    """A hook that fails after a step."""

    def on_step_end(self, run: Any) -> None:
        if run.step == 3:
            raise ValueError("no")


def weights(path: str | Path) -> dict[str, np.ndarray]:
    return read_snapshot(Path(path) / "checkpoints/last.h5")[0]


def test_what_was_trained_before_a_failure_is_saved(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the middle of a step of several batches: afterwards everything is as if it had not begun."""
    fine = ("data.train.batch_size=9", "train.accumulate_grad_batches=2")
    whole = run(*fine, "name=whole")
    accumulate, calls = Solver.accumulate, []

    def failing(self: Solver, **batch: Any) -> float:
        calls.append(1)
        loss = accumulate(self, **batch)
        if len(calls) == 9:
            self._abandon()  # as an error in a layer does
            raise RuntimeError("a layer went wrong")
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(Solver, "accumulate", failing)
        assert main(["train", "small.yaml", *fine, "--progress=off"]) == 1
    run_folder = Path("runs/small/latest").resolve()
    assert (run_folder / "STATUS").read_text() == "failed\n"
    meta = read_snapshot(run_folder / "checkpoints/last.h5")[1]
    assert meta["failure"] == "a layer went wrong"
    assert meta["iteration"] == json.loads((run_folder / "summary.json").read_text())["steps"] > 0
    assert "what was trained is saved" in capsys.readouterr().err
    assert main(["train", "small.yaml", *fine, "--resume", "--progress=off"]) == 0
    assert "the run had failed there: a layer went wrong" in capsys.readouterr().err
    one, two = weights(whole.run), weights(run_folder)
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert "failure" not in read_snapshot(run_folder / "checkpoints/last.h5")[1]


def test_a_hook_that_fails() -> None:
    with pytest.raises(Exception, match="no"):
        run("data.train.batch_size=9", hooks=[Fails()])
    assert read_snapshot(Path("runs/small/latest/checkpoints/last.h5"))[1]["iteration"] == 3


def test_half_an_update_is_not_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    update = Updater.update

    def failing(self: Updater, lr: float, factor: float, bound: float | None, number: int) -> None:
        update(self, lr, factor, bound, number)
        if number == 4:
            raise MemoryError

    monkeypatch.setattr(Updater, "update", failing)
    with pytest.raises(MemoryError):
        run("data.train.batch_size=9")
    assert not Path("runs/small/latest/checkpoints/last.h5").exists()


# Metrics of short epochs ----------------------------------------------------------------------------------------------


def test_the_loss_of_a_short_epoch_is_its_own() -> None:
    """The epochs are shorter than the rows of metrics are apart."""
    more = ("data.train.batch_size=9", "train.epochs=3")
    every = run(*more, "train.log_every=1", "name=every")
    losses = [row["train/loss"] for row in read_metrics(every.run) if "lr" in row]
    shown: list[float] = []

    class Shows:
        def on_eval_end(self, run: Any, values: Any) -> None:
            shown.append(run.latest["train/loss"])

    run(*more, "train.log_every=50", hooks=[Shows()])
    for epoch, loss in enumerate(shown[:2]):
        mean = np.average(losses[5 * epoch : 5 * epoch + 5], weights=[9, 9, 9, 9, 5])
        assert loss == pytest.approx(mean, rel=1e-6)


def test_the_loss_beside_an_evaluation_is_not_stale(capsys: pytest.CaptureFixture[str]) -> None:
    more = ["data.train.batch_size=9", "train.eval_every={steps: 1}", "train.log_every=4", "train.epochs=1"]
    assert main(["train", "small.yaml", "--progress=off", "-q", *more]) == 0
    shown = [line.split("train/loss")[1].split()[0] for line in capsys.readouterr().out.splitlines() if "step" in line]
    assert len(shown) == len(set(shown)) == 5


# The sizes of all sources that know theirs ----------------------------------------------------------------------------

X = np.random.default_rng(0).normal(size=(41, 5)).astype("f4")
T = np.arange(41) % 3
TEXT = "abc" * 60
SOURCES_OF_41 = {
    "CSV": "{type: CSV, path: d.csv, label: t, batch_size: 8}",
    "Pairs": "{type: Pairs, source: {type: NPZ, path: d.npz}, label: t, pairs: 41, batch_size: 8}",
    "MNIST": '{type: MNIST, split: "train[:41]", batch_size: 8}',
    "CIFAR10": '{type: CIFAR10, split: "train[:41]", batch_size: 8}',
}


@pytest.mark.parametrize("name", SOURCES_OF_41)
def test_every_source_that_knows_its_size_is_held_against_the_net(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable in ("LAYERFORGE_DATA", "LAYERFORGE_CACHE"):
        monkeypatch.setenv(variable, str(folder / "nothing"))
    monkeypatch.setenv("LAYERFORGE_OFFLINE", "1")
    Path("d.csv").write_text("\n".join(["a,b,t", *(f"{x[0]},{x[1]},{t}" for x, t in zip(X, T, strict=True))]) + "\n")
    bottom = {"CSV": "x", "Pairs": "x_a"}.get(name, "image")
    source = SOURCES_OF_41[name].strip("{}")
    Path("small.yaml").write_text(
        f"data: {{train: {{{source}}}}}\nnet:\n  - {{name: flat, type: Flatten, bottom: {bottom}}}\n"
        "  - {name: fc, type: Linear, out_features: 3}\n  - {name: bn, type: BatchNorm}\n"
        "  - {name: loss, type: Sum, loss_weight: 1}\nsolver: {lr: 0.1}\ntrain: {epochs: 1}\n"
    )
    assert main(["check", "small.yaml", "-q"]) == 2
    assert "the last batch of data.train has 1 of its 41 samples (batch_size 8)" in capsys.readouterr().err


@pytest.mark.parametrize(("length", "stride"), [(4, None), (4, 3), (7, 9), (164, None)])
def test_the_windows_of_a_text_are_counted_as_they_are_cut(folder: Path, length: int, stride: int | None) -> None:
    Path("t.txt").write_text(TEXT)
    values = {"path": str(folder / "t.txt"), "sequence_length": length, "stride": stride, "split": "all[:165]"}
    source = SOURCES.get("Text").from_config(values)
    assert source.count_samples() == len(source.load()["x"])


def test_arrays_know_their_size() -> None:
    source = Arrays(arrays={"x": X, "t": T}, split="all[1:]")
    assert source.count_samples() == 40 == len(source.load()["x"])


def test_a_public_set_that_is_here_counts_as_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(folder / "here" / "mnist")
    monkeypatch.setenv("LAYERFORGE_DATA", str(folder / "here"))
    source = SOURCES.get("MNIST").from_config({"split": "train[:15]"})
    assert (source.count("train"), source.count_samples(), len(source.load()["label"])) == (20, 15, 15)
    monkeypatch.setenv("LAYERFORGE_DATA", str(folder / "nothing"))
    monkeypatch.setenv("LAYERFORGE_CACHE", str(folder / "nothing"))
    assert (source.count_samples(), source.count_samples(fetched=True)) == (None, 15)


WHOLES = {
    "a ratio of sums": (
        "  - {name: num, type: SumSquare, bottom: fc}\n  - {name: den, type: AbsSum, bottom: fc}\n"
        "  - {name: ratio, type: Div, bottom: [num, den], loss_weight: 1}\n",
        r"'ratio' \(Div\) is not linear in 'num', 'den'",
    ),
    "a sum of a mean and a sum": (
        "  - {name: sum, type: AbsSum, bottom: fc}\n"
        "  - {name: both, type: Add, bottom: [loss, sum], loss_weight: 1}\n",
        "'both' puts losses together that are means over different counts",
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", WHOLES)
def test_losses_that_do_not_add_up_are_told_before_the_first_step(
    folder: Path, capsys: pytest.CaptureFixture[str], command: list[str], kind: str
) -> None:
    layers, why = WHOLES[kind]
    (folder / "small.yaml").write_text(CONFIG.replace("solver:", f"{layers}solver:"))
    write(train=40)
    told = []
    for parts in (1, 2):
        code = main([*command, "small.yaml", f"train.accumulate_grad_batches={parts}", "train.max_steps=2"])
        told.append((code, re.sub(r"\s+", " ", capsys.readouterr().err)))
    assert told[0][0] == 0 and told[1][0] == 2
    assert re.search(f"{why}.*micro-batches of it do not add up to the whole batch", told[1][1])
    assert main([*command, "small.yaml", "train.accumulate_grad_batches=2", "data.train.batch_size=40"]) == 0


@pytest.mark.parametrize("kind", WHOLES)
def test_a_ragged_evaluation_of_them_is_warned_of(folder: Path, kind: str) -> None:
    layers, why = WHOLES[kind]
    (folder / "small.yaml").write_text(CONFIG.replace("solver:", f"{layers}solver:"))
    write(train=40)
    with pytest.warns(UserWarning, match=f"{why}.*depends on the batches"):
        run("train.epochs=1")
