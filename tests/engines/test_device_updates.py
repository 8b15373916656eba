"""The solver's rules in one launch on a device: they make the steps that the rules themselves make."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import strict_cupy
from support.strict_backend import STRICT
from support.tools import demand_compiler

from layerforge import Net, Solver
from layerforge.engines import cuda
from layerforge.schema.registry import SOLVERS
from layerforge.solvers.rules import RuleStep
from layerforge.solvers.solver import Solver as AnySolver

N = 37
HYPER: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.9},
    "Nesterov": {"momentum": 0.8},
    "AdaGrad": {"eps": 1e-3},
    "RMSProp": {"rms_decay": 0.9, "eps": 1e-3},
    "AdaDelta": {"momentum": 0.95, "eps": 1e-4},
    "Adam": {"momentum": 0.8, "momentum2": 0.95, "eps": 1e-3},
    "AdamW": {"momentum": 0.8, "momentum2": 0.95, "eps": 1e-3},
}


@pytest.fixture(autouse=True)
def kernels() -> None:
    demand_compiler()


def test_every_rule_of_some_lines_has_a_kernel() -> None:
    assert set(cuda.updates()) == set(HYPER) == set(SOLVERS.names()) - {"LARS"}  # which takes norms


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("factor", "bound", "decay"), [(1.0, None, 0.0), (0.25, None, 0.1), (0.5, 0.2, 0.0)])
@pytest.mark.parametrize("kind", HYPER)
def test_a_kernel_makes_the_steps_of_its_rule(
    kind: str, factor: float, bound: float | None, decay: float, dtype: str
) -> None:
    rng = np.random.default_rng(3)
    rule = SOLVERS.get(kind).from_config(HYPER[kind])
    data, grad, *histories = rng.normal(size=(2 + rule.histories, N)).astype(dtype)
    histories = [abs(history) for history in histories]
    on_device = [strict_cupy.asarray(array) for array in (data, grad, *histories)]
    fast = cuda.updates()[kind](rule, on_device[0], on_device[1], on_device[2:])
    piece = slice(5, 30)
    for number in (1, 2, 7):
        g = grad[piece] * np.dtype(dtype).type(factor)
        g = g if bound is None else np.clip(g, -bound, bound)
        pull = decay * data[piece] if decay else None
        if pull is not None and not rule.decay_apart:
            g, pull = g + pull, None
        rule.update(np, data[piece], g, [h[piece] for h in histories], RuleStep(0.3 / number, number, 1.0, pull))
        with strict_cupy.counting() as counts:
            fast(5, 30, 0.3 / number, factor, decay, number, bound=bound)
        assert (counts["launches"], counts["allocations"]) == (1, 0)
        tolerance = 1e-13 if dtype == "float64" else 1e-6
        for got, want in zip(on_device, (data, grad, *histories), strict=True):
            np.testing.assert_allclose(got.get(), want, rtol=tolerance, atol=tolerance)


def test_a_gradient_that_is_not_a_number_stays_one_within_a_bound() -> None:
    rule = SOLVERS.get("SGD").from_config({})
    w, g, v = (strict_cupy.asarray(np.array(each)) for each in ([1.0, 1, 1], [np.nan, np.inf, -np.inf], [0.0, 0, 0]))
    cuda.updates()["SGD"](rule, w, g, [v])(0, 3, 1.0, 1.0, 0.0, 1, bound=0.5)
    np.testing.assert_array_equal(w.get(), [np.nan, 0.5, 1.5])


def test_arrays_of_the_host_have_no_kernels() -> None:
    rule = SOLVERS.get("SGD").from_config({})
    assert cuda.updates()["SGD"](rule, np.zeros(3), np.zeros(3), [np.zeros(3)]) is None


@pytest.mark.parametrize("kind", HYPER)
@pytest.mark.parametrize(
    "options",
    [
        {"weight_decay": 0.1, "schedule": {"type": "exp", "gamma": 0.5}, "clip_grad_norm": 0.05},
        {"weight_decay": 0.1, "clip_grad_value": 1e-3},
        {"weight_decay": 0.1, "regularization": "L1"},
    ],
    ids=str,
)
def test_a_net_learns_as_with_the_rules_themselves(kind: str, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(4)
    batches = [{"x": rng.normal(size=(3, 5)), "t": rng.normal(size=(3, 2))} for _ in range(4)]
    solvers = {engine: solver(engine, kind, options) for engine in ("auto", "reference")}
    updates = {}
    for engine, each in solvers.items():
        for batch in batches[:-1]:
            each.step(**batch)
        each.accumulate(**batches[-1])
        with strict_cupy.counting() as counts:
            each.update()
        updates[engine] = counts["launches"]
    fast, text = (each.net.parameters.data.get() for each in solvers.values())
    np.testing.assert_allclose(fast, text, rtol=1e-12, atol=1e-14)
    assert updates["auto"] < updates["reference"] or "regularization" in options


def solver(engine: str, kind: str, options: dict[str, Any]) -> AnySolver:
    net = Net.from_config(
        {
            "dtype": "float64",
            "engine": engine,
            "inputs": {"x": {"shape": [3, 5]}, "t": {"shape": [3, 2]}},
            "net": [
                {"name": "fc", "type": "Linear", "bottom": "x", "out_features": 2},
                {"name": "loss", "type": "MSELoss", "bottom": ["fc", "t"]},
            ],
        },
        backend=STRICT,
    )
    return Solver(net, type=kind, lr=0.1, **HYPER[kind], **options)
