"""NaN and infinities in the engine's layers: alone, fused, in training, evaluation and `net.forward`, as the reference.

Like test_engines.py, no part of the suite where the engine cannot be had.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.engine_pairs import pair

from layerforge import DivergedError, Net, Solver
from layerforge.engines.onednn import table

ACTIVATIONS = ("ReLU", "LeakyReLU", "Tanh", "Sigmoid", "ELU", "GELU", "GELU tanh", "SiLU")
BELOW = ("Linear", "Conv2d", "ConvTranspose2d", "BatchNorm", "Add", "Conv2d BatchNorm", "Linear of many rows")
KINDS = {"nan": [np.nan], "-nan": [-np.nan], "inf": [np.inf], "-inf": [-np.inf], "all": [np.nan, np.inf, -np.inf]}
SAFE = "ignore:invalid value encountered:RuntimeWarning"  # inf - inf, which NumPy says of the reference


def layers(below: str, activation: str) -> tuple[list[int], list[dict[str, Any]]]:
    """The shape of x and a net: layers that may take an activation, and the activation `a`."""
    kind, *approximate = activation.split()
    last = [{"name": "a", "type": kind, **({"approximate": approximate[0]} if approximate else {})}]
    last.append({"name": "end", "type": "Neg"})  # what an output is made of stays
    image, wide = {"out_channels": 5, "kernel_size": 3}, [40 if "many" in below else 4, 6]
    if below == "Add":
        first = [{"name": "n", "type": "Neg", "bottom": "x"}, {"name": "f", "type": "Add", "bottom": ["n", "x"]}]
        return [4, 6], [*first, *last]
    if below.startswith("Linear"):
        return wide, [{"name": "f", "type": "Linear", "bottom": "x", "out_features": 7}, *last]
    types = [{"name": t, "type": t, **(image if "Conv" in t else {})} for t in below.split()]
    types[0]["bottom"] = "x"
    return [4, 3, 6, 6], [*types, *last]


def numbers(shape: list[int], kind: str) -> np.ndarray:
    """Of a normal distribution, two of them not finite."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype("float32")
    for _ in range(2):
        x[tuple(rng.integers(n) for n in shape)] = rng.choice(KINDS[kind])
    return x


@pytest.mark.filterwarnings(SAFE)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("below", BELOW)
def test_what_is_not_finite_goes_through_fused_layers(below: str, activation: str) -> None:
    shape, net = layers(below, activation)
    for phase, backward in (("train", True), ("eval", True), ("eval", False)):
        for kind in KINDS:
            x, tops = numbers(shape, kind), []
            for engine in ("reference", "auto"):
                made = Net.from_config({"seed": 3, "engine": engine, "inputs": {"x": {"shape": shape}}, "net": net},
                                       keep="none")  # fmt: skip
                tops.append(np.array(made.forward(phase=phase, backward=backward, x=x)["end"].data))
            np.testing.assert_allclose(tops[1], tops[0], rtol=1e-4, atol=1e-5, err_msg=f"{kind} in {phase}")


def test_activations_are_fused_all_the_same() -> None:
    for below in BELOW:
        shape, net = layers(below, "ReLU")
        made = Net.from_config({"inputs": {"x": {"shape": shape}}, "net": net}, keep="none")
        made.forward(phase="train", backward=True, x=numbers(shape, "nan"))
        assert made.current_plan.choices["a"].into


@pytest.mark.parametrize("dy", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["ReLU", "LeakyReLU", "Tanh", "Sigmoid", "ELU", "GELU", "SiLU"])
def test_a_gradient_that_is_no_number_goes_down(name: str, dy: float) -> None:
    """Where the derivative is not 0."""
    x = np.array([[0.5, 1.5, 2.5]], "float32")
    _, mine = pair(table.LAYERS[name], {}, x)
    mine.forward()
    (dx,) = mine.backward([np.array([[1.0, dy, 1.0]], "float32")])
    assert np.isfinite(dx).tolist() == [[True, False, True]]


