"""LSTM, GRU and RNN in bf16-mixed by the engine, where the processor has AMX: how near, and who would notice.

Like test_engines.py, no part of the suite where the engine cannot be had.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.contract import broken
from support.tools import go_on_with_amx

from layerforge import Net
from layerforge.arrays import threads
from layerforge.arrays.spec import Spec
from layerforge.check.contract import PRECISION_CHECKS, Case, run
from layerforge.check.harness import Probe
from layerforge.check.precision import halved_cases, judged, why_wide
from layerforge.check.recurrent_error import squashed
from layerforge.check.roundings import named_results
from layerforge.check.running_error import Approx
from layerforge.contract.layer import Example, Layer
from layerforge.engines.onednn import gru, primitives, table
from layerforge.engines.onednn.gru import OneDnnGRU
from layerforge.engines.onednn.recurrent import OneDnnLSTM, OneDnnRNN
from layerforge.plan.engines import FAST
from layerforge.schema.precisions import BF16_MIXED
from layerforge.schema.registry import LAYERS

TYPES = ("LSTM", "GRU", "RNN")
SMALL = Example({"hidden_size": 5, "bidirectional": True}, [Spec((3, 4, 6))], tops=2)


@pytest.fixture(autouse=True)
def amx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Go on where these layers compute in bfloat16; a GRU of any size."""
    go_on_with_amx()
    monkeypatch.setattr(gru, "SMALL", 0)


@pytest.mark.parametrize("name", TYPES)
def test_all_examples_that_compute_so_are_within_their_bounds(name: str) -> None:
    cases = {what: case for what, case in halved_cases(LAYERS.get(name), FAST) if isinstance(case, Case)}
    assert len(cases) > 7
    assert {what: words for what, case in cases.items() if (words := broken(case, PRECISION_CHECKS))} == {}


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


class ReadsTheSameStep(OneDnnGRU):
    """Multiplies the gradients of a step by its own h, not by that before."""

    def give_products(self, one: Any, x: Any, y: Any, du: Any, dw: Any) -> None:
        super().give_products(one._replace(direction=1 - one.direction), x, y, du, dw)


class KeepsTheGradientWhole(OneDnnGRU):
    """Hands all of dh on to the h before, not z of it."""

    def combined(self, name: str, a: Any, other: Any, into: Any, algorithm: int = primitives.MULTIPLY) -> None:
        if not name.startswith("dh directly"):
            super().combined(name, a, other, into, algorithm)


class TakesAnotherSlope(OneDnnGRU):
    """Gives z the slope of r."""

    def slopes(self, one: Any, u: Any, w_n: Any, h: Any) -> list[Any]:
        s_r, _, s_n = super().slopes(one, u, w_n, h)
        return [s_r, s_r, s_n]


MUTANTS = (
    AddsToWhatWasThere, ForgetsTheRecurrentBias, ForgetsTheLastState, SharesADirection, ReadsTheSameStep,
    KeepsTheGradientWhole, TakesAnotherSlope,
)  # fmt: skip


@pytest.mark.parametrize("check", PRECISION_CHECKS)
@pytest.mark.parametrize(
    "mutant", MUTANTS,
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


def test_small_and_very_long_gru_stay_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    def why(hidden: int, *shape: int) -> str | None:
        example = Example({"hidden_size": hidden}, [Spec(shape)])
        return why_wide(table.LAYERS["GRU"], Probe(LAYERS.get("GRU"), example, dtype="float32"))

    assert "so few numbers" in str(why(64, 64, 3, 4))
    assert "more than 512 steps" in str(why(256, 32, 513, 4))
    assert why(256, 32, 3, 4) is None


def limits() -> list[int]:
    """How many threads OpenMP is told of."""
    return [library.omp_get_max_threads() for library in threads.CURRENT.openmp]


def test_a_gru_of_small_steps_takes_one_thread_for_them_and_gives_the_others_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, found, told, copy = threads.CURRENT.asked, [], [], primitives.copy

    def watched(x: Any, y: Any) -> Any:
        told.append(limits())
        return copy(x, y)

    layer, inputs = {"name": "r", "type": "GRU", "hidden_size": 32}, {"x": {"shape": [16, 6, 5]}}
    x = np.random.default_rng(0).normal(size=(16, 6, 5)).astype("float32")
    monkeypatch.setattr(primitives, "copy", watched)
    try:
        for shared in (0, 2**22):
            monkeypatch.setattr(gru, "SHARED", shared)
            net = Net.from_config({"seed": 2, "precision": BF16_MIXED, "threads": 2, "inputs": inputs, "net": [layer]})
            told.clear()
            for _ in range(4):
                net.zero_grad()
                y = net.forward(x=x)["r"]
                net.backward(r=np.ones_like(y))
                assert set(limits()) == {2}
                found.append([y, *(view.grad.copy() for view in net.params["r"].values())])
            assert ([1] in told) == (shared > 0)
    finally:
        threads.CURRENT.asked = asked
        threads.settle()
    for others in found[1:]:
        for mine, first in zip(others, found[0], strict=True):
            np.testing.assert_allclose(mine, first, rtol=1e-4, atol=1e-5)
