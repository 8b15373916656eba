"""The contract of the engines: every engine's layer on every example of its reference, and broken ones that are caught.

Where the engine cannot be had these tests are no part of the suite; conftest.py says where that is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.contract import broken
from support.engine_pairs import pair

from layerforge.arrays.spec import Spec
from layerforge.check.contract import ENGINE_CHECKS, Case, applicable, engine_cases, run, why_not
from layerforge.check.engines import refusal, unaligned
from layerforge.contract.layer import Example
from layerforge.engines.onednn import primitives, table
from layerforge.engines.onednn.add import OneDnnAdd
from layerforge.engines.onednn.cross_entropy import OneDnnSoftmaxCrossEntropy
from layerforge.engines.onednn.elementwise import elementwise
from layerforge.engines.onednn.linear import FEW, OneDnnLinear
from layerforge.engines.onednn.op import Op
from layerforge.engines.onednn.pool import OneDnnAvgPool2d, OneDnnMaxPool2d
from layerforge.engines.onednn.strides import describable
from layerforge.plan.engines import FAST
from layerforge.schema import registry
from layerforge.schema.registry import LAYERS

CASES = [pytest.param(case, id=name) for t in table.LAYERS for name, case in engine_cases(LAYERS.get(t))]
MANY_ROWS = Case(OneDnnLinear, Example({"out_features": 4}, [Spec((FEW + 1, 5))]))  # the examples have few
CASES.append(pytest.param(MANY_ROWS, id="many rows"))


@pytest.mark.parametrize("case", CASES)
def test_contract(case: Case) -> None:
    assert broken(case, applicable(case)) == {}


def test_the_engine_is_here() -> None:
    assert registry.engine(FAST).missing() is None


@pytest.mark.parametrize("name", table.LAYERS)
def test_every_layer_of_the_engine_takes_some_example(name: str) -> None:
    assert list(engine_cases(LAYERS.get(name)))


# Mutants --------------------------------------------------------------------------------------------------------------

MUTANTS: list[tuple[str, type[Any]]] = []


def caught_by(*checks: str) -> Any:
    """Collect a broken layer with the checks that must catch it. What it does wrong is more than running Ops."""

    def add(cls: type[Any]) -> type[Any]:
        cls.replays = False
        MUTANTS.extend((check, cls) for check in checks)
        return cls

    return add


@caught_by("agrees")
class ForgetsTheBias(OneDnnLinear):
    def forward(self, x: Any) -> Any:
        self.bias = False
        return super().forward(x)


@caught_by("agrees")
class HalvesTheGradient(OneDnnLinear):
    def backward(self, dy: Any) -> Any:
        return super().backward(dy) * np.float32(0.5)


@caught_by("agrees")
class IsALittleOff(OneDnnLinear):
    def forward(self, x: Any) -> Any:
        return super().forward(x) * np.float32(1.0001)


@caught_by("accumulates")
class ForgetsToAdd(OneDnnLinear):
    """Its product with a row of ones has no sum among its post-ops, so it overwrites."""

    def add_column_sums(self, dz: Any, total: Any) -> None:
        np.sum(dz, axis=0, out=total)


@caught_by("accumulates")
class OverwritesBoth(OneDnnLinear):
    def backward(self, dy: Any) -> Any:
        self.grads.weight[...] = 0
        return super().backward(dy)


@caught_by("overwrites_grad")
class AddsToWhatItShouldForget(OneDnnLinear):
    adding = primitives.ADDED


@caught_by("overwrites_grad")
class SetsForEver(OneDnnLinear):
    """Its primitives are those of the first time."""

    def op(self, name: str, maker: Any, *options: Any, **more: Any) -> Op:
        overwrites, self.overwrites_grad = self.overwrites_grad, False
        try:
            return super().op(name, maker, *options, **more)
        finally:
            self.overwrites_grad = overwrites


@caught_by("backward_reads")
class ReadsTheBottomUnsaid(OneDnnLinear):
    backward_reads = ()


@caught_by("backward_reads")
class ReadsTheTopUnsaid(elementwise("Tanh")):  # type: ignore[misc]
    backward_reads = ()


@caught_by("in_place")
class InPlaceInNameOnly(elementwise("Tanh")):  # type: ignore[misc]
    inplace = True


@caught_by("inputs_untouched")
class ScalesWhatItIsGiven(OneDnnLinear):
    def backward(self, dy: Any) -> Any:
        dx = super().backward(dy)
        dy *= 2
        return dx


@caught_by("second_use")
class KeepsAnOldAddress(OneDnnLinear):
    """Its primitive is bound once, to the arrays of the first call."""

    def op(self, name: str, maker: Any, *options: Any, **more: Any) -> Op:
        op = super().op(name, maker, *options, **more)
        call = type(op).__call__

        class Bound(Op):
            def bind(self, arrays: Any) -> None:
                if not self.bound:
                    super().bind(arrays)
                self.bound = tuple(arrays)

        op.__class__ = Bound
        assert call is Op.__call__
        return op


@caught_by("second_use")
class KeepsTheWeightsOfTheFirstCall(OneDnnLinear):
    def op(self, name: str, *made_of: Any, **named: Any) -> Any:
        op = super().op(name, *made_of, **named)
        if name not in ("y", "few y"):
            return op
        return lambda x, weight, *others: op(x, self.view("first", weight, np.copy), *others)


@caught_by("second_use")
class ReplaysTheFirstNumbers(OneDnnLinear):
    """It returns what it returned for these arrays, whatever they hold now."""

    def perform(self, doing: str, arrays: Any) -> Any:
        known = self.views.get(doing, ((), None))
        if len(known[0]) == len(arrays) and all(a is b for a, b in zip(known[0], arrays, strict=True)):
            return known[1].copy()
        result = super().perform(doing, arrays)
        if doing == "forward":
            self.views[doing] = tuple(arrays), result.copy()
        return result


@caught_by("several_backwards")
class UsesUpWhatItSaved(OneDnnLinear):
    def backward(self, dy: Any) -> Any:
        dx = super().backward(dy)
        if isinstance(self.saved.rows, np.ndarray):
            self.saved.rows[...] = 0
        return dx


@caught_by("any_memory", "noncontiguous")
class AssumesRows(OneDnnLinear):
    def matrix(self, name: str, x: Any, life: str = "call") -> Any:
        return np.lib.stride_tricks.as_strided(x, x.shape, np.empty(x.shape, x.dtype).strides).reshape(-1, x.shape[-1])


@caught_by("any_memory")
class TakesRepeatedNumbersForMemory(OneDnnAdd):
    def backward(self, dy: Any) -> Any:
        return tuple(np.lib.stride_tricks.as_strided(dy, dy.shape, np.empty(dy.shape, dy.dtype).strides) for _ in "ab")


@caught_by("needs_grad")
class FrozenTakesOthersAlong(OneDnnLinear):
    def backward(self, dy: Any) -> Any:
        return super().backward(dy) if self.needs_param_grad.weight else dy @ self.params.weight


@caught_by("views")
class GivesDyBack(elementwise("ReLU")):  # type: ignore[misc]
    def backward(self, dy: Any) -> Any:
        return dy


@caught_by("eval_saves_nothing")
class CachesOnItself(OneDnnLinear):
    def forward(self, x: Any) -> Any:
        self.x = x
        return super().forward(x)


@caught_by("eval_is_stateless")
class LearnsInEval(table.LAYERS["BatchNorm"]):  # type: ignore[misc]
    def forward(self, x: Any) -> Any:
        self.state.running_mean[...] *= 0.9
        return super().forward(x)


@caught_by("jvp")
class TangentOfTheBias(OneDnnLinear):
    def jvp(self, dx: Any) -> Any:
        return super().jvp(dx) + 1


@caught_by("deterministic")
class AddsNoise(OneDnnLinear):
    def forward(self, x: Any) -> Any:
        return super().forward(x) + np.random.default_rng().random(dtype="float32") * np.float32(1e-3)


@caught_by("linear_backward")
class Clips(OneDnnLinear):
    def backward(self, dy: Any) -> Any:
        return super().backward(dy.clip(-0.5, 0.5))


@caught_by("new_batch_size", "second_use")
class RemembersTheBatchSize(OneDnnLinear):
    def forward(self, x: Any) -> Any:
        y = super().forward(x)
        return y[: self.views["batch"][1]] if "batch" in self.views else self.view("batch", y, len) and y


@caught_by("per_sample")
class MixesTheBatch(OneDnnLinear):
    def forward(self, x: Any) -> Any:
        return super().forward(x - x.mean(axis=0))


@caught_by("shapes_and_dtypes")
class TurnsIntoFloat64(OneDnnLinear):
    def forward(self, x: Any) -> Any:
        return super().forward(x).astype("float64")


@caught_by("accurate")
class AddsUpInFloat32(table.LAYERS["BatchNorm"]):  # type: ignore[misc]
    """Its mean and variance are oneDNN's own; more of the kind are in test_engines_accuracy.py."""

    def normalize_many(self, x: Any, mean: Any, var: Any, y: Any, mask: Any, y_rows: Any) -> None:
        self.normalize(x, mean, var, y, mask, fixed=False)


