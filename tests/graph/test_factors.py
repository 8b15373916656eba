"""The factors on a parameter's learning rate and decay, and what a layer may say of a parameter that it shares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge import Layer, Net, Solver, register
from layerforge.arrays.spec import Spec
from layerforge.contract.layer import Example
from layerforge.graph.multipliers import Multipliers
from layerforge.schema.errors import ConfigError
from layerforge.schema.registry import LAYERS

INPUTS = {"x": {"shape": [4, 3]}, "y": {"shape": [4, 3]}}


def linear(name: str, **keys: Any) -> dict[str, Any]:
    return {"name": name, "type": "Linear", "out_features": 3, **keys}


def net_of(*layers: dict[str, Any], **more: Any) -> Net:
    first = {**layers[0], "bottom": "x"}
    return Net.from_config({"dtype": "float64", "inputs": INPUTS, "net": [first, *layers[1:]], **more})


def constant(value: float) -> dict[str, Any]:
    return {"type": "constant", "value": value}


# ---- factors ---------------------------------------------------------------------------------------------------


@pytest.fixture
def slow() -> Iterator[None]:
    """A layer that declares factors of its own."""

    @register
    class Slow(Layer):
        """Slow: y = w x with a w that learns and decays at a tenth"""

        examples = [Example({}, [Spec((2, 3))])]

        def setup(self, x: Any) -> Any:
            self.add_param("weight", x.shape[1:], 0.5, lr_mult=0.1, decay_mult=0.1)
            return x

        def forward(self, x: Any) -> Any:
            self.save(x=x)
            return self.params.weight * x

        def backward(self, dy: Any) -> Any:
            self.grads.weight += (dy * self.saved.x).sum(axis=0)
            return dy * self.params.weight

    yield
    LAYERS.remove("Slow")


@pytest.mark.parametrize(
    ("keys", "weight", "bias"),
    [
        ({}, (1, 1), (1, 0)),
        ({"decay_mult": 1}, (1, 1), (1, 1)),
        ({"decay_mult": 0.5}, (1, 0.5), (1, 0.5)),
        ({"decay_mult": {"bias": 3}}, (1, 1), (1, 3)),
        ({"decay_mult": {"weight": 2}}, (1, 2), (1, 0)),
        ({"lr_mult": {"bias": 2}}, (1, 1), (2, 0)),
        ({"lr_mult": 3, "decay_mult": {"bias": 1}}, (3, 1), (3, 1)),
    ],
)
def test_what_is_written_takes_the_place_of_the_layers_own(keys: Any, weight: Any, bias: Any) -> None:
    factors = net_of(linear("fc", **keys)).graph.multipliers()
    assert factors == {("fc", "weight"): Multipliers(*weight), ("fc", "bias"): Multipliers(*bias)}


@pytest.mark.parametrize(("keys", "factors"), [({}, (0.1, 0.1)), ({"lr_mult": 1, "decay_mult": 1}, (1, 1))])
def test_a_users_layers_own_factors_are_replaced_too(slow: None, keys: Any, factors: Any) -> None:
    net = net_of({"name": "s", "type": "Slow", **keys})
    assert net.graph.multipliers() == {("s", "weight"): Multipliers(*factors)}


@pytest.mark.parametrize(
    "layer",
    [
        {"type": "Linear", "out_features": 3},
        {"type": "BatchNorm"},
        {"type": "LayerNorm", "normalized_shape": [3]},
        {"type": "PReLU"},
        {"type": "Scale"},
    ],
    ids=lambda layer: layer["type"],
)
def test_every_parameter_decays_where_decay_mult_is_one(layer: dict[str, Any]) -> None:
    """torch's and Caffe's default. The loss has no gradient, so that only the decay moves anything."""
    net = net_of({"name": "it", **layer, "decay_mult": 1}, {"name": "zero", "type": "Sum", "loss_weight": 1e-300})
    net.parameters.data[...] = np.linspace(1, 2, net.parameters.data.size)
    before = {name: view.data.copy() for name, view in net.params["it"].items()}
    Solver(net, type="SGD", lr=0.1, momentum=0.0, weight_decay=0.5).step(x=np.ones((4, 3)))
    for name, array in before.items():
        np.testing.assert_allclose(net.params["it"][name].data, 0.95 * array, rtol=1e-12, err_msg=name)


# ---- on a layer with `share` -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"freeze": True}, "freeze does not hold for 'weight', which is 'a.weight' and has false there"),
        ({"lr_mult": 0}, "lr_mult does not hold for 'weight', which is 'a.weight' and has 2 there"),
        ({"lr_mult": {"weight": 5}}, "lr_mult does not hold"),
        ({"decay_mult": 0}, "decay_mult does not hold for 'weight', which is 'a.weight' and has 1 there"),
        ({"weight_filler": constant(9)}, "weight_filler does not hold for 'weight'"),
        ({"weight_filler": "msra"}, "weight_filler does not hold for 'weight'"),
    ],
)
def test_what_a_sharing_layer_cannot_have_is_refused(keys: dict[str, Any], message: str) -> None:
    owner = linear("a", lr_mult=2, weight_filler=constant(0.5))
    with pytest.raises(ConfigError) as caught:
        net_of(owner, linear("b", share={"weight": "a.weight"}, **keys))
    assert f"layer 'b' (Linear): {message}" in str(caught.value)
    assert "set it at 'a'" in str(caught.value)


@pytest.mark.parametrize(
    "keys",
    [
        {"lr_mult": 2},
        {"lr_mult": {"weight": 2, "bias": 7}, "decay_mult": {"bias": 1}},
        {"lr_mult": {"bias": 0}},
        {"freeze": False},
        {"decay_mult": 1},
        {"weight_filler": constant(0.5), "bias_filler": constant(3)},
    ],
)
def test_what_holds_for_the_owner_or_for_the_rest_may_be_said(keys: dict[str, Any]) -> None:
    net_of(linear("a", lr_mult=2, weight_filler=constant(0.5)), linear("b", share={"weight": "a.weight"}, **keys))


def test_both_ways_to_freeze_are_the_same_to_a_sharing_layer() -> None:
    for mine, its in (({"lr_mult": 0}, {"freeze": True}), ({"freeze": True}, {"lr_mult": 0})):
        net_of(linear("a", **its), linear("b", share={"weight": "a.weight", "bias": "a.bias"}, **mine))
    with pytest.raises(ConfigError, match=r"freeze does not hold .* has true there"):
        net_of(linear("a", freeze=True), linear("b", share={"weight": "a.weight"}, freeze=False))


def test_start_values_that_are_no_filler_are_found_too() -> None:
    shared = {"name": "b", "type": "PReLU", "share": {"weight": "a.weight"}}
    with pytest.raises(ConfigError, match="init does not hold for 'weight'"):
        net_of({"name": "a", "type": "PReLU", "init": 0.1}, {**shared, "init": 0.25})
    net_of({"name": "a", "type": "PReLU", "init": 0.1}, {**shared, "num_parameters": 1})


def test_a_filler_that_fills_other_parameters_too_may_stay() -> None:
    rnn = {"type": "RNN", "hidden_size": 3}
    inputs = {"x": {"shape": [4, 5, 3]}}
    share = {"weight_ih_l0": "a.weight_ih_l0"}
    layers = [{"name": "a", **rnn}, {"name": "b", **rnn, "share": share, "weight_filler": constant(0.5)}]
    net = Net.from_config({"inputs": inputs, "net": layers})
    assert (net.params["b"]["weight_hh_l0"].data == 0.5).all()
    layers[1]["share"] = {**share, "weight_hh_l0": "a.weight_hh_l0"}
    with pytest.raises(ConfigError, match="weight_filler does not hold for 'weight_ih_l0'"):
        Net.from_config({"inputs": inputs, "net": layers})


def test_copies_of_a_block_say_the_same_of_what_they_share() -> None:
    pair = [linear("a", lr_mult=2), linear("b", share={"weight": "a.weight"}, lr_mult={"weight": "${factor}"})]
    uses = [{"name": "s", "block": "pair", "repeat": 2, "with": {"factor": 2}}]

    def built(factor: float) -> Net:
        uses[0]["with"] = {"factor": factor}
        blocks = {"pair": {"args": {"factor": None}, "net": pair}}
        return Net.from_config({"inputs": INPUTS, "net": uses, "blocks": blocks})

    built(2)
    with pytest.raises(ConfigError) as caught:
        built(3)
    assert [f"'s.{i}.b' (Linear): lr_mult does not hold" in str(caught.value) for i in (0, 1)] == [True, True]


def test_all_of_it_is_reported_at_once_at_its_place(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "inputs: {x: {shape: [4, 3]}}\n"
        "net:\n"
        "  - {name: a, type: Linear, out_features: 3}\n"
        "  - {name: b, type: Linear, out_features: 3, share: {weight: a.weight}, freeze: true,\n"
        "     decay_mult: 3}\n"
        "  - {name: c, type: Linear, out_features: 0}\n"
    )
    with pytest.raises(ConfigError) as caught:
        Net.from_yaml(tmp_path / "c.yaml")
    text = str(caught.value)
    assert "c.yaml:4:73: layer 'b' (Linear): freeze does not hold" in text
    assert "c.yaml:5:6: layer 'b' (Linear): decay_mult does not hold" in text
    assert "for its own parameters alone: decay_mult: {bias: 3.0}" in text
    assert "out_features must be >= 1" in text


def test_a_chain_of_shares_ends_at_the_owner_in_whatever_order() -> None:
    chain = [linear("c", share={"weight": "b.weight"}), linear("b", share={"weight": "a.weight"}), linear("a")]
    net = net_of(*chain)
    assert {net.parameters.shared[n, "weight"] for n in "cb"} == {("a", "weight")}
    with pytest.raises(ConfigError, match="'weight' is shared with itself"):
        net_of(*chain[:2], linear("a", share={"weight": "c.weight"}))
