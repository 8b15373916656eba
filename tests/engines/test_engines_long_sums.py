"""Gradients that are sums over very many rows, and means of large windows, on the engine: no digit is lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support.engine_pairs import pair

from layerforge import Net
from layerforge.arrays.functional import product_over_rows
from layerforge.arrays.spec import Spec
from layerforge.check import accuracy
from layerforge.check.accuracy import EPS, Use
from layerforge.engines.onednn import base, conv, norm, pool, table
from layerforge.plan.engines import FAST
from layerforge.schema.registry import LAYERS

ROWS = 1_000_000
TENTH = float(np.float32(0.1))


def net_of(*layers: dict[str, Any], x: np.ndarray, engine: str = FAST) -> Net:
    """The layers one above the other, the last of which is called y."""
    named = [{"name": f"l{i}", **layer} for i, layer in enumerate(layers)]
    named[-1]["name"] = "y"
    inputs = {"x": {"shape": list(x.shape), "grad": True}}
    net = Net.from_config({"seed": 1, "engine": engine, "inputs": inputs, "net": named})
    net.forward(x=x, phase="train", backward=True)
    return net


def agrees(use: Use, kind: str = "normal") -> None:
    """The engine's layer is off by hardly more than the reference in float32."""
    reference, bottoms = LAYERS.get(use.type_name), accuracy.drawn(use, kind)
    truth = accuracy.results(use, reference, bottoms, "float64")
    ours, theirs = (
        accuracy.errors(accuracy.results(use, cls, bottoms, "float32"), truth)
        for cls in (reference, table.LAYERS[use.type_name])
    )
    for name, error in theirs.items():
        assert error <= 4 * (ours[name] + EPS * np.abs(truth[name]).max()), f"{use.name} {name}"