@caught_by("state_round_trip")
class LearnsOutsideOfState(table.LAYERS["BatchNorm"]):  # type: ignore[misc]
    def forward(self, x: Any) -> Any:
        known = self.views.setdefault("offset", (None, 0.0))[1]
        if self.phase == "train":
            self.views["offset"] = None, float(x.mean())
        return super().forward(x) + np.float32(known)


@caught_by("random_by_sample")
class DrawsByBatch(OneDnnLinear):
    def forward(self, x: Any) -> Any:
        return super().forward(x * self.random(x.shape[::-1]).T)


@caught_by("jvp_params")
class TangentOfTheWeightsAlone(OneDnnLinear):
    def jvp_params(self, weight: Any = None, bias: Any = None) -> Any:
        return super().jvp_params(weight=weight)


@pytest.mark.parametrize(("check", "mutant"), MUTANTS, ids=[f"{c}-{m.__name__}" for c, m in MUTANTS])
def test_mutant_is_caught(check: str, mutant: type[Any]) -> None:
    healthy = next(cls for cls in mutant.__mro__ if cls in table.LAYERS.values())
    cases = [case for _, case in engine_cases(LAYERS.get(healthy.type_name))]
    assert all(run(check, case) is None for case in cases if why_not(check, case) is None)
    broken = [Case(mutant, case.example) for case in cases]
    assert any(run(check, case) for case in broken if why_not(check, case) is None), f"{mutant.__name__} passes {check}"


