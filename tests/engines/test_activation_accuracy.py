"""Activations on hard values, against themselves in float64: forward, backward, alone and in the layer below.

The engine may be off by 4 times what the reference is off by, and by 4 roundings of the largest number; the reference
by a few roundings. Like test_engines.py, no part of the suite where the engine cannot be had.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from layerforge import Net
from layerforge.arrays.spec import Spec
from layerforge.check.harness import Probe
from layerforge.contract.layer import Example
from layerforge.engines.onednn import table
from layerforge.engines.onednn.activation import ALGORITHMS
from layerforge.schema.registry import LAYERS

TINY = 1e-33  # what is left of gates that are nearly shut
EPS = float(np.finfo("float32").eps)
RNG = np.random.default_rng(0)
SPREAD = RNG.normal(size=1500).astype("float32")
INPUTS = {
    "usual": SPREAD,
    "wide": SPREAD * 30,
    "tiny": SPREAD * np.float32(1e-6),
    "nearly nothing": SPREAD * np.float32(1e-30),
    "far above": np.abs(SPREAD) * 100 + 200,
    "far below": -np.abs(SPREAD) * 100 - 200,
    "at the end of a gate": np.linspace(-110, -80, 1500, dtype="float32"),
    "huge": SPREAD * np.float32(1e37),
    "extremes": np.array([3.4e38, -3.4e38, 1e19, -1e19, 0.0, -0.0, 1.0, -1.0, 1e-38, -1e-38], "float32"),
    "infinite": np.array([np.inf, -np.inf, 1.0, -1.0], "float32"),
}
TYPES = [("GELU", {"approximate": "tanh"}), ("SiLU", {"beta": -1.7}), ("SiLU", {"beta": 30.0}), ("ELU", {"alpha": 2.5})]
TYPES += [(name, {}) for name in ALGORITHMS]
OTHERS = ("Mish", "Softplus", "Softsign", "Erf", "LogSigmoid", "SELU", "CELU", "HardSwish", "HardSigmoid", "ReLU6")
REFERENCES = [*TYPES, *[(name, {}) for name in (*OTHERS, "Hardtanh")]]
REFERENCES += [("Threshold", {"threshold": 0.1, "value": 2.0}), ("Softplus", {"beta": 3.0})]


def cotangent(x: np.ndarray) -> np.ndarray:
    return np.random.default_rng(1).normal(size=x.shape).astype("float32")


def both_ways(probe: Probe, x: np.ndarray, dtype: str) -> list[np.ndarray]:
    """y and dx."""
    probe.bottoms = [x.astype(dtype)]
    y = np.array(probe.forward()[0])
    return [y, np.array(probe.backward([cotangent(x).astype(dtype)])[0])]


def made(cls: type[Any], params: dict[str, Any], x: np.ndarray, dtype: str) -> list[np.ndarray]:
    return both_ways(Probe(cls, Example(params, [Spec(x.shape)]), dtype=dtype), x, dtype)


def off(mine: np.ndarray, truth: np.ndarray) -> float:
    """The largest error. What is not finite must be so exactly."""
    finite = np.isfinite(truth.astype("float32"))
    np.testing.assert_array_equal(mine[~finite], truth.astype("float32")[~finite])
    return float(np.abs(mine[finite] - truth[finite]).max(initial=0.0))


def size(truth: np.ndarray) -> float:
    return float(np.abs(truth[np.isfinite(truth.astype("float32"))]).max(initial=0.0))


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize(("name", "params"), TYPES, ids=str)
def test_the_engine_is_hardly_worse_than_the_reference(name: str, params: dict[str, Any]) -> None:
    for kind, x in INPUTS.items():
        truths, theirs = (made(LAYERS.get(name), params, x, dtype) for dtype in ("float64", "float32"))
        mine = made(table.LAYERS[name], params, x, "float32")
        for what, truth, their, my in zip(("y", "dx"), truths, theirs, mine, strict=True):
            allowed = 4 * off(their, truth) + 4 * EPS * size(truth) + TINY
            assert off(my, truth) <= allowed, f"{what} of {kind} values is off by {off(my, truth)}"


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize(("name", "params"), REFERENCES, ids=str)
def test_the_reference_is_right_but_for_rounding(name: str, params: dict[str, Any]) -> None:
    for kind, x in INPUTS.items():
        truths, mine = (made(LAYERS.get(name), params, x, dtype) for dtype in ("float64", "float32"))
        for what, truth, my in zip(("y", "dx"), truths, mine, strict=True):
            assert off(my, truth) <= 16 * EPS * size(truth) + TINY, f"{what} of {kind} values is {off(my, truth)} off"


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize(("name", "params"), TYPES, ids=str)
def test_in_the_layer_below_it_is_as_good(name: str, params: dict[str, Any]) -> None:
    """Where no backward follows, Add applies it to x + 0."""
    inputs = {"inputs": {n: {"shape": [4]} for n in "xz"}}
    net = [{"name": "s", "type": "Add", "bottom": ["x", "z"]}, {"name": "a", "type": name, **params}]
    net.append({"name": "end", "type": "Neg"})  # what an output is made of stays
    fused = Net.from_config({**inputs, "net": net}, keep="none")
    for kind, x in INPUTS.items():
        my = -np.array(fused.forward(phase="eval", backward=False, x=x, z=np.zeros_like(x))["end"].data)
        truth, their = (made(LAYERS.get(name), params, x, dtype)[0] for dtype in ("float64", "float32"))
        assert off(my, truth) <= 4 * off(their, truth) + 4 * EPS * size(truth) + TINY, kind
    assert fused.current_plan.choices["a"].into == "s"
