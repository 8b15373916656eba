"""Freezing, factors and hyper-parameters changed after a net was built: in backward, solver and checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from layerforge import Net, Solver
from layerforge.run.views import BlobError
from layerforge.schema.errors import ConfigError, DataError

ENGINES = ["reference", "onednn"]
SOLVERS: list[dict[str, Any]] = [
    {"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
    {"type": "Adam", "lr": 0.01},
    {"type": "LARS", "lr": 0.1, "momentum": 0.9},
]


def config(engine: str = "reference", **keys: dict[str, Any]) -> dict[str, Any]:
    """Three Linear layers, the last one sharing nothing; `keys` are added to the layers of those names."""
    layers = [
        {"name": "a", "type": "Linear", "out_features": 6, "bottom": "x"},
        {"name": "r", "type": "ReLU"},
        {"name": "b", "type": "Linear", "out_features": 6},
        {"name": "s", "type": "Tanh"},
        {"name": "c", "type": "Linear", "out_features": 5},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["c", "t"]},
    ]
    return {
        "seed": 1,
        "engine": engine,
        "inputs": {"x": {"shape": [4, 3]}, "t": {"shape": [4], "dtype": "int64"}},
        "net": [{**layer, **keys.get(layer["name"], {})} for layer in layers],
    }


def batches(count: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [{"x": rng.normal(size=(4, 3)).astype("f4"), "t": rng.integers(0, 5, 4)} for _ in range(count)]


def weights(net: Net) -> dict[str, np.ndarray]:
    return {path: array.copy() for path, array in net.arrays().items()}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("options", SOLVERS, ids=lambda o: o["type"])
@pytest.mark.parametrize("way", ["layer", "parameters", "lr_mult"])
def test_freezing_is_as_if_the_configuration_had_said_it(way: str, options: dict[str, Any], engine: str) -> None:
    want = Net.from_config(config(engine, a={"freeze": True}), keep="none")
    net = Net.from_config(config(engine), keep="none")
    solvers = [Solver(each, **options) for each in (want, net)]
    if way == "layer":
        net.layers["a"].freeze = True
    elif way == "lr_mult":
        net.layers["a"].lr_mult = 0
    else:
        for name in net.params["a"]:
            net.params["a"][name].frozen = True
    assert all(view.frozen and view.grad is None for view in net.params["a"].values())
    for batch in batches(4):
        for solver in solvers:
            solver.step(**batch)
    assert [step.runs_backward for step in net.current_plan.steps] == [s.runs_backward for s in want.current_plan.steps]
    assert not net.current_plan.steps[0].runs_backward
    for path, array in want.arrays().items():
        np.testing.assert_allclose(net.arrays()[path], array, rtol=1e-5, atol=1e-7, err_msg=path)
    assert np.isclose(solvers[1].grad_norm, solvers[0].grad_norm)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("options", SOLVERS, ids=lambda o: o["type"])
def test_unfreezing_in_the_middle_is_what_an_own_hand_would_do(options: dict[str, Any], engine: str) -> None:
    """Frozen in the configuration, or by hand from the start: from the moment of unfreezing on all learn the same."""
    nets = [Net.from_config(config(engine, a={"freeze": True}), keep="none"), Net.from_config(config(engine))]
    nets[1].layers["a"].freeze = True
    solvers = [Solver(each, **options) for each in nets]
    first = weights(nets[0])
    for number, batch in enumerate(batches(6)):
        if number == 3:
            assert all(np.array_equal(net.arrays()["params/a/weight"], first["params/a/weight"]) for net in nets)
            for net in nets:
                net.layers["a"].freeze = False
        for solver in solvers:
            solver.step(**batch)
    one, other = (weights(net) for net in nets)
    assert not np.array_equal(one["params/a/weight"], first["params/a/weight"])
    for path in one:
        np.testing.assert_allclose(one[path], other[path], rtol=1e-4, atol=1e-6, err_msg=path)


@pytest.mark.parametrize("options", SOLVERS[:2], ids=lambda o: o["type"])
def test_what_is_frozen_for_a_while_keeps_its_history_and_others_theirs(options: dict[str, Any]) -> None:
    net = Net.from_config(config())
    solver = Solver(net, **options)
    steps = batches(4)
    solver.step(**steps[0])
    before, data = solver.arrays()["history/0/b/weight"], net.params["b"]["weight"].data
    net.layers["b"].freeze = True
    solver.step(**steps[1])
    assert np.array_equal(solver.arrays()["history/0/b/weight"], before) and before.any()
    assert net.params["b"]["weight"].data is data, "arrays that somebody holds stay those of the net"
    net.layers["b"].freeze = False
    solver.step(**steps[2])
    assert not np.array_equal(solver.arrays()["history/0/b/weight"], before)


def test_factors_reach_the_solver() -> None:
    keys = {"b": {"lr_mult": {"weight": 2.0, "bias": 0.5}, "decay_mult": 3.0}, "c": {"lr_mult": 0.1}}
    want, net = Net.from_config(config(**keys)), Net.from_config(config())
    net.layers["b"].lr_mult = {"weight": 2}
    net.params["b"]["bias"].lr_mult = 0.5
    net.layers["c"].lr_mult = 0.1
    for name in ("weight", "bias"):
        net.params["b"][name].decay_mult = want.params["b"][name].decay_mult
    assert net.layers["b"].lr_mult == {"weight": 2, "bias": 0.5} and net.layers["c"].lr_mult == 0.1
    for each in (want, net):
        solver = Solver(each, lr=0.1, momentum=0.9, weight_decay=0.1)
        for batch in batches(3):
            solver.step(**batch)
    for path, array in want.arrays().items():
        np.testing.assert_allclose(net.arrays()[path], array, rtol=1e-5, atol=1e-7, err_msg=path)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_with_changes_goes_on_bit_for_bit_from_its_checkpoint(engine: str) -> None:
    made = config(engine, a={"freeze": True})
    net = Net.from_config(made, keep="none")
    solver = Solver(net, **SOLVERS[0])
    steps = batches(6)
    solver.step(**steps[0])
    net.layers["a"].freeze = False
    net.params["b"]["weight"].frozen = True
    net.layers["c"].lr_mult = 0.3
    solver.step(**steps[1])
    state, arrays, numbers = solver.state(), solver.arrays(), weights(net)
    other = Net.from_config(made, keep="none")
    again = Solver(other, **SOLVERS[0])
    other.load_arrays(numbers, "test")
    again.load_state(state, arrays)
    assert other.params["b"]["weight"].frozen and not other.params["a"]["weight"].frozen
    for batch in steps[2:]:
        for each in (solver, again):
            each.step(**batch)
    assert all(np.array_equal(weights(net)[path], array) for path, array in weights(other).items())


def test_a_checkpoint_that_does_not_fit_changes_no_multiplier() -> None:
    net = Net.from_config(config())
    solver = Solver(net, **SOLVERS[0])
    net.layers["a"].freeze = True
    state, arrays = solver.state(), solver.arrays()
    net.layers["a"].freeze = False
    with pytest.raises(DataError, match="missing history"):
        solver.load_state(state, {})
    assert not net.params["a"]["weight"].frozen
    with pytest.raises(ConfigError, match=r"'zz.weight', which is no parameter"):
        solver.load_state({**state, "multipliers": [["zz", "weight", 1, 1, True]]}, arrays)
    with pytest.raises(ConfigError, match="multipliers are damaged"):
        solver.load_state({**state, "multipliers": [1]}, arrays)


def test_a_shared_parameter_is_one_parameter() -> None:
    net = Net.from_config(config(s={"type": "Linear", "out_features": 6, "share": {"weight": "b.weight"}}))
    net.params["s"]["weight"].frozen = True
    assert net.params["b"]["weight"].frozen and not net.params["b"]["bias"].frozen
    solver, before = Solver(net, lr=0.1), weights(net)
    solver.step(**batches(1)[0])
    assert np.array_equal(weights(net)["params/b/weight"], before["params/b/weight"])
    assert not np.array_equal(weights(net)["params/a/weight"], before["params/a/weight"])


def test_a_backward_after_a_change_needs_a_forward() -> None:
    net = Net.from_config(config())
    net.forward(**batches(1)[0])
    net.layers["a"].freeze = True
    with pytest.raises(BlobError, match=r"frozen(.|\n)*call net.forward"):
        net.backward()
    assert net.blobs["c"].data.shape == (4, 5), "what is there can be read"


def test_what_a_factor_of_zero_freezes_is_not_unfrozen_in_vain() -> None:
    net = Net.from_config(config())
    net.layers["a"].lr_mult = 0
    with pytest.raises(ConfigError, match="lr_mult is 0"):
        net.layers["a"].freeze = False
    net.layers["a"].lr_mult = 1
    assert not net.params["a"]["bias"].frozen
    net.params["a"]["bias"].frozen = True
    with pytest.raises(ConfigError, match="is frozen and has no gradient"):
        net.params["a"]["bias"].grad = 0


def test_accumulated_gradients_survive_a_change_elsewhere() -> None:
    net = Net.from_config(config(a={"freeze": True}))
    solver = Solver(net, lr=0.1)
    solver.accumulate(**batches(1)[0])
    before = net.params["c"]["weight"].grad.copy()
    net.layers["b"].freeze, net.layers["a"].freeze = True, False
    assert np.array_equal(net.params["c"]["weight"].grad, before) and before.any()
    assert not net.params["a"]["weight"].grad.any()
    solver.update()


@pytest.mark.parametrize("engine", ENGINES)
def test_hyper_parameters_take_effect_at_the_next_forward(engine: str) -> None:
    made = config(engine, s={"type": "Dropout", "p": 0.9})
    net = Net.from_config(made, keep="none")
    batch = batches(1)[0]
    for p in (0.9, 0.0, 0.5):
        net.layers["s"].p = p
        want = Net.from_config(config(engine, s={"type": "Dropout", "p": p}))
        found = [each.forward(phase="train", **batch)["loss"] for each in (net, net, want)]
        assert found[0] == found[1] and np.isclose(found[1], found[2], rtol=1e-5)
    net.layers["s"].p = 3
    with pytest.raises(ConfigError, match=r"layer 's' .*p must be"):
        net.forward(phase="train", **batch)
    net.layers["s"].p = 0.5
    net.layers["a"].out_features = 7
    with pytest.raises(Exception, match=r"set up with shape \(6, 3\)"):
        net.forward(phase="train", **batch)


def test_a_rule_s_hyper_parameters_reach_the_engine() -> None:
    nets = [Net.from_config(config(engine), keep="none") for engine in ENGINES]
    solvers = [Solver(net, **SOLVERS[0]) for net in nets]
    for number, batch in enumerate(batches(4)):
        for solver in solvers:
            solver.rule.momentum = 0.9 if number < 2 else 0.1
            solver.step(**batch)
    for path, array in weights(nets[0]).items():
        np.testing.assert_allclose(weights(nets[1])[path], array, rtol=1e-4, atol=1e-6)
