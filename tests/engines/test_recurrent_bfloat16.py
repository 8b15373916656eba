"""LSTM, GRU and RNN in bf16-mixed by the engine, where the processor has AMX: how near, and who would notice.

Like test_engines.py, no part of the suite where the engine cannot be had.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.tools import go_on_with_amx

from layerforge import Net
from layerforge.arrays.spec import Spec
from layerforge.check.contract import PRECISION_CHECKS, Case, run
from layerforge.check.precision import judged
from layerforge.check.recurrent_error import squashed
from layerforge.check.roundings import named_results
from layerforge.check.running_error import Approx
from layerforge.contract.layer import Example, Layer
from layerforge.engines.onednn import table
from layerforge.engines.onednn.recurrent import OneDnnLSTM, OneDnnRNN
from layerforge.schema.precisions import BF16_MIXED

TYPES = ("LSTM", "RNN")
SMALL = Example({"hidden_size": 5, "bidirectional": True}, [Spec((3, 4, 6))], tops=2)


@pytest.fixture(autouse=True)
def amx() -> None:
    """Go on where these layers compute in bfloat16."""
    go_on_with_amx()


# How near -------------------------------------------------------------------------------------------------------------

LONG = [
    Example({"hidden_size": 48}, [Spec((20, 30, 17))], tops=2),
    Example({"hidden_size": 33, "num_layers": 2, "bidirectional": True}, [Spec((7, 20, 40))], tops=2),
    Example({"hidden_size": 64, "bias": False}, [Spec((64, 12, 64))]),
]


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("example", LONG, ids=lambda e: str(e.bottoms[0].shape))
def test_over_many_steps_errors_stay_in_the_size_of_one_rounding(name: str, example: Example) -> None:
    """Where bounds, which take every rounding for the worst, have grown to nothing that binds: root mean squares."""
    mine: Any = Case(table.LAYERS[name], example, precision=BF16_MIXED).probe()
    results, _, dys = judged(mine)
    for what, got in named_results(mine, dys).items():
        off = np.sqrt(np.mean((got - results[what]) ** 2) / np.mean(results[what] ** 2))
        assert off <= 2 * 2**-8, f"{what}: {off * 2**8:.2f} roundings"


def test_the_bound_of_a_squashed_number_is_reached_and_no_wider_than_its_slope() -> None:
    a = Approx(np.array([-40.0, -1.0, 0.0, 0.3, 6.0]), np.full(5, 0.01))
    bound = squashed(np.tanh, a).error
    for end in (-0.01, 0.01):
        assert np.all(np.abs(np.tanh(a.value + end) - np.tanh(a.value)) <= bound)
    assert np.all(bound <= 0.01 + 1e-6) and bound[0] < 1e-6 and bound[2] > 0.0099


# Mutants --------------------------------------------------------------------------------------------------------------


class AddsToWhatWasThere(OneDnnLSTM):
    """Does not clear the memory in which gradients are added up."""

    def act(self, name: str, function: Any) -> Any:
        return super().act(name, (lambda *arrays: [a.fill(0.01) for a in arrays]) if "cleared" in name else function)


class ForgetsTheRecurrentBias(OneDnnRNN):
    """Gives one of two equal gradients."""

    def give(self, key: str, gradient: Any, theirs: Any, ours: Any) -> None:
        if not key.startswith("bias_hh"):
            super().give(key, gradient, theirs, ours)


class ForgetsTheLastState(OneDnnLSTM):
    """Takes the gradient of the last h for 0."""

    def run_backward(self, one: Any, dy: Any, dlasts: Any) -> Any:
        return super().run_backward(one, dy, [])


class SharesADirection(OneDnnRNN):
    """Both directions go from the first step to the last."""

    def how(self, one: Any) -> Any:
        return super().how(one._replace(direction=0))


@pytest.mark.parametrize("check", PRECISION_CHECKS)
@pytest.mark.parametrize(
    "mutant", [AddsToWhatWasThere, ForgetsTheRecurrentBias, ForgetsTheLastState, SharesADirection],
    ids=lambda cls: cls.__name__,
)  # fmt: skip
def test_mutant_is_caught(mutant: type[Layer], check: str) -> None:
    assert run(check, Case(mutant, SMALL, precision=BF16_MIXED))
    (healthy,) = mutant.__bases__
    assert run(check, Case(healthy, SMALL, precision=BF16_MIXED)) is None


# In nets --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("keep", ["none", "all"])
def test_gradients_of_two_backwards_add_up(name: str, keep: str) -> None:
    layer = {"name": "r", "type": name, "hidden_size": 9, "bottom": "x"}
    inputs = {"x": {"shape": [4, 6, 5], "grad": True}}
    net = Net.from_config({"seed": 2, "precision": BF16_MIXED, "inputs": inputs, "net": [layer]}, keep=keep)
    rng = np.random.default_rng(0)
    x, dy = (rng.normal(size=shape).astype("float32") for shape in ((4, 6, 5), (4, 6, 9)))
    found = []
    for times in (1, 2):
        net.zero_grad()
        for _ in range(times):
            net.forward(x=x)
            net.backward(r=dy)
        found.append({key: view.grad.copy() for key, view in net.params["r"].items()})
    assert net.current_plan.choices["r"].precision == BF16_MIXED
    for key, once in found[0].items():
        np.testing.assert_allclose(found[1][key], 2 * once, rtol=1e-5, atol=1e-7, err_msg=key)


def test_the_last_c_is_a_top_in_two_bytes() -> None:
    layer = {"name": "r", "type": "LSTM", "hidden_size": 9, "bottom": "x", "top": ["y", "h", "c"]}
    x = np.random.default_rng(0).normal(size=(4, 6, 5)).astype("float32")
    found = []
    for precision in (BF16_MIXED, "float32"):
        inputs = {"x": {"shape": [4, 6, 5]}}
        net = Net.from_config({"seed": 2, "precision": precision, "inputs": inputs, "net": [layer]})
        found.append(net.forward(x=x)["c"])
        assert net.current_plan.choices["r"].precision == precision
    np.testing.assert_allclose(found[0], found[1], rtol=0.02, atol=0.01)
