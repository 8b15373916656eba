"""What `print(net)` and `print(solver)` show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.strict_backend import STRICT
from support.tools import demand_engine

from layerforge import Net, Solver
from layerforge.arrays import cuda_packages, threads
from layerforge.engines import onednn
from layerforge.training.environment import environment

LAYERS: list[dict[str, Any]] = [
    {"name": "fc1", "type": "Linear", "out_features": 5, "bottom": "x", "freeze": True},
    {"name": "fc2", "type": "Linear", "out_features": 5, "bottom": "x", "share": {"weight": "fc1.weight"}},
    {"name": "sum", "type": "Add", "bottom": ["fc1", "fc2"]},
    {"name": "loss", "type": "MSELoss", "bottom": ["sum", "t"]},
    {"name": "mae", "type": "L1Loss", "bottom": ["sum", "t"], "phase": "eval", "loss_weight": 0},
]


def small(**more: Any) -> Net:
    inputs = {"x": {"shape": [4, 3]}, "t": {"shape": [4, 5]}}
    return Net.from_config({"name": "twice", "engine": "reference", "inputs": inputs, "net": LAYERS, **more})


def words(text: str, first: str) -> list[str]:
    """The words of the line that begins with this one."""
    [line] = [line.split() for line in text.splitlines() if line.split()[:1] == [first]]
    return line


def test_a_net_shows_its_layers_with_types_shapes_and_parameters() -> None:
    text = str(small(dtype="float64"))
    lines = text.splitlines()
    assert lines[:2] == [
        "twice: 5 layers, 25 parameters (20 frozen), float64 on numpy",
        "engine: reference (asked for)",
    ]
    assert words(text, "x") == ["x", "input", "(4,", "3)", "float64"]
    assert words(text, "fc1") == ["fc1", "Linear", "x", "(4,", "5)", "20", "frozen"]
    assert words(text, "fc2") == ["fc2", "Linear", "x", "(4,", "5)", "5", "weight", "is", "fc1.weight"]
    assert words(text, "sum") == ["sum", "Add", "fc1,", "fc2", "(4,", "5)"]
    assert words(text, "loss") == ["loss", "MSELoss", "sum,", "t", "()"]
    assert words(text, "mae") == ["mae", "L1Loss", "sum,", "t", "()", "eval", "only"]


def test_the_engine_that_computes_is_named_or_why_none_does() -> None:
    expected = "engine: reference (" if onednn.missing() else "engine: oneDNN "
    assert str(small(engine="auto")).splitlines()[1].startswith(expected)
    assert str(small(engine="auto", dtype="float64")).splitlines()[1].startswith("engine: reference (")


def test_the_threads_are_those_that_the_net_was_made_with() -> None:
    demand_engine()
    before = threads.CURRENT.asked
    try:
        nets = [small(engine="auto", threads=count) for count in (1, 3)]
        assert [str(net).splitlines()[1].split(", ")[-1] for net in nets] == ["1 thread", "3 threads"]
        assert [environment(net)["engine"]["threads"] for net in nets] == [1, 3]
    finally:
        threads.use(before or 1)
        threads.CURRENT.asked = before


def test_the_precision_is_said_that_is_computed_and_recorded_with_why_it_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = [{**LAYERS[0], "precision": "bf16-mixed"}, *LAYERS[1:]]
    for net, asked in ((small(precision="bf16-mixed"), "bf16-mixed"), (small(net=one), "float32")):
        assert str(net).splitlines()[0].endswith(" (20 frozen), float32, bf16-mixed on numpy")
        assert environment(net)["precision"].items() >= {"asked": asked, "mixed": ["bf16-mixed"], "why": None}.items()
    assert environment(small(precision="bf16-mixed"))["precision"]["layers"] == {"bf16-mixed": 3, "float32": 2}
    assert environment(small(net=one))["precision"]["layers"] == {"bf16-mixed": 1, "float32": 4}
    assert environment(small(dtype="float64"))["precision"] == {
        "asked": "float32", "mixed": [], "why": None, "layers": {"float64": 5}
    }  # fmt: skip
    demand_engine()
    monkeypatch.setattr(onednn, "bfloat16_missing", lambda: "the processor has not")
    net = small(engine="auto", precision="bf16-mixed")
    assert str(net).splitlines()[0].endswith(" (20 frozen), float32 on numpy")
    assert environment(net)["precision"] == {
        "asked": "bf16-mixed", "mixed": [], "why": "the processor has not", "layers": {"float32": 5}
    }  # fmt: skip


def test_the_distribution_of_cupy_is_recorded_whatever_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_packages, "installed", lambda: {"cupy": "14.2.0"})
    config = {"inputs": {"x": {"shape": [2]}}, "net": [{"type": "ReLU", "name": "y"}]}
    on_device = Net.from_config(config, backend=STRICT)
    assert environment(on_device)["packages"].items() >= {"cupy": "14.2.0", "numpy": np.__version__}.items()


def test_the_short_form_is_one_line() -> None:
    net = small()
    assert repr(net) == "<Net twice: 5 layers, 25 parameters (20 frozen), float32 on numpy>"
    assert repr(Solver(net, lr=0.5)) == "<Solver SGD: lr 0.5, iteration 0>"


def test_of_very_many_layers_the_first_and_the_last_are_shown() -> None:
    layers = [{"name": f"r{i}", "type": "ReLU", "bottom": f"r{i - 1}" if i else "x"} for i in range(2000)]
    net = Net.from_config({"engine": "reference", "inputs": {"x": {"shape": [1]}}, "net": layers})
    lines = str(net).splitlines()
    assert len(lines) < 60
    assert lines[0].startswith("net: 2,000 layers, 0 parameters")
    assert lines[-1].split()[0] == "r1999"
    [left_out] = [line for line in lines if line.startswith("...")]
    assert int(left_out.split()[1].replace(",", "")) == 2000 - sum(line.startswith("r") for line in lines)


def test_a_solver_shows_its_type_options_schedule_and_how_far_it_is() -> None:
    net = small()
    solver = Solver(net, lr=0.5, momentum=0.9, schedule={"type": "step", "step_size": 1, "gamma": 0.1})
    batch = {"x": np.ones((4, 3), "float32"), "t": np.zeros((4, 5), "float32")}
    solver.step(**batch)
    text = str(solver)
    assert words(text, "solver") == ["solver", "SGD"]
    assert "lr 0.5" in text
    assert "momentum 0.9" in text
    assert "clip_grad_norm" not in text, "it is off"
    assert "type 'step'" in text
    assert words(text, "lr") == ["lr", "now", "0.05"]
    assert words(text, "iteration") == ["iteration", "1"]
    solver.skip()
    solver.clip_grad_norm = 2.0
    assert words(str(solver), "iteration") == ["iteration", "2", "(updates", "1,", "not", "finite", "0)"]
    assert "clip_grad_norm 2.0" in str(solver)


def test_a_schedule_that_needs_the_length_of_the_run_says_so() -> None:
    solver = Solver(small(), lr=0.5, schedule={"type": "cosine"})
    assert "not known: schedule cosine needs the length of the run" in str(solver)
    solver.total_iterations = 10
    assert words(str(solver), "lr") == ["lr", "now", "0.5"]
