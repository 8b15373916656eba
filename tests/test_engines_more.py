"""Engines beyond the contract of their layers: updates, recurrent layers of real sizes, what is refused.

Like test_engines.py, no part of the suite where the engine cannot be had.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_solvers import QuadraticNet, batch

from layerforge import registry
from layerforge.check.harness import Probe
from layerforge.config.sections import SolverSection
from layerforge.engines.onednn import table
from layerforge.engines.onednn.update import BLOCK
from layerforge.flat import Multipliers
from layerforge.layer import Example
from layerforge.registry import LAYERS
from layerforge.rewrite import FAST
from layerforge.solvers.fast import fast_update
from layerforge.solvers.solver import Solver
from layerforge.spec import Spec

# The solver's update -------------------------------------------------------------------------------------------------

WIDTH = 8203  # two layers: a group for the weights and one for the biases, neither a multiple of anything


def pair(**net: Any) -> list[QuadraticNet]:
    """The same net without and with the engine."""
    return [QuadraticNet(WIDTH, "float32", engine=engine, **net) for engine in ("reference", "auto")]


def section(kind: str = "SGD", **options: Any) -> SolverSection:
    return SolverSection.from_config({"type": kind, "lr": 0.1, **options})


def close(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.abs(a - b).max() <= 3e-7 * np.abs(b).max())


@pytest.mark.parametrize("kind", registry.engine(FAST).updates())
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": 0.0},
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "schedule": {"type": "exp", "gamma": 0.5}},
        {"weight_decay": 0.1, "clip_grad_norm": 0.01},
        {"weight_decay": 0.1, "clip_grad_norm": 0.01, "clip_order": "caffe"},
        {"weight_decay": 0.1, "clip_grad_value": 1e-4},
        {"weight_decay": 0.1, "regularization": "L1"},
    ],
    ids=str,
)
def test_the_engine_makes_the_rules_steps(kind: str, options: dict[str, Any]) -> None:
    nets = pair(multipliers={("a", "bias"): Multipliers(lr=2.0, decay=3.0), ("b", "weight"): Multipliers(decay=0.5)})
    solvers = [Solver(net, type=kind, lr=0.1, **{"momentum": 0.9, **options}) for net in nets]
    for sizes in ([3], [2, 1], [1, 1, 3], [2]):
        parts = [batch(n, WIDTH) for n in sizes]
        for solver in solvers:
            for part in parts:
                solver.accumulate(**part)
            solver.update()
        assert close(nets[1].data(), nets[0].data())
        assert close(solvers[1].history[0], solvers[0].history[0])
        nets[1].flat.data[...], solvers[1].history[0][...] = nets[0].flat.data, solvers[0].history[0]  # each step alone


def test_the_engine_leaves_frozen_parameters_and_padding_alone() -> None:
    net = pair(multipliers={("a", "weight"): Multipliers(freeze=True)})[1]
    solver, before = Solver(net, lr=0.1, momentum=0.9, weight_decay=0.1), net.data()
    for _ in range(2):
        solver.step(**batch(2, WIDTH))
    slots = net.flat.slots
    moved = {key: not np.array_equal(slot.view(net.data()), slot.view(before)) for key, slot in slots.items()}
    assert [key for key, has in moved.items() if not has] == [("a", "weight")]
    inside = np.zeros(len(before), bool)
    for slot in slots.values():
        inside[slot.offset : slot.offset + slot.size] = True
    assert not net.data()[~inside].any()


def test_the_engine_goes_block_by_block() -> None:
    nets = [QuadraticNet(BLOCK // 2 + 5, "float32", engine=engine) for engine in ("reference", "auto")]
    data = batch(1, BLOCK // 2 + 5)
    for net in nets:
        solver = Solver(net, type="Nesterov", lr=0.1, weight_decay=0.1)
        for _ in range(2):
            solver.step(**data)
    assert close(nets[1].data(), nets[0].data())


def test_the_engine_updates_what_it_knows_and_nothing_else() -> None:
    reference, auto = pair()
    assert fast_update(auto, section(weight_decay=0.1), [auto.flat.grad]) is not None
    assert fast_update(reference, section(), [reference.flat.grad]) is None
    assert fast_update(auto, section("Adam"), [auto.flat.grad] * 2) is None
    assert fast_update(auto, section(regularization="L1", weight_decay=0.1), [auto.flat.grad]) is None
    double = QuadraticNet(3, "float64", engine="auto")
    assert fast_update(double, section(), [double.flat.grad]) is None


# Recurrent layers ----------------------------------------------------------------------------------------------------


def outcome(name: str, example: Example, engine: bool, given: dict[str, bool]) -> dict[str, np.ndarray]:
    """Tops and gradients, with the parameters named in `given` frozen."""
    probe = Probe(LAYERS.get(name), example, dtype="float32")
    if engine:
        probe.layer = table.LAYERS[name].instead_of(probe.layer)
    probe.layer.run.keep = True
    for key in given:
        probe.layer.needs_param_grad.bind(key, False)
    tops = probe.forward()
    results = {f"top {i}": np.array(t) for i, t in enumerate(tops)}
    rng = np.random.default_rng(5)
    dtops = [rng.normal(size=t.shape).astype("float32") for t in tops]
    gradients = probe.gradients(dtops)
    return results | {key: np.array(g) for key, g in gradients.items() if g is not None}


ALL_OF_A_PASS = tuple(f"{kind}_{of}_l0" for kind in ("weight", "bias") for of in ("ih", "hh"))


@pytest.mark.parametrize("frozen", [(), ("weight_hh_l0", "bias_ih_l0"), ALL_OF_A_PASS], ids=len)
@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_recurrent_layers_of_real_sizes(name: str, frozen: tuple[str, ...]) -> None:
    params = {"hidden_size": 24, "num_layers": 2, "bidirectional": True}
    example = Example(params, [Spec((33, 9, 7))], tops=2)
    want, got = (outcome(name, example, engine, dict.fromkeys(frozen, True)) for engine in (False, True))
    assert want.keys() == got.keys()
    for key, value in want.items():
        assert np.abs(got[key] - value).max() <= 1e-5 * np.abs(value).max() + 1e-12, key


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_recurrent_layers_are_refused_in_words(name: str) -> None:
    engine = table.LAYERS[name]

    def why(*bottoms: Spec) -> str | None:
        probe = Probe(LAYERS.get(name), Example({"hidden_size": 2}, bottoms), dtype="float32")
        return engine.refuses(probe.layer, probe.bottom_specs, probe.top_specs)

    assert why(Spec((32, 3, 4))) is None
    assert "second bottom" in (why(Spec((32, 3, 4)), Spec((32, 3), low=1, high=2)) or "")
    assert "fewer than" in (why(Spec((4, 3, 4))) or "")
