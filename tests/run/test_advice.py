"""What is said to those who run a net in phase train without having asked for it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from layerforge import Net, Solver

X = np.random.default_rng(0).normal(size=(4, 3)).astype("f4")
NORM = {"name": "bn", "type": "BatchNorm"}
DROPOUT = {"name": "drop", "type": "Dropout", "p": 0.5}


def net_of(*layers: dict[str, Any], keep: str = "all", engine: str = "auto") -> Net:
    net = [{"name": "fc", "type": "Linear", "out_features": 3}, *layers, {"name": "loss", "type": "SumSquare"}]
    net[-1]["loss_weight"] = 1
    return Net.from_config({"engine": engine, "inputs": {"x": {"shape": [4, 3]}}, "net": net}, keep=keep)


@pytest.mark.parametrize("engine", ["reference", "auto"])
@pytest.mark.parametrize("keep", ["all", "none"])
@pytest.mark.parametrize(("layer", "words"), [(NORM, "statistics of bn move"), (DROPOUT, "drop act at random")])
def test_the_third_forward_in_train_without_a_backward_is_warned_of_once(
    layer: dict[str, Any], words: str, keep: str, engine: str
) -> None:
    net = net_of(layer, keep=keep, engine=engine)
    for _ in range(2):
        net.forward(x=X)
    with pytest.warns(UserWarning, match=rf"{words}(.|\n)*net.forward\(phase=\"eval\"") as said:
        net.forward(x=X)
    assert said[0].filename == __file__, "the line is the caller's"
    for _ in range(5):
        net.forward(x=X)


def test_nothing_is_said_where_it_does_not_matter_or_is_meant() -> None:
    fixed = {**NORM, "use_running_stats": True}
    for net in (net_of(), net_of(fixed)):
        for _ in range(4):
            net.forward(x=X)
    net = net_of(NORM, DROPOUT)
    for _ in range(4):
        net.forward(phase="train", x=X)
        net.forward(phase="eval", x=X)
    for _ in range(4):
        net.forward(x=X)
        net.forward(x=X)
        net.backward()
    for _ in range(4):
        net.forward(x=X)
        net.jvp(fc=X)
    solver = Solver(net, lr=0.1)
    for _ in range(4):
        solver.step(x=X)


def test_a_second_round_is_counted_anew() -> None:
    net = net_of(NORM)
    net.forward(x=X)
    net.forward(x=X)
    net.backward()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.forward(x=X)
        net.forward(x=X)
    with pytest.warns(UserWarning):
        net.forward(x=X)
