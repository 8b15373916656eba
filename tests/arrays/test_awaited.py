"""On a device the host waits once for a step; on the way it is told of checks and numbers, not asked."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from support import strict_cupy
from support.strict_backend import STRICT

from layerforge import Net, Solver
from layerforge.arrays.awaited import asked, awaiting, present, refuse_where
from layerforge.schema.errors import DivergedError, LayerError

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
