"""jvp, Hessian products and Jacobians of nets with sparse inputs and sparse gradients: as of their dense twins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from layerforge import Net, Solver, jacobian
from layerforge.run.parameters import Slot

RNG = np.random.default_rng
N, D, WORDS = 6, 30, 12

LOSS = [{"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"]}]
BAG = [
    {"name": "a", "type": "Linear", "bottom": "x", "out_features": 5},
    {"name": "act", "type": "Tanh"},
    {"name": "drop", "type": "Dropout", "p": 0.3},
    {"name": "fc", "type": "Linear", "out_features": 3},
    *LOSS,
]
SHARED = [
    {"name": "a", "type": "Linear", "bottom": "x", "out_features": 4},
    {"name": "b", "type": "Linear", "bottom": "x", "out_features": 4, "share": {"weight": "a.weight"}},
    {"name": "gate", "type": "Sigmoid", "bottom": "b"},
    {"name": "product", "type": "Mul", "bottom": ["a", "gate"]},
    {"name": "fc", "type": "Linear", "out_features": 3},
    *LOSS,
]
FACTORS = [  # the dense factor is computed from parameters, on either side
    {"name": "h", "type": "Linear", "bottom": "z", "out_features": 4},
    {"name": "right", "type": "SPARSE", "bottom": ["x", "h"]},
    {"name": "turned", "type": "Transpose", "bottom": "right", "dim0": 0, "dim1": 1},
    {"name": "left", "type": "SPARSE", "bottom": ["turned", "x"]},
    {"name": "back", "type": "Transpose", "bottom": "left", "dim0": 0, "dim1": 1},
    {"name": "again", "type": "SPARSE", "bottom": ["x", "back"]},
    {"name": "act", "type": "Tanh"},
    {"name": "fc", "type": "Linear", "out_features": 3},
    *LOSS,
]
WORD_NET = [
    {"name": "e", "type": "Embedding", "bottom": "i", "num_embeddings": WORDS, "embedding_dim": 4, "decay_mult": 0,
     "padding_idx": 2, "sparse": "SPARSE"},
    {"name": "act", "type": "Tanh"},
    {"name": "flat", "type": "Flatten"},
    {"name": "fc", "type": "Linear", "out_features": 3},
    *LOSS,
]  # fmt: skip
TWO_TABLES = [
    {"name": "e", "type": "Embedding", "bottom": "i", "num_embeddings": WORDS, "embedding_dim": 4, "sparse": "SPARSE"},
    {"name": "f", "type": "Embedding", "bottom": "j", "num_embeddings": WORDS, "embedding_dim": 4, "sparse": "SPARSE",
     "share": {"weight": "e.weight"}},
    {"name": "product", "type": "Mul", "bottom": ["e", "f"]},
    {"name": "flat", "type": "Flatten"},
    {"name": "fc", "type": "Linear", "out_features": 3},
    *LOSS,
]  # fmt: skip
NETS = {"bag": BAG, "shared": SHARED, "factors": FACTORS, "words": WORD_NET, "two tables": TWO_TABLES}
INPUTS: dict[str, dict[str, Any]] = {
    "x": {"shape": [N, D], "grad": True},
    "z": {"shape": [D, 3]},
    "i": {"shape": [N, 4], "dtype": "int64"},
    "j": {"shape": [N, 4], "dtype": "int64"},
    "t": {"shape": [N], "dtype": "int64"},
}
WAYS = [
    {"engine": "reference", "keep": "all"},
    {"engine": "auto", "keep": "all"},
    {"engine": "auto", "keep": "none"},
    {"engine": "reference", "keep": "none", "recompute": ["act"]},
]


def made(kind: str, sparse: bool, engine: str = "auto", keep: str = "all", recompute: Any = ()) -> Net:
    """A net, or its dense twin, with random parameters."""
    layers = []
    for layer in NETS[kind]:
        own = dict(layer)
        if own.get("sparse") == "SPARSE":
            own["sparse"] = sparse
        if own["type"] == "SPARSE":
            own["type"] = "SparseMatmul" if sparse else "Matmul"
        if own["name"] in recompute:
            own["recompute"] = True
        layers.append(own)
    used = {name for layer in layers for name in np.atleast_1d(layer.get("bottom", []))}
    inputs = {name: dict(spec) for name, spec in INPUTS.items() if name in used}
    if "x" in inputs and sparse:
        inputs["x"]["sparse"] = "csr"
    top = {"dtype": "float64", "engine": engine, "seed": 3, "inputs": inputs, "net": layers}
    net = Net.from_config(top, keep=keep)
    for slot in net.parameters.slots.values():
        slot.view(net.parameters.data)[...] += 0.3 * of(slot).normal(size=slot.shape)
    return net


def of(slot: Slot, more: int = 0) -> np.random.Generator:
    """Random numbers of a parameter, whatever the memory is like."""
    return RNG([more, *f"{slot.layer}.{slot.name}".encode()])


def batch(net: Net, seed: int = 0) -> dict[str, Any]:
    rng = RNG(seed)
    x = rng.normal(size=(N, D)) * (rng.random((N, D)) < 0.2)
    z, i, j, t = (
        rng.normal(size=(D, 3)),
        rng.integers(0, WORDS, (N, 4)),
        rng.integers(0, 5, (N, 4)),
        rng.integers(0, 3, N),
    )
    given = {"x": sp.csr_array(x), "z": z, "i": i, "j": j, "t": t}
    if "x" in net.graph.inputs and not net.graph.inputs["x"].sparse:
        given["x"] = x
    return {name: value for name, value in given.items() if name in net.graph.inputs}


def tangents(net: Net, seed: int = 7) -> dict[str, np.ndarray]:
    return {f"{s.layer}.{s.name}": of(s, seed).normal(size=s.shape) for s in net.parameters.slots.values()}


def twins(kind: str, **way: Any) -> tuple[Net, Net]:
    return made(kind, True, **way), made(kind, False, **way)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way.values())))
@pytest.mark.parametrize("kind", NETS)
def test_jvp_along_all_parameters_and_each(kind: str, way: dict[str, Any]) -> None:
    nets = twins(kind, **way)
    for net in nets:
        net.forward(**batch(net))
    ours, theirs = nets
    for names in ([*tangents(ours)], *([name] for name in tangents(ours))):
        found, right = (net.jvp({name: tangents(net)[name] for name in names}) for net in nets)
        assert found.keys() == right.keys()
        for name, array in right.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-10, atol=1e-12)
    assert abs(float(theirs.jvp(tangents(theirs))["loss"])) > 1e-3


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way.values())))
@pytest.mark.parametrize("kind", NETS)
def test_hessian_products_by_names_and_flat(kind: str, way: dict[str, Any]) -> None:
    nets = twins(kind, **way)
    found = []
    for net in nets:
        net.iteration = 4
        net.forward(**batch(net))
        by_name, error = net.hvp(tangents(net))
        flat = np.zeros(len(net.parameters.grad))
        for slot in net.parameters.slots.values():
            slot.view(flat)[...] = tangents(net)[f"{slot.layer}.{slot.name}"]
        product, _ = net.hvp(flat)
        for slot in net.parameters.slots.values():
            np.testing.assert_array_equal(slot.view(product), by_name[f"{slot.layer}.{slot.name}"])
        assert error < 1e-4
        found.append(by_name)
    assert found[1].keys() - found[0].keys() <= {"x"}  # of an input, its sparse numbers have no direction
    for name, array in ((name, found[1][name]) for name in found[0]):
        np.testing.assert_allclose(found[0][name], array, rtol=1e-6, atol=1e-8 * np.abs(array).max() + 1e-10)


@pytest.mark.parametrize("kind", NETS)
def test_jacobians_by_parameters(kind: str) -> None:
    nets = twins(kind, engine="reference")
    for net in nets:
        net.forward(**batch(net))
    first = next(iter(tangents(nets[0])))
    found, right = (jacobian(net, "fc", first) for net in nets)
    np.testing.assert_allclose(found, right, rtol=1e-10, atol=1e-12)
    assert np.abs(right).max() > 1e-3


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way.values())))
@pytest.mark.parametrize("kind", NETS)
def test_a_training_that_is_looked_at_is_the_same_to_the_bit(kind: str, way: dict[str, Any]) -> None:
    """Between a backward and its update, and between steps, on other batches than those that are learned."""
    looked, other = made(kind, True, **way), made(kind, True, **way)
    solvers = [Solver(net, type="SGD", lr=0.1, momentum=0.9) for net in (looked, other)]
    for step in range(3):
        for net, solver in zip((looked, other), solvers, strict=True):
            solver.accumulate(**batch(net, step))
            if net is looked:
                net.forward(phase="eval", backward=True, **batch(net, 50 + step))
                net.jvp(tangents(net))
                net.hvp(tangents(net))
                net.jvp({"fc": np.ones((N, 3))})
            solver.update()
            if net is looked:
                net.forward(phase="eval", backward=True, **batch(net, 90 + step))
                net.hvp(tangents(net))
        np.testing.assert_array_equal(looked.parameters.data, other.parameters.data)
        for ours, theirs in zip(solvers[0].history, solvers[1].history, strict=True):
            np.testing.assert_array_equal(ours, theirs)
