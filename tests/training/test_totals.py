"""Losses and metrics over several batches, and over the parts of a batch: each counts by what it is a mean over."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge import Layer, Net, Solver, register, train
from layerforge.arrays.spec import Spec
from layerforge.cli import main
from layerforge.config import Config
from layerforge.contract.layer import Example
from layerforge.debug.verify_batch import verify_batch
from layerforge.run.counting import LossPart, Total
from layerforge.schema.errors import ConfigError
from layerforge.schema.registry import LAYERS
from layerforge.training.checkpoints import Position, Window
from layerforge.training.evaluation import evaluate, metric_names

SAMPLES, SIZES = 24, (24, 8, 5, 1)
FC = {"name": "fc", "type": "Linear", "out_features": 4, "bottom": "x"}
CE = {"name": "ce", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"], "ignore_index": -1}
MSE = {"name": "mse", "type": "MSELoss", "bottom": ["fc", "y"], "loss_weight": 0.5}
LABELS = {"shape": [6], "dtype": "int64"}
INPUTS = {"x": {"shape": [6, 3]}, "t": LABELS, "y": {"shape": [6, 4]}, "u": LABELS}


def net_of(*layers: dict[str, Any], **more: Any) -> Net:
    options = {"engine": "reference", "dtype": "float64", "inputs": INPUTS, **more}
    return Net.from_config({**options, "net": [FC, *layers]}, keep="none")


def data() -> dict[str, np.ndarray]:
    """Of the labels those at the beginning are ignored, all of some parts."""
    rng = np.random.default_rng(0)
    t = rng.integers(0, 4, SAMPLES)
    t[:9] = -1
    t[3] = 2
    return {"x": rng.normal(size=(SAMPLES, 3)), "t": t, "y": rng.normal(size=(SAMPLES, 4)), "u": abs(t)}


def pieces(size: int) -> list[dict[str, np.ndarray]]:
    whole = data()
    return [{n: a[i : i + size] for n, a in whole.items()} for i in range(0, SAMPLES, size)]


class Piece:
    """A batch as a loader gives it."""

    def __init__(self, blobs: dict[str, np.ndarray]) -> None:
        self.blobs = blobs


def scores(net: Net, size: int) -> dict[str, float]:
    return evaluate(net, [Piece(part) for part in pieces(size)])


LOSSES = {
    "one that ignores labels and one that does not": [CE, MSE],
    "class weights": [{**CE, "weight": [1.0, 0.2, 3.0, 0.5]}, MSE],
    "caffe's full": [{**CE, "normalization": "full"}, {**CE, "name": "other"}],
    "a sum": [CE, {**MSE, "reduction": "sum"}],
    "caffe's none": [CE, {**CE, "name": "other", "normalization": "none", "loss_weight": 0.1}],
    "single losses, unreduced": [CE, {**MSE, "reduction": "none"}],
    "single numbers of any layer": [CE, {"name": "sq", "type": "Square", "bottom": "fc", "loss_weight": 0.1}],
    "means of each sample": [CE, {"name": "m", "type": "Mean", "dim": 1, "bottom": "fc", "loss_weight": 0.1}],
    "means over samples": [CE, {"name": "m", "type": "Mean", "dim": 0, "bottom": "fc", "loss_weight": 1}],
    "norms of each sample": [CE, {"name": "n", "type": "Norm", "dim": 1, "bottom": "fc", "loss_weight": 0.1}],
    "means over the same, added": [
        {**CE, "ignore_index": None, "loss_weight": 0, "bottom": ["fc", "u"]},
        {**MSE, "loss_weight": 0},
        {"name": "both", "type": "Add", "bottom": ["ce", "mse"], "loss_weight": 1},
    ],
    "a mean times a parameter": [
        {**CE, "loss_weight": 0},
        {"name": "w", "type": "Parameter", "shape": [], "filler": {"type": "constant", "value": 2.0}},
        {"name": "timed", "type": "Mul", "bottom": ["ce", "w"], "loss_weight": 1},
        MSE,
    ],
    "focal and dice": [
        {**CE, "type": "FocalLoss", "alpha": [1.0, 0.2, 3.0, 0.5]},
        {"name": "dice", "type": "DiceLoss", "bottom": ["fc", "t"], "ignore_index": CE["ignore_index"], "smooth": 0.5},
    ],
    "a scaled mean": [{**CE, "loss_weight": 0}, {"name": "twice", "type": "MulScalar", "bottom": "ce"}, MSE],
}


@pytest.fixture(autouse=True)
def mul_scalar() -> Iterator[None]:
    """A function of a number, whose count is that of the number."""

    @register
    class MulScalar(Layer):
        """MulScalar: y = 2 x"""

        loss = True
        examples = [Example({}, [Spec((3, 2))])]

        def setup(self, x: Any) -> Any:
            return x

        def forward(self, x: Any) -> Any:
            return 2 * x

        def backward(self, dy: Any) -> Any:
            return 2 * dy

    yield
    LAYERS.remove("MulScalar")


WHOLE = {
    "different counts, added": (
        [{**CE, "loss_weight": 0}, {**MSE, "loss_weight": 0},
         {"name": "both", "type": "Add", "bottom": ["ce", "mse"], "loss_weight": 1}],
        "'both' puts losses together that are means over different counts",
    ),
    "different counts, added and scaled": (
        [{**CE, "loss_weight": 0}, {**MSE, "loss_weight": 0}, {"name": "both", "type": "Add", "bottom": ["ce", "mse"]},
         {"name": "twice", "type": "MulScalar", "loss_weight": 1}],
        "'both' puts losses together",
    ),
    "a square": (
        [{**CE, "loss_weight": 0}, {"name": "sq", "type": "Square", "bottom": "ce", "loss_weight": 1}],
        r"'sq' \(Square\) is not linear in 'ce'",
    ),
    "a product": (
        [{**MSE, "loss_weight": 0}, {"name": "sq", "type": "Mul", "bottom": ["mse", "mse"], "loss_weight": 1}],
        r"'sq' \(Mul\) is not linear in 'mse'",
    ),
    "a norm": (
        [MSE, {"name": "n", "type": "Norm", "bottom": "fc", "loss_weight": 0.1}],
        r"'n' \(Norm\) of all samples is no mean and no sum",
    ),
    "a spread": (
        [MSE, {"name": "n", "type": "Std", "bottom": "fc", "loss_weight": 0.1}],
        r"'n' \(Std\) of all samples is no mean and no sum",
    ),
}  # fmt: skip


# ---- evaluation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_of_a_data_set_does_not_depend_on_its_batches(name: str) -> None:
    net = net_of(*LOSSES[name])
    want = scores(net, SAMPLES)
    net.forward(phase="eval", **data())
    assert want["loss"] == pytest.approx(net.total_loss(), rel=1e-12)
    for size in SIZES:
        assert scores(net, size) == pytest.approx(want, rel=1e-12), size


def test_a_loss_called_loss_is_one_of_several_all_the_same() -> None:
    net = net_of({**CE, "name": "loss"}, MSE)
    net.forward(phase="eval", **data())
    whole = net.total_loss()
    assert scores(net, 5)["loss"] == pytest.approx(whole, rel=1e-12)


def test_what_does_not_depend_on_the_batch_counts_once() -> None:
    decay = [
        {"name": "w", "type": "Parameter", "shape": [3], "filler": {"type": "constant", "value": 2.0}},
        {"name": "l2", "type": "SumSquare", "bottom": "w", "loss_weight": 0.1},
    ]
    net = net_of(CE, *decay)
    assert all(scores(net, size)["l2"] == pytest.approx(12) for size in SIZES)
    assert_parts_make_the_whole(net)


def test_without_a_loss_in_eval_there_is_no_loss_to_watch() -> None:
    accuracy = {**CE, "name": "accuracy", "type": "Accuracy", "phase": "eval"}
    net = net_of({**CE, "phase": "train"}, accuracy)
    assert metric_names(net) == ["accuracy"]
    assert "loss" not in scores(net, 8)
    assert metric_names(net_of({**MSE, "name": "loss", "reduction": "none"})) == ["loss"]
    assert "loss" in scores(net_of({**MSE, "name": "loss", "reduction": "none"}), 8)


def test_a_mean_over_nothing_says_nothing() -> None:
    total = Total()
    for value, count in ((3.0, 2), (math.nan, 0), (6.0, 1)):
        total.add(value, count)
    assert total.value == 4
    assert Total().value == 0


@pytest.mark.parametrize("name", WHOLE)
def test_a_loss_that_is_no_sum_over_its_parts_is_told_of(name: str) -> None:
    layers, why = WHOLE[name]
    net, parts = net_of(*layers), pieces(12)
    with pytest.warns(UserWarning, match=f"{why}.*depends on the batches.*loss_weight") as said:
        assert scores(net, 5).keys() >= {"loss"}
    assert len({str(each.message) for each in said}) == 1
    scores(net, SAMPLES)  # in one batch nothing is wrong
    solver, start = Solver(net, lr=0.1), net.parameters.data.copy()
    with pytest.raises(ConfigError, match=f"{why}.*micro-batches of it do not add up"):
        solver.begin_step(parts)
    solver.accumulate(**parts[0])
    with pytest.raises(ConfigError, match=f"{why}.*micro-batches of it do not add up"):
        solver.accumulate(**parts[1])
    np.testing.assert_array_equal(net.parameters.data, start)
    solver.step(**data())


def test_a_function_of_losses_is_tried_without_touching_the_pass() -> None:
    layers = [{**MSE, "loss_weight": 0}, {"name": "sq", "type": "Square", "bottom": "mse", "loss_weight": 1}]
    nets = [net_of(*layers), net_of(*layers)]
    for net in nets:
        net.forward(**data())
        if net is nets[0]:
            net.mean_over()
        net.backward()
    np.testing.assert_array_equal(nets[0].parameters.grad, nets[1].parameters.grad)


# ---- one step of several micro-batches -------------------------------------------------------------------------


def gradient(net: Net, parts: list[dict[str, np.ndarray]]) -> np.ndarray:
    solver = Solver(net, lr=0.1)
    solver.begin_step(parts)
    for part in parts:
        solver.accumulate(**part)
    solver.measure()
    got = net.parameters.grad * solver.average
    solver.update()
    assert solver.loss is not None
    return np.append(got, solver.loss)


def assert_parts_make_the_whole(net: Net) -> None:
    start = net.parameters.data.copy()
    want = gradient(net, pieces(SAMPLES))
    for size in SIZES:
        net.parameters.data[...] = start
        np.testing.assert_allclose(gradient(net, pieces(size)), want, rtol=1e-10, atol=1e-12, err_msg=str(size))


@pytest.mark.parametrize("name", LOSSES)
def test_micro_batches_make_the_step_of_the_whole_batch(name: str) -> None:
    assert_parts_make_the_whole(net_of(*LOSSES[name]))


def test_labels_that_a_layer_makes_are_counted_too() -> None:
    """Labels behind a Reshape must be computed; the statistics that this moves are put back."""
    same = {"name": "same", "type": "Reshape", "bottom": "t", "shape": [-1]}
    net = net_of({"name": "bn", "type": "BatchNorm"}, same, {**CE, "bottom": ["bn", "same"]}, MSE)
    before = net.snapshot_state()
    Solver(net, lr=0.1).begin_step(pieces(8))
    for key, array in net.snapshot_state().items():
        np.testing.assert_array_equal(array, before[key])
    assert_parts_make_the_whole(net_of(same, {**CE, "bottom": ["fc", "same"]}, MSE))


def test_fed_alone_micro_batches_of_other_shares_are_refused() -> None:
    net = net_of(CE, MSE)
    solver, start = Solver(net, lr=0.1), net.parameters.data.copy()
    solver.accumulate(**pieces(12)[0])
    with pytest.raises(ConfigError) as caught:
        solver.accumulate(**pieces(12)[1])
    assert "'ce' a mean over 12, 'mse' a mean over 12" in str(caught.value)
    assert "begin_step" in str(caught.value)
    np.testing.assert_array_equal(net.parameters.data, start)
    solver.step(**data())  # nothing of the refused step is left


def test_equal_shares_may_be_fed_alone() -> None:
    net = net_of({**CE, "ignore_index": None, "normalization": "batch_size"}, MSE)
    parts = [{**part, "t": abs(part["t"])} for part in pieces(7)]
    whole = {**data(), "t": abs(data()["t"])}
    solver = Solver(net, lr=0.1)
    solver.accumulate(**whole)
    solver.measure()
    want = net.parameters.grad * solver.average
    solver = Solver(net, lr=0.1)
    for part in parts:
        solver.accumulate(**part)
    solver.measure()
    np.testing.assert_allclose(net.parameters.grad * solver.average, want, rtol=1e-10, atol=1e-12)


def test_a_step_takes_the_micro_batches_that_it_was_begun_with() -> None:
    net, parts = net_of(CE, MSE), pieces(8)
    solver = Solver(net, lr=0.1)
    solver.begin_step(parts)
    solver.accumulate(**parts[0])
    with pytest.raises(ConfigError, match="begun with 3 micro-batches, 1 were given"):
        solver.update()
    solver.begin_step(parts)
    with pytest.raises(ConfigError, match="micro-batch 1 is not the one"):
        solver.accumulate(**parts[2])


@pytest.mark.parametrize("number", [int, np.int64, np.float32, np.array])
def test_a_loss_that_fails_on_an_empty_part_spoils_nothing(number: Callable[[Any], Any]) -> None:
    @register
    class Naive(Layer):
        """Naive: the mean of the first bottom where the second is not negative, NaN of none"""

        bottoms, loss = 2, True
        examples = [Example({}, [Spec((3, 4)), Spec((3,), role="index", low=0, high=2)])]

        def setup(self, x: Any, t: Any) -> Any:
            return Spec((), x.dtype)

        def mean_over(self, x: Any, t: Any) -> Any:
            return number((t >= 0).sum())

        def forward(self, x: Any, t: Any) -> Any:
            self.save(w=((t >= 0) / np.float64((t >= 0).sum()))[:, None] * self.xp.ones_like(x))
            return (self.saved.w * x).sum()

        def backward(self, dy: Any) -> Any:
            return dy * self.saved.w, None

    try:
        net = net_of({"name": "naive", "type": "Naive", "bottom": ["fc", "t"]}, MSE)
        parts = [{n: a[i : i + 2] for n, a in data().items()} for i in range(0, SAMPLES, 2)]
        want = gradient(net, [data()])
        net = net_of({"name": "naive", "type": "Naive", "bottom": ["fc", "t"]}, MSE)
        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(gradient(net, parts), want, rtol=1e-10, atol=1e-12)
            alone = net_of({"name": "naive", "type": "Naive", "bottom": ["fc", "t"]})
            assert Solver(alone, lr=0.1).step(x=np.ones((2, 3)), t=np.array([-1, -1])) == 0
            assert np.isfinite(alone.parameters.data).all()
    finally:
        LAYERS.remove("Naive")


# ---- a run -----------------------------------------------------------------------------------------------------


@pytest.fixture
def npz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "d.npz", **{n: a.astype("f4") if n != "t" else a for n, a in data().items()})
    return {"type": "NPZ", "path": str(tmp_path / "d.npz")}


def run_of(npz: dict[str, Any], batch: int, accumulate: int = 1, **train_keys: Any) -> dict[str, Any]:
    return {
        "name": "r",
        "data": {"train": {**npz, "batch_size": batch}, "val": {**npz, "batch_size": 5}},
        "net": [FC, CE, MSE],
        "solver": {"lr": 0.1},
        "train": {"epochs": 2, "log_every": 100, "accumulate_grad_batches": accumulate, **train_keys},
    }


def test_a_run_in_micro_batches_is_the_run_in_whole_ones(npz: dict[str, Any]) -> None:
    whole, parts = train(run_of(npz, SAMPLES)).final, train(run_of(npz, 5, accumulate=5)).final
    assert parts == pytest.approx(whole, rel=1e-4)


def test_the_loss_of_training_is_that_of_everything_since_the_row_before(npz: dict[str, Any]) -> None:
    result = train({**run_of(npz, 5, epochs=1), "solver": {"lr": 1e-30}})
    assert result.final["train/loss"] == pytest.approx(result.final["val/loss"], rel=1e-5)


def test_verify_batch_passes_with_losses_of_different_counts(npz: dict[str, Any], capsys: Any) -> None:
    verdict = verify_batch(Config.from_dict(run_of(npz, SAMPLES)))
    assert (verdict.ok, verdict.averaged) == (True, {"ce": 16, "mse": 24})


def test_a_window_of_an_earlier_version_goes_on() -> None:
    meta = {"position": {"window": {"total": 30.0, "samples": 10, "steps": 2, "seconds": 1.0}}}
    window = Position.from_meta(meta).window
    assert window == Window(2, 1.0, {"": 30.0}, {"": 10})
    assert window.loss == 3
    fresh = Window()
    fresh.add([LossPart("a", 0.5, 4.0, 3), LossPart("a", 0.5, 1.0, 0), LossPart("b", 1.0, 5.0, None)], 0.1)
    fresh.add([LossPart("a", 0.5, 8.0, 1), LossPart("b", 1.0, 7.0, None)], 0.1)
    assert fresh.loss == pytest.approx(0.5 * (4 * 3 + 8) / 4 + 6)


def test_the_command_verifies_it_too(npz: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from layerforge.config import dump_yaml

    (tmp_path / "c.yaml").write_text(dump_yaml(run_of(npz, SAMPLES)))
    assert main(["verify", "batch", str(tmp_path / "c.yaml")]) == 0
    told = capsys.readouterr().out
    assert "means over different counts (ce over 16, mse over 24): each is weighted by its own" in told
