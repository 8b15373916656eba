"""Options of a solver that are assigned: they take effect at the next update, as if it had been made with them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from layerforge import Net, Solver
from layerforge.schema.errors import ConfigError

CONFIG = {
    "seed": 1,
    "inputs": {"x": {"shape": [4, 3]}, "t": {"shape": [4], "dtype": "int64"}},
    "net": [
        {"name": "fc", "type": "Linear", "out_features": 5, "bottom": "x"},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"]},
    ],
}
START: dict[str, Any] = {"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}


def solver_of(engine: str, **options: Any) -> Solver:
    return Solver(Net.from_config({**CONFIG, "engine": engine}), **{**START, **options})


def batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(4, 3)).astype("f4"), "t": rng.integers(0, 5, 4)}


@pytest.mark.parametrize("engine", ["reference", "auto"])
@pytest.mark.parametrize(
    ("name", "value"),
    [("lr", 0.01), ("weight_decay", 3.0), ("weight_decay", 0), ("momentum", 0.0), ("clip_grad_norm", 1e-3),
     ("clip_grad_value", 1e-3), ("regularization", "L1")],
)  # fmt: skip
def test_an_option_that_is_assigned_holds_from_the_next_update_on(name: str, value: Any, engine: str) -> None:
    one, two = solver_of(engine), solver_of(engine, **{name: value})
    one.step(**batch())
    two.net.parameters.data[...] = one.net.parameters.data
    for mine, others in zip(two.history, one.history, strict=True):
        mine[...] = others
    setattr(one, name, value)
    assert getattr(one, name) == value
    for each in (one, two):
        each.step(**batch())
    np.testing.assert_array_equal(one.net.parameters.data, two.net.parameters.data)
    again = copy.deepcopy(one)
    assert getattr(again, name) == value


def test_the_schedule_goes_on_with_another_lr() -> None:
    solver = solver_of("auto", schedule={"type": "step", "step_size": 1, "gamma": 0.5})
    solver.step(**batch())
    solver.lr = 1.0
    assert (solver.base_lr, solver.lr) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lr", 0, "lr must be > 0"),
        ("lr", "fast", "lr"),
        ("momentum", 2, "momentum must be"),
        ("clip_grad_norm", -1, "must be > 0"),
        ("clip_norm", 1, "no 'clip_norm'.*clip_grad_norm"),
        ("learning_rate", 1, "no 'learning_rate'.*'lr'"),
        ("beta1", 0.5, "a solver .SGD. has no 'beta1'"),
        ("schedule", None, "'schedule' of a solver that is made cannot be replaced"),
        ("type", "Adam", "'type' of a solver that is made"),
        ("net", None, "'net' of a solver that is made"),
    ],
)
def test_what_is_no_option_or_no_value_is_refused_by_name(name: str, value: Any, message: str) -> None:
    solver = solver_of("auto")
    before = solver.section
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        setattr(solver, name, value)
    assert solver.section is before


def test_what_is_assigned_to_a_rule_is_checked_too() -> None:
    solver = solver_of("auto")
    solver.rule.momentum = 0.5
    assert solver.momentum == 0.5
    for name, value, message in (("momentum", 2, "momentum must be"), ("zz", 1, "has no 'zz'")):
        with pytest.raises(ConfigError, match=message):
            setattr(solver.rule, name, value)
    assert solver.momentum == 0.5


def test_a_subclass_has_attributes_of_its_own() -> None:
    class Mine(Solver):
        pass

    mine = Mine(Net.from_config(CONFIG), lr=0.1)
    mine.best = 3
    assert mine.best == 3 and mine.momentum == 0
    with pytest.raises(AttributeError):
        mine.worst  # noqa: B018
