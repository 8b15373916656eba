"""What is written as an ONNX file: numbers that fit, nothing that nobody reads, and what its metadata say of scores."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from support.tools import demand

from layerforge import Net
from layerforge.interop.onnx import save_model, saving
from layerforge.interop.onnx.graph import Node, OnnxGraph, ValueInfo
from layerforge.interop.onnx.ordering import drop_unread
from layerforge.schema.errors import ConfigError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demand("onnx")
    monkeypatch.chdir(tmp_path)


def test_numbers_beyond_float32_are_refused() -> None:
    net = Net.from_config({"inputs": {"x": {"shape": [2, 3]}}, "dtype": "float64",
                         "net": [{"name": "fc", "type": "Linear", "bottom": "x", "out_features": 2}]})  # fmt: skip
    net.params["fc"]["weight"].data[0, 1] = 1e60
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConfigError, match=r"fc\.weight has numbers as large as 1e\+60, which float32"):
            save_model(net, "m.onnx")
    assert not Path("m.onnx").exists()
    net.params["fc"]["weight"].data[0, 1] = np.inf  # which float32 holds
    save_model(net, "m.onnx")


def test_parameters_beyond_what_a_file_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "MOST", 4 * 10)
    monkeypatch.setattr(saving, "model_bytes", lambda graph: pytest.fail("the work was begun"))
    net = Net.from_config({"inputs": {"x": {"shape": [2, 3]}},
                         "net": [{"name": "fc", "type": "Linear", "bottom": "x", "out_features": 3}]})  # fmt: skip
    with pytest.raises(ConfigError, match=r"a file of ONNX holds less than 2 GiB"):
        save_model(net, "m.onnx")
    assert not Path("m.onnx").exists()


def test_what_nothing_reads_is_left_out() -> None:
    inner = OnnxGraph("within", [Node("Constant", [], ["dead"], {"value": np.zeros(1)}), Node("Abs", ["x"], ["z"])],
                      [], [ValueInfo("z", "float32", None)])  # fmt: skip
    graph = OnnxGraph("g", [
        Node("Constant", [], ["unread"], {"value": np.zeros(1)}), Node("Neg", ["unread"], ["unread2"]),
        Node("Relu", ["x"], ["within_reads"]), Node("If", ["c"], ["y"], {"then_branch": inner, "else_branch": inner}),
    ], outputs=[ValueInfo("y", "float32", None)], initializers={"c": np.array(True), "w": np.zeros(2)})  # fmt: skip
    inner.nodes[1].inputs = ["within_reads"]
    drop_unread(graph)
    assert [node.op for node in graph.nodes] == ["Relu", "If"]
    assert [node.op for node in inner.nodes] == ["Abs"]
    assert list(graph.initializers) == ["c"]
