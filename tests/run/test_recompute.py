"""Layers whose forward runs once more before backward: what is in memory by then, statistics, random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from layerforge import Example, Layer, Net, Spec, register
from layerforge.schema.registry import LAYERS

KEEP = ["all", "none", ["fc"]]
ENGINES = ["reference", "auto"]


class CountingNoise(Layer):
    """CountingNoise: y = x (1 + n), where n counts the forwards: a layer whose forward reads what it changes."""

    examples = [Example({}, [Spec((2, 3))])]

    def setup(self, x: Spec) -> Spec:
        self.add_state("n", (1,), 0.0)
        return x

    def forward(self, x: Any) -> Any:
        self.state.n += 1
        self.save(factor=1 + self.state.n.copy())
        return x * self.saved.factor

    def backward(self, dy: Any) -> Any:
        return dy * self.saved.factor


@pytest.fixture(autouse=True, scope="module")
def registered() -> Iterator[None]:
    register(CountingNoise)
    yield
    LAYERS.remove("CountingNoise")


def config(*inner: dict[str, Any], engine: str = "reference", recompute: bool = True) -> dict[str, Any]:
    layers = [{**layer, "recompute": True} if layer.pop("again", False) and recompute else layer for layer in inner]
    return {
        "seed": 1,
        "engine": engine,
        "inputs": {"x": {"shape": [4, 3], "grad": True}, "t": {"shape": [4], "dtype": "int64"}},
        "net": [
            {"name": "fc0", "type": "Linear", "out_features": 6, "bottom": "x"},
            *layers,
            {"name": "fc", "type": "Linear", "out_features": 5},
            {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"]},
        ],
    }


def norm(**keys: Any) -> dict[str, Any]:
    return {"name": "bn", "type": "BatchNorm", **keys}


def relu(**keys: Any) -> dict[str, Any]:
    return {"name": "act", "type": "ReLU", **keys}


NETS = {
    "in place above it": lambda: [norm(again=True), relu()],
    "in place above it, asked for": lambda: [norm(again=True), relu(top="bn")],
    "in place over a view of it": lambda: [norm(again=True), {"name": "v", "type": "Flatten"}, relu(top="v")],
    "both": lambda: [norm(again=True), relu(again=True)],
    "both, in place": lambda: [norm(again=True), relu(again=True, top="bn")],
    "in place below it": lambda: [norm(), relu(top="bn"), {"name": "s", "type": "Sigmoid", "again": True}],
    "dropout": lambda: [norm(again=True), {"name": "d", "type": "Dropout", "p": 0.5, "again": True}, relu()],
    "state": lambda: [{"name": "c", "type": "CountingNoise", "again": True}, relu()],
}


def gradients(net: Net) -> list[np.ndarray]:
    """Of the parameters and of x, for the same backward."""
    net.zero_grad()
    net.backward()
    return [net.parameters.grad.copy(), *([net.blobs["x"].grad.copy()] if net.keep is None else [])]


@pytest.fixture
def batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(4, 3)).astype("f4"), "t": rng.integers(0, 5, 4)}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("keep", KEEP, ids=str)
@pytest.mark.parametrize("name", NETS)
def test_every_backward_after_one_forward_is_that_without_recompute(
    name: str, keep: Any, engine: str, batch: dict[str, np.ndarray]
) -> None:
    plain = Net.from_config(config(*NETS[name](), engine="reference", recompute=False))
    net = Net.from_config(config(*NETS[name](), engine=engine), keep=keep)
    for _ in range(2):  # the second step has statistics that moved, and other masks
        for each in (plain, net):
            each.forward(**batch)
        want = gradients(plain)
        for _ in range(1 if net.passes.current.layout else 3):
            for mine, theirs in zip(gradients(net), want, strict=False):
                np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)
        for key, array in plain.snapshot_state().items():
            np.testing.assert_allclose(net.snapshot_state()[key], array, rtol=1e-5, err_msg="counted once")
        for each in (plain, net):
            each.iteration += 1


def test_backwards_from_several_places_are_those_without_recompute(batch: dict[str, np.ndarray]) -> None:
    layers = NETS["dropout"]
    plain, net = (Net.from_config(config(*layers(), recompute=again), keep=["act"]) for again in (False, True))
    rng = np.random.default_rng(1)
    for each in (plain, net):
        each.forward(**batch)
    for name, width in (("fc", 5), ("bn", 6), ("fc", 5), ("d", 6)):
        dy, found = rng.normal(size=(4, width)).astype("f4"), []
        for each in (plain, net):
            each.zero_grad()
            each.backward(**{name: dy})
            found.append(each.parameters.grad.copy())
        assert np.array_equal(*found), name


def test_blobs_hold_after_backward_what_they_held_before(batch: dict[str, np.ndarray]) -> None:
    net = Net.from_config(config(*NETS["in place above it, asked for"]()))
    net.forward(**batch)
    before = {name: blob.data.copy() for name, blob in net.blobs.items()}
    net.backward()
    assert all(np.array_equal(net.blobs[name].data, array) for name, array in before.items())


def test_masks_are_those_of_the_forward_whatever_the_iteration_is_by_then(batch: dict[str, np.ndarray]) -> None:
    net = Net.from_config(config(*NETS["dropout"]()))
    net.forward(**batch)
    want = gradients(net)
    net.iteration, net.first_sample = 7, 100
    assert all(map(np.array_equal, gradients(net), want))
    assert (net.iteration, net.first_sample) == (7, 100)


def test_an_error_while_recomputing_leaves_statistics_and_memory_as_they_were(batch: dict[str, np.ndarray]) -> None:
    net = Net.from_config(config(*NETS["dropout"]()))
    net.forward(**batch)
    statistics, layer = net.snapshot_state(), net.layers["d"]
    memory = layer.memory
    layer.forward = lambda x: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(Exception, match="ZeroDivisionError"):
        net.backward()
    del layer.forward
    assert layer.memory is memory
    assert all(np.array_equal(net.snapshot_state()[key], array) for key, array in statistics.items())
