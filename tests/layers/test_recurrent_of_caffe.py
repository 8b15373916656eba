"""LSTM, RNN and LSTMUnit against what Caffe computed: the nets of layers that mean the same, and where blobs go.

The recorded cases are in the folder that LAYERFORGE_CAFFE names; nothing of it is part of the project.
"""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tools import demand_that

from layerforge import Net

Arrays = dict[str, np.ndarray]


@functools.cache
def recorded() -> tuple[dict[str, Any], Arrays]:
    """The cases by name, and their arrays."""
    folder = Path(os.environ.get("LAYERFORGE_CAFFE", "nowhere"))
    demand_that(folder.is_dir(), "the folder of Caffe's files that LAYERFORGE_CAFFE names")
    with np.load(folder / "layers.npz") as file:
        arrays = {name: file[name] for name in file.files if name.startswith(("lstm", "rnn"))}
    return {case["id"]: case for case in json.loads((folder / "index.json").read_text())["layers"]}, arrays


def turned(name: str, bottom: str) -> dict[str, Any]:
    """(T, N, ...) as (N, T, ...), or back."""
    return {"name": name, "type": "Transpose", "bottom": bottom, "dim0": 0, "dim1": 1}


def recurrent(kind: str, bottoms: list[np.ndarray], tops: int, size: int) -> list[dict[str, Any]]:
    """Caffe's LSTM or RNN: b0 ... are its bottoms, t0 ... its tops. What its backward ignores is detached."""
    exposed = len(bottoms) > 2
    reads, states = ["x", "cont"], []
    layers = [
        *({"name": f"b{i}", "type": "Input", "shape": list(b.shape), "grad": i == 0} for i, b in enumerate(bottoms)),
        turned("x", "b0"),
        turned("cont", "b1"),
    ]
    for i in range(2, len(bottoms)):
        layers += [turned(f"first{i}", f"b{i}"), {"name": f"constant{i}", "type": "Detach", "bottom": f"first{i}"}]
        reads.append(f"constant{i}")
    states = [f"last{i}" for i in range(1, tops)]
    layer = {"name": "L", "type": kind, "bottom": reads, "top": ["y", *states], "hidden_size": size}
    layers.append({**layer, "second_bottom": "cont", "recurrent_bias": False, "initial_states": exposed})
    if not exposed:
        layers[-1]["stateful"] = True
    shown = "y"
    if kind == "RNN":
        layers += [{"name": "L_out", "type": "Linear", "bottom": "y", "out_features": size}]
        layers += [{"name": "o", "type": "Tanh", "bottom": "L_out"}]
        shown = "o"
    layers.append(turned("t0", shown))
    for i, state in enumerate(states, 1):
        layers += [{"name": f"held{i}", "type": "Detach", "bottom": state}, turned(f"t{i}", f"held{i}")]
    return layers


def swapped(blocks: np.ndarray) -> np.ndarray:
    """Caffe's gates i, f, o, g as ours i, f, g, o, or back."""
    i, f, third, fourth = np.split(blocks, 4)
    return np.concatenate([i, f, fourth, third])


def blobs_of(net: Net, kind: str) -> list[Any]:
    """The parameters in Caffe's order."""
    keys = [("L", "weight_ih_l0"), ("L", "bias_ih_l0"), ("L", "weight_hh_l0")]
    keys += [("L_out", "weight"), ("L_out", "bias")] if kind == "RNN" else []
    return [net.params[layer][name] for layer, name in keys]


def in_order(kind: str, blob: Any) -> np.ndarray:
    """A blob of Caffe's as a parameter here, or back."""
    return swapped(blob) if kind == "LSTM" else blob


def loaded(case: dict[str, Any], arrays: Arrays, bottoms: list[np.ndarray], **request: Any) -> Net:
    params = [arrays[key] for key in case["params"]]
    layers = recurrent(case["type"], bottoms, case["n_top"], params[2].shape[1])
    net = Net.from_config({"name": "caffe", "net": layers, **request})
    for parameter, blob in zip(blobs_of(net, case["type"]), params, strict=True):
        parameter.data = in_order(case["type"], blob)
    return net


