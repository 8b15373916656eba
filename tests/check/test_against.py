"""`layerforge test --against`: the comparison, with another implementation that needs no torch in torch's place."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge.check import against as comparing
from layerforge.check.against import Arrays, Asked, Hyper, Refusal, against, against_net
from layerforge.check.agreement import EMPTY_MEAN, Agreement, Allowed, compared
from layerforge.check.harness import Probe
from layerforge.cli import main
from layerforge.config.document import Config
from layerforge.contract.layer import Example
from layerforge.schema.registry import LAYERS

RUN = ("Linear", "0", "train")
NET = {
    "dtype": "float32",
    "inputs": {"x": {"shape": [4, 3], "grad": True}, "t": {"shape": [4], "dtype": "int64"}},
    "net": [
        {"name": "fc", "type": "Linear", "out_features": 3, "bottom": "x"},
        {"name": "bn", "type": "BatchNorm"},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["bn", "t"]},
    ],
}


class Mirror:
    """Another implementation that agrees: ours, run again from what it is asked. `change` may disturb its answers."""

    name = "mirror 1.0"

    def __init__(self, *unknown: str, change: Callable[[Arrays], Any] = lambda arrays: None) -> None:
        self.unknown, self.change, self.asked = unknown, change, []

    def knows(self, type_name: str) -> bool:
        return type_name not in self.unknown

    def layer(self, asked: Asked) -> Arrays:
        self.asked.append(asked)
        cls = LAYERS.get(asked.type_name)
        shapes = [x.shape for x in asked.bottoms]
        example = next(e for e in cls.examples if (e.params, e.tops, shapes_of(e)) == (asked.hyper, asked.tops, shapes))
        probe = Probe(cls, example, phase=asked.phase)
        probe.layer.run.keep, probe.layer.run.seed = True, asked.seed
        for mine, theirs in ((probe.layer.params, asked.params), (probe.layer.state, asked.state)):
            for name, array in theirs.items():
                mine[name][...] = array
        found = {f"top[{j}]": np.array(top) for j, top in enumerate(probe.forward(asked.bottoms))}
        found |= {name: np.array(array) for name, array in probe.layer.state.items()}
        if asked.cotangents is not None:
            probe.zero_grad()
            found |= {f"{name}.grad": g for name, g in probe.named(probe.backward(asked.cotangents)).items()}
        self.change(found)
        return found

    def step(self, net: Any, state: Arrays, inputs: Arrays, phase: str, ours: Any) -> Arrays:
        found = {path: array.copy() for path, array in ours.arrays.items()}
        self.change(found)
        return found


def shapes_of(example: Example) -> list[tuple[int, ...]]:
    return [spec.shape for spec in example.bottoms]


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """In torch's place on the command line."""
    made = Mirror()
    monkeypatch.setattr(comparing, "torch_reference", lambda: made)
    yield made


# One array ------------------------------------------------------------------------------------------------------------


def test_an_array_may_be_off_by_a_share_of_the_largest_value_and_a_little() -> None:
    b = np.array([[0.0, 5.0], [-20.0, 1.0]])
    a = b.copy()
    a[0, 0] += 2e-9
    row = compared(RUN, "top[0]", a, b, Allowed())
    assert row.ok
    assert row.where == (0, 0)
    assert row.off == pytest.approx(2e-9)
    assert row.allowed == pytest.approx(20e-10 + 1e-12)
    a[0, 0] += 1e-11
    row = compared(RUN, "top[0]", a, b, Allowed())
    assert not row.ok
    assert "is off by 2.01e-09 at [0, 0]: 2.01e-09 here, 0 there" in row.explain()


def test_what_is_not_finite_is_compared_exactly() -> None:
    b = np.array([np.inf, -np.inf, np.nan, 1.0])
    assert compared(RUN, "x", b.copy(), b, Allowed()).ok
    assert compared(RUN, "x", b.copy(), b, Allowed()).allowed < 1e-9
    for place, value in ((0, 1e300), (0, -np.inf), (2, 0.0), (3, np.nan)):
        a = b.copy()
        a[place] = value
        row = compared(RUN, "x", a, b, Allowed())
        assert not row.ok
        assert row.where == (place,)


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (None, np.zeros(2), "is missing here"),
        (np.zeros(2), None, "is missing there"),
        (np.zeros((2, 1)), np.zeros((1, 2)), "has shape (1, 2) there"),
        (np.zeros(2, np.int64), np.zeros(2), "is int64 here, float64 there"),
    ],
)
def test_arrays_of_another_kind_differ(ours: Any, theirs: Any, words: str) -> None:
    row = compared(RUN, "top[0]", ours, theirs, Allowed())
    assert not row.ok
    assert words in row.explain()


