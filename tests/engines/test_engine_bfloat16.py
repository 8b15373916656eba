"""The engine's layers in bf16-mixed: as near to float64 as their roundings, whatever is not finite included.

Like test_engines.py, no part of the suite where the engine cannot be had.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from support.contract import broken
from support.tools import demand_that

from layerforge import Net, Solver
from layerforge.arrays.bfloat16 import EPSILON, SHARES, is_bfloat16, narrowed, rounded, widened
from layerforge.arrays.spec import Spec
from layerforge.check.contract import PRECISION_CHECKS, Case, applicable, run
from layerforge.check.halving import HalvedProbe
from layerforge.check.harness import Probe, reference_of
from layerforge.check.precision import halved_cases, why_wide
from layerforge.contract.layer import Example, Layer
from layerforge.engines.onednn import inner_products, library, table, trial
from layerforge.engines.onednn.conv import OneDnnConv2d
from layerforge.engines.onednn.linear import OneDnnLinear
from layerforge.engines.onednn.norm import OneDnnBatchNorm
from layerforge.engines.onednn.pool import OneDnnMaxPool2d
from layerforge.engines.rounding import ROUNDED
from layerforge.plan.engines import FAST
from layerforge.schema import registry
from layerforge.schema.errors import BackendError
from layerforge.schema.precisions import BF16_MIXED
from layerforge.schema.registry import LAYERS


@pytest.fixture
def bfloat16() -> None:
    """Go on where the processor has instructions for it."""
    why = registry.engine(FAST).bfloat16_missing()
    demand_that(why is None, f"bfloat16: {why}")


needs_it = pytest.mark.usefixtures("bfloat16")


def halved(name: str) -> list[tuple[str, Case]]:
    """The cases of a type that compute in bfloat16."""
    return [(what, case) for what, case in halved_cases(LAYERS.get(name), FAST) if isinstance(case, Case)]


@needs_it
@pytest.mark.parametrize("name", sorted(ROUNDED))
def test_layers_are_as_near_to_float64_as_their_roundings(name: str) -> None:
    proved = [(what, case, checks) for what, case in halved(name) if (checks := applicable(case))]
    assert {what: words for what, case, checks in proved if (words := broken(case, checks))} == {}


@needs_it
@pytest.mark.parametrize("name", sorted(ROUNDED))
def test_every_type_that_rounds_has_kernels_or_says_why(name: str) -> None:
    told = [case for _, case in halved_cases(LAYERS.get(name), FAST)]
    assert told
    assert all(isinstance(case, Case) or case for case in told)
    wide = name == "GRU" or (name in ("LSTM", "RNN") and not library.has_amx())
    assert any(isinstance(case, Case) for case in told) != wide


# Mutants --------------------------------------------------------------------------------------------------------------

LONG = Example({"out_features": 3}, [Spec((16, 300), low=0.5, high=1.5)])


def wide_product(layer: Any, x: Any) -> Any:
    """x Wᵀ + b in float32."""
    return x @ widened(layer.operands.weight).T + layer.params.bias


class SumsInBfloat16(OneDnnLinear):
    """Rounds after each of the products that it adds up."""

    def forward(self, x: Any) -> Any:
        y = super().forward(x)
        total = np.zeros(y.shape, "float32")
        for column, weights in zip(widened(x).T, widened(self.operands.weight).T, strict=True):
            total = rounded(np, total + np.outer(column, weights))
        y[...] = narrowed(total + self.params.bias)
        return y


class Truncates(OneDnnLinear):
    """Cuts off what bfloat16 cannot hold."""

    def forward(self, x: Any) -> Any:
        y = super().forward(x)
        y[...] = (wide_product(self, widened(x)).view("uint32") >> 16).astype("uint16").view("V2")
        return y


class DropsTheGradientOfTheBias(OneDnnLinear):
    """Forgets one."""

    def add_column_sums(self, rows: Any, total: Any, name: str = "db") -> None:
        """Nothing."""


class DropsTheGradientOfTheBottom(OneDnnLinear):
    """Leaves it 0."""

    def backward(self, dy: Any) -> Any:
        dx = super().backward(dy)
        dx[...] = narrowed(np.zeros(dx.shape, "float32"))
        return dx


class RoundsTheGradientOfTheWeights(OneDnnLinear):
    """Which is float32."""

    def backward(self, dy: Any) -> Any:
        dx = super().backward(dy)
        self.grads.weight[...] = rounded(np, self.grads.weight)
        return dx


class RoundsTheMean(OneDnnBatchNorm):
    """Statistics are float32."""

    def forward(self, x: Any) -> Any:
        y = super().forward(x)
        self.state.running_mean[...] = rounded(np, self.state.running_mean)
        return y


class AddsManySharesInBfloat16(OneDnnMaxPool2d):
    """As oneDNN's kernel does."""

    def at_one_place(self, shape: Any) -> int:
        return 1


