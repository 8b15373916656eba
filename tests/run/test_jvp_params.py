"""Forward accumulation along parameters, against differences, backward and each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import layerforge.run.derivatives
from layerforge import Example, Layer, Net, Spec, register
from layerforge.check.harness import Probe
from layerforge.layers import builtin_layers
from layerforge.layers.matrices.linear import Linear
from layerforge.run.parameters import Slot
from layerforge.schema.errors import ConfigError
from layerforge.schema.registry import LAYERS

RNG = np.random.default_rng
STACK = [
    {"name": "fc1", "type": "Linear", "out_features": 5, "bottom": "x"},
    {"name": "bn", "type": "BatchNorm"},
    {"name": "prelu", "type": "PReLU"},
    {"name": "drop", "type": "Dropout", "p": 0.3},
    {"name": "scale", "type": "Scale", "bias": True},
    {"name": "fc2", "type": "Linear", "out_features": 3},
]


def of(slot: Slot, more: int = 0) -> np.random.Generator:
    """Random numbers of a parameter, whatever the memory is like."""
    return RNG([more, *f"{slot.layer}.{slot.name}".encode()])


def made(layers: list[dict[str, Any]], shape: tuple[int, ...] = (6, 4), **options: Any) -> tuple[Net, np.ndarray]:
    keep = options.pop("keep", "all")
    net = Net.from_config(
        {"dtype": "float64", "inputs": {"x": {"shape": list(shape), "grad": True}}, "net": layers, **options}, keep=keep
    )
    for slot in net.parameters.slots.values():
        slot.view(net.parameters.data)[...] += 0.1 * of(slot).normal(size=slot.shape)
    x = RNG(0).normal(size=shape)
    net.forward(x=x)
    return net, x


def tangents(net: Net, *more: str) -> dict[str, np.ndarray]:
    """One for every parameter, and for some blobs."""
    found = {f"{s.layer}.{s.name}": of(s, 7).normal(size=s.shape) for s in net.parameters.slots.values()}
    return found | {name: RNG(3).normal(size=net.blobs[name].shape) for name in more}


def by_differences(net: Net, x: Any, v: dict[str, np.ndarray], top: str, h: float = 1e-5) -> np.ndarray:
    """Of a batch, or of x alone."""
    batch = x if isinstance(x, dict) else {"x": x}
    data, moved = net.parameters.data.copy(), []
    for factor in (h, -h):
        net.parameters.data[...] = data
        for name, array in v.items():
            if name != "x":
                layer, _, own = name.rpartition(".")
                net.params[layer][own].data += factor * array
        moved.append(net.forward(**{**batch, "x": batch["x"] + factor * v.get("x", 0)})[top])
    net.parameters.data[...] = data
    return (moved[0] - moved[1]) / (2 * h)


def test_along_all_parameters_and_an_input_at_once() -> None:
    net, x = made(STACK)
    v = tangents(net, "x")
    got = net.jvp(v)["fc2"]
    np.testing.assert_allclose(got, by_differences(net, x, v, "fc2"), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["fc1.weight", "bn.weight", "bn.bias", "prelu.weight", "scale.bias", "fc2.bias"])
def test_along_one_parameter_it_is_the_transpose_of_backward(name: str) -> None:
    net, _ = made(STACK)
    v = {name: tangents(net)[name]}
    dy = RNG(4).normal(size=(6, 3))
    forward = (net.jvp(v)["fc2"] * dy).sum()
    net.backward(fc2=dy)
    layer, _, own = name.rpartition(".")
    assert forward == pytest.approx((net.params[layer][own].grad * v[name]).sum(), rel=1e-10)


def test_the_tangent_of_an_affine_map_is_a_product() -> None:
    net, x = made(STACK[:1])
    v = RNG(1).normal(size=(5, 4))
    np.testing.assert_array_equal(net.jvp({"fc1.weight": v})["fc1"], x @ v.T)
    np.testing.assert_array_equal(net.jvp({"fc1.bias": v[:, 0]})["fc1"], np.broadcast_to(v[:, 0], (6, 5)))


def test_nothing_else_moves() -> None:
    net, _ = made(STACK)
    net.backward(fc2=RNG(4).normal(size=(6, 3)))
    data, grad, state = net.parameters.data.copy(), net.parameters.grad.copy(), net.snapshot_state()
    top, dx = net.blobs["fc2"].data.copy(), net.blobs["x"].grad.copy()
    first = net.jvp(tangents(net))["fc2"]
    np.testing.assert_array_equal(net.jvp(tangents(net))["fc2"], first)
    np.testing.assert_array_equal(net.parameters.data, data)
    np.testing.assert_array_equal(net.parameters.grad, grad)
    np.testing.assert_array_equal(net.blobs["fc2"].data, top)
    for key, array in net.snapshot_state().items():
        np.testing.assert_array_equal(array, state[key])
    net.zero_grad()
    net.backward(fc2=RNG(4).normal(size=(6, 3)))
    np.testing.assert_array_equal(net.parameters.grad, grad)
    np.testing.assert_array_equal(net.blobs["x"].grad, dx)


def test_shared_parameters_move_together() -> None:
    layers = [
        {"name": "a", "type": "Linear", "out_features": 4, "bottom": "x", "bias": False},
        {"name": "act", "type": "Tanh"},
        {"name": "b", "type": "Linear", "out_features": 4, "bias": False, "share": {"weight": "a.weight"}},
    ]
    net, x = made(layers)
    v = {"a.weight": RNG(1).normal(size=(4, 4))}
    got = net.jvp(v)["b"]
    np.testing.assert_array_equal(net.jvp({"b.weight": v["a.weight"]})["b"], got)
    np.testing.assert_allclose(got, by_differences(net, x, v, "b"), rtol=1e-6, atol=1e-8)
    with pytest.raises(ConfigError, match=r"'b.weight' shares its numbers with 'a.weight'"):
        net.jvp({"a.weight": v["a.weight"], "b.weight": v["a.weight"]})


@pytest.mark.parametrize(
    "layer",
    [
        {"type": "Conv1d", "out_channels": 3, "kernel_size": 2},
        {"type": "LayerNorm", "normalized_shape": 4},
        {"type": "PositionalEmbedding", "kind": "learned", "max_len": 7},
        {"type": "MultiheadAttention", "num_heads": 2},
        {"type": "Bias"},
        {"type": "LSTM", "hidden_size": 2},
    ],
    ids=lambda layer: layer["type"],
)
def test_layers_with_parameters_of_all_kinds(layer: dict[str, Any]) -> None:
    net, x = made([{"name": "one", "bottom": "x", **layer}], (2, 3, 4))
    v = tangents(net, "x")
    top = next(iter(net.forward(x=x)))
    np.testing.assert_allclose(net.jvp(v)[top], by_differences(net, x, v, top), rtol=1e-6, atol=1e-8)


RECURRENT = {"RNN": 1, "GRU": 1, "LSTM": 2}  # and their states


def recurrent(kind: str, *, keep: str = "all", second: str = "", **more: Any) -> tuple[Net, dict[str, np.ndarray]]:
    """A net of two recurrent layers and all their tops, after a forward; and its batch."""
    rng, states = RNG(5), RECURRENT[kind]
    bottoms = ["x", "second"] if second else ["x"]
    lasts = [f"last{i}" for i in range(states)]
    lower = {"hidden_size": 3, "num_layers": 2, "bidirectional": True, **({"second_bottom": second} if second else {})}
    layers = [
        {"name": "y1", "type": kind, "bottom": bottoms, "top": ["y1", *lasts], **lower},
        {"name": "y2", "type": kind, "bottom": "y1", "hidden_size": 2, "bias": False},
        {"name": "state", "type": "Linear", "bottom": lasts[-1], "out_features": 2},
    ]
    inputs = {"x": {"shape": [4, 5, 2], "grad": True}, "second": {"shape": [4, 5], "dtype": "int64"}}
    net = Net.from_config({"dtype": "float64", "inputs": inputs, "net": layers, **more}, keep=keep)
    for slot in net.parameters.slots.values():
        slot.view(net.parameters.data)[...] = of(slot).normal(size=slot.shape)
    batch = {"x": rng.normal(size=(4, 5, 2)), "second": rng.integers(0, 2, (4, 5))}
    net.forward(**batch)
    return net, batch


@pytest.mark.parametrize("second", ["", "mask", "cont"])
@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent_layers_against_differences(kind: str, second: str) -> None:
    """Of an input and all parameters at once: two layers, both directions, marks, all tops."""
    net, batch = recurrent(kind, second=second)
    v = tangents(net, "x")
    got = net.jvp(v)
    assert got.keys() == {"y2", "state", *(f"last{i}" for i in range(RECURRENT[kind] - 1))}
    for top, tangent in got.items():
        want = by_differences(net, batch, v, top)
        np.testing.assert_allclose(tangent, want, rtol=1e-6, atol=1e-7, err_msg=top)
        assert np.abs(want).max() > 0.1


@pytest.mark.parametrize("kind", RECURRENT)
def test_along_each_parameter_of_a_recurrent_layer_it_is_the_transpose_of_backward(kind: str) -> None:
    net, _ = recurrent(kind, second="mask")
    rng, v = RNG(6), tangents(net)
    dys = {name: rng.normal(size=net.blobs[name].shape) for name in ("y2", "state")}
    net.backward(dys)
    for name, tangent in v.items():
        layer, _, own = name.rpartition(".")
        forward = sum((t * dys[top]).sum() for top, t in net.jvp({name: tangent}).items() if top in dys)
        assert forward == pytest.approx((net.params[layer][own].grad * tangent).sum(), rel=1e-9, abs=1e-10), name


@pytest.mark.parametrize("kind", RECURRENT)
def test_a_recurrent_layer_of_many_outputs_takes_one_pass(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no backward at all, whether or not its bottoms are still there."""
    want, _ = recurrent(kind)
    monkeypatch.setattr(layerforge.run.derivatives, "BASIS_LIMIT", -1)
    v = tangents(want)
    got, _ = recurrent(kind, keep="none")
    for top, tangent in want.jvp(v).items():
        np.testing.assert_allclose(got.jvp(v)[top], tangent, rtol=1e-12, err_msg=top)


