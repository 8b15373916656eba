"""Forward accumulation and Jacobians, against each other, against backward and against hand calculation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import layerforge.run.derivatives
from layerforge import Example, Layer, Net, Spec, jacobian, register
from layerforge.layers import builtin_layers
from layerforge.run.views import BlobError
from layerforge.schema.errors import ConfigError
from layerforge.schema.registry import LAYERS

INPUTS = {"x": {"shape": [3, 4], "grad": True}, "t": {"shape": [3], "dtype": "int64"}}
STACK = [
    {"name": "fc1", "type": "Linear", "out_features": 5, "bottom": "x"},
    {"name": "act", "type": "Tanh"},
    {"name": "sm", "type": "Softmax"},
    {"name": "sum", "type": "Add", "bottom": ["sm", "act"]},
    {"name": "bn", "type": "BatchNorm"},
    {"name": "fc2", "type": "Linear", "out_features": 2},
]


def make(*more: Any) -> tuple[Net, np.ndarray]:
    net = Net.from_config({"dtype": "float64", "inputs": INPUTS, "net": [*STACK, *more]})
    return net, np.random.default_rng(0).normal(size=(3, 4))


def test_jvp_is_the_derivative_along_a_direction() -> None:
    net, x = make()
    v = np.random.default_rng(1).normal(size=x.shape)
    net.forward(x=x)
    got = net.jvp(x=v)["fc2"]
    h = 1e-6
    plus, minus = (net.forward(x=x + s * v)["fc2"] for s in (h, -h))
    np.testing.assert_allclose(got, (plus - minus) / (2 * h), rtol=1e-6, atol=1e-8)


def test_jvp_is_the_transpose_of_backward() -> None:
    net, x = make()
    rng = np.random.default_rng(2)
    v, dy = rng.normal(size=(3, 4)), rng.normal(size=(3, 2))
    net.forward(x=x)
    forward = float((net.jvp(x=v)["fc2"] * dy).sum())
    net.backward(fc2=dy)
    assert forward == pytest.approx(float((net.blobs["x"].grad * v).sum()), rel=1e-12)


def test_jvp_of_an_inner_blob_and_of_what_does_not_move() -> None:
    net, x = make({"name": "other", "type": "Tanh", "bottom": "fc1"})
    net.forward(x=x)
    v = np.ones((3, 5))
    moved = net.jvp(bn=v)
    np.testing.assert_allclose(moved["fc2"], v @ net.params["fc2"]["weight"].data.T)
    assert not moved["other"].any()


def test_jvp_leaves_parameter_gradients_alone() -> None:
    net, x = make()
    net.forward(x=x)
    net.parameters.grad[...] = 3.0
    net.jvp(x=np.ones_like(x))
    assert (net.parameters.grad == 3.0).all()


def test_jvp_errors() -> None:
    net, x = make()
    with pytest.raises(BlobError, match="needs a forward"):
        net.jvp(x=x)
    net.forward(x=x)
    with pytest.raises(ConfigError, match=r"tangent of 'x' has shape \(4,\)"):
        net.jvp(x=x[0])
    with pytest.raises(ConfigError, match="no blob 'y'"):
        net.jvp(y=x)


@pytest.fixture
def mixer() -> Iterator[None]:
    """A layer that writes down no jvp: every output depends on the whole sample."""

    class Mixer(Layer):
        backward_reads = ("bottom",)
        examples = [Example({}, [Spec((2, 3))])]

        def setup(self, x: Spec) -> Spec:
            return x

        def forward(self, x: Any) -> Any:
            self.save(x=x)
            return x * (x * x).sum(axis=1, keepdims=True)

        def backward(self, dy: Any) -> Any:
            x = self.saved.x
            return dy * (x * x).sum(axis=1, keepdims=True) + 2 * x * (dy * x).sum(axis=1, keepdims=True)

    register(Mixer)
    yield
    LAYERS.remove("Mixer")


@pytest.mark.usefixtures("mixer")
def test_a_layer_without_jvp_lends_its_backward() -> None:
    net, x = make({"name": "mix", "type": "Mixer"})
    v = np.random.default_rng(1).normal(size=x.shape)
    net.forward(x=x)
    got = net.jvp(x=v)["mix"]
    plus, minus = (net.forward(x=x + s * v)["mix"] for s in (1e-6, -1e-6))
    np.testing.assert_allclose(got, (plus - minus) / 2e-6, rtol=1e-6, atol=1e-7)


@pytest.mark.usefixtures("mixer")
def test_a_layer_without_jvp_and_with_many_outputs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = make({"name": "mix", "type": "Mixer"})
    net.forward(x=x)
    monkeypatch.setattr(layerforge.run.derivatives, "BASIS_LIMIT", 4)
    with pytest.raises(ConfigError, match=r"layer 'mix' \(Mixer\) has no jvp of its own and 6 outputs"):
        net.jvp(x=x)


def test_every_layer_with_a_gradient_for_a_bottom_writes_down_its_jvp() -> None:
    """So forward accumulation costs one pass, whatever the net is made of."""
    moving = [
        cls
        for cls in builtin_layers()
        if cls.is_differentiable() and any(spec.is_real for spec in cls.examples[0].bottoms)
    ]
    assert len(moving) > 140
    assert [cls.type_name for cls in moving if not cls.has_jvp()] == []


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_tangents_go_through_a_recurrent_layer_of_many_outputs(kind: str) -> None:
    """More than could be made row by row, with every way over time: against a difference."""
    inputs = {"x": {"shape": [40, 6, 3], "grad": True}, "mask": {"shape": [40, 6], "dtype": "int64"}}
    layer = {"name": "y", "type": kind, "bottom": ["x", "mask"], "hidden_size": 10, "num_layers": 2}
    net = Net.from_config({"dtype": "float64", "inputs": inputs, "net": [{**layer, "bidirectional": True}]})
    rng = np.random.default_rng(0)
    x, v, mask = rng.normal(size=(40, 6, 3)), rng.normal(size=(40, 6, 3)), rng.integers(0, 2, (40, 6))
    net.forward(x=x, mask=mask)
    got = net.jvp(x=v)["y"]
    assert got.size > layerforge.run.derivatives.BASIS_LIMIT
    plus, minus = (net.forward(x=x + s * v, mask=mask)["y"] for s in (1e-6, -1e-6))
    np.testing.assert_allclose(got, (plus - minus) / 2e-6, rtol=1e-6, atol=1e-8)


def test_jacobian_of_a_linear_layer_is_its_weight() -> None:
    net, x = make()
    net.forward(x=x)
    j = jacobian(net, output="fc1", wrt="x")
    assert j.shape == (3, 5, 3, 4)
    w = net.params["fc1"]["weight"].data
    for n in range(3):
        for m in range(3):
            np.testing.assert_array_equal(j[n, :, m], w if n == m else np.zeros_like(w))


def test_jacobian_with_respect_to_a_parameter_and_an_inner_blob() -> None:
    net, x = make()
    net.forward(x=x)
    before = net.parameters.grad.copy()
    j = jacobian(net, output="fc2", wrt="fc2.bias")
    np.testing.assert_array_equal(j, np.broadcast_to(np.eye(2), (3, 2, 2)))
    inner = jacobian(net, output="fc2", wrt="bn")
    v = np.random.default_rng(3).normal(size=(3, 5))
    np.testing.assert_allclose(np.tensordot(inner, v, 2), net.jvp(bn=v)["fc2"], rtol=1e-12)
    np.testing.assert_array_equal(net.parameters.grad, before)


@pytest.mark.parametrize("wrt", ["x", "bn", "fc2.weight"])
def test_jacobian_of_a_net_by_its_method(wrt: str) -> None:
    """Contracted with a cotangent, J is what backward gives; and the gradients of both kinds are left as they were."""
    net, x = make()
    net.forward(x=x)
    dy = np.random.default_rng(5).normal(size=(3, 2))
    net.backward(fc2=dy)
    layer, _, name = wrt.rpartition(".")
    kept = net.params[layer][name].grad if layer else net.blobs[wrt].grad
    gradient = kept.copy()
    j = net.jacobian("fc2", wrt)
    np.testing.assert_allclose(np.tensordot(dy, j, 2), gradient, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(net.params[layer][name].grad if layer else net.blobs[wrt].grad, gradient)
    np.testing.assert_array_equal(j, jacobian(net, output="fc2", wrt=wrt))


def test_the_textbook_expression() -> None:
    """y (x² - x y + y) at (3, 2) is 10; its partial derivatives are y (2x - y) = 8 and x² - 2 x y + 2 y = 1."""
    inputs = {n: {"shape": [], "grad": n != "m"} for n in ("x", "y", "m")}
    net = Net.from_config(
        {
            "dtype": "float64",
            "inputs": inputs,
            "net": [
                {"name": "xx", "type": "Mul", "bottom": ["x", "x"]},
                {"name": "xy", "type": "Mul", "bottom": ["x", "y"]},
                {"name": "minus", "type": "Mul", "bottom": ["xy", "m"]},
                {"name": "sum", "type": "Add", "bottom": ["xx", "minus", "y"]},
                {"name": "f", "type": "Mul", "bottom": ["y", "sum"]},
            ],
        }
    )
    out = net.forward(x=3.0, y=2.0, m=-1.0)
    assert out["f"] == 10
    net.backward(f=1.0)
    assert (net.blobs["x"].grad, net.blobs["y"].grad) == (8, 1)
    assert jacobian(net, output="f", wrt="x") == 8
    assert net.jvp(x=1.0, y=10.0)["f"] == 18
