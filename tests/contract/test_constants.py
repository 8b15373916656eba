"""A layer's constants are made once, and anew where what they depend on is not what it was."""

from __future__ import annotations

from typing import Any

import numpy as np
from support import strict_cupy

from layerforge import Net
from layerforge.arrays.spec import Spec
from layerforge.contract.layer import Layer
from layerforge.layers.losses.nll_loss import NLLLoss


class Weighted(Layer):
    """Two constants: a list of its own, and what is computed from a size."""

    def setup(self, x: Spec) -> Spec:
        return x


def layer(xp: Any = np) -> Weighted:
    made = Weighted()
    made.xp = xp
    return made


def test_the_same_array_as_long_as_it_depends_on_the_same() -> None:
    made, calls = layer(), []

    def ramp(size: int) -> Any:
        calls.append(size)
        return made.constant("ramp", size, lambda: np.arange(size), "int64")

    assert made.constant("w", [1.0, 2.0]) is made.constant("w", [1.0, 2.0])
    assert made.constant("w", [1.0, 3.0]).tolist() == [1.0, 3.0]
    assert ramp(3) is ramp(3)
    assert ramp(4).tolist() == [0, 1, 2, 3]
    assert (ramp(4).dtype, made.constant("w", [1.0]).dtype) == ("int64", "float32")
    assert made.constant("w", [1.0], dtype="float64").dtype == "float64"


def test_a_list_that_is_changed_in_place_is_another() -> None:
    made, weights = layer(), [1.0, 2.0]
    made.constant("w", weights)
    weights[0] = 5.0
    assert made.constant("w", weights).tolist() == [5.0, 2.0]


def test_a_device_gets_it_once() -> None:
    made = layer(strict_cupy)
    with strict_cupy.counting() as found:
        for _ in range(3):
            made.constant("w", [1.0, 2.0])
    assert found["uploads"] == 1


def test_a_weight_that_is_assigned_in_a_net_takes_effect() -> None:
    inputs = {"x": {"shape": [4, 2]}, "t": {"shape": [4], "dtype": "int64"}}
    net = Net.from_config(
        {"inputs": inputs, "net": [{"name": "loss", "type": "NLLLoss", "bottom": ["x", "t"], "weight": [1.0, 1.0]}]}
    )
    x, t = np.random.default_rng(0).normal(size=(4, 2)).astype("float32"), np.array([0, 1, 1, 0])
    net.forward(x=x, t=t)
    before = net.total_loss()
    loss = net.layers["loss"]
    assert isinstance(loss, NLLLoss)
    loss.weight = [1.0, 3.0]
    net.forward(x=x, t=t)
    weights = np.array([1.0, 3.0])[t]
    expected = -(weights * x[np.arange(4), t]).sum() / weights.sum()
    assert net.total_loss() != before
    np.testing.assert_allclose(net.total_loss(), expected, rtol=1e-6)