# A number cut off is no further from one that is rounded than two roundings allow, but it is from the truth.
ONLY_FROM_THE_TRUTH = (Truncates,)
MUTANTS = {
    SumsInBfloat16: LONG,
    Truncates: LONG,
    DropsTheGradientOfTheBias: LONG,
    DropsTheGradientOfTheBottom: LONG,
    RoundsTheGradientOfTheWeights: LONG,
    RoundsTheMean: Example({}, [Spec((16, 5))]),
    AddsManySharesInBfloat16: Example({"kernel_size": 5, "stride": 1}, [Spec((2, 3, 9, 9))]),
}


@needs_it
@pytest.mark.parametrize("check", PRECISION_CHECKS)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda cls: cls.__name__)
def test_mutant_is_caught(mutant: type[Layer], check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutant, "replays", False)
    example = MUTANTS[mutant]
    if check != "agrees_with_rounding" or mutant not in ONLY_FROM_THE_TRUTH:
        assert run(check, Case(mutant, example, precision=BF16_MIXED))
    (healthy,) = mutant.__bases__
    assert run(check, Case(healthy, example, precision=BF16_MIXED)) is None


# What oneDNN does wrong in bfloat16 -----------------------------------------------------------------------------------


def refused(name: str, params: dict[str, Any], *shape: int) -> str | None:
    """Why a layer stays float32."""
    probe = Probe(LAYERS.get(name), Example(params, [Spec(shape)]), dtype="float32")
    return why_wide(table.LAYERS[name], probe)


@needs_it
def test_kernels_that_reach_over_the_bottom_stay_float32() -> None:
    """The gradients of their elements that meet no pixel were what memory held."""
    kernel = {"out_channels": 4, "kernel_size": 3, "padding": 1}
    assert "reach over the whole bottom" in str(refused("Conv2d", kernel, 2, 4, 2, 8))
    assert "reach over the whole bottom" in str(refused("Conv1d", {**kernel, "kernel_size": 2, "stride": 3}, 1, 16, 2))
    assert refused("Conv2d", kernel, 2, 4, 3, 8) is None


@needs_it
@pytest.mark.parametrize("kind", ["Conv3d", "ConvTranspose3d"])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(
    ("kernel", "stride", "size"), [(3, 2, 8), (2, 3, 8), (1, 2, 7), (1, 3, 11), (3, 3, 11), (2, 2, 8)]
)
def test_windows_that_leave_out_some_of_a_volume_stay_float32(
    kind: str, axis: int, kernel: int, stride: int, size: int
) -> None:
    """On AMX the gradient of what no window sees was what memory held, and tops were wrong, too."""
    at = lambda n, other: [n if i == axis else other for i in range(3)]  # noqa: E731
    params = {"out_channels": 17, "kernel_size": at(kernel, 1), "stride": at(stride, 1)}
    skips = stride > kernel or (kind == "Conv3d" and (size - kernel) % stride > 0)
    shape = (2, 16, *at(size, 5))
    assert ("leave out some" in str(refused(kind, params, *shape))) == skips
    x, found = np.random.default_rng(0).standard_normal(shape).astype("float32"), []
    for engine in ("auto", "reference"):
        tree = {"precision": BF16_MIXED, "engine": engine, "inputs": {"x": {"shape": list(shape), "grad": True}}}
        net = Net.from_config({**tree, "net": [{"name": "c", "type": kind, **params}]})
        y = net.forward(x=x)["c"]
        net.backward(c=np.random.default_rng(1).standard_normal(y.shape))
        found.append((y, net.blobs["x"].grad.copy(), net.params["c"]["weight"].grad.copy()))
    for mine, right in zip(*found, strict=True):
        assert np.abs(mine - right).max() <= 4 * EPSILON * np.abs(right).max()


