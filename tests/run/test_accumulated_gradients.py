"""Gradients of blobs that are added up over several backwards of one forward, and cotangents by any name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from layerforge import Net
from layerforge.run.views import BlobError
from layerforge.schema.errors import ConfigError

LAYERS = [
    {"name": "trunk", "type": "Linear", "out_features": 5, "bottom": "x"},
    {"name": "act", "type": "Tanh"},
    {"name": "block/a", "type": "Linear", "out_features": 2, "bottom": "act"},
    {"name": "b", "type": "Linear", "out_features": 3, "bottom": "act"},
]


def made(keep: Any = "all", **top: Any) -> Net:
    inputs = {"x": {"shape": [3, 4], "grad": True}}
    net = Net.from_config({"dtype": "float64", "inputs": inputs, "net": LAYERS, **top}, keep=keep)
    net.forward(x=np.random.default_rng(0).normal(size=(3, 4)))
    return net


def cotangents() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(3, 2)), rng.normal(size=(3, 3))


def grads(net: Net, names: tuple[str, ...] = ("x", "trunk", "act", "block/a", "b")) -> dict[str, np.ndarray]:
    return {name: net.blobs[name].grad.copy() for name in names}


def test_two_backwards_add_up_to_the_one_of_both() -> None:
    net = made()
    da, db = cotangents()
    net.backward({"block/a": da, "b": db})
    both, parameters = grads(net), net.parameters.grad.copy()
    net.forward(x=net.blobs["x"].data)
    net.zero_grad()
    net.backward({"block/a": da}, accumulate=True)
    net.backward(b=db, accumulate=True)
    for name, grad in grads(net).items():
        np.testing.assert_allclose(grad, both[name], rtol=1e-13, atol=1e-15, err_msg=name)
    np.testing.assert_allclose(net.parameters.grad, parameters, rtol=1e-13, atol=1e-15)


def test_without_it_a_backward_begins_anew_and_so_does_a_forward() -> None:
    net = made()
    da, db = cotangents()
    net.backward({"block/a": da})
    alone = grads(net, ("x", "act"))
    net.backward(b=db, accumulate=True)
    assert np.abs(net.blobs["x"].grad - alone["x"]).max() > 1e-3
    net.backward({"block/a": da})
    np.testing.assert_array_equal(net.blobs["x"].grad, alone["x"])
    net.forward(x=net.blobs["x"].data)
    net.backward({"block/a": da}, accumulate=True)
    np.testing.assert_array_equal(net.blobs["x"].grad, alone["x"])


def test_the_same_cotangent_thrice_and_memory_that_a_caller_uses_again() -> None:
    net = made()
    _, db = cotangents()
    net.backward(b=db)
    once = grads(net, ("x", "trunk", "act", "b"))
    given = db.copy()
    for factor in (2.0, 1.0):
        given[...] = factor * db
        net.backward(b=given, accumulate=True)
    for name, grad in grads(net, ("x", "trunk", "act", "b")).items():
        np.testing.assert_allclose(grad, 4 * once[name], rtol=1e-13, err_msg=name)


def test_losses_are_added_to_a_cotangent() -> None:
    layers = [
        *LAYERS,
        {"name": "t", "type": "Input", "shape": [3, 3]},
        {"name": "loss", "type": "MSELoss", "bottom": ["b", "t"]},
    ]
    net = Net.from_config({"dtype": "float64", "inputs": {"x": {"shape": [3, 4], "grad": True}}, "net": layers})
    rng = np.random.default_rng(4)
    net.forward(x=rng.normal(size=(3, 4)), t=rng.normal(size=(3, 3)))
    da, _ = cotangents()
    net.backward()
    of_loss = net.blobs["x"].grad.copy()
    net.backward({"block/a": da})
    of_a = net.blobs["x"].grad.copy()
    net.backward(accumulate=True)
    np.testing.assert_allclose(net.blobs["x"].grad, of_loss + of_a, rtol=1e-13)


def test_only_gradients_that_are_kept_can_be_added() -> None:
    net = made(keep=["act"])
    da, db = cotangents()
    net.backward({"block/a": da}, accumulate=True)
    first = net.blobs["act"].grad.copy()
    net.backward(b=db, accumulate=True)
    np.testing.assert_allclose(net.blobs["act"].grad, first + db @ net.params["b"]["weight"].data, rtol=1e-13)
    with pytest.raises(BlobError, match="blob 'trunk' has no gradient"):
        _ = net.blobs["trunk"].grad


def test_errors_name_the_remedy() -> None:
    net = made()
    da, db = cotangents()
    with pytest.raises(ConfigError, match="a cotangent belongs to a name, got ndarray"):
        net.backward(db)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the mapping of cotangents is empty"):
        net.backward({})
    with pytest.raises(ConfigError, match="cotangent of 'b' was given twice"):
        net.backward({"b": db}, b=db)
    with pytest.raises(ConfigError, match="accumulate must be true or false, got a ndarray"):
        net.backward(accumulate=da)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no blob 'block/c'"):
        net.backward({"block/c": da})