def test_every_check_has_a_mutant() -> None:
    assert {check for check, _ in MUTANTS} == set(ENGINE_CHECKS)


# What the examples do not show ----------------------------------------------------------------------------------------


def test_the_first_of_equal_numbers_wins_in_max_pooling() -> None:
    x = np.random.default_rng(0).integers(0, 3, (2, 3, 6, 8)).astype("float32")
    theirs, mine = pair(OneDnnMaxPool2d, {"kernel_size": 3, "stride": 2, "padding": 1}, x)
    dy = np.random.default_rng(1).normal(size=theirs.forward()[0].shape).astype("float32")
    np.testing.assert_array_equal(mine.forward()[0], theirs.forward()[0])
    np.testing.assert_allclose(mine.backward([dy])[0], theirs.backward([dy])[0], atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "uint64"])
def test_labels_of_any_integer_type(dtype: str) -> None:
    x = np.random.default_rng(0).normal(size=(6, 10)).astype("float32")
    theirs, mine = pair(OneDnnSoftmaxCrossEntropy, {}, x, np.array([0, 9, 4, 4, 1, 8], dtype))
    assert mine.forward()[0] == pytest.approx(theirs.forward()[0], rel=1e-6)
    up = [np.array(0.7, "float32")]
    np.testing.assert_allclose(mine.backward(up)[0], theirs.backward(up)[0], atol=1e-6)