@pytest.mark.parametrize(("size", "lower"), [(2, False), (3, True)])
def test_products_of_such_kernels_stay_float32(size: int, lower: bool) -> None:
    layer = {"name": "c", "type": "Conv2d", "out_channels": 4, "kernel_size": 3, "padding": 1}
    tree = {"matmul_precision": "medium", "inputs": {"x": {"shape": [2, 4, size, 8]}}, "net": [layer]}
    net = Net.from_config(tree)
    net.forward(x=np.ones((2, 4, size, 8)))
    assert [step.node.layer.lower_products for step in net.current_plan.steps] == [lower]


@needs_it
@pytest.mark.parametrize(("name", "params", "shapes"), [
    ("Conv3d", {"out_channels": 16, "kernel_size": [5, 3, 5], "padding": [4, 0, 1]}, [(3, 16, 2, 3, 6)]),
    ("Conv2d", {"out_channels": 8, "kernel_size": 3, "padding": 1}, [(2, 8, 2, 2)]),
    ("Conv2d", {"out_channels": 8, "kernel_size": 3}, [(2, 8, 5, 6)]),
    ("ConvTranspose2d", {"out_channels": 8, "kernel_size": 3}, [(2, 8, 5, 6)]),
    ("Linear", {"out_features": 33}, [(17, 65)]),
    ("MultiheadAttention", {"num_heads": 1, "causal": True}, [(2, 2, 16)]),
    ("MultiheadAttention", {"num_heads": 2}, [(2, 7, 16)]),
    ("ScaledDotProductAttention", {}, [(3, 1, 2, 8), (3, 1, 16, 8), (3, 1, 16, 16)]),
    ("ScaledDotProductAttention", {}, [(3, 1, 17, 8), (3, 1, 3, 8), (3, 1, 3, 16)]),
])  # fmt: skip
def test_products_in_bfloat16_are_those_of_rounded_numbers(
    name: str, params: dict[str, Any], shapes: list[tuple[int, ...]]
) -> None:
    """matmul_precision: medium, where there is AMX; elsewhere oneDNN multiplies float32."""
    rng, keys = np.random.default_rng(0), [f"x{i}" for i in range(len(shapes))]
    layer = {"name": "l", "type": name, "bottom": keys if len(keys) > 1 else "x0", **params}
    inputs = {key: {"shape": list(shape), "grad": True} for key, shape in zip(keys, shapes, strict=True)}
    xs = {key: rng.standard_normal(shape).astype("float32") for key, shape in zip(keys, shapes, strict=True)}
    found: list[dict[str, Any]] = []
    for how in ({"engine": "reference"}, {"matmul_precision": "medium"}):
        net = Net.from_config({"seed": 1, "inputs": inputs, "net": [layer], **how})
        y = net.forward(**xs)["l"]
        net.backward(l=np.random.default_rng(1).standard_normal(y.shape))
        params_of = net.params["l"].items() if "l" in net.params else ()
        grads = {key: net.blobs[key].grad.copy() for key in keys} | {key: view.grad.copy() for key, view in params_of}
        found.append({"y": y, **grads})
    assert net.current_plan.choices["l"].engine == FAST
    for key, right in found[0].items():
        assert np.abs(found[1][key] - right).max() <= 8 * EPSILON * np.abs(right).max(), key


@needs_it
def test_winners_of_large_windows_stay_float32() -> None:
    assert "forgets winners" in str(refused("MaxPool2d", {"kernel_size": 16}, 2, 3, 18, 18))
    assert refused("MaxPool2d", {"kernel_size": 15}, 2, 3, 18, 18) is None