@pytest.mark.parametrize("keep", ["all", "none"])
@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent_layers_of_an_engine(kind: str, keep: str) -> None:
    want, _ = recurrent(kind)
    net, _ = recurrent(kind, keep=keep, dtype="float32", engine="auto")
    assert net.engines["y1"] == net.engines["y2"] == "onednn"
    v = tangents(want, "x")
    for top, tangent in want.jvp(v).items():
        np.testing.assert_allclose(net.jvp(v)[top], tangent, rtol=1e-4, atol=1e-4, err_msg=top)


def test_where_bottoms_are_gone_or_recomputed_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """From what the layers kept, and by no backward."""
    monkeypatch.setattr(layerforge.run.derivatives, "BASIS_LIMIT", -1)
    want, _ = made(STACK)
    for again in (False, True):
        layers = [{**layer, "recompute": again} for layer in STACK[:3]] + STACK[3:]
        net, _ = made(layers, keep="none")
        v = tangents(want)
        np.testing.assert_allclose(net.jvp(v)["fc2"], want.jvp(v)["fc2"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("keep", ["all", "none"])
def test_with_an_engine(keep: str) -> None:
    layers = [*STACK[:1], {"name": "act", "type": "ReLU"}, *STACK[1:]]
    want, _ = made(layers)
    net, _ = made(layers, dtype="float32", engine="auto", keep=keep)
    assert "onednn" in net.engines.values()
    v = tangents(want)
    np.testing.assert_allclose(net.jvp(v)["fc2"], want.jvp(v)["fc2"], rtol=1e-3, atol=1e-3)


@pytest.fixture
def squared() -> Iterator[None]:
    """y = (x Wᵀ + b)², by a refinement of Linear that writes no tangents down."""

    class SquaredLinear(Linear):
        examples = [Example({"out_features": 4}, [Spec((3, 5))])]

        def forward(self, x: Any) -> Any:
            self.y = super().forward(x)
            return self.y**2

        def backward(self, dy: Any) -> Any:
            return super().backward(2 * self.y * dy)

    register(SquaredLinear)
    yield
    LAYERS.remove("SquaredLinear")


@pytest.mark.usefixtures("squared")
def test_what_overrides_a_forward_is_not_asked_for_the_tangents_of_the_other() -> None:
    cls = LAYERS.get("SquaredLinear")
    assert Linear.has_jvp()
    assert Linear.has_jvp_params()
    assert not cls.has_jvp()
    assert not cls.has_jvp_params()
    net, x = made([{"name": "one", "type": "SquaredLinear", "bottom": "x", "out_features": 3}])
    v = tangents(net, "x")
    np.testing.assert_allclose(net.jvp(v)["one"], by_differences(net, x, v, "one"), rtol=1e-6, atol=1e-8)


def test_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = made(STACK)
    with pytest.raises(ConfigError, match=r"tangent of 'fc1.weight' has shape \(6, 4\), the parameter \(5, 4\)"):
        net.jvp({"fc1.weight": x})
    with pytest.raises(ConfigError, match="layer 'fc1' has no parameter 'wieght'"):
        net.jvp({"fc1.wieght": x})
    with pytest.raises(ConfigError, match="a tangent belongs to a name"):
        net.jvp(x)  # type: ignore[arg-type]
    net.params["fc1"]["weight"].frozen = True
    net.forward(x=x)
    with pytest.raises(ConfigError, match=r"parameter 'fc1.weight' is frozen"):
        net.jvp({"fc1.weight": np.ones((5, 4))})


# Layers that write no tangents along their parameters down ------------------------------------------------------------


@pytest.fixture
def shifted() -> Iterator[None]:
    """y = x + tanh b, whose tangent along b nobody wrote down."""

    class Shifted(Layer):
        examples = [Example({}, [Spec((2, 3))])]

        def setup(self, x: Spec) -> Spec:
            self.add_param("bias", x.shape[1:], "constant")
            return x

        def forward(self, x: Any) -> Any:
            return x + np.tanh(self.params.bias)

        def backward(self, dy: Any) -> Any:
            self.grads.bias += (1 - np.tanh(self.params.bias) ** 2) * dy.sum(axis=0)
            return dy

    register(Shifted)
    yield
    LAYERS.remove("Shifted")


@pytest.mark.usefixtures("shifted")
def test_a_layer_that_writes_none_down_lends_its_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = made([{"name": "one", "type": "Shifted", "bottom": "x"}])
    v = tangents(net)
    np.testing.assert_allclose(net.jvp(v)["one"], by_differences(net, x, v, "one"), rtol=1e-6, atol=1e-8)
    monkeypatch.setattr(layerforge.run.derivatives, "BASIS_LIMIT", 4)
    net, _ = made([{"name": "one", "type": "Shifted", "bottom": "x"}])
    with pytest.raises(ConfigError, match=r"layer 'one' \(Shifted\) has no jvp of its own along its parameters and 24"):
        net.jvp({"one.bias": np.ones(4)})


def test_every_layer_that_learns_writes_its_tangents_down() -> None:
    """So forward accumulation along parameters costs one pass, whatever the net is made of."""
    learning = []
    for cls in filter(Layer.is_differentiable.__func__, builtin_layers()):
        probes = (Probe(cls, example).layer for example in cls.examples)
        learning += [layer for layer in probes if len(layer.params)][:1]
    assert len(learning) > 20
    assert [layer.type_name for layer in learning if not layer.has_jvp_params()] == []