@pytest.mark.parametrize("label", [-1, 10])
def test_a_label_that_is_no_class_is_refused_as_by_the_reference(label: int) -> None:
    from layerforge.schema.errors import LayerError

    x = np.zeros((3, 10), "float32")
    for probe in pair(OneDnnSoftmaxCrossEntropy, {}, x, np.array([0, label, 1])):
        with pytest.raises(LayerError, match=f"label {label} at position 1 is out of range for 10 classes"):
            probe.forward()


def test_saturated_scores_lose_nothing() -> None:
    """Where p rounds to 0 its logarithm does not."""
    x = np.array([[1e4, 0, -1e4], [0, 200, 0]], "float32")
    theirs, mine = pair(OneDnnSoftmaxCrossEntropy, {}, x, np.array([2, 0]))
    assert mine.forward()[0] == theirs.forward()[0] == 10100


def test_what_onednn_cannot_be_told_of() -> None:
    a = np.zeros((4, 6, 2), "float32")
    assert all(map(describable, (a, a.T, a[:, ::2], a[:, 3:4], a[1], a[..., :1], np.float32(0) + a[0, 0, :1])))
    packed, windows = np.zeros(20, "uint8"), np.lib.stride_tricks.sliding_window_view(a, 2, axis=0)
    beside_a_byte = np.ndarray((3,), "float32", packed, 0, (5,))
    repeated, odd = np.broadcast_to(a[:1], a.shape), unaligned(np, a)
    assert not any(map(describable, (a[::-1], repeated, windows, beside_a_byte, odd)))


@pytest.mark.parametrize("rows", [1, FEW, FEW + 1])
@pytest.mark.parametrize("turned", [True, False])
def test_linear_takes_rows_in_any_order_of_memory(rows: int, turned: bool) -> None:
    x = np.random.default_rng(0).standard_normal((7, rows) if turned else (rows, 7), np.float32)
    theirs, mine = pair(OneDnnLinear, {"out_features": 3}, x.T if turned else x)
    for probe in (theirs, mine):
        probe.bottoms = [x.T if turned else x]
    np.testing.assert_allclose(mine.forward()[0], theirs.forward()[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("padding", "counted", "refused"), [(0, True, False), (1, False, False), (1, True, True)])
def test_means_of_windows_over_the_end(padding: int, counted: bool, refused: bool) -> None:
    params = {"kernel_size": 3, "stride": 2, "padding": padding, "ceil_mode": True, "count_include_pad": counted}
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 8), np.float32)
    theirs, mine = pair(OneDnnAvgPool2d, params, x)
    assert bool(refusal(OneDnnAvgPool2d, theirs)) == refused
    if not refused:
        np.testing.assert_allclose(mine.forward()[0], theirs.forward()[0], rtol=1e-6, atol=1e-6)


def test_sliding_windows_and_repeated_numbers_go_through_a_convolution() -> None:
    cls, rng = table.LAYERS["Conv2d"], np.random.default_rng(0)
    bases = [np.broadcast_to(rng.normal(size=(1, 2, 5, 1)), (3, 2, 5, 6)).astype("float32", copy=False)]
    bases.append(np.lib.stride_tricks.sliding_window_view(rng.normal(size=(3, 2, 9)).astype("float32"), 5, axis=2))
    for x in bases:
        theirs, mine = pair(cls, {"out_channels": 4, "kernel_size": 3}, x)
        theirs.bottoms, mine.bottoms = [x], [x]
        want = theirs.forward()[0]
        np.testing.assert_allclose(mine.forward()[0], want, atol=1e-5)
        dy = rng.normal(size=want.shape).astype("float32")
        for name, gradient in theirs.gradients([dy]).items():
            np.testing.assert_allclose(mine.gradients([dy])[name], gradient, atol=1e-4)


def test_a_users_refinement_of_a_layer_is_not_replaced() -> None:
    class Linear(LAYERS.get("Linear")):  # type: ignore[misc]
        """The same name, another forward."""

    assert OneDnnLinear.stands_for(LAYERS.get("Linear").from_config({"out_features": 2}))
    assert not OneDnnLinear.stands_for(Linear.from_config({"out_features": 2}))