@needs_it
@pytest.mark.parametrize("name", ["MaxPool2d", "AvgPool2d"])
def test_shares_of_many_windows_are_added_up_in_float32(name: str) -> None:
    example = Example({"kernel_size": 4, "stride": 1}, [Spec((2, 16, 12, 12))])
    assert SHARES < 4 * 4
    assert broken(Case(table.LAYERS[name], example, precision=BF16_MIXED), PRECISION_CHECKS) == {}


@needs_it
@pytest.mark.parametrize("number", [1.0, 1e4])
@pytest.mark.parametrize("queries", [1, 2, 33])
def test_weights_of_attention_that_round_twice_are_within_the_bound(queries: int, number: float) -> None:
    """Of a single query dv is a weight times dy: nothing averages the roundings of weights out."""
    q, k, v = Spec((3, queries, 8)), Spec((3, 16, 8), low=-number, high=number), Spec((3, 16, 16), low=0.5, high=1.5)
    case = Case(table.LAYERS["ScaledDotProductAttention"], Example({}, [q, k, v]), precision=BF16_MIXED)
    assert broken(case, PRECISION_CHECKS) == {}


PLAIN = {"kernel_size": 2, "stride": 2}


@needs_it
def test_what_oneDNN_has_only_plain_code_for_stays_float32() -> None:
    assert "no fast code for pooling_forward" in str(refused("MaxPool2d", {**PLAIN, "dilation": 3}, 2, 3, 18, 18))
    assert refused("MaxPool2d", PLAIN, 2, 3, 18, 18) is None


@needs_it
def test_what_oneDNN_has_nothing_for_stays_float32_in_a_net(monkeypatch: pytest.MonkeyPatch) -> None:
    make: Any = inner_products.inner_product

    def for_float32(x: Any, *others: Any) -> Any:
        if is_bfloat16(x):
            raise BackendError("oneDNN: not implemented")
        return make(x, *others)

    monkeypatch.setattr(inner_products, "inner_product", for_float32)
    trial.FOUND.clear()
    layers = [{"name": "f", "type": "Linear", "bottom": "x", "out_features": 7}, {"name": "r", "type": "Tanh"}]
    net = Net.from_config({"precision": BF16_MIXED, "inputs": {"x": {"shape": [4, 6]}}, "net": layers})
    x = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
    net.forward(x=x)
    choices = net.current_plan.choices
    trial.FOUND.clear()
    assert (choices["f"].precision, choices["r"].precision) == ("float32", BF16_MIXED)
    assert "has no code for it in bfloat16" in choices["f"].wide


@needs_it
def test_what_was_tried_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Any] = []
    monkeypatch.setattr(trial, "_tried", lambda *about: tried.append(about))
    trial.FOUND.clear()
    for rows in (3, 5, 3, 5, 3):
        assert refused("Linear", {"out_features": 4}, rows, 6) is None
    assert refused("Linear", {"out_features": 5}, 3, 6) is None
    trial.FOUND.clear()
    assert len(tried) == 3


# What is not finite ---------------------------------------------------------------------------------------------------

VALUES = {"nan": np.nan, "-nan": -np.nan, "inf": np.inf, "-inf": -np.inf}
ZEROS_BESIDE = "Conv", "GRU"  # some of their kernels multiply ∞ by 0, which makes a NaN


def sorts(array: np.ndarray) -> np.ndarray:
    """0 for numbers, 1 for NaN, and ±2 for ±∞."""
    return np.where(np.isnan(array), 1, np.where(np.isinf(array), 2 * np.sign(array), 0))


def in_both(case: Case, phase: str, value: float) -> tuple[np.ndarray, np.ndarray]:
    """The first top of the layer that rounds and of the engine's, where an element of the first bottom is no number."""
    mine: Any = case.probe(phase=phase)
    theirs = HalvedProbe(reference_of(case.cls), case.example, phase=phase)
    rng, x = np.random.default_rng(1), theirs.bottoms[0]
    x[tuple(rng.integers(n) for n in x.shape)] = value
    mine.bottoms[0][...] = narrowed(x)
    return theirs.host(theirs.forward()[0]), mine.host(mine.forward()[0])


