"""scripts/netfuzz.py: random nets agree with float64 whoever computes, and what it is to find it finds."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import netfuzz
from netfuzzing.judging import judge
from netfuzzing.shrinking import shrunk
from netfuzzing.trials import Action, Trial, draw

from layerforge import Net
from layerforge.arrays.bfloat16 import is_bfloat16
from layerforge.engines.onednn import binding, primitives
from layerforge.engines.onednn.op import Op
from layerforge.run.executor import Executor
from layerforge.schema.errors import LayerForgeError
from layerforge.schema.precisions import BF16_MIXED
from layerforge.schema.registry import LAYERS

NETS, PARTS = 150, 6
SEARCHED = 200  # nets in which a planted fault must show


@pytest.mark.parametrize("part", range(PARTS))
def test_random_nets_agree_with_float64(part: int) -> None:
    compared = 0
    for number, trial, verdict in netfuzz.campaign(0, range(part, NETS, PARTS)):
        assert not verdict.findings, (number, verdict.findings, json.dumps(trial.as_json()))
        compared += verdict.compared
    assert compared > 20 * NETS / PARTS, "hardly anything was compared"


def test_a_number_stands_for_a_net_and_json_for_a_trial() -> None:
    trials = [draw(3, number) for number in range(100)]
    assert trials == [draw(3, number) for number in range(100)]
    assert trials == [Trial.from_json(json.loads(json.dumps(trial.as_json()))) for trial in trials]
    kinds = {layer["type"] for number in range(400) for layer in draw(3, number).config["net"]}
    assert len(kinds) > 90
    assert kinds > {"Index", "Scatter", "ScatterAdd", "Where", "Sort", "GLU", "GridSample", "Cholesky", "DiceLoss"}
    actions = [action for trial in trials for action in trial.actions]
    assert {action.batch for action in actions} == {1, 2, 3, 5}
    assert {action.phase for action in actions} == {"train", "eval"}
    assert any(len(action.backwards) > 1 for action in actions)
    assert any(trial.threads for trial in trials)
    halves = [trial for trial in trials if trial.precision == BF16_MIXED]
    assert 10 < len(halves) < 40
    assert 3 < sum(len({action.batch for action in trial.actions}) == 1 for trial in halves) < len(halves) - 3
    assert any("recompute" in layer for trial in trials for layer in trial.config["net"])


# Faults on purpose ----------------------------------------------------------------------------------------------------


def misread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine takes the strides of axes of length 1 for more than they are: it works elsewhere in memory."""
    bind = Op.bind

    def odd(a: Any) -> bool:
        if a is None or not a.ndim:
            return False
        dense = np.cumprod([a.itemsize, *a.shape[:0:-1]])[::-1]
        return any(n == 1 and s != t for n, s, t in zip(a.shape, a.strides, dense, strict=True))

    monkeypatch.setattr(Op, "bind", lambda op, arrays: bind(op, [a + a if odd(a) else a for a in arrays]))


def recompute_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second backward through what is recomputed does not have what the first one had."""
    backward = Executor.backward

    def spoilt(self: Executor, seeds: Any, overwrite_grad: bool = False) -> None:
        again = self.plan.segments and self.grads and self.dtype == "float32"
        backward(self, {i: seed * (0.5 if again else 1) for i, seed in seeds.items()}, overwrite_grad)

    monkeypatch.setattr(Executor, "backward", spoilt)


def ignore_cotangents(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cotangent of a blob that is not there does nothing."""
    backward = Net.backward

    def silent(self: Net, **cotangents: Any) -> None:
        try:
            backward(self, **cotangents)
        except LayerForgeError:
            if not cotangents:
                raise

    monkeypatch.setattr(Net, "backward", silent)


def share_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """All threads write down what they run in one list."""
    monkeypatch.setattr(binding.runtime(), "watch", types.SimpleNamespace(trace=None, dry_run=False))


def round_badly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Activations of the engine have four digits."""
    run = Op.run

    def rough(op: Op) -> None:
        run(op)
        if op.maker is primitives.eltwise:
            np.multiply(op.bound[1], np.float32(1.0001), out=op.bound[1])

    monkeypatch.setattr(Op, "run", rough)


def round_bfloat16_badly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Activations of the engine in bfloat16 have four bits."""
    run = Op.run

    def rough(op: Op) -> None:
        run(op)
        if op.maker is primitives.eltwise and is_bfloat16(op.bound[1]):
            op.bound[1].view("uint16")[...] &= 0xFFF0

    monkeypatch.setattr(Op, "run", rough)