def test_arrays_without_numbers_agree() -> None:
    assert compared(RUN, "top[0]", np.zeros((0, 3)), np.zeros((0, 3)), Allowed()).ok


# Layers ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Linear", "BatchNorm", "Dropout", "Max", "LSTM", "Accuracy", "PReLU"])
def test_everything_that_a_layer_computes_is_compared(name: str) -> None:
    cls, mirror = LAYERS.get(name), Mirror()
    agreement = against(cls, mirror)
    assert agreement.ok, agreement.text()
    assert len(mirror.asked) == 2 * len(cls.examples)
    arrays = {row.array for row in agreement.rows}
    assert "top[0]" in arrays
    if cls.is_differentiable():
        assert "bottom[0].grad" in arrays
    if name == "BatchNorm":
        assert {"weight.grad", "bias.grad", "running_mean", "running_var"} <= arrays
    if name == "Max":
        assert "top[1]" in arrays


@pytest.mark.parametrize("array", ["top[0]", "bottom[0].grad", "weight.grad", "running_var"])
def test_every_array_that_differs_is_found_and_named(array: str) -> None:
    def change(arrays: Arrays) -> None:
        if array in arrays:
            arrays[array].flat[0] += 1e-6

    agreement = against(LAYERS.get("BatchNorm"), Mirror(change=change))
    assert not agreement.ok
    assert {row.array for row in agreement.rows if not row.ok} == {array}
    assert f"BatchNorm 0 train: {array}" in agreement.text()
    assert "differ (BatchNorm)" in agreement.summary()


def test_statistics_are_those_from_before_the_step() -> None:
    mirror = Mirror()
    against(LAYERS.get("BatchNorm"), mirror)
    once = Probe(LAYERS.get("BatchNorm"), LAYERS.get("BatchNorm").examples[0])
    np.testing.assert_array_equal(mirror.asked[0].state["running_mean"], once.layer.state["running_mean"])


def test_a_mean_of_nothing_may_be_nan_there_but_not_here() -> None:
    def nan(arrays: Arrays) -> None:
        if arrays["top[0]"].ndim == 0 and arrays["top[0]"] == 0:
            for array in arrays.values():
                array[...] = np.nan

    agreement = against(LAYERS.get("HingeLoss"), Mirror(change=nan))
    assert agreement.ok, agreement.text()
    noted = {row.example for row in agreement.rows if row.note == EMPTY_MEAN}
    assert noted
    assert noted < {row.example for row in agreement.rows}
    assert EMPTY_MEAN in agreement.text()


def test_a_layer_that_the_other_does_not_have_is_said_to_be_unknown() -> None:
    agreement = against(LAYERS.get("Linear"), Mirror()) + against(LAYERS.get("Filter"), Mirror("Filter"))
    assert agreement.ok
    assert "not in mirror 1.0: Filter" in agreement.text()
    assert agreement.summary().startswith("1 layer, 12 runs")


def test_a_run_that_the_other_cannot_do_is_said_and_not_counted() -> None:
    class Narrow(Mirror):
        def layer(self, asked: Asked) -> Arrays:
            if len(asked.bottoms[0].shape) > 2:
                raise Refusal("RuntimeError: too many axes")
            return super().layer(asked)

    agreement = against(LAYERS.get("Linear"), Narrow())
    assert agreement.ok
    assert agreement.refused
    assert "RuntimeError: too many axes" in agreement.text()
    assert not {row.example for row in agreement.rows} & {run.removeprefix("Linear-") for run in agreement.refused}


# Nets -----------------------------------------------------------------------------------------------------------------


def test_a_net_is_compared_blob_by_blob_in_both_phases() -> None:
    agreement = against_net(Config.from_dict(NET), Mirror())
    assert agreement.ok
    assert {row.phase for row in agreement.rows} == {"train", "eval"}
    arrays = {(row.owner, row.array) for row in agreement.rows}
    assert {("input", "x"), ("input", "x.grad"), ("fc (Linear)", "fc"), ("fc (Linear)", "fc.grad")} <= arrays
    assert {("fc (Linear)", "weight.grad"), ("bn (BatchNorm)", "running_mean")} <= arrays
    assert ("input", "t.grad") not in arrays


