"""Engines beyond the contract of their layers: updates, threads.

Like test_engines.py, no part of the suite where the engine cannot be had.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from support.quadratic import QuadraticNet, batch

from layerforge.arrays import threads
from layerforge.config.sections import SolverSection
from layerforge.engines.onednn import library, primitives
from layerforge.engines.onednn.binding import runtime
from layerforge.engines.onednn.op import Op
from layerforge.engines.onednn.update import BLOCK
from layerforge.graph.multipliers import Multipliers
from layerforge.plan.engines import FAST
from layerforge.schema import registry
from layerforge.solvers.fast import fast_update
from layerforge.solvers.solver import Solver

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
        nets[1].parameters.data[...] = nets[0].parameters.data  # each step alone
        solvers[1].history[0][...] = solvers[0].history[0]


def test_the_engine_leaves_frozen_parameters_and_padding_alone() -> None:
    net = pair(multipliers={("a", "weight"): Multipliers(freeze=True)})[1]
    solver, before = Solver(net, lr=0.1, momentum=0.9, weight_decay=0.1), net.data()
    for _ in range(2):
        solver.step(**batch(2, WIDTH))
    slots = net.parameters.slots
    moved = {key: not np.array_equal(slot.view(net.data()), slot.view(before)) for key, slot in slots.items()}
    assert [key for key, has in moved.items() if not has] == [("a", "weight")]
    inside = np.zeros(len(before), bool)
    for slot in slots.values():
        inside[slot.offset : slot.offset + slot.size] = True
    assert not net.data()[~inside].any()


def test_the_engine_goes_block_by_block() -> None:
    half_a_block = BLOCK * threads.here() // 2
    nets = [QuadraticNet(half_a_block + 5, "float32", engine=engine) for engine in ("reference", "auto")]
    data = batch(1, half_a_block + 5)
    for net in nets:
        solver = Solver(net, type="Nesterov", lr=0.1, weight_decay=0.1)
        for _ in range(2):
            solver.step(**data)
    assert close(nets[1].data(), nets[0].data())


def test_the_engine_updates_what_it_knows_and_nothing_else() -> None:
    reference, auto = pair()
    assert fast_update(auto, section(weight_decay=0.1), [auto.parameters.grad]) is not None
    assert fast_update(reference, section(), [reference.parameters.grad]) is None
    assert fast_update(auto, section("Adam"), [auto.parameters.grad] * 2) is None
    assert fast_update(auto, section(regularization="L1", weight_decay=0.1), [auto.parameters.grad]) is None
    double = QuadraticNet(3, "float64", engine="auto")
    assert fast_update(double, section(), [double.parameters.grad]) is None


# Threads --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 64, 256), (300, 200, 100)], ids=str)
def test_products_of_any_size_are_right_and_leave_the_threads_as_they_were(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((m, k), dtype="float32"), rng.standard_normal((k, n), dtype="float32")
    before = threads.CURRENT.asked
    threads.use(2)
    try:
        runtime()
        limits = [library.omp_get_max_threads() for library in threads.CURRENT.openmp]
        for _ in range(2):
            got = np.full((m, n), np.nan, "float32")
            Op(primitives.matmul, (), lambda name, size: np.empty(size, "uint8"))(a, b, None, got)
            assert np.abs(got - a @ b).max() <= 1e-5 * np.abs(a @ b).max()
        assert limits
        assert set(limits) == {2}
        assert [library.omp_get_max_threads() for library in threads.CURRENT.openmp] == limits
    finally:
        if before is not None:
            threads.use(before)
        threads.CURRENT.asked = before
        threads.settle()


LOADED = """
import sys, threading
from layerforge.engines.onednn import library
sys.setswitchinterval(1e-5)
found, together = [], threading.Barrier(6)

def load():
    together.wait()
    found.append(library.load())

crowd = [threading.Thread(target=load) for _ in range(6)]
for thread in crowd: thread.start()
for thread in crowd: thread.join()
assert [found[0] is one for one in found] == [True] * 6
"""


def test_threads_that_need_the_library_at_once_load_it_once() -> None:
    library.load()
    subprocess.run([sys.executable, "-c", LOADED], check=True, timeout=60)
