"""copy.deepcopy and pickle of nets and solvers: a copy with memory of its own that trains on as the original would."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import pickle
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge import Example, Layer, Net, Solver, Spec, register
from layerforge.schema.registry import LAYERS

WAYS: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda each: pickle.loads(pickle.dumps(each)),
}
ENGINES = ["reference", "auto"]


class Counted(Layer):
    """Counted: y = x w + n, where n counts the forwards: a user's layer with a parameter and state."""

    backward_reads = ("bottom",)
    examples = [Example({}, [Spec((2, 3))])]

    def setup(self, x: Spec) -> Spec:
        self.add_param("w", x.shape[1:], 0.5)
        self.add_state("n", (1,), 0.0)
        return x

    def forward(self, x: Any) -> Any:
        if self.phase == "train":
            self.state.n += 1
        self.save(x=x)
        return x * self.params.w + self.state.n

    def backward(self, dy: Any) -> Any:
        self.grads.w += (dy * self.saved.x).sum(axis=0)
        return dy * self.params.w


@pytest.fixture(autouse=True, scope="module")
def registered() -> Iterator[None]:
    register(Counted)
    yield
    LAYERS.remove("Counted")


def config(engine: str = "auto") -> dict[str, Any]:
    return {
        "seed": 3,
        "engine": engine,
        "inputs": {"x": {"shape": [6, 5], "grad": True}, "t": {"shape": [6], "dtype": "int64"}},
        "net": [
            {"name": "a", "type": "Linear", "out_features": 5, "bottom": "x"},
            {"name": "bn", "type": "BatchNorm"},
            {"name": "mine", "type": "Counted"},
            {"name": "d", "type": "Dropout", "p": 0.3},
            {"name": "b", "type": "Linear", "out_features": 5, "share": {"weight": "a.weight"}},
            {"name": "c", "type": "Linear", "out_features": 4},
            {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["c", "t"]},
        ],
    }


def batch(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=(6, 5)).astype("f4"), "t": rng.integers(0, 4, 6)}


def trained(engine: str, keep: Any, **options: Any) -> Solver:
    solver = Solver(Net.from_config(config(engine), keep=keep), **({"lr": 0.1, "momentum": 0.9} | options))
    for seed in range(3):
        solver.step(**batch(seed))
    return solver


def everything(solver: Solver) -> dict[str, Any]:
    arrays = {**solver.net.arrays(), **solver.arrays(), "grad": solver.net.parameters.grad}
    return {path: np.array(array) for path, array in arrays.items()}


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[path], b[path]) for path in a)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("keep", ["all", "none", ["c"]], ids=str)
@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_a_copy_trains_on_bit_for_bit_in_memory_of_its_own(way: str, keep: Any, engine: str) -> None:
    solver = trained(engine, keep)
    other = WAYS[way](solver)
    assert other.net is not solver.net and other.net.keep == solver.net.keep
    assert same(everything(other), everything(solver))
    assert not np.shares_memory(other.net.parameters.data, solver.net.parameters.data)
    before = everything(solver)
    for seed in range(3, 6):
        other.step(**batch(seed))
    assert same(everything(solver), before), "the original stays as it was"
    assert not same(everything(other), before)
    for seed in range(3, 6):
        solver.step(**batch(seed))
    assert same(everything(other), everything(solver))
    assert (other.iteration, other.updates, other.lr, other.loss) == (6, 6, solver.lr, solver.loss)


@pytest.mark.parametrize("way", WAYS)
def test_a_net_alone(way: str) -> None:
    net = trained("auto", "all").net
    net.iteration, net.first_sample = 9, 4
    net.params["c"]["bias"].frozen = True
    net.layers["d"].p = 0.6
    other = WAYS[way](net)
    assert (other.iteration, other.first_sample, other.layers["d"].p) == (9, 4, 0.6)
    assert other.params["c"]["bias"].frozen and not other.params["c"]["weight"].frozen
    other.params["a"]["weight"].data *= 2
    assert np.array_equal(other.params["b"]["weight"].data, other.params["a"]["weight"].data), "shared stays shared"
    other.params["a"]["weight"].data /= 2
    found = [each.forward(phase="train", **batch(7))["loss"] for each in (net, other)]
    assert found[0] == found[1]
    for each in (net, other):
        each.zero_grad()
        each.backward()
    assert np.array_equal(net.parameters.grad, other.parameters.grad)
    other.state["bn"]["running_mean"] = 5
    assert net.state["bn"]["running_mean"].max() < 5


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_in_the_middle_of_a_step(way: str) -> None:
    solver = trained("auto", "none", type="Adam", lr=0.01)
    solver.accumulate(**batch(10))
    other = WAYS[way](solver)
    for each in (solver, other):
        each.accumulate(**batch(11))
        each.update()
    assert same(everything(solver), everything(other))
    for each in (solver, other):
        each.accumulate(**batch(12))
    other = WAYS[way](solver)
    for each in (solver, other):
        each.skip()
    assert same(everything(solver), everything(other))


def test_a_schedule_goes_on_where_it_was() -> None:
    solver = trained("auto", "none", schedule={"type": "plateau", "patience": 0, "factor": 0.5})
    for value in (1.0, 2.0, 3.0):
        solver.schedule.observe(value)
    other = copy.deepcopy(solver)
    assert other.lr == solver.lr < 0.1
    other.schedule.observe(9.0)
    assert other.lr < solver.lr


def test_a_copy_of_several_things_keeps_what_they_have_in_common() -> None:
    solver = trained("auto", "none")
    net, again = copy.deepcopy([solver.net, solver])
    assert again.net is net


def test_no_data_are_needed_for_a_copy(tmp_path: Path) -> None:
    file = tmp_path / "train.npz"
    np.savez(file, x=np.zeros((8, 3), "f4"), label=np.arange(8) % 2)
    made = {
        "data": {"train": {"type": "NPZ", "path": str(file), "batch_size": 4}},
        "net": [
            {"name": "fc", "type": "Linear", "out_features": 2, "bottom": "x"},
            {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"]},
        ],
    }
    net = Net.from_config(made)
    file.unlink()
    for way in WAYS.values():
        assert np.array_equal(way(net).params["fc"]["weight"].data, net.params["fc"]["weight"].data)


def test_a_net_that_nobody_holds_is_gone_at_once() -> None:
    net = Net.from_config(config("reference"))
    gone = weakref.ref(net)
    gc.disable()
    try:
        del net
        assert gone() is None
    finally:
        gc.enable()


def step_elsewhere(solver: Solver, seed: int) -> dict[str, Any]:
    solver.step(**batch(seed))
    return everything(solver)


USERS_FILE = '''
from layerforge import Example, Layer, Spec, register

@register
class FromAFile(Layer):
    """FromAFile: y = 2 x."""
    examples = [Example({}, [Spec((2, 3))])]
    def setup(self, x): return x
    def forward(self, x): return 2 * x
    def backward(self, dy): return 2 * dy
'''


def test_another_process_trains_on(tmp_path: Path) -> None:
    """With spawn, which imports everything anew: a layer of this file, and one of a file that a configuration names."""
    (tmp_path / "mine.py").write_text(USERS_FILE)
    made = config()
    made["import"] = [str(tmp_path / "mine.py")]
    made["net"].insert(3, {"name": "file", "type": "FromAFile"})
    solver = Solver(Net.from_config(made, keep="none"), lr=0.1, momentum=0.9)
    solver.step(**batch(0))
    try:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found = pool.apply_async(step_elsewhere, (solver, 1)).get(timeout=60)
        assert same(found, step_elsewhere(solver, 1))
    finally:
        LAYERS.remove("FromAFile")