def test_a_difference_in_a_net_names_the_layer() -> None:
    def change(arrays: Arrays) -> None:
        arrays["parameters/fc/weight/grad"][0, 0] += 1e-3

    agreement = against_net(Config.from_dict(NET), Mirror(change=change))
    assert not agreement.ok
    assert "differ (fc (Linear))" in agreement.summary()


def test_a_net_with_a_layer_that_the_other_lacks_is_compared_layer_by_layer() -> None:
    agreement = against_net(Config.from_dict(NET), Mirror("BatchNorm"))
    assert agreement.ok
    assert agreement.unknown == ["BatchNorm"]
    assert {row.owner for row in agreement.rows} == {"Linear", "SoftmaxCrossEntropy"}
    assert "mirror 1.0 does not have BatchNorm" in agreement.warnings[0]


# The command ----------------------------------------------------------------------------------------------------------


def test_without_torch_the_command_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["test", "Linear", "--against", "torch"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "--against torch needs the package 'torch'" in err
    assert "pip install 'layerforge[torch]'" in err


def test_the_command_prints_a_line_for_each_layer(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "Linear", "BatchNorm", "--against", "torch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "layer      runs  arrays  example  phase  array   shape  off  allowed  verdict"
    assert [line.split()[0] for line in lines[1:3]] == ["Linear", "BatchNorm"]
    assert lines[-1].startswith("2 layers, ")
    assert "against mirror 1.0: all agree" in lines[-1]


def test_the_command_prints_json(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    mirror.change = lambda arrays: arrays["top[0]"].fill(np.nan)
    assert main(["test", "Tanh", "--against", "torch", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["against"], told["layers"]) == (False, "mirror 1.0", ["Tanh"])
    first = told["arrays"][0]
    assert (first["layer"], first["array"], first["ok"]) == ("Tanh", "top[0]", False)
    assert first["off"] is None


def test_limits_can_be_given(mirror: Mirror) -> None:
    mirror.change = lambda arrays: arrays.update({"top[0]": arrays["top[0]"] + 1e-6})
    assert main(["test", "Tanh", "--against", "torch"]) == 1
    assert main(["test", "Tanh", "--against", "torch", "--atol", "1e-5"]) == 0


@pytest.mark.parametrize("option", ["--eps=1e-4", "--samples=3", "--exhaustive", "--only=gradients", "--dtype=float32"])
def test_options_of_the_differences_are_refused(
    option: str, mirror: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", "Tanh", "--against", "torch", option]) == 2
    assert f"{option.partition('=')[0]} has no meaning with --against" in capsys.readouterr().err


def test_a_users_layer_has_none(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    snake = Path(__file__).parents[2] / "docs" / "examples" / "snake.py"
    mirror.unknown = ("Snake",)
    try:
        assert main(["test", str(snake), "--against", "torch"]) == 2
        assert "mirror 1.0 does not have Snake" in capsys.readouterr().err
        assert main(["test", str(snake), "Tanh", "--against", "torch"]) == 0
        assert "not in mirror 1.0: Snake" in capsys.readouterr().out
    finally:
        forget("Snake")


def forget(type_name: str) -> None:
    """Forget a user's layer and the file that it came from."""
    LAYERS.remove(type_name)
    for name in [name for name in sys.modules if name.startswith("layerforge_user_snake")]:
        del sys.modules[name]


def test_a_hyper_parameter_that_nobody_looked_at_is_known() -> None:
    hyper = Hyper({"weight": [1.0], "reduction": "none", "label_smoothing": 0.1})
    assert hyper["weight"] == [1.0]
    assert hyper.get("reduction") == "none"
    assert hyper.get("ignore_index") is None
    assert hyper.overlooked == ["label_smoothing"]
    assert dict(**hyper) == {**hyper} == hyper.given
    assert hyper.overlooked == []


def test_two_reports_add_up() -> None:
    one, two = (Agreement("m", [compared(RUN, "x", np.ones(1), np.ones(1), Allowed())], [n]) for n in ("A", "B"))
    both = one + two
    assert (both.layers, len(both.rows), both.ok) == (["A", "B"], 2, True)