@needs_it
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", sorted(ROUNDED))
def test_what_is_not_finite_comes_through(name: str) -> None:
    for what, case in halved(name):
        for phase in ("train", "eval"):
            for kind, value in VALUES.items():
                want, got = map(sorts, in_both(case, phase, value))
                if name.startswith(ZEROS_BESIDE):
                    assert np.all(got[want != 0] != 0), f"{what}, {kind} in {phase}"
                else:
                    np.testing.assert_array_equal(got, want, err_msg=f"{what}, {kind} in {phase}")


@needs_it
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_window_of_nothing_but_minus_infinity() -> None:
    case = Case(table.LAYERS["MaxPool2d"], Example({"kernel_size": 2}, [Spec((2, 3, 6, 6))]), precision=BF16_MIXED)
    for phase in ("train", "eval"):
        mine: Any = case.probe(phase=phase)
        mine.bottoms[0][0, 0, :2, :2] = narrowed(np.full((2, 2), -np.inf, "float32"))
        assert mine.host(mine.forward()[0])[0, 0, 0, 0] == -np.inf


ACTIVATIONS = ("ReLU", "LeakyReLU", "Tanh", "Sigmoid", "ELU", "GELU", "SiLU")
BELOW: dict[str, tuple[list[int], dict[str, Any]]] = {
    "Linear": ([4, 6], {"out_features": 7}),
    "Conv2d": ([4, 3, 6, 6], {"out_channels": 5, "kernel_size": 3}),
    "BatchNorm": ([4, 3, 6, 6], {}),
}


@needs_it
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("below", BELOW)
def test_what_is_not_finite_comes_through_fused_layers(below: str, activation: str) -> None:
    shape, params = BELOW[below]
    layers = [{"name": "f", "type": below, "bottom": "x", **params}, {"name": "a", "type": activation},
              {"name": "end", "type": "Neg"}]  # fmt: skip
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    nets = [
        Net.from_config({"seed": 3, "precision": BF16_MIXED, "engine": engine, "inputs": {"x": {"shape": shape}},
                         "net": layers}, keep="none")
        for engine in ("reference", "auto")
    ]  # fmt: skip
    for phase, backward in (("train", True), ("eval", False)):
        for value in VALUES.values():
            x[1, 2] = value
            want, got = (
                sorts(np.array(net.forward(phase=phase, backward=backward, x=x)["end"].data)) for net in nets
            )
            if below == "Conv2d":
                assert np.all(got[want == 1] != 0)
            else:
                np.testing.assert_array_equal(got, want)


# Nets -----------------------------------------------------------------------------------------------------------------


def gradients(engine: str, layers: list[dict[str, Any]], **cotangents: Any) -> list[np.ndarray]:
    """Those of x and l1 in a net that keeps all, after a backward from a cotangent, and after one from the loss."""
    rng = np.random.default_rng(0)
    x, u = (rng.normal(size=(3, 4, 2)).astype("float32") for _ in range(2))
    inputs = {"x": {"shape": [3, 4, 2], "grad": True}, "u": {"shape": [3, 4, 2]}}
    net = Net.from_config({"seed": 37, "precision": BF16_MIXED, "engine": engine, "inputs": inputs, "net": layers})
    net.forward(x=x, u=u)
    found = []
    for start in ({name: rng.normal(size=(3, 4, 2)).astype("float32") for name in cotangents}, {}):
        net.zero_grad()
        net.backward(**start)
        found += [net.blobs[name].grad.copy() for name in ("x", "l1")]
    return found


@needs_it
def test_a_second_backward_finds_what_was_cast() -> None:
    """Mul reads l1 in float32; a backward must not write over that where all is kept."""
    layers = [
        {"name": "l0", "type": "Dropout", "bottom": "x", "p": 0.4},
        {"name": "l1", "type": "Add", "bottom": ["x", "l0"]},
        {"name": "l2", "type": "Mul", "bottom": ["l0", "l1"]},
        {"name": "l3", "type": "MSELoss", "bottom": ["l2", "u"]},
    ]
    for mine, theirs in zip(gradients("auto", layers, l2=None), gradients("reference", layers, l2=None), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0.05, atol=0.02 * np.abs(theirs).max())