def assert_as_recorded(found: Any, expected: np.ndarray, what: str) -> None:
    room = 2e-5 * (1 + abs(expected)) + 2e-5 * abs(expected).max()
    assert found.shape == expected.shape, what
    assert (abs(found - expected) <= room).all(), what


CASES = [f"{kind}_{what}" for kind in ("lstm", "rnn") for what in ("basic", "first_cont1", "hidden_reset")]


@pytest.mark.parametrize("engine", ["reference", "auto"])
@pytest.mark.parametrize("name", CASES)
def test_tops_and_gradients_are_caffes(name: str, engine: str) -> None:
    cases, arrays = recorded()
    case, step = cases[name], cases[name]["steps"][0]
    bottoms = [arrays[key] for key in step["bottoms"]]
    net = loaded(case, arrays, bottoms, engine=engine)
    net.forward(phase="train", **{f"b{i}": b for i, b in enumerate(bottoms)})
    for i, key in enumerate(step["tops"]):
        assert_as_recorded(net.blobs[f"t{i}"].data, arrays[key], f"top {i}")
    net.backward({f"t{i}": arrays[key] for i, key in enumerate(step["top_diffs"]) if i == 0})
    assert_as_recorded(net.blobs["b0"].grad, arrays[step["bottom_diffs"][0]], "bottom 0")
    for i, (found, key) in enumerate(zip(blobs_of(net, case["type"]), step["param_diffs"], strict=True)):
        assert_as_recorded(in_order(case["type"], found.grad), arrays[key], f"parameter {i}")


@pytest.mark.parametrize("name", ["lstm_basic", "rnn_basic"])
def test_what_one_forward_ends_with_the_next_goes_on_from(name: str) -> None:
    """Caffe's layers go on, so a sequence that is fed in two pieces has the tops that it has in one."""
    cases, arrays = recorded()
    step = cases[name]["steps"][0]
    (x, cont), top = (arrays[key] for key in step["bottoms"]), arrays[step["tops"][0]]
    assert cont[2:].all()
    net = loaded(cases[name], arrays, [x[:2], cont[:2]])
    pieces = [net.forward(phase="eval", b0=x[part], b1=cont[part])["t0"] for part in (slice(0, 2), slice(2, None))]
    assert_as_recorded(np.concatenate(pieces), top, "both pieces")


def test_lstm_unit_is_a_composition() -> None:
    cases, arrays = recorded()
    step = cases["lstmunit_basic"]["steps"][0]
    c_before, gates, cont = (arrays[key] for key in step["bottoms"])
    layers = [
        {"name": "c_before", "type": "Input", "shape": list(c_before.shape), "grad": True},
        {"name": "gates", "type": "Input", "shape": list(gates.shape), "grad": True},
        {"name": "cont", "type": "Input", "shape": list(cont.shape)},
        {"name": "parts", "type": "Slice", "bottom": "gates", "dim": 2, "top": [*"ifog"]},
        *({"name": f"s{gate}", "type": "Sigmoid", "bottom": gate} for gate in "ifo"),
        {"name": "tg", "type": "Tanh", "bottom": "g"},
        {"name": "each", "type": "Unsqueeze", "bottom": "cont", "dim": 2},
        {"name": "open", "type": "Mul", "bottom": ["sf", "each"]},
        {"name": "old", "type": "Mul", "bottom": ["open", "c_before"]},
        {"name": "new", "type": "Mul", "bottom": ["si", "tg"]},
        {"name": "c", "type": "Add", "bottom": ["old", "new"]},
        {"name": "tc", "type": "Tanh", "bottom": "c"},
        {"name": "h", "type": "Mul", "bottom": ["so", "tc"]},
    ]
    net = Net.from_config({"name": "unit", "net": layers})
    net.forward(phase="train", c_before=c_before, gates=gates, cont=cont)
    dc, dh = (arrays[key] for key in step["top_diffs"])
    net.backward(c=dc, h=dh)
    for blob, key in zip("ch", step["tops"], strict=True):
        assert_as_recorded(net.blobs[blob].data, arrays[key], blob)
    for blob, key in zip(("c_before", "gates"), step["bottom_diffs"], strict=False):
        assert_as_recorded(net.blobs[blob].grad, arrays[key], blob)
