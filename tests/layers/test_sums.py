"""Long sums lose nothing that a float32 result could show, and losses of sure predictions keep sign and digits."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tools import demand_engine

import layerforge
from layerforge import Net
from layerforge.arrays.functional import cumulative_sum, exact_sum, inner_products, mean_of, sum_of
from layerforge.arrays.scattering import scatter_add
from layerforge.plan.engines import FAST

ROWS = 1_000_000
ENGINES = ["reference", FAST]
TENTH = float(np.float32(0.1))


@pytest.fixture(scope="module")
def tenths() -> np.ndarray:
    """Of a running sum in float32, 1 % is lost. Two columns: of a single one NumPy makes a sum in blocks."""
    return np.full((ROWS, 2), 0.1, "float32")


def net_of(layer: dict[str, Any], engine: str = "reference", **inputs: Any) -> Net:
    """A net of one layer called y."""
    if engine == FAST:
        demand_engine()
    specs = {n: {"shape": list(a.shape), "dtype": str(a.dtype)} for n, a in inputs.items()}
    for name, array in inputs.items():
        specs[name] |= {"grad": True} if array.dtype.kind == "f" else {}
    layers = [{"name": "y", "bottom": list(inputs), **layer}]
    return Net.from_config({"seed": 1, "engine": engine, "inputs": specs, "net": layers})


@pytest.mark.parametrize(
    ("kind", "right"),
    [("Sum", ROWS * TENTH), ("Mean", TENTH), ("SumSquare", ROWS * TENTH**2), ("AbsSum", ROWS * TENTH), ("Var", 0.0),
     ("Cumsum", ROWS * TENTH)],
)  # fmt: skip
def test_reductions_of_the_first_axis(kind: str, right: float, tenths: np.ndarray) -> None:
    y = net_of({"type": kind, "dim": 0}, x=tenths).forward(x=tenths)["y"]
    np.testing.assert_allclose(y.reshape(-1, 2)[-1], right, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ({"type": "Linear", "out_features": 2}, (ROWS, 2)),
        ({"type": "Conv1d", "out_channels": 2, "kernel_size": 1}, (1, 2, ROWS)),
        ({"type": "BatchNorm"}, (ROWS, 2)),
        ({"type": "LayerNorm", "normalized_shape": [2]}, (ROWS, 2)),
        ({"type": "Scale", "bias": True}, (ROWS, 2)),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_gradients_of_biases(layer: dict[str, Any], shape: tuple[int, ...], engine: str, tenths: np.ndarray) -> None:
    x = tenths.reshape(shape)
    net = net_of(layer, engine, x=x)
    net.forward(x=x, phase="train", backward=True)
    net.backward(y=np.full(shape, 0.1, "float32"))
    np.testing.assert_allclose(net.params["y"]["bias"].grad, ROWS * TENTH, rtol=1e-6)


@pytest.mark.parametrize("over", [(0, 2), (0, 2, 3), (1, 2), (3,), (0, 1, 2, 3), (2, 3), ()])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 2, 3, 0), (0, 2, 3, 1), (3, 2, 1, 0)])
def test_inner_products_in_any_order_in_memory(order: tuple[int, ...], over: tuple[int, ...]) -> None:
    a, b = (np.random.default_rng(seed).normal(size=(6, 5, 70, 90)).astype("float32") for seed in (0, 1))
    a, b = (m.transpose(order).copy().transpose(np.argsort(order)) for m in (a, b))
    want = (a.astype("float64") * b).sum(axis=over, keepdims=True)
    near = 2e-7 * (abs(a).astype("float64") * abs(b)).sum(axis=over, keepdims=True)
    for pair in ((a, b), (a, np.ascontiguousarray(b)), (np.flip(a, over), np.flip(b, over))):
        got = inner_products(*pair, over)
        assert got.shape == want.shape
        assert (abs(got - want) <= near).all()


def test_long_inner_products_lose_nothing() -> None:
    """Neither where they are lines, of 1000 terms, nor where such lines would be too long."""
    tenths = np.full((2, 1000, 1000), 0.1, "float32")
    for laid, over in ((tenths, (1, 2)), (tenths.reshape(2, -1), (1,)), (tenths.reshape(2, -1).T.copy(), (0,))):
        np.testing.assert_allclose(inner_products(laid, laid, over).reshape(-1), ROWS * TENTH**2, rtol=1e-6)


def test_sums_are_rounded_once_whatever_the_order_in_memory() -> None:
    x = np.random.default_rng(0).normal(1, 1, (6, 40_000)).astype("float32")
    for laid in (x, np.asfortranarray(x), x[::-1, ::-1], np.repeat(x, 2, axis=0)[::2]):
        for axis in (0, 1, (0, 1), None):
            right = laid.astype("float64").sum(axis)
            assert np.array_equal(sum_of(laid, axis), right.astype("float32"))
            assert exact_sum(laid, axis).dtype == np.float64
        assert mean_of(laid, 1, keepdims=True).shape == (6, 1)
    running = cumulative_sum(x, 1)
    assert running.dtype == x.dtype
    np.testing.assert_allclose(running, x.astype("float64").cumsum(1), rtol=1e-7, atol=1e-6)


def test_many_values_to_one_place() -> None:
    out = np.ones((2, 1), "float32")
    scatter_add(np, out, np.zeros((200_000, 1), "int64"), 0, np.full((200_000, 1), 0.1, "float32"))
    np.testing.assert_allclose(out, [[1 + 200_000 * TENTH], [1]], rtol=1e-7)


def test_layers_add_up_by_these_functions() -> None:
    """A method .sum, .mean or .cumsum of an array in a layer file adds up in the array's own type.

    Metrics compute in float64 whatever that is: tests/layers/metrics holds them to 1e-12.
    """
    counts = {"labels.py", "accuracy.py", "adaptive_avg_pool.py"}  # of booleans, which are added up as integers
    found = []
    files = sorted((Path(layerforge.__file__).parent / "layers").rglob("*.py"))
    for path in (path for path in files if path.parent.name != "metrics"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                mine = isinstance(node.func.value, ast.Name) and node.func.value.id in ("mask", "self")
                if node.func.attr in ("sum", "mean", "cumsum", "var", "std") and not mine and path.name not in counts:
                    found.append(f"{path.name}:{node.lineno} .{node.func.attr}")
    assert not found, "use sum_of, mean_of or cumulative_sum of layerforge/arrays/functional.py"


# Sure predictions -----------------------------------------------------------------------------------------------------

SURE = [4.0, 8.0, 14.0, 15.0, 16.5, 20.0, 25.0]
EXACT = {"rtol": 1e-4, "atol": 0.0}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("logit", SURE)
@pytest.mark.parametrize("settings", [{}, {"weight": [0.5, 2.0]}, {"ignore_index": 1}], ids=str)
def test_cross_entropy_of_a_sure_prediction(logit: float, settings: dict[str, Any], engine: str) -> None:
    x, t = np.array([[logit, 0.0]], "float32"), np.array([0])
    net = net_of({"type": "SoftmaxCrossEntropy", **settings}, engine, x=x, t=t)
    loss = float(net.forward(x=x, t=t)["y"])
    net.backward()
    rest = 1 / (1 + np.exp(logit))  # the probability of the other class
    np.testing.assert_allclose(loss, np.log1p(np.exp(-logit)), **EXACT)
    np.testing.assert_allclose(net.blobs["x"].grad, [[-rest, rest]], **EXACT)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("logit", SURE)
def test_nll_of_log_softmax_of_a_sure_prediction(logit: float, engine: str) -> None:
    x, t = np.array([[logit, 0.0]], "float32"), np.array([0])
    inputs = {"x": {"shape": [1, 2], "grad": True}, "t": {"shape": [1], "dtype": "int64"}}
    log_p = {"name": "p", "type": "LogSoftmax", "bottom": "x"}
    layers = [log_p, {"name": "y", "type": "NLLLoss", "bottom": ["p", "t"]}]
    net = Net.from_config({"seed": 1, "engine": engine, "inputs": inputs, "net": layers})
    loss = float(net.forward(x=x, t=t)["y"])
    net.backward()
    rest = 1 / (1 + np.exp(logit))
    np.testing.assert_allclose(loss, np.log1p(np.exp(-logit)), **EXACT)
    np.testing.assert_allclose(net.blobs["x"].grad, [[-rest, rest]], **EXACT)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("logit", SURE)
def test_binary_cross_entropy_and_log_sum_exp(logit: float, engine: str) -> None:
    x = np.array([[logit, -logit]], "float32")
    t = np.array([[1.0, 0.0]], "float32")
    net = net_of({"type": "BCEWithLogitsLoss", "reduction": "sum"}, engine, x=x, t=t)
    np.testing.assert_allclose(net.forward(x=x, t=t)["y"], 2 * np.log1p(np.exp(-logit)), **EXACT)
    net.backward()
    rest = 1 / (1 + np.exp(logit))
    np.testing.assert_allclose(net.blobs["x"].grad, [[-rest, rest]], **EXACT)
    zero = np.array([[0.0, -logit]], "float32")
    found = net_of({"type": "LogSumExp", "dim": 1}, engine, x=zero).forward(x=zero)["y"]
    np.testing.assert_allclose(found, np.log1p(np.exp(-logit)), **EXACT)


@pytest.mark.parametrize("engine", ENGINES)
def test_no_loss_is_negative(engine: str) -> None:
    rng = np.random.default_rng(3)
    x = (rng.normal(size=(2000, 5)) * rng.choice([1, 10, 30], (2000, 1))).astype("float32")
    t = x.argmax(1)
    for settings in ({}, {"label_smoothing": 0.1}, {"weight": [1.0, 2.0, 0.5, 1.0, 1.0]}, {"ignore_index": 2}):
        net = net_of({"type": "SoftmaxCrossEntropy", "reduction": "none", **settings}, engine, x=x, t=t)
        assert float(net.forward(x=x, t=t)["y"].min()) >= 0
        net = net_of({"type": "SoftmaxCrossEntropy", **settings}, engine, x=x, t=t)
        net.forward(x=x, t=t)
        net.backward()
        if settings.get("label_smoothing") is None:
            assert (net.blobs["x"].grad[np.arange(2000), t] <= 0).all()