# Many rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("relu", [False, True])
def test_batch_norm_of_many_rows(relu: bool) -> None:
    """x̂ is 1 and -1 in turn and dy 0.1 and -0.1, so that dweight = Σ 0.1; the ReLU lets half of them through."""
    sign = np.tile(np.array([[1.0], [-1.0]], "float32"), (ROWS // 2, 2))
    net = net_of({"type": "BatchNorm"}, *([{"type": "ReLU"}] if relu else []), x=sign)
    net.backward(y=sign * np.float32(0.1))
    through = ROWS / 2 if relu else ROWS
    norm_name = "l0" if relu else "y"
    np.testing.assert_allclose(net.params[norm_name]["weight"].grad, through * TENTH, rtol=1e-5)
    np.testing.assert_allclose(net.params[norm_name]["bias"].grad, through * TENTH if relu else 0, rtol=1e-6, atol=0.1)
    np.testing.assert_allclose(net.blobs["x"].grad, 0, atol=2e-6)


def test_layer_norm_of_many_rows() -> None:
    x = np.tile(np.array([1.0, -1.0], "float32"), (ROWS, 1))
    net = net_of({"type": "LayerNorm", "normalized_shape": [2]}, x=x)
    net.backward(y=x * np.float32(0.1))
    np.testing.assert_allclose(net.params["y"]["weight"].grad, ROWS * TENTH, rtol=1e-5)
    np.testing.assert_allclose(net.params["y"]["bias"].grad, [ROWS * TENTH, -ROWS * TENTH], rtol=1e-6)


def test_layer_norm_of_two_numbers_that_are_close() -> None:
    """The less x and its mean differ, the more do their last digits matter."""
    for kind in ("normal", "offset"):
        agrees(Use("LayerNorm", {"normalized_shape": [2]}, (Spec((500, 2)),)), kind)


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is done for many rows is done for 40."""
    for module in (base, norm, conv):
        monkeypatch.setattr(module, "MANY", 40)
    yield


@pytest.mark.usefixtures("few_are_many")
@pytest.mark.parametrize(
    ("type_name", "params", "shape"),
    [
        ("BatchNorm", {}, (50, 3)),
        ("BatchNorm", {"affine": False}, (50, 3)),
        ("BatchNorm", {"use_running_stats": True}, (50, 3)),
        ("BatchNorm", {}, (3, 5, 6, 7)),
        ("BatchNorm", {}, (2, 5, 3, 4, 5)),
        ("LayerNorm", {"normalized_shape": [7]}, (50, 7)),
        ("LayerNorm", {"normalized_shape": [7]}, (5, 9, 7)),
    ],
)
def test_norms_by_sums_of_our_own(type_name: str, params: dict[str, Any], shape: tuple[int, ...]) -> None:
    agrees(Use(type_name, params, (Spec(shape),)))


@pytest.mark.usefixtures("few_are_many")
@pytest.mark.parametrize(
    "layer",
    [
        {"type": "BatchNorm"},
        {"type": "LayerNorm", "normalized_shape": [3]},
        {"type": "Linear", "out_features": 3},
        {"type": "Conv1d", "out_channels": 3, "kernel_size": 1},
    ],
    ids=str,
)
def test_gradients_of_many_rows_accumulate_and_stay_out_of_frozen_parameters(layer: dict[str, Any]) -> None:
    shape = (2, 3, 30) if layer["type"] == "Conv1d" else (50, 3)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    net = net_of(layer, x=x)
    net.backward(y=x)
    once = {name: net.params["y"][name].grad.copy() for name in ("weight", "bias")}
    net.forward(x=x, phase="train", backward=True)
    net.backward(y=x)
    for name, grad in once.items():
        np.testing.assert_allclose(net.params["y"][name].grad, 2 * grad, rtol=1e-6)
    net = net_of({**layer, "freeze": True}, x=x)
    net.backward(y=x)
    assert net.params["y"]["weight"].grad is None


# Products over many rows ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("few_are_many")
@pytest.mark.parametrize(
    ("type_name", "params", "shape"),
    [
        ("Conv1d", {"kernel_size": 3, "padding": 1}, (2, 2, 90)),
        ("Conv2d", {"kernel_size": [3, 2], "stride": 2, "padding": 1, "dilation": 2, "groups": 2}, (3, 2, 12, 9)),
        ("Conv2d", {"kernel_size": 2, "padding": 1}, (7, 2, 3, 4)),
        ("Conv3d", {"kernel_size": 2, "stride": [1, 2, 1], "padding": [1, 0, 1]}, (2, 2, 5, 6, 4)),
        ("ConvTranspose2d", {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1}, (2, 2, 6, 5)),
        ("ConvTranspose2d", {"kernel_size": [4, 3], "padding": [2, 0], "groups": 2}, (2, 2, 9, 5)),
        ("ConvTranspose1d", {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1}, (2, 2, 30)),
        ("ConvTranspose3d", {"kernel_size": 2, "stride": [1, 2, 1], "groups": 2}, (2, 2, 4, 3, 4)),
    ],
)
def test_kernels_gradients_by_the_reference(type_name: str, params: dict[str, Any], shape: tuple[int, ...]) -> None:
    agrees(Use(type_name, {"out_channels": 4, **params}, (Spec(shape),)))


@pytest.mark.usefixtures("few_are_many")
def test_products_by_the_reference() -> None:
    agrees(Use("Linear", {"out_features": 5}, (Spec((9, 7, 4)),)))
    agrees(Use("MultiheadAttention", {"num_heads": 2}, (Spec((4, 12, 6)),)))


@pytest.mark.parametrize("engine", ["reference", FAST])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ({"type": "Linear", "out_features": 1}, (ROWS, 1)),
        ({"type": "Linear", "out_features": 2}, (ROWS, 2)),
        ({"type": "Conv1d", "out_channels": 2, "kernel_size": 1}, (1, 1, ROWS)),
        ({"type": "Conv2d", "out_channels": 1, "kernel_size": [1, 3], "padding": [0, 1]}, (1, 1, 2000, 500)),
        ({"type": "ConvTranspose2d", "out_channels": 1, "kernel_size": 1}, (4, 1, 500, 500)),
    ],
    ids=str,
)
def test_weights_of_many_rows(layer: dict[str, Any], shape: tuple[int, ...], engine: str) -> None:
    """All products are 0.1."""
    net = net_of(layer, x=np.ones(shape, "float32"), engine=engine)
    net.backward(y=np.full(net.blobs["y"].shape, 0.1, "float32"))
    grad = net.params["y"]["weight"].grad
    middle = grad[..., 1] if shape[-1] == 500 and grad.shape[-1] == 3 else grad
    np.testing.assert_allclose(middle, ROWS * TENTH, rtol=1e-5)


@pytest.mark.parametrize("shape", [(), (3,)], ids=str)
def test_product_over_rows(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(1, 1, (*shape, 10_001, n)).astype("float32") for n in (3, 2))
    found = product_over_rows(a, b)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, a.astype("float64").swapaxes(-1, -2) @ b.astype("float64"), rtol=5e-7)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_parameters_of_very_many_steps_are_left_to_the_reference(kind: str) -> None:
    reference = LAYERS.get(kind).from_config({"hidden_size": 4})
    for samples, refused in ((100, False), (200, True)):
        assert bool(table.LAYERS[kind].refuses(reference, [Spec((samples, 1000, 3))], [])) == refused


# Poolings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_name", "params", "shape"),
    [
        ("GlobalAvgPool2d", {}, (2, 3, 100, 100)),
        ("GlobalAvgPool2d", {}, (2, 1, 1, 777)),
        ("AvgPool1d", {"kernel_size": 300, "stride": 1}, (2, 3, 400)),
        ("AvgPool2d", {"kernel_size": 40}, (2, 3, 80, 80)),
        ("AvgPool2d", {"kernel_size": 9, "stride": 1, "padding": 4, "count_include_pad": False}, (2, 3, 20, 12)),
        ("AvgPool3d", {"kernel_size": 10, "stride": 5, "padding": 2}, (1, 2, 12, 15, 13)),
    ],
)
@pytest.mark.parametrize("kind", ["normal", "constant", "offset"])
def test_means_of_large_windows(type_name: str, params: dict[str, Any], shape: tuple[int, ...], kind: str) -> None:
    use = Use(type_name, params, (Spec(shape),))
    agrees(use, kind)
    bottoms = accuracy.drawn(use, kind)
    truth, mine = (
        accuracy.results(use, LAYERS.get(type_name), bottoms, dtype)["top[0]"] for dtype in ("float64", "float32")
    )
    assert np.abs(mine - truth).max() <= 3e-7 * np.abs(bottoms[0]).max(), "the reference itself"


def test_small_windows_are_onednns() -> None:
    assert pool.LARGE >= 49, "7 x 7, with which many classifiers end"


@pytest.mark.parametrize("queries", [1, 2])
def test_attention_over_many_equal_keys(queries: int) -> None:
    """The values are far from 0, and where all keys are the same no query's gradient is left."""
    rng, keys = np.random.default_rng(7), 300_000
    q, k, v = rng.normal(size=(1, queries, 4)), np.full((1, keys, 4), 3.3), 100 + rng.normal(size=(1, keys, 3))
    bottoms = [x.astype("float32") for x in (q, k, v)]
    dy = rng.normal(size=(1, queries, 3)).astype("float32")
    reference, engine = pair(table.LAYERS["ScaledDotProductAttention"], {}, *bottoms)
    errors = []
    for probe in (reference, engine):
        probe.forward()
        errors.append(np.abs(probe.backward([dy])[0]).max())
    assert errors[1] <= 4 * errors[0] < 1e-4