@pytest.mark.parametrize("kernel", [2, 3, 16], ids=["small", "overlapping", "more than 255 elements"])
@pytest.mark.parametrize("kind", KINDS)
def test_max_pooling_of_what_is_not_finite(kernel: int, kind: str) -> None:
    params = {"kernel_size": kernel, "stride": 2, "padding": 1}
    x = numbers([2, 3, 18, 18], kind)
    x[0, 0, :4, :4] = -np.inf  # windows without a finite number
    theirs, mine = pair(table.LAYERS["MaxPool2d"], params, x)
    want, got = theirs.forward()[0], mine.forward()[0]
    np.testing.assert_array_equal(got, want)
    dy = np.random.default_rng(1).normal(size=want.shape).astype("float32")
    np.testing.assert_allclose(mine.backward([dy])[0], theirs.backward([dy])[0], atol=1e-6)
    mine.layer.run.keep = False
    np.testing.assert_array_equal(mine.forward()[0], want)


@pytest.mark.filterwarnings(SAFE)
@pytest.mark.parametrize("kind", ["ReLU", "MaxPool1d"])
@pytest.mark.parametrize("engine", ["reference", "auto"])
def test_training_stops_where_nothing_below_is_learned(kind: str, engine: str) -> None:
    x, t = np.abs(np.random.default_rng(0).normal(size=(16, 1, 8))).astype("float32"), np.arange(16) % 3
    x[:, :, ::2] *= -1  # their roots are NaN
    inputs = {"x": {"shape": list(x.shape)}, "t": {"shape": [16], "dtype": "int64"}}
    window = {"kernel_size": 2} if kind == "MaxPool1d" else {}
    net = [{"name": "s", "type": "Sqrt", "bottom": "x"}, {"name": "r", "type": kind, **window},
           {"name": "f", "type": "Flatten"}, {"name": "fc", "type": "Linear", "out_features": 3},
           {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"]}]  # fmt: skip
    solver = Solver(Net.from_config({"engine": engine, "inputs": inputs, "net": net}), type="SGD", lr=0.1)
    with pytest.raises(DivergedError):
        for _ in range(5):
            solver.step(x=x, t=t)


def far(value: float, where: tuple[int, ...], steps: int = 9) -> list[np.ndarray]:
    """Queries, keys and values of two heads, some elements of the keys not finite, or so large that scores overflow."""
    rng = np.random.default_rng(3)
    q, k, v = (rng.normal(size=(2, 2, steps, 5)).astype("float32") for _ in range(3))
    q[0, :, where[0]] = np.abs(q[0, :, where[0]])
    k[0, :, where[1]] = value
    if abs(value) == 1e30:
        q[0, :, where[0]] *= 1e30
    return [q, k, v]


@pytest.mark.filterwarnings(SAFE)
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("value", [np.nan, -np.inf, np.inf, -1e30, 1e30], ids=str)
@pytest.mark.parametrize("seen", ["all", "causal", "mask", "causal and mask"])
def test_attention_of_what_is_not_finite(seen: str, value: float) -> None:
    """What is seen makes a row NaN, what is hidden nothing; a query that sees nothing is 0 and has no gradient."""
    for where in ((0, 0), (3, 0), (3, 6)):
        bottoms = far(value, where)
        if "mask" in seen:
            mask = np.ones((2, 9, 9), "int64")
            mask[0, :, 6], mask[0, 4], mask[1, 0] = 0, 0, 0
            bottoms.append(mask)
        probes = pair(table.LAYERS["ScaledDotProductAttention"], {"causal": True} if "causal" in seen else {}, *bottoms)
        tops = [probe.forward()[0] for probe in probes]
        np.testing.assert_allclose(tops[1], tops[0], rtol=1e-4, atol=1e-5, err_msg=f"{where}")
        if "mask" in seen:
            assert not tops[1][0, :, 4].any()
        dy = np.random.default_rng(4).normal(size=tops[0].shape).astype("float32")
        grads = [probe.gradients([dy]) for probe in probes]
        for name, grad in grads[0].items():
            assert np.isfinite(grad[1]).all()
            np.testing.assert_allclose(grads[1][name][1], grad[1], rtol=1e-3, atol=1e-5, err_msg=f"{name} {where}")
