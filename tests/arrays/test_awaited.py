"""On a device the host waits once for a step; on the way it is told of checks and numbers, not asked."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import strict_cupy, strict_faults
from support.strict_backend import STRICT

from layerforge import Net, Solver, train
from layerforge.arrays.awaited import asked, awaiting, present, refuse_where
from layerforge.schema.errors import DivergedError, LayerError
from layerforge.snapshot import read_snapshot
from layerforge.training.console import Console

CONFIG: dict[str, Any] = {
    "inputs": {"x": {"shape": [4, 3]}, "i": {"shape": [4], "dtype": "int64"}, "t": {"shape": [4], "dtype": "int64"}},
    "net": [
        {"name": "fc", "type": "Linear", "out_features": 3, "bottom": "x"},
        {"name": "words", "type": "Embedding", "num_embeddings": 5, "embedding_dim": 3, "bottom": "i"},
        {"name": "sum", "type": "Add", "bottom": ["fc", "words"]},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["sum", "t"]},
        {"name": "size", "type": "MSELoss", "bottom": ["fc", "words"], "loss_weight": 0.1},
    ],
}


def batch(**changed: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    given = {"x": rng.normal(size=(4, 3)), "i": np.array([0, 4, 1, 1]), "t": np.array([0, 1, 1, 2])}
    return given | changed


@pytest.fixture
def net() -> Net:
    return Net.from_config(CONFIG, keep="none", backend=STRICT)


def waits_of(action: Any) -> int:
    with strict_cupy.counting() as counts:
        action()
    return counts["waits"]


def test_a_step_waits_once_whatever_it_tells_of(net: Net) -> None:
    solver, other = Solver(net, lr=0.1), Solver(Net.from_config(CONFIG, keep="none"), lr=0.1)
    assert solver.step(**batch()) == pytest.approx(other.step(**batch()), rel=1e-6)
    assert waits_of(lambda: solver.step(**batch())) == 1
    other.step(**batch())
    assert solver.loss == pytest.approx(other.loss, rel=1e-6)
    assert solver.grad_norm == pytest.approx(other.grad_norm, rel=1e-6)


def test_a_forward_waits_once_for_all_of_its_checks(net: Net) -> None:
    net.forward(**batch())
    assert waits_of(lambda: net.forward(phase="eval", **batch())) == 1


@pytest.mark.parametrize("act", ["forward", "step", "accumulate"])
@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"t": np.array([0, 7, 1, 2])}, "layer 'loss' (SoftmaxCrossEntropy): label 7 at position 1 is out of range"),
        ({"i": np.array([0, 1, 9, 2])}, "layer 'words' (Embedding): index 9 at position 2 is out of range"),
    ],
)
def test_wrong_data_are_refused_by_the_layer_that_reads_them(
    net: Net, act: str, changed: dict[str, Any], told: str
) -> None:
    solver = Solver(net, lr=0.1)
    before = net.arrays()
    with pytest.raises(LayerError) as caught:
        (net.forward if act == "forward" else getattr(solver, act))(**batch(**changed))
    assert str(caught.value).startswith(told)
    assert caught.value.exit_code == 3
    assert present() is None
    assert all(np.array_equal(array, before[path]) for path, array in net.arrays().items())
    assert np.isfinite(solver.step(**batch()))


def test_a_step_that_is_not_finite_changes_nothing(net: Net) -> None:
    solver, before = Solver(net, lr=0.1), net.arrays()
    with pytest.raises(DivergedError):
        solver.step(**batch(x=np.full((4, 3), np.nan)))
    assert all(np.array_equal(array, before[path]) for path, array in net.arrays().items())


def test_a_norm_that_float32_cannot_square_is_computed_again(net: Net) -> None:
    solver, other = Solver(net, lr=1e-9), Solver(Net.from_config(CONFIG, keep="none"), lr=1e-9)
    tiny = batch(x=1e-25 * batch()["x"])
    for each in (solver, other):
        each.net.params["fc"]["weight"].data = np.zeros((3, 3))
        each.step(**tiny)
    assert solver.grad_norm == pytest.approx(other.grad_norm, rel=1e-6)


def test_the_first_check_that_fails_is_told_and_numbers_arrive_all_the_same() -> None:
    xp = STRICT.xp
    with pytest.raises(KeyError, match="first"), awaiting(xp) as awaited:
        assert awaited is not None
        refuse_where(xp.asarray([False]).any(), lambda: KeyError("no"))
        number = asked(xp.asarray([2.0, 3.0]).sum())
        refuse_where(xp.asarray([True]).any(), lambda: KeyError("first"))
        refuse_where(xp.asarray([True]).any(), lambda: KeyError("second"))
    assert number.value == 5.0


def test_a_number_that_a_device_could_not_tell_is_told_later_and_is_not_0() -> None:
    with pytest.raises(MemoryError), awaiting(strict_cupy):
        later = asked(strict_cupy.asarray(np.float32(3)))
        with strict_faults.memory_limited(2):
            assert later.value == 3
    assert later.value == 3


def test_on_numpy_nothing_is_put_off() -> None:
    with awaiting(np) as awaited:
        assert awaited is None
        with pytest.raises(KeyError):
            refuse_where(np.array(True), lambda: KeyError("now"))
        assert asked(np.array(2.5)).value == 2.5


def test_each_thread_gathers_its_own() -> None:
    with awaiting(STRICT.xp) as mine:
        seen: list[Any] = [mine]
        thread = threading.Thread(target=lambda: seen.append(present()))
        thread.start()
        thread.join()
    assert seen[0] is not None
    assert seen[1] is None


# What losses divide by ------------------------------------------------------------------------------------------------


def loss_net(backend: Any, loss: dict[str, Any], **more: Any) -> Net:
    """A Linear of x (4, 3) below a loss of its top and t; `more` are further inputs, which the loss reads."""
    shapes = {"x": {"shape": [4, 3]}} | more
    layers = [
        {"name": "fc", "type": "Linear", "out_features": 3, "bottom": "x"},
        {"name": "loss", "bottom": ["fc", *more], **loss},
    ]
    return Net.from_config({"seed": 3, "inputs": shapes, "net": layers}, keep="none", backend=backend)


LABELS = {"shape": [4], "dtype": "int64"}
COUNTING: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "labels that are ignored": (
        {"type": "SoftmaxCrossEntropy", "ignore_index": -1}, {"t": LABELS}, {"t": np.array([0, -1, 2, -1])},
    ),
    "nothing that counts": (
        {"type": "SoftmaxCrossEntropy", "ignore_index": 1}, {"t": LABELS}, {"t": np.array([1, 1, 1, 1])},
    ),
    "weights of classes": (
        {"type": "NLLLoss", "weight": [0.5, 2.0, 1.0], "ignore_index": 0}, {"t": LABELS}, {"t": np.array([0, 1, 2, 1])},
    ),
    "weights of samples": (
        {"type": "MSELoss"}, {"t": {"shape": [4, 3]}, "w": {"shape": [4]}},
        {"t": np.full((4, 3), 0.5), "w": np.array([0.0, 1.0, 3.0, 0.5])},
    ),
    "targets that are ignored": (
        {"type": "BCEWithLogitsLoss", "ignore_index": -1}, {"t": {"shape": [4, 3]}},
        {"t": np.array([[0.0, 1.0, -1.0]] * 4)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", COUNTING)
def test_what_a_mean_is_over_is_not_waited_for(what: str) -> None:
    loss, inputs, given = COUNTING[what]
    x = np.random.default_rng(5).normal(size=(4, 3))
    solvers = [Solver(loss_net(backend, loss, **inputs), lr=0.3) for backend in (STRICT, None)]
    for _ in range(2):
        there, here = [solver.step(x=x, **given) for solver in solvers]
        assert there == pytest.approx(here, rel=1e-6)
        assert solvers[0].grad_norm == pytest.approx(solvers[1].grad_norm, rel=1e-5)
    for path, array in solvers[0].net.arrays().items():
        np.testing.assert_allclose(array, solvers[1].net.arrays()[path], rtol=1e-5, atol=1e-7)
    once_more = solvers[0].grad_norm == 0  # whose squares may have been too small for float32
    assert waits_of(lambda: solvers[0].step(x=x, **given)) == 1 + once_more
    assert solvers[0].net.mean_over() == pytest.approx(solvers[1].net.mean_over())


@pytest.mark.parametrize("gathered", [False, True], ids=["one by one", "as in a run"])
@pytest.mark.parametrize("begun", [False, True], ids=["fed", "begun"])
@pytest.mark.parametrize("micro_batches", ["one_batch", "mean"])
def test_micro_batches_are_weighted_by_what_a_device_counted(gathered: bool, begun: bool, micro_batches: str) -> None:
    loss, inputs, _ = COUNTING["labels that are ignored"]
    x = np.random.default_rng(5).normal(size=(4, 3))
    parts = [{"x": x, "t": np.array(t)} for t in ([-1, -1, -1, -1], [0, -1, -1, -1], [1, 2, 0, -1])]
    for first in (0, 1):
        solvers = [
            Solver(loss_net(backend, loss, **inputs), lr=0.3, micro_batches=micro_batches) for backend in (STRICT, None)
        ]
        for solver in solvers:
            with awaiting(solver.net.xp) if gathered else nullcontext():
                if begun:
                    solver.begin_step(parts[first:])
                for part in parts[first:]:
                    solver.accumulate(**part)
                solver.update()
        assert solvers[0].loss == pytest.approx(solvers[1].loss, rel=1e-6)
        assert solvers[0].grad_norm == pytest.approx(solvers[1].grad_norm, rel=1e-5)


@pytest.mark.usefixtures("stand_in_as_cupy")
def test_micro_batches_of_a_run_are_weighted_as_on_numpy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(7)
    np.savez("data.npz", x=rng.normal(size=(22, 3)).astype("float32"), label=rng.integers(0, 3, 22))
    config: dict[str, Any] = {
        "data": {"train": {"type": "NPZ", "path": str(tmp_path / "data.npz"), "batch_size": 4}},
        "net": [
            {"name": "fc", "type": "Linear", "out_features": 3, "bottom": "x"},
            {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"], "weight": [1, 2, 3]},
            {"name": "plain", "type": "HingeLoss", "bottom": ["fc", "label"]},
        ],
        "solver": {"lr": 0.1},
        "train": {"epochs": 2, "accumulate_grad_batches": 2},
    }
    for layers in (config["net"], config["net"][:2]):
        quiet = Console(progress="off", quiet=True)
        runs = [train({**config, "backend": name, "net": layers}, console=quiet) for name in ("numpy", "cupy")]
        here, there = (read_snapshot(Path(run.run) / "checkpoints" / "last.h5")[0] for run in runs)
        for name in ("params/fc/weight", "params/fc/bias"):
            np.testing.assert_allclose(there[name], here[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("loss", "inputs", "given", "told"),
    [
        ({"type": "BCELoss"}, {"t": {"shape": [4, 3]}}, {"t": np.zeros((4, 3))}, "x is outside of 0 to 1"),
        (
            {"type": "MSELoss"}, {"t": {"shape": [4, 3]}, "w": {"shape": [4]}},
            {"t": np.zeros((4, 3)), "w": -np.ones(4)}, "a weight of a sample is below 0",
        ),
        (
            {"type": "SigmoidFocalLoss"}, {"t": {"shape": [4, 3]}},
            {"t": np.full((4, 3), 2.0)}, "t is outside of 0 to 1",
        ),
        ({"type": "DiceLoss"}, {"t": {"shape": [4, 3]}}, {"t": np.full((4, 3), 2.0)}, "the masks is outside of 0 to 1"),
    ],
)  # fmt: skip
def test_losses_refuse_what_they_refuse_on_numpy(
    loss: dict[str, Any], inputs: dict[str, Any], given: dict[str, Any], told: str
) -> None:
    for backend in (STRICT, None):
        solver = Solver(loss_net(backend, loss, **inputs), lr=0.3)
        with pytest.raises(LayerError, match=rf"layer 'loss' \({loss['type']}\): {told}"):
            solver.step(x=np.full((4, 3), 9.0), **given)


def test_lars_measures_parameters_without_waiting() -> None:
    solver = Solver(Net.from_config(CONFIG, keep="none", backend=STRICT), type="LARS", lr=0.1, weight_decay=0.01)
    solver.step(**batch())
    assert waits_of(lambda: solver.step(**batch())) == 1