@needs_it
def test_a_net_without_a_loss_begins_from_gradients_in_two_bytes() -> None:
    """The sum at the fork below l1 takes what Add hands on as it came."""
    layers = [{"name": "l0", "type": "AvgPool1d", "bottom": "x", "kernel_size": 1},
              {"name": "l1", "type": "Add", "bottom": ["l0", "x"]}]  # fmt: skip
    net = Net.from_config({"precision": BF16_MIXED, "inputs": {"x": {"shape": [3, 4, 2], "grad": True}},
                           "net": layers}, keep="none")  # fmt: skip
    x = np.random.default_rng(0).normal(size=(3, 4, 2)).astype("float32")
    for _ in range(3):
        net.forward(x=x)
        net.backward(l1=np.ones((3, 4, 2), "float32"))
        np.testing.assert_array_equal(net.blobs["x"].grad, np.full((3, 4, 2), 2.0))


def learned(engine: str, keep: str, pieces: int) -> np.ndarray:
    """The weights of a small convolutional net after six steps on one batch, which is cut into pieces."""
    layers = [{"name": "c", "type": "Conv2d", "out_channels": 8, "kernel_size": 3, "bottom": "x"},
              {"name": "r", "type": "ReLU"}, {"name": "p", "type": "MaxPool2d", "kernel_size": 3, "stride": 2},
              {"name": "f", "type": "Flatten"}, {"name": "l", "type": "Linear", "out_features": 4},
              {"name": "s", "type": "SoftmaxCrossEntropy", "bottom": ["l", "t"]}]  # fmt: skip
    inputs = {"x": {"shape": [8, 3, 8, 8]}, "t": {"shape": [8], "dtype": "int64"}}
    config = {"seed": 3, "precision": BF16_MIXED, "engine": engine, "inputs": inputs, "net": layers}
    net = Net.from_config(config, keep=keep)
    solver = Solver(net, type="SGD", lr=0.1, momentum=0.9)
    x, t = np.random.default_rng(0).normal(size=(8, 3, 8, 8)).astype("float32"), np.arange(8) % 4
    for _ in range(6):
        net.zero_grad()
        for part in np.split(np.arange(8), pieces):
            solver.accumulate(x=x[part], t=t[part])
        solver.update()
    return net.params["c"]["weight"].data.copy()


@needs_it
def test_micro_batches_learn_the_same_bits_whatever_is_kept() -> None:
    first = learned("auto", "none", 2)
    np.testing.assert_array_equal(learned("auto", "none", 2), first)
    np.testing.assert_array_equal(learned("auto", "all", 2), first)
    np.testing.assert_allclose(learned("auto", "none", 1), first, rtol=0, atol=1e-5)
    np.testing.assert_allclose(learned("reference", "none", 2), first, rtol=0, atol=0.02)


# Without it -----------------------------------------------------------------------------------------------------------

PROGRAM = """
import numpy as np
from layerforge import Net, Solver
net = Net.from_config({"precision": "bf16-mixed", "inputs": {"x": {"shape": [4, 6]}},
                       "net": [{"name": "f", "type": "Linear", "bottom": "x", "out_features": 7}]})
x = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
y = net.forward(x=x)["f"].data
choice = net.current_plan.choices["f"]
print(choice.precision, choice.wide, np.allclose(y, x @ net.params["f"]["weight"].data.T, atol=1e-6), sep="|")
"""


def test_a_processor_without_bfloat16_computes_in_float32() -> None:
    env = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=120)
    told = done.stdout.strip().split("|")
    assert told == ["float32", "the processor has no AVX512-BF16 and no AMX", "True"], done.stderr


@needs_it
def test_blobs_between_layers_have_two_bytes() -> None:
    probe: Any = Case(OneDnnConv2d, OneDnnConv2d.examples[0], precision=BF16_MIXED).probe()
    assert is_bfloat16(probe.forward()[0])
