"""`layerforge test --precision`: what is proved of layers that round, what is told of others, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from support.contract import broken

from layerforge.arrays.bfloat16 import EPSILON, rounded
from layerforge.arrays.spec import Spec
from layerforge.check.case import Case
from layerforge.check.contract import applicable, run
from layerforge.check.halving import HalvedProbe
from layerforge.check.precision import halved_cases, judged
from layerforge.check.running_error import Approx, as_approx, of_sum, softmax
from layerforge.cli import main
from layerforge.contract.layer import Example
from layerforge.engines.protocol import NO_KERNELS
from layerforge.engines.rounding import ROUNDED, Rounding
from layerforge.layers.matrices.linear import Linear
from layerforge.layers.sequences.multihead_attention import MultiheadAttention
from layerforge.schema.precisions import BF16_MIXED
from layerforge.schema.registry import LAYERS

LONG = Example({"out_features": 3}, [Spec((16, 300), low=0.5, high=1.5)])


@pytest.mark.parametrize("name", sorted(ROUNDED))
def test_layers_that_round_are_as_near_to_float64_as_their_roundings(name: str) -> None:
    cases = [(what, case) for what, case in halved_cases(LAYERS.get(name)) if isinstance(case, Case)]
    assert len(cases) == len(LAYERS.get(name).examples)
    assert {what: words for what, case in cases if (words := broken(case, applicable(case)))} == {}


def test_what_stays_float32_is_told_of() -> None:
    assert {case for _, case in halved_cases(LAYERS.get("SoftmaxCrossEntropy"))} == {NO_KERNELS}


def test_a_layer_that_forgets_to_round_its_weights_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(Linear, LONG, precision=BF16_MIXED)
    assert run("as_near_as_its_roundings", case) is None
    monkeypatch.setattr(Rounding, "rounded_params", lambda self: self.params)
    assert run("as_near_as_its_roundings", case)


def test_a_layer_that_rounds_the_gradients_of_its_parameters_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    perform: Any = Rounding.perform

    def too_often(self: Any, doing: str, arrays: Any) -> Any:
        found = perform(self, doing, arrays)
        for _, grad in self.grads.items():
            grad[...] = rounded(np, grad)
        return found

    monkeypatch.setattr(Rounding, "perform", too_often)
    assert "weight: off by" in str(run("as_near_as_its_roundings", Case(Linear, LONG, precision=BF16_MIXED)))


# The bounds -----------------------------------------------------------------------------------------------------------


def test_the_bound_of_a_product_is_that_of_its_roundings() -> None:
    probe = HalvedProbe(Linear, LONG)
    results, bounds, _ = judged(probe)
    x, w = probe.host(probe.bottoms[0]).astype("float64"), rounded(np, probe.layer.params.weight).astype("float64")
    error = of_sum(w.size) * (np.abs(x) @ np.abs(w).T + np.abs(probe.layer.params.bias))
    y = results["top[0]"]
    assert np.all(bounds["top[0]"] <= error + EPSILON * (np.abs(y) + error) + 1e-30)
    assert np.all(bounds["top[0]"] >= error + EPSILON / 2 * (np.abs(y) + error))


def test_attention_with_errors_computes_what_attention_does() -> None:
    from layerforge.check.attention_error import ATTENTION

    for example in MultiheadAttention.examples:
        probe = HalvedProbe(MultiheadAttention, example)
        if probe.bottoms[0].size:
            results, _, dys = judged(probe)
            found = ATTENTION["MultiheadAttention"](probe.truth(), [dy.astype("float64") for dy in dys])
            for name, approx in found.items():
                if name in results:
                    np.testing.assert_allclose(approx.value, results[name], rtol=1e-9, atol=1e-12)


def test_errors_that_are_carried_on_hold_what_becomes_of_them() -> None:
    """Numbers anywhere within their errors give results within theirs."""
    rng = np.random.default_rng(0)
    a, b = Approx(rng.normal(size=(4, 5)), np.full((4, 5), 0.05)), as_approx(rng.normal(size=(5, 4)))
    seen = np.tril(np.ones((4, 4), bool))

    def of(a: Any, b: Any, soft: Any) -> list[Any]:
        product = a @ b
        return [product, product * 0.3, a - a * a, soft(product), (a * a).sum(1) if soft is not plain else
                (a * a).sum(1, keepdims=True)]  # fmt: skip

    def plain(scores: Any) -> Any:
        powers = np.exp(np.where(seen, scores, -np.inf))
        return powers / powers.sum(-1, keepdims=True)

    found = of(a, b, lambda scores: softmax(scores, seen))
    for _ in range(50):
        moved = of(a.value + 0.05 * rng.choice((-1, 1), a.value.shape), b.value, plain)
        for approx, value in zip(found, moved, strict=True):
            assert np.all(np.abs(value - approx.value) <= approx.error)


@pytest.mark.parametrize("scale", [1, 30, 1e4])
def test_the_weights_of_attention_are_those_of_exponentials_in_bfloat16(scale: float) -> None:
    """Their bound holds where weights round twice, and where scores are unsure by more than exp can tell of."""
    rng = np.random.default_rng(0)
    scores = Approx(scale * rng.normal(size=(50, 40)), np.full((50, 40), scale / 50))
    found = softmax(scores, np.ones((50, 40), bool)).rounded()
    assert np.isfinite(found.error).all()
    for _ in range(20):
        moved = scores.value + scores.error * rng.choice((-1, 1), scores.error.shape)
        powers = np.exp(moved - moved.max(-1, keepdims=True)).astype("float32")
        weights = rounded(np, rounded(np, powers) / powers.sum(-1, keepdims=True))
        assert np.all(np.abs(weights - found.value) <= found.error + np.finfo("float32").tiny)


def test_numbers_round_by_no_more_than_half_the_distance_of_their_neighbours() -> None:
    x = np.exp(np.random.default_rng(0).normal(size=10_000) * 5).astype("float32")
    off, bound = np.abs(rounded(np, x).astype("float64") - x), as_approx(x).rounded().error
    assert np.all(off <= bound)
    assert (off / bound).max() > 0.99
    assert np.all(bound <= EPSILON * x)


# The command ----------------------------------------------------------------------------------------------------------


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The report as JSON."""
    assert main(["test", *arguments, "--precision", BF16_MIXED, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_command_proves_it_and_says_what_stays_float32(capsys: pytest.CaptureFixture[str]) -> None:
    report = told(capsys, "Linear", "MSELoss", "--engine", "reference")
    assert report["checks"] == len(Linear.examples)
    assert list(report["backends"].values()) == [{"Linear": len(Linear.examples)}]
    reasons = {(each["layer"], each["check"], each["reason"]) for each in report["inapplicable"]}
    assert ("MSELoss-0", f"precision {BF16_MIXED}", NO_KERNELS) in reasons


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["Linear", "--precision", "16-mixed"], "precision 16-mixed needs a GPU"),
        (["Linear", "--precision", "bf16"], "unknown precision 'bf16'"),
        (["Linear", "--precision", "bf16-mixed", "--backend", "strict"], "is checked on numpy"),
        (["Linear", "--precision", "bf16-mixed", "--rtol", "1e-3"], "--rtol has no meaning"),
        (["Linear", "--precision", "bf16-mixed", "--against", "torch"], "--against has no meaning"),
        (["Linear", "--precision", "bf16-mixed", "--only", "gradients"], "no check 'gradients'"),
        (["Linear", "--only", "as_near_as_its_roundings"], "it is of layers in bf16-mixed"),
        (["configs/mnist_mlp.yaml", "--precision", "bf16-mixed"], "is for layers"),
    ],
)
def test_what_cannot_be_is_refused(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", *arguments]) == 2
    assert words in capsys.readouterr().err.replace("\n", " ")