def replay_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of calls in which activations in bfloat16 do nothing."""
    repeats = Op.repeats

    def less(op: Op) -> Any:
        idle = op.maker is primitives.eltwise and is_bfloat16(op.bound[1])
        return [lambda: 0] if idle else repeats(op)

    monkeypatch.setattr(Op, "repeats", less)


CANCELLING = Trial(  # the gradient of the bias is the sum over a BatchNorm's dx: 0, but for roundings
    config={
        "seed": 0,
        "inputs": {"x": {"shape": [3, 2, 3, 4, 4]}, "u": {"shape": [3, 96]}},
        "net": [
            {"name": "l0", "type": "Bias", "bottom": "x"},
            {"name": "l1", "type": "BatchNorm", "bottom": "l0", "affine": False},
            {"name": "l2", "type": "LogSigmoid", "bottom": "l1"},
            {"name": "l3", "type": "Flatten", "bottom": "l2"},
            {"name": "l4", "type": "EuclideanLoss", "bottom": ["l3", "u"]},
        ],
    },
    actions=[Action("step", 3, data) for data in range(3)],
    watched=[],
    keeps=["all", "none"],
    threads=False,
)


def test_roundings_of_terms_that_cancel_are_no_finding() -> None:
    for data in range(0, 30, 3):
        actions = [Action("step", 3, data + i, "int64") for i in range(3)]
        assert not judge(dataclasses.replace(CANCELLING, actions=actions)).findings


def test_what_is_equal_only_without_roundings_is_no_finding() -> None:
    """x less a copy of x is 0 where nobody rounds the copy; so is the gradient of what the next layer divides out."""
    copied = [
        {"name": "l0", "type": "Flatten", "bottom": "x"},
        {"name": "l1", "type": "Squeeze", "bottom": "x"},
        {"name": "l2", "type": "Sub", "bottom": ["l0", "l1"]},
    ]
    scaled = [{"name": "l0", "type": "BatchNorm", "bottom": "x"}, {"name": "l1", "type": "MVN", "bottom": "l0"}]
    for layers, shape in ((copied, [3, 2]), (scaled, [3, 2, 3, 4])):
        config = {"seed": 0, "inputs": {"x": {"shape": shape, "grad": True}}, "net": layers}
        for data in range(0, 30, 3):
            actions = [Action("pass", 2, data, "plain", "train", [layers[-1]["name"]])]
            trial = dataclasses.replace(CANCELLING, config=config, actions=actions, precision=BF16_MIXED)
            assert not judge(trial).findings


@pytest.mark.parametrize("share", [3e-3, -1e-2])
def test_terms_that_do_not_cancel_as_they_should_are_found(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """The sum is off by a small share of one term of 144."""
    kind = LAYERS.get("Bias")
    backward = kind.backward

    def spoilt(self: Any, dy: Any) -> Any:
        if dy.dtype == np.float32:
            self.grads.bias += share * np.abs(dy).max()
        return backward(self, dy)

    monkeypatch.setattr(kind, "backward", spoilt)
    assert "params/l0/bias is off" in judge(CANCELLING).findings[0]


# Each with the seed of a campaign that meets it soon.
FAULTS = {misread: 1, recompute_once: 1, ignore_cotangents: 1, share_the_trace: 1, round_badly: 1}
FAULTS |= {round_bfloat16_badly: 19, replay_another: 19}


def first_finding(seed: int) -> tuple[int, Trial, list[str]]:
    """The first net of a campaign in which something is found."""
    for number, trial, verdict in netfuzz.campaign(seed, range(SEARCHED)):
        if verdict.findings:
            return number, trial, verdict.findings
    raise AssertionError("nothing was found")


@pytest.fixture
def hasty() -> Any:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch, hasty: None
) -> None:
    plant(monkeypatch)
    number, trial, found = first_finding(FAULTS[plant])
    monkeypatch.undo()
    assert not judge(trial).findings, (number, found)  # it was the fault that was found


def test_a_net_with_layers_that_read_nothing_is_made_small() -> None:
    layers: list[dict[str, Any]] = [
        {"name": "l0", "type": "Tanh", "bottom": "x"},
        {"name": "c1", "type": "Constant", "value": [1.0, 2.0], "shape": [1, 2]},
        {"name": "l2", "type": "Add", "bottom": ["l0", "c1"]},
        {"name": "l3", "type": "Neg", "bottom": "l2"},
    ]
    trial = dataclasses.replace(CANCELLING, config={"inputs": {"x": {"shape": [3, 2]}}, "net": layers}, actions=[])
    small = shrunk(trial, lambda candidate: any(item["type"] == "Constant" for item in candidate.config["net"]))
    assert [item["type"] for item in small.config["net"]] == ["Constant", "Add"]


def test_a_finding_is_made_small_and_ends_in_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    round_badly(monkeypatch)
    seed = FAULTS[round_badly]
    number, trial, _ = first_finding(seed)
    command = ["netfuzz.py", "--seed", str(seed), "--only", str(number)]
    monkeypatch.setattr(sys, "argv", [*command, "--json"])
    assert netfuzz.main() == 1
    report = json.loads(capsys.readouterr().out)
    (finding,) = report["findings"]
    small = finding["trial"]
    assert len(small["config"]["net"]) < len(trial.config["net"])
    assert len(small["actions"]) == 1
    assert judge(Trial.from_json(small)).findings
    monkeypatch.undo()
    monkeypatch.setattr(sys, "argv", [*command, "-q"])
    assert netfuzz.main() == 0
    assert capsys.readouterr().out == ""
