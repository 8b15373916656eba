"""Weights of samples as a third bottom of a loss: what they mean, on both engines, in parts of a batch, in training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from layerforge import LayerForgeError, Net, Solver

RNG = np.random.default_rng(3)
X, LABEL = RNG.normal(size=(12, 4)), RNG.integers(0, 3, 12)
TWICE = RNG.integers(0, 4, 12).astype(float)  # how often each sample counts
LOSSES = {
    "SoftmaxCrossEntropy": {"weight": [0.5, 2.0, 1.0]},
    "FocalLoss": {},
    "HingeLoss": {"norm": "L2"},
    "MSELoss": {},
    "BCEWithLogitsLoss": {"pos_weight": 2.0},
}


def net(kind: str, params: dict[str, Any], count: int, weighted: bool, engine: str = "auto", **more: Any) -> Net:
    between = kind in ("MSELoss", "BCEWithLogitsLoss")
    target = {"shape": [count, 3]} if between else {"shape": [count], "dtype": "int64"}
    inputs = {"x": {"shape": [count, 4]}, "t": target, **({"w": {"shape": [count]}} if weighted else {})}
    bottoms = ["fc", "t", *(["w"] if weighted else [])]
    layers = [
        {"name": "fc", "type": "Linear", "bottom": "x", "out_features": 3},
        {"name": "loss", "type": kind, "bottom": bottoms, **params},
    ]
    return Net.from_config({"inputs": inputs, "net": layers, "dtype": "float64", "engine": engine, **more})


def targets(kind: str, rows: Any = slice(None)) -> Any:
    return np.eye(3)[LABEL][rows] if kind in ("MSELoss", "BCEWithLogitsLoss") else LABEL[rows]


@pytest.mark.parametrize("engine", ["auto", "reference"])
@pytest.mark.parametrize("kind", LOSSES)
def test_a_weight_counts_a_sample_so_often(kind: str, engine: str) -> None:
    rows = np.repeat(np.arange(12), TWICE.astype(int))
    one = net(kind, LOSSES[kind], 12, True, engine)
    many = net(kind, LOSSES[kind], len(rows), False, engine)
    many.load_arrays(one.arrays(), "a test")
    a = one.forward(x=X, t=targets(kind), w=TWICE)["loss"]
    b = many.forward(x=X[rows], t=targets(kind, rows))["loss"]
    one.backward()
    many.backward()
    assert float(a) == pytest.approx(float(b), rel=1e-12)
    for name in ("weight", "bias"):
        grads = [made.params["fc"][name].grad for made in (one, many)]
        np.testing.assert_allclose(*grads, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["SoftmaxCrossEntropy", "MSELoss"])
def test_parts_of_a_batch_make_the_same_step(kind: str) -> None:
    whole, parts = (Solver(net(kind, LOSSES[kind], 12, True), type="SGD", lr=0.5) for _ in range(2))
    whole.step(x=X, t=targets(kind), w=TWICE)
    pieces = [{"x": X[rows], "t": targets(kind, rows), "w": TWICE[rows]} for rows in (slice(0, 5), slice(5, 12))]
    parts.begin_step(pieces)
    for piece in pieces:
        parts.accumulate(**piece)
    parts.update()
    for name, array in whole.net.arrays().items():
        np.testing.assert_allclose(parts.net.arrays()[name], array, rtol=1e-12)


def test_weights_of_the_net_itself_get_gradients() -> None:
    """Weights that a layer computes: the loss, and the derivatives by them."""
    made = Net.from_config(
        {
            "inputs": {
                "x": {"shape": [12, 4]},
                "t": {"shape": [12], "dtype": "int64"},
                "w": {"shape": [12], "grad": True},
            },
            "net": [
                {"name": "fc", "type": "Linear", "bottom": "x", "out_features": 3},
                {"name": "w2", "type": "Exp", "bottom": "w"},
                {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t", "w2"]},
            ],
            "dtype": "float64",
        }
    )
    loss = float(made.forward(x=X, t=LABEL, w=TWICE)["loss"])
    made.backward()
    each = -np.log(np.exp(S := made.blobs["fc"].data) / np.exp(S).sum(1, keepdims=True))[np.arange(12), LABEL]
    omega = np.exp(TWICE)
    assert loss == pytest.approx(float((omega * each).sum() / omega.sum()), rel=1e-12)
    assert made.mean_over() == pytest.approx(omega.sum())
    np.testing.assert_allclose(made.blobs["w"].grad, omega * (each - loss) / omega.sum(), rtol=1e-9)


def test_no_weight_at_all_is_a_mean_over_nothing() -> None:
    made = net("SoftmaxCrossEntropy", {}, 12, True)
    assert float(made.forward(x=X, t=LABEL, w=np.zeros(12))["loss"]) == 0
    made.backward()
    assert not made.params["fc"]["weight"].grad.any()


def test_weights_that_are_none_are_refused() -> None:
    given = {"x": X, "t": LABEL, "w": TWICE - 1}
    solver = Solver(made := net("SoftmaxCrossEntropy", {}, 12, True), lr=0.1)
    for refused in (lambda: made.forward(**given), lambda: solver.begin_step([given, given])):
        with pytest.raises(LayerForgeError, match=r"layer 'loss' \(.*\): a weight of a sample is below 0") as told:
            refused()
        assert told.value.exit_code == 3
